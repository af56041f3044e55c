/*
 * Using buffers in the order they were made available (specification 2.7.9, 2.8.8), whatever the
 * order a device is done with them. Private to virtqueue*.c.
 *
 * A buffer that is done waits until all before it are. Then a series of them is used at once, by
 * recording the last one alone (ORD-02, ORD-03): which says that the others were used completely,
 * so a series ends at one of which less was written (ORD-04).
 */
#ifndef VIRTIO_VIRTQUEUE_ORDER_H
#define VIRTIO_VIRTQUEUE_ORDER_H

#include "virtio/virtqueue.h"

/* pop and push of a queue in order. */
int virtqueue_order_pop(struct virtqueue *queue, struct virtqueue_buffer **out);
void virtqueue_order_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                          uint32_t written);

/* Before the format's unpop: the buffer popped last is none any more. */
void virtqueue_order_unpop(struct virtqueue *queue);

/* Before the format's publish: use all that are done and have none before them that is not. */
void virtqueue_order_publish(struct virtqueue *queue);

#endif
