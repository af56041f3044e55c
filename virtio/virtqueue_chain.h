/*
 * Making a buffer of the descriptors of a chain, one at a time. Private to the ring formats.
 *
 * The format hands in fields of a descriptor it has copied out of guest memory; here they are
 * checked against what holds for any ring: readable before writable, inside guest memory, not too
 * long, not too many.
 *
 * This is the hot path of every device. All of it is inlined into the format's pop, and only what
 * happens rarely is called. A buffer of one descriptor, as most are, has a way of its own
 * (chain_single): a `struct chain` makes pop save registers. `make bench-ring` shows both.
 */
#ifndef VIRTIO_VIRTQUEUE_CHAIN_H
#define VIRTIO_VIRTQUEUE_CHAIN_H

#include "virtio/virtqueue_ring.h"

#define CHAIN_INLINE static inline __attribute__((always_inline))

/* A descriptor begins alike in either format, with a le64 address and a le32 length. Each is read
 * once, and never torn. */
#define CHAIN_LENGTH 8 /* its offset */

CHAIN_INLINE uint64_t chain_load_address(const uint8_t *descriptor)
{
    return le64toh(__atomic_load_n((const uint64_t *)(const void *)descriptor, __ATOMIC_RELAXED));
}

CHAIN_INLINE uint32_t chain_load_length(const uint8_t *descriptor)
{
    const void *length = descriptor + CHAIN_LENGTH;

    return le32toh(__atomic_load_n((const uint32_t *)length, __ATOMIC_RELAXED));
}

struct chain {
    struct virtqueue *queue;
    struct virtqueue_buffer *buffer;
    struct iovec *next, *end; /* where the next iovec goes in the buffer's array, and its end */
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
 * Host pointer to guest memory in *host, or false unless all of the range is in the region of the
 * last buffer. Nearly all buffers of a queue lie in one region, and regions are fixed while a queue
 * runs: so this is tried first, without a call. Also for an address below the region or for a
 * length of 0 the sum, the last byte's offset, either overflows or is huge: so two branches do for
 * all.
 */
CHAIN_INLINE bool virtqueue_map_near(const struct virtqueue *queue, uint64_t address,
                                     uint32_t length, void **host)
{
    uint64_t offset = address - queue->region.start, last;

    if (unlikely(__builtin_add_overflow(offset, (uint64_t)length - 1, &last) ||
                 last >= queue->region.size))
        return false;
    *host = queue->region.host + offset;
    return true;
}

/* In any region: the host pointer, or NULL. `length` is not 0. */
CHAIN_INLINE void *virtqueue_map(struct virtqueue *queue, uint64_t address, uint32_t length)
{
    void *host;

    return virtqueue_map_near(queue, address, length, &host)
               ? host
               : virtqueue_map_slow(queue, address, length);
}

/*
 * Make `buffer`, one of the singles, of one descriptor when that is simple: not empty, and in the
 * region of the last one. Otherwise false, nothing has changed that matters, and the general way
 * finds out what it is. `writable` is a constant where this is inlined, and so are half of the
 * fields then.
 */
CHAIN_INLINE bool chain_single(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                               uint64_t address, uint32_t length, bool writable)
{
    if (!virtqueue_map_near(queue, address, length, &buffer->single.iov_base))
        return false;
    buffer->single.iov_len = length;
    buffer->readable_count = !writable;
    buffer->writable_count = writable;
    buffer->readable_bytes = writable ? 0 : length;
    buffer->writable_bytes = writable ? length : 0;
    buffer->limit = writable ? length : 0;
    return true;
}

CHAIN_INLINE struct chain chain_begin(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    return (struct chain){
        .queue = queue,
        .buffer = buffer,
        .next = buffer->readable,
        .end = buffer->readable + buffer->capacity,
    };
}

CHAIN_INLINE unsigned chain_count(const struct chain *chain)
{
    return (unsigned)(chain->next - chain->buffer->readable);
}

CHAIN_INLINE void chain_begin_writable(struct chain *chain)
{
    chain->writable = true;
    chain->readable_count = chain_count(chain);
    chain->readable_bytes = chain->bytes;
}

static inline int chain_grow(struct chain *chain)
{
    struct virtqueue_buffer *buffer = chain->buffer;
    unsigned count = chain_count(chain);
    int ret = virtqueue_buffer_grow(chain->queue, buffer);

    if (ret < 0)
        return ret;
    chain->next = buffer->readable + count;
    chain->end = buffer->readable + buffer->capacity;
    return 0;
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
    if (unlikely(!virtqueue_map_near(chain->queue, address, length, &host))) {
        host = virtqueue_map_slow(chain->queue, address, length);
        if (!host)
            return virtqueue_break(chain->queue, "DRV-RING-09",
                                   "a descriptor reaches outside of guest memory");
    }
    if (unlikely(chain->next == chain->end)) {
        int ret = chain_grow(chain);

        if (ret < 0)
            return ret;
    }
    *chain->next++ = (struct iovec){host, length};
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
    buffer->writable = buffer->readable + chain->readable_count;
    buffer->readable_count = (uint16_t)chain->readable_count;
    buffer->writable_count = (uint16_t)(chain_count(chain) - chain->readable_count);
    buffer->readable_bytes = (uint32_t)chain->readable_bytes;
    buffer->writable_bytes = (uint32_t)(chain->bytes - chain->readable_bytes);
    return 0;
}

#endif
