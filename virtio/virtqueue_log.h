/*
 * Marking what a ring writes to guest memory in a log of dirty pages.
 *
 * A logged ring has a format of its own that wraps the one it had: the hot path of a ring without a
 * log does not know that there are logs.
 */
#ifndef VIRTIO_VIRTQUEUE_LOG_H
#define VIRTIO_VIRTQUEUE_LOG_H

#include "guest/dirty_log.h"
#include "virtio/virtqueue.h"

/* From now on mark used buffers' data and the ring's own words in `log`; NULL: no more. Without
 * effect on a stopped queue; of one that has just started its first words are marked at once. `log`
 * must outlive it. A buffer that is in flight is marked when it is
 * pushed, as far as it was written to. On the queue's thread. */
void virtqueue_set_log(struct virtqueue *queue, struct dirty_log *log);

#endif
