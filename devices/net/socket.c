/*
 * host=socket: two machines wired together by a Unix stream socket.
 *
 * On the stream each frame follows its length, 32 bits, big-endian, without a header: what QEMU's
 * -netdev stream speaks, so that a QEMU may be the other end. Nothing is offloaded.
 *
 * With server=auto the machine that comes first listens and the other one connects; when they lose
 * each other, the server listens on, and the client tries again, or listens if the server has taken
 * its socket away. While nobody is there, frames are dropped, as on a cable that is not plugged in.
 */
#include "devices/net/host.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/net/frame.h"
#include "devices/net/rendezvous.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH_SIZE   4
#define RECORD_MAX    (LENGTH_SIZE + NET_FRAME_MAX)
#define RETRY_NS      UINT64_C(1000000000)
#define DROPS_AT_ONCE 64 /* frames that do not fit, before others get their turn */

struct socket_host {
    struct net_host base;
    const struct net_host_options *options;
    struct loop *loop;
    unsigned pairs; /* all send; frames come in on the first one only */
    bool watching;
    struct loop_timer again; /* tell the device what no event of a socket will */
    struct loop_timer retry; /* the meeting place, once more */

    struct loop_fd listener; /* fd -1: none */
    struct loop_fd peer;     /* fd -1: none */

    size_t in_start, in_end;   /* what of `in` was received and not yet taken */
    size_t out_start, out_end; /* what of `out` is not yet sent */
    bool out_wanted;           /* a send was refused meanwhile */
    uint8_t out[RECORD_MAX];
    uint8_t in[2 * RECORD_MAX];
};

static struct socket_host *socket_of(struct net_host *base)
{
    return container_of(base, struct socket_host, base);
}

/* --- the peer --- */

static void peer_update(struct socket_host *s)
{
    uint32_t events = (s->watching ? EPOLLIN : 0) | (s->out_end > 0 ? EPOLLOUT : 0);

    if (s->peer.fd >= 0)
        loop_fd_set_events(s->loop, &s->peer, events);
}

static void peer_writable(struct socket_host *s)
{
    bool wanted = s->out_wanted;

    s->out_start = s->out_end = 0;
    s->out_wanted = false;
    for (unsigned i = 0; wanted && i < s->pairs; i++)
        s->base.events.writable(s->base.events.opaque, i);
}

static void peer_lost(struct socket_host *s, const char *why)
{
    log_limited(LOG_INFO, "net", "%s: the other end is gone: %s", s->options->path, why);
    loop_fd_close(s->loop, &s->peer);
    s->in_start = s->in_end = 0;
    s->out_start = s->out_end = 0;
    if (s->listener.fd < 0)
        loop_timer_set(s->loop, &s->retry, RETRY_NS);
    /* Not at once: it may be the device that called. */
    loop_timer_set(s->loop, &s->again, 0);
}

/* Go on with what is left of a record. */
static void peer_flush(struct socket_host *s)
{
    while (s->out_start < s->out_end) {
        ssize_t sent = send(s->peer.fd, s->out + s->out_start, s->out_end - s->out_start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            peer_lost(s, strerror(errno));
            return;
        }
        s->out_start += (size_t)sent;
    }
    if (s->out_start == s->out_end)
        peer_writable(s);
    peer_update(s);
}

static void peer_ready(struct loop_fd *self, uint32_t events)
{
    struct socket_host *s = container_of(self, struct socket_host, peer);

    /* What was said before the end is still read, when there is room for it. */
    if (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN)) {
        peer_lost(s, "it hung up");
        return;
    }
    if (events & EPOLLOUT)
        peer_flush(s);
    if (events & EPOLLIN && s->peer.fd >= 0)
        s->base.events.readable(s->base.events.opaque, 0);
}

static void peer_connected(struct socket_host *s, int fd)
{
    struct error err = ERROR_INIT;

    s->peer.fd = fd;
    s->peer.events = s->watching ? EPOLLIN : 0;
    if (loop_fd_add(s->loop, &s->peer, &err) < 0) {
        log_limited(LOG_WARN, "net", "%s: %s", s->options->path, err.text);
        close(fd);
        s->peer.fd = -1;
        return;
    }
    log_limited(LOG_INFO, "net", "%s: connected", s->options->path);
}

/* --- meeting --- */

static void listener_ready(struct loop_fd *self, uint32_t events)
{
    struct socket_host *s = container_of(self, struct socket_host, listener);
    int fd = accept4(self->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0 && s->peer.fd < 0) {
        peer_connected(s, fd);
    } else if (fd >= 0) {
        log_limited(LOG_WARN, "net", "%s: a third machine is turned away", s->options->path);
        close(fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        /* For want of something that comes back, such as file descriptors. */
        log_limited(LOG_WARN, "net", "%s: a machine has to wait: %s", s->options->path,
                    strerror(errno));
        loop_fd_set_events(s->loop, self, 0);
        loop_timer_set(s->loop, &s->retry, RETRY_NS);
    }
}

static int meet(struct socket_host *s, struct error *err)
{
    struct rendezvous met = {-1, -1};
    int ret = rendezvous(s->options->path, (enum net_socket_role)s->options->role, &met, err);

    if (ret == -EAGAIN) {
        loop_timer_set(s->loop, &s->retry, RETRY_NS);
        return 0;
    }
    if (ret)
        return ret;
    if (met.peer >= 0) {
        peer_connected(s, met.peer);
        return 0;
    }
    s->listener.fd = met.listener;
    s->listener.events = EPOLLIN;
    ret = loop_fd_add(s->loop, &s->listener, err);
    if (ret) {
        close(s->listener.fd);
        s->listener.fd = -1;
    }
    return ret;
}

static void retry_expired(struct loop_timer *timer)
{
    struct socket_host *s = container_of(timer, struct socket_host, retry);
    struct error err = ERROR_INIT;

    if (s->listener.fd >= 0) {
        loop_fd_set_events(s->loop, &s->listener, EPOLLIN);
    } else if (s->peer.fd < 0 && meet(s, &err) < 0) {
        log_limited(LOG_WARN, "net", "%s", err.text);
        loop_timer_set(s->loop, &s->retry, RETRY_NS);
    }
}

static int socket_start(struct net_host *base, struct error *err)
{
    struct socket_host *s = socket_of(base);
    int ret = meet(s, err);

    if (!ret && s->retry.deadline_ns)
        log_warn("net", "%s: nobody listens there yet; waiting", s->options->path);
    return ret;
}

/* --- frames --- */

static unsigned socket_offloads(struct net_host *base)
{
    (void)base;
    return 0;
}

static void socket_set_offloads(struct net_host *base, unsigned offloads)
{
    (void)base;
    (void)offloads;
}

static int socket_send(struct net_host *base, unsigned pair, const struct iovec *iov,
                       unsigned count)
{
    struct socket_host *s = socket_of(base);
    size_t length;

    (void)pair;
    if (s->peer.fd < 0)
        return 0;
    if (s->out_end > 0) {
        s->out_wanted = true;
        return -EAGAIN;
    }
    length = net_frame_gather(iov, count, s->out + LENGTH_SIZE, NET_FRAME_MAX);
    if (length == 0)
        return 0;
    store_be32(s->out, (uint32_t)length);
    s->out_end = LENGTH_SIZE + length;
    peer_flush(s);
    return 0;
}

/* Of the first frame in `in`, or 0 when it is not complete. A length that no frame can have: the
 * stream is lost. */
static size_t in_frame(struct socket_host *s)
{
    size_t have = s->in_end - s->in_start;
    size_t length;

    if (have < LENGTH_SIZE)
        return 0;
    length = load_be32(s->in + s->in_start);
    if (length == 0 || length > NET_FRAME_MAX) {
        peer_lost(s, "it sent a frame of a length that cannot be");
        return 0;
    }
    return have - LENGTH_SIZE >= length ? length : 0;
}

/* Read on. False: there is nothing more now. */
static bool in_fill(struct socket_host *s)
{
    ssize_t got;

    if (s->in_start > 0) {
        memmove(s->in, s->in + s->in_start, s->in_end - s->in_start);
        s->in_end -= s->in_start;
        s->in_start = 0;
    }
    if (s->peer.fd < 0)
        return false;
    got = recv(s->peer.fd, s->in + s->in_end, sizeof(s->in) - s->in_end, MSG_DONTWAIT);
    if (got > 0)
        s->in_end += (size_t)got;
    else if (got == 0)
        peer_lost(s, "it hung up");
    else if (errno != EAGAIN && errno != EINTR)
        peer_lost(s, strerror(errno));
    return got > 0;
}

static ssize_t socket_receive(struct net_host *base, unsigned pair, const struct iovec *iov,
                              unsigned count)
{
    struct socket_host *s = socket_of(base);

    for (unsigned dropped = 0; pair == 0 && dropped < DROPS_AT_ONCE; dropped++) {
        size_t length = in_frame(s);
        ssize_t ret;

        while (length == 0 && in_fill(s))
            length = in_frame(s);
        if (length == 0)
            return -EAGAIN;
        ret = net_frame_scatter(iov, count, s->in + s->in_start + LENGTH_SIZE, length);
        s->in_start += LENGTH_SIZE + length;
        if (ret > 0)
            return ret;
    }
    if (pair == 0)
        loop_timer_set(s->loop, &s->again, 0);
    return -EAGAIN;
}

/* Frames that are in memory already do not make the socket readable, and one that is closed is
 * never writable. */
static void again_expired(struct loop_timer *timer)
{
    struct socket_host *s = container_of(timer, struct socket_host, again);

    if (s->out_end == 0)
        peer_writable(s);
    if (s->watching && s->in_start < s->in_end)
        s->base.events.readable(s->base.events.opaque, 0);
}

static void socket_watch(struct net_host *base, unsigned pair, bool on)
{
    struct socket_host *s = socket_of(base);

    if (pair != 0 || s->watching == on)
        return;
    s->watching = on;
    peer_update(s);
    if (on && s->in_start < s->in_end)
        loop_timer_set(s->loop, &s->again, 0);
}

static void socket_destroy(struct net_host *base)
{
    struct socket_host *s = socket_of(base);

    loop_timer_cancel(s->loop, &s->again);
    loop_timer_cancel(s->loop, &s->retry);
    if (s->listener.fd >= 0)
        unlink(s->options->path);
    loop_fd_close(s->loop, &s->listener);
    loop_fd_close(s->loop, &s->peer);
    free(s);
}

static const struct net_host_ops socket_ops = {
    .name = "socket",
    .start = socket_start,
    .offloads = socket_offloads,
    .set_offloads = socket_set_offloads,
    .send = socket_send,
    .receive = socket_receive,
    .watch = socket_watch,
    .destroy = socket_destroy,
};

int net_socket_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                      struct net_host **out, struct error *err)
{
    struct socket_host *s;
    int ret = rendezvous_check(options->path, err);

    if (ret)
        return ret;
    s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(err, ENOMEM, "no memory for a network");
    s->base.ops = &socket_ops;
    s->options = options;
    s->pairs = pairs;
    s->loop = loop;
    s->listener = (struct loop_fd){-1, EPOLLIN, listener_ready};
    s->peer = (struct loop_fd){-1, 0, peer_ready};
    s->again.expired = again_expired;
    s->retry.expired = retry_expired;
    *out = &s->base;
    return 0;
}
