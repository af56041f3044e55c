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
 * release; the id is in the same aligned word, and comes or goes with them. Of a batch of used
 * descriptors the first one's flags are held back until publish: the driver goes in ring order, so
 * it sees the batch whole (2.8.9). For notifications each side writes one thing and then reads
 * another, as in the split ring: sequentially consistent.
 */
#include "base/bytes.h"
#include "base/sanitizers.h"
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
#define PACKED_ID              12 /* offsets in a descriptor */
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

static inline uint8_t *slot_at(const struct virtqueue *queue, uint32_t slot)
{
    return queue->desc + (size_t)slot * PACKED_DESCRIPTOR_SIZE;
}

static inline uint32_t slots_between(const uint8_t *from, const uint8_t *to)
{
    return (uint32_t)((size_t)(to - from) / PACKED_DESCRIPTOR_SIZE);
}

/*
 * Id and flags of a descriptor are one aligned word, with the flags in the upper half. The thread
 * sanitizer relates an acquire to a release only if both are of the same word, and drivers store
 * the flags alone: so it gets to see two accesses.
 */
#define PACKED_ID_FLAGS  PACKED_ID
#define FLAGS_WORD(bits) ((uint32_t)(bits) << 16)

#if SANITIZE_THREAD
static inline uint32_t load_id_flags(const uint8_t *p)
{
    uint16_t flags = shared_load(p + PACKED_FLAGS, __ATOMIC_ACQUIRE);

    return FLAGS_WORD(flags) | shared_load(p + PACKED_ID, __ATOMIC_RELAXED);
}

static inline void store_id_flags(uint8_t *p, uint32_t word)
{
    shared_store(p + PACKED_ID, (uint16_t)word, __ATOMIC_RELAXED);
    shared_store(p + PACKED_FLAGS, (uint16_t)(word >> 16), __ATOMIC_RELEASE);
}
#else
static inline uint32_t load_id_flags(const uint8_t *p)
{
    const void *word = p + PACKED_ID_FLAGS;

    return le32toh(__atomic_load_n((const uint32_t *)word, __ATOMIC_ACQUIRE));
}

static inline void store_id_flags(uint8_t *p, uint32_t word)
{
    __atomic_store_n((uint32_t *)(void *)(p + PACKED_ID_FLAGS), htole32(word), __ATOMIC_RELEASE);
}
#endif

static inline void store_length(uint8_t *p, uint32_t length)
{
    __atomic_store_n((uint32_t *)(void *)(p + CHAIN_LENGTH), htole32(length), __ATOMIC_RELAXED);
}

/*
 * A place in both rounds of a ring, which tells how far two places are apart: slots of the round
 * with wrap counter 1 first, then the other. Neither side can be more than one round ahead.
 */
static inline uint32_t place(const struct virtqueue *queue, uint16_t slot, bool wrap)
{
    return wrap ? slot : (uint32_t)slot + queue->size;
}

static inline uint32_t places_between(const struct virtqueue *queue, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + 2 * queue->size - from;
}

/* Move a slot forward, by at most the ring's size. `turn` is what goes with it: when the
 * wrap counter flips, both bits do. */
static inline void advance(const struct virtqueue *queue, uint16_t *slot, uint16_t *turn,
                           uint32_t slots)
{
    uint32_t next = *slot + slots;

    if (next >= queue->size) {
        next -= queue->size;
        *turn ^= PACKED_TURN;
    }
    *slot = (uint16_t)next;
}

/* Behind the last slot is the first one of the next round. */
static inline void wrap_round(const struct virtqueue *queue, uint8_t **slot, uint32_t *word)
{
    if (*slot == queue->desc_end) {
        *slot = queue->desc;
        *word ^= FLAGS_WORD(PACKED_TURN);
    }
}

/* The same of a pointer to a slot, with the word that goes with it. */
static inline void go_on(const struct virtqueue *queue, uint8_t **slot, uint32_t *word,
                         uint32_t slots)
{
    wrap_round(queue, slot, word);
    *slot += (size_t)slots * PACKED_DESCRIPTOR_SIZE;
    if (*slot > queue->desc_end) {
        *slot -= queue->desc_end - queue->desc;
        *word ^= FLAGS_WORD(PACKED_TURN);
    }
}

static void go_back(const struct virtqueue *queue, uint8_t **slot, uint32_t *word, uint32_t slots)
{
    go_on(queue, slot, word, queue->size - slots);
    *word ^= FLAGS_WORD(PACKED_TURN); /* a whole round back */
}

static struct virtqueue_place place_of(const struct virtqueue *queue, uint8_t *slot, uint32_t word,
                                       uint16_t turn)
{
    wrap_round(queue, &slot, &word);
    return (struct virtqueue_place){(uint16_t)slots_between(queue->desc, slot),
                                    (word >> 16 & PACKED_TURN) == turn};
}

struct virtqueue_place virtqueue_packed_avail(const struct virtqueue *queue)
{
    return place_of(queue, queue->avail_slot, queue->avail_word, PACKED_AVAIL);
}

struct virtqueue_place virtqueue_packed_used(const struct virtqueue *queue)
{
    return place_of(queue, queue->used_slot, queue->used_word, PACKED_TURN);
}

static inline uint16_t avail_turn(bool wrap)
{
    return wrap ? PACKED_AVAIL : PACKED_USED;
}

/* Slots used since publish. All of the ring may be, but none after that: so there are some. */
static uint32_t unpublished(const struct virtqueue *queue)
{
    if (!queue->held)
        return 0;
    return queue->used_slot > queue->held
               ? slots_between(queue->held, queue->used_slot)
               : queue->size - slots_between(queue->used_slot, queue->held);
}

/* Copy what flags, loaded before, belong to: so each byte is read once (RING-15). */
static inline struct packed_descriptor descriptor_copy(const uint8_t *p, uint16_t flags)
{
    return (struct packed_descriptor){
        .address = chain_load_address(p),
        .length = chain_load_length(p),
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
CHAIN_INLINE int list_next(struct virtqueue *queue, uint16_t slot, uint16_t turn,
                           struct packed_descriptor *d)
{
    const uint8_t *p = slot_at(queue, slot);
    uint16_t flags = shared_load(p + PACKED_FLAGS, __ATOMIC_RELAXED);

    if (unlikely((flags & PACKED_TURN) != turn))
        return virtqueue_break(queue, "DRV-PACK-05", "a list goes on in a slot not available");
    if (unlikely(flags & PACKED_INDIRECT))
        return virtqueue_break(queue, "DRV-IND-04", "INDIRECT in a list");
    *d = descriptor_copy(p, flags);
    return 0;
}

/* A list of direct descriptors that begins with *d; then *d is the last one. */
CHAIN_INLINE int chain_walk_list(struct chain *chain, struct packed_descriptor *d, uint32_t *slots)
{
    struct virtqueue *queue = chain->queue;
    struct virtqueue_place at = virtqueue_packed_avail(queue);
    uint16_t turn = avail_turn(at.wrap);

    for (*slots = 1;; ++*slots) {
        int ret = chain_add(chain, d->address, d->length, d->flags & PACKED_WRITE, "DRV-PACK-04");

        if (unlikely(ret) || !(d->flags & PACKED_NEXT))
            return ret;
        if (unlikely(*slots == queue->size))
            return virtqueue_break(queue, "DRV-PACK-03", "a list is longer than the ring");
        advance(queue, &at.slot, &turn, 1);
        ret = list_next(queue, at.slot, turn, d);
        if (unlikely(ret))
            return ret;
    }
}

static bool id_in_flight(const struct virtqueue *queue, uint16_t id)
{
    return id < queue->size ? queue->singles[id].limit != VIRTQUEUE_FREE : queue->id_in_flight[id];
}

/* Take slots: of the run, if it has as many. It counted a buffer for each of them. */
static inline void take_slots(struct virtqueue *queue, uint32_t slots)
{
    if (slots <= queue->ready) {
        queue->avail_slot += slots * PACKED_DESCRIPTOR_SIZE;
        queue->ready -= slots;
        queue->budget += slots - 1;
        return;
    }
    virtqueue_end_run(queue);
    go_on(queue, &queue->avail_slot, &queue->avail_word, slots);
    queue->slots_free -= slots;
    queue->slots_seen -= slots;
    queue->budget--;
}

/* The first of the free buffers is the device's from now on, unless its id is another's, too. `id`
 * is that of its last descriptor (PACK-11). The slots are free. */
static inline int take(struct virtqueue *queue, uint16_t id, uint32_t slots,
                       struct virtqueue_buffer **out)
{
    struct virtqueue_buffer *buffer = queue->free;

    if (unlikely(id_in_flight(queue, id)))
        return virtqueue_break(queue, "DRV-PACK-07", "a buffer id is in use already");
    if (id < queue->size)
        queue->singles[id].limit = 0;
    else
        queue->id_in_flight[id] = true;
    queue->free = buffer->next_free;
    take_slots(queue, slots);
    buffer->id = id;
    buffer->slots = (uint16_t)slots;
    buffer->limit = 0;
    *out = buffer;
    return 1;
}

/* What begins in the next slot, whatever it is: looked at anew, so that nothing that was read
 * before counts. */
static __attribute__((noinline)) int pop_chain(struct virtqueue *queue,
                                               struct virtqueue_buffer **out)
{
    const uint8_t *p = queue->avail_slot;
    uint16_t flags = shared_load(p + PACKED_FLAGS, __ATOMIC_ACQUIRE); /* PACK-05 */
    struct packed_descriptor d;
    struct chain chain;
    uint32_t slots = 1;
    int ret;

    queue->ready++; /* until it is sure how many are taken */
    if ((flags & PACKED_TURN) != (queue->avail_word >> 16 & PACKED_TURN))
        return 0;
    d = descriptor_copy(p, flags & (PACKED_NEXT | PACKED_WRITE | PACKED_INDIRECT));
    chain = chain_begin(queue, queue->free); /* there is one for each slot that is free */
    ret = d.flags & PACKED_INDIRECT ? chain_walk_indirect(&chain, &d)
                                    : chain_walk_list(&chain, &d, &slots);
    if (!ret)
        ret = chain_end(&chain);
    if (unlikely(ret))
        return ret;
    if (unlikely(slots > queue->slots_free + (uint32_t)queue->ready))
        return virtqueue_break(queue, "DRV-PACK-08", "a list takes slots that are not used yet");
    return take(queue, d.id, slots, out);
}

/* Pop a single descriptor with this id, below id_count; or whatever else it is. */
CHAIN_INLINE int pop_single(struct virtqueue *queue, const uint8_t *p, uint32_t id, bool writable,
                            struct virtqueue_buffer **out)
{
    struct virtqueue_buffer *buffer = &queue->singles[id];

    if (unlikely(buffer->limit != VIRTQUEUE_FREE) ||
        !chain_single(queue, buffer, chain_load_address(p), chain_load_length(p), writable))
        return pop_chain(queue, out);
    queue->avail_slot = (uint8_t *)p + PACKED_DESCRIPTOR_SIZE;
    *out = buffer;
    return 1;
}

/* `rest` is that of packed_pop. */
static __attribute__((noinline)) int pop_unwritable(struct virtqueue *queue,
                                                    struct virtqueue_buffer **out, uint32_t rest)
{
    uint32_t id = rest ^ FLAGS_WORD(PACKED_WRITE);

    return id < queue->id_count ? pop_single(queue, queue->avail_slot, id, false, out)
                                : pop_chain(queue, out);
}

/*
 * Most buffers are one descriptor, with an id below the queue's size. What differs in its word of
 * id and flags from that of a writable one with id 0 is the id alone: so one comparison finds that
 * it is available, that none but the expected flags are set, and that the id is in range. The
 * buffer is found by the id, and whether the id is in flight is seen from the buffer.
 */
static int packed_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    const uint8_t *p = queue->avail_slot;
    uint32_t rest = load_id_flags(p) ^ queue->avail_word; /* PACK-05 */

    return rest < queue->id_count ? pop_single(queue, p, rest, true, out)
                                  : pop_unwritable(queue, out, rest);
}

static int packed_look(struct virtqueue *queue)
{
    uint32_t slots;

    wrap_round(queue, &queue->avail_slot, &queue->avail_word);
    if (unlikely(queue->slots_free == 0)) {
        uint16_t flags = shared_load(queue->avail_slot + PACKED_FLAGS, __ATOMIC_RELAXED);

        if ((flags & PACKED_TURN) != (queue->avail_word >> 16 & PACKED_TURN))
            return 0;
        return virtqueue_break(queue, "DRV-PACK-08", "more is available than the ring holds");
    }
    slots = MIN(queue->slots_free, slots_between(queue->avail_slot, queue->desc_end));
    virtqueue_begin_run(queue, (uint32_t)MIN(queue->budget, slots));
    return 1;
}

/* The list's descriptors as they were; the ring's slots may hold used ones by now. */
static int packed_pop_again(struct virtqueue *queue, uint16_t head,
                            const struct inflight_packed_entry *list, uint16_t count,
                            struct virtqueue_buffer **out)
{
    struct virtqueue_buffer *buffer = queue->free;
    struct chain chain;
    int ret = 0;

    (void)head;
    queue->ready++;
    virtqueue_end_run(queue);      /* it may not begin where this one does */
    if (count > queue->slots_free) /* otherwise there is a free buffer, too */
        return virtqueue_break(queue, "DRV-PACK-08", "more was in flight than the ring holds");
    chain = chain_begin(queue, buffer);
    for (uint16_t i = 0; i < count && !ret; i++) {
        const struct packed_descriptor d = {list[i].address, list[i].length, list[i].id,
                                            list[i].flags};

        if (!(d.flags & PACKED_INDIRECT))
            ret = chain_add(&chain, d.address, d.length, d.flags & PACKED_WRITE, "DRV-PACK-04");
        else if (count == 1)
            ret = chain_walk_indirect(&chain, &d);
        else
            ret = virtqueue_break(queue, "DRV-IND-04", "INDIRECT in a list");
    }
    if (!ret)
        ret = chain_end(&chain);
    return ret ? ret : take(queue, list[count - 1].id, count, out);
}

static inline void packed_release(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    if (!virtqueue_is_single(queue, buffer)) {
        if (unlikely(buffer->id >= queue->size))
            queue->id_in_flight[buffer->id] = false;
        buffer->next_free = queue->free;
        queue->free = buffer;
    }
    virtqueue_release(queue, buffer);
}

static void packed_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    virtqueue_end_run(queue);
    go_back(queue, &queue->avail_slot, &queue->avail_word, buffer->slots);
    queue->slots_free += buffer->slots;
    queue->slots_seen += buffer->slots;
    packed_release(queue, buffer);
}

/* --- push and publish ------------------------------------------------------------------------- */

/* Write a used descriptor, and go on by `slots` (PACK-10). */
static inline void record(struct virtqueue *queue, uint16_t id, uint32_t written, uint32_t slots)
{
    uint32_t word;
    uint8_t *p;

    wrap_round(queue, &queue->used_slot, &queue->used_word);
    p = queue->used_slot;
    word = queue->used_word | id;
    if (!written)
        word &= ~FLAGS_WORD(PACKED_WRITE); /* PACK-12 */
    go_on(queue, &queue->used_slot, &queue->used_word, slots);
    queue->used_end = queue->desc_end;
    store_length(p, written);
    if (queue->held) {
        store_id_flags(p, word); /* PACK-14 */
    } else {
        queue->held = p;
        queue->held_flags = (uint16_t)(word >> 16);
        shared_store(p + PACKED_ID, id, __ATOMIC_RELAXED);
    }
}

/* Also to mark where the batch begins. */
static __attribute__((noinline)) void push_any(struct virtqueue *queue,
                                               struct virtqueue_buffer *buffer, uint32_t written)
{
    record(queue, buffer->id, virtqueue_clamp_written(buffer, written), buffer->slots);
    packed_release(queue, buffer);
}

/* A single descriptor whose flags are not held back; found in one comparison if something was
 * written to it, and not too much. */
static void packed_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    uint8_t *p = queue->used_slot;
    uint32_t word = queue->used_word | buffer->id;

    if (unlikely(p == queue->used_end)) {
        push_any(queue, buffer, written);
        return;
    }
    if (written - 1 >= buffer->limit) {
        if (written || !virtqueue_is_single(queue, buffer)) {
            push_any(queue, buffer, written);
            return;
        }
        word &= ~FLAGS_WORD(PACKED_WRITE);
    }
    queue->used_slot = p + PACKED_DESCRIPTOR_SIZE;
    buffer->limit = VIRTQUEUE_FREE;
    store_length(p, written);
    store_id_flags(p, word); /* PACK-12, PACK-14 */
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
    struct virtqueue_place used;

    if (unlikely(flags > PACKED_EVENT_DESC || (flags == PACKED_EVENT_DESC && !queue->event_idx)))
        virtqueue_bend(queue, "DRV-PACK-09", "the driver's event flags are reserved ones");
    if (flags != PACKED_EVENT_DESC || !queue->event_idx)
        return flags != PACKED_EVENT_DISABLE;
    used = virtqueue_packed_used(queue);
    if (unlikely(offset >= queue->size))
        virtqueue_bend(queue, "DRV-PACK-09", "the driver's event offset is beyond the ring");
    /* In the numbering of the round we are in; the last round's offsets are negative then. */
    if (wrap != used.wrap)
        offset -= queue->size;
    return (uint16_t)(used.slot - offset - 1) < (uint16_t)slots; /* EVT-10, EVT-11 */
}

static void packed_publish(struct virtqueue *queue)
{
    uint32_t slots = unpublished(queue);

    if (slots == 0)
        return;
    shared_store(queue->held + PACKED_FLAGS, queue->held_flags, __ATOMIC_SEQ_CST); /* PACK-14 */
    queue->held = NULL;
    queue->used_end = queue->used_slot;
    queue->slots_free += slots; /* the driver knows of them only now */
    if (interrupt_wanted(queue, slots))
        queue->notify(queue->notify_opaque, queue->index);
}

/* --- kicks ------------------------------------------------------------------------------------ */

/* A place in the ring as an event structure and a position in vhost's terms have it. */
static inline uint16_t slot_and_wrap(struct virtqueue_place place)
{
    return (uint16_t)(place.slot | place.wrap << PACKED_EVENT_WRAP);
}

/*
 * How many slots are available behind the `seen` that are known to be, from `slot` on. Each is
 * looked at once, however often kicks are enabled.
 */
static uint32_t count_new(const struct virtqueue *queue, uint16_t slot, uint16_t turn,
                          uint32_t seen)
{
    uint32_t count = 0;

    while (seen + count < queue->slots_free &&
           (shared_load(slot_at(queue, slot) + PACKED_FLAGS, __ATOMIC_SEQ_CST) & PACKED_TURN) ==
               turn) {
        advance(queue, &slot, &turn, 1);
        count++;
    }
    return count;
}

/* With EVENT_IDX the wish is a place: the first slot we have not seen. Buffers before it may have
 * been left in the ring. The structure's flags are set for good. */
static bool packed_enable_kicks(struct virtqueue *queue)
{
    struct virtqueue_place at = virtqueue_packed_avail(queue);
    uint16_t turn = avail_turn(at.wrap);
    uint32_t seen, count;

    virtqueue_end_run(queue);
    seen = queue->slots_seen > 0 ? (uint32_t)queue->slots_seen : 0;
    advance(queue, &at.slot, &turn, seen);
    at.wrap = turn == PACKED_AVAIL;
    if (queue->event_idx)
        shared_store(queue->used, slot_and_wrap(at), __ATOMIC_SEQ_CST);
    else
        shared_store(queue->used + PACKED_EVENT_FLAGS, PACKED_EVENT_ENABLE, __ATOMIC_SEQ_CST);
    count = count_new(queue, at.slot, turn, seen);
    queue->slots_seen = (int64_t)seen + count;
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
    uint8_t *used = queue->used_slot;
    uint32_t word = queue->used_word;

    go_back(queue, &used, &word, unpublished(queue));
    return (struct virtqueue_position){
        .avail = slot_and_wrap(virtqueue_packed_avail(queue)),
        .used = slot_and_wrap(place_of(queue, used, word, PACKED_TURN)),
    };
}

static int take_position(struct virtqueue *queue, struct virtqueue_position position,
                         struct error *err)
{
    const uint16_t mask = (1 << PACKED_EVENT_WRAP) - 1;
    uint16_t next_avail = position.avail & mask, next_used = position.used & mask;
    bool wrap = position.avail >> PACKED_EVENT_WRAP, used = position.used >> PACKED_EVENT_WRAP;
    uint32_t taken =
        places_between(queue, place(queue, next_used, used), place(queue, next_avail, wrap));

    if (next_avail >= queue->size || next_used >= queue->size || taken > queue->size)
        return error_set(err, EINVAL,
                         "a packed queue of size %u cannot stand at 0x%x available, 0x%x used",
                         queue->size, position.avail, position.used);
    queue->desc_end = slot_at(queue, queue->size);
    queue->avail_slot = slot_at(queue, next_avail);
    queue->avail_word = FLAGS_WORD(avail_turn(wrap) | PACKED_WRITE);
    queue->used_slot = queue->used_end = slot_at(queue, next_used);
    queue->used_word = FLAGS_WORD((used ? PACKED_TURN : 0) | PACKED_WRITE);
    queue->slots_free = queue->size - taken;
    return 0;
}

/* A driver that sets a queue up anew has to clear it: slots that look used are of an earlier life.
 */
static void check_ring(struct virtqueue *queue, struct virtqueue_position position)
{
    const uint16_t first = 1 << PACKED_EVENT_WRAP;

    if (position.avail != first || position.used != first)
        return; /* taken up where it stood */
    for (uint32_t i = 0; i < queue->size; i++)
        if (shared_load(slot_at(queue, (uint16_t)i) + PACKED_FLAGS, __ATOMIC_RELAXED) & PACKED_USED)
            virtqueue_bend(queue, "DRV-QCFG-15", "the ring is not clear at the start");
}

static int packed_map(struct virtqueue *queue, const struct virtqueue_setup *setup,
                      struct error *err)
{
    /* PACK-01 */
    const struct virtqueue_area areas[3] = {
        {"descriptor", setup->desc, PACKED_DESCRIPTOR_SIZE * (uint64_t)setup->size, 16,
         "DRV-QCFG-05", &queue->desc},
        {"driver", setup->driver, PACKED_EVENT_SIZE, 4, "DRV-QCFG-05", &queue->avail},
        {"device", setup->device, PACKED_EVENT_SIZE, 4, "DRV-QCFG-05", &queue->used},
    };

    return virtqueue_map_areas(queue->memory, areas, err);
}

static int packed_start(struct virtqueue *queue, struct virtqueue_position position,
                        struct error *err)
{
    int ret = take_position(queue, position, err);

    if (ret)
        return ret;
    check_ring(queue, position);
    queue->id_count = queue->size;
    queue->id_in_flight = calloc(IDS, sizeof(*queue->id_in_flight));
    if (!queue->id_in_flight)
        return error_set(err, ENOMEM, "no memory for a queue of size %u", queue->size);
    shared_store(queue->used + PACKED_EVENT_FLAGS,
                 queue->event_idx ? PACKED_EVENT_DESC : PACKED_EVENT_ENABLE, __ATOMIC_RELAXED);
    return 0;
}

static struct virtqueue_written packed_written(const struct virtqueue *queue)
{
    return (struct virtqueue_written){
        .entries = queue->desc,
        .entry_size = PACKED_DESCRIPTOR_SIZE,
        .mask = (1 << PACKED_EVENT_WRAP) - 1,
        .wish = queue->used, /* and the flags behind it, in the same page */
    };
}

const struct virtqueue_format virtqueue_packed = {
    .map = packed_map,
    .start = packed_start,
    .position = packed_position,
    .look = packed_look,
    .pop = packed_pop,
    .pop_again = packed_pop_again,
    .unpop = packed_unpop,
    .push = packed_push,
    .push_series = packed_push_series,
    .release = packed_release,
    .publish = packed_publish,
    .enable_kicks = packed_enable_kicks,
    .disable_kicks = packed_disable_kicks,
    .written = packed_written,
};
