#include "tests/driver/ring.h"

#include "base/bytes.h"
#include "tests/driver/shared.h"

#include <stdlib.h>
#include <string.h>

static uint64_t tables_bytes(uint16_t size)
{
    return (uint64_t)size * RING_INDIRECT_MAX * 16;
}

/* Descriptors, then avail behind them, then used, aligned to 4, then the tables, to 16. */
static void lay_out(struct ring *ring, uint64_t base)
{
    ring->desc = base;
    ring->avail = ring->desc + 16 * (uint64_t)ring->size;
    ring->used = align_up(ring->avail + 6 + 2 * (uint64_t)ring->size, 4);
    ring->tables = align_up(ring->used + 6 + 8 * (uint64_t)ring->size, 16);
    ring->end = ring->tables + tables_bytes(ring->size);
}

uint64_t ring_bytes(uint16_t size)
{
    struct ring ring = {.size = size};

    lay_out(&ring, 0);
    return ring.end;
}

void ring_init_at(struct ring *ring, const struct guest_memory *memory, uint64_t base,
                  uint16_t size, bool event_idx, uint16_t start)
{
    *ring = (struct ring){
        .memory = memory,
        .size = size,
        .event_idx = event_idx,
        .avail_idx = start,
        .published_idx = start,
        .kicked_idx = start,
        .last_used = start,
        .free_count = size,
    };
    lay_out(ring, base);
    ring->desc_host = shared_map(memory, ring->desc, 16 * (uint64_t)size);
    ring->avail_host = shared_map(memory, ring->avail, 6 + 2 * (uint64_t)size);
    ring->used_host = shared_map(memory, ring->used, 6 + 8 * (uint64_t)size);
    memset(shared_map(memory, base, ring->tables - base), 0, ring->tables - base);
    shared_map(memory, ring->tables, tables_bytes(size));
    ring_set_avail_idx(ring, start);
    ring_set_used_idx(ring, start);
    ring_set_used_event(ring, start);
    ring->next = calloc(size, sizeof(*ring->next));
    for (unsigned i = 0; i < size; i++)
        ring->next[i] = (uint16_t)(i + 1);
}

void ring_init(struct ring *ring, const struct guest_memory *memory, uint64_t base, uint16_t size,
               bool event_idx)
{
    ring_init_at(ring, memory, base, size, event_idx, 0);
}

void ring_destroy(struct ring *ring)
{
    free(ring->next);
    ring->next = NULL;
}

static void descriptor_write(uint8_t *p, uint64_t address, uint32_t length, uint16_t flags,
                             uint16_t next)
{
    store_le64(p, address);
    store_le32(p + 8, length);
    store_le16(p + 12, flags);
    store_le16(p + 14, next);
}

void ring_set_descriptor(struct ring *ring, uint16_t i, uint64_t address, uint32_t length,
                         uint16_t flags, uint16_t next)
{
    descriptor_write(ring->desc_host + 16 * (size_t)i, address, length, flags, next);
}

void ring_set_table_entry(struct ring *ring, uint64_t table, uint16_t i, uint64_t address,
                          uint32_t length, uint16_t flags, uint16_t next)
{
    descriptor_write(shared_map(ring->memory, table + 16 * (uint64_t)i, 16), address, length, flags,
                     next);
}

/* Direct descriptors from the free list; `more` when something follows the last one. */
static uint16_t add_direct(struct ring *ring, const struct ring_element *e, unsigned count,
                           bool more)
{
    uint16_t i = ring->free_head;

    for (unsigned n = 0; n < count; n++) {
        bool next = more || n + 1 < count;

        i = ring->free_head;
        ring->free_head = ring->next[i];
        ring_set_descriptor(ring, i, e[n].address, e[n].length,
                            (e[n].writable ? RING_WRITE : 0) | (next ? RING_NEXT : 0),
                            next ? ring->next[i] : 0);
    }
    ring->free_count -= (uint16_t)count;
    return i;
}

static void add_table(struct ring *ring, const struct ring_element *e, unsigned count)
{
    uint16_t i = ring->free_head;
    uint64_t table = ring->tables + (uint64_t)i * RING_INDIRECT_MAX * 16;

    for (unsigned n = 0; n < count; n++) {
        bool next = n + 1 < count;

        ring_set_table_entry(ring, table, (uint16_t)n, e[n].address, e[n].length,
                             (e[n].writable ? RING_WRITE : 0) | (next ? RING_NEXT : 0),
                             next ? (uint16_t)(n + 1) : 0);
    }
    ring->free_head = ring->next[i];
    ring->free_count--;
    ring_set_descriptor(ring, i, table, 16 * count, RING_INDIRECT, 0);
}

int ring_add(struct ring *ring, const struct ring_element *elements, unsigned count,
             enum ring_style style)
{
    unsigned direct = style == RING_DIRECT ? count : style == RING_MIXED ? 1 : 0;
    unsigned needed = direct + (style == RING_DIRECT ? 0 : 1);
    uint16_t head = ring->free_head;

    if (needed > ring->free_count || count - direct > RING_INDIRECT_MAX)
        return -1;
    if (direct)
        add_direct(ring, elements, direct, style != RING_DIRECT);
    if (style != RING_DIRECT)
        add_table(ring, elements + direct, count - direct);
    ring_offer(ring, head);
    return head;
}

void ring_offer(struct ring *ring, uint16_t head)
{
    size_t slot = ring->avail_idx++ % ring->size;

    shared_store16(ring->avail_host + 4 + 2 * slot, head);
}

void ring_publish(struct ring *ring)
{
    ring->published_idx = ring->avail_idx;
    ring_set_avail_idx(ring, ring->avail_idx);
}

/* 2.7.10, with the arithmetic of the specification's appendix (vring_need_event). */
bool ring_wants_kick(struct ring *ring)
{
    uint16_t old = ring->kicked_idx, now = ring->published_idx;

    ring->kicked_idx = now;
    if (old == now)
        return false;
    if (ring->event_idx)
        return (uint16_t)(now - ring_avail_event(ring) - 1) < (uint16_t)(now - old);
    return !(ring_used_flags(ring) & 1);
}

static void free_chain(struct ring *ring, uint16_t head)
{
    uint16_t i = head;

    for (;;) {
        uint16_t flags = load_le16(ring->desc_host + 16 * (size_t)i + 12);

        ring->free_count++;
        if (!(flags & RING_NEXT))
            break;
        i = load_le16(ring->desc_host + 16 * (size_t)i + 14);
    }
    ring->next[i] = ring->free_head;
    ring->free_head = head;
}

/* 2.7.9: one entry, where the first buffer of a series would have its own, names the last of them.
 * The buffers are used as they were made available: so the avail ring says which they are. */
static bool collect_in_order(struct ring *ring, struct ring_used *used)
{
    size_t slot = ring->last_used % ring->size;

    if (!ring->in_series) {
        if (ring->last_used == ring_used_idx(ring))
            return false;
        ring->series = ring_used_entry(ring, (uint16_t)slot);
        ring->in_series = true;
    }
    *used = (struct ring_used){load_le16(ring->avail_host + 4 + 2 * slot), RING_SKIPPED};
    if (used->id == ring->series.id) {
        *used = ring->series;
        ring->in_series = false;
    }
    ring->last_used++;
    free_chain(ring, (uint16_t)used->id);
    return true;
}

bool ring_collect(struct ring *ring, struct ring_used *used)
{
    if (ring->in_order)
        return collect_in_order(ring, used);
    if (ring->last_used == ring_used_idx(ring))
        return false;
    *used = ring_used_entry(ring, ring->last_used % ring->size);
    ring->last_used++;
    if (used->id < ring->size)
        free_chain(ring, (uint16_t)used->id);
    return true;
}

bool ring_enable_interrupts(struct ring *ring)
{
    if (ring->event_idx)
        ring_set_used_event(ring, ring->last_used);
    else
        ring_set_avail_flags(ring, 0);
    return ring->last_used != ring_used_idx(ring);
}

void ring_disable_interrupts(struct ring *ring)
{
    /* With EVENT_IDX: an index that is far behind. */
    if (ring->event_idx)
        ring_set_used_event(ring, (uint16_t)(ring->last_used - 0x8000));
    else
        ring_set_avail_flags(ring, 1);
}

void ring_set_avail_idx(struct ring *ring, uint16_t idx)
{
    shared_store16(ring->avail_host + 2, idx);
}

void ring_set_avail_flags(struct ring *ring, uint16_t flags)
{
    shared_store16(ring->avail_host, flags);
}

void ring_set_used_event(struct ring *ring, uint16_t event)
{
    shared_store16(ring->avail_host + 4 + 2 * (size_t)ring->size, event);
}

void ring_set_used_idx(struct ring *ring, uint16_t idx)
{
    shared_store16(ring->used_host + 2, idx);
}

uint16_t ring_used_idx(const struct ring *ring)
{
    return shared_load16(ring->used_host + 2);
}

uint16_t ring_used_flags(const struct ring *ring)
{
    return shared_load16(ring->used_host);
}

uint16_t ring_avail_event(const struct ring *ring)
{
    return shared_load16(ring->used_host + 4 + 8 * (size_t)ring->size);
}

struct ring_used ring_used_entry(const struct ring *ring, uint16_t slot)
{
    const uint8_t *p = ring->used_host + 4 + 8 * (size_t)slot;

    return (struct ring_used){load_le32(p), load_le32(p + 4)};
}
