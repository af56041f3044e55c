/*
 * The split virtqueue: what a driver may do, against the driver of tests/driver/ring.h. The rows of
 * tests/CONFORMANCE.md a test stands for are in its name, in lower case.
 */
#include "tests/unit/split_ring_fixture.h"

/* Readable and writable parts, in each of the three ways to describe them. */
static void check_parts(struct fixture *f, enum ring_style style)
{
    const struct ring_element e[] = {in(DATA, 16), in(DATA + 0x1000, 512), out(HIGH_AT, 1024),
                                     out(DATA + 0x3000, 1)};
    int head = add(f, e, 4, style);
    struct virtqueue_buffer *b = pop(f);

    assert_int_equal(b->id, head);
    assert_int_equal(b->readable_count, 2);
    assert_int_equal(b->writable_count, 2);
    assert_int_equal(b->readable_bytes, 528);
    assert_int_equal(b->writable_bytes, 1025);
    assert_ptr_equal(b->readable[0].iov_base, host(f, DATA, 16));
    assert_ptr_equal(b->readable[1].iov_base, host(f, DATA + 0x1000, 512));
    assert_int_equal(b->readable[1].iov_len, 512);
    assert_ptr_equal(b->writable[0].iov_base, host(f, HIGH_AT, 1024));
    assert_int_equal(b->writable[1].iov_len, 1);
    assert_empty(f);
    use(f, b, 1025);
    assert_used(f, head, 1025);
    assert_bent(f, NULL);
}

/* RING-04, RING-05: the driver lays its ring out by the text as well */
static void ring_03_direct_chain(void **state)
{
    begin(*state, SIZE, false);
    check_parts(*state, RING_DIRECT);
}

static void ind_03_table(void **state)
{
    begin(*state, SIZE, false);
    check_parts(*state, RING_TABLE);
}

static void ind_02_direct_descriptors_then_a_table(void **state)
{
    begin(*state, SIZE, false);
    check_parts(*state, RING_MIXED);
}

static void ind_01_write_flag_of_the_indirect_descriptor_is_ignored(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 10, 0, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 16, RING_INDIRECT | RING_WRITE, 0);
    ring_offer(&f->ring, 0);
    ring_publish(&f->ring);
    assert_int_equal(pop(f)->readable_bytes, 10);
}

/* A table is walked by `next`, not in the order of its entries. */
static void ind_03_table_out_of_order(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 1, RING_NEXT, 2);
    ring_set_table_entry(&f->ring, f->ring.tables, 1, DATA, 4, RING_WRITE, 0);
    ring_set_table_entry(&f->ring, f->ring.tables, 2, DATA, 2, RING_NEXT, 1);
    ring_set_descriptor(&f->ring, 5, f->ring.tables, 48, RING_INDIRECT, 0);
    ring_offer(&f->ring, 5);
    ring_publish(&f->ring);
    b = pop(f);
    assert_int_equal(b->id, 5);
    assert_int_equal(b->readable[0].iov_len, 1);
    assert_int_equal(b->readable[1].iov_len, 2);
    assert_int_equal(b->writable[0].iov_len, 4);
}

static void ring_06_indexes_wrap_at_65536(void **state)
{
    struct fixture *f = *state;

    begin_at(f, SIZE, true, 0xfffd);
    for (int i = 0; i < 8; i++) {
        int head = add_one(f);

        ring_enable_interrupts(&f->ring);
        f->notified = 0;
        use(f, pop(f), 1);
        assert_used(f, head, 1);
        assert_int_equal(f->notified, 1);
    }
    assert_int_equal(f->queue.next_avail, 5);
}

static void ring_06_a_hundred_thousand_buffers(void **state)
{
    struct fixture *f = *state;
    struct ring_used used;

    begin(f, 256, true);
    for (unsigned round = 0; round < 1000; round++) {
        unsigned n = round % 128 + 36;

        for (unsigned i = 0; i < n; i++)
            add_one(f);
        for (unsigned i = 0; i < n; i++)
            virtqueue_push(&f->queue, pop(f), i % 65);
        assert_empty(f);
        virtqueue_publish(&f->queue);
        for (unsigned i = 0; i < n; i++) {
            assert_true(ring_collect(&f->ring, &used));
            assert_int_equal(used.length, i % 65);
        }
        assert_false(ring_collect(&f->ring, &used));
    }
    assert_int_equal((uint16_t)(f->queue.next_avail - f->queue.next_used), 0);
}

static void ring_16_queue_of_one(void **state)
{
    struct fixture *f = *state;

    begin(f, 1, true);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(add_one(f), 0);
        use(f, pop(f), 7);
        assert_used(f, 0, 7);
    }
    ring_add(&f->ring, (struct ring_element[]){in(DATA, 1), out(DATA, 2)}, 2, RING_TABLE);
    ring_publish(&f->ring);
    assert_int_equal(pop(f)->writable_bytes, 2);
    assert_bent(f, "DRV-IND-06");
}

static void ring_02_queue_of_32768(void **state)
{
    struct fixture *f = *state;

    begin(f, 32768, true);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 32768; i++)
            assert_true(
                ring_add(&f->ring, &(struct ring_element){DATA, 64, true}, 1, RING_DIRECT) >= 0);
        ring_publish(&f->ring);
        for (int i = 0; i < 32768; i++)
            virtqueue_push(&f->queue, pop(f), 64);
        assert_empty(f);
        virtqueue_publish(&f->queue);
        for (int i = 0; i < 32768; i++)
            assert_true(ring_collect(&f->ring, &(struct ring_used){0}));
    }
    assert_null(f->queue.broken.id);
}

/* RING-19 */
static void ring_11_completion_out_of_order(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[4];
    int head[4];
    static const int order[4] = {2, 0, 3, 1};

    begin(f, SIZE, false);
    for (int i = 0; i < 4; i++)
        head[i] = add_one(f);
    for (int i = 0; i < 4; i++)
        b[i] = pop(f);
    assert_int_equal((uint16_t)(f->queue.next_avail - f->queue.next_used), 4);
    for (int i = 0; i < 4; i++)
        use(f, b[order[i]], (uint32_t)i);
    for (int i = 0; i < 4; i++)
        assert_used(f, head[order[i]], (uint32_t)i);
    assert_int_equal((uint16_t)(f->queue.next_avail - f->queue.next_used), 0);
}

static void ring_10_length_is_never_more_than_the_writable_part(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e[] = {in(DATA, 16), out(DATA, 100)};
    int head;

    begin(f, SIZE, false);
    head = add(f, e, 2, RING_DIRECT);
    use(f, pop(f), 5000);
    assert_used(f, head, 100);
    head = add(f, e, 1, RING_DIRECT);
    use(f, pop(f), 16);
    assert_used(f, head, 0); /* RING-12 */
}

static void ring_09_nothing_is_visible_before_publish(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add_one(f);
    add_one(f);
    virtqueue_push(&f->queue, pop(f), 1);
    virtqueue_push(&f->queue, pop(f), 1);
    assert_int_equal(ring_used_idx(&f->ring), 0);
    assert_int_equal(f->notified, 0);
    virtqueue_publish(&f->queue);
    assert_int_equal(ring_used_idx(&f->ring), 2);
    assert_int_equal(f->notified, 1);
    virtqueue_publish(&f->queue);
    assert_int_equal(f->notified, 1);
}

/* What the driver writes after pop changes nothing. */
static void ring_15_descriptors_are_copied(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e[] = {in(DATA, 16), out(DATA + 64, 32)};
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    add(f, e, 2, RING_DIRECT);
    b = pop(f);
    for (uint16_t i = 0; i < SIZE; i++)
        ring_set_descriptor(&f->ring, i, UINT64_MAX, UINT32_MAX, 0xffff, 0xffff);
    assert_ptr_equal(b->readable[0].iov_base, host(f, DATA, 16));
    assert_ptr_equal(b->writable[0].iov_base, host(f, DATA + 64, 32));
    assert_int_equal(b->writable_bytes, 32);
    use(f, b, 32);
    assert_int_equal(ring_used_entry(&f->ring, 0).id, 0);
}

static void ring_16_zero_length_descriptors_are_skipped(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e[] = {in(UINT64_MAX, 0), in(DATA, 16), in(DATA, 0),
                                     out(0, 0),         out(DATA, 1), out(7, 0)};
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    add(f, e, 6, RING_DIRECT);
    b = pop(f);
    assert_int_equal(b->readable_count, 1);
    assert_int_equal(b->writable_count, 1);
    assert_int_equal(b->writable_bytes, 1);
    assert_bent(f, NULL);
}

static void drv_ring_13_an_empty_buffer_is_let_pass(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;
    int head;

    begin(f, SIZE, false);
    head = add(f, (struct ring_element[]){in(DATA, 0)}, 1, RING_DIRECT);
    b = pop(f);
    assert_int_equal(b->readable_count + b->writable_count, 0);
    assert_int_equal(b->readable_bytes + b->writable_bytes, 0);
    assert_bent(f, "DRV-RING-13");
    use(f, b, 0);
    assert_used(f, head, 0);
}

static void ring_16_chain_as_long_as_the_queue(void **state)
{
    struct fixture *f = *state;
    struct ring_element e[64];
    struct virtqueue_buffer *b;

    for (unsigned i = 0; i < 64; i++)
        e[i] = out(DATA + 8 * i, 8);
    begin(f, 64, false);
    for (int round = 0; round < 3; round++) {
        int head = add(f, e, 64, RING_DIRECT);

        b = pop(f);
        assert_int_equal(b->writable_count, 64);
        assert_ptr_equal(b->writable[63].iov_base, host(f, DATA + 8 * 63, 8));
        use(f, b, 512);
        assert_used(f, head, 512);
    }
}

static void drv_ind_06_a_long_table_is_let_pass(void **state)
{
    struct fixture *f = *state;
    struct ring_element e[64];

    for (unsigned i = 0; i < 64; i++)
        e[i] = out(DATA + 8 * i, 8);
    begin(f, SIZE, false);
    add(f, e, 64, RING_TABLE);
    assert_int_equal(pop(f)->writable_count, 64);
    assert_bent(f, "DRV-IND-06");
}

static void drv_ring_10_unknown_flags_are_let_pass(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 10, 0x80 | RING_WRITE, 0);
    ring_offer(&f->ring, 0);
    ring_publish(&f->ring);
    assert_int_equal(pop(f)->writable_bytes, 10);
    assert_bent(f, "DRV-RING-10");
}

static void ring_08_copies_across_descriptors(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e[] = {in(DATA, 3), in(DATA + 100, 5), out(DATA + 200, 2),
                                     out(DATA + 300, 7)};
    struct virtqueue_buffer *b;
    char text[16] = {0};

    begin(f, SIZE, false);
    add(f, e, 4, RING_DIRECT);
    memcpy(host(f, DATA, 3), "abc", 3);
    memcpy(host(f, DATA + 100, 5), "defgh", 5);
    b = pop(f);
    assert_int_equal(virtqueue_read(b, 0, text, sizeof(text)), 8);
    assert_string_equal(text, "abcdefgh");
    assert_int_equal(virtqueue_read(b, 2, text, 3), 3);
    assert_memory_equal(text, "cde", 3);
    assert_int_equal(virtqueue_read(b, 4, text, 3), 3);
    assert_memory_equal(text, "efg", 3);
    assert_int_equal(virtqueue_read(b, 8, text, 3), 0);
    assert_int_equal(virtqueue_read(b, SIZE_MAX, text, 3), 0);
    assert_int_equal(virtqueue_write(b, 0, "0123456789", 10), 9);
    assert_memory_equal(host(f, DATA + 200, 2), "01", 2);
    assert_memory_equal(host(f, DATA + 300, 7), "2345678", 7);
    assert_int_equal(virtqueue_write(b, 1, "xy", 2), 2);
    assert_memory_equal(host(f, DATA + 200, 2), "0x", 2);
    assert_memory_equal(host(f, DATA + 300, 7), "y345678", 7);
}

static void position_is_where_the_ring_stood(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_position position;
    int head;

    begin(f, SIZE, true);
    for (int i = 0; i < 5; i++) {
        head = add_one(f);
        use(f, pop(f), 1);
        assert_used(f, head, 1);
    }
    add_one(f);
    head = add_one(f);
    use(f, pop(f), 1);
    position = virtqueue_stop(&f->queue);
    assert_int_equal(f->queue.index, QUEUE_INDEX); /* it is still the same queue */
    assert_int_equal(position.avail, 6);
    assert_int_equal(position.used, 6);
    assert_empty(f); /* a stopped queue is */
    virtqueue_publish(&f->queue);
    assert_int_equal(start_at(f, position, NULL), 0);
    assert_bent(f, NULL);
    assert_int_equal(pop(f)->id, head);
    assert_int_equal(virtqueue_stop(&f->queue).avail, 7);
    position = (struct virtqueue_position){20, 11};
    assert_int_equal(start_at(f, position, NULL), -EINVAL);
}

/* Taken back across the wrap of the indexes, and handed out again as they were. */
static void unpop_takes_back_the_last_ones(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[3];
    int head[3];

    begin_at(f, SIZE, true, 0xfffe);
    for (int i = 0; i < 3; i++)
        head[i] = add_one(f);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            b[i] = pop(f);
            assert_int_equal(b[i]->id, head[i]);
            assert_int_equal(b[i]->writable_bytes, 64);
        }
        assert_empty(f);
        for (int i = 3; i-- > 0;)
            virtqueue_unpop(&f->queue, b[i]);
    }
    use(f, pop(f), 3);
    assert_used(f, head[0], 3);
}

/* A buffer that is taken back after the ring broke is not handed out again. */
static void unpop_after_the_ring_broke(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    add_one(f);
    b = pop(f);
    ring_offer(&f->ring, SIZE);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-03");
    virtqueue_unpop(&f->queue, b);
    assert_broken(f, "DRV-RING-03");
}

static void budget_feigns_an_empty_ring(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (int i = 0; i < 3; i++)
        add_one(f);
    virtqueue_set_budget(&f->queue, 2);
    pop(f);
    pop(f);
    assert_empty(f);
    virtqueue_set_budget(&f->queue, UINT64_MAX);
    pop(f);
    assert_empty(f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(ring_03_direct_chain),
        T(ind_03_table),
        T(ind_02_direct_descriptors_then_a_table),
        T(ind_01_write_flag_of_the_indirect_descriptor_is_ignored),
        T(ind_03_table_out_of_order),
        T(ring_06_indexes_wrap_at_65536),
        T(ring_06_a_hundred_thousand_buffers),
        T(ring_16_queue_of_one),
        T(ring_02_queue_of_32768),
        T(ring_11_completion_out_of_order),
        T(ring_10_length_is_never_more_than_the_writable_part),
        T(ring_09_nothing_is_visible_before_publish),
        T(ring_15_descriptors_are_copied),
        T(ring_16_zero_length_descriptors_are_skipped),
        T(drv_ring_13_an_empty_buffer_is_let_pass),
        T(ring_16_chain_as_long_as_the_queue),
        T(drv_ind_06_a_long_table_is_let_pass),
        T(drv_ring_10_unknown_flags_are_let_pass),
        T(ring_08_copies_across_descriptors),
        T(position_is_where_the_ring_stood),
        T(unpop_takes_back_the_last_ones),
        T(unpop_after_the_ring_broke),
        T(budget_feigns_an_empty_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
