/*
 * For the tests of the packed virtqueue: a queue, and the driver's ring
 * (tests/driver/packed_ring.h).
 */
#ifndef TESTS_UNIT_PACKED_RING_FIXTURE_H
#define TESTS_UNIT_PACKED_RING_FIXTURE_H

#include "tests/unit/queue_fixture.h"

static inline uint16_t position_of(struct packed_place place)
{
    return (uint16_t)(place.slot | place.wrap << 15);
}

/* A fresh ring on both sides. */
static inline void begin_at(struct fixture *f, uint16_t size, bool event_idx,
                            struct packed_place place)
{
    features_set(&f->features, VIRTIO_F_EVENT_IDX, event_idx);
    packed_ring_init_at(&f->packed, &f->memory, RING_AT, size, event_idx, place);
    assert_int_equal(
        start_at(f, (struct virtqueue_position){position_of(place), position_of(place)}, NULL), 0);
}

static inline void assert_used(struct fixture *f, int id, uint32_t length)
{
    struct packed_used used;

    assert_true(packed_ring_collect(&f->packed, &used));
    assert_int_equal(used.id, id);
    assert_int_equal(used.written, length > 0);
    if (length > 0)
        assert_int_equal(used.length, length);
}

/* Write a slot, its turn bits those of the first round, available. */
static inline void set(struct fixture *f, uint16_t slot, uint64_t address, uint32_t length,
                       uint16_t flags)
{
    packed_ring_set_descriptor(
        &f->packed, slot,
        (struct packed_ring_descriptor){address, length, 0, flags | packed_ring_available(true)});
}

static inline void set_entry(struct fixture *f, uint16_t i, uint64_t address, uint32_t length,
                             uint16_t flags)
{
    packed_ring_set_table_entry(&f->packed, f->packed.tables, i,
                                (struct packed_ring_descriptor){address, length, 0xffff, flags});
}

static inline void assert_slot(struct fixture *f, uint16_t slot,
                               struct packed_ring_descriptor expected)
{
    struct packed_ring_descriptor d = packed_ring_descriptor(&f->packed, slot);

    assert_int_equal(d.address, expected.address);
    assert_int_equal(d.length, expected.length);
    assert_int_equal(d.id, expected.id);
    assert_int_equal(d.flags, expected.flags);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_packed, teardown)

#endif
