/*
 * Keeping record of the buffers in flight, so that whoever takes the queue over from a device that
 * was killed at any instruction neither loses nor doubles one. Private to virtqueue*.c.
 *
 *     pop                          the buffer is entered, with a number that tells their order
 *     push                         remembered
 *     publish, before and after    those pushed leave the record
 *
 * The moment at which a batch becomes used is the one store into the ring that shows it to the
 * driver. The record changes before it, so that the new state can be told, and after it; which of
 * the two holds is found by comparing record and ring. A buffer whose data was moved but that was
 * not published is handed out again: so devices must be able to do a request twice, as for disks.
 *
 * The region is shared with a process that is not trusted: it is read once, when the queue starts,
 * and checked; after that it is only written to, and what is needed of it is kept here.
 *
 * Each store to the region is a release: the compiler keeps their order, and a processor that is
 * stopped between two instructions has done those before.
 */
#ifndef VIRTIO_VIRTQUEUE_INFLIGHT_H
#define VIRTIO_VIRTQUEUE_INFLIGHT_H

#include "virtio/virtqueue.h"

/*
 * Take up the record in queue->record, or begin one at *position. Then *position says where the
 * queue starts: before the buffers that were in flight, which virtqueue_inflight_pop hands out
 * first, in the order they were taken. -EINVAL: the region makes no sense; -ENOMEM.
 */
int virtqueue_inflight_begin(struct virtqueue *queue, const struct virtqueue_setup *setup,
                             struct virtqueue_position *position, struct error *err);

/* Nothing more is recorded; the region stays as it is. */
void virtqueue_inflight_end(struct virtqueue *queue);

/* Whether there are any left of the buffers to hand out first. */
bool virtqueue_inflight_again(const struct virtqueue *queue);

/* The format's pop, push, publish, and undoing pop, with record. */
int virtqueue_inflight_pop(struct virtqueue *queue, struct virtqueue_buffer **out);
void virtqueue_inflight_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                             uint32_t written);
void virtqueue_inflight_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer);

/* The buffer has been entered into the used ring, and the next publish shows it. */
void virtqueue_inflight_used(struct virtqueue *queue, const struct virtqueue_buffer *buffer);

void virtqueue_inflight_publish(struct virtqueue *queue);

#endif
