/*
 * Errors: a negative errno for the caller's logic, a sentence for the user.
 *
 * Every function that can fail for a reason a user could act on takes a `struct error *` as its
 * last argument, returns 0 or a negative errno, and says in the error what was being attempted and
 * why it did not work. Only vmm/ prints it. A caller that does not care passes NULL.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

struct error {
    int code;       /* positive errno, 0 when no error is set */
    char text[480]; /* one line, no full stop, no newline */
};

#define ERROR_INIT \
    {              \
        0          \
    }

/*
 * Set `err` (may be NULL) to the formatted sentence and return -code. `code` is a positive errno;
 * the text of errno itself is not appended (see error_errno). An error that is already set is
 * overwritten.
 */
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, with ": " and strerror(code) appended. */
int error_errno(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "TEXT: " before what the error already says; used while an error travels outwards. */
void error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
