/*
 * Where the bytes of an image come from: an open file, or a buffer it was unpacked into.
 *
 * Nothing an image says about itself is believed: every read is checked against the size found when
 * the source was made. Files are read, not mapped, so that one that shrinks meanwhile is an error
 * and not a SIGBUS.
 */
#ifndef GUEST_IMAGE_SOURCE_H
#define GUEST_IMAGE_SOURCE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct image_source {
    const uint8_t *data; /* NULL: read from fd */
    int fd;              /* both borrowed */
    uint64_t size;
};

/* Copy [offset, offset+len) to buf. -EINVAL when that is not all inside the image, or the host's
 * reason. */
int image_source_read(const struct image_source *source, uint64_t offset, void *buf, size_t len,
                      struct error *err);

/*
 * Open a file for reading and look at it. Returns the descriptor, which the caller owns, or the
 * host's reason; -EINVAL unless it is a regular file with something in it.
 */
int file_open(const char *path, struct stat *st, struct error *err);

/* Read exactly `len` bytes of a file; -EINVAL when it ends before. */
int file_read_at(int fd, uint64_t offset, void *buf, size_t len, struct error *err);

#endif
