/*
 * A virtio-blk request taken apart (specification 5.2.6):
 *
 *     readable                        writable
 *     | type 4 | reserved 4 | sector 8 | data ...        OUT and others
 *     | type 4 | reserved 4 | sector 8 |                 | data ...  | status 1 |    IN, GET_ID
 *
 * Descriptor boundaries mean nothing (2.7.4): header, data and status may be split or joined in
 * any way. The buffer's own iovecs are trimmed for it: they are ours until it is pushed.
 */
#ifndef DEVICES_BLK_PARTS_H
#define DEVICES_BLK_PARTS_H

#include "virtio/virtqueue.h"

#include <stdbool.h>
#include <stdint.h>

/* One part of a buffer, or what is left of it. */
struct blk_span {
    struct iovec *iov;
    unsigned count;
    uint32_t bytes;
};

struct blk_parts {
    struct virtqueue_buffer *buffer;
    uint32_t type; /* enum blk_request_type */
    uint64_t sector;
    struct blk_span out, in; /* data to and from the device */
    uint8_t *status;         /* in guest memory */
};

/* False when there is no room for header or status (BLK-26). */
bool blk_parts_split(struct blk_parts *parts, struct virtqueue_buffer *buffer);

/* DRV-BLK-13: header and status in descriptors of their own, as a legacy driver must send them. To
 * be asked before the buffer is split. */
bool blk_parts_framed(const struct virtqueue_buffer *buffer);

#endif
