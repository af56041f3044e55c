/*
 * What both formats of a virtqueue have in common: each test is run with a split and with a packed
 * ring. The rows of tests/CONFORMANCE.md a test stands for are in its name, in lower case.
 */
#include "tests/unit/queue_fixture.h"

static void drv_ring_12_more_descriptors_than_we_take(void **state)
{
    struct fixture *f = *state;
    struct ring_element *e = calloc(VIRTQUEUE_CHAIN_MAX + 1, sizeof(*e));

    for (unsigned i = 0; i <= VIRTQUEUE_CHAIN_MAX; i++)
        e[i] = out(DATA + i, 1);
    begin(f, 4096, false);
    add(f, e, VIRTQUEUE_CHAIN_MAX, RING_DIRECT);
    assert_int_equal(pop(f)->writable_count, VIRTQUEUE_CHAIN_MAX);
    add(f, e, VIRTQUEUE_CHAIN_MAX + 1, RING_DIRECT);
    assert_broken(f, "DRV-RING-12");
    free(e);
}

static void drv_ind_01_not_negotiated(void **state)
{
    struct fixture *f = *state;

    features_set(&f->features, VIRTIO_F_INDIRECT_DESC, false);
    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1)}, 1, RING_TABLE);
    assert_broken(f, "DRV-IND-01");
}

static void drv_ind_09_readable_after_writable_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){in(DATA, 1), out(DATA, 1), in(DATA, 1)}, 3, RING_TABLE);
    assert_broken(f, "DRV-IND-09");
}

static void offer_table(struct fixture *f, uint64_t address, uint32_t length)
{
    if (is_packed(f)) {
        packed_ring_set_descriptor(
            &f->packed, 0,
            (struct packed_ring_descriptor){address, length, 0,
                                            RING_INDIRECT | packed_ring_available(true)});
        return;
    }
    ring_set_descriptor(&f->ring, 0, address, length, RING_INDIRECT, 0);
    ring_offer(&f->ring, 0);
    ring_publish(&f->ring);
}

static void check_table_length(struct fixture *f, uint32_t length, const char *rule)
{
    begin(f, SIZE, false);
    if (is_packed(f))
        packed_ring_set_table_entry(&f->packed, f->packed.tables, 0,
                                    (struct packed_ring_descriptor){DATA, 16, 0xffff, 0});
    else
        ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 16, 0, 0);
    offer_table(f, is_packed(f) ? f->packed.tables : f->ring.tables, length);
    if (rule)
        assert_broken(f, rule);
    else
        assert_int_equal(pop(f)->readable_bytes, 16);
    end(f);
}

static void drv_ind_05_table_length_is_no_multiple_of_16(void **state)
{
    check_table_length(*state, 16, NULL);
    check_table_length(*state, 0, "DRV-IND-05");
    check_table_length(*state, 15, "DRV-IND-05");
    check_table_length(*state, 17, "DRV-IND-05");
    check_table_length(*state, UINT32_MAX, "DRV-IND-05");
}

static void drv_ind_06_table_too_long_for_us(void **state)
{
    check_table_length(*state, 16 * (VIRTQUEUE_CHAIN_MAX + 1), "DRV-IND-06");
    check_table_length(*state, 0xfffffff0, "DRV-IND-06");
}

static void drv_ring_09_table_outside_of_memory(void **state)
{
    static const uint64_t bad[] = {LOW_SIZE - 16, LOW_SIZE, HIGH_AT - 16, HIGH_AT + HIGH_SIZE - 16,
                                   UINT64_MAX - 15};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        begin(f, SIZE, false);
        offer_table(f, bad[i], 32);
        assert_broken(f, "DRV-RING-09");
        end(f);
    }
}

static void evt_05_kicks_without_work(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    for (int i = 0; i < 3; i++) {
        virtqueue_disable_kicks(&f->queue);
        assert_empty(f);
        virtqueue_publish(&f->queue);
        assert_false(virtqueue_enable_kicks(&f->queue));
    }
    assert_int_equal(f->notified, 0);
}

static void evt_06_enabling_kicks_looks_again(void **state)
{
    struct fixture *f = *state;

    for (int event_idx = 0; event_idx < 2; event_idx++) {
        begin(f, SIZE, event_idx);
        virtqueue_disable_kicks(&f->queue);
        assert_empty(f);
        add_list(f, 2); /* comes in between; no kick */
        assert_true(virtqueue_enable_kicks(&f->queue));
        pop(f);
        assert_false(virtqueue_enable_kicks(&f->queue));
        end(f);
    }
}

#define SPLIT(name) cmocka_unit_test_setup_teardown(name, setup_split, teardown)
#define PACKED(name)                                        \
    {                                                       \
#name "_packed", name, setup_packed, teardown, NULL \
    }
#define BOTH(name) SPLIT(name), PACKED(name)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        BOTH(drv_ring_12_more_descriptors_than_we_take),
        BOTH(drv_ind_01_not_negotiated),
        BOTH(drv_ind_09_readable_after_writable_in_a_table),
        BOTH(drv_ind_05_table_length_is_no_multiple_of_16),
        BOTH(drv_ind_06_table_too_long_for_us),
        BOTH(drv_ring_09_table_outside_of_memory),
        BOTH(evt_05_kicks_without_work),
        BOTH(evt_06_enabling_kicks_looks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
