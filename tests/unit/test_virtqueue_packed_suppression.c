/*
 * The packed virtqueue: which interrupts and kicks there are, against the driver of
 * tests/driver/packed_ring.h. The rows of tests/CONFORMANCE.md a test stands for are in its name,
 * in lower case.
 */
#include "tests/unit/packed_ring_fixture.h"

static void evt_07_flags_decide_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    assert_true(notified_after(f, 1));
    assert_true(notified_after(f, 3));
    packed_ring_disable_interrupts(&f->packed);
    assert_false(notified_after(f, 1));
    packed_ring_set_event(&f->packed, FIRST | 6, PACKED_RING_EVENT_DISABLE); /* means nothing */
    assert_false(notified_after(f, 2));
    packed_ring_enable_interrupts(&f->packed);
    assert_true(notified_after(f, 1));
    assert_bent(f, NULL);
}

/* ENABLE and DISABLE are what they are also with EVENT_IDX. */
static void evt_08_flags_decide_with_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    packed_ring_set_event(&f->packed, 0x7fff, PACKED_RING_EVENT_ENABLE);
    assert_true(notified_after(f, 1));
    packed_ring_set_event(&f->packed, FIRST | 1, PACKED_RING_EVENT_DISABLE);
    assert_false(notified_after(f, 1));
    assert_bent(f, NULL);
}

/* EVT-08, EVT-10, EVT-11: a place before, in and behind a batch, whatever place it begins at. */
static void check_event_places(struct fixture *f, uint16_t size, uint16_t slot, bool wrap)
{
    for (unsigned n = 1; n <= size; n++) {
        for (unsigned event = 0; event < 2u * size; event++) {
            const struct packed_place start = {slot, wrap};
            struct packed_place place;

            begin_at(f, size, true, start);
            place = packed_ring_after(&f->packed, start, event);
            packed_ring_set_event(&f->packed, position_of(place), PACKED_RING_EVENT_DESC);
            assert_int_equal(notified_after(f, n), event < n);
            assert_bent(f, NULL);
            end(f);
        }
    }
}

static void evt_10_11_event_place_in_a_batch(void **state)
{
    for (uint16_t size = 1; size <= 5; size++)
        for (uint16_t slot = 0; slot < size; slot++)
            for (int wrap = 0; wrap < 2; wrap++)
                check_event_places(*state, size, slot, wrap);
}

static void evt_11_event_place_in_a_ring_of_32768(void **state)
{
    static const uint16_t slots[] = {0, 1, 16384, 32767};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        for (int event = -1; event <= 3; event++) {
            const struct packed_place start = {slots[i], i % 2};
            struct packed_place place;

            begin_at(f, 32768, true, start);
            place = packed_ring_after(&f->packed, start, (uint32_t)(event + 65536) % 65536);
            packed_ring_set_event(&f->packed, position_of(place), PACKED_RING_EVENT_DESC);
            assert_int_equal(notified_after(f, 3), event >= 0 && event < 3);
            end(f);
        }
    }
}

/* A place in the middle of a list that was used. */
static void evt_11_event_place_in_skipped_slots(void **state)
{
    struct fixture *f = *state;

    for (unsigned event = 0; event < SIZE; event++) {
        begin(f, SIZE, true);
        packed_ring_set_event(&f->packed, (uint16_t)(FIRST | event), PACKED_RING_EVENT_DESC);
        add_list(f, 2);
        add_list(f, 3);
        virtqueue_push(&f->queue, pop(f), 0);
        use(f, pop(f), 0);
        assert_int_equal(f->notified, event < 5);
        f->notified = 0;
        end(f);
    }
}

static void drv_pack_09_event_flags_that_may_not_be(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    packed_ring_set_event(&f->packed, FIRST | 7, 3);
    assert_true(notified_after(f, 1));
    assert_bent(f, "DRV-PACK-09");
    end(f);
    f->queue.bent = (struct virtqueue_rule){0};
    begin(f, SIZE, true);
    packed_ring_set_event(&f->packed, FIRST | SIZE, PACKED_RING_EVENT_DESC);
    notified_after(f, 1);
    assert_bent(f, "DRV-PACK-09");
    end(f);
    begin(f, SIZE, false);
    packed_ring_set_event(&f->packed, 0, PACKED_RING_EVENT_DESC);
    assert_true(notified_after(f, 1));
    assert_bent(f, "DRV-PACK-09");
}

/* EVT-09: the device writes its own event structure and never the driver's. */
static void evt_09_kicks_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    packed_ring_set_event(&f->packed, 0x1234, PACKED_RING_EVENT_DISABLE);
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_ENABLE);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_DISABLE);
    virtqueue_disable_kicks(&f->queue);
    add_one(f);
    assert_false(packed_ring_wants_kick(&f->packed));
    use(f, pop(f), 0);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_ENABLE);
    assert_int_equal(packed_ring_event_place(&f->packed), 0);
    add_one(f);
    assert_true(packed_ring_wants_kick(&f->packed));
    assert_int_equal(load_le32(f->packed.driver_event_host), 0x11234);
}

static void evt_07_09_kicks_with_event_idx(void **state)
{
    struct fixture *f = *state;

    begin_at(f, 3, true, (struct packed_place){2, true});
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_DESC);
    assert_int_equal(packed_ring_event_place(&f->packed), FIRST | 2);
    add_one(f);
    assert_true(packed_ring_wants_kick(&f->packed));
    virtqueue_disable_kicks(&f->queue);
    add_one(f);
    assert_false(packed_ring_wants_kick(&f->packed));
    pop(f);
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(packed_ring_event_place(&f->packed), 1); /* the next round: wrap counter 0 */
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_DESC);
    add_one(f);
    assert_true(packed_ring_wants_kick(&f->packed));
}

/* A device that takes buffers when it needs them still hears of each new one, and is not told again
 * and again of those it left. */
static void evt_06_buffers_left_in_the_ring(void **state)
{
    struct fixture *f = *state;

    for (uint16_t slot = 0; slot < SIZE; slot++) {
        begin_at(f, SIZE, true, (struct packed_place){slot, slot % 2});
        for (int i = 0; i < 3; i++)
            add_list(f, 2);
        packed_ring_wants_kick(&f->packed);
        pop(f);
        assert_true(virtqueue_enable_kicks(&f->queue));
        assert_false(virtqueue_enable_kicks(&f->queue));
        add_one(f);
        assert_true(packed_ring_wants_kick(&f->packed));
        assert_true(virtqueue_enable_kicks(&f->queue));
        virtqueue_unpop(&f->queue, pop(f));
        assert_false(virtqueue_enable_kicks(&f->queue));
        add_one(f); /* the ring is full now */
        assert_true(packed_ring_wants_kick(&f->packed));
        assert_true(virtqueue_enable_kicks(&f->queue));
        assert_false(virtqueue_enable_kicks(&f->queue));
        for (int i = 0; i < 4; i++)
            use(f, pop(f), 0);
        assert_empty(f);
        end(f);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(evt_07_flags_decide_without_event_idx), T(evt_08_flags_decide_with_event_idx),
        T(evt_10_11_event_place_in_a_batch),      T(evt_11_event_place_in_a_ring_of_32768),
        T(evt_11_event_place_in_skipped_slots),   T(drv_pack_09_event_flags_that_may_not_be),
        T(evt_09_kicks_without_event_idx),        T(evt_07_09_kicks_with_event_idx),
        T(evt_06_buffers_left_in_the_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
