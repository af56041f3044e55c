#include "virtio/virtqueue_order.h"

#include "virtio/virtqueue_ring.h"

void virtqueue_order_add(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    buffer->done = false;
    queue->order[(queue->order_first + queue->order_count++) % queue->size] = buffer;
}

void virtqueue_order_push(struct virtqueue_buffer *buffer, uint32_t written)
{
    buffer->done = true;
    buffer->written = written;
}

/* The oldest buffer if it is done. */
static struct virtqueue_buffer *order_done(const struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer = queue->order[queue->order_first];

    return queue->order_count && buffer->done ? buffer : NULL;
}

struct virtqueue_buffer *virtqueue_order_next(struct virtqueue *queue, uint32_t *slots)
{
    struct virtqueue_buffer *last = NULL, *buffer;

    *slots = 0;
    while ((buffer = order_done(queue)) && !(last && last->written < last->writable_bytes)) {
        if (last && queue->packed)
            virtqueue_packed_release(queue, last);
        else if (last)
            virtqueue_split_release(queue, last);
        last = buffer;
        *slots += buffer->slots;
        queue->order_first = (uint16_t)((queue->order_first + 1) % queue->size);
        queue->order_count--;
    }
    return last;
}
