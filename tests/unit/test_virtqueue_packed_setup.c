/*
 * The packed virtqueue: how it is set up, and the host memory it takes, against the driver of
 * tests/driver/packed_ring.h. The rows of tests/CONFORMANCE.md a test stands for are in its name,
 * in lower case.
 */
#include "tests/unit/packed_ring_fixture.h"

static void assert_start_fails(struct fixture *f, const char *rule)
{
    struct error err = ERROR_INIT;

    assert_int_equal(start_at(f, (struct virtqueue_position){FIRST, FIRST}, &err), -EINVAL);
    assert_non_null(strstr(err.text, rule));
}

static void drv_qcfg_02_03_size_0_or_above_32768(void **state)
{
    struct fixture *f = *state;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    f->packed.size = 0;
    assert_start_fails(f, "DRV-QCFG-02");
    f->packed.size = 32769;
    assert_start_fails(f, "DRV-QCFG-03");
}

static void drv_qcfg_05_06_17_areas(void **state)
{
    struct fixture *f = *state;
    struct packed_ring good;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    good = f->packed;
    f->packed.desc += 8;
    assert_start_fails(f, "DRV-QCFG-05");
    f->packed = good;
    f->packed.driver_event += 2;
    assert_start_fails(f, "DRV-QCFG-05");
    f->packed = good;
    f->packed.device_event += 2;
    assert_start_fails(f, "DRV-QCFG-05");
    f->packed = good;
    f->packed.desc = LOW_SIZE - 16 * SIZE + 16;
    assert_start_fails(f, "DRV-QCFG-06");
    f->packed = good;
    f->packed.device_event = LOW_SIZE;
    assert_start_fails(f, "DRV-QCFG-06");
    f->packed = good;
    f->packed.device_event = f->packed.driver_event;
    assert_start_fails(f, "DRV-QCFG-17");
    f->packed = good;
    f->packed.driver_event = f->packed.desc + 16 * SIZE - 4;
    assert_start_fails(f, "DRV-QCFG-17");
    f->packed = good;
    f->packed.driver_event = HIGH_AT + HIGH_SIZE - 4; /* just fits */
    assert_int_equal(start_at(f, (struct virtqueue_position){FIRST, FIRST}, NULL), 0);
}

static void drv_qcfg_15_ring_is_not_clear(void **state)
{
    struct fixture *f = *state;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    packed_ring_set_descriptor(&f->packed, SIZE - 1,
                               (struct packed_ring_descriptor){0, 0, 0, packed_ring_done(true)});
    assert_int_equal(start_at(f, (struct virtqueue_position){FIRST, FIRST}, NULL), 0);
    assert_bent(f, "DRV-QCFG-15");
}

/* A driver that uses every id there is, with the longest chains there can be. */
static void long_chains_do_not_add_up(void **state)
{
    struct fixture *f = *state;
    size_t kept = 0;

    begin(f, 256, false);
    for (uint16_t i = 0; i < VIRTQUEUE_CHAIN_MAX; i++)
        packed_ring_set_table_entry(&f->packed, DATA, i,
                                    (struct packed_ring_descriptor){HIGH_AT, 1, 0, 0});
    for (uint32_t n = 0; n < 1024; n++) {
        struct packed_place at = f->packed.avail;

        packed_ring_set_descriptor(
            &f->packed, at.slot,
            (struct packed_ring_descriptor){DATA, 16 * VIRTQUEUE_CHAIN_MAX, (uint16_t)(n * 64),
                                            RING_INDIRECT | packed_ring_available(at.wrap)});
        f->packed.avail = packed_ring_after(&f->packed, at, 1);
        use(f, pop(f), 0);
    }
    for (unsigned i = 0; i < f->queue.size; i++)
        kept += f->queue.buffers[i].capacity * sizeof(struct iovec);
    assert_true(kept <= 1 * MIB);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(drv_qcfg_02_03_size_0_or_above_32768),
        T(drv_qcfg_05_06_17_areas),
        T(drv_qcfg_15_ring_is_not_clear),
        T(long_chains_do_not_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
