/* What a driver writes into registers one by one, without the driver library's way of doing it. */
#include "tests/unit/toy_rig.h"

#include "base/bytes.h"

#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#define ACCEPTED (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER)

static int set_up(void **state, enum rig_kind kind)
{
    return toy_rig_set_up(state, kind, VIRTIO_ID_ENTROPY, 2);
}

static int set_up_mmio(void **state)
{
    return set_up(state, RIG_MMIO);
}

static int set_up_pci(void **state)
{
    return set_up(state, RIG_PCI_MSIX);
}

static void write_register(struct fixture *f, uint32_t offset, uint32_t value)
{
    mmio_driver_write(&f->rig.mmio_driver, offset, value);
}

static uint32_t status_register(struct fixture *f)
{
    return mmio_driver_read(&f->rig.mmio_driver, VIRTIO_MMIO_STATUS);
}

/* MMIO-07 */
static void test_mmio_status(void **state)
{
    struct fixture *f = *state;
    unsigned resets = f->toy.backend->resets;

    write_register(f, VIRTIO_MMIO_STATUS, VIRTIO_STATUS_ACKNOWLEDGE);
    assert_int_equal(status_register(f), VIRTIO_STATUS_ACKNOWLEDGE);
    write_register(f, VIRTIO_MMIO_STATUS, ACCEPTED);
    assert_int_equal(status_register(f), ACCEPTED);
    write_register(f, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(status_register(f), 0);
    assert_int_equal(f->toy.backend->resets, resets + 1);
}

/* MMIO-08: halves in any order, kept until they are written again. */
static void test_mmio_addresses(void **state)
{
    const uint32_t accepted = ACCEPTED | VIRTIO_STATUS_FEATURES_OK;
    struct fixture *f = *state;
    const struct virtqueue_setup *setup = &f->toy.backend->setups[1];

    write_register(f, VIRTIO_MMIO_STATUS, ACCEPTED);
    write_register(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    write_register(f, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    write_register(f, VIRTIO_MMIO_STATUS, accepted);
    write_register(f, VIRTIO_MMIO_QUEUE_SEL, 1);
    write_register(f, VIRTIO_MMIO_QUEUE_NUM, 16);
    write_register(f, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0x11);
    write_register(f, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x22223330);
    write_register(f, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0xdead0000);
    write_register(f, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0x44);
    write_register(f, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x55556662);
    write_register(f, VIRTIO_MMIO_QUEUE_USED_LOW, 0x88889994);
    write_register(f, VIRTIO_MMIO_QUEUE_READY, 1);
    write_register(f, VIRTIO_MMIO_STATUS, accepted | VIRTIO_STATUS_DRIVER_OK);
    assert_true(f->toy.backend->running[1]);
    assert_int_equal(setup->size, 16);
    assert_int_equal(setup->desc.value, UINT64_C(0x1122223330));
    assert_int_equal(setup->driver.value, UINT64_C(0x4455556662));
    assert_int_equal(setup->device.value, 0x88889994);
}

static void select_word(struct fixture *f, uint32_t word)
{
    pci_driver_common_write(&f->rig.pci_driver, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
}

static uint64_t driver_feature(struct fixture *f, uint32_t word)
{
    select_word(f, word);
    return pci_driver_common_read(&f->rig.pci_driver, VIRTIO_PCI_COMMON_GF, 4);
}

static void set_driver_feature(struct fixture *f, uint32_t word, uint32_t bits)
{
    select_word(f, word);
    pci_driver_common_write(&f->rig.pci_driver, VIRTIO_PCI_COMMON_GF, 4, bits);
}

/* PCIC-08: each word as it was written, also before another; a reset clears them. */
static void test_pci_driver_features(void **state)
{
    struct fixture *f = *state;

    pci_driver_common_write(&f->rig.pci_driver, VIRTIO_PCI_COMMON_STATUS, 1, ACCEPTED);
    assert_int_equal(driver_feature(f, 0), 0);
    set_driver_feature(f, 0, BIT(5) | BIT(VIRTIO_F_EVENT_IDX));
    set_driver_feature(f, 1, 1);
    set_driver_feature(f, 2, BIT(66 - 64));
    assert_int_equal(driver_feature(f, 0), BIT(5) | BIT(VIRTIO_F_EVENT_IDX));
    assert_int_equal(driver_feature(f, 1), 1);
    assert_int_equal(driver_feature(f, 2), BIT(66 - 64));
    set_driver_feature(f, 0, BIT(5));
    assert_int_equal(driver_feature(f, 0), BIT(5));
    pci_driver_common_write(&f->rig.pci_driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    for (uint32_t word = 0; word < 4; word++)
        assert_int_equal(driver_feature(f, word), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mmio_status, set_up_mmio, tear_down),
        cmocka_unit_test_setup_teardown(test_mmio_addresses, set_up_mmio, tear_down),
        cmocka_unit_test_setup_teardown(test_pci_driver_features, set_up_pci, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
