/*
 * The split virtqueue: how it is set up, and the host memory it takes, against the driver of
 * tests/driver/ring.h. The rows of tests/CONFORMANCE.md a test stands for are in its name, in lower
 * case.
 */
#include "tests/unit/split_ring_fixture.h"

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
        end(f);
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
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
