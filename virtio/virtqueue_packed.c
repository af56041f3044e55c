/*
 * The packed virtqueue (specification 2.8).
 *
 *     descriptor ring                      driver's event structure    device's event structure
 *     size x {addr, len, id, flags}        off:15 wrap:1, flags        off:15 wrap:1, flags
 *
 * One ring for both directions. Each side goes round it and keeps a *wrap counter*, a bit that
 * flips at the end of the ring. The driver makes a slot available by setting its AVAIL bit to the
 * counter and USED to the opposite; the device uses it by setting both to its own counter. A buffer
 * of several descriptors takes as many slots in a row; used, it is one descriptor in the first slot
 * that is the device's turn, and the slots behind it, as many as it had, are skipped (2.8.6).
 *
 * Ordering. The flags decide, so they are loaded first and with acquire, and stored last and with
 * release. Of a batch of used descriptors the first one's flags are held back until publish: the
 * driver goes in ring order, so it sees the batch whole (2.8.9). For notifications each side writes
 * one thing and then reads another, as in the split ring: sequentially consistent.
 */
#include "base/bytes.h"
#include "virtio/virtqueue_chain.h"
#include "virtio/virtqueue_ring.h"

#include <stdlib.h>

/* 2.8.13 */
enum packed_flag {
    PACKED_NEXT = 1,
    PACKED_WRITE = 2,
    PACKED_INDIRECT = 4,
    PACKED_AVAIL = 1 << 7,
    PACKED_USED = 1 << 15,
};
#define PACKED_TURN (PACKED_AVAIL | PACKED_USED) /* the bits that say whose turn it is */

#define PACKED_DESCRIPTOR_SIZE 16
#define PACKED_LENGTH          8 /* offsets in a descriptor */
#define PACKED_ID              12
#define PACKED_FLAGS           14

struct packed_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id, flags;
};

/* 2.8.14 Event suppression structure: le16 off and wrap, le16 flags */
#define PACKED_EVENT_SIZE  4
#define PACKED_EVENT_WRAP  15
#define PACKED_EVENT_FLAGS 2 /* offset in the structure */
enum packed_event { PACKED_EVENT_ENABLE = 0, PACKED_EVENT_DISABLE = 1, PACKED_EVENT_DESC = 2 };

#define IDS 65536 /* a driver may use any 16-bit id */

static inline uint32_t slot_index(const struct virtqueue *queue, const uint8_t *slot)
{
    return (uint32_t)(slot - queue->desc) / PACKED_DESCRIPTOR_SIZE;
}

/*
 * A place in both rounds of a ring, which tells how far two places are apart: slots of the round
 * with wrap counter 1 first, then the other. Neither side can be more than one round ahead.
 */
static inline uint32_t place(const struct virtqueue *queue, uint32_t slot, bool wrap)
{
    return wrap ? slot : slot + queue->size;
}

static inline uint32_t places_between(const struct virtqueue *queue, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + 2 * queue->size - from;
}

static inline bool avail_wrap(const struct virtqueue *queue)
{
    return queue->avail_turn == PACKED_AVAIL;
}

static inline bool used_wrap(const struct virtqueue *queue)
{
    return queue->used_turn == PACKED_TURN;
}

/* Slots the driver may make available, next to those that were taken. */
static inline uint32_t slots_free(const struct virtqueue *queue)
{
    return queue->slots_allowed - queue->slots_taken;
}

static inline size_t ring_bytes(const struct virtqueue *queue)
{
    return (size_t)queue->size * PACKED_DESCRIPTOR_SIZE;
}

/* Move a slot forward, or back, by at most the ring's size. `turn` is what goes with it: when the
 * wrap counter flips, both bits do. */
static inline void advance(const struct virtqueue *queue, uint8_t **slot, uint16_t *turn,
                           uint32_t slots)
{
    uint8_t *next = *slot + (size_t)slots * PACKED_DESCRIPTOR_SIZE;

    if (unlikely(next >= queue->ring_end)) {
        next -= ring_bytes(queue);
        *turn ^= PACKED_TURN;
    }
    *slot = next;
}

static inline void retreat(const struct virtqueue *queue, uint8_t **slot, uint16_t *turn,
                           uint32_t slots)
{
    size_t bytes = (size_t)slots * PACKED_DESCRIPTOR_SIZE;

    if (bytes > (size_t)(*slot - queue->desc)) {
        *slot += ring_bytes(queue);
        *turn ^= PACKED_TURN;
    }
    *slot -= bytes;
}

/* Copy what flags, loaded before, belong to: so each byte is read once (RING-15). */
static inline struct packed_descriptor descriptor_copy(const uint8_t *p, uint16_t flags)
{
    const void *length = p + PACKED_LENGTH;

    return (struct packed_descriptor){
        .address = le64toh(__atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED)),
        .length = le32toh(__atomic_load_n((const uint32_t *)length, __ATOMIC_RELAXED)),
        .id = shared_load(p + PACKED_ID, __ATOMIC_RELAXED),
        .flags = flags,
    };
}

/* --- pop -------------------------------------------------------------------------------------- */

/* 2.8.7: the table `d` points to is the whole buffer. Its entries follow one another. */
CHAIN_INLINE int chain_walk_indirect(struct chain *chain, const struct packed_descriptor *d)
{
    struct virtqueue *queue = chain->queue;
    uint32_t entries;
    const uint8_t *table;
    int ret = chain_check_indirect(queue, d->length, d->flags & PACKED_NEXT, "DRV-IND-04");

    if (unlikely(ret))
        return ret;
    table = virtqueue_map(queue, d->address, d->length);
    if (unlikely(!table))
        return virtqueue_break(queue, "DRV-RING-09", "an indirect table is not in guest memory");
    entries = d->length / PACKED_DESCRIPTOR_SIZE;
    for (uint32_t i = 0; i < entries; i++, table += PACKED_DESCRIPTOR_SIZE) {
        uint16_t flags = shared_load(table + PACKED_FLAGS, __ATOMIC_RELAXED);
        struct packed_descriptor entry = descriptor_copy(table, flags);

        if (unlikely(flags & ~PACKED_WRITE)) /* IND-04: ignored */
            virtqueue_bend(queue, flags & PACKED_INDIRECT ? "DRV-IND-02" : "DRV-IND-07",
                           "an indirect table's entry has more than WRITE");
        ret = chain_add(chain, entry.address, entry.length, flags & PACKED_WRITE, "DRV-IND-09");
        if (unlikely(ret))
            return ret;
    }
    return 0;
}

/* The next slot of a list: the driver made all of it available before the first (2.8.17). */
CHAIN_INLINE int list_next(struct virtqueue *queue, const uint8_t *slot, uint16_t turn,
                           struct packed_descriptor *d)
{
    uint16_t flags = shared_load(slot + PACKED_FLAGS, __ATOMIC_RELAXED);

    if (unlikely((flags & PACKED_TURN) != turn))
        return virtqueue_break(queue, "DRV-PACK-05", "a list goes on in a slot not available");
    if (unlikely(flags & PACKED_INDIRECT))
        return virtqueue_break(queue, "DRV-IND-04", "INDIRECT in a list");
    *d = descriptor_copy(slot, flags);
    return 0;
}

/* A list of direct descriptors that begins with *d; then *d is the last one. */
CHAIN_INLINE int chain_walk_list(struct chain *chain, struct packed_descriptor *d, uint32_t *slots)
{
    struct virtqueue *queue = chain->queue;
    uint8_t *slot = queue->avail_slot;
    uint16_t turn = queue->avail_turn;

    for (*slots = 1;; ++*slots) {
        int ret = chain_add(chain, d->address, d->length, d->flags & PACKED_WRITE, "DRV-PACK-04");

        if (unlikely(ret) || !(d->flags & PACKED_NEXT))
            return ret;
        if (unlikely(*slots == queue->size))
            return virtqueue_break(queue, "DRV-PACK-03", "a list is longer than the ring");
        advance(queue, &slot, &turn, 1);
        ret = list_next(queue, slot, turn, d);
        if (unlikely(ret))
            return ret;
    }
}

/* --- which buffer describes what ---
 *
 * A buffer stays with the id it was last popped with, so that the next one of that id finds it at
 * once. Ids are the driver's choice, and may be more than there are buffers: then one that is not
 * in flight changes its id. */

/* A buffer that is not in flight. Only when a slot is free: then there is one, as no buffer takes
 * less than a slot. */
static struct virtqueue_buffer *spare_buffer(struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;

    do {
        buffer = &queue->buffers[queue->spare++];
        if (queue->spare == queue->size)
            queue->spare = 0;
    } while (buffer->in_flight);
    return buffer;
}

/* This buffer, which is not in flight, describes what has this id from now on. */
static int give_id(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint16_t id)
{
    struct virtqueue_buffer *other = queue->by_id[id];

    if (unlikely(other && other->in_flight))
        return virtqueue_break(queue, "DRV-PACK-07", "a buffer id is in use already");
    if (queue->by_id[buffer->id] == buffer)
        queue->by_id[buffer->id] = NULL;
    queue->by_id[id] = buffer;
    buffer->id = id;
    return 0;
}

/* The buffer is the device's from now on. */
static inline int take(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t slots,
                       struct virtqueue_buffer **out)
{
    buffer->in_flight = true;
    buffer->slots = slots;
    queue->slots_taken += slots;
    queue->budget--;
    advance(queue, &queue->avail_slot, &queue->avail_turn, slots);
    *out = buffer;
    return 1;
}

/* The rest of pop for what begins with this descriptor in the next slot. Its fields come one by
 * one: a structure would be put together for it in pop, 5 instructions for every buffer. The id is
 * that of the last descriptor (PACK-11). */
static __attribute__((noinline)) int take_chain(struct virtqueue *queue,
                                                struct virtqueue_buffer **out, uint64_t address,
                                                uint32_t length, uint16_t id, uint16_t flags)
{
    struct virtqueue_buffer *last = queue->by_id[id];
    struct virtqueue_buffer *buffer = last && !last->in_flight ? last : spare_buffer(queue);
    struct chain chain = chain_begin(queue, buffer);
    struct packed_descriptor d = {address, length, id, flags};
    uint32_t slots = 1;
    int ret = flags & PACKED_INDIRECT ? chain_walk_indirect(&chain, &d)
                                      : chain_walk_list(&chain, &d, &slots);

    if (!ret)
        ret = chain_end(&chain);
    if (unlikely(ret))
        return ret;
    if (unlikely(slots > slots_free(queue)))
        return virtqueue_break(queue, "DRV-PACK-08", "a list takes slots that are not used yet");
    ret = give_id(queue, buffer, d.id);
    return unlikely(ret) ? ret : take(queue, buffer, slots, out);
}

/* The rest of pop for a single descriptor. Once for each direction, and not inline: so no register
 * has to be saved, and half of the buffer's fields are constants. */
CHAIN_INLINE int take_single(struct virtqueue *queue, struct virtqueue_buffer **out,
                             uint64_t address, uint32_t length, struct virtqueue_buffer *buffer,
                             bool writable)
{
    if (unlikely(!chain_single(queue, buffer, address, length, writable)))
        return take_chain(queue, out, address, length, buffer->id, writable ? PACKED_WRITE : 0);
    return take(queue, buffer, 1, out);
}

static __attribute__((noinline)) int take_readable(struct virtqueue *queue,
                                                   struct virtqueue_buffer **out, uint64_t address,
                                                   uint32_t length, struct virtqueue_buffer *buffer)
{
    return take_single(queue, out, address, length, buffer, false);
}

static __attribute__((noinline)) int take_writable(struct virtqueue *queue,
                                                   struct virtqueue_buffer **out, uint64_t address,
                                                   uint32_t length, struct virtqueue_buffer *buffer)
{
    return take_single(queue, out, address, length, buffer, true);
}

static int packed_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    const uint8_t *p = queue->avail_slot;
    /* In a slot that is ours to take, the bits that say so cancel out. */
    uint32_t flags = shared_load(p + PACKED_FLAGS, __ATOMIC_ACQUIRE) ^ queue->avail_turn;
    struct virtqueue_buffer *buffer;
    struct packed_descriptor d;

    if (flags & PACKED_TURN)
        return 0;
    if (unlikely(slots_free(queue) == 0))
        return virtqueue_break(queue, "DRV-PACK-08", "more is available than the ring holds");
    d = descriptor_copy(p, (uint16_t)flags);
    buffer = queue->by_id[d.id];
    if (unlikely(!buffer) || unlikely(buffer->in_flight) || flags & ~(uint32_t)PACKED_WRITE)
        return take_chain(queue, out, d.address, d.length, d.id, d.flags);
    return flags ? take_writable(queue, out, d.address, d.length, buffer)
                 : take_readable(queue, out, d.address, d.length, buffer);
}

static inline void packed_release(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    buffer->in_flight = false;
    if (unlikely(buffer->capacity > VIRTQUEUE_SHORT_CHAIN))
        virtqueue_buffer_trim(queue, buffer);
}

static void packed_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    retreat(queue, &queue->avail_slot, &queue->avail_turn, buffer->slots);
    queue->slots_taken -= buffer->slots;
    packed_release(queue, buffer);
}

/* --- push and publish ------------------------------------------------------------------------- */

/* Write a used descriptor, and go on by `slots` (PACK-10). The order of the statements, and that
 * what comes before a shared store is copied, spares saving registers and loading again: 9
 * instructions for each buffer. */
static inline void record(struct virtqueue *queue, uint16_t id, uint32_t written, uint32_t slots)
{
    uint8_t *p = queue->used_slot;
    uint16_t flags = queue->used_turn | (written ? PACKED_WRITE : 0); /* PACK-12 */
    uint32_t unpublished = queue->unpublished;

    __atomic_store_n((uint32_t *)(void *)(p + PACKED_LENGTH), htole32(written), __ATOMIC_RELAXED);
    shared_store(p + PACKED_ID, id, __ATOMIC_RELAXED);
    if (__builtin_expect(unpublished > 0, 1)) {
        shared_store(p + PACKED_FLAGS, flags, __ATOMIC_RELEASE); /* PACK-14 */
    } else {
        queue->held = p;
        queue->held_flags = flags;
    }
    queue->unpublished = unpublished + slots;
    advance(queue, &queue->used_slot, &queue->used_turn, slots);
}

static void packed_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    record(queue, buffer->id, written, buffer->slots);
    packed_release(queue, buffer);
}

/* ORD-03 */
static void packed_push_series(struct virtqueue *queue, struct virtqueue_buffer *last,
                               uint32_t slots)
{
    record(queue, last->id, last->written, slots);
    packed_release(queue, last);
}

/* Whether the driver wants to hear of the last `slots` slots that were used (2.8.10). */
static inline bool interrupt_wanted(struct virtqueue *queue, uint32_t slots)
{
    uint32_t event =
        le32toh(__atomic_load_n((const uint32_t *)(const void *)queue->avail, __ATOMIC_SEQ_CST));
    uint16_t flags = event >> 16, offset = event & 0x7fff;
    bool wrap = event >> PACKED_EVENT_WRAP & 1;

    if (unlikely(flags > PACKED_EVENT_DESC || (flags == PACKED_EVENT_DESC && !queue->event_idx)))
        virtqueue_bend(queue, "DRV-PACK-09", "the driver's event flags are reserved ones");
    if (flags != PACKED_EVENT_DESC || !queue->event_idx)
        return flags != PACKED_EVENT_DISABLE;
    if (unlikely(offset >= queue->size))
        virtqueue_bend(queue, "DRV-PACK-09", "the driver's event offset is beyond the ring");
    /* In the numbering of the round we are in; the last round's offsets are negative then. */
    if (wrap != used_wrap(queue))
        offset -= queue->size;
    return (uint16_t)(slot_index(queue, queue->used_slot) - offset - 1) <
           (uint16_t)slots; /* EVT-10, EVT-11 */
}

static void packed_publish(struct virtqueue *queue)
{
    uint32_t slots = queue->unpublished;

    if (slots == 0)
        return;
    shared_store(queue->held + PACKED_FLAGS, queue->held_flags, __ATOMIC_SEQ_CST); /* PACK-14 */
    queue->unpublished = 0;
    queue->slots_allowed += slots; /* the driver knows of them only now */
    if (interrupt_wanted(queue, slots))
        queue->notify(queue->notify_opaque, queue->index);
}

/* --- kicks ------------------------------------------------------------------------------------ */

/* A place in the ring as an event structure and a position in vhost's terms have it. */
static inline uint16_t slot_and_wrap(const struct virtqueue *queue, const uint8_t *slot, bool wrap)
{
    return (uint16_t)(slot_index(queue, slot) | (uint32_t)wrap << PACKED_EVENT_WRAP);
}

/*
 * How many slots are available behind the `seen` that are known to be, from `slot` on. Each is
 * looked at once, however often kicks are enabled.
 */
static uint32_t count_new(const struct virtqueue *queue, uint8_t *slot, uint16_t turn,
                          uint32_t seen)
{
    uint32_t count = 0;

    while (seen + count < slots_free(queue) &&
           (shared_load(slot + PACKED_FLAGS, __ATOMIC_SEQ_CST) & PACKED_TURN) == turn) {
        advance(queue, &slot, &turn, 1);
        count++;
    }
    return count;
}

/* With EVENT_IDX the wish is a place: the first slot we have not seen. Buffers before it may have
 * been left in the ring. The structure's flags are set for good. */
static bool packed_enable_kicks(struct virtqueue *queue)
{
    int32_t ahead = (int32_t)(queue->slots_seen - queue->slots_taken);
    uint32_t seen = ahead > 0 ? (uint32_t)ahead : 0, count;
    uint8_t *slot = queue->avail_slot;
    uint16_t turn = queue->avail_turn;

    advance(queue, &slot, &turn, seen);
    if (queue->event_idx)
        shared_store(queue->used, slot_and_wrap(queue, slot, turn == PACKED_AVAIL),
                     __ATOMIC_SEQ_CST);
    else
        shared_store(queue->used + PACKED_EVENT_FLAGS, PACKED_EVENT_ENABLE, __ATOMIC_SEQ_CST);
    count = count_new(queue, slot, turn, seen);
    queue->slots_seen = queue->slots_taken + seen + count;
    return count > 0;
}

/* With EVENT_IDX there is nothing to write: the driver passes the place we asked for only once in
 * two rounds. */
static void packed_disable_kicks(struct virtqueue *queue)
{
    if (!queue->event_idx)
        shared_store(queue->used + PACKED_EVENT_FLAGS, PACKED_EVENT_DISABLE, __ATOMIC_RELAXED);
}

/* --- start and stop --------------------------------------------------------------------------- */

/* What was pushed and not published is not used: its first descriptor was held back. */
static struct virtqueue_position packed_position(const struct virtqueue *queue)
{
    uint8_t *slot = queue->used_slot;
    uint16_t turn = queue->used_turn;

    retreat(queue, &slot, &turn, queue->unpublished);
    return (struct virtqueue_position){
        .avail = slot_and_wrap(queue, queue->avail_slot, avail_wrap(queue)),
        .used = slot_and_wrap(queue, slot, turn == PACKED_TURN),
    };
}

static int take_position(struct virtqueue *queue, struct virtqueue_position position,
                         struct error *err)
{
    const uint16_t mask = (1 << PACKED_EVENT_WRAP) - 1;
    bool wrap = position.avail >> PACKED_EVENT_WRAP, used_wrap = position.used >> PACKED_EVENT_WRAP;
    uint32_t avail = position.avail & mask, used = position.used & mask;
    uint32_t taken =
        places_between(queue, place(queue, used, used_wrap), place(queue, avail, wrap));

    if (avail >= queue->size || used >= queue->size || taken > queue->size)
        return error_set(err, EINVAL,
                         "a packed queue of size %u cannot stand at 0x%x available, 0x%x used",
                         queue->size, position.avail, position.used);
    queue->avail_slot = queue->desc + (size_t)avail * PACKED_DESCRIPTOR_SIZE;
    queue->avail_turn = wrap ? PACKED_AVAIL : PACKED_USED;
    queue->used_slot = queue->desc + (size_t)used * PACKED_DESCRIPTOR_SIZE;
    queue->used_turn = used_wrap ? PACKED_TURN : 0;
    queue->ring_end = queue->desc + ring_bytes(queue);
    queue->slots_allowed = queue->size - taken;
    return 0;
}

/* A driver that sets a queue up anew has to clear it: slots that look used are of an earlier life.
 */
static void check_ring(struct virtqueue *queue)
{
    if (queue->avail_slot != queue->desc || queue->used_slot != queue->desc || !avail_wrap(queue) ||
        !used_wrap(queue))
        return; /* taken up where it stood */
    for (const uint8_t *slot = queue->desc; slot < queue->ring_end; slot += PACKED_DESCRIPTOR_SIZE)
        if (shared_load(slot + PACKED_FLAGS, __ATOMIC_RELAXED) & PACKED_USED)
            virtqueue_bend(queue, "DRV-QCFG-15", "the ring is not clear at the start");
}

static int packed_start(struct virtqueue *queue, const struct virtqueue_setup *setup,
                        struct virtqueue_position position, struct error *err)
{
    /* PACK-01 */
    const struct virtqueue_area areas[3] = {
        {"descriptor", setup->desc, PACKED_DESCRIPTOR_SIZE * (uint64_t)setup->size, 16,
         "DRV-QCFG-05", &queue->desc},
        {"driver", setup->driver, PACKED_EVENT_SIZE, 4, "DRV-QCFG-05", &queue->avail},
        {"device", setup->device, PACKED_EVENT_SIZE, 4, "DRV-QCFG-05", &queue->used},
    };
    int ret = virtqueue_map_areas(queue->memory, areas, err);

    if (!ret)
        ret = take_position(queue, position, err);
    if (ret)
        return ret;
    check_ring(queue);
    queue->by_id = calloc(IDS, sizeof(struct virtqueue_buffer *));
    if (!queue->by_id)
        return error_set(err, ENOMEM, "no memory for a queue of size %u", setup->size);
    shared_store(queue->used + PACKED_EVENT_FLAGS,
                 queue->event_idx ? PACKED_EVENT_DESC : PACKED_EVENT_ENABLE, __ATOMIC_RELAXED);
    return 0;
}

const struct virtqueue_format virtqueue_packed = {
    .start = packed_start,
    .position = packed_position,
    .pop = packed_pop,
    .unpop = packed_unpop,
    .push = packed_push,
    .push_series = packed_push_series,
    .release = packed_release,
    .publish = packed_publish,
    .enable_kicks = packed_enable_kicks,
    .disable_kicks = packed_disable_kicks,
};
