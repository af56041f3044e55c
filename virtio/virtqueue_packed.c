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
#define PACKED_FLAGS           14 /* offset in a descriptor */

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

/* A position in vhost's terms has the wrap counter in bit 15. */
#define POSITION_WRAP 15

#define IDS 65536 /* a driver may use any 16-bit id */

static inline uint16_t shared_load(const uint8_t *word, int order)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)word, order));
}

static inline void shared_store(uint8_t *word, uint16_t value, int order)
{
    __atomic_store_n((uint16_t *)(void *)word, htole16(value), order);
}

static inline uint8_t *slot_at(const struct virtqueue *queue, uint16_t slot)
{
    return queue->desc + (size_t)slot * PACKED_DESCRIPTOR_SIZE;
}

/* The turn bits of a slot made available in the driver's round `wrap`; and of one used. */
static inline uint16_t available_bits(bool wrap)
{
    return wrap ? PACKED_AVAIL : PACKED_USED;
}

static inline uint16_t used_bits(bool wrap)
{
    return wrap ? PACKED_TURN : 0;
}

/* Copy what flags, loaded before, belong to; each byte is read once (RING-15). */
static inline struct packed_descriptor descriptor_copy(const uint8_t *p, uint16_t flags)
{
    const uint64_t *words = (const uint64_t *)(const void *)p;
    uint64_t rest = le64toh(__atomic_load_n(&words[1], __ATOMIC_RELAXED));

    return (struct packed_descriptor){
        .address = le64toh(__atomic_load_n(&words[0], __ATOMIC_RELAXED)),
        .length = (uint32_t)rest,
        .id = (uint16_t)(rest >> 32),
        .flags = flags,
    };
}

/* --- ids and buffers -------------------------------------------------------------------------- */

static inline uint64_t id_bit(uint16_t id)
{
    return UINT64_C(1) << (id % 64);
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

        if (unlikely(flags & PACKED_INDIRECT))
            return virtqueue_break(queue, "DRV-IND-02", "INDIRECT in an indirect table");
        if (unlikely(flags & PACKED_NEXT))
            virtqueue_bend(queue, "DRV-IND-07", "an indirect table's entry has more than WRITE");
        ret = chain_add(chain, entry.address, entry.length, flags & PACKED_WRITE, "DRV-IND-09");
        if (unlikely(ret))
            return ret;
    }
    return 0;
}

/* The next slot of a list: the driver made all of it available before the first (2.8.17). */
CHAIN_INLINE int list_next(struct virtqueue *queue, uint16_t slot, bool wrap,
                           struct packed_descriptor *d)
{
    const uint8_t *p = slot_at(queue, slot);
    uint16_t flags = shared_load(p + PACKED_FLAGS, __ATOMIC_RELAXED);

    if (unlikely((flags & PACKED_TURN) != available_bits(wrap)))
        return virtqueue_break(queue, "DRV-PACK-05", "a list goes on in a slot not available");
    if (unlikely(flags & PACKED_INDIRECT))
        return virtqueue_break(queue, "DRV-IND-04", "INDIRECT in a list");
    *d = descriptor_copy(p, flags);
    return 0;
}

/* Build a buffer of what begins with `d` in the next slot. Sets its id and how many slots it takes.
 */
CHAIN_INLINE int chain_build(struct virtqueue *queue, struct packed_descriptor d,
                             struct virtqueue_buffer *buffer)
{
    struct chain chain = chain_begin(queue, buffer);
    uint16_t slot = queue->next_avail, slots = 1;
    bool wrap = queue->avail_wrap;
    int ret;

    if (d.flags & PACKED_INDIRECT) {
        ret = chain_walk_indirect(&chain, &d);
    } else {
        while (!(ret = chain_add(&chain, d.address, d.length, d.flags & PACKED_WRITE,
                                 "DRV-PACK-04")) &&
               d.flags & PACKED_NEXT) {
            if (unlikely(slots == queue->size))
                return virtqueue_break(queue, "DRV-PACK-03", "a list is longer than the ring");
            slots++;
            if (++slot == queue->size) {
                slot = 0;
                wrap = !wrap;
            }
            ret = list_next(queue, slot, wrap, &d);
            if (unlikely(ret))
                return ret;
        }
    }
    if (unlikely(ret))
        return ret;
    buffer->id = d.id; /* PACK-11 */
    buffer->slots = slots;
    return chain_end(&chain);
}

/* Is a slot the device's? Seen with acquire, what the driver wrote before is seen, too. */
static inline bool slot_available(const struct virtqueue *queue, uint16_t *flags, int order)
{
    *flags = shared_load(slot_at(queue, queue->next_avail) + PACKED_FLAGS, order);
    return (*flags & PACKED_TURN) == available_bits(queue->avail_wrap);
}

static inline void avail_advance(struct virtqueue *queue, uint16_t slots)
{
    queue->next_avail += slots;
    if (queue->next_avail >= queue->size) {
        queue->next_avail -= queue->size;
        queue->avail_wrap = !queue->avail_wrap;
    }
}

/* The buffer is the device's from now on, if there is room for it in the ring, and in no other's
 * place. */
static inline int take(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    uint64_t *ids = &queue->ids[buffer->id / 64];

    if (unlikely(buffer->slots > queue->size - queue->slots_in_flight))
        return virtqueue_break(queue, "DRV-PACK-08", "a list takes slots that are not used yet");
    if (unlikely(*ids & id_bit(buffer->id)))
        return virtqueue_break(queue, "DRV-PACK-07", "a buffer id is in use already");
    *ids |= id_bit(buffer->id);
    queue->slots_in_flight += buffer->slots;
    queue->free = buffer->next_free;
    avail_advance(queue, buffer->slots);
    return 1;
}

int virtqueue_packed_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    struct virtqueue_buffer *buffer = queue->free;
    uint16_t flags;
    int ret;

    if (unlikely(queue->broken.id))
        return -EPROTO;
    if (queue->budget == 0) /* so it is in a stopped queue */
        return 0;
    if (!slot_available(queue, &flags, __ATOMIC_ACQUIRE))
        return 0;
    if (unlikely(!buffer))
        return virtqueue_break(queue, "DRV-PACK-08", "more buffers than the ring has slots");
    ret = chain_build(queue, descriptor_copy(slot_at(queue, queue->next_avail), flags), buffer);
    if (unlikely(ret))
        return ret;
    queue->budget--;
    queue->in_flight++;
    *out = buffer;
    return take(queue, buffer);
}

void virtqueue_packed_release(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    queue->ids[buffer->id / 64] &= ~id_bit(buffer->id);
    queue->slots_in_flight -= buffer->slots;
    queue->in_flight--;
    buffer->next_free = queue->free;
    queue->free = buffer;
}

void virtqueue_packed_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    virtqueue_packed_release(queue, buffer);
    if (queue->next_avail < buffer->slots) {
        queue->next_avail += queue->size;
        queue->avail_wrap = !queue->avail_wrap;
    }
    queue->next_avail -= buffer->slots;
    queue->budget++;
}

/* --- push and publish ------------------------------------------------------------------------- */

void virtqueue_packed_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                           uint32_t written, uint32_t slots)
{
    uint8_t *p = slot_at(queue, queue->next_used);
    /* PACK-12 */
    uint16_t flags = used_bits(queue->used_wrap) | (written ? PACKED_WRITE : 0);

    __atomic_store_n((uint32_t *)(void *)(p + 8), htole32(written), __ATOMIC_RELAXED);
    __atomic_store_n((uint16_t *)(void *)(p + 12), htole16(buffer->id), __ATOMIC_RELAXED);
    if (queue->unpublished == 0) {
        queue->held = p + PACKED_FLAGS;
        queue->held_flags = flags;
    } else {
        shared_store(p + PACKED_FLAGS, flags, __ATOMIC_RELEASE); /* PACK-14 */
    }
    queue->unpublished += slots;
    queue->next_used += slots;
    if (queue->next_used >= queue->size) {
        queue->next_used -= queue->size;
        queue->used_wrap = !queue->used_wrap;
    }
    virtqueue_packed_release(queue, buffer);
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
    if (wrap != queue->used_wrap)
        offset -= queue->size;
    return (uint16_t)(queue->next_used - offset - 1) < (uint16_t)slots; /* EVT-10, EVT-11 */
}

void virtqueue_packed_publish(struct virtqueue *queue)
{
    uint32_t slots = queue->unpublished;

    if (slots == 0)
        return;
    shared_store(queue->held, queue->held_flags, __ATOMIC_SEQ_CST); /* PACK-14 */
    queue->unpublished = 0;
    if (interrupt_wanted(queue, slots))
        queue->notify(queue->notify_opaque, queue->index);
}

/* --- kicks ------------------------------------------------------------------------------------ */

static inline uint16_t avail_position(const struct virtqueue *queue)
{
    return (uint16_t)(queue->next_avail | queue->avail_wrap << POSITION_WRAP);
}

bool virtqueue_packed_enable_kicks(struct virtqueue *queue)
{
    uint16_t flags;

    if (queue->broken.id)
        return false;
    queue->kicks_enabled = true;
    /* With EVENT_IDX the wish is a place: the slot we look at next. Its flags are set for good. */
    if (queue->event_idx)
        shared_store(queue->used, avail_position(queue), __ATOMIC_SEQ_CST);
    else
        shared_store(queue->used + PACKED_EVENT_FLAGS, PACKED_EVENT_ENABLE, __ATOMIC_SEQ_CST);
    return slot_available(queue, &flags, __ATOMIC_SEQ_CST);
}

/* With EVENT_IDX there is nothing to write: the driver passes the place we asked for only once in
 * two rounds. */
void virtqueue_packed_disable_kicks(struct virtqueue *queue)
{
    if (!queue->event_idx && queue->kicks_enabled)
        shared_store(queue->used + PACKED_EVENT_FLAGS, PACKED_EVENT_DISABLE, __ATOMIC_RELAXED);
    queue->kicks_enabled = false;
}

/* --- start and stop --------------------------------------------------------------------------- */

struct virtqueue_position virtqueue_packed_position(const struct virtqueue *queue)
{
    return (struct virtqueue_position){
        .avail = avail_position(queue),
        .used = (uint16_t)(queue->next_used | queue->used_wrap << POSITION_WRAP),
    };
}

static int take_position(struct virtqueue *queue, struct virtqueue_position position,
                         struct error *err)
{
    const uint16_t mask = (1 << POSITION_WRAP) - 1;

    queue->next_avail = position.avail & mask;
    queue->avail_wrap = position.avail >> POSITION_WRAP;
    queue->next_used = position.used & mask;
    queue->used_wrap = position.used >> POSITION_WRAP;
    if (queue->next_avail >= queue->size || queue->next_used >= queue->size)
        return error_set(err, EINVAL, "a packed queue of size %u cannot stand at 0x%x, 0x%x",
                         queue->size, position.avail, position.used);
    return 0;
}

/* A driver that sets a queue up anew has to clear it: slots that look used are of an earlier life.
 */
static void check_ring(struct virtqueue *queue)
{
    if (!queue->avail_wrap || queue->next_avail != 0)
        return; /* taken up where it stood */
    for (uint32_t i = 0; i < queue->size; i++)
        if (shared_load(slot_at(queue, (uint16_t)i) + PACKED_FLAGS, __ATOMIC_RELAXED) & PACKED_USED)
            virtqueue_bend(queue, "DRV-QCFG-15", "the ring is not clear at the start");
}

int virtqueue_packed_start(struct virtqueue *queue, const struct virtqueue_setup *setup,
                           struct virtqueue_position position, struct error *err)
{
    /* PACK-01 */
    const struct virtqueue_area areas[3] = {
        {"descriptor", setup->desc, PACKED_DESCRIPTOR_SIZE * (uint64_t)setup->size, 16,
         "DRV-QCFG-05", &queue->desc},
        {"driver", setup->driver, PACKED_EVENT_SIZE, 4, "DRV-QCFG-05", &queue->avail},
        {"device", setup->device, PACKED_EVENT_SIZE, 4, "DRV-QCFG-05", &queue->used},
    };
    int ret = take_position(queue, position, err);

    if (!ret)
        ret = virtqueue_map_areas(queue->memory, areas, err);
    if (ret)
        return ret;
    check_ring(queue);
    queue->ids = calloc(IDS / 64, sizeof(*queue->ids));
    if (!queue->ids)
        return error_set(err, ENOMEM, "no memory for a queue of size %u", setup->size);
    shared_store(queue->used + PACKED_EVENT_FLAGS,
                 queue->event_idx ? PACKED_EVENT_DESC : PACKED_EVENT_ENABLE, __ATOMIC_RELAXED);
    virtqueue_packed_enable_kicks(queue);
    return 0;
}
