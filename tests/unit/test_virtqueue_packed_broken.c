/*
 * The packed virtqueue: rings that a driver broke, against the driver of
 * tests/driver/packed_ring.h. The rows of tests/CONFORMANCE.md a test stands for are in its name,
 * in lower case.
 */
#include "tests/unit/packed_ring_fixture.h"

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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(drv_pack_03_list_longer_than_the_ring),
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
        T(ind_06_drv_ind_04_table_in_a_list),
        T(ring_17_broken_ring_completes_what_it_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
