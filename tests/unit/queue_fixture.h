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
#define SIZE        8
#define FIRST       0x8000 /* where a fresh packed ring stands: slot 0, wrap counter 1 */

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

/* With VERSION_1 and INDIRECT_DESC. */
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

static inline int setup_split(void **state)
{
    *state = fixture_create();
    return 0;
}

static inline int setup_packed(void **state)
{
    struct fixture *f = fixture_create();

    features_set(&f->features, VIRTIO_F_RING_PACKED, true);
    *state = f;
    return 0;
}

static inline bool is_packed(const struct fixture *f)
{
    return features_has(&f->features, VIRTIO_F_RING_PACKED);
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

static inline int start_at(struct fixture *f, struct virtqueue_position position, struct error *err)
{
    const struct packed_ring *p = &f->packed;
    const struct ring *r = &f->ring;

    if (is_packed(f))
        return start_queue(f, p->size, p->desc, p->driver_event, p->device_event, position, err);
    return start_queue(f, r->size, r->desc, r->avail, r->used, position, err);
}

/* A fresh ring on both sides. */
static inline void begin(struct fixture *f, uint16_t size, bool event_idx)
{
    const uint16_t first = is_packed(f) ? FIRST : 0;

    features_set(&f->features, VIRTIO_F_EVENT_IDX, event_idx);
    if (is_packed(f))
        packed_ring_init(&f->packed, &f->memory, RING_AT, size, event_idx);
    else
        ring_init(&f->ring, &f->memory, RING_AT, size, event_idx);
    assert_int_equal(start_at(f, (struct virtqueue_position){first, first}, NULL), 0);
}

static inline struct ring_element in(uint64_t address, uint32_t length)
{
    return (struct ring_element){address, length, false};
}

static inline struct ring_element out(uint64_t address, uint32_t length)
{
    return (struct ring_element){address, length, true};
}

/* The identity it is used by. */
static inline int add(struct fixture *f, const struct ring_element *e, unsigned count,
                      enum ring_style style)
{
    int id = is_packed(f) ? packed_ring_add(&f->packed, e, count, style)
                          : ring_add(&f->ring, e, count, style);

    assert_true(id >= 0);
    if (is_packed(f))
        packed_ring_publish(&f->packed);
    else
        ring_publish(&f->ring);
    return id;
}

static inline int add_one(struct fixture *f)
{
    return add(f, (struct ring_element[]){out(DATA, 64)}, 1, RING_DIRECT);
}

/* A buffer of `count` descriptors. */
static inline int add_list(struct fixture *f, unsigned count)
{
    struct ring_element e[SIZE];

    for (unsigned i = 0; i < count; i++)
        e[i] = out(DATA + 64 * i, 64);
    return add(f, e, count, RING_DIRECT);
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

/* Use `n` buffers and publish them together; whether that brought a notification. */
static inline bool notified_after(struct fixture *f, unsigned n)
{
    unsigned before = f->notified;

    for (unsigned i = 0; i < n; i++)
        add_one(f);
    for (unsigned i = 0; i < n; i++)
        virtqueue_push(&f->queue, pop(f), 0);
    virtqueue_publish(&f->queue);
    for (unsigned i = 0; i < n; i++)
        assert_true(is_packed(f) ? packed_ring_collect(&f->packed, &(struct packed_used){0})
                                 : ring_collect(&f->ring, &(struct ring_used){0}));
    return f->notified != before;
}

static inline void *host(struct fixture *f, uint64_t address, uint64_t length)
{
    return guest_memory_map(&f->memory, GPA(address), length);
}

#endif
