/*
 * Transitional virtio-pci devices: their identity, the I/O BAR (rows PCIL-*, PCI-03, PCI-18), and
 * drivers that cannot decide (DRV-PCI-09).
 */
#include "tests/unit/toy_rig.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define QUEUES 2

static struct pci_driver modern_driver; /* on the same device */

static int set_up_as(void **state, enum rig_kind kind)
{
    struct fixture *f;

    toy_rig_set_up(state, kind, VIRTIO_ID_NET, QUEUES);
    f = *state;
    assert_true(pci_driver_init(&modern_driver, &f->rig.fake, RIG_ECAM, RIG_SLOT,
                                RIG_GSI_BASE + RIG_SLOT, kind == RIG_PCI_LEGACY_MSIX));
    return 0;
}

static int set_up(void **state)
{
    return set_up_as(state, RIG_PCI_LEGACY_INTX);
}

static int set_up_msix(void **state)
{
    return set_up_as(state, RIG_PCI_LEGACY_MSIX);
}

static uint32_t in(struct fixture *f, uint32_t offset, unsigned size)
{
    return pci_driver_io_read(f->pci, offset, size);
}

static void out(struct fixture *f, uint32_t offset, unsigned size, uint32_t value)
{
    pci_driver_io_write(f->pci, offset, size, value);
}

/* PCI-01, PCI-03, PCI-18, PCIL-01: I/O in BAR 0, and everything modern besides. */
static void test_identity(void **state)
{
    struct fixture *f = *state;
    const uint8_t types[] = {VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
                             VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_DEVICE_CFG};

    assert_int_equal(pci_driver_config_read(f->pci, PCI_DEVICE_ID, 2), 0x1000);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_REVISION_ID, 1), 0);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_SUBSYSTEM_ID, 2), VIRTIO_ID_NET);
    assert_true(pci_driver_config_read(f->pci, PCI_BASE_ADDRESS_0, 4) & PCI_BASE_ADDRESS_SPACE_IO);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        uint32_t cap = pci_driver_find(f->pci, PCI_CAP_ID_VNDR, types[i]);
        assert_int_equal(pci_driver_config_read(f->pci, cap + VIRTIO_PCI_CAP_BAR, 1), 1);
    }
}

/* PCI-01: every transitional id; and types without one. */
static void test_ids(void **state)
{
    static const uint16_t ids[][2] = {{1, 0x1000}, {2, 0x1001}, {5, 0x1002}, {3, 0x1003},
                                      {8, 0x1004}, {4, 0x1005}, {9, 0x1009}};
    struct error err = ERROR_INIT;
    struct toy_device toy;
    struct rig rig;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_int_equal(toy_device_init(&toy, ids[i][0], 1, &err), 0);
        assert_int_equal(rig_init(&rig, RIG_PCI_LEGACY_INTX, &toy.dev, &err), 0);
        assert_int_equal(pci_driver_config_read(&rig.pci_driver, PCI_DEVICE_ID, 2), ids[i][1]);
        assert_int_equal(pci_driver_config_read(&rig.pci_driver, PCI_SUBSYSTEM_ID, 2), ids[i][0]);
        rig_destroy(&rig);
        toy_device_destroy(&toy);
    }
    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_VSOCK, 1, &err), 0);
    assert_int_equal(rig_init(&rig, RIG_PCI_LEGACY_INTX, &toy.dev, &err), -EINVAL);
    assert_string_equal(err.text, "toy is of a type without a legacy interface");
    toy_device_destroy(&toy);
}

/* PCIL-02, PCIL-04, PCIL-08, DRV-PCI-11: the header without MSI-X */
static void test_header(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(in(f, 0, 4) & 0xffffff, 1 | 1 << 5);
    out(f, 4, 4, 1 << 5);
    assert_int_equal(in(f, 4, 4), 1 << 5);
    out(f, 14, 2, 1);
    assert_int_equal(in(f, 14, 2), 1);
    assert_int_equal(in(f, 12, 2), TOY_QUEUE_SIZE);
    out(f, 8, 4, 0x23);
    assert_int_equal(in(f, 8, 4), 0x23);
    assert_int_equal(f->toy.backend->setups[1].desc.value, 0x23000);
    assert_int_equal(f->toy.backend->setups[1].size, TOY_QUEUE_SIZE);
    out(f, 14, 2, 0);
    assert_int_equal(in(f, 8, 4), 0);
    out(f, 14, 2, QUEUES);
    assert_int_equal(in(f, 12, 2), 0);
    out(f, 8, 4, 1); /* DRV-QCFG-14 */
    out(f, 18, 1, 1);
    assert_int_equal(in(f, 18, 1), 1);
    toy_used(&f->toy, 1);
    assert_int_equal(in(f, 19, 1), 1);
    assert_int_equal(in(f, 19, 1), 0);
    assert_int_equal(in(f, 20, 1), 0xa0);
    out(f, 14, 2, 1);
    out(f, 8, 4, 0);
    assert_false(f->toy.backend->running[1]);
    assert_int_equal(in(f, 16, 2), 0);
}

/* PCIL-03, DRV-PCI-12: the configuration moves with the enable bit of MSI-X. */
static void test_config_moves(void **state)
{
    struct fixture *f = *state;
    uint32_t control = f->pci->msix_capability + PCI_MSIX_FLAGS;

    assert_int_equal(in(f, 24, 4), 0xa3a2a1a0);
    assert_int_equal(in(f, 20, 2), VIRTIO_MSI_NO_VECTOR);
    out(f, 20, 2, 1);
    assert_int_equal(in(f, 20, 2), 1);
    out(f, 20, 2, f->pci->msix_count); /* PCII-07, DRV-PCI-03 */
    assert_int_equal(in(f, 20, 2), VIRTIO_MSI_NO_VECTOR);
    out(f, 14, 2, 1);
    out(f, 22, 2, 2);
    assert_int_equal(in(f, 22, 2), 2);
    assert_int_equal(in(f, 20, 4), 0);
    out(f, 20, 4, 0);
    pci_driver_config_write(f->pci, control, 2, 0);
    assert_int_equal(in(f, 20, 4), 0xa3a2a1a0);
    pci_driver_config_write(f->pci, control, 2, PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(in(f, 22, 2), 2);
    out(f, 18, 1, 0); /* PCII-08 */
    assert_int_equal(in(f, 22, 2), VIRTIO_MSI_NO_VECTOR);
}

/* PCIL-06, DRV-CFG-03: any width for configuration, the field's own for the header. */
static void test_widths(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(in(f, 21, 2), 0xa2a1);
    assert_int_equal(in(f, 23, 4), 0xa6a5a4a3);
    out(f, 22, 1, 0x11);
    assert_int_equal(in(f, 20, 4), 0xa311a1a0);
    assert_int_equal(in(f, 0, 1), 0);
    assert_int_equal(in(f, 18, 2), 0);
    out(f, 18, 2, 3);
    out(f, 16, 4, 3 << 16);
    assert_int_equal(in(f, 18, 1), 0);
    assert_int_equal(in(f, 13, 1), 0);
    out(f, 19, 1, 0xff);
    out(f, 0, 4, 0);
    assert_int_equal(in(f, 0, 4) & 0xffffff, 1 | 1 << 5);
}

/* The notification port has ioeventfds of its own, 16 bits wide. */
static void test_doorbell(void **state)
{
    struct fixture *f = *state;
    struct fake_ioeventfd *item = &f->rig.fake.ioeventfds[0];

    out(f, 14, 2, 1);
    out(f, 8, 4, 0x10);
    toy_take_kicks(&f->toy, 1);
    for (int i = 0; i < 3; i++)
        out(f, 16, 2, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 3);
    assert_int_equal(f->rig.fake.ioeventfd_count, 1);
    assert_int_equal(item->space, ADDRESS_PIO);
    assert_int_equal(item->address, f->pci->io + 16);
    assert_int_equal(item->length, 2);
    assert_int_equal(item->match, 1);
    pci_driver_config_write(f->pci, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(f->rig.fake.ioeventfd_count, 0);
}

/* DRV-PCI-09: the first to write decides, until the next reset, which both may ask for. */
static void test_mixed(void **state)
{
    struct fixture *f = *state;
    struct driver *modern = &modern_driver.driver;
    const struct virtio_features wanted = {.word = {1, 1}};

    out(f, 18, 1, 1);
    pci_driver_common_write(&modern_driver, VIRTIO_PCI_COMMON_STATUS, 1, 3);
    pci_driver_common_write(&modern_driver, VIRTIO_PCI_COMMON_GF, 4, 1);
    assert_int_equal(in(f, 18, 1), 1);
    assert_int_equal(in(f, 4, 4), 0);

    assert_true(driver_negotiate(modern, &wanted, NULL)); /* begins with a reset */
    out(f, 8, 4, 0x10);
    out(f, 4, 4, 1 << 5);
    out(f, 18, 1, 7);
    out(f, 20, 4, 0);
    assert_int_equal(f->toy.backend->starts, 0);
    assert_int_equal(in(f, 18, 1), 1 | 2 | 8);
    assert_int_equal(in(f, 20, 4), 0xa3a2a1a0);
    modern->ops->queue_enable(modern, 0, 64, 0x10000, 0x14000, 0x18000);
    driver_ok(modern);
    assert_true(f->toy.backend->running[0]);
    out(f, 18, 1, 0);
    assert_int_equal(modern->ops->status(modern), 0);
    assert_false(f->toy.backend->running[0]);
}

/* PCIL-04, PCIC-12: the size is the device's, whatever a modern driver chose before the reset. */
static void test_modern_driver_before(void **state)
{
    struct fixture *f = *state;
    struct driver *modern = &modern_driver.driver;
    const struct virtio_features wanted = {.word = {1, 1}};

    assert_true(driver_negotiate(modern, &wanted, NULL));
    modern->ops->queue_enable(modern, 0, 64, 0x10000, 0x14000, 0x18000);
    out(f, 18, 1, 0);
    assert_int_equal(in(f, 12, 2), TOY_QUEUE_SIZE);
    out(f, 8, 4, 0x10);
    assert_int_equal(f->toy.backend->setups[0].size, TOY_QUEUE_SIZE);
}

#define TEST(function)      cmocka_unit_test_setup_teardown(function, set_up, tear_down)
#define TEST_MSIX(function) cmocka_unit_test_setup_teardown(function, set_up_msix, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identity), cmocka_unit_test(test_ids),
        TEST(test_header),   TEST_MSIX(test_config_moves),
        TEST(test_widths),   TEST(test_doorbell),
        TEST(test_mixed),    TEST(test_modern_driver_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
