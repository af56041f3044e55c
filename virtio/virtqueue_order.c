#include "virtio/virtqueue_order.h"

#include "virtio/virtqueue_inflight.h"
#include "virtio/virtqueue_ring.h"

int virtqueue_order_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    int ret = queue->inflight ? virtqueue_inflight_pop(queue, out) : queue->format->pop(queue, out);
    uint32_t end = (uint32_t)queue->order_first + queue->order_count;

    if (ret <= 0)
        return ret;
    (*out)->done = false;
    queue->order[end < queue->size ? end : end - queue->size] = *out;
    queue->order_count++;
    return ret;
}

void virtqueue_order_unpop(struct virtqueue *queue)
{
    queue->order_count--;
}

void virtqueue_order_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                          uint32_t written)
{
    (void)queue;
    buffer->done = true;
    buffer->written = virtqueue_clamp_written(buffer, written);
}

/* Take the oldest buffer off the list if it is done, or NULL. */
static struct virtqueue_buffer *take_oldest(struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;

    if (queue->order_count == 0)
        return NULL;
    buffer = queue->order[queue->order_first];
    if (!buffer->done)
        return NULL;
    if (queue->inflight)
        virtqueue_inflight_used(queue, buffer);
    if (++queue->order_first == queue->size)
        queue->order_first = 0;
    queue->order_count--;
    return buffer;
}

/* Whether recording a later buffer alone would say of this one what is true (ORD-04). */
static bool may_be_skipped(const struct virtqueue_buffer *buffer)
{
    return buffer->written == buffer->writable_bytes;
}

void virtqueue_order_publish(struct virtqueue *queue)
{
    struct virtqueue_buffer *last, *next;

    while ((last = take_oldest(queue))) {
        uint32_t slots = last->slots;

        while (may_be_skipped(last) && (next = take_oldest(queue))) {
            queue->format->release(queue, last);
            last = next;
            slots += last->slots;
        }
        queue->format->push_series(queue, last, slots);
    }
}
