/*
 * Making a buffer of the descriptors of a chain, one at a time. Private to the ring formats.
 *
 * The caller hands in fields of a descriptor it has copied out of guest memory; here they are
 * checked against what holds for any ring: readable before writable, inside guest memory, not too
 * long, not too many.
 */
#ifndef VIRTIO_VIRTQUEUE_CHAIN_H
#define VIRTIO_VIRTQUEUE_CHAIN_H

#include "virtio/virtqueue_ring.h"

struct chain {
    struct virtqueue *queue;
    struct virtqueue_buffer *buffer;
    unsigned count; /* iovecs so far, of both parts */
    bool writable;  /* the writable part has begun */
    bool in_table;  /* walking an indirect table */
    uint64_t bytes; /* in both parts */
};

/* Make room for one more iovec. 0, -ENOMEM, or -EPROTO when the chain is too long for us. */
int chain_grow(struct chain *chain);

static inline void chain_begin(struct chain *chain, struct virtqueue *queue,
                               struct virtqueue_buffer *buffer)
{
    *chain = (struct chain){.queue = queue, .buffer = buffer};
}

/* The readable part ends here. */
static inline void chain_begin_writable(struct chain *chain)
{
    chain->writable = true;
    chain->buffer->readable_count = (uint16_t)chain->count;
    chain->buffer->readable_bytes = (uint32_t)chain->bytes;
}

static inline int chain_add(struct chain *chain, uint64_t address, uint32_t length, bool writable)
{
    void *host;

    if (writable != chain->writable) {
        if (chain->writable)
            return virtqueue_break(chain->queue, chain->in_table ? "DRV-IND-09" : "DRV-RING-07",
                                   "a readable descriptor follows a writable one");
        chain_begin_writable(chain);
    }
    if (length == 0) /* RING-16; where it points does not matter then */
        return 0;
    host = guest_memory_map(chain->queue->memory, GPA(address), length);
    if (!host)
        return virtqueue_break(chain->queue, "DRV-RING-09",
                               "a descriptor reaches outside of guest memory");
    chain->bytes += length;
    if (chain->bytes > UINT32_MAX)
        return virtqueue_break(chain->queue, "DRV-RING-06", "a chain is longer than 2^32-1 bytes");
    if (chain->count == chain->buffer->capacity) {
        int ret = chain_grow(chain);

        if (ret)
            return ret;
    }
    chain->buffer->readable[chain->count++] = (struct iovec){host, length};
    return 0;
}

static inline void chain_end(struct chain *chain)
{
    struct virtqueue_buffer *buffer = chain->buffer;

    if (!chain->writable)
        chain_begin_writable(chain);
    buffer->writable = buffer->readable;
    if (chain->bytes == 0) /* the array may be NULL still */
        virtqueue_bend(chain->queue, "DRV-RING-13", "a buffer is empty");
    else
        buffer->writable += buffer->readable_count;
    buffer->writable_count = (uint16_t)(chain->count - buffer->readable_count);
    buffer->writable_bytes = (uint32_t)chain->bytes - buffer->readable_bytes;
}

#endif
