/*
 * Between virtqueue.c, which devices call, and the ring formats. Private to virtqueue*.c.
 *
 * A format implements the functions of virtqueue.h for its layout; virtqueue.c keeps what is the
 * same for all and picks the format.
 */
#ifndef VIRTIO_VIRTQUEUE_RING_H
#define VIRTIO_VIRTQUEUE_RING_H

#include "virtio/inflight.h"
#include "virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>

#define unlikely(x) __builtin_expect(!!(x), 0)

/* A word both sides access at the same time. Atomic also where the order does not matter: read once
 * and never torn. */
static inline uint16_t shared_load(const uint8_t *word, int order)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)word, order));
}

static inline void shared_store(uint8_t *word, uint16_t value, int order)
{
    __atomic_store_n((uint16_t *)(void *)word, htole16(value), order);
}

/* The ring breaks a rule: remember which. Always -EPROTO. */
int virtqueue_break(struct virtqueue *queue, const char *rule, const char *what);

/* The ring bends a rule. */
void virtqueue_bend(struct virtqueue *queue, const char *rule, const char *what);

/* A run: from now on `entries` of the ring are ready, of at most as many buffers. */
static inline void virtqueue_begin_run(struct virtqueue *queue, uint32_t entries)
{
    queue->ready = entries;
    queue->budget -= entries;
    queue->slots_free -= entries;
    queue->slots_seen -= entries;
}

/* It ends before all of it was taken. */
static inline void virtqueue_end_run(struct virtqueue *queue)
{
    uint32_t entries = (uint32_t)queue->ready;

    queue->ready = 0;
    queue->budget += entries;
    queue->slots_free += entries;
    queue->slots_seen += entries;
}

/* RING-10: what may be said to have been written. */
static inline uint32_t virtqueue_clamp_written(const struct virtqueue_buffer *buffer,
                                               uint32_t written)
{
    return unlikely(written > buffer->writable_bytes) ? buffer->writable_bytes : written;
}

/* One of a ring's areas as its format lays it out. */
struct virtqueue_area {
    const char *name;
    gpa_t address;
    uint64_t bytes, alignment;
    const char *alignment_rule;
    uint8_t **host; /* out */
};

/* Check alignment, memory and overlap of the three areas, and find their host addresses. */
int virtqueue_map_areas(const struct guest_memory *memory, const struct virtqueue_area areas[3],
                        struct error *err);

/* Where a ring is written to. */
struct virtqueue_written {
    const uint8_t *entries; /* of used buffers, one for each place of the ring... */
    uint32_t entry_size;    /* ...in bytes */
    uint16_t mask;          /* a position's place is what these bits of it say */
    const uint8_t *index;   /* le16 that publish writes, too; or NULL */
    const uint8_t *wish;    /* le16 by which kicks are asked for, or not */
};

/*
 * A format of rings. The functions do what virtqueue.h says of those they are named like. It falls
 * to virtqueue.c that a stopped queue is not served, and that something is ready for pop and
 * pop_again: one entry has been taken off `ready` for them, which they put back if they take none.
 */
struct virtqueue_format {
    /* Check size and areas, and fill `desc`, `avail` and `used`. */
    int (*map)(struct virtqueue *queue, const struct virtqueue_setup *setup, struct error *err);
    /* Of a ring that is mapped. */
    int (*start)(struct virtqueue *queue, struct virtqueue_position position, struct error *err);
    struct virtqueue_position (*position)(const struct virtqueue *queue);
    /* Begin a run, in a queue with a budget: 1, 0 when there is nothing to take, or -EPROTO. */
    int (*look)(struct virtqueue *queue);
    int (*pop)(struct virtqueue *queue, struct virtqueue_buffer **out);
    /* Pop a buffer that was in flight before the queue started: the one with this head; packed, of
     * these `count` descriptors. */
    int (*pop_again)(struct virtqueue *queue, uint16_t head,
                     const struct inflight_packed_entry *list, uint16_t count,
                     struct virtqueue_buffer **out);
    void (*unpop)(struct virtqueue *queue, struct virtqueue_buffer *buffer);
    void (*push)(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written);

    /* In order (2.7.9, 2.8.8): use a series of `slots` entries of which `last` is the last; the
     * ones before it were released, which is all that becomes of them. */
    void (*push_series)(struct virtqueue *queue, struct virtqueue_buffer *last, uint32_t slots);
    void (*release)(struct virtqueue *queue, struct virtqueue_buffer *buffer);

    void (*publish)(struct virtqueue *queue);
    bool (*enable_kicks)(struct virtqueue *queue);
    void (*disable_kicks)(struct virtqueue *queue);
    struct virtqueue_written (*written)(const struct virtqueue *queue); /* not of the logged one */
};

extern const struct virtqueue_format virtqueue_split, virtqueue_packed;

/* Packed: the slot that is taken next or used next, and the wrap counter there. */
struct virtqueue_place {
    uint16_t slot;
    bool wrap;
};

struct virtqueue_place virtqueue_packed_avail(const struct virtqueue *queue);
struct virtqueue_place virtqueue_packed_used(const struct virtqueue *queue);

/* virtqueue_log.c: of a queue with a log, around one of these. */
extern const struct virtqueue_format virtqueue_logged;
void virtqueue_log_free(struct virtqueue *queue);

/* iovecs every buffer has from the start: most requests of most devices fit. */
#define VIRTQUEUE_SHORT_CHAIN 8

/* What stays with the buffers after long chains: at most 1 MiB a queue, or what short ones need. */
#define VIRTQUEUE_KEPT_IOVECS (64 * 1024u)

/* Those for chains, and the singles behind them. */
static inline uint32_t virtqueue_buffer_count(const struct virtqueue *queue)
{
    return 2u * queue->size;
}

/* Give back what a long chain made the buffer allocate, when all buffers together might keep too
 * much. */
void virtqueue_buffer_trim(struct virtqueue *queue, struct virtqueue_buffer *buffer);

static inline bool virtqueue_is_single(const struct virtqueue *queue,
                                       const struct virtqueue_buffer *buffer)
{
    return buffer >= queue->singles;
}

/* A buffer is the driver's again; a chain's with the single that has its id. */
static inline void virtqueue_release(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    buffer->limit = VIRTQUEUE_FREE;
    if (virtqueue_is_single(queue, buffer))
        return;
    if (buffer->id < queue->size) /* packed, it may be any */
        queue->singles[buffer->id].limit = VIRTQUEUE_FREE;
    if (unlikely(buffer->capacity > VIRTQUEUE_SHORT_CHAIN))
        virtqueue_buffer_trim(queue, buffer);
}

#endif
