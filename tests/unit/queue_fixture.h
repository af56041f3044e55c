/*
 * For the tests of virtqueues: guest memory, a queue, and a driver's ring of either format.
 */
#ifndef TESTS_UNIT_QUEUE_FIXTURE_H
#define TESTS_UNIT_QUEUE_FIXTURE_H

#include "base/bytes.h"
#include "tests/driver/packed_ring.h"
#include "virtio/virtqueue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RING_AT     0x10000             /* where rings are */
#define DATA        0x3800000           /* where buffers are */
#define LOW_SIZE    (64 * MIB)          /* RAM from 0... */
#define HIGH_AT     (UINT64_C(4) * GIB) /* ...and some more */
#define HIGH_SIZE   (64 * KIB)
#define QUEUE_INDEX 3

struct fixture {
    struct guest_memory memory;
    struct virtio_features features;
    struct ring ring; /* one of the two, by the test's format */
    struct packed_ring packed;
    struct virtqueue queue;
    unsigned notified;
};

static inline void count_notification(void *opaque, uint16_t index)
{
    struct fixture *f = opaque;

    assert_int_equal(index, QUEUE_INDEX);
    f->notified++;
}

/* With VERSION_1 and INDIRECT_DESC; for set-up functions. */
static inline struct fixture *fixture_create(void)
{
    struct fixture *f = calloc(1, sizeof(*f));

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, LOW_SIZE, 0, NULL), 0);
    assert_int_equal(guest_memory_add(&f->memory, HIGH_AT, HIGH_SIZE, 0, NULL), 0);
    features_set(&f->features, VIRTIO_F_VERSION_1, true);
    features_set(&f->features, VIRTIO_F_INDIRECT_DESC, true);
    return f;
}

/* Stop the queue; it may be set up anew. */
static inline void end(struct fixture *f)
{
    virtqueue_stop(&f->queue);
    ring_destroy(&f->ring);
    packed_ring_destroy(&f->packed);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    end(f);
    guest_memory_destroy(&f->memory);
    free(f);
    return 0;
}

/* Start the queue with its parts at these addresses. */
static inline int start_queue(struct fixture *f, uint16_t size, uint64_t desc, uint64_t driver,
                              uint64_t device, struct virtqueue_position position,
                              struct error *err)
{
    const struct virtqueue_setup setup = {QUEUE_INDEX, size, GPA(desc), GPA(driver), GPA(device)};

    f->queue.notify = count_notification;
    f->queue.notify_opaque = f;
    return virtqueue_start(&f->queue, &f->memory, &setup, &f->features, position, err);
}

static inline struct ring_element in(uint64_t address, uint32_t length)
{
    return (struct ring_element){address, length, false};
}

static inline struct ring_element out(uint64_t address, uint32_t length)
{
    return (struct ring_element){address, length, true};
}

static inline struct virtqueue_buffer *pop(struct fixture *f)
{
    struct virtqueue_buffer *buffer = NULL;

    assert_int_equal(virtqueue_pop(&f->queue, &buffer), 1);
    return buffer;
}

static inline void assert_empty(struct fixture *f)
{
    struct virtqueue_buffer *buffer;

    assert_int_equal(virtqueue_pop(&f->queue, &buffer), 0);
}

static inline void assert_bent(struct fixture *f, const char *rule)
{
    if (!rule) {
        assert_null(f->queue.bent.id);
    } else {
        assert_non_null(f->queue.bent.id);
        assert_string_equal(f->queue.bent.id, rule);
    }
}

/* The ring is broken by `rule`, and stays so. */
static inline void assert_broken(struct fixture *f, const char *rule)
{
    struct virtqueue_buffer *buffer;

    assert_int_equal(virtqueue_pop(&f->queue, &buffer), -EPROTO);
    assert_string_equal(f->queue.broken.id, rule);
    virtqueue_set_budget(&f->queue, UINT64_MAX);
    assert_int_equal(virtqueue_pop(&f->queue, &buffer), -EPROTO);
    assert_false(virtqueue_enable_kicks(&f->queue));
}

static inline void use(struct fixture *f, struct virtqueue_buffer *buffer, uint32_t written)
{
    virtqueue_push(&f->queue, buffer, written);
    virtqueue_publish(&f->queue);
}

static inline void *host(struct fixture *f, uint64_t address, uint64_t length)
{
    return guest_memory_map(&f->memory, GPA(address), length);
}

#endif
