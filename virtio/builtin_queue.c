/*
 * Queues of the built-in back end: started, served and stopped on the model's loop.
 */
#include "virtio/builtin_internal.h"

#include "base/event_signal.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

/* A queue gets this many buffers handled before the others of its loop get their turn... */
#define TURN_BUFFERS 256
/* ...and is asked this often whether there is more, which saves going back to the loop. */
#define TURN_ROUNDS 4

/* --- serving ---------------------------------------------------------------------------------- */

static void queue_stop_listening(struct builtin_queue *queue)
{
    if (queue->listening)
        loop_fd_remove(queue->owner->loop, &queue->kick);
    queue->listening = false;
}

static void queue_broken(struct builtin_queue *queue, int reason)
{
    const struct virtqueue_rule *rule = &queue->ring.broken;
    struct virtio_builtin *b = queue->owner;

    if (queue->broken)
        return;
    queue->broken = true;
    queue_stop_listening(queue);
    if (rule->id)
        log_limited(LOG_WARN, "virtio", "%s: queue %u is broken: %s: %s", b->backend.name,
                    queue->ring.index, rule->id, rule->what);
    else
        log_limited(LOG_WARN, "virtio", "%s: queue %u cannot go on: %s", b->backend.name,
                    queue->ring.index, strerror(-reason));
    b->backend.events.needs_reset(b->backend.events.opaque);
}

static void queue_log_bent(struct builtin_queue *queue)
{
    struct virtqueue_rule *rule = &queue->ring.bent;

    if (!rule->id)
        return;
    log_limited(LOG_INFO, "virtio", "%s: queue %u: %s: %s", queue->owner->backend.name,
                queue->ring.index, rule->id, rule->what);
    *rule = (struct virtqueue_rule){0};
}

/* Let the model work through the queue; true when there is more to do. */
static bool queue_serve(struct builtin_queue *queue)
{
    struct virtio_builtin *b = queue->owner;
    struct virtqueue *ring = &queue->ring;
    bool more;
    int ret;

    virtqueue_disable_kicks(ring);
    ret = b->model->queue_ready(b->state, ring);
    virtqueue_publish(ring);
    queue_log_bent(queue);
    if (ret < 0) {
        queue_broken(queue, ret);
        return false;
    }
    more = ret != VIRTIO_QUEUE_QUIET && virtqueue_enable_kicks(ring);
    return more || virtqueue_budget_spent(ring);
}

static void queue_kicked(struct loop_fd *kick, uint32_t events)
{
    struct builtin_queue *queue = container_of(kick, struct builtin_queue, kick);
    bool more = true;

    (void)events;
    virtqueue_set_budget(&queue->ring, TURN_BUFFERS);
    for (int i = 0; i < TURN_ROUNDS && more && !virtqueue_budget_spent(&queue->ring); i++)
        more = queue_serve(queue);
    virtqueue_set_budget(&queue->ring, UINT64_MAX); /* the model may pop outside of turns, too */
    if (more)
        event_signal(kick->fd);
}

/* --- start and stop --------------------------------------------------------------------------- */

struct start_call {
    struct virtio_builtin *builtin;
    const struct virtqueue_setup *setup;
    struct virtqueue_position position;
    int kick_fd;
    struct error *err;
    int ret;
};

static void start_lent(struct start_call *call, struct builtin_queue *queue)
{
    struct virtio_backend *deputy = call->builtin->deputy;

    call->ret =
        deputy->ops->queue_start(deputy, call->setup, call->position, call->kick_fd, call->err);
    queue->lent = call->ret == 0;
}

static void start_on_loop(void *arg)
{
    struct start_call *call = arg;
    struct virtio_builtin *b = call->builtin;
    struct builtin_queue *queue = &b->queues[call->setup->index];

    queue->setup = *call->setup;
    if (b->deputy && b->model->queue_lent(b->state, call->setup->index)) {
        start_lent(call, queue);
        return;
    }
    queue->ring.log = b->log;
    call->ret = virtqueue_start(&queue->ring, b->backend.memory, call->setup, &b->negotiated,
                                call->position, call->err);
    if (call->ret)
        return;
    /* By its edge: so it need not be read, which is one system call in four for a small disk
     * request. Its counter has room for a kick each nanosecond for centuries. */
    queue->kick = (struct loop_fd){call->kick_fd, EPOLLIN | EPOLLET, queue_kicked};
    call->ret = loop_fd_add(b->loop, &queue->kick, call->err);
    if (call->ret) {
        virtqueue_stop(&queue->ring);
        return;
    }
    queue->listening = true;
    queue->broken = false;
}

/* For models that decide themselves when the driver is interrupted. */
static void notify_model(void *opaque, uint16_t index)
{
    struct virtio_builtin *b = opaque;

    b->model->queue_notify(b->state, &b->queues[index].ring);
}

int builtin_queue_start(struct virtio_backend *backend, const struct virtqueue_setup *setup,
                        struct virtqueue_position position, int kick_fd, struct error *err)
{
    struct start_call call = {builtin_of(backend), setup, position, kick_fd, err, 0};
    struct virtqueue *ring = &call.builtin->queues[setup->index].ring;

    ring->record =
        backend->records ? backend->records[setup->index] : (struct virtqueue_record){NULL, 0};
    /* Straight to the device: one call less for each interrupt. */
    ring->notify = backend->events.notify_queue;
    ring->notify_opaque = backend->events.opaque;
    if (call.builtin->model->queue_notify) {
        ring->notify = notify_model;
        ring->notify_opaque = call.builtin;
    }
    loop_call(call.builtin->loop, start_on_loop, &call);
    return call.ret;
}

struct stop_call {
    struct builtin_queue *queue;
    struct virtqueue_position position;
};

static void stop_on_loop(void *arg)
{
    struct stop_call *call = arg;
    struct builtin_queue *queue = call->queue;
    struct virtio_builtin *b = queue->owner;

    if (queue->lent) {
        call->position = b->deputy->ops->queue_stop(b->deputy, (uint16_t)(queue - b->queues));
        queue->lent = false;
        return;
    }
    queue_stop_listening(queue);
    if (b->model->queue_drain)
        b->model->queue_drain(b->state, &queue->ring);
    virtqueue_publish(&queue->ring);
    call->position = virtqueue_stop(&queue->ring);
}

struct virtqueue_position builtin_queue_stop(struct virtio_backend *backend, uint16_t index)
{
    struct virtio_builtin *b = builtin_of(backend);
    struct stop_call call = {.queue = &b->queues[index]};

    loop_call(b->loop, stop_on_loop, &call);
    return call.position;
}

/* --- dirty log -------------------------------------------------------------------------------- */

struct log_call {
    struct virtio_builtin *builtin;
    struct dirty_log *log;
    struct error *err;
    int ret;
};

/* A ring learns of a log when it starts; what was in flight is done by then. One that is broken
 * writes nothing new. */
static void restart(struct builtin_queue *queue)
{
    struct stop_call stop = {.queue = queue};
    struct error err = ERROR_INIT;
    struct start_call start = {queue->owner, &queue->setup, {0}, queue->kick.fd, &err, 0};

    stop_on_loop(&stop);
    start.position = stop.position;
    start_on_loop(&start);
    if (start.ret)
        queue_broken(queue, start.ret);
    else
        event_signal(queue->kick.fd); /* there may be buffers already */
}

static void log_on_loop(void *arg)
{
    struct log_call *call = arg;
    struct virtio_builtin *b = call->builtin;

    if (b->deputy)
        call->ret = b->deputy->ops->dirty_log(b->deputy, call->log, call->err);
    if (call->ret && call->log)
        return;
    b->log = call->log; /* one that is to be used no more goes away, whatever the deputy says */
    for (uint16_t i = 0; i < b->queue_count; i++) {
        struct builtin_queue *queue = &b->queues[i];

        if (!b->log)
            virtqueue_stop_logging(&queue->ring);
        else if (queue->listening)
            restart(queue);
        else if (queue->broken && queue->ring.format && b->model->queue_drain)
            b->model->queue_drain(b->state, &queue->ring);
    }
}

int builtin_dirty_log(struct virtio_backend *backend, struct dirty_log *log, struct error *err)
{
    struct log_call call = {builtin_of(backend), log, err, 0};

    loop_call(call.builtin->loop, log_on_loop, &call);
    return call.ret;
}

/* --- for models ------------------------------------------------------------------------------- */

struct virtqueue *virtio_builtin_queue(struct virtio_builtin *b, uint16_t index)
{
    return b->queues[index].listening ? &b->queues[index].ring : NULL;
}

bool virtio_builtin_queue_runs(const struct virtio_builtin *b, uint16_t index)
{
    return b->queues[index].listening || b->queues[index].lent;
}

void virtio_builtin_notify(struct virtio_builtin *b, struct virtqueue *queue)
{
    b->backend.events.notify_queue(b->backend.events.opaque, queue->index);
}

void virtio_builtin_kick(struct virtio_builtin *b, struct virtqueue *queue)
{
    struct builtin_queue *kicked = container_of(queue, struct builtin_queue, ring);

    (void)b;
    if (kicked->listening)
        event_signal(kicked->kick.fd);
}

void virtio_builtin_broken(struct virtio_builtin *b, struct virtqueue *queue)
{
    (void)b;
    queue_broken(container_of(queue, struct builtin_queue, ring), -EIO);
}
