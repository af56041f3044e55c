/*
 * virtio-mmio registers beyond what a good driver does (test_transports.c): rows MMIO-* and
 * DRV-MMIO-*.
 */
#include "tests/unit/toy_rig.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/virtio_mmio.h>

#define QUEUES 2

#define QUEUE_RESET 0x0c0 /* 4.2.2, newer than the kernel's header */

static int set_up(void **state)
{
    return toy_rig_set_up(state, RIG_MMIO, VIRTIO_ID_BLOCK, QUEUES);
}

static void start(struct fixture *f)
{
    const struct virtio_features wanted = {.word = {0, 1, 0, 0}};
    struct driver *d = f->rig.driver;

    assert_true(driver_negotiate(d, &wanted, NULL));
    d->ops->queue_enable(d, 0, 64, 0, 0x4000, 0x8000);
    driver_ok(d);
    toy_take_kicks(&f->toy, 0); /* a queue that starts is looked at unasked */
}

/* MMIO-01, MMIO-02 */
static void test_identity(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_VENDOR_ID), 0x45524956);
}

/* MMIO-16, DRV-MMIO-01: control registers are 32 bits wide and aligned, or not accessed at all. */
static void test_odd_widths(void **state)
{
    struct fixture *f = *state;
    struct fake_platform *fake = &f->rig.fake;
    const unsigned sizes[] = {1, 2, 8};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(fake_read(fake, ADDRESS_MMIO, RIG_MMIO_BASE, sizes[i]), 0);
        fake_write(fake, ADDRESS_MMIO, RIG_MMIO_BASE + VIRTIO_MMIO_STATUS, sizes[i], 1);
        assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_STATUS), 0);
    }
    assert_int_equal(mmio_driver_read(f->mmio, 2), 0);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_STATUS - 1, 0x101);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_STATUS + 2, 0x101);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_STATUS), 0);
}

/* MMIO-16, DRV-MMIO-02: write-only registers read as 0. */
static void test_write_only(void **state)
{
    struct fixture *f = *state;
    const uint32_t registers[] = {
        VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DRIVER_FEATURES,
        VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_QUEUE_SEL,
        VIRTIO_MMIO_QUEUE_NUM,           VIRTIO_MMIO_QUEUE_NOTIFY,
        VIRTIO_MMIO_INTERRUPT_ACK,       VIRTIO_MMIO_QUEUE_DESC_LOW,
        VIRTIO_MMIO_QUEUE_DESC_HIGH,     VIRTIO_MMIO_QUEUE_AVAIL_LOW,
        VIRTIO_MMIO_QUEUE_AVAIL_HIGH,    VIRTIO_MMIO_QUEUE_USED_LOW,
        VIRTIO_MMIO_QUEUE_USED_HIGH,     VIRTIO_MMIO_SHM_SEL,
    };

    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_SEL, 1);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
        assert_int_equal(mmio_driver_read(f->mmio, registers[i]), 0);
}

/* DRV-MMIO-02, DRV-MMIO-03: writes to the others change nothing; undefined ones read as 0. */
static void test_read_only_and_undefined(void **state)
{
    struct fixture *f = *state;
    const uint32_t registers[] = {
        VIRTIO_MMIO_MAGIC_VALUE,      VIRTIO_MMIO_VERSION,           VIRTIO_MMIO_DEVICE_ID,
        VIRTIO_MMIO_VENDOR_ID,        VIRTIO_MMIO_DEVICE_FEATURES,   VIRTIO_MMIO_QUEUE_NUM_MAX,
        VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_SHM_LEN_LOW,
        VIRTIO_MMIO_SHM_BASE_HIGH,
    };
    const uint32_t undefined[] = {0x018, 0x028, 0x03c, 0x040, 0x048, 0x068, 0x074, 0x0c4, 0x0f8};

    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        uint32_t before = mmio_driver_read(f->mmio, registers[i]);
        mmio_driver_write(f->mmio, registers[i], ~before);
        assert_int_equal(mmio_driver_read(f->mmio, registers[i]), before);
    }
    for (size_t i = 0; i < ARRAY_SIZE(undefined); i++) {
        mmio_driver_write(f->mmio, undefined[i], 0xffffffff);
        assert_int_equal(mmio_driver_read(f->mmio, undefined[i]), 0);
    }
}

/* MMIO-09, DRV-MMIO-08: no shared memory region, whichever is selected. */
static void test_no_shared_memory(void **state)
{
    struct fixture *f = *state;

    for (uint32_t id = 0; id < 300; id += 100) {
        mmio_driver_write(f->mmio, VIRTIO_MMIO_SHM_SEL, id);
        assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_SHM_LEN_LOW), 0xffffffff);
        assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_SHM_LEN_HIGH), 0xffffffff);
        assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_SHM_BASE_LOW), 0xffffffff);
        assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_SHM_BASE_HIGH), 0xffffffff);
    }
}

/* MMIO-09, CFG-09: the region with its id, and its bytes where the registers say. */
static void test_shared_memory(void **state)
{
    struct error err = ERROR_INIT;
    struct toy_device toy;
    struct rig rig;

    (void)state;
    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_FS, 1, &err), 0);
    toy_share_memory(&toy);
    assert_int_equal(rig_init(&rig, RIG_MMIO, &toy.dev, &err), 0);
    assert_int_equal(mmio_driver_read(&rig.mmio_driver, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
    mmio_driver_write(&rig.mmio_driver, VIRTIO_MMIO_SHM_SEL, TOY_SHARED_ID);
    assert_int_equal(mmio_driver_read(&rig.mmio_driver, VIRTIO_MMIO_SHM_LEN_LOW), TOY_SHARED_SIZE);
    assert_int_equal(mmio_driver_read(&rig.mmio_driver, VIRTIO_MMIO_SHM_LEN_HIGH), 0);
    assert_int_equal(mmio_driver_read(&rig.mmio_driver, VIRTIO_MMIO_SHM_BASE_LOW), RIG_SHARED);
    assert_int_equal(mmio_driver_read(&rig.mmio_driver, VIRTIO_MMIO_SHM_BASE_HIGH), 0);
    assert_int_equal(toy_map(&toy, 0, TOY_SHARED_SIZE, true, &err), 0);
    fake_write(&rig.fake, ADDRESS_MMIO, RIG_SHARED + 0x1ffc, 4, 0x11223344);
    assert_int_equal(load_le32(toy.shared_memory + 0x1ffc), 0x11223344);
    assert_int_equal(fake_read(&rig.fake, ADDRESS_MMIO, RIG_SHARED + 0x1ffe, 2), 0x1122);
    rig_destroy(&rig);
    toy_device_destroy(&toy);
}

/* NTF-01, NTF-02, FEAT-15: the upper half of a notification is not the queue's number, and no two
 * are alike: they stay without ioeventfds. */
static void test_notification_data(void **state)
{
    const struct virtio_features all = {{0, UINT32_MAX}};
    struct error err = ERROR_INIT;
    struct toy_device toy;
    struct rig rig;

    (void)state;
    assert_int_equal(toy_device_init_with(&toy, VIRTIO_ID_BLOCK, 2, 64, &all, &err), 0);
    assert_int_equal(rig_init(&rig, RIG_MMIO, &toy.dev, &err), 0);
    assert_int_equal(
        rig.driver->ops->device_features(rig.driver, 1) & BIT(VIRTIO_F_NOTIF_CONFIG_DATA - 32), 0);
    assert_true(driver_negotiate(rig.driver, &all, NULL));
    assert_true(virtio_device_negotiated(&toy.dev, VIRTIO_F_NOTIFICATION_DATA));
    rig.driver->ops->queue_enable(rig.driver, 1, 64, 0x10000, 0x14000, 0x18000);
    driver_ok(rig.driver);
    toy_take_kicks(&toy, 1);
    for (unsigned i = 0; i < 5; i++) {
        rig.driver->next = (uint16_t)(0xfff0 + i);
        rig.driver->ops->kick(rig.driver, 1);
        assert_int_equal(toy_take_kicks(&toy, 1), 1);
    }
    assert_int_equal(rig.fake.counts.ioeventfd_add, 0);
    mmio_driver_write(&rig.mmio_driver, VIRTIO_MMIO_QUEUE_NOTIFY, 5 << 16 | 2); /* DRV-NTF-07 */
    rig_destroy(&rig);
    toy_device_destroy(&toy);
}

/* DRV-QCFG-12: not without RING_RESET. QRST-04: the register reads 0. */
static void test_queue_reset(void **state)
{
    struct fixture *f = *state;

    start(f);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_SEL, 0);
    mmio_driver_write(f->mmio, QUEUE_RESET, 1);
    assert_int_equal(mmio_driver_read(f->mmio, QUEUE_RESET), 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_QUEUE_READY), 1);
    assert_true(f->toy.backend->running[0]);
}

/* MMIO-11, MMIO-15: each event is an edge; an acknowledgement that leaves bits is one more. */
static void test_interrupt(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_int_equal(fake_take_edges(&f->rig.fake, RIG_MMIO_GSI), 0);
    toy_used(&f->toy, 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    toy_used(&f->toy, 0);
    toy_config_changed(&f->toy);
    assert_int_equal(fake_take_edges(&f->rig.fake, RIG_MMIO_GSI), 3);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    assert_int_equal(fake_take_edges(&f->rig.fake, RIG_MMIO_GSI), 1);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_INTERRUPT_ACK, 0xfffffffe); /* DRV-MMIO-06 */
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_int_equal(fake_take_edges(&f->rig.fake, RIG_MMIO_GSI), 0);
}

/* MMIO-12 */
static void test_reset_clears_interrupt(void **state)
{
    struct fixture *f = *state;

    start(f);
    toy_used(&f->toy, 0);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_SEL, 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
}

/* MMIO-04, MMIO-13: QueueReady reads what was written; 0 stops the queue before it returns. */
static void test_queue_ready(void **state)
{
    struct fixture *f = *state;

    start(f);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_SEL, 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_QUEUE_READY), 1);
    assert_true(f->toy.backend->running[0]);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_false(f->toy.backend->running[0]);
}

/* MMIO-17: 32-bit selectors and sizes are not cut down to something that exists. */
static void test_big_numbers(void **state)
{
    struct fixture *f = *state;

    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_SEL, 0x10000);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
    start(f);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0x10000);
    assert_int_equal(toy_take_kicks(&f->toy, 0), 0);

    /* DRV-QCFG-03 */
    mmio_driver_write(f->mmio, VIRTIO_MMIO_STATUS, 0);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_SEL, 0);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_NUM, 0x10040);
    assert_int_not_equal(f->toy.dev.queues[0].size, 0x40);
}

/* MMIO-19, DRV-MMIO-05: the last selector persists; at power-on it is 0, and better written. */
static void test_selectors_persist(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_DEVICE_FEATURES) & 0xffffff, 1 | 1 << 5);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    assert_int_equal(virtio_device_driver_features(&f->toy.dev, 0), 1);
    mmio_driver_write(f->mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mmio_driver_read(f->mmio, VIRTIO_MMIO_DEVICE_FEATURES), 1 << 2);
        mmio_driver_write(f->mmio, VIRTIO_MMIO_STATUS, 0);
    }
}

/* Two queues share the register: their ioeventfds differ by value only. */
static void test_doorbell_match(void **state)
{
    struct fixture *f = *state;
    struct fake_ioeventfd *item = &f->rig.fake.ioeventfds[0];

    start(f);
    for (int i = 0; i < 3; i++)
        mmio_driver_write(f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(f->rig.fake.ioeventfd_count, 1);
    assert_int_equal(item->address, RIG_MMIO_BASE + VIRTIO_MMIO_QUEUE_NOTIFY);
    assert_int_equal(item->length, 4);
    assert_int_equal(item->match, 0);
}

/* A host that refuses something: create says so and leaves nothing behind. */
static void test_create_errors(void **state)
{
    struct fixture *f = *state;
    struct fake_platform *fake = &f->rig.fake;
    struct error err = ERROR_INIT;
    struct virtio_mmio_config config = {.base = RIG_MMIO_BASE, .gsi = 1};
    struct virtio_mmio *mmio;
    struct toy_device toy;

    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_NET, 1, &err), 0);
    assert_int_equal(virtio_mmio_create(&toy.dev, &fake->platform, &config, &mmio, &err), -EEXIST);
    fake->fail_irqfd_add = ENOSPC;
    config.base += 0x1000;
    assert_int_equal(virtio_mmio_create(&toy.dev, &fake->platform, &config, &mmio, &err), -ENOSPC);
    assert_false(fake_decodes(fake, ADDRESS_MMIO, RIG_MMIO_BASE + 0x1000));
    toy_device_destroy(&toy);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identity),
        TEST(test_odd_widths),
        TEST(test_write_only),
        TEST(test_read_only_and_undefined),
        TEST(test_no_shared_memory),
        cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_notification_data),
        TEST(test_queue_reset),
        TEST(test_interrupt),
        TEST(test_reset_clears_interrupt),
        TEST(test_queue_ready),
        TEST(test_big_numbers),
        TEST(test_selectors_persist),
        TEST(test_doorbell_match),
        TEST(test_create_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
