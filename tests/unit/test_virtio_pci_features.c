/*
 * What virtio-pci devices may have or lack: MSI-X vectors, notification data, queue reset, shared
 * memory, function level reset (rows PCI-*, PCIC-*, PCIN-*, PCII-*, NTF-*, QRST-*).
 */
#include "tests/driver/rig.h"
#include "tests/driver/toy_device.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

#define QUEUES 4
#define GSI    (RIG_GSI_BASE + RIG_SLOT)

/* 4.1.4.3, newer than the kernel's header */
#define COMMON_NOTIF_CONFIG_DATA 0x38
#define COMMON_QUEUE_RESET       0x3a

struct fixture {
    struct toy_device toy;
    struct rig rig;
    struct pci_driver *d;
    struct driver *driver;
};

static const struct virtio_features all = {{UINT32_MAX, UINT32_MAX}};

/* A device that offers all there is, and so many vectors. */
static struct fixture *make(enum rig_kind kind, int vectors, bool shared)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    assert_int_equal(
        toy_device_init_with(&f->toy, VIRTIO_ID_BLOCK, QUEUES, TOY_QUEUE_SIZE, &all, &err), 0);
    if (shared)
        toy_share_memory(&f->toy);
    assert_int_equal(rig_init_vectors(&f->rig, kind, vectors, &f->toy.dev, &err), 0);
    f->d = &f->rig.pci_driver;
    f->driver = f->rig.driver;
    return f;
}

static int set_up(void **state)
{
    *state = make(RIG_PCI_MSIX, VIRTIO_PCI_VECTORS_DEFAULT, true);
    return 0;
}

static void destroy(struct fixture *f)
{
    rig_destroy(&f->rig);
    toy_device_destroy(&f->toy);
    free(f);
}

static int tear_down(void **state)
{
    destroy(*state);
    return 0;
}

/* Live, with these features besides VERSION_1. */
static void start(struct fixture *f, uint64_t bits)
{
    const struct virtio_features wanted = {
        {(uint32_t)bits, (uint32_t)((bits | BIT(VIRTIO_F_VERSION_1)) >> 32)}};

    assert_true(driver_negotiate(f->driver, &wanted, NULL));
    for (uint16_t i = 0; i < QUEUES; i++) {
        uint64_t base = UINT64_C(0x10000) * (i + 1u);
        f->driver->ops->queue_enable(f->driver, i, 64, base, base + 0x4000, base + 0x8000);
    }
    driver_ok(f->driver);
    for (uint16_t i = 0; i < QUEUES; i++)
        toy_take_kicks(&f->toy, i); /* a queue that starts is looked at unasked */
}

/* --- vectors --------------------------------------------------------------------------------- */

/* No MSI-X at all: no capability, every event on the pin, nothing to map. */
static void test_no_vectors(void **state)
{
    struct fixture *f = make(RIG_PCI_INTX, 0, false);

    (void)state;
    assert_int_equal(f->d->msix_capability, 0);
    assert_int_equal(pci_driver_find(f->d, PCI_CAP_ID_MSIX, 0), 0);
    start(f, 0);
    pci_driver_common_write(f->d, VIRTIO_PCI_COMMON_MSIX, 2, 0); /* DRV-PCI-03 */
    assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    toy_used(&f->toy, 1);
    assert_true(fake_level(&f->rig.fake, GSI));
    assert_int_equal(f->driver->ops->interrupts(f->driver), DRIVER_INTERRUPT_QUEUE);
    toy_config_changed(&f->toy);
    assert_int_equal(f->driver->ops->interrupts(f->driver), DRIVER_INTERRUPT_CONFIG);
    rig_reset(&f->rig);
    start(f, 0);
    destroy(f);
}

/* The legacy layout without MSI-X has its configuration at 20 for ever (PCIL-03). */
static void test_no_vectors_legacy(void **state)
{
    struct fixture *f = make(RIG_PCI_LEGACY_INTX, 0, false);

    (void)state;
    assert_int_equal(pci_driver_io_read(f->d, 20, 4), 0xa3a2a1a0);
    destroy(f);
}

/* PCII-05, PCII-06, PCII-11: queues share what there is; Table Size says how many. */
static void test_few_vectors(void **state)
{
    (void)state;
    for (int vectors = 1; vectors <= 3; vectors++) {
        struct fixture *f = make(RIG_PCI_MSIX, vectors, false);
        struct msi_message message;

        assert_int_equal(f->d->msix_count, vectors);
        start(f, 0);
        for (uint16_t i = 0; i < QUEUES; i++) {
            toy_used(&f->toy, i);
            assert_true(fake_take_msi(&f->rig.fake, &message));
            assert_int_equal(message.data, PCI_DRIVER_MSI_DATA + MIN(i + 1, vectors - 1));
        }
        pci_driver_common_write(f->d, VIRTIO_PCI_COMMON_Q_MSIX, 2, (uint16_t)vectors);
        assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_MSIX, 2),
                         VIRTIO_MSI_NO_VECTOR);
        destroy(f);
    }
}

/* More than a table in one page, and the most there can be. */
static void test_many_vectors(void **state)
{
    const int counts[] = {300, 2048};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        struct fixture *f = make(RIG_PCI_MSIX, counts[i], false);

        assert_int_equal(f->d->msix_count, counts[i]);
        start(f, 0);
        toy_used(&f->toy, 3);
        assert_int_equal(f->driver->ops->interrupts(f->driver), DRIVER_INTERRUPT_QUEUE);
        destroy(f);
    }
}

/* --- notifications --------------------------------------------------------------------------- */

/* NTF-01, NTF-03, PCIN-03, PCIN-04: 32 bits, with ioeventfds all the same. */
static void test_notification_data(void **state)
{
    struct fixture *f = *state;

    start(f, BIT(VIRTIO_F_NOTIFICATION_DATA));
    for (unsigned i = 0; i < 5; i++) {
        f->driver->next = (uint16_t)(0x8000 | 17 * i);
        f->driver->ops->kick(f->driver, 2);
        assert_int_equal(toy_take_kicks(&f->toy, 2), 1);
    }
    assert_int_equal(f->rig.fake.ioeventfd_count, 1);
    fake_write(&f->rig.fake, ADDRESS_MMIO, f->d->notify + 4, 2, 1); /* DRV-NTF-05 */
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    assert_int_equal(f->d->notify % 4, 0);
}

/* NTF-04, PCIC-05, DRV-NTF-06: the word is there when it was negotiated, and is no index. */
static void test_notif_config_data(void **state)
{
    struct fixture *f = *state;
    uint16_t seen[QUEUES];

    start(f, BIT(VIRTIO_F_NOTIF_CONFIG_DATA));
    for (uint16_t i = 0; i < QUEUES; i++) {
        pci_driver_common_write(f->d, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
        seen[i] = (uint16_t)pci_driver_common_read(f->d, COMMON_NOTIF_CONFIG_DATA, 2);
        assert_true(seen[i] >= QUEUES);
        for (uint16_t j = 0; j < i; j++)
            assert_int_not_equal(seen[i], seen[j]);
        pci_driver_common_write(f->d, COMMON_NOTIF_CONFIG_DATA, 2, 0); /* DRV-PCI-01 */
        f->driver->ops->kick(f->driver, i);
        assert_int_equal(toy_take_kicks(&f->toy, i), 1);
    }
    start(f, BIT(VIRTIO_F_NOTIF_CONFIG_DATA) | BIT(VIRTIO_F_NOTIFICATION_DATA));
    f->driver->next = 5;
    f->driver->ops->kick(f->driver, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    start(f, 0);
    assert_int_equal(pci_driver_common_read(f->d, COMMON_NOTIF_CONFIG_DATA, 2), 0);
}

/* --- queue reset ----------------------------------------------------------------------------- */

/* QRST-02, QRST-04: queue_reset and queue_enable read 0 afterwards, the vector is unmapped. */
static void test_queue_reset(void **state)
{
    struct fixture *f = *state;

    start(f, BIT(VIRTIO_F_RING_RESET));
    pci_driver_common_write(f->d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
    pci_driver_common_write(f->d, COMMON_QUEUE_RESET, 2, 0);
    assert_true(f->toy.backend->running[1]);
    pci_driver_common_write(f->d, COMMON_QUEUE_RESET, 2, 1);
    assert_int_equal(pci_driver_common_read(f->d, COMMON_QUEUE_RESET, 2), 0);
    assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_QUEUE_SIZE);
    assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
    assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_MSIX, 2),
                     VIRTIO_MSI_NO_VECTOR);
    assert_false(f->toy.backend->running[1]);
}

/* --- shared memory --------------------------------------------------------------------------- */

static uint64_t shared_bar(struct fixture *f)
{
    uint32_t cap = pci_driver_find(f->d, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
    uint32_t bar =
        PCI_BASE_ADDRESS_0 + 4 * pci_driver_config_read(f->d, cap + VIRTIO_PCI_CAP_BAR, 1);

    return (pci_driver_config_read(f->d, bar, 4) & PCI_BASE_ADDRESS_MEM_MASK) |
           (uint64_t)pci_driver_config_read(f->d, bar + 4, 4) << 32;
}

/* PCI-11, PCI-05, PCI-06: a capability with 64 bits of everything names the region by its id. */
static void test_shared_memory(void **state)
{
    struct fixture *f = *state;
    struct fake_platform *fake = &f->rig.fake;
    uint32_t cap = pci_driver_find(f->d, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
    uint64_t base = shared_bar(f);

    assert_int_not_equal(cap, 0);
    assert_int_equal(pci_driver_config_read(f->d, cap + VIRTIO_PCI_CAP_LEN, 1), 24);
    assert_int_equal(pci_driver_config_read(f->d, cap + 5, 1), TOY_SHARED_ID);
    assert_int_equal(pci_driver_config_read(f->d, cap + VIRTIO_PCI_CAP_OFFSET, 4), 0);
    assert_int_equal(pci_driver_config_read(f->d, cap + VIRTIO_PCI_CAP_LENGTH, 4), TOY_SHARED_SIZE);
    assert_int_equal(pci_driver_config_read(f->d, cap + 16, 4), 0);
    assert_int_equal(pci_driver_config_read(f->d, cap + 20, 4), 0);

    assert_int_equal(toy_map(&f->toy, 0, TOY_SHARED_SIZE, true, NULL), 0);
    f->toy.shared_memory[100] = 0x5a;
    assert_int_equal(fake_read(fake, ADDRESS_MMIO, base + 100, 1), 0x5a);
    fake_write(fake, ADDRESS_MMIO, base + TOY_SHARED_SIZE - 8, 8, 0x1122334455667788);
    assert_int_equal(load_le64(f->toy.shared_memory + TOY_SHARED_SIZE - 8), 0x1122334455667788);
    fake_write(fake, ADDRESS_MMIO, base + TOY_SHARED_SIZE - 4, 8, 0); /* beyond the end */
    assert_int_equal(load_le64(f->toy.shared_memory + TOY_SHARED_SIZE - 8), 0x1122334455667788);
}

/* A device without has neither capability nor BAR; one with too many is refused. */
static void test_other_shared_memory(void **state)
{
    struct fixture *f = make(RIG_PCI_MSIX, VIRTIO_PCI_VECTORS_DEFAULT, false);
    const struct virtio_shared_region two[2] = {
        {.id = 1, .length = 4096},
        {.id = 2, .length = 4096},
    };
    struct error err = ERROR_INIT;
    struct toy_device toy;
    struct rig rig;

    (void)state;
    assert_int_equal(pci_driver_find(f->d, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG), 0);
    assert_int_equal(pci_driver_config_read(f->d, PCI_BASE_ADDRESS_4, 4), 0);

    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_BLOCK, 1, &err), 0);
    toy.dev.shared = two;
    toy.dev.shared_count = 2;
    assert_int_equal(rig_init(&rig, RIG_PCI_MSIX, &toy.dev, &err), -EINVAL);
    toy_device_destroy(&toy);
    destroy(f);
}

/* --- PCI Express ----------------------------------------------------------------------------- */

static uint32_t device_control(struct fixture *f)
{
    return pci_driver_find(f->d, PCI_CAP_ID_EXP, 0) + PCI_EXP_DEVCTL;
}

/* PCI-16: an integrated endpoint; configuration space goes on to 4 KiB, with nothing in it. */
static void test_express(void **state)
{
    struct fixture *f = *state;
    uint32_t cap = pci_driver_find(f->d, PCI_CAP_ID_EXP, 0);

    assert_int_not_equal(cap, 0);
    assert_int_equal(pci_driver_config_read(f->d, cap + PCI_EXP_FLAGS, 2),
                     2 | PCI_EXP_TYPE_RC_END << 4);
    assert_true(pci_driver_config_read(f->d, cap + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
    assert_int_equal(pci_driver_config_read(f->d, 0x100, 4), 0);
    assert_int_equal(pci_driver_config_read(f->d, 0xffc, 4), 0);
    pci_driver_config_write(f->d, 0x100, 4, UINT32_MAX);
    assert_int_equal(pci_driver_config_read(f->d, 0x100, 4), 0);
}

/* PCI Express Base 6.6.2: device and configuration as at power-on, BAR and doorbells gone. */
static void test_function_level_reset(void **state)
{
    struct fixture *f = *state;
    uint32_t bar = pci_driver_config_read(f->d, PCI_BASE_ADDRESS_0, 4);

    start(f, 0);
    for (int i = 0; i < 3; i++)
        f->driver->ops->kick(f->driver, 1);
    toy_used(&f->toy, 0);
    pci_driver_config_write(f->d, PCI_BASE_ADDRESS_0, 4, bar + 0x100000);
    pci_driver_config_write(f->d, PCI_INTERRUPT_LINE, 1, 99);
    pci_driver_config_write(f->d, device_control(f), 2, PCI_EXP_DEVCTL_BCR_FLR | 0x810);

    assert_int_equal(virtio_device_status(&f->toy.dev), 0);
    assert_false(f->toy.backend->running[0]);
    assert_int_equal(f->rig.fake.ioeventfd_count, 0);
    assert_false(fake_decodes(&f->rig.fake, ADDRESS_MMIO, bar + 0x100000));
    assert_int_equal(pci_driver_config_read(f->d, PCI_COMMAND, 2), 0);
    assert_int_equal(pci_driver_config_read(f->d, PCI_BASE_ADDRESS_0, 4), bar);
    assert_int_not_equal(pci_driver_config_read(f->d, PCI_INTERRUPT_LINE, 1), 99);
    assert_int_equal(pci_driver_config_read(f->d, device_control(f), 2), 0); /* reads as 0 */
    assert_int_equal(pci_driver_config_read(f->d, f->d->msix_capability + PCI_MSIX_FLAGS, 2) &
                         PCI_MSIX_FLAGS_ENABLE,
                     0);
    rig_reset(&f->rig); /* the driver finds it again */
    start(f, 0);
    assert_true(f->toy.backend->running[0]);
}

/* Other bits of the register, and writes beside it, reset nothing. */
static void test_no_reset(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    pci_driver_config_write(f->d, device_control(f), 2, 0x7fff);
    pci_driver_config_write(f->d, device_control(f) + 2, 2, 0xffff);
    pci_driver_config_write(f->d, device_control(f), 1, 0x80);
    assert_true(f->toy.backend->running[0]);
    pci_driver_config_write(f->d, device_control(f) + 1, 1, 0x80); /* the byte alone will do */
    assert_false(f->toy.backend->running[0]);
}

/* Another vCPU at the registers and a device loop while the function is reset again and again. */
struct traffic {
    struct fixture *f;
    atomic_bool stop;
};

static void *keep_busy(void *opaque)
{
    struct traffic *traffic = opaque;
    struct fixture *f = traffic->f;

    while (!atomic_load(&traffic->stop)) {
        pci_driver_common_write(f->d, VIRTIO_PCI_COMMON_STATUS, 1, 1);
        fake_write(&f->rig.fake, ADDRESS_MMIO, f->d->notify, 2, 0);
        toy_used(&f->toy, 0);
        toy_config_changed(&f->toy);
    }
    return NULL;
}

static void test_reset_under_traffic(void **state)
{
    struct fixture *f = *state;
    struct traffic traffic = {.f = f};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, keep_busy, &traffic), 0);
    for (int i = 0; i < 300; i++) {
        pci_driver_config_write(f->d, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
        pci_driver_config_write(f->d, device_control(f), 2, PCI_EXP_DEVCTL_BCR_FLR);
    }
    atomic_store(&traffic.stop, true);
    pthread_join(thread, NULL);
    rig_reset(&f->rig);
    f->driver->ops->interrupts(f->driver);
    start(f, 0);
    assert_true(f->toy.backend->running[0]);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_vectors),
        cmocka_unit_test(test_no_vectors_legacy),
        cmocka_unit_test(test_few_vectors),
        cmocka_unit_test(test_many_vectors),
        TEST(test_notification_data),
        TEST(test_notif_config_data),
        TEST(test_queue_reset),
        TEST(test_shared_memory),
        cmocka_unit_test(test_other_shared_memory),
        TEST(test_express),
        TEST(test_function_level_reset),
        TEST(test_no_reset),
        TEST(test_reset_under_traffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
