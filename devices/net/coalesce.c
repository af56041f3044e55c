/*
 * Notification coalescing (5.1.9.5.10): used buffers are published at once, and the interrupt that
 * the driver wants for them waits until enough packets or enough time went by.
 */
#include "devices/net/state.h"

static bool coalesces(const struct net_queue *queue)
{
    return queue->coalescing.max_packets > 0 && queue->coalescing.max_usecs > 0;
}

static struct loop *queue_loop(const struct net_queue *queue)
{
    return virtio_builtin_loop(queue->net->builtin);
}

/* The condition is met: interrupt the driver unless it wants none, and count anew. */
static void fire(struct net_queue *queue)
{
    if (queue->timer.deadline_ns)
        loop_timer_cancel(queue_loop(queue), &queue->timer);
    queue->packets = 0;
    if (!queue->pending)
        return;
    queue->pending = false;
    queue->stats.interrupts++;
    virtio_builtin_notify(queue->net->builtin, queue->ring);
}

static void expired(struct loop_timer *timer)
{
    fire(container_of(timer, struct net_queue, timer));
}

static void check(struct net_queue *queue)
{
    if (!coalesces(queue) || queue->packets >= queue->coalescing.max_packets)
        fire(queue);
    else if (queue->packets > 0 && !queue->timer.deadline_ns)
        loop_timer_set(queue_loop(queue), &queue->timer,
                       queue->coalescing.max_usecs * UINT64_C(1000));
}

void net_queue_notify(struct net_queue *queue)
{
    queue->pending = true;
}

void net_queue_publish(struct net_queue *queue)
{
    virtqueue_publish(queue->ring);
    queue->packets += queue->unpublished;
    queue->unpublished = queue->unpublished_bytes = 0;
    if (queue->packets > 0 || queue->pending)
        check(queue);
}

void net_queue_pushed(struct net_queue *queue, size_t bytes)
{
    queue->unpublished++;
    queue->unpublished_bytes += (uint32_t)bytes;
    if (queue->unpublished >= NET_PUBLISH_FRAMES || queue->unpublished_bytes >= NET_PUBLISH_BYTES)
        net_queue_publish(queue);
}

void net_queue_set_coalescing(struct net_queue *queue, const struct net_coalescing *coalescing)
{
    queue->coalescing = *coalescing;
    if (!queue->ring)
        return;
    if (queue->timer.deadline_ns) /* measure the time anew */
        loop_timer_cancel(queue_loop(queue), &queue->timer);
    check(queue);
}

void net_queue_stop(struct net_queue *queue)
{
    if (queue->ring)
        fire(queue);
    queue->ring = NULL;
}

void net_queue_init(struct net_queue *queue, struct net *net, uint16_t index)
{
    queue->net = net;
    queue->index = index;
    queue->timer.expired = expired;
}
