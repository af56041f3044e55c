#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* File names and peers' texts end up here; a newline or an escape sequence in one must not leave
 * the line. */
static void error_store(struct error *err, int code, const char *text)
{
    size_t i;

    for (i = 0; text[i] && i < sizeof(err->text) - 1; i++) {
        unsigned char c = (unsigned char)text[i];

        err->text[i] = (c < 0x20 || c == 0x7f) ? '?' : (char)c;
    }
    err->text[i] = '\0';
    err->code = code;
}

/* All formatting goes through a buffer of its own, since arguments may point into err->text. */
int error_set(struct error *err, int code, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list args;

    if (!err)
        return -code;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_store(err, code, text);
    return -code;
}

/* Append ": MORE" to a text of `length` characters as far as there is room. */
static void text_append(char *text, size_t size, int length, const char *more)
{
    size_t used, n;

    if (length < 0 || (size_t)length + 3 > size)
        return;
    memcpy(text + length, ": ", 3);
    used = (size_t)length + 2;
    n = strnlen(more, size - used - 1);
    memcpy(text + used, more, n);
    text[used + n] = '\0';
}

int error_errno(struct error *err, int code, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list args;
    int length;

    if (!err)
        return -code;
    va_start(args, fmt);
    length = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    text_append(text, sizeof(text), length, strerror(code));
    error_store(err, code, text);
    return -code;
}

void error_prefix(struct error *err, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list args;
    int length;

    if (!err)
        return;
    va_start(args, fmt);
    length = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    text_append(text, sizeof(text), length, err->text);
    error_store(err, err->code, text);
}
