/*
 * pty: a new pseudo-terminal.
 *
 * While no process has its slave open, the master hangs up, persistently; and nothing at the master
 * tells when that ends. inotify does: IN_OPEN on the slave's name.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

struct pty_chardev {
    struct chardev base;
    int master, output; /* the same, twice: input and output are watched apart */
    struct loop_fd opened;
    bool started, connected;
    char path[64];
};

static struct pty_chardev *pty_of(struct chardev *base)
{
    return container_of(base, struct pty_chardev, base);
}

static void pty_connect(struct pty_chardev *pty)
{
    struct pollfd master = {.fd = pty->master};

    poll(&master, 1, 0);
    if (pty->connected || (master.revents & POLLHUP))
        return;
    pty->connected = true;
    chardev_output_set(&pty->base, pty->output, OUTPUT_NONBLOCKING);
    chardev_set_open(&pty->base, true);
    /* Whoever opened it may have set a size before or does so now; nothing tells of later ones. */
    if (pty->base.client.resized)
        pty->base.client.resized(pty->base.client.opaque);
    chardev_input_set(&pty->base, pty->master);
}

static void pty_disconnect(struct chardev *base)
{
    chardev_input_clear(base);
    chardev_output_clear(base);
    pty_of(base)->connected = false;
    chardev_set_open(base, false);
}

static bool pty_size(struct chardev *base, uint16_t *columns, uint16_t *rows)
{
    return chardev_terminal_size(pty_of(base)->master, columns, rows);
}

static void pty_opened(struct loop_fd *self, uint32_t events)
{
    char buffer[512] __attribute__((aligned(__alignof__(struct inotify_event))));

    (void)events;
    while (read(self->fd, buffer, sizeof(buffer)) > 0)
        ;
    pty_connect(container_of(self, struct pty_chardev, opened));
}

static int pty_start(struct chardev *base, struct error *err)
{
    struct pty_chardev *pty = pty_of(base);
    int ret = loop_fd_add(base->loop, &pty->opened, err);

    if (ret)
        return ret;
    pty->started = true;
    pty_connect(pty); /* who opened it before is not missed */
    /* Whatever the threshold: without it the user has nothing to connect to. */
    log_write(LOG_INFO, "chardev", "%s is on %s", base->name, pty->path);
    return 0;
}

static void pty_close(struct chardev *base)
{
    struct pty_chardev *pty = pty_of(base);

    if (pty->started)
        loop_fd_remove(base->loop, &pty->opened);
    if (pty->opened.fd >= 0)
        close(pty->opened.fd);
    if (pty->output >= 0)
        close(pty->output);
    if (pty->master >= 0)
        close(pty->master);
}

static const struct chardev_kind pty_kind = {
    .start = pty_start,
    .input_ended = pty_disconnect,
    .output_failed = pty_disconnect,
    .size = pty_size,
    .comes_and_goes = true,
    .close = pty_close,
};

static int set_raw(const char *path, struct error *err)
{
    int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios settings;
    int ret = 0;

    if (slave < 0)
        return error_errno(err, errno, "cannot open %s", path);
    if (tcgetattr(slave, &settings) < 0)
        ret = -errno;
    cfmakeraw(&settings);
    if (!ret && tcsetattr(slave, TCSANOW, &settings) < 0)
        ret = -errno;
    close(slave);
    return ret ? error_errno(err, -ret, "cannot set up %s", path) : 0;
}

static int pty_open(struct pty_chardev *pty, struct error *err)
{
    int ret;

    pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (pty->master < 0 || grantpt(pty->master) < 0 || unlockpt(pty->master) < 0 ||
        ptsname_r(pty->master, pty->path, sizeof(pty->path)) != 0)
        return error_errno(err, errno, "cannot make a pseudo-terminal");
    ret = set_raw(pty->path, err);
    if (ret)
        return ret;
    pty->output = fcntl(pty->master, F_DUPFD_CLOEXEC, 0);
    if (pty->output < 0)
        return error_errno(err, errno, "cannot make a pseudo-terminal");
    pty->opened = (struct loop_fd){inotify_init1(IN_NONBLOCK | IN_CLOEXEC), EPOLLIN, pty_opened};
    if (pty->opened.fd < 0 || inotify_add_watch(pty->opened.fd, pty->path, IN_OPEN) < 0)
        return error_errno(err, errno, "cannot watch %s", pty->path);
    return 0;
}

int chardev_open_pty(const char *where, struct chardev **out, struct error *err)
{
    struct pty_chardev *pty = calloc(1, sizeof(*pty));
    int ret;

    (void)where;
    if (!pty)
        return error_set(err, ENOMEM, "no memory for a character device");
    pty->master = pty->output = pty->opened.fd = -1;
    pty->base.kind = &pty_kind;
    pty->base.path = pty->path;
    ret = pty_open(pty, err);
    if (ret) {
        pty_close(&pty->base);
        free(pty);
        return ret;
    }
    *out = &pty->base;
    return 0;
}
