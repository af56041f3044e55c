/*
 * Descriptors that the user has this process inherit, and names by number.
 */
#ifndef BASE_INHERITED_FD_H
#define BASE_INHERITED_FD_H

#include "base/error.h"

/*
 * Take descriptor `number` (text), the caller's from now on: not one of the first three, and each
 * but once. `what` names the option in messages. -EINVAL, -EBADF: there is none; -EBUSY: it was
 * taken before, or is one that this program has opened.
 */
int inherited_fd_take(const char *what, const char *number, int *out, struct error *err);

#endif
