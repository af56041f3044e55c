/*
 * Copying to and from memory that may not be there: mappings of files that other processes can
 * truncate at any time, and reservations with holes.
 *
 * Touching such a place is a SIGBUS or SIGSEGV, which would end the program. Within guarded_copy
 * it is an error that is returned; anywhere else these signals do what they always did.
 */
#ifndef BASE_GUARDED_COPY_H
#define BASE_GUARDED_COPY_H

#include <stddef.h>

/* 0; -EFAULT when some of it is not mapped, or not with this right; -EIO when it is mapped but the
 * file behind it has nothing there. Then a part may have been copied. Any thread. */
int guarded_copy(void *to, const void *from, size_t length);

#endif
