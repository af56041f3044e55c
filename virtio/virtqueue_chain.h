/*
 * Making a buffer of the descriptors of a chain, one at a time. Private to the ring formats.
 *
 * The format hands in fields of a descriptor it has copied out of guest memory; here they are
 * checked against what holds for any ring: readable before writable, inside guest memory, not too
 * long, not too many.
 *
 * This is the hot path of every device. All of it is inlined into the format's pop, and only what
 * happens rarely is called; so a `struct chain` never leaves the registers.
 */
#ifndef VIRTIO_VIRTQUEUE_CHAIN_H
#define VIRTIO_VIRTQUEUE_CHAIN_H

#include "virtio/virtqueue_ring.h"

#define CHAIN_INLINE static inline __attribute__((always_inline))
#define unlikely(x)  __builtin_expect(!!(x), 0)

struct chain {
    struct virtqueue *queue;
    struct virtqueue_buffer *buffer;
    struct iovec *iov;        /* of the buffer, both parts */
    unsigned count, capacity; /* of it */
    uint64_t bytes;           /* in both parts */
    bool writable;            /* the writable part has begun, after... */
    unsigned readable_count;
    uint64_t readable_bytes;
};

/* Make room for one more iovec. 0, -ENOMEM, or -EPROTO when the chain is too long for us. */
int virtqueue_buffer_grow(struct virtqueue *queue, struct virtqueue_buffer *buffer);

/* guest_memory_map for a queue, which remembers the region of the last miss. */
void *virtqueue_map_slow(struct virtqueue *queue, uint64_t address, uint32_t length);

/*
 * Host pointer to guest memory, or NULL unless all of the range is in one region. Nearly all
 * buffers of a queue lie in one region, and regions are fixed while a queue runs: so the last one
 * is tried first, here and without a call. `length` is not 0.
 */
CHAIN_INLINE void *virtqueue_map(struct virtqueue *queue, uint64_t address, uint32_t length)
{
    uint64_t offset = address - queue->region.start; /* huge when the address is below */

    if (unlikely(offset >= queue->region.size || length > queue->region.size - offset))
        return virtqueue_map_slow(queue, address, length);
    return queue->region.host + offset;
}

CHAIN_INLINE struct chain chain_begin(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    return (struct chain){
        .queue = queue,
        .buffer = buffer,
        .iov = buffer->readable,
        .capacity = buffer->capacity,
    };
}

CHAIN_INLINE void chain_begin_writable(struct chain *chain)
{
    chain->writable = true;
    chain->readable_count = chain->count;
    chain->readable_bytes = chain->bytes;
}

/* Add a descriptor. `order_rule` is what one breaks that is readable after writable ones. */
CHAIN_INLINE int chain_add(struct chain *chain, uint64_t address, uint32_t length, bool writable,
                           const char *order_rule)
{
    void *host;

    if (writable != chain->writable) {
        if (unlikely(chain->writable))
            return virtqueue_break(chain->queue, order_rule,
                                   "a readable descriptor follows a writable one");
        chain_begin_writable(chain);
    }
    if (unlikely(length == 0)) /* RING-16; where it points does not matter then */
        return 0;
    host = virtqueue_map(chain->queue, address, length);
    if (unlikely(!host))
        return virtqueue_break(chain->queue, "DRV-RING-09",
                               "a descriptor reaches outside of guest memory");
    if (unlikely(chain->count == chain->capacity)) {
        int ret = virtqueue_buffer_grow(chain->queue, chain->buffer);

        if (ret < 0)
            return ret;
        chain->iov = chain->buffer->readable;
        chain->capacity = chain->buffer->capacity;
    }
    chain->iov[chain->count++] = (struct iovec){host, length};
    chain->bytes += length; /* cannot overflow: there are not 2^32 descriptors */
    return 0;
}

#define INDIRECT_ENTRY_SIZE 16 /* in either format */

/* 2.7.5.3.1, 2.8.19: what a descriptor that points to an indirect table of `length` bytes has to
 * be. `next`: it has NEXT as well, which breaks `next_rule`. */
CHAIN_INLINE int chain_check_indirect(struct virtqueue *queue, uint32_t length, bool next,
                                      const char *next_rule)
{
    uint32_t entries = length / INDIRECT_ENTRY_SIZE;

    if (unlikely(!queue->indirect))
        return virtqueue_break(queue, "DRV-IND-01", "INDIRECT was not negotiated");
    if (unlikely(next))
        return virtqueue_break(queue, next_rule, "a descriptor has both INDIRECT and NEXT");
    if (unlikely(entries == 0 || length % INDIRECT_ENTRY_SIZE))
        return virtqueue_break(queue, "DRV-IND-05",
                               "an indirect table's length is no multiple of 16 above 0");
    if (unlikely(entries > queue->size)) {
        if (entries > VIRTQUEUE_CHAIN_MAX)
            return virtqueue_break(queue, "DRV-IND-06", "an indirect table is too long");
        /* Forbidden, and yet common: Linux does it. */
        virtqueue_bend(queue, "DRV-IND-06", "an indirect table is longer than the queue");
    }
    return 0;
}

/* The chain is complete: fill in the buffer. */
CHAIN_INLINE int chain_end(struct chain *chain)
{
    struct virtqueue_buffer *buffer = chain->buffer;

    if (unlikely(chain->bytes > UINT32_MAX))
        return virtqueue_break(chain->queue, "DRV-RING-06", "a chain is longer than 2^32-1 bytes");
    if (unlikely(chain->bytes == 0))
        virtqueue_bend(chain->queue, "DRV-RING-13", "a buffer is empty");
    if (!chain->writable)
        chain_begin_writable(chain);
    buffer->writable = chain->count ? chain->iov + chain->readable_count : NULL;
    buffer->readable_count = (uint16_t)chain->readable_count;
    buffer->writable_count = (uint16_t)(chain->count - chain->readable_count);
    buffer->readable_bytes = (uint32_t)chain->readable_bytes;
    buffer->writable_bytes = (uint32_t)(chain->bytes - chain->readable_bytes);
    return 0;
}

#endif
