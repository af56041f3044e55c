#include "guest/image_source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int file_open(const char *path, struct stat *st, struct error *err)
{
    /* Not blocking, so that a FIFO is refused instead of waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int ret;

    if (fd < 0)
        return error_errno(err, errno, "cannot open the file");
    if (fstat(fd, st) < 0)
        ret = error_errno(err, errno, "cannot look at the file");
    else if (!S_ISREG(st->st_mode))
        ret = error_set(err, EINVAL, "not a regular file");
    else if (st->st_size == 0)
        ret = error_set(err, EINVAL, "the file is empty");
    else
        return fd;
    close(fd);
    return ret;
}

int file_read_at(int fd, uint64_t offset, void *buf, size_t len, struct error *err)
{
    uint8_t *to = buf;

    while (len) {
        ssize_t n = pread(fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "read failed");
        if (n == 0)
            return error_set(err, EINVAL, "the file ends before offset 0x%" PRIx64, offset + len);
        to += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int image_source_read(const struct image_source *source, uint64_t offset, void *buf, size_t len,
                      struct error *err)
{
    if (offset > source->size || len > source->size - offset)
        return error_set(err, EINVAL,
                         "the image is truncated: %zu bytes at offset 0x%" PRIx64
                         " lie beyond its end at 0x%" PRIx64,
                         len, offset, source->size);
    if (!source->data)
        return file_read_at(source->fd, offset, buf, len, err);
    memcpy(buf, source->data + offset, len);
    return 0;
}
