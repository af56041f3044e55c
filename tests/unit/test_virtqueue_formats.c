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
        BOTH(evt_05_kicks_without_work),
        BOTH(evt_06_enabling_kicks_looks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
