/*
 * Use in order (2.7.9, 2.8.8), split and packed. The rows of tests/conformance/rows.txt a test
 * stands for are in its name: ord_02 is ORD-02.
 */
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

#define RING_AT  0x10000
#define DATA     0x800000
#define RAM_SIZE (16 * MIB)
#define SIZE     8

struct fixture {
    struct guest_memory memory;
    bool packed;
    struct ring split_ring;
    struct packed_ring packed_ring;
    struct virtqueue queue;
    unsigned notified;
};

static void count_notification(void *opaque, uint16_t index)
{
    struct fixture *f = opaque;

    assert_int_equal(index, 0);
    f->notified++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, RAM_SIZE, 0, NULL), 0);
    *state = f;
    return 0;
}

static int setup_packed(void **state)
{
    setup(state);
    ((struct fixture *)*state)->packed = true;
    return 0;
}

static void end(struct fixture *f)
{
    virtqueue_stop(&f->queue);
    ring_destroy(&f->split_ring);
    packed_ring_destroy(&f->packed_ring);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    end(f);
    guest_memory_destroy(&f->memory);
    free(f);
    return 0;
}

static struct virtqueue_setup lay_out(struct fixture *f, uint16_t size, bool event_idx)
{
    struct virtqueue_setup setup = {.size = size};

    if (f->packed) {
        packed_ring_init(&f->packed_ring, &f->memory, RING_AT, size, event_idx);
        f->packed_ring.in_order = true;
        setup.desc = GPA(f->packed_ring.desc);
        setup.driver = GPA(f->packed_ring.driver_event);
        setup.device = GPA(f->packed_ring.device_event);
    } else {
        ring_init(&f->split_ring, &f->memory, RING_AT, size, event_idx);
        f->split_ring.in_order = true;
        setup.desc = GPA(f->split_ring.desc);
        setup.driver = GPA(f->split_ring.avail);
        setup.device = GPA(f->split_ring.used);
    }
    return setup;
}

static void begin(struct fixture *f, uint16_t size, bool event_idx)
{
    struct virtqueue_setup setup = lay_out(f, size, event_idx);
    struct virtio_features features = {0};

    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, event_idx);
    features_set(&features, VIRTIO_F_IN_ORDER, true);
    features_set(&features, VIRTIO_F_RING_PACKED, f->packed);
    f->queue.notify = count_notification;
    f->queue.notify_opaque = f;
    assert_int_equal(virtqueue_start(&f->queue, &f->memory, &setup, &features,
                                     virtqueue_position_first(&features), NULL),
                     0);
}

/* A buffer of `count` descriptors of 64 writable bytes each, or of `count` readable ones. */
static int add(struct fixture *f, unsigned count, bool writable)
{
    struct ring_element e[SIZE];
    int id;

    for (unsigned i = 0; i < count; i++)
        e[i] = (struct ring_element){DATA + 64 * i, 64, writable};
    if (f->packed) {
        id = packed_ring_add(&f->packed_ring, e, count, RING_DIRECT);
        packed_ring_publish(&f->packed_ring);
    } else {
        id = ring_add(&f->split_ring, e, count, RING_DIRECT);
        ring_publish(&f->split_ring);
    }
    assert_true(id >= 0);
    return id;
}

static struct virtqueue_buffer *pop(struct fixture *f)
{
    struct virtqueue_buffer *buffer = NULL;

    assert_int_equal(virtqueue_pop(&f->queue, &buffer), 1);
    return buffer;
}

/* Make `count` buffers of a descriptor each available and take them. */
static void exchange(struct fixture *f, struct virtqueue_buffer *b[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add(f, 1, true);
    for (unsigned i = 0; i < count; i++)
        b[i] = pop(f);
}

/* One record the driver finds: it is of buffer `id`, and counts for the buffers before it too. */
static void assert_record(struct fixture *f, unsigned place, unsigned id, uint32_t length)
{
    if (f->packed) {
        struct packed_ring_descriptor d = packed_ring_descriptor(&f->packed_ring, (uint16_t)place);

        assert_int_equal(d.id, id);
        assert_int_equal(d.flags, packed_ring_done(true) | (length ? RING_WRITE : 0));
        if (length)
            assert_int_equal(d.length, length);
    } else {
        struct ring_used used = ring_used_entry(&f->split_ring, (uint16_t)place);

        assert_int_equal(used.id, id);
        assert_int_equal(used.length, length);
    }
}

/* How many slots the driver sees used: split, by the index; packed, by going through the series. */
static unsigned used_slots(struct fixture *f)
{
    struct packed_used used;

    if (!f->packed)
        return ring_used_idx(&f->split_ring);
    while (packed_ring_collect(&f->packed_ring, &used))
        ;
    return f->packed_ring.used.slot + (f->packed_ring.used.wrap ? 0 : f->packed_ring.size);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* Nothing is used before the buffers in front of it are. */
static void ord_01_a_buffer_waits_for_those_before_it(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[3];

    begin(f, SIZE, false);
    exchange(f, b, 3);
    virtqueue_push(&f->queue, b[2], 64);
    virtqueue_publish(&f->queue);
    virtqueue_push(&f->queue, b[1], 64);
    virtqueue_publish(&f->queue);
    assert_int_equal(used_slots(f), 0);
    assert_int_equal(f->notified, 0);
    virtqueue_push(&f->queue, b[0], 64);
    assert_int_equal(used_slots(f), 0);
    virtqueue_publish(&f->queue);
    assert_int_equal(used_slots(f), 3);
    assert_int_equal(f->notified, 1);
}

/* ORD-02, ORD-03: one record, of the last one, where the first would be. */
static void ord_02_03_a_series_is_recorded_once(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[4];

    begin(f, SIZE, false);
    exchange(f, b, 4);
    for (int i = 0; i < 3; i++)
        virtqueue_push(&f->queue, b[i], 64);
    virtqueue_publish(&f->queue);
    assert_record(f, 0, b[2]->id, 64);
    assert_int_equal(used_slots(f), 3);
    virtqueue_push(&f->queue, b[3], 1);
    virtqueue_publish(&f->queue);
    assert_record(f, 3, b[3]->id, 1);
    assert_int_equal(used_slots(f), 4);
}

/* A buffer of which less was written than it holds ends a series: it cannot be skipped. */
static void ord_04_partly_written_buffers_are_recorded(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[6];

    begin(f, SIZE, false);
    exchange(f, b, 6);
    for (int i = 0; i < 6; i++)
        virtqueue_push(&f->queue, b[i], i == 1 || i == 2 ? 63 : 64);
    virtqueue_publish(&f->queue);
    assert_record(f, 0, b[1]->id, 63);
    assert_record(f, 2, b[2]->id, 63);
    assert_record(f, 3, b[5]->id, 64);
    assert_int_equal(used_slots(f), 6);
}

/* ... and nothing written is less than all, unless there was nothing to write. */
static void ord_04_buffers_without_a_writable_part_are_skipped(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[3];

    begin(f, SIZE, false);
    for (int i = 0; i < 3; i++)
        add(f, 1, false);
    for (int i = 0; i < 3; i++) {
        b[i] = pop(f);
        virtqueue_push(&f->queue, b[i], 64);
    }
    virtqueue_publish(&f->queue);
    assert_record(f, 0, b[2]->id, 0);
    exchange(f, b, 2);
    virtqueue_push(&f->queue, b[0], 0);
    virtqueue_push(&f->queue, b[1], 64);
    virtqueue_publish(&f->queue);
    assert_record(f, 3, b[0]->id, 0);
    assert_record(f, 4, b[1]->id, 64);
}

/* ORD-03: a series of lists takes all their slots, across the end of the ring, too. */
static void ord_03_series_of_lists(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (int round = 0; round < 40; round++) {
        struct virtqueue_buffer *b[3];
        struct packed_used used;
        int id[3];

        for (unsigned i = 0; i < 3; i++)
            id[i] = add(f, 1 + i, true);
        for (int i = 0; i < 3; i++)
            b[i] = pop(f);
        for (int i = 3; i-- > 0;)
            virtqueue_push(&f->queue, b[i], 64 * (unsigned)(i + 1));
        virtqueue_publish(&f->queue);
        for (int i = 0; i < 3; i++) {
            assert_true(packed_ring_collect(&f->packed_ring, &used));
            assert_int_equal(used.id, id[i]);
            assert_int_equal(used.skipped, i < 2);
            assert_int_equal(used.length, 64 * (i + 1));
        }
        assert_false(packed_ring_collect(&f->packed_ring, &used));
    }
    assert_null(f->queue.broken.id);
}

/* The index an interrupt is wanted at may be one that is skipped. */
static void ord_02_evt_10_event_in_a_series(void **state)
{
    struct fixture *f = *state;

    for (unsigned event = 0; event < 6; event++) {
        struct virtqueue_buffer *b[4];

        begin(f, SIZE, true);
        if (f->packed)
            packed_ring_set_event(&f->packed_ring, (uint16_t)(0x8000 | event),
                                  PACKED_RING_EVENT_DESC);
        else
            ring_set_used_event(&f->split_ring, (uint16_t)event);
        exchange(f, b, 4);
        f->notified = 0;
        for (int i = 0; i < 4; i++)
            virtqueue_push(&f->queue, b[i], 64);
        virtqueue_publish(&f->queue);
        assert_int_equal(f->notified, event < 4);
        end(f);
    }
}

static void ord_01_unpop(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[3];
    uint16_t id[3];

    begin(f, SIZE, false);
    exchange(f, b, 3);
    for (int i = 0; i < 3; i++)
        id[i] = b[i]->id;
    virtqueue_push(&f->queue, b[0], 64);
    virtqueue_unpop(&f->queue, b[2]);
    virtqueue_unpop(&f->queue, b[1]);
    virtqueue_publish(&f->queue);
    assert_record(f, 0, id[0], 64);
    for (int i = 1; i < 3; i++) {
        b[i] = pop(f);
        assert_int_equal(b[i]->id, id[i]);
        virtqueue_push(&f->queue, b[i], 64);
    }
    virtqueue_publish(&f->queue);
    assert_record(f, 1, id[2], 64);
    assert_int_equal(used_slots(f), 3);
}

/* A budget ends a turn, not the order: what was popped in two turns may be one series. */
static void ord_01_budget(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[4], *none;

    begin(f, SIZE, false);
    for (int i = 0; i < 4; i++)
        add(f, 1, true);
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            virtqueue_set_budget(&f->queue, 2);
        b[i] = pop(f);
        if (i % 2)
            assert_int_equal(virtqueue_pop(&f->queue, &none), 0);
    }
    for (int i = 4; i-- > 0;)
        virtqueue_push(&f->queue, b[i], 64);
    virtqueue_publish(&f->queue);
    assert_record(f, 0, b[3]->id, 64);
    assert_int_equal(used_slots(f), 4);
}

/* What is done when the queue stops and waits for others is not used: the driver never saw it. */
static void ord_01_stop_with_buffers_waiting(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[3];
    struct virtqueue_position position;

    begin(f, SIZE, false);
    exchange(f, b, 3);
    virtqueue_push(&f->queue, b[0], 64);
    virtqueue_push(&f->queue, b[2], 64);
    virtqueue_publish(&f->queue);
    position = virtqueue_stop(&f->queue);
    assert_int_equal(position.avail & 0x7fff, 3);
    assert_int_equal(position.used & 0x7fff, 1);
}

/* A table of 64 entries for every buffer to share. */
static void make_long_table(struct fixture *f)
{
    for (uint16_t i = 0; i < 64; i++) {
        if (f->packed)
            packed_ring_set_table_entry(&f->packed_ring, DATA, i,
                                        (struct packed_ring_descriptor){DATA, 1, 0, 0});
        else
            ring_set_table_entry(&f->split_ring, DATA, i, DATA, 1, i < 63 ? RING_NEXT : 0,
                                 (uint16_t)(i + 1));
    }
}

/* Make it available in slot `i` of a round. */
static void offer_long_table(struct fixture *f, uint16_t i, bool wrap)
{
    if (f->packed) {
        packed_ring_set_descriptor(
            &f->packed_ring, i,
            (struct packed_ring_descriptor){DATA, 16 * 64, i,
                                            packed_ring_available(wrap) | RING_INDIRECT});
        return;
    }
    ring_set_descriptor(&f->split_ring, i, DATA, 16 * 64, RING_INDIRECT, 0);
    ring_offer(&f->split_ring, i);
    ring_publish(&f->split_ring);
}

/* Long chains that are skipped leave no more behind than those that are not. */
static void ord_02_03_skipped_long_chains_do_not_add_up(void **state)
{
    const uint16_t size = 4096;
    struct fixture *f = *state;
    size_t kept = 0;

    begin(f, size, false);
    make_long_table(f);
    for (int round = 0; round < 4; round++) {
        for (uint16_t i = 0; i < size; i++) {
            struct virtqueue_buffer *b;

            offer_long_table(f, i, round % 2 == 0);
            b = pop(f);
            assert_int_equal(b->readable_count, 64);
            virtqueue_push(&f->queue, b, 0);
        }
        virtqueue_publish(&f->queue);
        assert_int_equal(f->queue.order_count, 0);
    }
    for (unsigned i = 0; i < f->queue.size; i++)
        kept += f->queue.buffers[i].capacity * sizeof(struct iovec);
    assert_true(kept <= 1 * MIB);
}

/* DRV-IND-08: an indirect table in order has next 1, 2, 3... */
static void drv_ind_08_table_out_of_order(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->split_ring, DATA, 0, DATA, 1, RING_NEXT, 2);
    ring_set_table_entry(&f->split_ring, DATA, 2, DATA, 1, 0, 0);
    ring_set_descriptor(&f->split_ring, 0, DATA, 48, RING_INDIRECT, 0);
    ring_offer(&f->split_ring, 0);
    ring_publish(&f->split_ring);
    assert_int_equal(pop(f)->readable_count, 2);
    assert_non_null(f->queue.bent.id);
    assert_string_equal(f->queue.bent.id, "DRV-IND-08");
}

/* --- at random -------------------------------------------------------------------------------- */

#define HELD 64

static uint32_t random_state;

static unsigned pick(unsigned below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

struct random_run {
    struct fixture *f;
    struct virtqueue_buffer *held[HELD];
    unsigned held_count;
    uint32_t added, popped, collected;
    uint32_t number[32768];  /* of the buffer with this id */
    uint32_t written[32768]; /* of the buffer with this number */
    bool whole[32768];       /* and whether that is all it has room for */
};

static void random_add(struct random_run *r)
{
    struct fixture *f = r->f;
    uint16_t size = f->queue.size;
    struct ring_element e[5];
    unsigned n = 1 + pick(MIN(size, 5));
    int id;

    for (unsigned i = 0; i < n; i++)
        e[i] = (struct ring_element){DATA, 10, true};
    id = f->packed ? packed_ring_add(&f->packed_ring, e, n, RING_DIRECT)
                   : ring_add(&f->split_ring, e, n, RING_DIRECT);
    r->added += id >= 0;
    if (pick(2) && f->packed)
        packed_ring_publish(&f->packed_ring);
    else if (!f->packed)
        ring_publish(&f->split_ring);
}

static void random_pop(struct random_run *r)
{
    struct virtqueue_buffer *b;

    if (r->held_count == HELD || virtqueue_pop(&r->f->queue, &b) <= 0)
        return;
    r->number[b->id] = r->popped++;
    r->held[r->held_count++] = b;
}

static void random_push(struct random_run *r)
{
    struct virtqueue_buffer *b;
    unsigned i;
    uint32_t written;

    if (r->held_count == 0)
        return;
    i = pick(r->held_count);
    b = r->held[i];
    r->held[i] = r->held[--r->held_count];
    written = pick(4) ? b->writable_bytes : pick(b->writable_bytes);
    r->written[r->number[b->id]] = written;
    r->whole[r->number[b->id]] = written == b->writable_bytes;
    virtqueue_push(&r->f->queue, b, written);
}

/* What the driver has for the next buffer, if there is one. */
static bool random_collect(struct random_run *r, uint32_t *length)
{
    struct packed_used packed;
    struct ring_used split;

    if (r->f->packed) {
        if (!packed_ring_collect(&r->f->packed_ring, &packed))
            return false;
        *length = packed.written ? packed.length : 0;
        return true;
    }
    if (!ring_collect(&r->f->split_ring, &split))
        return false;
    *length = split.length;
    return true;
}

/* Buffers done in any order; the driver finds each once, in order, and with the right length or as
 * one that is full. */
static void check_random(struct fixture *f, uint16_t size)
{
    struct random_run *r = calloc(1, sizeof(*r));
    uint32_t length;

    r->f = f;
    random_state = size;
    begin(f, size, true);
    while (r->collected < 20000) {
        random_add(r);
        random_pop(r);
        if (pick(3))
            random_push(r);
        if (pick(3) == 0)
            virtqueue_publish(&f->queue);
        while (random_collect(r, &length)) {
            if (length == RING_SKIPPED)
                assert_true(r->whole[r->collected]);
            else
                assert_int_equal(length, r->written[r->collected]);
            r->collected++;
        }
    }
    assert_true(r->added >= r->collected);
    assert_null(f->queue.broken.id);
    free(r);
    end(f);
}

static void ord_01_to_04_random(void **state)
{
    static const uint16_t sizes[] = {1, 2, 3, 4, 5, 7, 16, 256};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        if (((struct fixture *)*state)->packed || is_power_of_two(sizes[i]))
            check_random(*state, sizes[i]);
}

#define SPLIT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define PACKED(name)                                        \
    {                                                       \
#name "_packed", name, setup_packed, teardown, NULL \
    }
#define BOTH(name) SPLIT(name), PACKED(name)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        BOTH(ord_01_a_buffer_waits_for_those_before_it),
        BOTH(ord_02_03_a_series_is_recorded_once),
        BOTH(ord_04_partly_written_buffers_are_recorded),
        BOTH(ord_04_buffers_without_a_writable_part_are_skipped),
        PACKED(ord_03_series_of_lists),
        BOTH(ord_02_evt_10_event_in_a_series),
        BOTH(ord_01_unpop),
        BOTH(ord_01_budget),
        BOTH(ord_01_stop_with_buffers_waiting),
        BOTH(ord_02_03_skipped_long_chains_do_not_add_up),
        SPLIT(drv_ind_08_table_out_of_order),
        BOTH(ord_01_to_04_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
