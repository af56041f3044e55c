/*
 * fd:N: a descriptor that this process inherited. It belongs to the device from then on.
 *
 * A socket is treated as the one client of a Unix socket. Of anything else, what it was opened for
 * decides about input and output.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/inherited_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct fd_chardev {
    struct chardev base;
    int in, out; /* -1: not opened for that */
    enum chardev_output_mode out_mode;
};

static struct fd_chardev *fd_of(struct chardev *base)
{
    return container_of(base, struct fd_chardev, base);
}

static int fd_start(struct chardev *base, struct error *err)
{
    struct fd_chardev *it = fd_of(base);

    (void)err;
    if (it->out >= 0)
        chardev_output_set(base, it->out, it->out_mode);
    if (it->in >= 0)
        chardev_input_set(base, it->in);
    return 0;
}

static void fd_close(struct chardev *base)
{
    struct fd_chardev *it = fd_of(base);

    if (it->out >= 0)
        close(it->out);
    if (it->in >= 0)
        close(it->in);
}

static bool fd_size(struct chardev *base, uint16_t *columns, uint16_t *rows)
{
    return chardev_terminal_size(fd_of(base)->out, columns, rows);
}

static const struct chardev_kind fd_kind = {
    .start = fd_start,
    .size = fd_size,
    .close = fd_close,
};

static int adopt_socket(int fd, struct chardev **out, struct error *err)
{
    int type = 0, listening = 0;
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || listening)
        return error_set(err, EINVAL, "fd:%d: is not a connected stream socket", fd);
    return chardev_adopt_socket(fd, out, err);
}

static int adopt_other(int fd, struct chardev **out, struct error *err)
{
    struct fd_chardev *it = calloc(1, sizeof(*it));
    int access = fcntl(fd, F_GETFL) & O_ACCMODE;
    enum chardev_output_mode unused;
    int code;

    if (!it)
        return error_set(err, ENOMEM, "no memory for a character device");
    it->base.kind = &fd_kind;
    it->in = access == O_WRONLY ? -1 : chardev_own_fd(fd, O_RDONLY, &unused);
    it->out = access == O_RDONLY ? -1 : chardev_own_fd(fd, O_WRONLY, &it->out_mode);
    code = errno;
    close(fd);
    if ((it->in < 0 && access != O_WRONLY) || (it->out < 0 && access != O_RDONLY)) {
        fd_close(&it->base);
        free(it);
        return error_errno(err, code, "fd:%d", fd);
    }
    *out = &it->base;
    return 0;
}

int chardev_open_fd(const char *where, struct chardev **out, struct error *err)
{
    struct stat status;
    int fd = -1, ret = inherited_fd_take("fd", where, &fd, err);

    if (ret)
        return ret;
    if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
        return adopt_socket(fd, out, err);
    return adopt_other(fd, out, err);
}
