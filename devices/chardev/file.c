/*
 * file:PATH: output appended to a file.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct file_chardev {
    struct chardev base;
    int fd;
};

static int file_start(struct chardev *base, struct error *err)
{
    (void)err;
    chardev_output_set(base, container_of(base, struct file_chardev, base)->fd, OUTPUT_NONBLOCKING);
    return 0;
}

static void file_close(struct chardev *base)
{
    close(container_of(base, struct file_chardev, base)->fd);
}

static const struct chardev_kind file_kind = {.start = file_start, .close = file_close};

int chardev_open_file(const char *where, struct chardev **out, struct error *err)
{
    struct file_chardev *file = calloc(1, sizeof(*file));
    int code;

    if (!file)
        return error_set(err, ENOMEM, "no memory for a character device");
    /* O_NONBLOCK is for FIFOs and devices. */
    file->fd = open(where, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (file->fd >= 0) {
        file->base.kind = &file_kind;
        *out = &file->base;
        return 0;
    }
    code = errno;
    free(file);
    if (code == ENXIO)
        return error_set(err, code, "cannot write to %s: nobody reads it", where);
    return error_errno(err, code, "cannot open %s for writing", where);
}
