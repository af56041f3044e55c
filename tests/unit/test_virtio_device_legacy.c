/*
 * The interface legacy drivers use: no FEATURES_OK, queues in one block.
 * Rows of tests/CONFORMANCE.md are in the names.
 */
#include "tests/unit/device_fixture.h"

#include "virtio/device_legacy.h"

#include <sys/eventfd.h>

static void place(struct fixture *f, uint16_t index, uint64_t address)
{
    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    virtio_device_set_legacy_queue(&f->dev, index, address);
}

/* STAT-10, FEAT-10: no FEATURES_OK, the queue is live from its address on, kicks are served. */
static void stat_10_queues_before_driver_ok(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER), ACKNOWLEDGE | DRIVER);
    virtio_device_set_driver_features(&f->dev, 0, (uint32_t)BIT(TOY_BASIC));
    assert_int_equal(f->feature_sets, 0);
    place(f, 1, 0x3000);
    assert_true(f->running[1]);
    assert_int_equal(f->feature_sets, 1);
    assert_int_equal(f->negotiated.word[0], BIT(TOY_BASIC));
    assert_int_equal(f->negotiated.word[1], 0);
    eventfd_read(f->dev.queues[1].kick_fd, &(eventfd_t){0});
    virtio_device_kick(&f->dev, 1);
    assert_true(kicked(f, 1));
    virtio_device_kick(&f->dev, 0); /* DRV-NTF-07 */
    assert_false(kicked(f, 0));
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK),
                     ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_true(f->running[1]);
    assert_int_equal(f->feature_sets, 1);
}

/* RING-13, MMIOL-07, ERR-06: 2.7.2 with 128 entries */
static void ring_13_one_block(void **state)
{
    struct fixture *f = *state;
    const struct virtqueue_setup *setup = &f->started[0];

    place(f, 0, 0x10000);
    assert_int_equal(setup->size, 128);
    assert_int_equal(setup->desc.value, 0x10000);
    assert_int_equal(setup->driver.value, 0x10000 + 16 * 128);
    assert_int_equal(setup->device.value, 0x11000);
    virtio_device_set_legacy_queue(&f->dev, 0, 0x20000); /* DRV-QCFG-08: in use */
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0x10000);
    virtio_device_set_legacy_queue(&f->dev, 0, 0);
    assert_false(f->running[0]);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0);

    virtio_device_set_legacy_alignment(&f->dev, 0, 64);
    virtio_device_set_legacy_alignment(&f->dev, 0, 65); /* DRV-MMIO-09 */
    virtio_device_set_legacy_queue(&f->dev, 0, 0x20000);
    assert_int_equal(setup->device.value, 0x20000 + 16 * 128 + 6 + 2 * 128 + 58);
    virtio_device_set_legacy_queue(&f->dev, QUEUES, 0x20000); /* DRV-QCFG-14 */
}

/* FEAT-13, FEAT-14, FEAT-03: ANY_LAYOUT is offered, to legacy drivers alone */
static void feat_13_any_layout(void **state)
{
    struct fixture *f = *state;
    uint32_t legacy = virtio_device_legacy_features(&f->dev);

    assert_int_equal(legacy & BIT(VIRTIO_F_ANY_LAYOUT), BIT(VIRTIO_F_ANY_LAYOUT));
    assert_int_equal(legacy & BIT(VIRTIO_F_NOTIFY_ON_EMPTY), 0);
    assert_int_equal(legacy & BIT(30), 0);
    assert_int_equal(virtio_device_features(&f->dev, 0) & BIT(VIRTIO_F_ANY_LAYOUT), 0);
    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    virtio_device_set_driver_features(&f->dev, 0, legacy);
    set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_true(features_has(&f->negotiated, VIRTIO_F_ANY_LAYOUT));
    assert_true(features_has(&f->negotiated, TOY_BEST));
}

/* DRV-INIT-05, -06, -07: there is no way to refuse; what cannot be is left out. */
static void drv_init_05_07_legacy_choices(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    set(f, ACKNOWLEDGE | DRIVER);
    virtio_device_set_driver_features(
        &f->dev, 0, (uint32_t)(BIT(20) | BIT(TOY_BEST) | BIT(VIRTIO_F_EVENT_IDX)));
    virtio_device_set_driver_features(&f->dev, 1, 1); /* PCIL-05: they have 32 bits */
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK), ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_int_equal(f->negotiated.word[0], BIT(VIRTIO_F_EVENT_IDX));
    assert_int_equal(f->negotiated.word[1], 0);
    virtio_device_set_driver_features(&f->dev, 0, 0);
    assert_int_equal(virtio_device_driver_features(&f->dev, 0), BIT(VIRTIO_F_EVENT_IDX));
}

/* FEAT-09: after a reset the driver may be of another age, and the back end hears of it again. */
static void feat_09_reset_forgets_the_interface(void **state)
{
    struct fixture *f = *state;

    place(f, 0, 0x10000);
    assert_false(virtio_device_speak(&f->dev, VIRTIO_MODERN)); /* DRV-PCI-09 */
    set(f, 0);
    assert_false(f->running[0]);
    assert_true(virtio_device_speak(&f->dev, VIRTIO_MODERN));
    go_live(f);
    assert_int_equal(f->feature_sets, 2);
    set(f, 0);
    place(f, 0, 0x10000);
    assert_int_equal(f->feature_sets, 3);
}

/* DRV-PCI-09, DRV-INIT-05: two vCPUs use both interfaces at once, and one of them resets the device
 * between the other's leave to speak and what it then says. */
static void drv_pci_09_both_interfaces_at_once(void **state)
{
    struct fixture *f = *state;

    virtio_device_set_driver_features(&f->dev, 1, UINT32_MAX); /* a modern one's, still */
    set(f, ACKNOWLEDGE | DRIVER);
    place(f, 0, 0x10000);
    assert_true(f->running[0]);
    assert_int_equal(f->negotiated.word[1], 0);
    set(f, 0);
    assert_true(virtio_device_speak(&f->dev, VIRTIO_MODERN));
    set(f, ACKNOWLEDGE | DRIVER);
    virtio_device_set_legacy_queue(&f->dev, 0, 0x10000); /* a legacy one's, still */
    assert_false(f->running[0]);
    assert_int_equal(f->feature_sets, 1);
    go_live(f);
}

/* STAT-09, CFG-11: configuration at any time */
static void stat_09_configuration_before_features(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    virtio_device_config_write(&f->dev, 8, "\x2a", 1);
    assert_int_equal(config32(f, 8), 0x2a);
}

/* STAT-03, STAT-04, RING-17: on the legacy interface, too; and a reset brings the device back. */
static void stat_03_legacy_queue_that_cannot_start(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    set(f, ACKNOWLEDGE | DRIVER);
    f->refuse_start = true;
    place(f, 0, 0x10000);
    assert_int_equal(virtio_device_status(&f->dev), ACKNOWLEDGE | DRIVER | NEEDS_RESET);
    assert_int_equal(set(f, 0), 0);
    f->refuse_start = false;
    place(f, 0, 0x10000);
    assert_true(f->running[0]);
    set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    needs_reset(f);
    assert_int_equal(f->config_interrupts, 1);
    assert_int_equal(set(f, 0), 0);

    f->refuse_features = true;
    place(f, 0, 0x10000);
    assert_false(f->running[0]);
}

static void types_with_a_past(void **state)
{
    (void)state;
    assert_true(virtio_device_type_has_legacy(VIRTIO_ID_NET));
    assert_true(virtio_device_type_has_legacy(VIRTIO_ID_9P));
    assert_false(virtio_device_type_has_legacy(VIRTIO_ID_INPUT));
    assert_false(virtio_device_type_has_legacy(VIRTIO_ID_GPU));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(stat_10_queues_before_driver_ok),
        T(ring_13_one_block),
        T(feat_13_any_layout),
        T(drv_init_05_07_legacy_choices),
        T(feat_09_reset_forgets_the_interface),
        T(drv_pci_09_both_interfaces_at_once),
        T(stat_09_configuration_before_features),
        T(stat_03_legacy_queue_that_cannot_start),
        T(types_with_a_past),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
