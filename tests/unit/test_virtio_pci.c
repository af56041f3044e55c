/*
 * virtio-pci beyond what a good driver does (test_transports.c): rows PCI-*, PCIC-*, PCIN-*, PCII-*
 * and DRV-PCI-*.
 */
#include "tests/unit/toy_rig.h"

#include "base/bytes.h"
#include "base/loop.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <stdatomic.h>

#define QUEUES 5
#define GSI    (RIG_GSI_BASE + RIG_SLOT)

/* 4.1.4.3, newer than the kernel's header */
#define COMMON_NOTIF_CONFIG_DATA 0x38
#define COMMON_QUEUE_RESET       0x3a
#define COMMON_ADMIN_INDEX       0x3c
#define COMMON_ADMIN_NUM         0x3e

static int set_up(void **state, enum rig_kind kind)
{
    return toy_rig_set_up(state, kind, VIRTIO_ID_NET, QUEUES);
}

static int set_up_msix(void **state)
{
    return set_up(state, RIG_PCI_MSIX);
}

static int set_up_intx(void **state)
{
    return set_up(state, RIG_PCI_INTX);
}

static void negotiate(struct fixture *f)
{
    const struct virtio_features wanted = {.word = {0, 1, 0, 0}};

    assert_true(driver_negotiate(f->driver, &wanted, NULL));
}

static void start(struct fixture *f)
{
    negotiate(f);
    for (uint16_t i = 0; i < QUEUES; i++) {
        uint64_t base = UINT64_C(0x10000) * i;
        f->driver->ops->queue_enable(f->driver, i, 64, base, base + 0x4000, base + 0x8000);
    }
    driver_ok(f->driver);
    for (uint16_t i = 0; i < QUEUES; i++)
        toy_take_kicks(&f->toy, i); /* a queue that starts is looked at unasked */
}

static uint64_t common(struct fixture *f, uint32_t offset, unsigned size)
{
    return pci_driver_common_read(f->pci, offset, size);
}

static void set_common(struct fixture *f, uint32_t offset, unsigned size, uint64_t value)
{
    pci_driver_common_write(f->pci, offset, size, value);
}

static uint8_t read_isr(struct fixture *f)
{
    return (uint8_t)fake_read(&f->rig.fake, ADDRESS_MMIO, f->pci->isr, 1);
}

/* PCI-01, PCI-02 */
static void test_identity(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pci_driver_config_read(f->pci, PCI_VENDOR_ID, 2), 0x1af4);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_DEVICE_ID, 2), 0x1040 + VIRTIO_ID_NET);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_REVISION_ID, 1), 1);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
    assert_true(pci_driver_config_read(f->pci, PCI_SUBSYSTEM_ID, 2) >= 0x40);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_CLASS_DEVICE, 2), 0x0200);
    assert_int_equal(pci_driver_config_read(f->pci, PCI_INTERRUPT_PIN, 1), 1);
    assert_int_equal(virtio_pci_slot(f->rig.pci), RIG_SLOT);
}

/* PCI-04..09, PCI-19, PCIC-06, PCIN-02: every structure is there, where it may be. */
static void test_capabilities(void **state)
{
    struct fixture *f = *state;
    const uint8_t types[] = {VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
                             VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_DEVICE_CFG,
                             VIRTIO_PCI_CAP_PCI_CFG};
    const uint32_t lengths[] = {0x40, 4 * QUEUES, 1, TOY_CONFIG_SIZE, 0};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        uint32_t cap = pci_driver_find(f->pci, PCI_CAP_ID_VNDR, types[i]);
        bool extended = types[i] == VIRTIO_PCI_CAP_NOTIFY_CFG || types[i] == VIRTIO_PCI_CAP_PCI_CFG;
        assert_int_not_equal(cap, 0);
        assert_int_equal(cap % 4, 0);
        assert_int_equal(pci_driver_config_read(f->pci, cap + VIRTIO_PCI_CAP_LEN, 1),
                         extended ? 20 : 16);
        assert_int_equal(pci_driver_config_read(f->pci, cap + VIRTIO_PCI_CAP_BAR, 1), 0);
        assert_int_equal(pci_driver_config_read(f->pci, cap + VIRTIO_PCI_CAP_OFFSET, 4) % 4, 0);
        assert_true(pci_driver_config_read(f->pci, cap + VIRTIO_PCI_CAP_LENGTH, 4) >= lengths[i]);
    }
    assert_int_equal(f->pci->notify_multiplier, 4); /* ERR-13 */
    assert_int_equal(f->pci->msix_count, QUEUES + 1);
}

/* PCIC-01..05, PCIC-12, PCIC-13, PCIC-15 */
static void test_common_fields(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(common(f, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
    for (uint16_t i = 0; i < QUEUES; i++) {
        set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2), i);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_QUEUE_SIZE);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_NOFF, 2), i);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    }
    set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, QUEUES);
    for (uint32_t at = VIRTIO_PCI_COMMON_Q_SIZE; at < VIRTIO_PCI_COMMON_Q_DESCLO; at += 2) {
        set_common(f, at, 2, 1);
        assert_int_equal(common(f, at, 2), 0);
    }
    for (uint32_t at = VIRTIO_PCI_COMMON_Q_DESCLO; at <= VIRTIO_PCI_COMMON_Q_USEDHI; at += 4) {
        set_common(f, at, 4, 0x1000);
        assert_int_equal(common(f, at, 4), 0);
    }
}

/* ADM, NTF-04: fields of features that were not negotiated are not there. */
static void test_absent_fields(void **state)
{
    struct fixture *f = *state;
    const uint32_t fields[] = {COMMON_NOTIF_CONFIG_DATA, COMMON_QUEUE_RESET, COMMON_ADMIN_INDEX,
                               COMMON_ADMIN_NUM};

    start(f);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        set_common(f, fields[i], 2, 1); /* DRV-QCFG-12, DRV-PCI-01 */
        assert_int_equal(common(f, fields[i], 2), 0);
    }
    assert_true(f->driver->ops->queue_enabled(f->driver, QUEUES - 1));
}

/* PCIC-08, DRV-INIT-05: bits read back as written, and what was not offered is found at
 * FEATURES_OK. */
static void test_driver_features(void **state)
{
    struct fixture *f = *state;

    set_common(f, VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (uint32_t word = 0; word < 4; word++) {
        set_common(f, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
        set_common(f, VIRTIO_PCI_COMMON_GF, 4, 0x100 + word);
    }
    for (uint32_t word = 0; word < 4; word++) {
        set_common(f, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_GFSELECT, 4), word);
        assert_int_equal(common(f, VIRTIO_PCI_COMMON_GF, 4), 0x100 + word);
    }
    set_common(f, VIRTIO_PCI_COMMON_STATUS, 1, 11);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_STATUS, 1), 3);
}

/* PCI-10: addresses by halves, or whole for those who can. */
static void test_address_halves(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    set_common(f, VIRTIO_PCI_COMMON_Q_AVAILHI, 4, 0x11);
    set_common(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, 0x22000);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), UINT64_C(0x1100022000));
    set_common(f, VIRTIO_PCI_COMMON_Q_USEDLO, 8, UINT64_C(0x3300044000));
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_USEDLO, 4), 0x44000);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0x33);
}

/* DRV-CFG-03: accesses of another width than the field's. */
static void test_odd_widths(void **state)
{
    struct fixture *f = *state;

    set_common(f, VIRTIO_PCI_COMMON_STATUS, 2, 1);
    set_common(f, VIRTIO_PCI_COMMON_STATUS, 4, 1);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_STATUS, 1), 0);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_NUMQ, 1), 0);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_NUMQ, 4), 0);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_DFSELECT, 8), 0);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_DF + 1, 1), 0);
    assert_int_equal(common(f, 0x40, 4), 0);
    assert_int_equal(common(f, 0xffc, 4), 0);
    set_common(f, 0x40, 4, 0xffffffff);
}

/* DRV-PCI-01: read-only fields stay. */
static void test_read_only_fields(void **state)
{
    struct fixture *f = *state;
    uint64_t features = common(f, VIRTIO_PCI_COMMON_DF, 4);

    set_common(f, VIRTIO_PCI_COMMON_DF, 4, ~features);
    set_common(f, VIRTIO_PCI_COMMON_NUMQ, 2, 1);
    set_common(f, VIRTIO_PCI_COMMON_CFGGENERATION, 1, 0x55);
    set_common(f, VIRTIO_PCI_COMMON_Q_NOFF, 2, 3);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_DF, 4), features);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
}

/* DRV-QCFG-09: queue_enable cannot be taken back. */
static void test_queue_enable_zero(void **state)
{
    struct fixture *f = *state;

    start(f);
    set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    set_common(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
    assert_int_equal(common(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    assert_true(f->toy.backend->running[0]);
}

/* PCII-06, PCII-07, PCII-08, DRV-PCI-03 */
static void test_vectors(void **state)
{
    struct fixture *f = *state;
    const uint32_t fields[] = {VIRTIO_PCI_COMMON_MSIX, VIRTIO_PCI_COMMON_Q_MSIX};

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
        for (uint16_t vector = 0; vector < f->pci->msix_count; vector++) {
            set_common(f, fields[i], 2, vector);
            assert_int_equal(common(f, fields[i], 2), vector);
        }
        set_common(f, fields[i], 2, f->pci->msix_count);
        assert_int_equal(common(f, fields[i], 2), VIRTIO_MSI_NO_VECTOR);
        set_common(f, fields[i], 2, 1);
        set_common(f, fields[i], 2, VIRTIO_MSI_NO_VECTOR);
        assert_int_equal(common(f, fields[i], 2), VIRTIO_MSI_NO_VECTOR);
        set_common(f, fields[i], 2, 1);
        set_common(f, VIRTIO_PCI_COMMON_STATUS, 1, 0);
        assert_int_equal(common(f, fields[i], 2), VIRTIO_MSI_NO_VECTOR);
    }
}

/* Each event sends its own message. */
static void test_messages(void **state)
{
    struct fixture *f = *state;
    struct msi_message message;

    start(f);
    for (uint16_t i = 0; i < QUEUES; i++) {
        toy_used(&f->toy, i);
        assert_true(fake_take_msi(&f->rig.fake, &message));
        assert_int_equal(message.address, PCI_DRIVER_MSI_ADDRESS);
        assert_int_equal(message.data, PCI_DRIVER_MSI_DATA + 1 + i);
        assert_int_equal(message.device_id, RIG_SLOT << 3);
    }
    toy_config_changed(&f->toy);
    assert_true(fake_take_msi(&f->rig.fake, &message));
    assert_int_equal(message.data, PCI_DRIVER_MSI_DATA);
    assert_false(fake_level(&f->rig.fake, GSI));
    assert_int_equal(f->rig.fake.counts.line_set, 0);
    assert_int_equal(read_isr(f), VIRTIO_PCI_ISR_CONFIG); /* PCII-03; no queue bit: DRV-PCI-07 */
}

/* PCII-09: with MSI-X on, an unmapped event is silent, INTx included. */
static void test_unmapped_events(void **state)
{
    struct fixture *f = *state;
    struct msi_message message;

    start(f);
    set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    set_common(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
    set_common(f, VIRTIO_PCI_COMMON_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
    toy_used(&f->toy, 1);
    toy_config_changed(&f->toy);
    assert_false(fake_take_msi(&f->rig.fake, &message));
    assert_false(fake_level(&f->rig.fake, GSI));
}

/* PCII-10: through the table in the BAR. */
static void test_masking(void **state)
{
    struct fixture *f = *state;
    struct fake_platform *fake = &f->rig.fake;
    uint64_t control = f->pci->msix_table + 2 * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL;
    struct msi_message message;

    start(f);
    fake_write(fake, ADDRESS_MMIO, control, 4, 1);
    toy_used(&f->toy, 1);
    assert_false(fake_take_msi(fake, &message));
    assert_int_equal(fake_read(fake, ADDRESS_MMIO, f->pci->msix_pba, 8), 1 << 2);
    fake_write(fake, ADDRESS_MMIO, f->pci->msix_pba, 8, 0); /* read-only */
    assert_int_equal(fake_read(fake, ADDRESS_MMIO, f->pci->msix_pba, 4), 1 << 2);
    fake_write(fake, ADDRESS_MMIO, control, 4, 0);
    assert_true(fake_take_msi(fake, &message));
    assert_int_equal(message.data, PCI_DRIVER_MSI_DATA + 2);

    /* STAT-06: what is pending dies with a reset. */
    fake_write(fake, ADDRESS_MMIO, control, 4, 1);
    toy_used(&f->toy, 1);
    set_common(f, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    fake_write(fake, ADDRESS_MMIO, control, 4, 0);
    assert_false(fake_take_msi(fake, &message));
}

/* PCII-01, PCII-02, PCII-04: the ISR, the line and the status bit go together. */
static void test_intx(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_false(fake_level(&f->rig.fake, GSI));
    toy_used(&f->toy, 0);
    assert_true(fake_level(&f->rig.fake, GSI));
    assert_true(pci_driver_config_read(f->pci, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    toy_config_changed(&f->toy);
    assert_int_equal(read_isr(f), 3);
    assert_false(fake_level(&f->rig.fake, GSI));
    assert_false(pci_driver_config_read(f->pci, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    assert_int_equal(read_isr(f), 0);

    toy_used(&f->toy, 0);
    set_common(f, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_false(fake_level(&f->rig.fake, GSI));
    assert_int_equal(read_isr(f), 0);
}

/* Switching MSI-X on silences the pin; off, what the ISR holds shows again. */
static void test_msix_switch(void **state)
{
    struct fixture *f = *state;
    uint32_t control = f->pci->msix_capability + PCI_MSIX_FLAGS;

    start(f);
    toy_config_changed(&f->toy);
    assert_true(fake_level(&f->rig.fake, GSI));
    pci_driver_config_write(f->pci, control, 2, PCI_MSIX_FLAGS_ENABLE);
    assert_false(fake_level(&f->rig.fake, GSI));
    pci_driver_config_write(f->pci, control, 2, 0);
    assert_true(fake_level(&f->rig.fake, GSI));
    assert_int_equal(read_isr(f), 2);
    assert_false(fake_level(&f->rig.fake, GSI));
}

/* PCIN-04, DRV-NTF-05, DRV-NTF-06: the address counts, the rest is forgiven. */
static void test_notifications(void **state)
{
    struct fixture *f = *state;
    struct fake_platform *fake = &f->rig.fake;
    const unsigned sizes[] = {2, 4, 1, 8};

    start(f);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        fake_write(fake, ADDRESS_MMIO, f->pci->notify + 4 * i, sizes[i], i);
        assert_int_equal(toy_take_kicks(&f->toy, (uint16_t)i), 1);
    }
    fake_write(fake, ADDRESS_MMIO, f->pci->notify + 4, 2, 77);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    fake_write(fake, ADDRESS_MMIO, f->pci->notify + 4, 2, 78); /* an ioeventfd by now */
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    fake_write(fake, ADDRESS_MMIO, f->pci->notify + 6, 2, 1);
    fake_write(fake, ADDRESS_MMIO, f->pci->notify + 4 * QUEUES, 2, QUEUES);
    for (uint16_t i = 0; i < QUEUES; i++)
        assert_int_equal(toy_take_kicks(&f->toy, i), 0);
    assert_int_equal(fake_read(fake, ADDRESS_MMIO, f->pci->notify, 2), 0);
}

/* A moved BAR takes its doorbells along. */
static void test_move_bar(void **state)
{
    struct fixture *f = *state;
    struct fake_platform *fake = &f->rig.fake;
    uint64_t old = f->pci->notify, new_bar = RIG_MEM32 + 32 * MIB;

    start(f);
    for (int i = 0; i < 3; i++)
        fake_write(fake, ADDRESS_MMIO, old + 4, 2, 1);
    toy_take_kicks(&f->toy, 1);
    assert_int_equal(fake->ioeventfd_count, 1);
    pci_driver_config_write(f->pci, PCI_BASE_ADDRESS_0, 4, (uint32_t)new_bar);
    assert_int_equal(fake->ioeventfd_count, 1);
    assert_int_equal(fake->ioeventfds[0].address, new_bar + (old - f->pci->common) + 4);
    fake_write(fake, ADDRESS_MMIO, old + 4, 2, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 0);
    fake_write(fake, ADDRESS_MMIO, new_bar + (old - f->pci->common) + 4, 2, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);

    pci_driver_config_write(f->pci, PCI_COMMAND, 2, 0); /* decoding off: no doorbells */
    assert_int_equal(fake->ioeventfd_count, 0);
    rig_reset(&f->rig);
    assert_int_equal(f->pci->notify, old);
}

/* Start-up asks nothing of the host that the guest did not ask for. */
static void test_cost(void **state)
{
    struct fixture *f = *state;
    struct fake_counts *counts = &f->rig.fake.counts;

    assert_int_equal(counts->ioeventfd_add + counts->irqfd_add + counts->line_set, 0);
    start(f);
    assert_int_equal(counts->ioeventfd_add + counts->irqfd_add + counts->line_set, 0);
}

static void set_window(struct fixture *f, uint32_t bar, uint32_t offset, uint32_t length)
{
    pci_driver_config_write(f->pci, f->pci->window + VIRTIO_PCI_CAP_BAR, 1, bar);
    pci_driver_config_write(f->pci, f->pci->window + VIRTIO_PCI_CAP_OFFSET, 4, offset);
    pci_driver_config_write(f->pci, f->pci->window + VIRTIO_PCI_CAP_LENGTH, 4, length);
}

static uint32_t window_read(struct fixture *f, uint64_t address, unsigned length)
{
    set_window(f, 0, (uint32_t)(address - f->pci->common), length);
    return pci_driver_config_read(f->pci, f->pci->window + 16, length);
}

static void window_write(struct fixture *f, uint64_t address, unsigned length, uint32_t value)
{
    set_window(f, 0, (uint32_t)(address - f->pci->common), length);
    pci_driver_config_write(f->pci, f->pci->window + 16, length, value);
}

/* PCI-13, PCI-14: all the regions through configuration space, BARs not decoded. */
static void test_window(void **state)
{
    struct fixture *f = *state;

    start(f);
    pci_driver_config_write(f->pci, PCI_COMMAND, 2, 0);
    assert_int_equal(window_read(f, f->pci->common + VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
    assert_int_equal(window_read(f, f->pci->device + 4, 4), 0xa7a6a5a4);
    assert_int_equal(window_read(f, f->pci->device + 3, 1), 0xa3);
    window_write(f, f->pci->device + 2, 2, 0x1234);
    assert_int_equal(window_read(f, f->pci->device, 4), 0x1234a1a0);
    window_write(f, f->pci->notify + 4 * 3, 2, 3);
    assert_int_equal(toy_take_kicks(&f->toy, 3), 1);
    toy_used(&f->toy, 0);
    assert_int_equal(window_read(f, f->pci->isr, 1), 1);
    assert_int_equal(window_read(f, f->pci->isr, 1), 0);
    assert_false(fake_level(&f->rig.fake, GSI));
    window_write(f, f->pci->common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(window_read(f, f->pci->common + VIRTIO_PCI_COMMON_STATUS, 1), 0);
}

/* PCI-15, DRV-PCI-05, DRV-PCI-06 */
static void test_bad_window(void **state)
{
    struct fixture *f = *state;
    const uint32_t bad[][3] = {
        {0, 0x12, 0},
        {0, 0x12, 3},
        {0, 0x12, 8},
        {0, 0x11, 2},
        {0, 0x12, 4},
        {1, 0x12, 2},
        {6, 0x12, 2},
        {0xff, 0x12, 2},
        {0, 0x40, 4},
        {0, 0x1004, 1},
        {0, 0x2000 + 4 * QUEUES, 2},
        {0, 0x4000, 4},
        {0, 0x5000, 4},
        {0, 0x8000, 4},
        {0, 0xfffffffe, 2},
        {0, 0xfffffffc, 4},
        {0, 0x12, 0xffffffff},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        set_window(f, bad[i][0], bad[i][1], bad[i][2]);
        pci_driver_config_write(f->pci, f->pci->window + 16, 4, 0xffffffff);
        assert_int_equal(pci_driver_config_read(f->pci, f->pci->window + 16, 4), 0);
    }
}

static void test_create_errors(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct virtio_pci_config config = {.slot = RIG_SLOT, .vectors = VIRTIO_PCI_VECTORS_DEFAULT};
    struct virtio_pci *pci;
    struct toy_device toy;

    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_ENTROPY, 1, &err), 0);
    assert_int_equal(virtio_pci_create(&toy.dev, f->rig.bus, &config, &pci, &err), -EBUSY);
    config.slot = 99;
    assert_int_equal(virtio_pci_create(&toy.dev, f->rig.bus, &config, &pci, &err), -EINVAL);
    config.slot = -1;
    assert_int_equal(virtio_pci_create(&toy.dev, f->rig.bus, &config, &pci, &err), 0);
    assert_int_equal(virtio_pci_slot(pci), 1);
    virtio_pci_destroy(pci);
    toy_device_destroy(&toy);
}

/* A device loop and another vCPU at work while BARs move and MSI-X is switched: nothing is lost. */
static void *device_loop(void *opaque)
{
    struct fixture *f = opaque;

    for (unsigned i = 0; i < 3000; i++) {
        toy_used(&f->toy, (uint16_t)(i % QUEUES));
        if (i % 16 == 0)
            toy_config_changed(&f->toy);
    }
    return NULL;
}

static void *second_vcpu(void *opaque)
{
    struct fixture *f = opaque;

    for (unsigned i = 0; i < 3000; i++) {
        fake_write(&f->rig.fake, ADDRESS_MMIO, f->pci->notify + 4 * (i % QUEUES), 2, i % QUEUES);
        read_isr(f);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    uint32_t control = f->pci->msix_capability + PCI_MSIX_FLAGS;
    uint32_t here = pci_driver_config_read(f->pci, PCI_BASE_ADDRESS_0, 4), there = here + 0x100000;
    pthread_t threads[2];
    bool level;

    start(f);
    assert_int_equal(pthread_create(&threads[0], NULL, device_loop, f), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, second_vcpu, f), 0);
    for (unsigned i = 0; i < 1000; i++) {
        pci_driver_config_write(f->pci, control, 2, i & 1 ? PCI_MSIX_FLAGS_ENABLE : 0);
        pci_driver_config_write(f->pci, PCI_BASE_ADDRESS_0, 4, i & 2 ? there : here);
        pci_driver_config_read(f->pci, PCI_STATUS, 2);
    }
    pci_driver_config_write(f->pci, PCI_BASE_ADDRESS_0, 4, here);
    pci_driver_config_write(f->pci, control, 2, 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);

    level = fake_level(&f->rig.fake, GSI);
    assert_int_equal(level, read_isr(f) != 0);
    assert_int_equal(read_isr(f), 0);
    assert_false(fake_level(&f->rig.fake, GSI));
}

/*
 * One vCPU resets the device for ever while another switches its registers off and on, which takes
 * the doorbells of all queues away and puts them back: with the descriptors the queues were made
 * with, whatever the moment.
 */
struct reset_loop {
    struct rig *rig;
    atomic_bool stop;
};

static void *reset_vcpu(void *opaque)
{
    struct reset_loop *loop = opaque;

    while (!atomic_load(&loop->stop))
        pci_driver_common_write(&loop->rig->pci_driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    return NULL;
}

static bool is_kick_fd(const int *kick_fds, int fd)
{
    for (uint16_t i = 0; i < TOY_QUEUES_MAX; i++)
        if (kick_fds[i] == fd)
            return true;
    return false;
}

/* What a transport reads of a queue without a lock, often enough to see it change if it ever does.
 */
static bool constants_stay(const struct toy_device *toy, const int *kick_fds)
{
    for (unsigned i = 0; i < 50 * TOY_QUEUES_MAX; i++) {
        const volatile struct virtio_queue *queue = &toy->dev.queues[i % TOY_QUEUES_MAX];
        if (queue->kick_fd != kick_fds[i % TOY_QUEUES_MAX] || queue->size_max != TOY_QUEUE_SIZE)
            return false;
    }
    return true;
}

static void test_reset_keeps_doorbells(void **state)
{
    struct reset_loop loop = {0};
    int kick_fds[TOY_QUEUES_MAX];
    unsigned rounds = 0;
    bool stayed = true;
    uint64_t end;
    struct toy_device toy;
    struct rig rig;
    pthread_t thread;

    (void)state;
    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_NET, TOY_QUEUES_MAX, NULL), 0);
    assert_int_equal(rig_init(&rig, RIG_PCI_MSIX, &toy.dev, NULL), 0);
    for (uint16_t i = 0; i < TOY_QUEUES_MAX; i++)
        kick_fds[i] = toy.dev.queues[i].kick_fd;
    for (uint16_t i = 0; i < 2 * TOY_QUEUES_MAX; i++)
        rig.driver->ops->kick(rig.driver, i / 2);
    assert_int_equal(rig.fake.ioeventfd_count, TOY_QUEUES_MAX);

    loop.rig = &rig;
    assert_int_equal(pthread_create(&thread, NULL, reset_vcpu, &loop), 0);
    for (end = loop_now_ns() + UINT64_C(500000000); loop_now_ns() < end && stayed; rounds++) {
        pci_driver_config_write(&rig.pci_driver, PCI_COMMAND, 2, 0);
        pci_driver_config_write(&rig.pci_driver, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
        stayed = constants_stay(&toy, kick_fds);
    }
    atomic_store(&loop.stop, true);
    pthread_join(thread, NULL);

    assert_true(stayed);
    assert_int_equal(rig.fake.counts.ioeventfd_remove, rounds * TOY_QUEUES_MAX);
    assert_int_equal(rig.fake.counts.ioeventfd_add, (rounds + 1) * TOY_QUEUES_MAX);
    for (int fd = 0; fd < FAKE_FDS; fd++)
        assert_int_equal(rig.fake.ioeventfd_fds[fd], is_kick_fd(kick_fds, fd));
    assert_int_equal(rig.fake.ioeventfd_count, TOY_QUEUES_MAX);
    rig_destroy(&rig);
    toy_device_destroy(&toy);
}

#define TEST(function)      cmocka_unit_test_setup_teardown(function, set_up_msix, tear_down)
#define TEST_INTX(function) cmocka_unit_test_setup_teardown(function, set_up_intx, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identity),
        TEST(test_capabilities),
        TEST(test_common_fields),
        TEST(test_absent_fields),
        TEST(test_driver_features),
        TEST(test_address_halves),
        TEST(test_odd_widths),
        TEST(test_read_only_fields),
        TEST(test_queue_enable_zero),
        TEST(test_vectors),
        TEST(test_messages),
        TEST(test_unmapped_events),
        TEST(test_masking),
        TEST_INTX(test_intx),
        TEST_INTX(test_msix_switch),
        TEST(test_notifications),
        TEST(test_move_bar),
        TEST(test_cost),
        TEST_INTX(test_window),
        TEST(test_bad_window),
        TEST(test_create_errors),
        TEST_INTX(test_threads),
        cmocka_unit_test(test_reset_keeps_doorbells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
