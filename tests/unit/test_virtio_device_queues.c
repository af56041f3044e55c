/*
 * Queue registers, kicks, and the reset of one queue.
 * Rows of tests/CONFORMANCE.md are in the names.
 */
#include "tests/unit/device_fixture.h"

/* --- queue registers -------------------------------------------------------------------------- */

static void pcic_15_absent_queues(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    assert_int_equal(virtio_device_queue_size_max(&f->dev, QUEUES), 0);
    assert_int_equal(virtio_device_queue_size(&f->dev, 0xffff), 0);
    virtio_device_set_queue_size(&f->dev, QUEUES, 5);
    virtio_device_set_queue_address(&f->dev, QUEUES, VIRTIO_QUEUE_DESC, false, 5);
    assert_int_equal(virtio_device_queue_address(&f->dev, QUEUES, VIRTIO_QUEUE_DESC), 0);
    virtio_device_set_queue_enabled(&f->dev, QUEUES, true); /* DRV-QCFG-14 */
    assert_false(virtio_device_queue_enabled(&f->dev, QUEUES));
    virtio_device_kick(&f->dev, QUEUES); /* DRV-NTF-07 */
}

static void pci_10_addresses_in_halves(void **state)
{
    struct fixture *f = *state;

    virtio_device_set_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER, true, 0x11223344);
    virtio_device_set_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER, false, 0xaabbccdd);
    virtio_device_set_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER, true, 0x55667788);
    assert_int_equal(virtio_device_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER),
                     0x55667788aabbccdd);
    assert_int_equal(virtio_device_queue_address(&f->dev, 1, VIRTIO_QUEUE_DESC), 0);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DRIVER), 0);
}

static void drv_qcfg_07_08_no_changes_while_enabled(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    program_queue(f, 0);
    virtio_device_set_queue_size(&f->dev, 0, 32);
    virtio_device_set_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC, false, 0x5000);
    assert_int_equal(virtio_device_queue_size(&f->dev, 0), 64);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0x100000000);
}

static void drv_init_14_queues_are_enabled_in_time(void **state)
{
    struct fixture *f = *state;

    set(f, ACKNOWLEDGE | DRIVER);
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_false(virtio_device_queue_enabled(&f->dev, 0));
    go_live(f);
    virtio_device_set_queue_enabled(&f->dev, 1, true);
    assert_false(virtio_device_queue_enabled(&f->dev, 1));
    virtio_device_set_queue_enabled(&f->dev, 0, true); /* is enabled: no news */
    assert_true(virtio_device_queue_enabled(&f->dev, 0));
}

static void mmio_13_disabling_stops_a_queue(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    virtio_device_set_queue_enabled(&f->dev, 0, false);
    assert_false(f->running[0]);
    assert_true(f->running[2]);
    assert_false(virtio_device_queue_enabled(&f->dev, 0));
    virtio_device_set_queue_enabled(&f->dev, 0, false);
    set(f, 0);
}

/* DRV-NTF-07 */
static void drv_init_11_and_ntf_07_kicks(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    program_queue(f, 0);
    virtio_device_kick(&f->dev, 0);
    assert_false(kicked(f, 0));
    set(f, LIVE);
    virtio_device_kick(&f->dev, 0);
    virtio_device_kick(&f->dev, 1);
    assert_true(kicked(f, 0));
    assert_false(kicked(f, 1));
}

/* --- queue reset ------------------------------------------------------------------------------ */

/* QRST-01, QRST-02, QRST-03, QRST-04: stopped, registers as after a device reset, and back with
 * another size at another place, from its beginning. */
static void qrst_01_04_reset_of_one_queue(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, BIT(VIRTIO_F_RING_RESET));
    f->stand = (struct virtqueue_position){9, 9};
    assert_true(virtio_device_reset_queue(&f->dev, 0));
    assert_false(f->running[0]);
    assert_true(f->running[2]);
    assert_false(virtio_device_queue_enabled(&f->dev, 0));
    assert_int_equal(virtio_device_queue_size(&f->dev, 0), 64);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0);
    virtio_device_kick(&f->dev, 0); /* DRV-NTF-07 */

    virtio_device_set_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC, false, 0x5000);
    virtio_device_set_queue_size(&f->dev, 0, 16);
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_true(f->running[0]);
    assert_int_equal(f->started[0].size, 16);
    assert_int_equal(f->started[0].desc.value, 0x5000);
    assert_int_equal(f->started_at.avail, 0);
    assert_int_equal(virtio_device_status(&f->dev), LIVE);
}

static void drv_qcfg_12_14_reset_refused(void **state)
{
    struct fixture *f = *state;

    go_live(f); /* RING_RESET is offered, and was not accepted */
    assert_false(virtio_device_reset_queue(&f->dev, 0));
    assert_true(f->running[0]);
    go_live_with(f, BIT(VIRTIO_F_RING_RESET));
    assert_false(virtio_device_reset_queue(&f->dev, QUEUES));
}

static void drv_qcfg_07_13_enabled_without_addresses(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, BIT(VIRTIO_F_RING_RESET));
    assert_true(virtio_device_reset_queue(&f->dev, 0));
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_false(f->running[0]);
    assert_int_equal(virtio_device_status(&f->dev), LIVE | NEEDS_RESET);
    assert_int_equal(f->config_interrupts, 1);
    assert_int_equal(set(f, 0), 0);
}

/* PCIC-12, PACK-01: 100 entries are for packed rings alone */
static void pcic_12_sizes_of_packed_rings(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, 0);
    assert_int_equal(virtio_device_queue_size_max(&f->dev, 1), 64);
    assert_int_equal(virtio_device_queue_size(&f->dev, 1), 64);
    go_live_with(f, BIT(VIRTIO_F_RING_PACKED));
    assert_int_equal(virtio_device_queue_size_max(&f->dev, 1), 100);
    assert_int_equal(virtio_device_queue_size(&f->dev, 1), 100);
    set(f, 0);
    assert_int_equal(virtio_device_queue_size(&f->dev, 1), 64);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(pcic_15_absent_queues),
        T(pci_10_addresses_in_halves),
        T(drv_qcfg_07_08_no_changes_while_enabled),
        T(drv_init_14_queues_are_enabled_in_time),
        T(mmio_13_disabling_stops_a_queue),
        T(drv_init_11_and_ntf_07_kicks),
        T(qrst_01_04_reset_of_one_queue),
        T(drv_qcfg_12_14_reset_refused),
        T(drv_qcfg_07_13_enabled_without_addresses),
        T(pcic_12_sizes_of_packed_rings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
