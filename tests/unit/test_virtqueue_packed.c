/*
 * The packed virtqueue: what a driver may do, against the driver of tests/driver/packed_ring.h.
 * The rows of tests/CONFORMANCE.md a test stands for are in its name, in lower case.
 */
#include "tests/unit/packed_ring_fixture.h"

/* --- valid rings ------------------------------------------------------------------------------ */

/* Readable and writable parts, in both ways to describe them. */
static void check_parts(struct fixture *f, enum ring_style style)
{
    const struct ring_element e[] = {in(DATA, 16), in(DATA + 0x1000, 512), out(HIGH_AT, 1024),
                                     out(DATA + 0x3000, 1)};
    int id = add(f, e, 4, style);
    struct virtqueue_buffer *b = pop(f);

    assert_int_equal(b->id, id);
    assert_int_equal(b->slots, style == RING_DIRECT ? 4 : 1);
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
    assert_used(f, id, 1025);
    assert_bent(f, NULL);
}

/* PACK-09, PACK-11: the driver writes a wrong id into all but the last descriptor. DRV-PACK-12 */
static void pack_09_11_list(void **state)
{
    begin(*state, SIZE, false);
    check_parts(*state, RING_DIRECT);
}

static void ind_04_05_table(void **state)
{
    begin(*state, SIZE, false);
    check_parts(*state, RING_TABLE);
}

/* One descriptor goes a shorter way. */
static void pack_02_single_descriptors(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    for (int high = 0; high < 2; high++) {
        uint64_t at = high ? HIGH_AT : DATA;
        int id = add(f, (struct ring_element[]){in(at, 5)}, 1, RING_DIRECT);

        b = pop(f);
        assert_int_equal(b->readable_count, 1);
        assert_int_equal(b->readable_bytes, 5);
        assert_ptr_equal(b->readable[0].iov_base, host(f, at, 5));
        assert_int_equal(b->readable[0].iov_len, 5);
        assert_int_equal(b->writable_count + b->writable_bytes, 0);
        use(f, b, 9);
        assert_used(f, id, 0);
        id = add(f, (struct ring_element[]){out(at + 1, 7)}, 1, RING_DIRECT);
        b = pop(f);
        assert_int_equal(b->writable_count, 1);
        assert_int_equal(b->writable_bytes, 7);
        assert_ptr_equal(b->writable[0].iov_base, host(f, at + 1, 7));
        assert_int_equal(b->writable[0].iov_len, 7);
        assert_int_equal(b->readable_count + b->readable_bytes, 0);
        use(f, b, 9);
        assert_used(f, id, 7);
    }
}

/* PACK-02, PACK-04, PACK-12: byte by byte what a used descriptor is, in both rounds. */
static void pack_02_04_12_used_descriptor(void **state)
{
    static const uint8_t first[8] = {0x34, 0, 0, 0, 0xcd, 0xab, 0x82, 0x80},
                         second[8] = {0, 0, 0, 0, 0xcd, 0xab, 0, 0};
    struct fixture *f = *state;
    const struct ring_element e = out(DATA, 0x34);

    begin(f, 1, false);
    packed_ring_add_as(&f->packed, &e, 1, RING_DIRECT, 0xabcd);
    packed_ring_publish(&f->packed);
    use(f, pop(f), 0x34);
    assert_memory_equal(f->packed.desc_host + 8, first, 8);
    assert_used(f, 0xabcd, 0x34);
    packed_ring_add_as(&f->packed, &e, 1, RING_DIRECT, 0xabcd);
    packed_ring_publish(&f->packed);
    use(f, pop(f), 0);
    assert_memory_equal(f->packed.desc_host + 8, second, 8);
    assert_used(f, 0xabcd, 0);
}

/* What looks available in a round does not in the next. */
static void pack_03_04_wrap_counter_flips_at_the_end(void **state)
{
    static const uint16_t sizes[] = {1, 2, 3, 5, 7, SIZE};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        begin(f, sizes[i], false);
        for (unsigned n = 0; n < 5u * sizes[i]; n++) {
            unsigned slot = n % sizes[i];
            bool wrap = n / sizes[i] % 2 == 0;
            int id = add_one(f);

            use(f, pop(f), 1);
            assert_int_equal(packed_ring_descriptor(&f->packed, (uint16_t)slot).flags,
                             packed_ring_done(wrap) | RING_WRITE);
            assert_empty(f);
            assert_used(f, id, 1);
        }
        end(f);
    }
}

/* PACK-05, DRV-PACK-10: all is there but the flags of the first descriptor. */
static void pack_05_nothing_before_the_first_flags(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e[] = {in(DATA, 1), out(DATA, 2)};

    begin(f, SIZE, false);
    packed_ring_add(&f->packed, e, 2, RING_DIRECT);
    packed_ring_add(&f->packed, e, 1, RING_DIRECT);
    assert_empty(f);
    packed_ring_publish(&f->packed);
    assert_int_equal(pop(f)->slots, 2);
    assert_int_equal(pop(f)->slots, 1);
    assert_empty(f);
}

static void pack_06_used_slots_are_let_alone(void **state)
{
    const struct packed_ring_descriptor mine = {1, 2, 3, 0x5a00 & ~PACKED_RING_USED};
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (int i = 0; i < 3; i++)
        add_one(f);
    for (int i = 0; i < 3; i++)
        use(f, pop(f), 1);
    for (int i = 0; i < 3; i++)
        packed_ring_set_descriptor(&f->packed, (uint16_t)i, mine);
    virtqueue_disable_kicks(&f->queue);
    assert_empty(f);
    virtqueue_publish(&f->queue);
    virtqueue_enable_kicks(&f->queue);
    virtqueue_stop(&f->queue);
    for (int i = 0; i < 3; i++)
        assert_slot(f, (uint16_t)i, mine);
}

static void pack_07_readable_parts_are_not_written(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    memcpy(host(f, DATA, 4), "abcd", 4);
    add(f, (struct ring_element[]){in(DATA, 4), out(DATA + 100, 4)}, 2, RING_DIRECT);
    b = pop(f);
    assert_int_equal(virtqueue_write(b, 0, "01234567", 8), 4);
    assert_memory_equal(host(f, DATA, 4), "abcd", 4);
    assert_memory_equal(host(f, DATA + 100, 4), "0123", 4);
    use(f, b, 4);
    add(f, (struct ring_element[]){in(DATA, 4)}, 1, RING_DIRECT); /* the short way */
    assert_int_equal(virtqueue_write(pop(f), 0, "0123", 4), 0);
    assert_memory_equal(host(f, DATA, 4), "abcd", 4);
}

/* Used in the order of completion, wherever in the ring they came from; each in the first slot that
 * is free for it, and as many skipped as it had. */
static void pack_08_10_completion_out_of_order(void **state)
{
    static const unsigned lengths[] = {2, 1, 3, 1};
    static const int order[] = {2, 0, 3, 1};
    static const uint16_t slots[] = {0, 3, 5, 6};
    struct fixture *f = *state;
    struct virtqueue_buffer *b[4];
    int id[4];

    begin(f, SIZE, false);
    for (int i = 0; i < 4; i++)
        id[i] = add_list(f, lengths[i]);
    for (int i = 0; i < 4; i++)
        b[i] = pop(f);
    for (int i = 0; i < 4; i++) {
        use(f, b[order[i]], (uint32_t)i + 1);
        assert_int_equal(packed_ring_descriptor(&f->packed, slots[i]).id, id[order[i]]);
        assert_int_equal(packed_ring_descriptor(&f->packed, slots[i]).flags,
                         packed_ring_done(true) | RING_WRITE);
    }
    for (int i = 0; i < 4; i++)
        assert_used(f, id[order[i]], (uint32_t)i + 1);
}

static void pack_10_skipped_slots_are_not_written(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add_list(f, 3);
    use(f, pop(f), 5);
    assert_slot(
        f, 1,
        (struct packed_ring_descriptor){DATA + 64, 64, (uint16_t)~0u,
                                        packed_ring_available(true) | RING_WRITE | RING_NEXT});
    assert_slot(f, 2,
                (struct packed_ring_descriptor){DATA + 128, 64, 0,
                                                packed_ring_available(true) | RING_WRITE});
}

/* PACK-13, PACK-14 */
static void pack_13_nothing_is_visible_before_publish(void **state)
{
    struct fixture *f = *state;
    struct packed_used used;

    begin(f, SIZE, false);
    for (int i = 0; i < 3; i++)
        add_one(f);
    for (int i = 0; i < 3; i++)
        virtqueue_push(&f->queue, pop(f), 1);
    assert_false(packed_ring_collect(&f->packed, &used));
    assert_int_equal(packed_ring_descriptor(&f->packed, 2).flags,
                     packed_ring_done(true) | RING_WRITE);
    assert_int_equal(f->notified, 0);
    virtqueue_publish(&f->queue);
    for (int i = 0; i < 3; i++)
        assert_true(packed_ring_collect(&f->packed, &used));
    assert_int_equal(f->notified, 1);
    virtqueue_publish(&f->queue);
    assert_int_equal(f->notified, 1);
}

static void ring_10_length_is_never_more_than_the_writable_part(void **state)
{
    struct fixture *f = *state;
    int id;

    begin(f, SIZE, false);
    id = add(f, (struct ring_element[]){in(DATA, 16), out(DATA, 100)}, 2, RING_DIRECT);
    use(f, pop(f), 5000);
    assert_used(f, id, 100);
    id = add(f, (struct ring_element[]){in(DATA, 16)}, 1, RING_DIRECT);
    use(f, pop(f), 16);
    assert_used(f, id, 0);
}

/* PACK-01: any size, and lists as long as the ring. */
static void pack_01_lists_of_all_lengths_in_rings_of_all_sizes(void **state)
{
    struct fixture *f = *state;

    for (uint16_t size = 1; size <= SIZE; size++) {
        begin(f, size, true);
        for (unsigned n = 0; n < 20u * size; n++) {
            int id = add_list(f, 1 + n % size);

            use(f, pop(f), n % 64);
            assert_used(f, id, n % 64);
        }
        assert_bent(f, NULL);
        end(f);
    }
}

static void pack_01_ring_of_32768(void **state)
{
    struct fixture *f = *state;

    begin(f, 32768, true);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 32768; i++)
            assert_true(packed_ring_add(&f->packed, (struct ring_element[]){out(DATA, 64)}, 1,
                                        RING_DIRECT) >= 0);
        packed_ring_publish(&f->packed);
        f->notified = 0;
        for (int i = 0; i < 32768; i++)
            virtqueue_push(&f->queue, pop(f), 64);
        assert_empty(f);
        virtqueue_publish(&f->queue);
        assert_int_equal(f->notified, 1);
        for (int i = 0; i < 32768; i++)
            assert_true(packed_ring_collect(&f->packed, &(struct packed_used){0}));
        packed_ring_enable_interrupts(&f->packed);
    }
    assert_null(f->queue.broken.id);
}

static void pack_11_any_id(void **state)
{
    static const uint16_t ids[] = {0, 7, 8, 0x7fff, 0x8000, 0xffff};
    struct fixture *f = *state;
    struct virtqueue_buffer *b[ARRAY_SIZE(ids)];

    begin(f, SIZE, false);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
            assert_int_equal(packed_ring_add_as(&f->packed, (struct ring_element[]){out(DATA, 1)},
                                                1, RING_DIRECT, ids[i]),
                             ids[i]);
        packed_ring_publish(&f->packed);
        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
            b[i] = pop(f);
            assert_int_equal(b[i]->id, ids[i]);
        }
        for (size_t i = ARRAY_SIZE(ids); i-- > 0;)
            use(f, b[i], 1);
        for (size_t i = ARRAY_SIZE(ids); i-- > 0;)
            assert_used(f, ids[i], 1);
    }
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
    assert_int_equal(b->slots, 6);
    assert_bent(f, NULL);
}

/* Wherever it points, and also when the region of a buffer before it is remembered. */
static void drv_ring_13_an_empty_buffer_is_let_pass(void **state)
{
    static const uint64_t addresses[] = {0, DATA, LOW_SIZE - 1, LOW_SIZE, UINT64_MAX};
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (size_t i = 0; i < 2 * ARRAY_SIZE(addresses); i++) {
        uint64_t address = addresses[i % ARRAY_SIZE(addresses)];
        int id = add(f, (struct ring_element[]){{address, 0, i % 2}}, 1, RING_DIRECT);
        struct virtqueue_buffer *b = pop(f);

        assert_int_equal(b->readable_count + b->writable_count, 0);
        assert_int_equal(b->readable_bytes + b->writable_bytes, 0);
        assert_bent(f, "DRV-RING-13");
        f->queue.bent = (struct virtqueue_rule){0};
        use(f, b, 0);
        assert_used(f, id, 0);
        id = add_one(f);
        use(f, pop(f), 1);
        assert_used(f, id, 1);
    }
}

/* DRV-PACK-01, DRV-PACK-02: what the driver writes after pop changes nothing. */
static void drv_pack_01_02_descriptors_are_copied(void **state)
{
    const struct packed_ring_descriptor bad = {UINT64_MAX, UINT32_MAX, 0xffff, 0xffff};
    struct fixture *f = *state;
    struct virtqueue_buffer *b;
    int id;

    begin(f, SIZE, false);
    id = add(f, (struct ring_element[]){in(DATA, 16), out(DATA + 64, 32)}, 2, RING_DIRECT);
    b = pop(f);
    for (uint16_t i = 0; i < SIZE; i++)
        packed_ring_set_descriptor(&f->packed, i, bad);
    assert_ptr_equal(b->readable[0].iov_base, host(f, DATA, 16));
    assert_ptr_equal(b->writable[0].iov_base, host(f, DATA + 64, 32));
    assert_int_equal(b->writable_bytes, 32);
    use(f, b, 32);
    assert_used(f, id, 32);
    assert_int_equal(f->packed.used.slot, 2);
}

static void ind_05_write_flag_of_the_indirect_descriptor_is_ignored(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    set_entry(f, 0, DATA, 10, 0);
    set(f, 0, f->packed.tables, 16, RING_INDIRECT | RING_WRITE);
    assert_int_equal(pop(f)->readable_bytes, 10);
    assert_bent(f, NULL);
}

/* IND-04, DRV-IND-07, DRV-IND-02: what else is in an entry's flags does not count. */
static void ind_04_other_flags_in_a_table_are_ignored(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    set_entry(f, 0, DATA, 10, RING_NEXT | PACKED_RING_AVAIL);
    set_entry(f, 1, DATA, 20, RING_WRITE | PACKED_RING_USED);
    set(f, 0, f->packed.tables, 32, RING_INDIRECT);
    b = pop(f);
    assert_int_equal(b->readable_bytes, 10);
    assert_int_equal(b->writable_bytes, 20);
    assert_bent(f, "DRV-IND-07");
    set_entry(f, 0, DATA, 16, RING_INDIRECT);
    packed_ring_set_descriptor(
        &f->packed, 1,
        (struct packed_ring_descriptor){f->packed.tables, 16, 1,
                                        RING_INDIRECT | packed_ring_available(true)});
    assert_int_equal(pop(f)->readable_bytes, 16);
    assert_bent(f, "DRV-IND-02");
}

static void drv_ind_06_a_long_table_is_let_pass(void **state)
{
    struct fixture *f = *state;
    struct ring_element e[64];

    for (unsigned i = 0; i < 64; i++)
        e[i] = out(DATA + 8 * i, 8);
    begin(f, 3, false);
    add(f, e, 64, RING_TABLE);
    assert_int_equal(pop(f)->writable_count, 64);
    assert_bent(f, "DRV-IND-06");
}

/* --- unpop, budget, positions ----------------------------------------------------------------- */

/* Taken back across the end of the ring, and handed out again as they were. */
static void unpop_takes_back_the_last_ones(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b[3];
    int id[3];

    for (uint16_t slot = 0; slot < SIZE; slot++) {
        begin_at(f, SIZE, true, (struct packed_place){slot, slot % 2});
        for (unsigned i = 0; i < 3; i++)
            id[i] = add_list(f, i + 1);
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 3; i++) {
                b[i] = pop(f);
                assert_int_equal(b[i]->id, id[i]);
                assert_int_equal(b[i]->writable_bytes, 64 * (i + 1));
            }
            assert_empty(f);
            for (int i = 3; i-- > 0;)
                virtqueue_unpop(&f->queue, b[i]);
        }
        use(f, pop(f), 3);
        assert_used(f, id[0], 3);
        assert_bent(f, NULL);
        end(f);
    }
}

/* A buffer that is taken back after the ring broke is not handed out again. */
static void unpop_after_the_ring_broke(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    add_one(f);
    set(f, 1, UINT64_MAX, 1, 0);
    b = pop(f);
    assert_broken(f, "DRV-RING-09");
    virtqueue_unpop(&f->queue, b);
    assert_broken(f, "DRV-RING-09");
}

static void budget_feigns_an_empty_ring(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;

    begin(f, SIZE, false);
    for (int i = 0; i < 3; i++)
        add_one(f);
    virtqueue_set_budget(&f->queue, 2);
    pop(f);
    virtqueue_unpop(&f->queue, pop(f));
    assert_false(virtqueue_budget_spent(&f->queue));
    pop(f);
    assert_true(virtqueue_budget_spent(&f->queue));
    assert_empty(f);
    virtqueue_set_budget(&f->queue, UINT64_MAX);
    assert_false(virtqueue_budget_spent(&f->queue));
    b = pop(f);
    assert_empty(f);
    virtqueue_set_budget(&f->queue, UINT64_MAX);
    virtqueue_unpop(&f->queue, b); /* no more than unlimited */
    pop(f);
}

static void position_is_where_the_ring_stood(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_position position;
    int id;

    begin(f, 5, true);
    for (int i = 0; i < 8; i++) {
        id = add_one(f);
        use(f, pop(f), 1);
        assert_used(f, id, 1);
    }
    add_one(f);
    id = add_one(f);
    use(f, pop(f), 1);
    position = virtqueue_stop(&f->queue);
    assert_int_equal(position.avail, 4); /* second round: wrap counter 0 */
    assert_int_equal(position.used, 4);
    assert_empty(f); /* a stopped queue is */
    virtqueue_publish(&f->queue);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(start_at(f, position, NULL), 0);
    assert_bent(f, NULL);
    assert_int_equal(pop(f)->id, id);
    assert_int_equal(virtqueue_stop(&f->queue).avail, FIRST);
}

/* The driver has not seen what was pushed: the queue stands before it. */
static void position_is_before_what_was_not_published(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_position position;

    for (uint16_t slot = 0; slot < SIZE; slot++) {
        const struct packed_place start = {slot, slot % 2};

        begin_at(f, SIZE, false, start);
        add_list(f, 3);
        add_list(f, 4);
        virtqueue_push(&f->queue, pop(f), 1);
        virtqueue_push(&f->queue, pop(f), 1);
        position = virtqueue_stop(&f->queue);
        assert_int_equal(position.used, position_of(start));
        assert_int_equal(position.avail, position_of(packed_ring_after(&f->packed, start, 7)));
        packed_ring_destroy(&f->packed);
    }
}

static void position_that_cannot_be(void **state)
{
    static const struct virtqueue_position bad[] = {
        {FIRST | SIZE, FIRST},  {FIRST, FIRST | SIZE},
        {0x7fff, 0x7fff},       {1, FIRST},
        {FIRST | 3, FIRST | 4}, {0, 1},
        {FIRST | 1, 0},
    };
    struct fixture *f = *state;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(start_at(f, bad[i], NULL), -EINVAL);
    assert_int_equal(start_at(f, (struct virtqueue_position){0, FIRST}, NULL), 0);
    set(f, 0, DATA, 1, 0); /* the whole ring is in flight: no room for this */
    packed_ring_set_descriptor(
        &f->packed, 0, (struct packed_ring_descriptor){DATA, 1, 0, packed_ring_available(false)});
    assert_broken(f, "DRV-PACK-08");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(pack_09_11_list),
        T(ind_04_05_table),
        T(pack_02_single_descriptors),
        T(pack_02_04_12_used_descriptor),
        T(pack_03_04_wrap_counter_flips_at_the_end),
        T(pack_05_nothing_before_the_first_flags),
        T(pack_06_used_slots_are_let_alone),
        T(pack_07_readable_parts_are_not_written),
        T(pack_08_10_completion_out_of_order),
        T(pack_10_skipped_slots_are_not_written),
        T(pack_13_nothing_is_visible_before_publish),
        T(ring_10_length_is_never_more_than_the_writable_part),
        T(pack_01_lists_of_all_lengths_in_rings_of_all_sizes),
        T(pack_01_ring_of_32768),
        T(pack_11_any_id),
        T(ring_16_zero_length_descriptors_are_skipped),
        T(drv_ring_13_an_empty_buffer_is_let_pass),
        T(drv_pack_01_02_descriptors_are_copied),
        T(ind_05_write_flag_of_the_indirect_descriptor_is_ignored),
        T(ind_04_other_flags_in_a_table_are_ignored),
        T(drv_ind_06_a_long_table_is_let_pass),
        T(unpop_takes_back_the_last_ones),
        T(unpop_after_the_ring_broke),
        T(budget_feigns_an_empty_ring),
        T(position_is_where_the_ring_stood),
        T(position_is_before_what_was_not_published),
        T(position_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
