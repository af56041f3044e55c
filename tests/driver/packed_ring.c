#include "tests/driver/packed_ring.h"

#include "base/bytes.h"
#include "tests/driver/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTOR_SIZE 16
#define EVENT_SIZE      4
#define TABLE_SIZE      (RING_INDIRECT_MAX * DESCRIPTOR_SIZE)

/* Descriptors, the two event structures, then the tables. */
static void lay_out(struct packed_ring *ring, uint64_t base)
{
    ring->desc = base;
    ring->driver_event = ring->desc + DESCRIPTOR_SIZE * (uint64_t)ring->size;
    ring->device_event = ring->driver_event + EVENT_SIZE;
    ring->tables = align_up(ring->device_event + EVENT_SIZE, 16);
    ring->end = ring->tables + TABLE_SIZE * (uint64_t)ring->size;
}

void packed_ring_init_at(struct packed_ring *ring, const struct guest_memory *memory, uint64_t base,
                         uint16_t size, bool event_idx, struct packed_place start)
{
    *ring = (struct packed_ring){
        .memory = memory,
        .size = size,
        .event_idx = event_idx,
        .avail = start,
        .used = start,
        .published = start,
        .kicked = start,
        .free_slots = size,
        .free_id_count = size,
    };
    lay_out(ring, base);
    memset(shared_map(memory, base, ring->tables - base), 0, ring->tables - base);
    shared_map(memory, ring->tables, ring->end - ring->tables);
    ring->desc_host = shared_map(memory, ring->desc, DESCRIPTOR_SIZE * (uint64_t)size);
    ring->driver_event_host = shared_map(memory, ring->driver_event, EVENT_SIZE);
    ring->device_event_host = shared_map(memory, ring->device_event, EVENT_SIZE);
    /* As earlier rounds left them: what is ahead was used in the round before. */
    for (unsigned i = 0; i < size; i++)
        store_le16(ring->desc_host + DESCRIPTOR_SIZE * i + 14,
                   packed_ring_done(i < start.slot ? start.wrap : !start.wrap));
    ring->buffers = calloc(PACKED_RING_IDS, sizeof(*ring->buffers));
    ring->free_ids = calloc(size, sizeof(*ring->free_ids));
    for (unsigned i = 0; i < size; i++)
        ring->free_ids[i] = (uint16_t)(size - 1 - i);
    packed_ring_enable_interrupts(ring);
}

void packed_ring_init(struct packed_ring *ring, const struct guest_memory *memory, uint64_t base,
                      uint16_t size, bool event_idx)
{
    packed_ring_init_at(ring, memory, base, size, event_idx, (struct packed_place){0, true});
}

void packed_ring_destroy(struct packed_ring *ring)
{
    free(ring->buffers);
    free(ring->free_ids);
    ring->buffers = NULL;
    ring->free_ids = NULL;
}

struct packed_place packed_ring_after(const struct packed_ring *ring, struct packed_place place,
                                      uint32_t slots)
{
    while (slots-- > 0) {
        place.slot++;
        if (place.slot == ring->size) {
            place.slot = 0;
            place.wrap = !place.wrap;
        }
    }
    return place;
}

static bool same_place(struct packed_place a, struct packed_place b)
{
    return a.slot == b.slot && a.wrap == b.wrap;
}

uint16_t packed_ring_available(bool wrap)
{
    return wrap ? PACKED_RING_AVAIL : PACKED_RING_USED;
}

uint16_t packed_ring_done(bool wrap)
{
    return wrap ? PACKED_RING_AVAIL | PACKED_RING_USED : 0;
}

/* --- making buffers available ----------------------------------------------------------------- */

static void descriptor_write(uint8_t *p, struct packed_ring_descriptor d)
{
    store_le64(p, d.address);
    store_le32(p + 8, d.length);
    shared_store16(p + 12, d.id); /* the device looks at it together with the flags */
    shared_store16(p + 14, d.flags);
}

void packed_ring_set_descriptor(struct packed_ring *ring, uint16_t slot,
                                struct packed_ring_descriptor d)
{
    descriptor_write(ring->desc_host + DESCRIPTOR_SIZE * (size_t)slot, d);
}

void packed_ring_set_table_entry(struct packed_ring *ring, uint64_t table, uint16_t i,
                                 struct packed_ring_descriptor d)
{
    descriptor_write(
        shared_map(ring->memory, table + DESCRIPTOR_SIZE * (uint64_t)i, DESCRIPTOR_SIZE), d);
}

/* Fill the next slot. The flags of the first since publish stay as they are: not available. */
static void fill_slot(struct packed_ring *ring, struct packed_ring_descriptor d)
{
    d.flags |= packed_ring_available(ring->avail.wrap);
    if (same_place(ring->avail, ring->published)) {
        ring->first_flags = d.flags;
        d.flags = packed_ring_descriptor(ring, ring->avail.slot).flags;
    }
    packed_ring_set_descriptor(ring, ring->avail.slot, d);
    ring->avail = packed_ring_after(ring, ring->avail, 1);
    ring->free_slots--;
}

/* 2.8.6: only the last one's id counts; the others get one that is certainly wrong. */
static void add_list(struct packed_ring *ring, const struct ring_element *e, unsigned count,
                     uint16_t id)
{
    for (unsigned n = 0; n < count; n++) {
        bool next = n + 1 < count;

        fill_slot(ring, (struct packed_ring_descriptor){
                            e[n].address, e[n].length, next ? (uint16_t)~id : id,
                            (e[n].writable ? RING_WRITE : 0) | (next ? RING_NEXT : 0)});
    }
}

static void add_table(struct packed_ring *ring, const struct ring_element *e, unsigned count,
                      uint16_t id, uint16_t place)
{
    uint64_t table = ring->tables + TABLE_SIZE * (uint64_t)place;

    for (unsigned n = 0; n < count; n++)
        packed_ring_set_table_entry(
            ring, table, (uint16_t)n,
            (struct packed_ring_descriptor){e[n].address, e[n].length, 0,
                                            e[n].writable ? RING_WRITE : 0});
    fill_slot(ring,
              (struct packed_ring_descriptor){table, DESCRIPTOR_SIZE * count, id, RING_INDIRECT});
}

static void remember(struct packed_ring *ring, uint16_t id, const struct ring_element *e,
                     unsigned count, uint16_t slots)
{
    struct packed_buffer *buffer = &ring->buffers[id];

    *buffer = (struct packed_buffer){.slots = slots};
    for (unsigned n = 0; n < count; n++)
        buffer->writable += e[n].writable ? e[n].length : 0;
    if (ring->outstanding++ == 0)
        ring->oldest = id;
    else
        ring->buffers[ring->newest].next = id;
    ring->newest = id;
}

/* The table, if there is one, is at `place`. */
static int add_at(struct packed_ring *ring, const struct ring_element *elements, unsigned count,
                  enum ring_style style, uint16_t id, uint16_t place)
{
    unsigned needed = style == RING_DIRECT ? count : 1;

    if (needed > ring->free_slots || ring->buffers[id].slots ||
        (style == RING_TABLE && count > RING_INDIRECT_MAX))
        return -1;
    if (style == RING_DIRECT)
        add_list(ring, elements, count, id);
    else
        add_table(ring, elements, count, id, place);
    remember(ring, id, elements, count, (uint16_t)needed);
    return id;
}

int packed_ring_add_as(struct packed_ring *ring, const struct ring_element *elements,
                       unsigned count, enum ring_style style, uint16_t id)
{
    return add_at(ring, elements, count, style, id, ring->avail.slot);
}

int packed_ring_add(struct packed_ring *ring, const struct ring_element *elements, unsigned count,
                    enum ring_style style)
{
    uint16_t next;
    int id;

    if (ring->free_id_count == 0)
        return -1;
    next = ring->free_ids[ring->free_id_count - 1];
    id = add_at(ring, elements, count, style, next, next);
    if (id >= 0)
        ring->free_id_count--;
    return id;
}

void packed_ring_publish(struct packed_ring *ring)
{
    uint8_t *flags = ring->desc_host + DESCRIPTOR_SIZE * (size_t)ring->published.slot + 14;

    if (same_place(ring->avail, ring->published))
        return;
    shared_store16(flags, ring->first_flags);
    ring->published = ring->avail;
}

bool packed_ring_wants_kick(struct packed_ring *ring)
{
    uint32_t event = le32toh(
        __atomic_load_n((const uint32_t *)(const void *)ring->device_event_host, __ATOMIC_SEQ_CST));
    struct packed_place place = ring->kicked, wanted = {event & 0x7fff, event >> 15 & 1};
    bool hit = false;

    if (same_place(place, ring->published))
        return false;
    ring->kicked = ring->published;
    if (event >> 16 != PACKED_RING_EVENT_DESC)
        return event >> 16 == PACKED_RING_EVENT_ENABLE;
    for (; !same_place(place, ring->published); place = packed_ring_after(ring, place, 1))
        hit = hit || same_place(place, wanted);
    return hit;
}

/* --- taking used ones ------------------------------------------------------------------------- */

struct packed_ring_descriptor packed_ring_descriptor(const struct packed_ring *ring, uint16_t slot)
{
    const uint8_t *p = ring->desc_host + DESCRIPTOR_SIZE * (size_t)slot;
    uint16_t flags = shared_load16(p + 14);

    return (struct packed_ring_descriptor){load_le64(p), load_le32(p + 8), load_le16(p + 12),
                                           flags};
}

static bool next_is_used(const struct packed_ring *ring)
{
    const uint8_t *p = ring->desc_host + DESCRIPTOR_SIZE * (size_t)ring->used.slot;

    return (shared_load16(p + 14) & (PACKED_RING_AVAIL | PACKED_RING_USED)) ==
           packed_ring_done(ring->used.wrap);
}

static void forget(struct packed_ring *ring, uint16_t id)
{
    struct packed_buffer *buffer = &ring->buffers[id];

    ring->free_slots += buffer->slots;
    ring->used = packed_ring_after(ring, ring->used, buffer->slots);
    if (id == ring->oldest)
        ring->oldest = buffer->next;
    buffer->slots = 0;
    ring->outstanding--;
    if (id < ring->size && ring->free_id_count < ring->size)
        ring->free_ids[ring->free_id_count++] = id;
}

/* 2.8.8: the next of a series, of which `series` is the last. */
static void collect_of_series(struct packed_ring *ring, struct packed_used *used)
{
    uint16_t id = ring->oldest;

    *used = (struct packed_used){.id = id,
                                 .length = ring->buffers[id].writable,
                                 .written = true,
                                 .skipped = id != ring->series};
    if (!used->skipped) {
        used->length = ring->series_length;
        used->written = ring->series_written;
        ring->in_series = false;
    }
    forget(ring, id);
}

bool packed_ring_collect(struct packed_ring *ring, struct packed_used *used)
{
    struct packed_ring_descriptor d;

    if (ring->in_series) {
        collect_of_series(ring, used);
        return true;
    }
    if (!next_is_used(ring))
        return false;
    d = packed_ring_descriptor(ring, ring->used.slot);
    if (!ring->buffers[d.id].slots) {
        fprintf(stderr, "test packed ring: the device used %u, which it does not have\n", d.id);
        abort();
    }
    if (ring->in_order) {
        ring->series = d.id;
        ring->series_length = d.length;
        ring->series_written = d.flags & RING_WRITE;
        ring->in_series = true;
        collect_of_series(ring, used);
        return true;
    }
    *used = (struct packed_used){d.id, d.length, d.flags & RING_WRITE, false};
    forget(ring, d.id);
    return true;
}

/* --- notifications ---------------------------------------------------------------------------- */

void packed_ring_set_event(struct packed_ring *ring, uint16_t offset_wrap, uint16_t flags)
{
    __atomic_store_n((uint32_t *)(void *)ring->driver_event_host,
                     htole32(offset_wrap | (uint32_t)flags << 16), __ATOMIC_SEQ_CST);
}

bool packed_ring_enable_interrupts(struct packed_ring *ring)
{
    if (ring->event_idx)
        packed_ring_set_event(ring, (uint16_t)(ring->used.slot | ring->used.wrap << 15),
                              PACKED_RING_EVENT_DESC);
    else
        packed_ring_set_event(ring, 0, PACKED_RING_EVENT_ENABLE);
    return next_is_used(ring);
}

void packed_ring_disable_interrupts(struct packed_ring *ring)
{
    packed_ring_set_event(ring, 0, PACKED_RING_EVENT_DISABLE);
}

uint16_t packed_ring_event_place(const struct packed_ring *ring)
{
    return shared_load16(ring->device_event_host);
}

uint16_t packed_ring_event_flags(const struct packed_ring *ring)
{
    return shared_load16(ring->device_event_host + 2);
}
