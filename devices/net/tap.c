/*
 * host=tap: a TAP interface of the host, which takes frames with their virtio header, straight from
 * and into guest memory, and keeps its own queue of frames the guest has no room for.
 *
 * The interface's send buffer is left as it is, unlimited by default: a frame from the guest goes
 * through the host's stack within write(2), and is dropped where that is too slow, as on any link.
 * Where somebody has set a limit (TUNSETSNDBUF), it is honoured.
 *
 * Of several queues the kernel gives a flow's frames to the one the flow was last sent on. Where
 * the driver asks for receive-side scaling, the device sorts the frames anew: one loop serves all
 * pairs, so that a program in the kernel (TUNSETSTEERINGEBPF) would spare it nothing.
 */
#include "devices/net/host.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/net/frame.h"
#include "devices/net/tap_open.h"

#include <errno.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define DROPS_AT_ONCE 64 /* frames that do not fit, before others get their turn */

struct tap_host;

/* One pair. Only what is waited for is in the loop: a detached queue is always ready. */
struct tap_queue {
    struct tap_host *host;
    struct loop_fd fd;
    bool added;    /* to the loop */
    bool attached; /* to the interface */
    bool watching, blocked;
};

struct tap_host {
    struct net_host base;
    struct loop *loop;
    unsigned offloads; /* what the interface takes */
    bool gone;         /* the interface was deleted */
    struct iovec iov[IOV_MAX];
    uint8_t bounce[NET_HEADER_SIZE + NET_FRAME_MAX];
    unsigned pairs;
    struct tap_queue queues[];
};

static struct tap_host *tap_of(struct net_host *base)
{
    return container_of(base, struct tap_host, base);
}

/* --- waiting --- */

static void queue_update(struct tap_queue *q)
{
    struct loop *loop = q->host->loop;
    uint32_t events = (q->watching ? EPOLLIN : 0) | (q->blocked ? EPOLLOUT : 0);
    struct error err = ERROR_INIT;

    if (!q->attached || q->host->gone)
        events = 0;
    if (q->added && events == 0) {
        loop_fd_remove(loop, &q->fd);
        q->added = false;
    } else if (q->added) {
        loop_fd_set_events(loop, &q->fd, events);
    } else if (events != 0) {
        q->fd.events = events;
        q->added = loop_fd_add(loop, &q->fd, &err) == 0;
        if (!q->added)
            log_limited(LOG_ERROR, "net", "tap: %s", err.text);
    }
}

static unsigned queue_pair(const struct tap_queue *q)
{
    return (unsigned)(q - q->host->queues);
}

static void queue_unblock(struct tap_queue *q)
{
    const struct net_host_events *device = &q->host->base.events;

    q->blocked = false;
    queue_update(q);
    device->writable(device->opaque, queue_pair(q));
}

/* Nothing comes any more, and no frame has to wait: each is lost. */
static void tap_gone(struct tap_host *t)
{
    if (!t->gone)
        log_error("net", "the TAP interface of a network device was deleted");
    t->gone = true;
    for (unsigned i = 0; i < t->pairs; i++) {
        if (t->queues[i].blocked)
            queue_unblock(&t->queues[i]);
        else
            queue_update(&t->queues[i]);
    }
}

static void queue_ready(struct loop_fd *self, uint32_t events)
{
    struct tap_queue *q = container_of(self, struct tap_queue, fd);
    const struct net_host_events *device = &q->host->base.events;

    if (events & EPOLLERR && !(events & EPOLLIN))
        tap_gone(q->host);
    if (q->blocked && events & EPOLLOUT)
        queue_unblock(q);
    if (events & EPOLLIN)
        device->readable(device->opaque, queue_pair(q));
}

static void tap_watch(struct net_host *base, unsigned pair, bool on)
{
    struct tap_queue *q = &tap_of(base)->queues[pair];

    q->watching = on;
    queue_update(q);
}

/* --- offloads --- */

static unsigned tun_offloads(unsigned offloads)
{
    static const struct {
        unsigned ours, theirs;
    } map[] = {
        {NET_OFFLOAD_CSUM, TUN_F_CSUM}, {NET_OFFLOAD_TSO4, TUN_F_TSO4},
        {NET_OFFLOAD_TSO6, TUN_F_TSO6}, {NET_OFFLOAD_ECN, TUN_F_TSO_ECN},
        {NET_OFFLOAD_UFO, TUN_F_UFO},   {NET_OFFLOAD_USO4, TUN_F_USO4},
        {NET_OFFLOAD_USO6, TUN_F_USO6},
    };
    unsigned result = 0;

    for (size_t i = 0; i < ARRAY_SIZE(map); i++)
        if (offloads & map[i].ours)
            result |= map[i].theirs;
    return result;
}

static bool tap_accepts(struct tap_host *t, unsigned offloads)
{
    return ioctl(t->queues[0].fd.fd, TUNSETOFFLOAD, tun_offloads(offloads)) == 0;
}

/* A kernel knows a kind of segments in both directions or in neither (USO: since Linux 6.2). */
static void tap_probe(struct tap_host *t)
{
    const unsigned uso = NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6;

    t->offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
    if (tap_accepts(t, t->offloads | NET_OFFLOAD_UFO))
        t->offloads |= NET_OFFLOAD_UFO;
    if (tap_accepts(t, t->offloads | uso))
        t->offloads |= uso;
    tap_accepts(t, 0);
}

/* One that was killed may have left it on an interface that stays (vhost.c). */
static void tap_clear_filter(struct tap_host *t)
{
    struct tun_filter none = {0};

    if (ioctl(t->queues[0].fd.fd, TUNSETTXFILTER, &none) < 0)
        log_debug("net", "cannot clear the filter of a TAP interface: %s", strerror(errno));
}

static unsigned tap_offloads(struct net_host *base)
{
    return tap_of(base)->offloads;
}

static void tap_set_offloads(struct net_host *base, unsigned offloads)
{
    if (!tap_accepts(tap_of(base), offloads))
        log_limited(LOG_WARN, "net", "the TAP interface refuses offloads 0x%x: %s", offloads,
                    strerror(errno));
}

/* --- queues --- */

static void tap_set_pairs(struct net_host *base, unsigned pairs)
{
    struct tap_host *t = tap_of(base);

    for (unsigned i = 0; i < t->pairs && t->pairs > 1; i++) {
        struct tap_queue *q = &t->queues[i];
        bool attach = i < pairs;
        struct ifreq request = {.ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

        if (q->attached == attach)
            continue;
        if (ioctl(q->fd.fd, TUNSETQUEUE, &request) < 0) {
            log_limited(LOG_WARN, "net", "cannot %s queue %u of the TAP interface: %s",
                        attach ? "attach" : "detach", i, strerror(errno));
            continue;
        }
        q->attached = attach;
        queue_update(q);
    }
}

/* --- frames --- */

static int tap_send(struct net_host *base, unsigned pair, const struct iovec *iov, unsigned count)
{
    struct tap_host *t = tap_of(base);
    struct tap_queue *q = &t->queues[pair];
    struct iovec whole = {.iov_base = t->bounce};
    ssize_t sent;

    if (count > IOV_MAX) {
        whole.iov_len = net_iov_read(iov, count, 0, t->bounce, sizeof(t->bounce));
        iov = &whole;
        count = 1;
    }
    do
        sent = writev(q->fd.fd, iov, (int)count);
    while (sent < 0 && errno == EINTR);
    /* Everything else is the host's judgement of this frame, or of its link: it is dropped. */
    if (sent >= 0 || errno != EAGAIN)
        return 0;
    q->blocked = true;
    queue_update(q);
    return -EAGAIN;
}

/* Guest memory, and one byte more that only a frame too long for it reaches. */
static unsigned receive_iov(struct tap_host *t, const struct iovec *iov, unsigned count)
{
    count = MIN(count, (unsigned)IOV_MAX - 1);
    memcpy(t->iov, iov, count * sizeof(*iov));
    t->iov[count] = (struct iovec){t->bounce, 1};
    return count + 1;
}

static ssize_t tap_receive(struct net_host *base, unsigned pair, const struct iovec *iov,
                           unsigned count)
{
    struct tap_host *t = tap_of(base);
    unsigned entries = receive_iov(t, iov, count);
    size_t room = net_iov_length(t->iov, entries) - 1;

    for (unsigned dropped = 0; dropped < DROPS_AT_ONCE; dropped++) {
        ssize_t got = readv(t->queues[pair].fd.fd, t->iov, (int)entries);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -EAGAIN;
        if ((size_t)got <= room)
            return got;
    }
    return -EAGAIN;
}

int net_tap_fd(struct net_host *tap, unsigned pair)
{
    return tap_of(tap)->queues[pair].fd.fd;
}

/* --- life --- */

static void tap_destroy(struct net_host *base)
{
    struct tap_host *t = tap_of(base);

    for (unsigned i = 0; i < t->pairs; i++) {
        if (t->queues[i].added)
            loop_fd_remove(t->loop, &t->queues[i].fd);
        close(t->queues[i].fd.fd);
    }
    free(t);
}

static const struct net_host_ops tap_ops = {
    .name = "tap",
    .offloads = tap_offloads,
    .set_offloads = tap_set_offloads,
    .set_pairs = tap_set_pairs,
    .send = tap_send,
    .receive = tap_receive,
    .watch = tap_watch,
    .destroy = tap_destroy,
};

static int tap_init(struct tap_host *t, const struct net_host_options *options, unsigned pairs,
                    struct error *err)
{
    int *fds = calloc(pairs, sizeof(*fds));
    int ret =
        fds ? tap_open(options, pairs, fds, err) : error_set(err, ENOMEM, "no memory for TAP");

    for (unsigned i = 0; !ret && i < pairs; i++) {
        t->queues[i].host = t;
        t->queues[i].fd = (struct loop_fd){.fd = fds[i], .ready = queue_ready};
        t->queues[i].attached = true;
    }
    free(fds);
    return ret;
}

int net_tap_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                   struct net_host **out, struct error *err)
{
    struct tap_host *t = calloc(1, sizeof(*t) + pairs * sizeof(t->queues[0]));
    int ret;

    if (!t)
        return error_set(err, ENOMEM, "no memory for a network");
    t->base.ops = &tap_ops;
    t->loop = loop;
    ret = tap_init(t, options, pairs, err);
    if (ret) {
        free(t);
        return ret;
    }
    t->pairs = pairs;
    tap_probe(t);
    tap_clear_filter(t);
    tap_set_pairs(&t->base, 1);
    *out = &t->base;
    return 0;
}
