/*
 * From the driver's registers to a ring and back: a built-in model behind each transport and each
 * kind of driver, legacy ones with rings as they lay them out (2.7.2).
 *
 * Queue 0 gives each buffer back at once; queue 1 keeps it, as a disk keeps a request in flight,
 * until the device wants it back.
 */
#include "tests/driver/rig.h"
#include "tests/driver/ring.h"

#include "base/bytes.h"
#include "base/loop.h"
#include "virtio/builtin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define QUEUES 2
#define SIZE   256 /* a legacy PCI driver has no choice */
#define DATA   0x100000
#define WAIT   5000 /* ms */

enum { ECHO, KEEP };

/* --- the model ------------------------------------------------------------------------------- */

struct keeper {
    struct virtqueue_buffer *kept;
};

static int keeper_create(struct virtio_builtin *b, const void *options, void **out,
                         struct error *err)
{
    (void)b;
    (void)options;
    (void)err;
    *out = calloc(1, sizeof(struct keeper));
    return 0;
}

static void keeper_features(void *model, struct virtio_features *out)
{
    (void)model;
    (void)out;
}

static int keeper_ready(void *model, struct virtqueue *queue)
{
    struct keeper *keeper = model;
    struct virtqueue_buffer *buffer;
    int ret;

    while ((ret = virtqueue_pop(queue, &buffer)) > 0) {
        if (queue->index == KEEP)
            keeper->kept = buffer;
        else
            virtqueue_push(queue, buffer, (uint32_t)virtqueue_write(buffer, 0, "done", 4));
    }
    return ret;
}

static void keeper_drain(void *model, struct virtqueue *queue)
{
    struct keeper *keeper = model;

    if (queue->index == KEEP && keeper->kept)
        virtqueue_push(queue, keeper->kept, (uint32_t)virtqueue_write(keeper->kept, 0, "late", 4));
    if (queue->index == KEEP)
        keeper->kept = NULL;
}

static const struct virtio_model keeper_model = {
    .name = "keeper",
    .id = VIRTIO_ID_ENTROPY,
    .create = keeper_create,
    .destroy = free,
    .get_features = keeper_features,
    .queue_ready = keeper_ready,
    .queue_drain = keeper_drain,
};

/* --- a driver, its rings, and the device ----------------------------------------------------- */

struct fixture {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_device dev;
    struct rig rig;
    struct driver *d;
    struct ring rings[QUEUES];
};

static int set_up(void **state, enum rig_kind kind)
{
    const struct virtio_features wanted = {.word = {0, BIT(VIRTIO_F_SUSPEND - 32)}};
    const struct virtio_features masked = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    struct virtio_backend *backend;
    struct error err = ERROR_INIT;

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, 4 * MIB, 0, &err), 0);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    assert_int_equal(virtio_builtin_create(&keeper_model, NULL, &f->memory, f->loop, QUEUES, SIZE,
                                           &backend, &err),
                     0);
    assert_int_equal(virtio_device_init(&f->dev, VIRTIO_ID_ENTROPY, "keeper", backend, QUEUES, SIZE,
                                        &wanted, &masked, &err),
                     0);
    assert_int_equal(rig_init(&f->rig, kind, &f->dev, &err), 0);
    assert_int_equal(loop_start_thread(f->loop, "keeper", &err), 0);
    f->d = f->rig.driver;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    rig_destroy(&f->rig);
    virtio_device_destroy(&f->dev);
    loop_join_thread(f->loop);
    loop_destroy(f->loop);
    for (int i = 0; i < QUEUES; i++)
        ring_destroy(&f->rings[i]);
    guest_memory_destroy(&f->memory);
    free(f);
    return 0;
}

static uint8_t *guest(struct fixture *f, uint64_t address)
{
    return guest_memory_map(&f->memory, GPA(address), 16);
}

/* RING-13: the used ring starts at the next page, and the rest moves behind it. */
static void lay_out_legacy(struct fixture *f, struct ring *ring)
{
    ring->used = align_up(ring->avail + 6 + 2 * SIZE, 4096);
    ring->used_host = guest(f, ring->used);
    ring->tables = align_up(ring->used + 6 + 8 * SIZE, 4096);
    memset(ring->used_host, 0, 6 + 8 * SIZE);
}

static void enable(struct fixture *f, uint16_t i, uint16_t size)
{
    struct ring *ring = &f->rings[i];

    ring_destroy(ring);
    ring_init(ring, &f->memory, 0x40000 * (i + 1u), size, false);
    if (f->d->legacy)
        lay_out_legacy(f, ring);
    f->d->ops->queue_enable(f->d, i, size, ring->desc, ring->avail, ring->used);
}

static void start(struct fixture *f)
{
    const struct virtio_features wanted = {.word = {0, BIT(VIRTIO_F_VERSION_1 - 32) |
                                                           BIT(VIRTIO_F_RING_RESET - 32) |
                                                           BIT(VIRTIO_F_SUSPEND - 32)}};

    assert_true(driver_negotiate(f->d, &wanted, NULL));
    for (uint16_t i = 0; i < QUEUES; i++)
        enable(f, i, SIZE);
    driver_ok(f->d);
}

/* Hand the device a buffer of 16 bytes. */
static void offer(struct fixture *f, uint16_t queue)
{
    const struct ring_element element = {DATA + 0x100 * queue, 16, true};

    memset(guest(f, element.address), 0, 16);
    assert_true(ring_add(&f->rings[queue], &element, 1, RING_DIRECT) >= 0);
    ring_publish(&f->rings[queue]);
    f->d->ops->kick(f->d, queue);
}

/* Interrupts may come for what was seen already. */
static bool works(struct fixture *f)
{
    struct ring_used used;

    offer(f, ECHO);
    while (!ring_collect(&f->rings[ECHO], &used))
        if (!driver_wait(f->d, DRIVER_INTERRUPT_QUEUE, WAIT))
            return false;
    return used.length == 4 && memcmp(guest(f, DATA), "done", 4) == 0;
}

/* --- tests ----------------------------------------------------------------------------------- */

/* STAT-11, RING-13: more rounds than the ring has entries, then a second life. */
static void test_rounds(void **state)
{
    struct fixture *f = *state;

    for (int life = 0; life < 2; life++) {
        start(f);
        for (int i = 0; i < SIZE + 10; i++)
            assert_true(works(f));
    }
}

/* STAT-10: a legacy queue serves before DRIVER_OK. */
static void test_before_driver_ok(void **state)
{
    struct fixture *f = *state;

    assert_true(driver_negotiate(f->d, &(struct virtio_features){0}, NULL));
    enable(f, ECHO, SIZE);
    assert_true(works(f));
    driver_ok(f->d);
    assert_true(works(f));
}

/* STAT-03, STAT-04, DRV-RING-03: a broken ring is told of, in the status and by an interrupt, and a
 * reset brings the device back. */
static void test_broken_ring(void **state)
{
    struct fixture *f = *state;

    for (int life = 0; life < 3; life++) {
        start(f);
        assert_true(works(f));
        ring_offer(&f->rings[ECHO], SIZE);
        ring_publish(&f->rings[ECHO]);
        f->d->ops->kick(f->d, ECHO);
        assert_true(driver_wait(f->d, DRIVER_INTERRUPT_CONFIG, WAIT));
        assert_true(f->d->ops->status(f->d) & VIRTIO_STATUS_NEEDS_RESET);
        f->d->ops->kick(f->d, ECHO); /* DRV-INIT-19 */
        driver_reset(f->d);
        assert_int_equal(f->d->ops->status(f->d), 0);
    }
    start(f);
    assert_true(works(f));
}

/* STAT-06, STAT-07: when status reads 0, what was in flight is over, and memory is left alone. */
static void test_reset_in_flight(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = guest(f, DATA + 0x100 * KEEP);

    start(f);
    offer(f, KEEP);
    assert_true(works(f)); /* both have been seen by now: the loop takes them in turn */
    offer(f, KEEP);
    driver_reset(f->d);
    assert_int_equal(f->d->ops->status(f->d), 0);
    memset(data, 0x55, 16);
    start(f);
    assert_true(works(f));
    for (int i = 0; i < 16; i++)
        assert_int_equal(data[i], 0x55);
}

/* QRST-01, QRST-02, QRST-03: one queue starts anew with another ring while the other goes on. */
static void test_queue_reset(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = guest(f, DATA + 0x100 * KEEP);

    start(f);
    for (int i = 0; i < 5; i++)
        assert_true(works(f));
    offer(f, KEEP);
    assert_true(f->d->ops->queue_reset(f->d, KEEP));
    memset(data, 0x55, 16);
    assert_true(works(f));
    assert_true(f->d->ops->queue_reset(f->d, ECHO));
    enable(f, ECHO, 16);
    for (int i = 0; i < 40; i++)
        assert_true(works(f));
    assert_int_equal(data[0], 0x55);
    assert_int_equal(f->d->ops->status(f->d) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

/* STAT-13, STAT-14, STAT-15, STAT-18: nothing is in flight in a suspended device, nothing moves,
 * and what was added meanwhile is served after. */
static void test_suspend(void **state)
{
    struct fixture *f = *state;
    uint8_t live = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
                   VIRTIO_STATUS_DRIVER_OK;
    struct ring_used used;

    start(f);
    assert_true(works(f));
    offer(f, KEEP);
    f->d->ops->set_status(f->d, live | VIRTIO_STATUS_SUSPEND);
    assert_int_equal(f->d->ops->status(f->d),
                     (live | VIRTIO_STATUS_SUSPEND) & ~VIRTIO_STATUS_DRIVER_OK);
    f->d->ops->interrupts(f->d);
    while (ring_collect(&f->rings[KEEP], &used))
        ;
    offer(f, ECHO); /* DRV-INIT-17 */
    assert_false(driver_wait(f->d, DRIVER_INTERRUPT_QUEUE, 50));
    assert_false(ring_collect(&f->rings[ECHO], &used));
    f->d->ops->set_status(f->d, live);
    assert_int_equal(f->d->ops->status(f->d), live);
    assert_true(driver_wait(f->d, DRIVER_INTERRUPT_QUEUE, WAIT));
    assert_true(ring_collect(&f->rings[ECHO], &used));
    assert_true(works(f));
}

#define SET_UP(name, kind)                 \
    static int set_up_##name(void **state) \
    {                                      \
        return set_up(state, kind);        \
    }
SET_UP(mmio, RIG_MMIO)
SET_UP(msix, RIG_PCI_MSIX)
SET_UP(intx, RIG_PCI_INTX)
SET_UP(mmio_legacy, RIG_MMIO_LEGACY)
SET_UP(msix_legacy, RIG_PCI_LEGACY_MSIX)
SET_UP(intx_legacy, RIG_PCI_LEGACY_INTX)
SET_UP(transitional, RIG_PCI_TRANSITIONAL)
SET_UP(pages, RIG_PCI_PAGES)

#define TEST(function, kind)                                          \
    {                                                                 \
#function "/" #kind, function, set_up_##kind, tear_down, NULL \
    }
#define TESTS(kind) \
    TEST(test_rounds, kind), TEST(test_broken_ring, kind), TEST(test_reset_in_flight, kind)
#define MODERN_TESTS(kind) TESTS(kind), TEST(test_queue_reset, kind), TEST(test_suspend, kind)
#define LEGACY_TESTS(kind) TESTS(kind), TEST(test_before_driver_ok, kind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MODERN_TESTS(mmio),         MODERN_TESTS(msix),        MODERN_TESTS(intx),
        MODERN_TESTS(transitional), LEGACY_TESTS(mmio_legacy), LEGACY_TESTS(msix_legacy),
        LEGACY_TESTS(intx_legacy),  MODERN_TESTS(pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
