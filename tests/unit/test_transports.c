/*
 * What a driver sees through any transport: the same tests on virtio-mmio, virtio-pci with MSI-X
 * and with INTx, and on both again for legacy drivers and for a modern one of a transitional
 * device. Rows of the conformance list are named at each test.
 */
#include "tests/driver/driver.h"
#include "tests/unit/toy_rig.h"
#include "transport/doorbell.h"

#include "base/bytes.h"

#include <stdio.h>

#define QUEUES 3

static const struct virtio_features wanted = {.word = {0xffffffff, 0xffffffff, 0xffffffff, 0}};

static int set_up(void **state, enum rig_kind kind)
{
    return toy_rig_set_up(state, kind, VIRTIO_ID_CONSOLE, QUEUES);
}

static int set_up_mmio(void **state)
{
    return set_up(state, RIG_MMIO);
}

static int set_up_msix(void **state)
{
    return set_up(state, RIG_PCI_MSIX);
}

static int set_up_intx(void **state)
{
    return set_up(state, RIG_PCI_INTX);
}

static int set_up_mmio_legacy(void **state)
{
    return set_up(state, RIG_MMIO_LEGACY);
}

static int set_up_msix_legacy(void **state)
{
    return set_up(state, RIG_PCI_LEGACY_MSIX);
}

static int set_up_intx_legacy(void **state)
{
    return set_up(state, RIG_PCI_LEGACY_INTX);
}

static int set_up_transitional(void **state)
{
    return set_up(state, RIG_PCI_TRANSITIONAL);
}

static int set_up_pages(void **state)
{
    return set_up(state, RIG_PCI_PAGES);
}

/* Queue n has its three areas from (n + 1) * 0x10000 on. */
static void enable_queue(struct driver *d, uint16_t index)
{
    uint64_t base = UINT64_C(0x10000) * (index + 1u);

    d->ops->queue_enable(d, index, 128, base, base + 0x4000, base + 0x8000);
}

static void start(struct fixture *f)
{
    struct driver *d = f->rig.driver;

    assert_true(driver_negotiate(d, &wanted, NULL));
    for (uint16_t i = 0; i < QUEUES; i++)
        enable_queue(d, i);
    driver_ok(d);
    for (uint16_t i = 0; i < QUEUES; i++)
        toy_take_kicks(&f->toy, i); /* a queue that starts is looked at unasked */
}

/* MMIO-02, PCI-01; STAT-01: status 0 at power-up. */
static void test_identity(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    assert_int_equal(d->ops->device_id(d), VIRTIO_ID_CONSOLE);
    assert_int_equal(d->ops->status(d), 0);
    assert_int_equal(d->ops->interrupts(d), 0);
}

/* MMIO-03, MMIO-19, PCIC-01, PCIC-07, FEAT-16: each word under its selector, 0 beyond the last. */
static void test_features(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;
    struct virtio_features negotiated;

    assert_int_equal(d->ops->device_features(d, 0) & 0xffffff, 1 | 1 << 5);
    assert_int_equal(d->ops->device_features(d, 1) & 1, 1); /* FEAT-04 VERSION_1 */
    assert_int_equal(d->ops->device_features(d, 2), 1 << 2);
    assert_int_equal(d->ops->device_features(d, 4), 0);
    assert_int_equal(d->ops->device_features(d, 0xffffffff), 0);
    assert_true(driver_negotiate(d, &wanted, &negotiated));
    assert_true(features_has(&f->toy.backend->negotiated, 66));
    assert_true(features_has(&f->toy.backend->negotiated, VIRTIO_F_VERSION_1));
}

/* MMIO-04, MMIO-08, MMIO-18, PCIC-03, PCIC-04, PCIC-11..13: what the driver programs reaches the
 * device. */
static void test_queues(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;
    struct virtqueue_setup *setup = &f->toy.backend->setups[0];

    assert_int_equal(d->ops->queue_size_max(d, 1), TOY_QUEUE_SIZE);
    assert_int_equal(d->ops->queue_size_max(d, QUEUES), 0);
    assert_int_equal(d->ops->queue_size_max(d, 0xffff), 0);
    assert_false(d->ops->queue_enabled(d, 1));
    start(f);
    assert_true(d->ops->queue_enabled(d, 1));
    assert_false(d->ops->queue_enabled(d, QUEUES)); /* MMIO-17, PCIC-15 */
    assert_true(f->toy.backend->running[1]);
    assert_int_equal(setup->desc.value, 0x10000);
    if (d->legacy) { /* MMIOL-04, MMIOL-05, MMIOL-07, PCIL-02, PCIL-04, RING-13 */
        assert_int_equal(setup->size, rig_is_mmio(f->rig.kind) ? 128 : TOY_QUEUE_SIZE);
        assert_int_equal(setup->driver.value, 0x10000 + 16 * setup->size);
        assert_int_equal(setup->device.value, setup->size == 128 ? 0x11000 : 0x12000);
    } else {
        assert_int_equal(setup->size, 128);
        assert_int_equal(setup->driver.value, 0x14000);
        assert_int_equal(setup->device.value, 0x18000);
    }
}

/* MMIOL-05, PCIL-08, MMIO-13: a queue that is taken away is not touched any more. */
static void test_queue_disable(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    d->ops->queue_disable(d, 1);
    assert_false(d->ops->queue_enabled(d, 1));
    assert_false(f->toy.backend->running[1]);
    assert_true(f->toy.backend->running[0]);
    if (!d->legacy)
        return;
    enable_queue(d, 1);
    assert_true(f->toy.backend->running[1]);
}

/* QRST-01, QRST-03, QRST-04, PCIC-05, MMIO-10, DRV-QCFG-11: one queue is reset and comes back with
 * another size.
 */
static void test_queue_reset(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    assert_true(d->ops->queue_reset(d, 1));
    assert_false(f->toy.backend->running[1]);
    assert_true(f->toy.backend->running[0] && f->toy.backend->running[2]);
    assert_int_equal(d->ops->status(d) & VIRTIO_STATUS_NEEDS_RESET, 0);
    d->ops->queue_enable(d, 1, 32, 0x80000, 0x84000, 0x88000);
    assert_true(d->ops->queue_enabled(d, 1));
    assert_true(f->toy.backend->running[1]);
    assert_int_equal(f->toy.backend->setups[1].size, 32);
    assert_int_equal(f->toy.backend->setups[1].desc.value, 0x80000);
    toy_take_kicks(&f->toy, 1);
    d->ops->kick(d, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), 1);
    toy_used(&f->toy, 1);
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_QUEUE);
}

/* STAT-10, PCIL-05: the back end knows what was chosen when the first queue starts, and again. */
static void test_legacy_start(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;
    struct toy_backend *toy = f->toy.backend;

    for (unsigned life = 1; life < 3; life++) {
        assert_true(driver_negotiate(d, &wanted, NULL));
        assert_int_equal(toy->feature_sets, life - 1);
        enable_queue(d, 0);
        assert_true(toy->running[0]);
        assert_int_equal(toy->feature_sets, life);
        assert_int_equal(toy->negotiated.word[0] & 0xffffff, 1 | 1 << 5);
        assert_int_equal(toy->negotiated.word[1], 0);
        toy_take_kicks(&f->toy, 0);
        d->ops->kick(d, 0);
        assert_int_equal(toy_take_kicks(&f->toy, 0), 1);
        toy_used(&f->toy, 0);
        assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_QUEUE);
        driver_ok(d);
        assert_int_equal(d->ops->status(d), VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
                                                VIRTIO_STATUS_DRIVER_OK);
    }
}

/* STAT-09, CFG-05: written before anything is agreed, in the guest's byte order */
static void test_legacy_config(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    d->ops->config_write(d, 4, 4, 0x11223344);
    assert_int_equal(f->toy.backend->config[4], 0x44);
    assert_int_equal(d->ops->config_read(d, 4, 1), 0x44); /* PCIL-06 */
    assert_int_equal(d->ops->config_read(d, 4, 2), 0x3344);
}

/* MMIOL-02, PCIL-02, FEAT-13 */
static void test_legacy_features(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    assert_int_equal(d->ops->device_features(d, 0), 1 | 1 << 5 | BIT(VIRTIO_F_ANY_LAYOUT) |
                                                        BIT(VIRTIO_F_INDIRECT_DESC) |
                                                        BIT(VIRTIO_F_EVENT_IDX));
    assert_int_equal(d->ops->device_features(d, 1), 0);
}

/* A queue that the driver leaves alone is not started. */
static void test_queue_left_out(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    assert_true(driver_negotiate(d, &wanted, NULL));
    enable_queue(d, 2);
    driver_ok(d);
    assert_false(f->toy.backend->running[0]);
    assert_true(f->toy.backend->running[2]);
}

/* MMIO-05, PCIN-01, PCIN-04: notifications reach the queue's eventfd, by whatever way. */
static void test_kicks(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    for (unsigned round = 0; round < 5; round++) {
        for (uint16_t i = 0; i < QUEUES; i++) {
            d->ops->kick(d, i);
            for (uint16_t j = 0; j < QUEUES; j++)
                assert_int_equal(toy_take_kicks(&f->toy, j), i == j);
        }
    }
    d->ops->kick(d, QUEUES); /* DRV-NTF-07: dropped */
}

/* DRV-NTF-08, NTF-03, EVT-05: as many as the driver likes, for nothing, of queues there are and
 * not. */
static void test_many_kicks(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    d->ops->kick(d, 0); /* DRV-NTF-07: before there is a queue */
    assert_int_equal(toy_take_kicks(&f->toy, 0), 0);
    start(f);
    for (unsigned i = 0; i < QUEUES * 5000; i++)
        d->ops->kick(d, (uint16_t)(i % QUEUES));
    for (uint16_t i = 0; i < QUEUES; i++)
        assert_int_equal(toy_take_kicks(&f->toy, i), 5000);
    assert_int_equal(d->ops->status(d) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

/* No ioeventfd for queues that are hardly used; then exactly one, which takes over. */
static void test_doorbells(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;
    struct fake_counts *counts = &f->rig.fake.counts;

    start(f);
    for (unsigned i = 1; i < DOORBELL_KICKS; i++)
        d->ops->kick(d, 1);
    assert_int_equal(counts->ioeventfd_add, 0);
    d->ops->kick(d, 1);
    assert_int_equal(counts->ioeventfd_add, 1);
    assert_int_equal(f->rig.fake.ioeventfds[0].fd, f->toy.dev.queues[1].kick_fd);
    d->ops->kick(d, 1);
    assert_int_equal(counts->ioeventfd_add, 1);
    assert_int_equal(toy_take_kicks(&f->toy, 1), DOORBELL_KICKS + 1);

    driver_reset(d); /* the driver will be back: nothing is torn down */
    assert_int_equal(counts->ioeventfd_remove, 0);
    rig_reset(&f->rig);
    assert_int_equal(f->rig.fake.ioeventfd_count, 0);
}

/* Without ioeventfds everything works through the registers. */
static void test_doorbell_failure(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    f->rig.fake.fail_ioeventfd_add = 28;
    start(f);
    for (unsigned i = 0; i < 5; i++)
        d->ops->kick(d, 0);
    assert_int_equal(toy_take_kicks(&f->toy, 0), 5);
    assert_int_equal(f->rig.fake.counts.ioeventfd_add, 1);
}

/* MMIO-06, MMIO-11, PCII-01..04, PCII-06: causes reach the driver, and only once. */
static void test_interrupts(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    assert_int_equal(d->ops->interrupts(d), 0);
    toy_used(&f->toy, 1);
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_QUEUE);
    assert_int_equal(d->ops->interrupts(d), 0);
    toy_config_changed(&f->toy); /* CFG-04 */
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_CONFIG);
    toy_used(&f->toy, 0);
    toy_used(&f->toy, 2);
    toy_config_changed(&f->toy);
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_QUEUE | DRIVER_INTERRUPT_CONFIG);
    assert_false(driver_wait(d, DRIVER_INTERRUPT_QUEUE, 0));
    toy_used(&f->toy, 0);
    assert_true(driver_wait(d, DRIVER_INTERRUPT_QUEUE, 1000));
}

/* MMIO-10, PCIC-02, CFG-02, CFG-06, PCIL-07: configuration at every width, zeroes beyond its end.
 */
static void test_config(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    assert_int_equal(d->ops->config_read(d, 1, 1), 0xa1);
    assert_int_equal(d->ops->config_read(d, 2, 2), 0xa3a2);
    assert_int_equal(d->ops->config_read(d, 4, 4), 0xa7a6a5a4);
    assert_int_equal(d->ops->config_read(d, 8, 8), UINT64_C(0xafaeadacabaaa9a8));
    assert_int_equal(d->ops->config_read(d, 0x80, 4), 0);
    assert_true(driver_negotiate(d, &wanted, NULL));
    d->ops->config_write(d, 5, 1, 0x11);
    d->ops->config_write(d, 12, 4, 0x22334455);
    d->ops->config_write(d, 0x80, 4, 0x66);
    assert_int_equal(d->ops->config_read(d, 4, 4), 0xa7a611a4);
    assert_int_equal(d->ops->config_read(d, 12, 4), 0x22334455);
}

/* CFG-03, MMIO-14, PCIC-09 */
static void test_generation(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;
    uint32_t before;

    start(f);
    before = d->ops->generation(d);
    assert_int_equal(d->ops->generation(d), before);
    f->toy.backend->config[0] = 1;
    toy_config_changed(&f->toy);
    assert_int_not_equal(d->ops->generation(d), before);
}

/* STAT-05, STAT-06, STAT-11, MMIO-07, MMIO-12, PCIC-10, PCIC-11: reset, and a second life. It is
 * over when the write returns, so that no driver can be too fast (DRV-INIT-13). */
static void test_driver_reset(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    toy_used(&f->toy, 0);
    toy_config_changed(&f->toy);
    driver_reset(d);
    assert_int_equal(d->ops->status(d), 0);
    assert_false(d->ops->queue_enabled(d, 0));
    assert_false(f->toy.backend->running[0]);
    assert_int_equal(d->ops->queue_size_max(d, 0), TOY_QUEUE_SIZE);
    if (!rig_has_msix(f->rig.kind)) /* a message that was sent cannot be taken back */
        assert_int_equal(d->ops->interrupts(d), 0);
    else
        d->ops->interrupts(d);

    start(f);
    assert_true(f->toy.backend->running[0]);
    toy_used(&f->toy, 0);
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_QUEUE);
    d->ops->kick(d, 2);
    assert_int_equal(toy_take_kicks(&f->toy, 2), 1);
}

/* STAT-03, STAT-04: NEEDS_RESET shows, and comes with a configuration interrupt. */
static void test_needs_reset(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    toy_needs_reset(&f->toy);
    assert_int_equal(d->ops->status(d) & VIRTIO_STATUS_NEEDS_RESET, VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_CONFIG);
    driver_reset(d);
    assert_int_equal(d->ops->status(d), 0);
}

/* DRV-QCFG-03: the queue does not start, and the driver is told. */
static void test_queue_size_too_big(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    assert_true(driver_negotiate(d, &wanted, NULL));
    d->ops->queue_enable(d, 0, TOY_QUEUE_SIZE * 2, 0, 0x4000, 0x8000);
    driver_ok(d);
    assert_false(f->toy.backend->running[0]);
    assert_true(d->ops->status(d) & VIRTIO_STATUS_NEEDS_RESET);
}

static void test_machine_reset(void **state)
{
    struct fixture *f = *state;
    struct driver *d = f->rig.driver;

    start(f);
    for (unsigned i = 0; i < DOORBELL_KICKS + 1; i++)
        d->ops->kick(d, 0);
    toy_take_kicks(&f->toy, 0);
    toy_used(&f->toy, 0);
    toy_config_changed(&f->toy);
    rig_reset(&f->rig);
    d->ops->interrupts(d); /* edges and messages already under way */
    assert_int_equal(d->ops->status(d), 0);
    assert_false(d->ops->queue_enabled(d, 0));
    assert_int_equal(f->rig.fake.ioeventfd_count, 0);
    toy_take_kicks(&f->toy, 0);

    start(f);
    d->ops->kick(d, 0);
    assert_int_equal(toy_take_kicks(&f->toy, 0), 1);
    toy_used(&f->toy, 0);
    assert_int_equal(d->ops->interrupts(d), DRIVER_INTERRUPT_QUEUE);
}

#define TEST(function, kind)                                          \
    {                                                                 \
#function "/" #kind, function, set_up_##kind, tear_down, NULL \
    }
#define TESTS(kind)                                                                              \
    TEST(test_identity, kind), TEST(test_queues, kind), TEST(test_queue_left_out, kind),         \
        TEST(test_kicks, kind), TEST(test_many_kicks, kind), TEST(test_doorbells, kind),         \
        TEST(test_doorbell_failure, kind), TEST(test_interrupts, kind), TEST(test_config, kind), \
        TEST(test_driver_reset, kind), TEST(test_needs_reset, kind),                             \
        TEST(test_machine_reset, kind)
#define MODERN_TESTS(kind)                                               \
    TESTS(kind), TEST(test_features, kind), TEST(test_generation, kind), \
        TEST(test_queue_reset, kind), TEST(test_queue_size_too_big, kind)
#define LEGACY_TESTS(kind)                                                        \
    TESTS(kind), TEST(test_legacy_features, kind), TEST(test_legacy_start, kind), \
        TEST(test_legacy_config, kind), TEST(test_queue_disable, kind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MODERN_TESTS(mmio),        TEST(test_queue_disable, mmio), MODERN_TESTS(msix),
        MODERN_TESTS(intx),        MODERN_TESTS(transitional),     LEGACY_TESTS(mmio_legacy),
        LEGACY_TESTS(msix_legacy), LEGACY_TESTS(intx_legacy),      MODERN_TESTS(pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
