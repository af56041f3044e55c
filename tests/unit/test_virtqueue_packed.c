/*
 * The packed virtqueue against the driver of tests/driver/packed_ring.h. The rows of
 * tests/conformance/rows.txt a test stands for are in its name: pack_06 is PACK-06, drv_pack_06 is
 * DRV-PACK-06.
 */
#include "tests/unit/queue_fixture.h"

#define SIZE  8
#define FIRST 0x8000 /* where a fresh ring stands: slot 0, wrap counter 1 */

static int setup(void **state)
{
    struct fixture *f = fixture_create();

    features_set(&f->features, VIRTIO_F_RING_PACKED, true);
    *state = f;
    return 0;
}

static int start_at(struct fixture *f, struct virtqueue_position position, struct error *err)
{
    const struct packed_ring *r = &f->packed;

    return start_queue(f, r->size, r->desc, r->driver_event, r->device_event, position, err);
}

static uint16_t position_of(struct packed_place place)
{
    return (uint16_t)(place.slot | place.wrap << 15);
}

/* A fresh ring on both sides. */
static void begin_at(struct fixture *f, uint16_t size, bool event_idx, struct packed_place place)
{
    features_set(&f->features, VIRTIO_F_EVENT_IDX, event_idx);
    packed_ring_init_at(&f->packed, &f->memory, RING_AT, size, event_idx, place);
    assert_int_equal(
        start_at(f, (struct virtqueue_position){position_of(place), position_of(place)}, NULL), 0);
}

static void begin(struct fixture *f, uint16_t size, bool event_idx)
{
    begin_at(f, size, event_idx, (struct packed_place){0, true});
}

static int add(struct fixture *f, const struct ring_element *e, unsigned count,
               enum ring_style style)
{
    int id = packed_ring_add(&f->packed, e, count, style);

    assert_true(id >= 0);
    packed_ring_publish(&f->packed);
    return id;
}

static int add_one(struct fixture *f)
{
    return add(f, (struct ring_element[]){out(DATA, 64)}, 1, RING_DIRECT);
}

/* A list of `count` descriptors. */
static int add_list(struct fixture *f, unsigned count)
{
    struct ring_element e[SIZE];

    for (unsigned i = 0; i < count; i++)
        e[i] = out(DATA + 64 * i, 64);
    return add(f, e, count, RING_DIRECT);
}

static void assert_used(struct fixture *f, int id, uint32_t length)
{
    struct packed_used used;

    assert_true(packed_ring_collect(&f->packed, &used));
    assert_int_equal(used.id, id);
    assert_int_equal(used.written, length > 0);
    if (length > 0)
        assert_int_equal(used.length, length);
}

/* Write a slot, its turn bits those of the first round, available. */
static void set(struct fixture *f, uint16_t slot, uint64_t address, uint32_t length, uint16_t flags)
{
    packed_ring_set_descriptor(
        &f->packed, slot,
        (struct packed_ring_descriptor){address, length, 0, flags | packed_ring_available(true)});
}

static void set_entry(struct fixture *f, uint16_t i, uint64_t address, uint32_t length,
                      uint16_t flags)
{
    packed_ring_set_table_entry(&f->packed, f->packed.tables, i,
                                (struct packed_ring_descriptor){address, length, 0xffff, flags});
}

static void assert_slot(struct fixture *f, uint16_t slot, struct packed_ring_descriptor expected)
{
    struct packed_ring_descriptor d = packed_ring_descriptor(&f->packed, slot);

    assert_int_equal(d.address, expected.address);
    assert_int_equal(d.length, expected.length);
    assert_int_equal(d.id, expected.id);
    assert_int_equal(d.flags, expected.flags);
}

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
        assert_true(packed_ring_collect(&f->packed, &(struct packed_used){0}));
    return f->notified != before;
}

static void evt_07_flags_decide_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    assert_true(notified_after(f, 1));
    assert_true(notified_after(f, 3));
    packed_ring_disable_interrupts(&f->packed);
    assert_false(notified_after(f, 1));
    packed_ring_set_event(&f->packed, FIRST | 6, PACKED_RING_EVENT_DISABLE); /* means nothing */
    assert_false(notified_after(f, 2));
    packed_ring_enable_interrupts(&f->packed);
    assert_true(notified_after(f, 1));
    assert_bent(f, NULL);
}

/* ENABLE and DISABLE are what they are also with EVENT_IDX. */
static void evt_08_flags_decide_with_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    packed_ring_set_event(&f->packed, 0x7fff, PACKED_RING_EVENT_ENABLE);
    assert_true(notified_after(f, 1));
    packed_ring_set_event(&f->packed, FIRST | 1, PACKED_RING_EVENT_DISABLE);
    assert_false(notified_after(f, 1));
    assert_bent(f, NULL);
}

/* EVT-08, EVT-10, EVT-11: a place before, in and behind a batch, whatever place it begins at. */
static void check_event_places(struct fixture *f, uint16_t size, uint16_t slot, bool wrap)
{
    for (unsigned n = 1; n <= size; n++) {
        for (unsigned event = 0; event < 2u * size; event++) {
            const struct packed_place start = {slot, wrap};
            struct packed_place place;

            begin_at(f, size, true, start);
            place = packed_ring_after(&f->packed, start, event);
            packed_ring_set_event(&f->packed, position_of(place), PACKED_RING_EVENT_DESC);
            assert_int_equal(notified_after(f, n), event < n);
            assert_bent(f, NULL);
            end(f);
        }
    }
}

static void evt_10_11_event_place_in_a_batch(void **state)
{
    for (uint16_t size = 1; size <= 5; size++)
        for (uint16_t slot = 0; slot < size; slot++)
            for (int wrap = 0; wrap < 2; wrap++)
                check_event_places(*state, size, slot, wrap);
}

static void evt_11_event_place_in_a_ring_of_32768(void **state)
{
    static const uint16_t slots[] = {0, 1, 16384, 32767};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        for (int event = -1; event <= 3; event++) {
            const struct packed_place start = {slots[i], i % 2};
            struct packed_place place;

            begin_at(f, 32768, true, start);
            place = packed_ring_after(&f->packed, start, (uint32_t)(event + 65536) % 65536);
            packed_ring_set_event(&f->packed, position_of(place), PACKED_RING_EVENT_DESC);
            assert_int_equal(notified_after(f, 3), event >= 0 && event < 3);
            end(f);
        }
    }
}

/* A place in the middle of a list that was used. */
static void evt_11_event_place_in_skipped_slots(void **state)
{
    struct fixture *f = *state;

    for (unsigned event = 0; event < SIZE; event++) {
        begin(f, SIZE, true);
        packed_ring_set_event(&f->packed, (uint16_t)(FIRST | event), PACKED_RING_EVENT_DESC);
        add_list(f, 2);
        add_list(f, 3);
        virtqueue_push(&f->queue, pop(f), 0);
        use(f, pop(f), 0);
        assert_int_equal(f->notified, event < 5);
        f->notified = 0;
        end(f);
    }
}

static void drv_pack_09_event_flags_that_may_not_be(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    packed_ring_set_event(&f->packed, FIRST | 7, 3);
    assert_true(notified_after(f, 1));
    assert_bent(f, "DRV-PACK-09");
    end(f);
    f->queue.bent = (struct virtqueue_rule){0};
    begin(f, SIZE, true);
    packed_ring_set_event(&f->packed, FIRST | SIZE, PACKED_RING_EVENT_DESC);
    notified_after(f, 1);
    assert_bent(f, "DRV-PACK-09");
    end(f);
    begin(f, SIZE, false);
    packed_ring_set_event(&f->packed, 0, PACKED_RING_EVENT_DESC);
    assert_true(notified_after(f, 1));
    assert_bent(f, "DRV-PACK-09");
}

/* EVT-09: the device writes its own event structure and never the driver's. */
static void evt_09_kicks_without_event_idx(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    packed_ring_set_event(&f->packed, 0x1234, PACKED_RING_EVENT_DISABLE);
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_ENABLE);
    virtqueue_disable_kicks(&f->queue);
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_DISABLE);
    virtqueue_disable_kicks(&f->queue);
    add_one(f);
    assert_false(packed_ring_wants_kick(&f->packed));
    use(f, pop(f), 0);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_ENABLE);
    assert_int_equal(packed_ring_event_place(&f->packed), 0);
    add_one(f);
    assert_true(packed_ring_wants_kick(&f->packed));
    assert_int_equal(load_le32(f->packed.driver_event_host), 0x11234);
}

static void evt_07_09_kicks_with_event_idx(void **state)
{
    struct fixture *f = *state;

    begin_at(f, 3, true, (struct packed_place){2, true});
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_DESC);
    assert_int_equal(packed_ring_event_place(&f->packed), FIRST | 2);
    add_one(f);
    assert_true(packed_ring_wants_kick(&f->packed));
    virtqueue_disable_kicks(&f->queue);
    add_one(f);
    assert_false(packed_ring_wants_kick(&f->packed));
    pop(f);
    pop(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(packed_ring_event_place(&f->packed), 1); /* the next round: wrap counter 0 */
    assert_int_equal(packed_ring_event_flags(&f->packed), PACKED_RING_EVENT_DESC);
    add_one(f);
    assert_true(packed_ring_wants_kick(&f->packed));
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

static void evt_06_enabling_kicks_looks_again(void **state)
{
    struct fixture *f = *state;

    for (int event_idx = 0; event_idx < 2; event_idx++) {
        begin(f, SIZE, event_idx);
        virtqueue_disable_kicks(&f->queue);
        assert_empty(f);
        add_list(f, 2); /* comes in between; no kick */
        assert_true(virtqueue_enable_kicks(&f->queue));
        pop(f);
        assert_false(virtqueue_enable_kicks(&f->queue));
        end(f);
    }
}

/* A device that takes buffers when it needs them still hears of each new one, and is not told again
 * and again of those it left. */
static void evt_06_buffers_left_in_the_ring(void **state)
{
    struct fixture *f = *state;

    for (uint16_t slot = 0; slot < SIZE; slot++) {
        begin_at(f, SIZE, true, (struct packed_place){slot, slot % 2});
        for (int i = 0; i < 3; i++)
            add_list(f, 2);
        packed_ring_wants_kick(&f->packed);
        pop(f);
        assert_true(virtqueue_enable_kicks(&f->queue));
        assert_false(virtqueue_enable_kicks(&f->queue));
        add_one(f);
        assert_true(packed_ring_wants_kick(&f->packed));
        assert_true(virtqueue_enable_kicks(&f->queue));
        virtqueue_unpop(&f->queue, pop(f));
        assert_false(virtqueue_enable_kicks(&f->queue));
        add_one(f); /* the ring is full now */
        assert_true(packed_ring_wants_kick(&f->packed));
        assert_true(virtqueue_enable_kicks(&f->queue));
        assert_false(virtqueue_enable_kicks(&f->queue));
        for (int i = 0; i < 4; i++)
            use(f, pop(f), 0);
        assert_empty(f);
        end(f);
    }
}

/* --- broken rings ----------------------------------------------------------------------------- */

static void drv_pack_03_list_longer_than_the_ring(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, false);
    for (uint16_t i = 0; i < 3; i++)
        set(f, i, DATA, 1, RING_NEXT);
    assert_broken(f, "DRV-PACK-03");
    end(f);
    begin(f, 1, false);
    set(f, 0, DATA, 0, RING_NEXT);
    assert_broken(f, "DRV-PACK-03");
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

static void drv_pack_04_readable_after_writable(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1), in(DATA, 1)}, 2, RING_DIRECT);
    assert_broken(f, "DRV-PACK-04");
}

static void drv_pack_05_list_goes_on_in_a_slot_not_available(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    set(f, 0, DATA, 1, RING_NEXT);
    assert_broken(f, "DRV-PACK-05");
}

/* DRV-PACK-06, DRV-PACK-12: every other pair of turn bits, in the first slot and in the middle. */
static void drv_pack_06_12_wrong_turn_bits(void **state)
{
    static const uint16_t bad[] = {0, PACKED_RING_AVAIL | PACKED_RING_USED, PACKED_RING_USED};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        begin(f, SIZE, false);
        packed_ring_set_descriptor(&f->packed, 0,
                                   (struct packed_ring_descriptor){DATA, 1, 0, bad[i]});
        assert_empty(f);
        set(f, 0, DATA, 1, RING_NEXT);
        packed_ring_set_descriptor(&f->packed, 1,
                                   (struct packed_ring_descriptor){DATA, 1, 0, bad[i] | RING_NEXT});
        set(f, 2, DATA, 1, 0);
        assert_broken(f, "DRV-PACK-05");
        end(f);
    }
}

/* The wrap counter flips within a list: bits as in the round before are wrong behind the end. */
static void drv_pack_06_stale_wrap_behind_the_end(void **state)
{
    struct fixture *f = *state;

    begin_at(f, 3, false, (struct packed_place){2, true});
    set(f, 0, DATA, 1, 0);
    set(f, 2, DATA, 1, RING_NEXT);
    assert_broken(f, "DRV-PACK-05");
}

static void drv_pack_07_id_in_use(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add_one(f);
    pop(f);
    set(f, 1, DATA, 1, 0);
    assert_broken(f, "DRV-PACK-07");
    end(f);
    begin(f, SIZE, false);
    set(f, 0, DATA, 1, RING_NEXT); /* the same for a list */
    set(f, 1, DATA, 1, 0);
    set(f, 2, DATA, 1, RING_NEXT);
    set(f, 3, DATA, 1, 0);
    pop(f);
    assert_broken(f, "DRV-PACK-07");
}

/* DRV-PACK-08: slots of buffers in flight, and of those used that the driver cannot know of. */
static void drv_pack_08_slots_not_used_yet(void **state)
{
    struct fixture *f = *state;

    for (int push = 0; push < 2; push++) {
        begin(f, 2, false);
        for (uint16_t id = 0; id < 2; id++)
            packed_ring_set_descriptor(
                &f->packed, id,
                (struct packed_ring_descriptor){DATA, 1, id, packed_ring_available(true)});
        for (int i = 0; i < 2; i++) {
            struct virtqueue_buffer *b = pop(f);

            if (push)
                virtqueue_push(&f->queue, b, 0);
        }
        packed_ring_set_descriptor(
            &f->packed, 0,
            (struct packed_ring_descriptor){DATA, 1, 9, packed_ring_available(false)});
        assert_broken(f, "DRV-PACK-08");
        end(f);
    }
}

static void drv_pack_08_list_over_slots_not_used_yet(void **state)
{
    struct fixture *f = *state;

    begin(f, 3, false);
    add_one(f);
    add_one(f);
    pop(f);
    pop(f);
    packed_ring_set_descriptor(
        &f->packed, 0, (struct packed_ring_descriptor){DATA, 1, 9, packed_ring_available(false)});
    set(f, 2, DATA, 1, RING_NEXT);
    assert_broken(f, "DRV-PACK-08");
}

/* A slot is waited for, though later ones are there. */
static void drv_pack_11_gap(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, true);
    packed_ring_set_descriptor(
        &f->packed, 1, (struct packed_ring_descriptor){DATA, 2, 1, packed_ring_available(true)});
    assert_empty(f);
    assert_false(virtqueue_enable_kicks(&f->queue));
    assert_int_equal(packed_ring_event_place(&f->packed), FIRST);
    set(f, 0, DATA, 1, 0);
    assert_int_equal(pop(f)->readable_bytes, 1);
    assert_int_equal(pop(f)->readable_bytes, 2);
}

/* With the region remembered from a good buffer before, or none; direct and in a list. */
static void drv_ring_09_outside_of_memory(void **state)
{
    static const struct ring_element bad[] = {
        {LOW_SIZE - 1, 2, true},
        {LOW_SIZE, 1, true},
        {LOW_SIZE - 1, UINT32_MAX, true},
        {HIGH_AT - 1, 2, true},
        {HIGH_AT - 1, 1, true},
        {HIGH_AT + HIGH_SIZE, 1, true},
        {HIGH_AT + HIGH_SIZE - 16, 17, true},
        {UINT64_MAX, 2, true},
        {UINT64_MAX, 1, true},
        {UINT64_MAX - 1, UINT32_MAX, true},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        for (int way = 0; way < 6; way++) {
            begin(f, SIZE, false);
            if (way % 3) {
                add(f, (struct ring_element[]){out(way % 3 == 1 ? HIGH_AT : DATA, 16)}, 1,
                    RING_DIRECT);
                pop(f);
            }
            add(f, (struct ring_element[]){bad[i], out(DATA, 1)}, 1 + way / 3, RING_DIRECT);
            assert_broken(f, "DRV-RING-09");
            end(f);
        }
    }
}

static void ring_08_buffers_up_to_the_last_byte_of_memory(void **state)
{
    static const struct ring_element good[] = {
        {LOW_SIZE - 1, 1, true},
        {0, LOW_SIZE, true},
        {HIGH_AT, HIGH_SIZE, true},
        {HIGH_AT + HIGH_SIZE - 16, 16, true},
    };
    struct fixture *f = *state;

    begin(f, SIZE, false);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
            add(f, &good[i], 1, RING_DIRECT);
            assert_int_equal(pop(f)->writable_bytes, good[i].length);
        }
}

static void drv_ind_01_not_negotiated(void **state)
{
    struct fixture *f = *state;

    features_set(&f->features, VIRTIO_F_INDIRECT_DESC, false);
    begin(f, SIZE, false);
    add(f, (struct ring_element[]){out(DATA, 1)}, 1, RING_TABLE);
    assert_broken(f, "DRV-IND-01");
}

/* IND-06, DRV-IND-04: at the beginning of a list and within. */
static void ind_06_drv_ind_04_table_in_a_list(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    set_entry(f, 0, DATA, 10, 0);
    set(f, 1, DATA, 1, 0);
    set(f, 0, f->packed.tables, 16, RING_INDIRECT | RING_NEXT);
    assert_broken(f, "DRV-IND-04");
    end(f);
    begin(f, SIZE, false);
    set(f, 1, f->packed.tables, 16, RING_INDIRECT);
    set(f, 0, DATA, 1, RING_NEXT);
    assert_broken(f, "DRV-IND-04");
}

static void check_table_length(struct fixture *f, uint32_t length, const char *rule)
{
    begin(f, SIZE, false);
    set_entry(f, 0, DATA, 16, 0);
    set(f, 0, f->packed.tables, length, RING_INDIRECT);
    assert_broken(f, rule);
    end(f);
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

static void drv_ind_09_readable_after_writable_in_a_table(void **state)
{
    struct fixture *f = *state;

    begin(f, SIZE, false);
    add(f, (struct ring_element[]){in(DATA, 1), out(DATA, 1), in(DATA, 1)}, 3, RING_TABLE);
    assert_broken(f, "DRV-IND-09");
}

static void drv_ring_09_table_outside_of_memory(void **state)
{
    static const uint64_t bad[] = {LOW_SIZE - 16, LOW_SIZE, HIGH_AT - 16, HIGH_AT + HIGH_SIZE - 16,
                                   UINT64_MAX - 15};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        begin(f, SIZE, false);
        set(f, 0, bad[i], 32, RING_INDIRECT);
        assert_broken(f, "DRV-RING-09");
        end(f);
    }
}

/* Buffers taken before the ring broke are still given back. */
static void ring_17_broken_ring_completes_what_it_has(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_buffer *b;
    int id;

    begin(f, SIZE, false);
    id = add_list(f, 2);
    b = pop(f);
    set(f, 2, UINT64_MAX, 1, 0);
    assert_broken(f, "DRV-RING-09");
    use(f, b, 5);
    assert_used(f, id, 5);
    assert_int_equal(f->notified, 1);
}

/* --- queue set-up ----------------------------------------------------------------------------- */

static void assert_start_fails(struct fixture *f, const char *rule)
{
    struct error err = ERROR_INIT;

    assert_int_equal(start_at(f, (struct virtqueue_position){FIRST, FIRST}, &err), -EINVAL);
    assert_non_null(strstr(err.text, rule));
}

static void drv_qcfg_02_03_size_0_or_above_32768(void **state)
{
    struct fixture *f = *state;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    f->packed.size = 0;
    assert_start_fails(f, "DRV-QCFG-02");
    f->packed.size = 32769;
    assert_start_fails(f, "DRV-QCFG-03");
}

static void drv_qcfg_05_06_17_areas(void **state)
{
    struct fixture *f = *state;
    struct packed_ring good;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    good = f->packed;
    f->packed.desc += 8;
    assert_start_fails(f, "DRV-QCFG-05");
    f->packed = good;
    f->packed.driver_event += 2;
    assert_start_fails(f, "DRV-QCFG-05");
    f->packed = good;
    f->packed.device_event += 2;
    assert_start_fails(f, "DRV-QCFG-05");
    f->packed = good;
    f->packed.desc = LOW_SIZE - 16 * SIZE + 16;
    assert_start_fails(f, "DRV-QCFG-06");
    f->packed = good;
    f->packed.device_event = LOW_SIZE;
    assert_start_fails(f, "DRV-QCFG-06");
    f->packed = good;
    f->packed.device_event = f->packed.driver_event;
    assert_start_fails(f, "DRV-QCFG-17");
    f->packed = good;
    f->packed.driver_event = f->packed.desc + 16 * SIZE - 4;
    assert_start_fails(f, "DRV-QCFG-17");
    f->packed = good;
    f->packed.driver_event = HIGH_AT + HIGH_SIZE - 4; /* just fits */
    assert_int_equal(start_at(f, (struct virtqueue_position){FIRST, FIRST}, NULL), 0);
}

static void drv_qcfg_15_ring_is_not_clear(void **state)
{
    struct fixture *f = *state;

    packed_ring_init(&f->packed, &f->memory, RING_AT, SIZE, false);
    packed_ring_set_descriptor(&f->packed, SIZE - 1,
                               (struct packed_ring_descriptor){0, 0, 0, packed_ring_done(true)});
    assert_int_equal(start_at(f, (struct virtqueue_position){FIRST, FIRST}, NULL), 0);
    assert_bent(f, "DRV-QCFG-15");
}

/* A driver that uses every id there is, with the longest chains there can be. */
static void long_chains_do_not_add_up(void **state)
{
    struct fixture *f = *state;
    size_t kept = 0;

    begin(f, 256, false);
    for (uint16_t i = 0; i < VIRTQUEUE_CHAIN_MAX; i++)
        packed_ring_set_table_entry(&f->packed, DATA, i,
                                    (struct packed_ring_descriptor){HIGH_AT, 1, 0, 0});
    for (uint32_t n = 0; n < 1024; n++) {
        struct packed_place at = f->packed.avail;

        packed_ring_set_descriptor(
            &f->packed, at.slot,
            (struct packed_ring_descriptor){DATA, 16 * VIRTQUEUE_CHAIN_MAX, (uint16_t)(n * 64),
                                            RING_INDIRECT | packed_ring_available(at.wrap)});
        f->packed.avail = packed_ring_after(&f->packed, at, 1);
        use(f, pop(f), 0);
    }
    for (unsigned i = 0; i < f->queue.size; i++)
        kept += f->queue.buffers[i].capacity * sizeof(struct iovec);
    assert_true(kept <= 1 * MIB);
}

/* --- against a model -------------------------------------------------------------------------- */

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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        T(evt_07_flags_decide_without_event_idx),
        T(evt_08_flags_decide_with_event_idx),
        T(evt_10_11_event_place_in_a_batch),
        T(evt_11_event_place_in_a_ring_of_32768),
        T(evt_11_event_place_in_skipped_slots),
        T(drv_pack_09_event_flags_that_may_not_be),
        T(evt_09_kicks_without_event_idx),
        T(evt_07_09_kicks_with_event_idx),
        T(evt_05_kicks_without_work),
        T(evt_06_enabling_kicks_looks_again),
        T(evt_06_buffers_left_in_the_ring),
        T(drv_pack_03_list_longer_than_the_ring),
        T(drv_ring_12_more_descriptors_than_we_take),
        T(drv_pack_04_readable_after_writable),
        T(drv_pack_05_list_goes_on_in_a_slot_not_available),
        T(drv_pack_06_12_wrong_turn_bits),
        T(drv_pack_06_stale_wrap_behind_the_end),
        T(drv_pack_07_id_in_use),
        T(drv_pack_08_slots_not_used_yet),
        T(drv_pack_08_list_over_slots_not_used_yet),
        T(drv_pack_11_gap),
        T(drv_ring_09_outside_of_memory),
        T(ring_08_buffers_up_to_the_last_byte_of_memory),
        T(drv_ind_01_not_negotiated),
        T(ind_06_drv_ind_04_table_in_a_list),
        T(drv_ind_05_table_length_is_no_multiple_of_16),
        T(drv_ind_06_table_too_long_for_us),
        T(drv_ind_09_readable_after_writable_in_a_table),
        T(drv_ring_09_table_outside_of_memory),
        T(ring_17_broken_ring_completes_what_it_has),
        T(drv_qcfg_02_03_size_0_or_above_32768),
        T(drv_qcfg_05_06_17_areas),
        T(drv_qcfg_15_ring_is_not_clear),
        T(long_chains_do_not_add_up),
        T(pack_03_08_random_buffers_against_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
