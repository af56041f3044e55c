/*
 * What a virtqueue writes to: the used ring and the writable buffers, and nothing else in the
 * guest's memory (specification 2.7.5.1).
 */
#include "base/bytes.h"
#include "tests/driver/ring.h"
#include "virtio/virtqueue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY   (256 * KIB)
#define RING_AT  0x1000
#define READABLE 0x20000 /* 64 bytes */
#define WRITABLE 0x30000 /* 64 bytes */
#define SIZE     8

struct fixture {
    struct guest_memory memory;
    struct ring ring;
    struct virtqueue queue;
    uint8_t *now;
    uint8_t before[MEMORY];
};

static void ignore_notification(void *opaque, uint16_t index)
{
    (void)opaque;
    (void)index;
}

static void start(struct fixture *f, bool event_idx)
{
    const struct virtqueue_position first = {0, 0};
    struct virtio_features features = {0};
    struct virtqueue_setup setup = {.size = SIZE};

    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, event_idx);
    ring_init(&f->ring, &f->memory, RING_AT, SIZE, event_idx);
    setup.desc = GPA(f->ring.desc);
    setup.driver = GPA(f->ring.avail);
    setup.device = GPA(f->ring.used);
    f->queue.notify = ignore_notification;
    assert_int_equal(virtqueue_start(&f->queue, &f->memory, &setup, &features, first, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MEMORY, 0, NULL), 0);
    f->now = guest_memory_map(&f->memory, GPA(0), MEMORY);
    for (size_t i = 0; i < MEMORY; i++)
        f->now[i] = (uint8_t)(i * 7 + i / 251);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    guest_memory_destroy(&f->memory);
    free(f);
    return 0;
}

static bool may_change(const struct fixture *f, size_t at)
{
    return (at >= f->ring.used && at < f->ring.used + 6 + 8 * SIZE) ||
           (at >= WRITABLE && at < WRITABLE + 64);
}

static void assert_nothing_else_changed(const struct fixture *f)
{
    for (size_t i = 0; i < MEMORY; i++)
        if (f->now[i] != f->before[i] && !may_change(f, i))
            fail_msg("0x%zx was written to", i);
}

/* One buffer through the queue, its data written in full. */
static void serve_one(struct fixture *f, enum ring_style style)
{
    const struct ring_element e[] = {{READABLE, 40, false},
                                     {READABLE + 40, 24, false},
                                     {WRITABLE, 60, true},
                                     {WRITABLE + 60, 4, true}};
    struct virtqueue_buffer *buffer;
    uint8_t data[128];

    memset(data, 0xa5, sizeof(data));
    assert_true(ring_add(&f->ring, e, ARRAY_SIZE(e), style) >= 0);
    ring_publish(&f->ring);
    memcpy(f->before, f->now, MEMORY);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(virtqueue_pop(&f->queue, &buffer), 1);
    assert_int_equal(virtqueue_read(buffer, 0, data, 64), 64);
    assert_memory_equal(data, f->before + READABLE, 64);
    assert_int_equal(virtqueue_write(buffer, 0, data, sizeof(data)), 64);
    virtqueue_push(&f->queue, buffer, 64);
    virtqueue_publish(&f->queue);
    virtqueue_enable_kicks(&f->queue);
    assert_nothing_else_changed(f);
    assert_memory_equal(f->now + WRITABLE, data, 64);
    assert_true(ring_collect(&f->ring, &(struct ring_used){0}));
}

static void check(struct fixture *f, bool event_idx)
{
    start(f, event_idx);
    for (int round = 0; round < 3 * SIZE; round++)
        serve_one(f, round % 3 == 0 ? RING_DIRECT : round % 3 == 1 ? RING_TABLE : RING_MIXED);
    virtqueue_stop(&f->queue);
    assert_nothing_else_changed(f);
    ring_destroy(&f->ring);
}

/* RING-07, RING-10 */
static void test_split(void **state)
{
    check(*state, false);
}

/* RING-07, RING-10, EVT-04: avail_event is in the used ring. */
static void test_split_with_event_idx(void **state)
{
    check(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_split_with_event_idx, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
