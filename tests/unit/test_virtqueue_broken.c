/*
 * The split virtqueue: rings that a driver broke, against the driver of tests/driver/ring.h. The
 * rows of tests/CONFORMANCE.md a test stands for are in its name, in lower case.
 */
#include "tests/unit/split_ring_fixture.h"

/* Offer descriptor 0, whatever it says. */
static void offer_0(struct fixture *f)
{
    ring_offer(&f->ring, 0);
    ring_publish(&f->ring);
}

static void drv_ring_01_index_goes_back(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add_one(f);
    add_one(f);
    pop(f);
    ring_set_avail_idx(&f->ring, 1);
    pop(f);
    assert_broken(f, "DRV-RING-01");
}

static void drv_ring_01_index_jumps_ahead(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_avail_idx(&f->ring, SIZE + 1);
    assert_broken(f, "DRV-RING-01");
}

static void drv_ring_02_more_outstanding_than_the_ring_holds(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (int i = 0; i < SIZE; i++)
        add_one(f);
    for (int i = 0; i < SIZE; i++)
        pop(f);
    ring_set_avail_idx(&f->ring, SIZE + 1);
    assert_broken(f, "DRV-RING-02");
}

static void drv_ring_03_head_beyond_the_queue(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_offer(&f->ring, SIZE);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-03");
}

static void drv_ring_04_next_beyond_the_queue(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 1, RING_NEXT, SIZE);
    offer_0(f);
    assert_broken(f, "DRV-RING-04");
}

static void drv_ring_04_next_beyond_the_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 1, RING_NEXT, 2);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 32, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-04");
}

/* DRV-RING-05 needs no check of its own: a chain of direct descriptors that is longer than the
 * queue has one of them twice. */
static void drv_ring_05_06_loop(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 1, RING_NEXT, 3);
    ring_set_descriptor(&f->ring, 3, DATA, 1, RING_NEXT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_06_loop_of_one(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 0, RING_NEXT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_06_loop_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 1, RING_NEXT, 1);
    ring_set_table_entry(&f->ring, f->ring.tables, 1, DATA, 1, RING_NEXT, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 32, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_06_more_bytes_than_2_to_32(void **state)
{
    struct fixture *f = *state;
    struct ring_element e[65];

    for (unsigned i = 0; i < 65; i++)
        e[i] = out(0, (uint32_t)LOW_SIZE);
    begin(f, 128, false);
    ring_add(&f->ring, e, 63, RING_DIRECT);
    ring_publish(&f->ring);
    assert_int_equal(pop(f)->writable_bytes, 63 * LOW_SIZE);
    ring_add(&f->ring, e, 64, RING_DIRECT);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_07_readable_after_writable(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1), in(DATA, 1)}, 2, RING_DIRECT);
    assert_broken(f, "DRV-RING-07");
}

static void drv_ring_07_also_when_of_length_0(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 0), in(DATA, 0)}, 2, RING_DIRECT);
    assert_broken(f, "DRV-RING-07");
}

static void drv_ind_09_table_after_writable(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1), in(DATA, 1)}, 2, RING_MIXED);
    assert_broken(f, "DRV-IND-09");
}

static void drv_ring_08_buffer_in_flight_again(void **state)
{
    struct fixture *f = *state;
    int head;

    begin(f, SIZE, false);
    head = add_one(f);
    pop(f);
    ring_offer(&f->ring, (uint16_t)head);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-08");
}

static void check_outside(struct fixture *f, uint64_t address, uint32_t length)
{
    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, address, length, RING_WRITE, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-09");
    end(f);
}

/* RING-17 */
static void drv_ring_09_buffer_outside_of_memory(void **state)
{
    struct fixture *f = *state;

    check_outside(f, LOW_SIZE, 1);
    check_outside(f, LOW_SIZE - 1, 2);
    check_outside(f, LOW_SIZE - 1, UINT32_MAX);
    check_outside(f, HIGH_AT - 1, 1);
    check_outside(f, HIGH_AT - 1, 2);
    check_outside(f, HIGH_AT + HIGH_SIZE - 16, 17);
    check_outside(f, UINT64_MAX, 1);
    check_outside(f, UINT64_MAX - 1, UINT32_MAX);
}

/* The same with the region remembered from a good buffer before. */
static void drv_ring_09_second_buffer_outside_of_memory(void **state)
{
    static const struct ring_element bad[] = {
        {LOW_SIZE - 1, 2, true},          {LOW_SIZE, 1, true},
        {LOW_SIZE - 1, UINT32_MAX, true}, {HIGH_AT - 1, 2, true},
        {HIGH_AT + HIGH_SIZE, 1, true},   {UINT64_MAX, 2, true},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        for (int high = 0; high < 2; high++) {
            begin(f, SIZE, false);
            add(f, (struct ring_element[]){out(high ? HIGH_AT : DATA, 16)}, 1, RING_DIRECT);
            pop(f);
            add(f, &bad[i], 1, RING_DIRECT);
            assert_broken(f, "DRV-RING-09");
            end(f);
        }
    }
}

static void ring_08_buffers_up_to_the_last_byte_of_memory(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){in(LOW_SIZE - 1, 1), in(HIGH_AT + HIGH_SIZE - 16, 16)}, 2,
        RING_DIRECT);
    assert_int_equal(pop(f)->readable_bytes, 17);
}

static void drv_ind_02_table_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 16, RING_INDIRECT, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 16, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, "DRV-IND-02");
}

static void drv_ind_03_indirect_and_next(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 16, 0, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 16, RING_INDIRECT | RING_NEXT, 1);
    offer_0(f);
    assert_broken(f, "DRV-IND-03");
}

/* Buffers taken before the ring broke are still given back. */
static void ring_17_broken_ring_completes_what_it_has(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;
    int head;

    begin(f, SIZE, false);
    head = add_one(f);
    b = pop(f);
    ring_offer(&f->ring, SIZE);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-03");
    use(f, b, 5);
    assert_used(f, head, 5);
    assert_int_equal(f->notified, 1);
}

/* Found while kicks are enabled: reported as news, so that the next pop tells. */
static void ring_17_broken_while_kicks_are_enabled(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_avail_idx(&f->ring, SIZE + 1);
    assert_true(virtqueue_enable_kicks(&f->queue));
    assert_broken(f, "DRV-RING-01");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(drv_ring_01_index_goes_back),
        T(drv_ring_01_index_jumps_ahead),
        T(drv_ring_02_more_outstanding_than_the_ring_holds),
        T(drv_ring_03_head_beyond_the_queue),
        T(drv_ring_04_next_beyond_the_queue),
        T(drv_ring_04_next_beyond_the_table),
        T(drv_ring_05_06_loop),
        T(drv_ring_06_loop_of_one),
        T(drv_ring_06_loop_in_a_table),
        T(drv_ring_06_more_bytes_than_2_to_32),
        T(drv_ring_07_readable_after_writable),
        T(drv_ring_07_also_when_of_length_0),
        T(drv_ind_09_table_after_writable),
        T(drv_ring_08_buffer_in_flight_again),
        T(drv_ring_09_buffer_outside_of_memory),
        T(drv_ring_09_second_buffer_outside_of_memory),
        T(ring_08_buffers_up_to_the_last_byte_of_memory),
        T(drv_ind_02_table_in_a_table),
        T(drv_ind_03_indirect_and_next),
        T(ring_17_broken_ring_completes_what_it_has),
        T(ring_17_broken_while_kicks_are_enabled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
