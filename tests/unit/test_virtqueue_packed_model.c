/*
 * The packed virtqueue: what it does with random buffers, against the driver of
 * tests/driver/packed_ring.h. The rows of tests/CONFORMANCE.md a test stands for are in its name,
 * in lower case.
 */
#include "tests/unit/packed_ring_fixture.h"

/* What the device holds, or has used and the driver has not collected. */
struct model_buffer {
    struct virtqueue_buffer *buffer;
    int id;
    uint32_t length;
    unsigned slots;
};

struct model {
    struct fixture *f;
    struct model_buffer held[256], waiting[256], used[256]; /* by the device; popped; by driver */
    unsigned held_count, waiting_count, used_first, used_count;
    uint64_t available_slots, used_slots, published_slots; /* since the ring began */
    uint64_t event;                                        /* in slots since it began */
    uint32_t random;
    bool any_id;
};

static unsigned pick(struct model *m, unsigned below)
{
    m->random = m->random * 1664525 + 1013904223;
    return (m->random >> 8) % below;
}

static void model_add(struct model *m)
{
    struct fixture *f = m->f;
    struct ring_element e[7];
    unsigned most = f->packed.size < ARRAY_SIZE(e) ? f->packed.size : ARRAY_SIZE(e);
    unsigned count = 1 + pick(m, most), readable = pick(m, count + 1);
    enum ring_style style = pick(m, 3) ? RING_DIRECT : RING_TABLE;
    uint32_t written = 0;
    int id;

    if (m->held_count + m->waiting_count + m->used_count == ARRAY_SIZE(m->held))
        return;
    for (unsigned i = 0; i < count; i++) {
        e[i] = (struct ring_element){DATA + pick(m, 4096), 1 + pick(m, 100), i >= readable};
        written += e[i].writable ? e[i].length : 0;
    }
    id = m->any_id ? packed_ring_add_as(&f->packed, e, count, style, (uint16_t)pick(m, 65536))
                   : packed_ring_add(&f->packed, e, count, style);
    if (id < 0)
        return;
    m->waiting[m->waiting_count++] =
        (struct model_buffer){NULL, id, written, style == RING_DIRECT ? count : 1};
}

static void model_pop(struct model *m)
{
    struct model_buffer next;
    struct virtqueue_buffer *b;

    packed_ring_publish(&m->f->packed);
    if (m->waiting_count == 0) {
        assert_empty(m->f);
        return;
    }
    next = m->waiting[0];
    memmove(&m->waiting[0], &m->waiting[1], --m->waiting_count * sizeof(next));
    b = pop(m->f);
    if (pick(m, 8) == 0) {
        virtqueue_unpop(&m->f->queue, b);
        b = pop(m->f);
    }
    assert_int_equal(b->id, next.id);
    assert_int_equal(b->slots, next.slots);
    assert_int_equal(b->writable_bytes, next.length);
    next.buffer = b;
    m->held[m->held_count++] = next;
}

static void model_push(struct model *m)
{
    unsigned i;

    if (m->held_count == 0)
        return;
    i = pick(m, m->held_count);
    m->held[i].length = pick(m, m->held[i].length + 1);
    virtqueue_push(&m->f->queue, m->held[i].buffer, m->held[i].length);
    m->used[(m->used_first + m->used_count++) % ARRAY_SIZE(m->used)] = m->held[i];
    m->used_slots += m->held[i].slots;
    m->held[i] = m->held[--m->held_count];
}

static void model_publish(struct model *m)
{
    struct fixture *f = m->f;
    bool expected = m->event >= m->published_slots && m->event < m->used_slots;
    struct packed_used used;

    f->notified = 0;
    virtqueue_publish(&f->queue);
    assert_int_equal(f->notified, expected);
    m->published_slots = m->used_slots;
    for (; m->used_count > 0; m->used_count--) {
        struct model_buffer *b = &m->used[m->used_first++ % ARRAY_SIZE(m->used)];

        assert_true(packed_ring_collect(&f->packed, &used));
        assert_int_equal(used.id, b->id);
        assert_int_equal(used.written, b->length > 0);
        if (used.written)
            assert_int_equal(used.length, b->length);
    }
    assert_false(packed_ring_collect(&f->packed, &used));
}

/* Ask for an interrupt anywhere in the round to come. */
static void model_ask(struct model *m)
{
    unsigned ahead = pick(m, m->f->packed.size);
    struct packed_place place = packed_ring_after(&m->f->packed, m->f->packed.used, ahead);

    m->event = m->published_slots + ahead;
    packed_ring_set_event(&m->f->packed, position_of(place), PACKED_RING_EVENT_DESC);
}

static void check_against_model(struct fixture *f, uint16_t size, bool any_id, unsigned steps)
{
    struct model *m = calloc(1, sizeof(*m));

    m->f = f;
    m->random = size;
    m->any_id = any_id;
    begin(f, size, true);
    for (unsigned i = 0; i < steps; i++) {
        switch (pick(m, 8)) {
        case 0 ... 2:
            model_add(m);
            break;
        case 3 ... 4:
            model_pop(m);
            break;
        case 5 ... 6:
            model_push(m);
            break;
        default:
            model_publish(m); /* and only then: the event is in the round to come */
            model_ask(m);
        }
    }
    assert_true(m->published_slots > steps / 32);
    assert_null(f->queue.broken.id);
    assert_bent(f, NULL);
    free(m);
    end(f);
}

/* PACK-03, PACK-08..12, EVT-11: thousands of rounds of small rings, and all ids. */
static void pack_03_08_random_buffers_against_a_model(void **state)
{
    static const uint16_t sizes[] = {1, 2, 3, 5, 7, 256};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        check_against_model(*state, sizes[i], false, 100000);
        check_against_model(*state, sizes[i], true, 100000);
    }
    check_against_model(*state, 32768, true, 300000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(pack_03_08_random_buffers_against_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
