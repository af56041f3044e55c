/*
 * host=user: the module's network, and a bounded queue of its frames for the guest.
 *
 * When the queue is long, the host's sockets are no longer read, so that what comes waits there.
 * What the guest itself provokes (acknowledgements, echoes) still comes in; beyond a limit it is
 * lost.
 */
#include "devices/net/user.h"

#include "base/bytes.h"
#include "base/module.h"
#include "devices/net/frame.h"

#include <errno.h>
#include <stdlib.h>

#define QUEUE_LONG (256 * KIB)
#define QUEUE_MAX  MIB

struct queued_frame {
    struct queued_frame *next;
    size_t length;
    uint8_t bytes[];
};

struct user_host {
    struct net_host base;
    struct loop *loop;
    struct module module;
    const struct user_module *ops;
    struct user_network *network;

    struct queued_frame *first, **last;
    size_t queued; /* bytes, with what keeps them */
    bool paused, watching;
    struct loop_timer again; /* there are frames: tell the device */

    uint8_t frame[NET_FRAME_MAX]; /* from the guest */
};

static struct user_host *user_of(struct net_host *base)
{
    return container_of(base, struct user_host, base);
}

/* --- the queue --- */

static void queue_announce(struct user_host *u)
{
    if (u->watching && u->first && !u->again.deadline_ns)
        loop_timer_set(u->loop, &u->again, 0);
}

static void again_expired(struct loop_timer *timer)
{
    struct user_host *u = container_of(timer, struct user_host, again);

    if (u->watching && u->first)
        u->base.events.readable(u->base.events.opaque, 0);
}

static void queue_pause(struct user_host *u, bool on)
{
    if (u->paused != on)
        u->ops->pause(u->network, on);
    u->paused = on;
}

static void user_deliver(void *opaque, const void *frame, size_t length)
{
    struct user_host *u = opaque;
    size_t size = sizeof(struct queued_frame) + length;
    struct queued_frame *queued;

    if (u->queued + size > QUEUE_MAX)
        return;
    queued = malloc(size);
    if (!queued)
        return;
    queued->next = NULL;
    queued->length = length;
    memcpy(queued->bytes, frame, length);
    *u->last = queued;
    u->last = &queued->next;
    u->queued += size;
    if (u->queued > QUEUE_LONG)
        queue_pause(u, true);
    queue_announce(u);
}

static void queue_drop_first(struct user_host *u)
{
    struct queued_frame *first = u->first;

    u->first = first->next;
    if (!u->first)
        u->last = &u->first;
    u->queued -= sizeof(*first) + first->length;
    free(first);
    if (u->queued < QUEUE_LONG / 2)
        queue_pause(u, false);
}

/* --- the host side --- */

static int user_start(struct net_host *base, struct error *err)
{
    struct user_host *u = user_of(base);
    return u->ops->start(u->network, err);
}

static unsigned user_offloads(struct net_host *base)
{
    (void)base;
    return 0;
}

static void user_set_offloads(struct net_host *base, unsigned offloads)
{
    (void)base;
    (void)offloads;
}

static int user_send(struct net_host *base, unsigned pair, const struct iovec *iov, unsigned count)
{
    struct user_host *u = user_of(base);
    size_t length = net_frame_gather(iov, count, u->frame, sizeof(u->frame));

    (void)pair;
    if (length > 0)
        u->ops->input(u->network, u->frame, length);
    return 0;
}

static ssize_t user_receive(struct net_host *base, unsigned pair, const struct iovec *iov,
                            unsigned count)
{
    struct user_host *u = user_of(base);
    ssize_t ret = -EAGAIN;

    while (pair == 0 && ret < 0 && u->first) {
        ret = net_frame_scatter(iov, count, u->first->bytes, u->first->length);
        queue_drop_first(u);
    }
    return ret < 0 ? -EAGAIN : ret;
}

static void user_watch(struct net_host *base, unsigned pair, bool on)
{
    struct user_host *u = user_of(base);

    if (pair != 0)
        return;
    u->watching = on;
    queue_announce(u);
}

static void user_destroy(struct net_host *base)
{
    struct user_host *u = user_of(base);

    if (u->network)
        u->ops->destroy(u->network);
    module_unload(&u->module);
    loop_timer_cancel(u->loop, &u->again);
    for (struct queued_frame *next, *frame = u->first; frame; frame = next) {
        next = frame->next;
        free(frame);
    }
    free(u);
}

static const struct net_host_ops user_ops = {
    .name = "user",
    .start = user_start,
    .offloads = user_offloads,
    .set_offloads = user_set_offloads,
    .send = user_send,
    .receive = user_receive,
    .watch = user_watch,
    .destroy = user_destroy,
};

static int user_load(struct user_host *u, const struct net_host_options *options, struct error *err)
{
    const struct user_services services = {
        .loop = u->loop,
        .fd_add = loop_fd_add,
        .fd_set_events = loop_fd_set_events,
        .fd_remove = loop_fd_remove,
        .timer_set = loop_timer_set,
        .timer_cancel = loop_timer_cancel,
        .deliver = user_deliver,
        .opaque = u,
    };
    int ret = module_load(&u->module, "user", err);

    if (ret) {
        error_prefix(err, "host=user");
        return ret;
    }
    u->ops = u->module.table;
    return u->ops->create(options, &services, &u->network, err);
}

int net_user_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                    struct net_host **out, struct error *err)
{
    struct user_host *u = calloc(1, sizeof(*u));
    int ret;

    (void)pairs; /* all send; frames come in on the first one only */
    if (!u)
        return error_set(err, ENOMEM, "no memory for a network");
    u->base.ops = &user_ops;
    u->loop = loop;
    u->last = &u->first;
    u->again.expired = again_expired;
    ret = user_load(u, options, err);
    if (ret) {
        user_destroy(&u->base);
        return ret;
    }
    *out = &u->base;
    return 0;
}
