/*
 * From a bzImage to a flat image, through the cache: the cold path, and the only user of
 * vireo-unpack.so.
 */
#ifndef GUEST_KERNEL_UNPACK_H
#define GUEST_KERNEL_UNPACK_H

#include "base/error.h"
#include "guest/bzimage.h"

#include <stdbool.h>
#include <sys/stat.h>

/*
 * Unpack the bzImage open as `fd`, of which `st` is the state and `bz` the parsed header, and keep
 * the result in `cache_dir` (NULL: nowhere). Returns a descriptor of a file for flat_image_open,
 * which may have been in the cache by content. A negative errno with the reason says that this
 * kernel has to unpack itself.
 */
int kernel_unpack(int fd, const struct stat *st, const struct bzimage *bz, const char *cache_dir,
                  struct error *err);

#endif
