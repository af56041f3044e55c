/*
 * Memory that may not be there: mappings of files that other processes can truncate at any time,
 * and reservations with holes. Touching such a place is a SIGBUS or SIGSEGV, which would end the
 * program.
 *
 * Two ways around that. A copy (guarded_copy) is an error that is returned: for what is looked at
 * in few places. A mapping (guarded_map_add) grows zeroes where its file has nothing any more: for
 * what is used like any other memory. Everywhere else these signals do what they always did.
 */
#ifndef BASE_GUARDED_H
#define BASE_GUARDED_H

#include "base/error.h"

#include <stddef.h>

/* 0; -EFAULT when some of it is not mapped, or not with this right; -EIO when it is mapped but the
 * file behind it has nothing there. Then a part may have been copied. Any thread. */
int guarded_copy(void *to, const void *from, size_t length);

/* From now on what is missing of this mapping is replaced by memory of our own, and `lost_fd`, an
 * eventfd that is borrowed, is signalled (-1: nobody is told). -ENOSPC beyond GUARDED_MAPS of them.
 * Any thread; remove it before it is unmapped. */
#define GUARDED_MAPS 64
int guarded_map_add(void *base, size_t length, int lost_fd, struct error *err);
void guarded_map_remove(void *base);

#endif
