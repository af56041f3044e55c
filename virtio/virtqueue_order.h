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

/* A buffer was popped. */
void virtqueue_order_add(struct virtqueue *queue, struct virtqueue_buffer *buffer);

/* A buffer is done. */
void virtqueue_order_push(struct virtqueue_buffer *buffer, uint32_t written);

/* The last one of the next series, and how many slots the series takes; NULL when there is none.
 * The others were released. */
struct virtqueue_buffer *virtqueue_order_next(struct virtqueue *queue, uint32_t *slots);

#endif
