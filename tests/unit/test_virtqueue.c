/*
 * The split virtqueue against the driver of tests/driver/ring.h. The rows of
 * tests/CONFORMANCE.md a test stands for are in its name, in lower case.
 */
#include "tests/unit/queue_fixture.h"

#define SIZE 8

static int setup(void **state)
{
    *state = fixture_create();
    return 0;
}

static int start_at(struct fixture *f, struct virtqueue_position position, struct error *err)
{
    const struct ring *r = &f->ring;

    return start_queue(f, r->size, r->desc, r->avail, r->used, position, err);
}

/* A fresh ring on both sides. */
static void begin_at(struct fixture *f, uint16_t size, bool event_idx, uint16_t index)
{
    features_set(&f->features, VIRTIO_F_EVENT_IDX, event_idx);
    ring_init_at(&f->ring, &f->memory, RING_AT, size, event_idx, index);
    assert_int_equal(start_at(f, (struct virtqueue_position){index, index}, NULL), 0);
}

static void begin(struct fixture *f, uint16_t size, bool event_idx)
{
    begin_at(f, size, event_idx, 0);
}

static int add(struct fixture *f, const struct ring_element *e, unsigned count,
               enum ring_style style)
{
    int head = ring_add(&f->ring, e, count, style);

    assert_true(head >= 0);
    ring_publish(&f->ring);
    return head;
}

static int add_one(struct fixture *f)
{
    const struct ring_element e = out(DATA, 64);

    return add(f, &e, 1, RING_DIRECT);
}

static void assert_used(struct fixture *f, int head, uint32_t length)
{
    struct ring_used used;

    assert_true(ring_collect(&f->ring, &used));
    assert_int_equal(used.id, head);
    assert_int_equal(used.length, length);
}

/* --- valid rings ------------------------------------------------------------------------------ */

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

/* --- suppression ------------------------------------------------------------------------------ */

/* Use `n` buffers and publish them together; whether that brought a notification. */
static bool notified_after(struct fixture *f, unsigned n)
{
    unsigned before = f->notified;

    for (unsigned i = 0; i < n; i++)
        add_one(f);
    for (unsigned i = 0; i < n; i++)
        virtqueue_push(&f->queue, pop(f), 0);
    virtqueue_publish(&f->queue);
    for (unsigned i = 0; i < n; i++)
        assert_true(ring_collect(&f->ring, &(struct ring_used){0}));
    return f->notified != before;
}

static void evt_01_flags_decide_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_used_event(&f->ring, 0x4000); /* means nothing */
    assert_true(notified_after(f, 1));
    assert_true(notified_after(f, 3));
    ring_disable_interrupts(&f->ring);
    assert_false(notified_after(f, 1));
    ring_set_used_event(&f->ring, f->ring.last_used);
    assert_false(notified_after(f, 1));
    ring_enable_interrupts(&f->ring);
    assert_true(notified_after(f, 1));
    assert_bent(f, NULL);
}

static void drv_ntf_01_avail_flags_other_than_0_or_1(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_avail_flags(&f->ring, 2);
    assert_true(notified_after(f, 1));
    assert_bent(f, "DRV-NTF-01");
}

static void evt_02_event_index_decides_and_flags_do_not(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    ring_set_avail_flags(&f->ring, 1);
    assert_true(notified_after(f, 1)); /* used_event 0: the first entry */
    assert_false(notified_after(f, 1));
    ring_set_used_event(&f->ring, 3);
    assert_false(notified_after(f, 1));
    assert_true(notified_after(f, 1)); /* entry 3 */
    assert_false(notified_after(f, 1));
    ring_disable_interrupts(&f->ring);
    assert_false(notified_after(f, 8));
}

/* used_event anywhere in a batch, at its ends, and on either side of it; also across the wrap. */
static void evt_10_event_index_in_a_batch(void **state)
{
    static const uint16_t starts[] = {0, 1000, 0xfffe, 0xffff, 0x7ffe};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        for (int event = -2; event <= 6; event++) {
            begin_at(f, SIZE, true, starts[i]);
            ring_set_used_event(&f->ring, (uint16_t)(starts[i] + event));
            assert_int_equal(notified_after(f, 4), event >= 0 && event < 4);
            virtqueue_stop(&f->queue);
            ring_destroy(&f->ring);
        }
    }
}

static void evt_03_used_flags_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    assert_int_equal(ring_used_flags(&f->ring), 0);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(ring_used_flags(&f->ring), 1);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(ring_used_flags(&f->ring), 1);
    add_one(f);
    assert_false(ring_wants_kick(&f->ring));
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(ring_used_flags(&f->ring), 0);
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    assert_int_equal(ring_avail_event(&f->ring), 0); /* left alone */
}

static void evt_04_avail_event_with_event_idx(void **state)
{
    struct fixture *f = *state;

    begin_at(f, SIZE, true, 0xfffe);
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    virtqueue_disable_kicks(&f->queue);
    add_one(f);
    assert_false(ring_wants_kick(&f->ring));
    pop(f);
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(ring_avail_event(&f->ring), 0);
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    assert_int_equal(ring_used_flags(&f->ring), 0);
}

static void evt_05_kicks_without_work(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    for (int i = 0; i < 3; i++) {
        virtqueue_disable_kicks(&f->queue);
        assert_empty(f);
        virtqueue_publish(&f->queue);
        assert_false(virtqueue_enable_kicks(&f->queue));
    }
    assert_int_equal(f->notified, 0);
}

static void check_recheck(struct fixture *f, bool event_idx)
{
    begin(f, SIZE, event_idx);
    virtqueue_disable_kicks(&f->queue);
    assert_empty(f);
    add_one(f); /* comes in between; no kick */
    assert_true(virtqueue_enable_kicks(&f->queue));
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
}

static void evt_06_enabling_kicks_looks_again(void **state)
{
    check_recheck(*state, false);
    virtqueue_stop(&((struct fixture *)*state)->queue);
    ring_destroy(&((struct fixture *)*state)->ring);
    check_recheck(*state, true);
}

/* A device that takes buffers when it needs them still hears of each new one, and is not told again
 * and again of those it left. */
static void evt_06_buffers_left_in_the_ring(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    for (int i = 0; i < 3; i++)
        add_one(f);
    ring_wants_kick(&f->ring);
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    add_one(f);
    assert_true(ring_wants_kick(&f->ring));
    assert_true(virtqueue_enable_kicks(&f->queue));
    assert_false(virtqueue_enable_kicks(&f->queue));
    for (int i = 0; i < 3; i++)
        pop(f);
    assert_empty(f);
}

/* --- broken rings ----------------------------------------------------------------------------- */

/* Offer descriptor 0, whatever it says. */
static void offer_0(struct fixture *f)
{
    ring_offer(&f->ring, 0);
    ring_publish(&f->ring);
}

static void drv_ring_01_index_goes_back(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add_one(f);
    add_one(f);
    pop(f);
    ring_set_avail_idx(&f->ring, 1);
    pop(f);
    assert_broken(f, "DRV-RING-01");
}

static void drv_ring_01_index_jumps_ahead(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_avail_idx(&f->ring, SIZE + 1);
    assert_broken(f, "DRV-RING-01");
}

static void drv_ring_02_more_outstanding_than_the_ring_holds(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (int i = 0; i < SIZE; i++)
        add_one(f);
    for (int i = 0; i < SIZE; i++)
        pop(f);
    ring_set_avail_idx(&f->ring, SIZE + 1);
    assert_broken(f, "DRV-RING-02");
}

static void drv_ring_03_head_beyond_the_queue(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_offer(&f->ring, SIZE);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-03");
}

static void drv_ring_04_next_beyond_the_queue(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 1, RING_NEXT, SIZE);
    offer_0(f);
    assert_broken(f, "DRV-RING-04");
}

static void drv_ring_04_next_beyond_the_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 1, RING_NEXT, 2);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 32, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-04");
}

/* DRV-RING-05 needs no check of its own: a chain of direct descriptors that is longer than the
 * queue has one of them twice. */
static void drv_ring_05_06_loop(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 1, RING_NEXT, 3);
    ring_set_descriptor(&f->ring, 3, DATA, 1, RING_NEXT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_06_loop_of_one(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, DATA, 0, RING_NEXT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_06_loop_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 1, RING_NEXT, 1);
    ring_set_table_entry(&f->ring, f->ring.tables, 1, DATA, 1, RING_NEXT, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 32, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_06_more_bytes_than_2_to_32(void **state)
{
    struct fixture *f = *state;
    struct ring_element e[65];

    for (unsigned i = 0; i < 65; i++)
        e[i] = out(0, (uint32_t)LOW_SIZE);
    begin(f, 128, false);
    ring_add(&f->ring, e, 63, RING_DIRECT);
    ring_publish(&f->ring);
    assert_int_equal(pop(f)->writable_bytes, 63 * LOW_SIZE);
    ring_add(&f->ring, e, 64, RING_DIRECT);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-06");
}

static void drv_ring_07_readable_after_writable(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1), in(DATA, 1)}, 2, RING_DIRECT);
    assert_broken(f, "DRV-RING-07");
}

static void drv_ring_07_also_when_of_length_0(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 0), in(DATA, 0)}, 2, RING_DIRECT);
    assert_broken(f, "DRV-RING-07");
}

static void drv_ind_09_readable_after_writable_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){in(DATA, 1), out(DATA, 1), in(DATA, 1)}, 3, RING_TABLE);
    assert_broken(f, "DRV-IND-09");
}

static void drv_ind_09_table_after_writable(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1), in(DATA, 1)}, 2, RING_MIXED);
    assert_broken(f, "DRV-IND-09");
}

static void drv_ring_08_buffer_in_flight_again(void **state)
{
    struct fixture *f = *state;
    int head;

    begin(f, SIZE, false);
    head = add_one(f);
    pop(f);
    ring_offer(&f->ring, (uint16_t)head);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-08");
}

static void check_outside(struct fixture *f, uint64_t address, uint32_t length)
{
    begin(f, SIZE, false);
    ring_set_descriptor(&f->ring, 0, address, length, RING_WRITE, 0);
    offer_0(f);
    assert_broken(f, "DRV-RING-09");
    virtqueue_stop(&f->queue);
    ring_destroy(&f->ring);
}

/* RING-17 */
static void drv_ring_09_buffer_outside_of_memory(void **state)
{
    struct fixture *f = *state;

    check_outside(f, LOW_SIZE, 1);
    check_outside(f, LOW_SIZE - 1, 2);
    check_outside(f, LOW_SIZE - 1, UINT32_MAX);
    check_outside(f, HIGH_AT - 1, 1);
    check_outside(f, HIGH_AT - 1, 2);
    check_outside(f, HIGH_AT + HIGH_SIZE - 16, 17);
    check_outside(f, UINT64_MAX, 1);
    check_outside(f, UINT64_MAX - 1, UINT32_MAX);
}

/* The same with the region remembered from a good buffer before. */
static void drv_ring_09_second_buffer_outside_of_memory(void **state)
{
    static const struct ring_element bad[] = {
        {LOW_SIZE - 1, 2, true},          {LOW_SIZE, 1, true},
        {LOW_SIZE - 1, UINT32_MAX, true}, {HIGH_AT - 1, 2, true},
        {HIGH_AT + HIGH_SIZE, 1, true},   {UINT64_MAX, 2, true},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        for (int high = 0; high < 2; high++) {
            begin(f, SIZE, false);
            add(f, (struct ring_element[]){out(high ? HIGH_AT : DATA, 16)}, 1, RING_DIRECT);
            pop(f);
            add(f, &bad[i], 1, RING_DIRECT);
            assert_broken(f, "DRV-RING-09");
            virtqueue_stop(&f->queue);
            ring_destroy(&f->ring);
        }
    }
}

static void ring_08_buffers_up_to_the_last_byte_of_memory(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){in(LOW_SIZE - 1, 1), in(HIGH_AT + HIGH_SIZE - 16, 16)}, 2,
        RING_DIRECT);
    assert_int_equal(pop(f)->readable_bytes, 17);
}

static void drv_ring_12_more_descriptors_than_we_take(void **state)
{
    struct fixture *f = *state;
    struct ring_element *e = calloc(VIRTQUEUE_CHAIN_MAX + 1, sizeof(*e));

    for (unsigned i = 0; i <= VIRTQUEUE_CHAIN_MAX; i++)
        e[i] = out(DATA + i, 1);
    begin(f, 4096, false);
    add(f, e, VIRTQUEUE_CHAIN_MAX, RING_DIRECT);
    assert_int_equal(pop(f)->writable_count, VIRTQUEUE_CHAIN_MAX);
    add(f, e, VIRTQUEUE_CHAIN_MAX + 1, RING_DIRECT);
    assert_broken(f, "DRV-RING-12");
    free(e);
}

static void drv_ind_01_not_negotiated(void **state)
{
    struct fixture *f = *state;

    features_set(&f->features, VIRTIO_F_INDIRECT_DESC, false);
    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1)}, 1, RING_TABLE);
    assert_broken(f, "DRV-IND-01");
}

static void drv_ind_02_table_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 16, RING_INDIRECT, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 16, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, "DRV-IND-02");
}

static void drv_ind_03_indirect_and_next(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 16, 0, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, 16, RING_INDIRECT | RING_NEXT, 1);
    offer_0(f);
    assert_broken(f, "DRV-IND-03");
}

static void check_table_length(struct fixture *f, uint32_t length, const char *rule)
{
    begin(f, SIZE, false);
    ring_set_table_entry(&f->ring, f->ring.tables, 0, DATA, 16, 0, 0);
    ring_set_descriptor(&f->ring, 0, f->ring.tables, length, RING_INDIRECT, 0);
    offer_0(f);
    assert_broken(f, rule);
    virtqueue_stop(&f->queue);
    ring_destroy(&f->ring);
}

static void drv_ind_05_table_length_is_no_multiple_of_16(void **state)
{
    check_table_length(*state, 0, "DRV-IND-05");
    check_table_length(*state, 15, "DRV-IND-05");
    check_table_length(*state, 17, "DRV-IND-05");
    check_table_length(*state, UINT32_MAX, "DRV-IND-05");
}

static void drv_ind_06_table_too_long_for_us(void **state)
{
    check_table_length(*state, 16 * (VIRTQUEUE_CHAIN_MAX + 1), "DRV-IND-06");
    check_table_length(*state, 0xfffffff0, "DRV-IND-06");
}

static void drv_ring_09_table_outside_of_memory(void **state)
{
    static const uint64_t bad[] = {LOW_SIZE - 16, LOW_SIZE, HIGH_AT - 16, HIGH_AT + HIGH_SIZE - 16,
                                   UINT64_MAX - 15};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        begin(f, SIZE, false);
        ring_set_descriptor(&f->ring, 0, bad[i], 32, RING_INDIRECT, 0);
        offer_0(f);
        assert_broken(f, "DRV-RING-09");
        virtqueue_stop(&f->queue);
        ring_destroy(&f->ring);
    }
}

/* Buffers taken before the ring broke are still given back. */
static void ring_17_broken_ring_completes_what_it_has(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;
    int head;

    begin(f, SIZE, false);
    head = add_one(f);
    b = pop(f);
    ring_offer(&f->ring, SIZE);
    ring_publish(&f->ring);
    assert_broken(f, "DRV-RING-03");
    use(f, b, 5);
    assert_used(f, head, 5);
    assert_int_equal(f->notified, 1);
}

/* Found while kicks are enabled: reported as news, so that the next pop tells. */
static void ring_17_broken_while_kicks_are_enabled(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    ring_set_avail_idx(&f->ring, SIZE + 1);
    assert_true(virtqueue_enable_kicks(&f->queue));
    assert_broken(f, "DRV-RING-01");
}

/* --- queue set-up ----------------------------------------------------------------------------- */

static void assert_start_fails(struct fixture *f, const char *rule)
{
    struct error err = ERROR_INIT;

    assert_int_equal(start_at(f, (struct virtqueue_position){0, 0}, &err), -EINVAL);
    assert_non_null(strstr(err.text, rule));
}

/* RING-02 */
static void drv_qcfg_01_size_is_no_power_of_two(void **state)
{
    struct fixture *f = *state;

    ring_init(&f->ring, &f->memory, RING_AT, 12, false);
    assert_start_fails(f, "DRV-QCFG-01");
}

/* RING-02 */
static void drv_qcfg_03_size_0_or_above_32768(void **state)
{
    struct fixture *f = *state;

    ring_init(&f->ring, &f->memory, RING_AT, SIZE, false);
    f->ring.size = 0;
    assert_start_fails(f, "DRV-QCFG-03");
    f->ring.size = 32769;
    assert_start_fails(f, "DRV-QCFG-03");
}

/* RING-01 */
static void drv_qcfg_04_misaligned(void **state)
{
    struct fixture *f = *state;
    struct ring good;

    ring_init(&f->ring, &f->memory, RING_AT, SIZE, false);
    good = f->ring;
    f->ring.desc += 8;
    assert_start_fails(f, "DRV-QCFG-04");
    f->ring = good;
    f->ring.avail += 1;
    assert_start_fails(f, "DRV-QCFG-04");
    f->ring = good;
    f->ring.used += 2;
    assert_start_fails(f, "DRV-QCFG-04");
    f->ring = good;
}

/* RING-01: and what just fits starts */
static void drv_qcfg_06_outside_of_memory(void **state)
{
    struct fixture *f = *state;
    struct ring good;

    ring_init(&f->ring, &f->memory, RING_AT, SIZE, false);
    good = f->ring;
    f->ring.desc = LOW_SIZE - 16 * SIZE + 16;
    assert_start_fails(f, "DRV-QCFG-06");
    f->ring = good;
    f->ring.avail = LOW_SIZE - (6 + 2 * SIZE) + 2;
    assert_start_fails(f, "DRV-QCFG-06");
    f->ring = good;
    f->ring.used = UINT64_MAX - 3;
    assert_start_fails(f, "DRV-QCFG-06");
    f->ring = good;
    f->ring.avail = HIGH_AT + HIGH_SIZE - (6 + 2 * SIZE); /* just fits */
    assert_int_equal(start_at(f, (struct virtqueue_position){0, 0}, NULL), 0);
}

static void drv_qcfg_17_areas_overlap(void **state)
{
    struct fixture *f = *state;
    struct ring good;

    ring_init(&f->ring, &f->memory, RING_AT, SIZE, false);
    good = f->ring;
    f->ring.avail = f->ring.desc + 16 * SIZE - 2;
    assert_start_fails(f, "DRV-QCFG-17");
    f->ring = good;
    f->ring.used = f->ring.avail + 4 + 2 * SIZE;
    assert_start_fails(f, "DRV-QCFG-17");
    f->ring = good;
    f->ring.used = f->ring.desc;
    assert_start_fails(f, "DRV-QCFG-17");
    f->ring = good;
    f->ring.desc = f->ring.avail = f->ring.used = 0; /* DRV-QCFG-07 */
    assert_start_fails(f, "DRV-QCFG-17");
    f->ring = good;
}

static void drv_qcfg_15_16_used_ring_is_not_cleared(void **state)
{
    struct fixture *f = *state;

    ring_init(&f->ring, &f->memory, RING_AT, SIZE, false);
    ring_set_used_idx(&f->ring, 5);
    assert_int_equal(start_at(f, (struct virtqueue_position){0, 0}, NULL), 0);
    assert_bent(f, "DRV-QCFG-15");
    virtqueue_stop(&f->queue);
    ring_set_used_idx(&f->ring, 0);
    store_le16(f->ring.used_host, 1);
    assert_int_equal(start_at(f, (struct virtqueue_position){0, 0}, NULL), 0);
    assert_bent(f, "DRV-QCFG-16");
    assert_int_equal(ring_used_flags(&f->ring), 0);
    virtqueue_stop(&f->queue);
    features_set(&f->features, VIRTIO_F_EVENT_IDX, true);
    store_le16(f->ring.used_host, 1);
    assert_int_equal(start_at(f, (struct virtqueue_position){0, 0}, NULL), 0);
    assert_int_equal(ring_used_flags(&f->ring), 0); /* EVT-04 */
}

/* --- host memory ------------------------------------------------------------------------------ */

#define LONG_TABLE DATA

/* Offer each head of the ring once, as a chain of `length` descriptors in a table all share, and
 * use it at once. */
static void use_every_head(struct fixture *f, uint16_t length)
{
    for (uint16_t i = 0; i < length; i++)
        ring_set_table_entry(&f->ring, LONG_TABLE, i, HIGH_AT, 1, i + 1 < length ? RING_NEXT : 0,
                             (uint16_t)(i + 1));
    for (uint32_t head = 0; head < f->ring.size; head++) {
        struct virtqueue_buffer *buffer;

        ring_set_descriptor(&f->ring, (uint16_t)head, LONG_TABLE, length * 16u, RING_INDIRECT, 0);
        ring_offer(&f->ring, (uint16_t)head);
        ring_publish(&f->ring);
        buffer = pop(f);
        assert_int_equal(buffer->id, head);
        assert_int_equal(buffer->readable_count, length);
        use(f, buffer, 0);
    }
}

static size_t kept_bytes(const struct virtqueue *queue)
{
    size_t iovecs = 0;

    for (unsigned i = 0; i < queue->size; i++) {
        assert_int_equal(!queue->buffers[i].readable, !queue->buffers[i].capacity);
        iovecs += queue->buffers[i].capacity;
    }
    return iovecs * sizeof(struct iovec);
}

/* A driver that sends the longest chains there can be through every head does not make the host
 * keep an array for each: 16 KiB a head would be 512 MiB a queue. */
static void long_chains_do_not_add_up(void **state)
{
    static const uint16_t sizes[] = {2, 64, 256, 4096, 32768};
    static const uint16_t lengths[] = {9, 100, VIRTQUEUE_CHAIN_MAX};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        /* What short chains need is kept whatever it takes. */
        size_t most = MAX(1 * MIB, sizes[i] * 8 * sizeof(struct iovec));

        begin(f, sizes[i], false);
        for (size_t j = 0; j < ARRAY_SIZE(lengths); j++) {
            use_every_head(f, lengths[j]);
            assert_true(kept_bytes(&f->queue) <= most);
        }
        use_every_head(f, 3); /* and it goes on */
        assert_true(kept_bytes(&f->queue) <= most);
        assert_null(f->queue.broken.id);
        virtqueue_stop(&f->queue);
        ring_destroy(&f->ring);
    }
}

/* Requests as most are do not allocate each time. */
static void short_chains_keep_their_arrays(void **state)
{
    struct fixture *f = *state;
    struct iovec *arrays[256];

    begin(f, ARRAY_SIZE(arrays), false);
    use_every_head(f, 8);
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
        arrays[i] = f->queue.buffers[i].readable;
        assert_non_null(arrays[i]);
    }
    use_every_head(f, 8);
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
        assert_ptr_equal(f->queue.buffers[i].readable, arrays[i]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        T(evt_01_flags_decide_without_event_idx),
        T(drv_ntf_01_avail_flags_other_than_0_or_1),
        T(evt_02_event_index_decides_and_flags_do_not),
        T(evt_10_event_index_in_a_batch),
        T(evt_03_used_flags_without_event_idx),
        T(evt_04_avail_event_with_event_idx),
        T(evt_05_kicks_without_work),
        T(evt_06_enabling_kicks_looks_again),
        T(evt_06_buffers_left_in_the_ring),
        T(drv_ring_01_index_goes_back),
        T(drv_ring_01_index_jumps_ahead),
        T(drv_ring_02_more_outstanding_than_the_ring_holds),
        T(drv_ring_03_head_beyond_the_queue),
        T(drv_ring_04_next_beyond_the_queue),
        T(drv_ring_04_next_beyond_the_table),
        T(drv_ring_05_06_loop),
        T(drv_ring_06_loop_of_one),
        T(drv_ring_06_loop_in_a_table),
        T(drv_ring_06_more_bytes_than_2_to_32),
        T(drv_ring_07_readable_after_writable),
        T(drv_ring_07_also_when_of_length_0),
        T(drv_ind_09_readable_after_writable_in_a_table),
        T(drv_ind_09_table_after_writable),
        T(drv_ring_08_buffer_in_flight_again),
        T(drv_ring_09_buffer_outside_of_memory),
        T(drv_ring_09_second_buffer_outside_of_memory),
        T(ring_08_buffers_up_to_the_last_byte_of_memory),
        T(drv_ring_12_more_descriptors_than_we_take),
        T(drv_ind_01_not_negotiated),
        T(drv_ind_02_table_in_a_table),
        T(drv_ind_03_indirect_and_next),
        T(drv_ind_05_table_length_is_no_multiple_of_16),
        T(drv_ind_06_table_too_long_for_us),
        T(drv_ring_09_table_outside_of_memory),
        T(ring_17_broken_ring_completes_what_it_has),
        T(ring_17_broken_while_kicks_are_enabled),
        T(drv_qcfg_01_size_is_no_power_of_two),
        T(drv_qcfg_03_size_0_or_above_32768),
        T(drv_qcfg_04_misaligned),
        T(drv_qcfg_06_outside_of_memory),
        T(drv_qcfg_17_areas_overlap),
        T(drv_qcfg_15_16_used_ring_is_not_cleared),
        T(long_chains_do_not_add_up),
        T(short_chains_keep_their_arrays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
