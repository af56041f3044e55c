/*
 * virtio-pci with a page for each queue's notifications, and memory in their place: rows PCI-*,
 * PCIN-*, NTF-* and DRV-NTF-*.
 */
#include "tests/driver/rig.h"
#include "tests/driver/toy_device.h"

#include "base/bytes.h"
#include "transport/notify_pages.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define QUEUES 5

struct fixture {
    struct toy_device toy;
    struct rig rig;
    struct pci_driver *d;
    struct fake_platform *fake;
    uint8_t *memory; /* a page for each queue */
};

static const struct virtio_features all = {{UINT32_MAX, UINT32_MAX}};

static int set_up_kind(void **state, enum rig_kind kind)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(
        toy_device_init_with(&f->toy, VIRTIO_ID_NET, QUEUES, TOY_QUEUE_SIZE, &all, NULL), 0);
    assert_int_equal(rig_init(&f->rig, kind, &f->toy.dev, NULL), 0);
    f->d = &f->rig.pci_driver;
    f->fake = &f->rig.fake;
    f->memory = aligned_alloc(NOTIFY_PAGE, QUEUES * NOTIFY_PAGE);
    memset(f->memory, 0xff, QUEUES * NOTIFY_PAGE);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_kind(state, RIG_PCI_PAGES);
}

static int set_up_msix(void **state)
{
    return set_up_kind(state, RIG_PCI_MSIX);
}

static int set_up_mmio(void **state)
{
    return set_up_kind(state, RIG_MMIO);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    rig_destroy(&f->rig);
    toy_device_destroy(&f->toy);
    free(f->memory);
    free(f);
    return 0;
}

/* Live, with these features besides VERSION_1. */
static void start(struct fixture *f, uint64_t bits)
{
    const struct virtio_features wanted = {.word = {(uint32_t)bits, (uint32_t)(bits >> 32) | 1}};

    assert_true(driver_negotiate(f->rig.driver, &wanted, NULL));
    for (uint16_t i = 0; i < QUEUES; i++) {
        uint64_t base = UINT64_C(0x10000) * i;

        f->rig.driver->ops->queue_enable(f->rig.driver, i, 64, base, base + 0x4000, base + 0x8000);
    }
    driver_ok(f->rig.driver);
    for (uint16_t i = 0; i < QUEUES; i++)
        toy_take_kicks(&f->toy, i); /* a queue that starts is looked at unasked */
}

static uint64_t register_of(const struct fixture *f, uint16_t index)
{
    return f->d->notify + (uint64_t)NOTIFY_PAGE * index;
}

static void notify(struct fixture *f, uint16_t index)
{
    fake_write(f->fake, ADDRESS_MMIO, register_of(f, index), 2, index);
}

static void *page_of(struct fixture *f, uint16_t index)
{
    return f->memory + NOTIFY_PAGE * index;
}

static void give(struct fixture *f, uint16_t index)
{
    assert_int_equal(toy_notify_page(&f->toy, index, page_of(f, index), NULL), 0);
}

/* What the queue's page has been told since the last call; 0xffffffff: nothing. */
static uint32_t take(struct fixture *f, uint16_t index)
{
    uint32_t word = load_le32(page_of(f, index));

    store_le32(page_of(f, index), UINT32_MAX);
    return word;
}

#define NOTHING UINT32_MAX

/* PCI-04, PCI-07, PCIN-01, PCIN-02, PCIN-03: room for every queue, and for nothing else. */
static void test_layout(void **state)
{
    struct fixture *f = *state;
    uint32_t cap = pci_driver_find(f->d, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);

    assert_int_equal(f->d->notify_multiplier, NOTIFY_PAGE);
    assert_int_equal(pci_driver_config_read(f->d, cap + VIRTIO_PCI_CAP_LENGTH, 4),
                     QUEUES * NOTIFY_PAGE);
    assert_int_equal(f->d->notify % NOTIFY_PAGE, 0);
    assert_true(f->d->notify > f->d->msix_pba && f->d->notify > f->d->device + TOY_CONFIG_SIZE);
    for (uint16_t i = 0; i < QUEUES; i++) {
        pci_driver_common_write(f->d, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
        assert_int_equal(pci_driver_common_read(f->d, VIRTIO_PCI_COMMON_Q_NOFF, 2), i);
    }
}

/* PCIN-04, DRV-NTF-07: registers as ever, and then ioeventfds, as long as no page is given. */
static void test_registers(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    for (unsigned i = 1; i < 4; i++) {
        notify(f, 3);
        assert_int_equal(f->fake->ioeventfd_count, i > 1);
    }
    assert_int_equal(f->fake->ioeventfds[0].address, register_of(f, 3));
    assert_int_equal(toy_take_kicks(&f->toy, 3), 3);
    fake_write(f->fake, ADDRESS_MMIO, register_of(f, 1) + 2, 2, 1);
    fake_write(f->fake, ADDRESS_MMIO, register_of(f, QUEUES), 2, QUEUES);
    for (uint16_t i = 0; i < QUEUES; i++)
        assert_int_equal(toy_take_kicks(&f->toy, i), 0);
    assert_int_equal(fake_read(f->fake, ADDRESS_MMIO, register_of(f, 3), 2), 0);
}

/* Notifications go to the page and to no eventfd, also of a queue that had its ioeventfd; and back.
 * Other queues are not concerned. */
static void test_page(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    notify(f, 2);
    notify(f, 2);
    assert_int_equal(toy_take_kicks(&f->toy, 2), 2);
    assert_int_equal(f->fake->ioeventfd_count, 1);
    give(f, 2);
    assert_int_equal(f->fake->ioeventfd_count, 0);
    assert_ptr_equal(fake_memory_at(f->fake, register_of(f, 2), NOTIFY_PAGE, true), page_of(f, 2));
    assert_int_equal(f->fake->memory_count, 1);
    notify(f, 2);
    notify(f, 1);
    assert_int_equal(take(f, 2), 0xffff0002);
    assert_int_equal(toy_take_kicks(&f->toy, 2), 0);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    assert_int_equal(toy_notify_page(&f->toy, 2, NULL, NULL), 0);
    assert_int_equal(f->fake->memory_count, 0);
    notify(f, 2);
    assert_int_equal(take(f, 2), NOTHING);
    assert_int_equal(toy_take_kicks(&f->toy, 2), 1);
    assert_int_equal(toy_notify_page(&f->toy, 2, NULL, NULL), 0); /* which is no harm */
}

/* One page takes the place of another. */
static void test_other_page(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    give(f, 2);
    assert_int_equal(toy_notify_page(&f->toy, 2, page_of(f, 0), NULL), 0);
    notify(f, 2);
    assert_int_equal(take(f, 2), NOTHING);
    assert_int_equal(take(f, 0), 0xffff0002);
    assert_int_equal(f->fake->memory_count, 1);
}

/* NTF-01: 32 bits are as good as 16. */
static void test_notification_data(void **state)
{
    struct fixture *f = *state;

    start(f, UINT64_C(1) << VIRTIO_F_NOTIFICATION_DATA);
    give(f, 4);
    fake_write(f->fake, ADDRESS_MMIO, register_of(f, 4), 4, 0x80070004);
    assert_int_equal(take(f, 4), 0x80070004);
    assert_int_equal(toy_take_kicks(&f->toy, 4), 0);
}

static void move_bar(struct fixture *f, uint64_t address)
{
    uint64_t distance = address - (f->d->common & ~UINT64_C(0xfff));

    pci_driver_config_write(f->d, PCI_BASE_ADDRESS_0, 4, (uint32_t)address);
    f->d->common += distance;
    f->d->notify += distance;
}

/* A moved BAR takes its pages along; one that is not decoded has none, and has them again. */
static void test_move_bar(void **state)
{
    struct fixture *f = *state;
    uint64_t old = register_of(f, 1);

    start(f, 0);
    give(f, 1);
    move_bar(f, RIG_MEM32 + 32 * MIB);
    assert_null(fake_memory_at(f->fake, old, 2, true));
    assert_ptr_equal(fake_memory_at(f->fake, register_of(f, 1), 2, true), page_of(f, 1));
    pci_driver_config_write(f->d, PCI_COMMAND, 2, 0);
    assert_int_equal(f->fake->memory_count, 0);
    give(f, 3);
    pci_driver_config_write(f->d, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(f->fake->memory_count, 2);
    notify(f, 1);
    notify(f, 3);
    assert_int_equal(take(f, 1), 0xffff0001);
    assert_int_equal(take(f, 3), 0xffff0003);
}

/* A machine reset finds the BAR at its first place, and the page with it. */
static void test_machine_reset(void **state)
{
    struct fixture *f = *state;
    uint64_t first = register_of(f, 1);

    start(f, 0);
    give(f, 1);
    move_bar(f, RIG_MEM32 + 32 * MIB);
    rig_reset(&f->rig);
    assert_int_equal(register_of(f, 1), first);
    assert_ptr_equal(fake_memory_at(f->fake, first, 2, true), page_of(f, 1));
}

/* PCI-14: through the window a notification gets to the page, too. */
static void test_window(void **state)
{
    struct fixture *f = *state;
    uint32_t window = f->d->window;

    start(f, 0);
    give(f, 3);
    pci_driver_config_write(f->d, PCI_COMMAND, 2, 0);
    pci_driver_config_write(f->d, window + VIRTIO_PCI_CAP_BAR, 1, 0);
    pci_driver_config_write(f->d, window + VIRTIO_PCI_CAP_OFFSET, 4,
                            (uint32_t)(register_of(f, 3) - f->d->common));
    pci_driver_config_write(f->d, window + VIRTIO_PCI_CAP_LENGTH, 4, 2);
    pci_driver_config_write(f->d, window + 16, 2, 3);
    assert_int_equal(take(f, 3), 0xffff0003);
    assert_int_equal(toy_take_kicks(&f->toy, 3), 0);
    toy_notify_page(&f->toy, 3, NULL, NULL);
    pci_driver_config_write(f->d, window + 16, 2, 3);
    assert_int_equal(toy_take_kicks(&f->toy, 3), 1);
}

/* A page that has no place is refused; one that has none any more is written to by hand. */
static void test_no_room(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    start(f, 0);
    f->fake->fail_memory_map = ENOSPC;
    assert_int_equal(toy_notify_page(&f->toy, 1, page_of(f, 1), &err), -ENOSPC);
    notify(f, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    assert_int_equal(take(f, 1), NOTHING);

    f->fake->fail_memory_map = 0;
    give(f, 1);
    f->fake->fail_memory_map = ENOSPC;
    move_bar(f, RIG_MEM32 + 32 * MIB);
    for (int i = 0; i < 3; i++) {
        notify(f, 1);
        assert_int_equal(take(f, 1), 0xffff0001);
    }
    assert_int_equal(toy_take_kicks(&f->toy, 1), 0);
    assert_int_equal(f->fake->ioeventfd_count, 0);
}

/* What no back end should ask for. */
static void test_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(toy_notify_page(&f->toy, QUEUES, f->memory, NULL), -EINVAL);
    assert_int_equal(toy_notify_page(&f->toy, 0, f->memory + 8, NULL), -EINVAL);
    assert_int_equal(f->fake->memory_count, 0);
}

/* Queues that share a page, or one register. */
static void test_no_pages(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(toy_notify_page(&f->toy, 0, f->memory, NULL), -ENOTSUP);
    assert_int_equal(f->fake->memory_count, 0);
}

#define TEST(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_layout, set_up),
        TEST(test_registers, set_up),
        TEST(test_page, set_up),
        TEST(test_other_page, set_up),
        TEST(test_notification_data, set_up),
        TEST(test_move_bar, set_up),
        TEST(test_machine_reset, set_up),
        TEST(test_window, set_up),
        TEST(test_no_room, set_up),
        TEST(test_refused, set_up),
        TEST(test_no_pages, set_up_msix),
        TEST(test_no_pages, set_up_mmio),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
