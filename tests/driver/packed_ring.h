/*
 * The driver's side of a packed virtqueue, for tests: as ring.h is of a split one.
 *
 * It shares no code with virtio/virtqueue*.c: field offsets are written down here a second time,
 * from the specification (2.8), and what is arithmetic there is walking from slot to slot here.
 *
 *     packed_ring_init(&ring, &memory, 0x10000, 8, true);
 *     id = packed_ring_add(&ring, elements, 3, RING_DIRECT);
 *     packed_ring_publish(&ring);
 *     if (packed_ring_wants_kick(&ring)) ...
 *     while (packed_ring_collect(&ring, &used)) ...
 *
 * May be used on one thread while the device works on another.
 */
#ifndef TESTS_DRIVER_PACKED_RING_H
#define TESTS_DRIVER_PACKED_RING_H

#include "tests/driver/ring.h"

/* 2.8.13, next to RING_NEXT, RING_WRITE and RING_INDIRECT */
#define PACKED_RING_AVAIL 0x0080
#define PACKED_RING_USED  0x8000

/* 2.8.14, flags of an event structure */
#define PACKED_RING_EVENT_ENABLE  0
#define PACKED_RING_EVENT_DISABLE 1
#define PACKED_RING_EVENT_DESC    2

#define PACKED_RING_IDS 65536

/* A slot of the ring and the wrap counter of whoever is there. */
struct packed_place {
    uint16_t slot;
    bool wrap;
};

/* What the driver remembers of an id that is with the device. */
struct packed_buffer {
    uint16_t slots;    /* 0: the id is not in use */
    uint32_t writable; /* bytes */
    uint16_t next;     /* in order: the id made available after this one */
};

struct packed_used {
    uint16_t id;
    uint32_t length; /* of a skipped buffer: all of its writable part */
    bool written;    /* the used descriptor has WRITE: `length` counts */
    bool skipped;    /* in order: used by the descriptor of a later one */
};

struct packed_ring {
    const struct guest_memory *memory;
    uint16_t size;
    bool event_idx;
    bool in_order;                             /* set it behind init when negotiated */
    uint64_t desc, driver_event, device_event; /* guest addresses, for the transport */
    uint64_t tables; /* guest address of a table for each id below `size` */
    uint64_t end;    /* first guest address behind all of these */
    uint8_t *desc_host, *driver_event_host, *device_event_host;

    struct packed_place avail; /* next slot to fill */
    struct packed_place used;  /* next slot to find used */
    struct packed_place published, kicked;
    uint16_t first_flags; /* of what was added first since publish */
    uint32_t free_slots;
    struct packed_buffer *buffers;   /* by id */
    uint16_t *free_ids;              /* a stack... */
    uint32_t free_id_count;          /* ...of those below `size` */
    uint16_t oldest, newest, series; /* in order: ids; the last of a series being collected */
    uint32_t outstanding;            /* buffers with the device */
    bool in_series;
    uint32_t series_length;
    bool series_written;
};

/* Lay a ring out and clear it. `base` is aligned to 16. Aborts when it is not in guest memory. */
void packed_ring_init(struct packed_ring *ring, const struct guest_memory *memory, uint64_t base,
                      uint16_t size, bool event_idx);
void packed_ring_destroy(struct packed_ring *ring);

/* The same, but both sides stand at `start` already. */
void packed_ring_init_at(struct packed_ring *ring, const struct guest_memory *memory, uint64_t base,
                         uint16_t size, bool event_idx, struct packed_place start);

/* Add a buffer, RING_DIRECT or RING_TABLE; not visible before packed_ring_publish. Returns its id,
 * or -1 when there are too few free slots or ids. */
int packed_ring_add(struct packed_ring *ring, const struct ring_element *elements, unsigned count,
                    enum ring_style style);

/* The same with an id of one's own, any that is not in use; not to be mixed with ids below `size`
 * that packed_ring_add chose. Its table is that
 * of its slot. */
int packed_ring_add_as(struct packed_ring *ring, const struct ring_element *elements,
                       unsigned count, enum ring_style style, uint16_t id);

/* Store the flags of what was added first: then all of it is available. */
void packed_ring_publish(struct packed_ring *ring);

/* Whether the device asked for a notification of what was published since the last call. */
bool packed_ring_wants_kick(struct packed_ring *ring);

/* Take the next used buffer; false when there is none. */
bool packed_ring_collect(struct packed_ring *ring, struct packed_used *used);

/* Ask for an interrupt when the next buffer is used, or for none. Like a driver, then look once
 * more whether something is there: true. */
bool packed_ring_enable_interrupts(struct packed_ring *ring);
void packed_ring_disable_interrupts(struct packed_ring *ring);

/* The place `slots` further on. */
struct packed_place packed_ring_after(const struct packed_ring *ring, struct packed_place place,
                                      uint32_t slots);

/* --- single fields, also for breaking rules --------------------------------------------------- */

struct packed_ring_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id, flags;
};

/* The flags of a slot that is available, or used, in the round with this wrap counter. */
uint16_t packed_ring_available(bool wrap);
uint16_t packed_ring_done(bool wrap);

void packed_ring_set_descriptor(struct packed_ring *ring, uint16_t slot,
                                struct packed_ring_descriptor d);
struct packed_ring_descriptor packed_ring_descriptor(const struct packed_ring *ring, uint16_t slot);
void packed_ring_set_table_entry(struct packed_ring *ring, uint64_t table, uint16_t i,
                                 struct packed_ring_descriptor d);

/* The driver's event structure: both words at once. */
void packed_ring_set_event(struct packed_ring *ring, uint16_t offset_wrap, uint16_t flags);

/* The device's. */
uint16_t packed_ring_event_place(const struct packed_ring *ring);
uint16_t packed_ring_event_flags(const struct packed_ring *ring);

#endif
