/*
 * unix:PATH[,server=off]: a stream socket in the file system.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/option.h"
#include "base/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_RETRY_NS UINT64_C(1000000000)

struct unix_options {
    char *path;
    bool server;
};

static const struct option_spec unix_table[] = {
    {.key = "path",
     .type = OPTION_STRING,
     .offset = offsetof(struct unix_options, path),
     .help = "name of the socket",
     .metavar = "PATH",
     .required = true},
    {.key = "server",
     .type = OPTION_BOOL,
     .offset = offsetof(struct unix_options, server),
     .initial = "on",
     .help = "listen there (on), or connect to it (off)"},
};
static const char *const unix_keys[] = {"path", "server", NULL};

struct unix_chardev {
    struct chardev base;
    struct unix_options options;
    struct loop_fd listener; /* fd -1: server=off */
    bool listening;          /* being watched */
    struct loop_timer retry; /* accepting failed for want of something that comes back */
    int peer, output;        /* the same, twice: input and output are watched apart */
    struct loop_fd hang_up;  /* the same again: seen while the guest takes no input */
    bool hang_up_watched;
};

static struct unix_chardev *unix_of(struct chardev *base)
{
    return container_of(base, struct unix_chardev, base);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void listen_on(struct unix_chardev *sock)
{
    if (sock->listener.fd >= 0 && !sock->listening)
        sock->listening = !loop_fd_add(sock->base.loop, &sock->listener, NULL);
}

static void listen_off(struct unix_chardev *sock)
{
    if (sock->listening)
        loop_fd_remove(sock->base.loop, &sock->listener);
    sock->listening = false;
}

static void peer_disconnect(struct chardev *base)
{
    struct unix_chardev *sock = unix_of(base);

    chardev_input_clear(base);
    if (sock->hang_up_watched)
        loop_fd_remove(base->loop, &sock->hang_up);
    sock->hang_up_watched = false;
    close_fd(&sock->hang_up.fd);
    chardev_output_clear(base);
    close_fd(&sock->output);
    close_fd(&sock->peer);
    chardev_set_open(base, false);
    listen_on(sock);
}

/* Told once (EPOLLONESHOT). What the peer said before is not thrown away: then it is the end of
 * input, or the next output, that finds it gone. */
static void peer_hung_up(struct loop_fd *self, uint32_t events)
{
    int unread = 0;

    (void)events;
    if (ioctl(self->fd, FIONREAD, &unread) == 0 && unread > 0)
        return;
    peer_disconnect(&container_of(self, struct unix_chardev, hang_up)->base);
}

/* A peer that shut down its sending side (`echo ... | socat - unix:...`) still gets output. */
static void peer_ended(struct chardev *base)
{
    struct unix_chardev *sock = unix_of(base);
    struct pollfd peer = {.fd = sock->peer};

    poll(&peer, 1, 0);
    chardev_input_clear(base);
    if (peer.revents & (POLLHUP | POLLERR) || !sock->hang_up_watched)
        peer_disconnect(base);
}

static void peer_connected(struct unix_chardev *sock, int fd)
{
    sock->peer = fd;
    sock->output = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    sock->hang_up = (struct loop_fd){
        .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
        .events = EPOLLONESHOT, /* hang-ups are reported without being asked for */
        .ready = peer_hung_up,
    };
    if (sock->output < 0 || sock->hang_up.fd < 0) {
        log_limited(LOG_WARN, "chardev", "a client is turned away: %s", strerror(errno));
        close_fd(&sock->hang_up.fd);
        close_fd(&sock->output);
        close_fd(&sock->peer);
        return;
    }
    listen_off(sock);
    sock->hang_up_watched = !loop_fd_add(sock->base.loop, &sock->hang_up, NULL);
    chardev_output_set(&sock->base, sock->output, OUTPUT_SOCKET);
    chardev_set_open(&sock->base, true);
    chardev_input_set(&sock->base, sock->peer);
}

static void retry_expired(struct loop_timer *timer)
{
    listen_on(container_of(timer, struct unix_chardev, retry));
}

static void listener_ready(struct loop_fd *self, uint32_t events)
{
    struct unix_chardev *sock = container_of(self, struct unix_chardev, listener);
    int fd = accept4(self->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0) {
        peer_connected(sock, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        log_limited(LOG_WARN, "chardev", "a client has to wait: %s", strerror(errno));
        listen_off(sock);
        loop_timer_set(sock->base.loop, &sock->retry, ACCEPT_RETRY_NS);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        log_error("chardev", "%s takes no more clients: %s", sock->base.path, strerror(errno));
        listen_off(sock);
    }
}

static int unix_start(struct chardev *base, struct error *err)
{
    struct unix_chardev *sock = unix_of(base);

    (void)err;
    if (sock->listener.fd >= 0)
        listen_on(sock);
    else
        peer_connected(sock, sock->peer);
    return 0;
}

static void unix_close(struct chardev *base)
{
    struct unix_chardev *sock = unix_of(base);

    listen_off(sock);
    if (base->loop)
        loop_timer_cancel(base->loop, &sock->retry);
    if (sock->hang_up_watched)
        loop_fd_remove(base->loop, &sock->hang_up);
    close_fd(&sock->hang_up.fd);
    close_fd(&sock->output);
    close_fd(&sock->peer);
    if (sock->listener.fd >= 0) {
        unlink(sock->options.path);
        close_fd(&sock->listener.fd);
    }
    option_release(unix_table, ARRAY_SIZE(unix_table), &sock->options);
}

static const struct chardev_kind unix_kind = {
    .start = unix_start,
    .input_ended = peer_ended,
    .output_failed = peer_disconnect,
    .comes_and_goes = true,
    .close = unix_close,
};

static int unix_parse(const char *where, struct unix_options *options, struct error *err)
{
    struct option_list list = {0};
    char origin[160];
    int ret;

    snprintf(origin, sizeof(origin), "unix:%s", where);
    ret = option_list_parse(&list, origin, where, "path", err);
    if (!ret)
        ret = option_apply(unix_table, ARRAY_SIZE(unix_table), &list, options, err);
    if (!ret)
        ret = option_list_finish(&list, unix_keys, err);
    option_list_free(&list);
    return ret;
}

static int unix_open(struct unix_chardev *sock, const char *where, struct error *err)
{
    int ret = unix_parse(where, &sock->options, err);
    int fd;

    if (ret)
        return ret;
    sock->base.path = sock->options.path;
    fd = sock->options.server ? unix_socket_listen(sock->options.path, err)
                              : unix_socket_connect(sock->options.path, err);
    if (fd < 0)
        return fd;
    *(sock->options.server ? &sock->listener.fd : &sock->peer) = fd;
    return 0;
}

static struct unix_chardev *unix_alloc(struct error *err)
{
    struct unix_chardev *sock = calloc(1, sizeof(*sock));

    if (!sock) {
        error_set(err, ENOMEM, "no memory for a character device");
        return NULL;
    }
    sock->peer = sock->output = sock->hang_up.fd = -1;
    sock->listener = (struct loop_fd){-1, EPOLLIN, listener_ready};
    sock->retry.expired = retry_expired;
    sock->base.kind = &unix_kind;
    return sock;
}

int chardev_adopt_socket(int fd, struct chardev **out, struct error *err)
{
    struct unix_chardev *sock = unix_alloc(err);

    if (!sock)
        return -ENOMEM;
    sock->peer = fd;
    *out = &sock->base;
    return 0;
}

int chardev_open_unix(const char *where, struct chardev **out, struct error *err)
{
    struct unix_chardev *sock = unix_alloc(err);
    int ret;

    if (!sock)
        return -ENOMEM;
    ret = unix_open(sock, where, err);
    if (ret) {
        unix_close(&sock->base);
        free(sock);
        return ret;
    }
    *out = &sock->base;
    return 0;
}
