/*
 * The driver's side of a split virtqueue, for tests: adds buffers, collects used ones, and breaks
 * rules when told to.
 *
 * It shares no code with virtio/virtqueue*.c: field offsets are written down here a second time,
 * from the specification (2.7), so that a mistake in one is found by the other. It knows guest
 * memory and nothing of transports: give a transport driver the three addresses.
 *
 *     ring_init(&ring, &memory, 0x10000, 8, true);
 *     head = ring_add(&ring, elements, 3, RING_DIRECT);
 *     ring_publish(&ring);
 *     if (ring_wants_kick(&ring)) ...
 *     while (ring_collect(&ring, &used)) ...
 *
 * May be used on one thread while the device works on another.
 */
#ifndef TESTS_DRIVER_RING_H
#define TESTS_DRIVER_RING_H

#include "guest/memory.h"

#include <stdbool.h>
#include <stdint.h>

/* 2.7.5 */
#define RING_NEXT     1
#define RING_WRITE    2
#define RING_INDIRECT 4

#define RING_INDIRECT_MAX 64 /* entries of an indirect table that ring_add makes */

struct ring_element {
    uint64_t address;
    uint32_t length;
    bool writable;
};

enum ring_style {
    RING_DIRECT,
    RING_TABLE, /* one INDIRECT descriptor */
    RING_MIXED, /* the first element direct, then one INDIRECT for the rest (IND-02) */
};

/* In order (2.7.9): the length of a buffer without an entry of its own, which was used whole. */
#define RING_SKIPPED UINT32_MAX

struct ring_used {
    uint32_t id, length;
};

struct ring {
    const struct guest_memory *memory;
    uint16_t size;
    bool event_idx;
    uint64_t desc, avail, used; /* guest addresses, for the transport */
    uint64_t tables;            /* guest address of an indirect table for each descriptor */
    uint64_t end;               /* first guest address behind all of these */

    uint8_t *desc_host, *avail_host, *used_host;
    uint16_t avail_idx;     /* ours; in the ring after ring_publish */
    uint16_t published_idx; /* avail.idx */
    uint16_t kicked_idx;    /* published_idx when ring_wants_kick last looked */
    uint16_t last_used;     /* next used entry to collect */

    uint16_t free_head, free_count; /* free descriptors, a list through their `next` fields */
    uint16_t *next;                 /* our copy of these */

    bool in_order, in_series; /* in_order: set it behind ring_init when negotiated */
    struct ring_used series;  /* the entry of the series that is being collected */
};

/* Lay out a ring of `size` entries at `base` (aligned to 16) and clear it. Fails the test when
 * memory is too small; see ring_bytes. */
void ring_init(struct ring *ring, const struct guest_memory *memory, uint64_t base, uint16_t size,
               bool event_idx);
void ring_destroy(struct ring *ring);
uint64_t ring_bytes(uint16_t size);

/* As ring_init, but with free-running indexes standing at `start` already. */
void ring_init_at(struct ring *ring, const struct guest_memory *memory, uint64_t base,
                  uint16_t size, bool event_idx, uint16_t start);

/* Add a buffer and put its head into the avail ring; not visible before ring_publish. Returns the
 * head, or -1 when there are too few free descriptors. */
int ring_add(struct ring *ring, const struct ring_element *elements, unsigned count,
             enum ring_style style);

/* Move avail.idx over what was added. */
void ring_publish(struct ring *ring);

/* Whether the device asked for a notification of what was published since the last call (2.7.10).
 */
bool ring_wants_kick(struct ring *ring);

/* Take the next used entry and free its descriptors; false when there is none. */
bool ring_collect(struct ring *ring, struct ring_used *used);

/* Ask for an interrupt when the next buffer is used, or for none. Like a driver, then look once
 * more whether something is there: true. */
bool ring_enable_interrupts(struct ring *ring);
void ring_disable_interrupts(struct ring *ring);

/* --- single fields, also for breaking rules --------------------------------------------------- */

/* Write descriptor `i` of the descriptor table, or of any table at a guest address. */
void ring_set_descriptor(struct ring *ring, uint16_t i, uint64_t address, uint32_t length,
                         uint16_t flags, uint16_t next);
void ring_set_table_entry(struct ring *ring, uint64_t table, uint16_t i, uint64_t address,
                          uint32_t length, uint16_t flags, uint16_t next);

/* Put any head into the next avail slot; not visible before ring_publish. */
void ring_offer(struct ring *ring, uint16_t head);

void ring_set_avail_idx(struct ring *ring, uint16_t idx);
void ring_set_avail_flags(struct ring *ring, uint16_t flags);
void ring_set_used_event(struct ring *ring, uint16_t event);
void ring_set_used_idx(struct ring *ring, uint16_t idx);
uint16_t ring_used_idx(const struct ring *ring);
uint16_t ring_used_flags(const struct ring *ring);
uint16_t ring_avail_event(const struct ring *ring);
struct ring_used ring_used_entry(const struct ring *ring, uint16_t slot);

#endif
