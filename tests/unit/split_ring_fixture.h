/*
 * For the tests of the split virtqueue: a queue, and the driver's ring (tests/driver/ring.h).
 */
#ifndef TESTS_UNIT_SPLIT_RING_FIXTURE_H
#define TESTS_UNIT_SPLIT_RING_FIXTURE_H

#include "tests/unit/queue_fixture.h"

/* A fresh ring on both sides. */
static inline void begin_at(struct fixture *f, uint16_t size, bool event_idx, uint16_t index)
{
    features_set(&f->features, VIRTIO_F_EVENT_IDX, event_idx);
    ring_init_at(&f->ring, &f->memory, RING_AT, size, event_idx, index);
    assert_int_equal(start_at(f, (struct virtqueue_position){index, index}, NULL), 0);
}

static inline void assert_used(struct fixture *f, int head, uint32_t length)
{
    struct ring_used used;

    assert_true(ring_collect(&f->ring, &used));
    assert_int_equal(used.id, head);
    assert_int_equal(used.length, length);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_split, teardown)

#endif
