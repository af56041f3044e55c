/*
 * The split virtqueue: which interrupts and kicks there are, against the driver of
 * tests/driver/ring.h. The rows of tests/CONFORMANCE.md a test stands for are in its name, in lower
 * case.
 */
#include "tests/unit/split_ring_fixture.h"

static void evt_01_flags_decide_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_used_event(&f->ring, 0x4000); /* means nothing */
    assert_true(notified_after(f, 1));
    assert_true(notified_after(f, 3));
    ring_disable_interrupts(&f->ring);
    assert_false(notified_after(f, 1));
    ring_set_used_event(&f->ring, f->ring.last_used);
    assert_false(notified_after(f, 1));
    ring_enable_interrupts(&f->ring);
    assert_true(notified_after(f, 1));
    assert_bent(f, NULL);
}

static void drv_ntf_01_avail_flags_other_than_0_or_1(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_avail_flags(&f->ring, 2);
    assert_true(notified_after(f, 1));
    assert_bent(f, "DRV-NTF-01");
}

static void evt_02_event_index_decides_and_flags_do_not(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    ring_set_avail_flags(&f->ring, 1);
    assert_true(notified_after(f, 1)); /* used_event 0: the first entry */
    assert_false(notified_after(f, 1));
    ring_set_used_event(&f->ring, 3);
    assert_false(notified_after(f, 1));
    assert_true(notified_after(f, 1)); /* entry 3 */
    assert_false(notified_after(f, 1));
    ring_disable_interrupts(&f->ring);
    assert_false(notified_after(f, 8));
}

/* used_event anywhere in a batch, at its ends, and on either side of it; also across the wrap. */
static void evt_10_event_index_in_a_batch(void **state)
{
    static const uint16_t starts[] = {0, 1000, 0xfffe, 0xffff, 0x7ffe};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        for (int event = -2; event <= 6; event++) {
            begin_at(f, SIZE, true, starts[i]);
            ring_set_used_event(&f->ring, (uint16_t)(starts[i] + event));
            assert_int_equal(notified_after(f, 4), event >= 0 && event < 4);
            end(f);
        }
    }
}

static void evt_03_used_flags_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    assert_int_equal(ring_used_flags(&f->ring), 0);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(ring_used_flags(&f->ring), 1);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(ring_used_flags(&f->ring), 1);
    add_one(f);
    assert_false(ring_wants_kick(&f->ring));
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(ring_used_flags(&f->ring), 0);
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    assert_int_equal(ring_avail_event(&f->ring), 0); /* left alone */
}

static void evt_04_avail_event_with_event_idx(void **state)
{
    struct fixture *f = *state;

    begin_at(f, SIZE, true, 0xfffe);
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    virtqueue_disable_kicks(&f->queue);
    add_one(f);
    assert_false(ring_wants_kick(&f->ring));
    pop(f);
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(ring_avail_event(&f->ring), 0);
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    assert_int_equal(ring_used_flags(&f->ring), 0);
}

/* A device that takes buffers when it needs them still hears of each new one, and is not told again
 * and again of those it left. */
static void evt_06_buffers_left_in_the_ring(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    for (int i = 0; i < 3; i++)
        add_one(f);
    ring_wants_kick(&f->ring);
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    assert_true(virtqueue_enable_kicks(&f->queue));
    assert_false(virtqueue_enable_kicks(&f->queue));
    for (int i = 0; i < 3; i++)
        pop(f);
    assert_empty(f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(evt_01_flags_decide_without_event_idx),
        T(drv_ntf_01_avail_flags_other_than_0_or_1),
        T(evt_02_event_index_decides_and_flags_do_not),
        T(evt_10_event_index_in_a_batch),
        T(evt_03_used_flags_without_event_idx),
        T(evt_04_avail_event_with_event_idx),
        T(evt_06_buffers_left_in_the_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
