/*
 * virtio-mmio version 1 beyond what a good driver does (test_transports.c): rows MMIOL-* and
 * DRV-MMIO-*.
 */
#include "tests/unit/toy_rig.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/virtio_mmio.h>

#define QUEUES 2

static int set_up(void **state)
{
    return toy_rig_set_up(state, RIG_MMIO_LEGACY, VIRTIO_ID_BLOCK, QUEUES);
}

static uint32_t get(struct fixture *f, uint32_t offset)
{
    return mmio_driver_read(f->mmio, offset);
}

static void put(struct fixture *f, uint32_t offset, uint32_t value)
{
    mmio_driver_write(f->mmio, offset, value);
}

/* MMIOL-01 */
static void test_identity(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(get(f, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(get(f, VIRTIO_MMIO_VERSION), 1);
    assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
    assert_int_equal(get(f, VIRTIO_MMIO_VENDOR_ID), 0x45524956);
    assert_int_equal(fake_read(&f->rig.fake, ADDRESS_MMIO, RIG_MMIO_BASE + 0x100, 1), 0xa0);
}

/* MMIOL-02, PCIL-05: 32 bits of features, whatever the selector */
static void test_features(void **state)
{
    struct fixture *f = *state;

    put(f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES, 1 << 5);
    put(f, VIRTIO_MMIO_STATUS, 1 | 2 | 4);
    assert_int_equal(get(f, VIRTIO_MMIO_STATUS), 1 | 2 | 4);
    assert_int_equal(f->toy.backend->negotiated.word[0], 1 << 5);
    assert_int_equal(f->toy.backend->negotiated.word[1], 0);
}

/* MMIOL-03, MMIOL-05, MMIOL-07: page size and alignment are the driver's to choose */
static void test_other_pages(void **state)
{
    struct fixture *f = *state;
    const struct virtqueue_setup *setup = &f->toy.backend->setups[1];

    put(f, VIRTIO_MMIO_GUEST_PAGE_SIZE, 16384);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(f, VIRTIO_MMIO_QUEUE_ALIGN, 4096);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 1); /* each queue has its own */
    put(f, VIRTIO_MMIO_QUEUE_NUM, 16);
    put(f, VIRTIO_MMIO_QUEUE_ALIGN, 512);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(f, VIRTIO_MMIO_QUEUE_ALIGN, 8192);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 1);
    put(f, VIRTIO_MMIO_QUEUE_PFN, 5);
    assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_PFN), 5);
    assert_int_equal(setup->size, 16);
    assert_int_equal(setup->desc.value, 5 * 16384);
    assert_int_equal(setup->driver.value, 5 * 16384 + 256);
    assert_int_equal(setup->device.value, 5 * 16384 + 512);
}

/* MMIOL-04: in bytes that need more than 32 bits */
static void test_high_queue(void **state)
{
    struct fixture *f = *state;

    put(f, VIRTIO_MMIO_QUEUE_SEL, 0);
    assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_NUM_MAX), TOY_QUEUE_SIZE);
    put(f, VIRTIO_MMIO_QUEUE_PFN, 0xfffffff0);
    assert_int_equal(f->toy.backend->setups[0].desc.value, UINT64_C(0xfffffff0000));
    assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_PFN), 0xfffffff0);
}

/* MMIOL-06: reset takes the queues away, and leaves the page size, which is written once. */
static void test_reset(void **state)
{
    struct fixture *f = *state;

    for (uint32_t life = 0; life < 2; life++) {
        for (uint32_t i = 0; i < QUEUES; i++) {
            put(f, VIRTIO_MMIO_QUEUE_SEL, i);
            put(f, VIRTIO_MMIO_QUEUE_PFN, 16 * (i + 1));
            assert_true(f->toy.backend->running[i]);
        }
        put(f, VIRTIO_MMIO_STATUS, 0);
        for (uint32_t i = 0; i < QUEUES; i++) {
            put(f, VIRTIO_MMIO_QUEUE_SEL, i);
            assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_PFN), 0);
            assert_false(f->toy.backend->running[i]);
        }
    }
}

/* DRV-MMIO-09: sizes that are none change nothing; without a page size there are no pages. */
static void test_bad_sizes(void **state)
{
    struct fixture *f = *state;

    put(f, VIRTIO_MMIO_GUEST_PAGE_SIZE, 0);
    put(f, VIRTIO_MMIO_GUEST_PAGE_SIZE, 4097);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(f, VIRTIO_MMIO_QUEUE_ALIGN, 0);
    put(f, VIRTIO_MMIO_QUEUE_ALIGN, 12);
    put(f, VIRTIO_MMIO_QUEUE_PFN, 1);
    assert_int_equal(f->toy.backend->setups[0].desc.value, 4096);
    assert_int_equal(f->toy.backend->setups[0].device.value % 4096, 0);

    virtio_mmio_reset(f->rig.mmio);
    put(f, VIRTIO_MMIO_QUEUE_PFN, 1);
    assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_PFN), 0);
    assert_false(f->toy.backend->running[0]);
}

/* MMIOL-08, DRV-MMIO-03: what version 2 has is not there. */
static void test_absent_registers(void **state)
{
    struct fixture *f = *state;
    const uint32_t absent[] = {0x044, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4,
                               0x0ac, 0x0b0, 0x0bc, 0x0c0, 0x0fc, 0x018};

    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        put(f, absent[i], 1);
        assert_int_equal(get(f, absent[i]), 0);
    }
    assert_int_equal(f->toy.backend->starts, 0);
    assert_int_equal(get(f, VIRTIO_MMIO_GUEST_PAGE_SIZE), 0); /* DRV-MMIO-02 */
    assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_ALIGN), 0);
}

/* DRV-QCFG-03, STAT-03: a size that was not offered */
static void test_size_too_big(void **state)
{
    struct fixture *f = *state;

    put(f, VIRTIO_MMIO_STATUS, 1 | 2);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(f, VIRTIO_MMIO_QUEUE_NUM, 2 * TOY_QUEUE_SIZE);
    put(f, VIRTIO_MMIO_QUEUE_PFN, 1);
    assert_false(f->toy.backend->running[0]);
    assert_int_equal(get(f, VIRTIO_MMIO_STATUS), 1 | 2 | VIRTIO_STATUS_NEEDS_RESET);
    put(f, VIRTIO_MMIO_STATUS, 0);
    put(f, VIRTIO_MMIO_QUEUE_PFN, 1);
    assert_true(f->toy.backend->running[0]);
}

/* A type that came after 1.0 has no version 1. */
static void test_type_without(void **state)
{
    struct fixture *f = *state;
    const struct virtio_mmio_config config = {.base = RIG_SHARED, .gsi = 1, .legacy = true};
    struct error err = ERROR_INIT;
    struct virtio_mmio *mmio;
    struct toy_device toy;

    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_INPUT, 1, &err), 0);
    assert_int_equal(virtio_mmio_create(&toy.dev, &f->rig.fake.platform, &config, &mmio, &err),
                     -EINVAL);
    assert_string_equal(err.text, "toy is of a type without a legacy interface");
    toy_device_destroy(&toy);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identity),         TEST(test_features),     TEST(test_other_pages),
        TEST(test_high_queue),       TEST(test_reset),        TEST(test_bad_sizes),
        TEST(test_absent_registers), TEST(test_size_too_big), TEST(test_type_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
