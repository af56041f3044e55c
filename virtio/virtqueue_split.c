/*
 * The split virtqueue (specification 2.7).
 *
 *     descriptor table    avail ring (driver area)          used ring (device area)
 *     size x 16 bytes     flags idx ring[size] used_event   flags idx ring[size] avail_event
 *
 * Ordering. The driver fills descriptors and a ring entry before it moves avail.idx, so we load
 * avail.idx with acquire before we look at either; we fill used entries before we move used.idx,
 * with release. Suppression needs more: each side writes one word (an index, or its wish for
 * notifications) and then reads the word the other side writes, and if both reads could pass both
 * writes, a notification would be lost (2.7.10, 2.7.13.3.1). There the store and the load that
 * follows it are both sequentially consistent.
 */
#include "base/bytes.h"
#include "virtio/virtqueue_chain.h"
#include "virtio/virtqueue_ring.h"

/* 2.7.5 Descriptor table */
enum split_descriptor_flag {
    SPLIT_NEXT = 1,
    SPLIT_WRITE = 2,
    SPLIT_INDIRECT = 4,
};

#define SPLIT_DESCRIPTOR_SIZE  16
#define SPLIT_DESCRIPTOR_FLAGS 12 /* offsets in a descriptor */
#define SPLIT_NEXT_INDEX       14

struct split_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
};

/* 2.7.6 Available ring, 2.7.8 Used ring */
#define SPLIT_FLAGS             0 /* le16 in both rings */
#define SPLIT_IDX               2 /* le16 in both rings */
#define SPLIT_RING              4
#define SPLIT_AVAIL_ENTRY       2 /* le16: head */
#define SPLIT_USED_ENTRY        8 /* le32: id, le32: length */
#define SPLIT_NO_INTERRUPT      1 /* avail.flags */
#define SPLIT_NO_NOTIFY         1 /* used.flags */
#define SPLIT_AVAIL_BYTES(size) (SPLIT_RING + SPLIT_AVAIL_ENTRY * (size) + 2)
#define SPLIT_USED_BYTES(size)  (SPLIT_RING + SPLIT_USED_ENTRY * (size) + 2)

/* Where in a ring the entry of a free-running index is. */
static inline size_t slot_of(const struct virtqueue *queue, uint16_t index)
{
    return index & queue->mask;
}

/* EVENT_IDX puts a word behind each ring: at which index the other side wants to be notified. */
static inline const uint8_t *used_event(const struct virtqueue *queue)
{
    return queue->avail + SPLIT_RING + SPLIT_AVAIL_ENTRY * (size_t)queue->size;
}

static inline uint8_t *avail_event(const struct virtqueue *queue)
{
    return queue->used + SPLIT_RING + SPLIT_USED_ENTRY * (size_t)queue->size;
}

static inline uint16_t load_flags(const uint8_t *p)
{
    return shared_load(p + SPLIT_DESCRIPTOR_FLAGS, __ATOMIC_RELAXED);
}

/*
 * Copy a descriptor, but for its `next`, reading each byte exactly once: the copy is what is
 * checked and used, whatever the driver makes of the original meanwhile (RING-15).
 */
static inline struct split_descriptor descriptor_copy(const uint8_t *table, uint32_t i)
{
    const uint8_t *p = table + (size_t)i * SPLIT_DESCRIPTOR_SIZE;

    return (struct split_descriptor){chain_load_address(p), chain_load_length(p), load_flags(p)};
}

/* Which descriptor follows it: read only when its flags say that one does. */
static inline uint16_t descriptor_next(const uint8_t *table, uint32_t i)
{
    return shared_load(table + (size_t)i * SPLIT_DESCRIPTOR_SIZE + SPLIT_NEXT_INDEX,
                       __ATOMIC_RELAXED);
}

enum walk_end { WALK_COMPLETE, WALK_INDIRECT }; /* or a negative errno */

/*
 * Add descriptors of a table, from `d` on, its entry `i`, until one has no successor
 * (WALK_COMPLETE), or points to an indirect table (WALK_INDIRECT, *last is that descriptor). A
 * chain of more steps than the table has entries has come back to where it was: it is a loop.
 */
CHAIN_INLINE int chain_walk(struct chain *chain, const uint8_t *table, uint32_t entries, uint32_t i,
                            struct split_descriptor d, const char *order_rule,
                            struct split_descriptor *last)
{
    for (uint32_t steps = 0; steps < entries; steps++) {
        uint32_t next;
        int ret;

        if (unlikely(d.flags & ~(SPLIT_NEXT | SPLIT_WRITE | SPLIT_INDIRECT)))
            virtqueue_bend(chain->queue, "DRV-RING-10", "a descriptor has unknown flags");
        if (d.flags & SPLIT_INDIRECT) {
            *last = d;
            return WALK_INDIRECT;
        }
        ret = chain_add(chain, d.address, d.length, d.flags & SPLIT_WRITE, order_rule);
        if (unlikely(ret < 0))
            return ret;
        if (!(d.flags & SPLIT_NEXT))
            return WALK_COMPLETE;
        next = descriptor_next(table, i);
        if (unlikely(next >= entries))
            return virtqueue_break(chain->queue, "DRV-RING-04",
                                   "a descriptor's next is beyond the table");
        if (unlikely(chain->queue->in_order) && next != i + 1 && table != chain->queue->desc)
            virtqueue_bend(chain->queue, "DRV-IND-08", "an indirect table is not in order");
        i = next;
        d = descriptor_copy(table, i);
    }
    return virtqueue_break(chain->queue, "DRV-RING-06", "a chain of descriptors is a loop");
}

/* 2.7.5.3 Indirect descriptors: entry 0 of the table `d` points to continues the chain. WRITE in
 * `d` means nothing (IND-01). */
CHAIN_INLINE int chain_walk_indirect(struct chain *chain, const struct split_descriptor *d)
{
    struct virtqueue *queue = chain->queue;
    struct split_descriptor nested;
    const uint8_t *table;
    int ret = chain_check_indirect(queue, d->length, d->flags & SPLIT_NEXT, "DRV-IND-03");

    if (unlikely(ret))
        return ret;
    table = virtqueue_map(queue, d->address, d->length);
    if (unlikely(!table))
        return virtqueue_break(queue, "DRV-RING-09", "an indirect table is not in guest memory");
    ret = chain_walk(chain, table, d->length / SPLIT_DESCRIPTOR_SIZE, 0, descriptor_copy(table, 0),
                     "DRV-IND-09", &nested);
    if (unlikely(ret == WALK_INDIRECT))
        return virtqueue_break(queue, "DRV-IND-02", "INDIRECT in an indirect table");
    return ret;
}

/* The buffer is the device's from now on. */
static inline int take(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                       struct virtqueue_buffer **out)
{
    queue->next_avail++;
    *out = buffer;
    return 1;
}

/* The chain of this head, whatever it is: looked at anew, so that nothing that was read before
 * counts. */
static __attribute__((noinline)) int pop_chain(struct virtqueue *queue,
                                               struct virtqueue_buffer **out,
                                               const struct virtqueue_buffer *single)
{
    uint16_t head = single->id;
    struct virtqueue_buffer *buffer = &queue->buffers[head];
    struct chain chain = chain_begin(queue, buffer);
    struct split_descriptor d = descriptor_copy(queue->desc, head), last = {0};
    int ret;

    queue->ready++; /* until it is sure that it is taken */
    ret = chain_walk(&chain, queue->desc, queue->size, head, d, "DRV-RING-07", &last);
    if (ret == WALK_INDIRECT)
        ret = chain_walk_indirect(&chain, &last);
    if (!ret)
        ret = chain_end(&chain);
    if (unlikely(ret))
        return ret;
    queue->ready--;
    buffer->limit = queue->singles[head].limit = 0;
    return take(queue, buffer, out);
}

/* The descriptor at `p`, of this buffer; or whatever else it is. */
CHAIN_INLINE int pop_single(struct virtqueue *queue, struct virtqueue_buffer **out,
                            struct virtqueue_buffer *buffer, const uint8_t *p, bool writable)
{
    if (unlikely(
            !chain_single(queue, buffer, chain_load_address(p), chain_load_length(p), writable)))
        return pop_chain(queue, out, buffer);
    return take(queue, buffer, out);
}

static __attribute__((noinline)) int pop_unwritable(struct virtqueue *queue,
                                                    struct virtqueue_buffer **out,
                                                    struct virtqueue_buffer *buffer,
                                                    const uint8_t *p)
{
    return load_flags(p) == 0 ? pop_single(queue, out, buffer, p, false)
                              : pop_chain(queue, out, buffer);
}

/*
 * Look how far the driver has come: 1 when there is something new, 0, or -EPROTO. Free-running
 * indexes cannot be compared, but the distances between them are at most the ring's size.
 */
static inline int avail_refresh(struct virtqueue *queue)
{
    uint16_t idx = shared_load(queue->avail + SPLIT_IDX, __ATOMIC_SEQ_CST);

    if (idx == queue->avail_seen)
        return 0;
    if ((uint16_t)(idx - queue->avail_seen) > queue->size)
        return virtqueue_break(queue, "DRV-RING-01", "avail.idx went back or jumped ahead");
    if ((uint16_t)(idx - queue->published_used) > queue->size)
        return virtqueue_break(queue, "DRV-RING-02",
                               "more buffers are available than the ring holds");
    queue->avail_seen = idx;
    return 1;
}

/* What was seen and is left, or else what is new. */
static int split_look(struct virtqueue *queue)
{
    int ret = queue->next_avail == queue->avail_seen ? avail_refresh(queue) : 1;

    if (ret > 0)
        virtqueue_begin_run(
            queue, (uint32_t)MIN(queue->budget, (uint16_t)(queue->avail_seen - queue->next_avail)));
    return ret;
}

/* Take the buffer that begins with this descriptor. */
CHAIN_INLINE int pop_head(struct virtqueue *queue, uint32_t head, struct virtqueue_buffer **out)
{
    struct virtqueue_buffer *buffer;
    const uint8_t *p;

    if (unlikely(head >= queue->size))
        return virtqueue_break(queue, "DRV-RING-03", "a head index is beyond the queue");
    buffer = &queue->singles[head];
    if (unlikely(buffer->limit != VIRTQUEUE_FREE))
        return virtqueue_break(queue, "DRV-RING-08", "a buffer is made available twice");
    p = queue->desc + (size_t)head * SPLIT_DESCRIPTOR_SIZE;
    return load_flags(p) == SPLIT_WRITE ? pop_single(queue, out, buffer, p, true)
                                        : pop_unwritable(queue, out, buffer, p);
}

static int split_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    const uint16_t *ring = (const uint16_t *)(const void *)(queue->avail + SPLIT_RING);
    size_t slot = slot_of(queue, queue->next_avail);
    uint32_t head = le16toh(__atomic_load_n(&ring[slot], __ATOMIC_RELAXED));

    return pop_head(queue, head, out);
}

/* The queue was started before those in flight: each makes next_avail what it was. */
static int split_pop_again(struct virtqueue *queue, uint16_t head,
                           const struct inflight_packed_entry *list, uint16_t count,
                           struct virtqueue_buffer **out)
{
    int ret = pop_head(queue, head, out);

    (void)list;
    (void)count;
    queue->avail_seen = queue->next_avail;
    return ret;
}

static void split_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    virtqueue_end_run(queue);
    virtqueue_release(queue, buffer);
    queue->next_avail--;
}

static inline void record(struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                          uint32_t written, uint16_t slots)
{
    uint32_t *ring = (uint32_t *)(void *)(queue->used + SPLIT_RING);
    size_t slot = slot_of(queue, queue->next_used);

    __atomic_store_n(&ring[2 * slot], htole32(buffer->id), __ATOMIC_RELAXED);
    __atomic_store_n(&ring[2 * slot + 1], htole32(written), __ATOMIC_RELAXED);
    queue->next_used += slots;
}

/* A function of its own, and the release at its end: otherwise push would save registers. */
static __attribute__((noinline)) void push_any(struct virtqueue *queue,
                                               struct virtqueue_buffer *buffer, uint32_t written)
{
    record(queue, buffer, virtqueue_clamp_written(buffer, written), 1);
    virtqueue_release(queue, buffer);
}

/* A single descriptor, found in one comparison if something was written to it, and not too much. */
static void split_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    if (written - 1 >= buffer->limit && (written || !virtqueue_is_single(queue, buffer))) {
        push_any(queue, buffer, written);
        return;
    }
    record(queue, buffer, written, 1);
    buffer->limit = VIRTQUEUE_FREE;
}

/* ORD-02: where the first of the series would be. */
static void split_push_series(struct virtqueue *queue, struct virtqueue_buffer *last,
                              uint32_t slots)
{
    record(queue, last, last->written, (uint16_t)slots);
    virtqueue_release(queue, last);
}

/* Whether the driver wants to hear of the used entries from `old` up to the index (2.7.7.2). */
static inline bool interrupt_wanted(struct virtqueue *queue, uint16_t old)
{
    uint16_t flags, event;

    if (queue->event_idx) {
        event = shared_load(used_event(queue), __ATOMIC_SEQ_CST);
        /* The entry at `event` is one of the new ones (EVT-10). */
        return (uint16_t)(queue->published_used - event - 1) <
               (uint16_t)(queue->published_used - old);
    }
    flags = shared_load(queue->avail + SPLIT_FLAGS, __ATOMIC_SEQ_CST);
    if (flags & ~SPLIT_NO_INTERRUPT)
        virtqueue_bend(queue, "DRV-NTF-01", "avail.flags is neither 0 nor 1");
    return !(flags & SPLIT_NO_INTERRUPT);
}

static void split_publish(struct virtqueue *queue)
{
    uint16_t old = queue->published_used;

    if (queue->next_used == old)
        return;
    shared_store(queue->used + SPLIT_IDX, queue->next_used, __ATOMIC_SEQ_CST); /* RING-09 */
    queue->published_used = queue->next_used;
    if (interrupt_wanted(queue, old))
        queue->notify(queue->notify_opaque, queue->index);
}

/* With EVENT_IDX the wish is an index: the first one we have not seen. used.flags stays 0 (EVT-04).
 */
static bool split_enable_kicks(struct virtqueue *queue)
{
    if (queue->event_idx)
        shared_store(avail_event(queue), queue->avail_seen, __ATOMIC_SEQ_CST);
    else
        shared_store(queue->used + SPLIT_FLAGS, 0, __ATOMIC_SEQ_CST);
    return avail_refresh(queue) != 0; /* broken counts: the next pop will say so */
}

/* With EVENT_IDX there is nothing to write: the index we last asked for is already passed when we
 * are kicked, and comes round again only after 65536 buffers. */
static void split_disable_kicks(struct virtqueue *queue)
{
    if (!queue->event_idx)
        shared_store(queue->used + SPLIT_FLAGS, SPLIT_NO_NOTIFY, __ATOMIC_RELAXED);
}

/* A driver that sets a queue up anew has to clear it, or it takes old used entries for new ones. */
static void check_used_ring(struct virtqueue *queue)
{
    if (queue->next_avail != 0 || queue->next_used != 0)
        return; /* taken up where it stood */
    if (shared_load(queue->used + SPLIT_IDX, __ATOMIC_RELAXED) != 0)
        virtqueue_bend(queue, "DRV-QCFG-15", "used.idx is not 0 at the start");
    if (shared_load(queue->used + SPLIT_FLAGS, __ATOMIC_RELAXED) != 0)
        virtqueue_bend(queue, "DRV-QCFG-16", "used.flags is not 0 at the start");
}

static struct virtqueue_position split_position(const struct virtqueue *queue)
{
    return (struct virtqueue_position){queue->next_avail, queue->published_used};
}

static int take_position(struct virtqueue *queue, struct virtqueue_position position,
                         struct error *err)
{
    queue->next_avail = queue->avail_seen = position.avail;
    queue->next_used = queue->published_used = position.used;
    if ((uint16_t)(position.avail - position.used) > queue->size)
        return error_set(err, EINVAL, "a queue of size %u cannot stand at %u available, %u used",
                         queue->size, position.avail, position.used);
    return 0;
}

static int split_map(struct virtqueue *queue, const struct virtqueue_setup *setup,
                     struct error *err)
{
    /* RING-01 */
    const struct virtqueue_area areas[3] = {
        {"descriptor", setup->desc, SPLIT_DESCRIPTOR_SIZE * (uint64_t)setup->size, 16,
         "DRV-QCFG-04", &queue->desc},
        {"driver", setup->driver, SPLIT_AVAIL_BYTES((uint64_t)setup->size), 2, "DRV-QCFG-04",
         &queue->avail},
        {"device", setup->device, SPLIT_USED_BYTES((uint64_t)setup->size), 4, "DRV-QCFG-04",
         &queue->used},
    };

    if (!is_power_of_two(setup->size))
        return error_set(err, EINVAL, "DRV-QCFG-01: %u is no power of two", setup->size);
    return virtqueue_map_areas(queue->memory, areas, err);
}

static int split_start(struct virtqueue *queue, struct virtqueue_position position,
                       struct error *err)
{
    int ret = take_position(queue, position, err);

    if (ret)
        return ret;
    queue->mask = queue->size - 1u;
    check_used_ring(queue);
    if (queue->event_idx)
        shared_store(queue->used + SPLIT_FLAGS, 0, __ATOMIC_RELAXED);
    return 0;
}

static struct virtqueue_written split_written(const struct virtqueue *queue)
{
    return (struct virtqueue_written){
        .entries = queue->used + SPLIT_RING,
        .entry_size = SPLIT_USED_ENTRY,
        .mask = (uint16_t)queue->mask,
        .index = queue->used + SPLIT_IDX,
        .wish = queue->event_idx ? avail_event(queue) : queue->used + SPLIT_FLAGS,
    };
}

const struct virtqueue_format virtqueue_split = {
    .map = split_map,
    .start = split_start,
    .position = split_position,
    .look = split_look,
    .pop = split_pop,
    .pop_again = split_pop_again,
    .unpop = split_unpop,
    .push = split_push,
    .push_series = split_push_series,
    .release = virtqueue_release,
    .publish = split_publish,
    .enable_kicks = split_enable_kicks,
    .disable_kicks = split_disable_kicks,
    .written = split_written,
};
