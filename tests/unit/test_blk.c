/*
 * virtio-blk driven through its queues, on all host I/O engines, without a machine.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/state.h"
#include "tests/driver/blk_disk.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* From the kernel's uapi, a second source for the numbers under test. */
#include <linux/virtio_blk.h>

static const unsigned char usual[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_MQ};

static int disk_open(void **state, enum blk_aio aio, bool readonly)
{
    struct blk_options options = {.aio = (int)aio, .readonly = readonly, .serial = "vireo-1"};
    struct blk_disk *d = blk_disk_open(&options);

    *state = d;
    if (d->backend)
        blk_disk_start(d, usual, sizeof(usual));
    return 0;
}

static int open_uring(void **state)
{
    return disk_open(state, BLK_AIO_URING, false);
}

static int open_threads(void **state)
{
    return disk_open(state, BLK_AIO_THREADS, false);
}

static int open_inline(void **state)
{
    return disk_open(state, BLK_AIO_INLINE, false);
}

static int open_readonly(void **state)
{
    return disk_open(state, BLK_AIO_AUTO, true);
}

static int disk_close(void **state)
{
    blk_disk_close(*state);
    return 0;
}

static struct blk_disk *disk_of(void **state)
{
    struct blk_disk *d = *state;

    if (!d->backend) /* the host does not allow io_uring */
        skip();
    return d;
}

/* --- tests: the four request types ----------------------------------------------------------- */

/* BLK-07, BLK-08, BLK-33, RING-12, BLK-31, DRV-BLK-16: each header has something in its reserved
 * field */
static void test_read(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 3, 1024, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1025); /* BLK-31 */
    blk_disk_assert_pattern(d->in, 3 * 512, 1024);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 0, BLK_DISK_SECTORS * 512, &used),
                     VIRTIO_BLK_S_OK);
    blk_disk_assert_pattern(d->in, 0, BLK_DISK_SECTORS * 512);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, BLK_DISK_SECTORS, 0, &used),
                     VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
}

/* BLK-07, BLK-08, RING-19, BLK-31 */
static void test_write(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint8_t bytes[3 * 512];
    uint32_t used;

    memset(d->out + 16, 0x5a, 512);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 7, 512, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1); /* BLK-31 */
    assert_int_equal(pread(d->image, bytes, sizeof(bytes), 6 * 512), sizeof(bytes));
    blk_disk_assert_pattern(bytes, 6 * 512, 512);
    assert_memory_equal(bytes + 512, d->out + 16, 512);
    blk_disk_assert_pattern(bytes + 1024, 8 * 512, 512);
}

/* BLK-08, DRV-BLK-06, BLK-22 */
static void test_flush(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 9, 0, &used),
                     VIRTIO_BLK_S_OK); /* bent */
}

/* BLK-08, BLK-11, BLK-25, DRV-BLK-03 */
static void test_get_id(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_GET_ID, 0, 20, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 21);
    assert_memory_equal(d->in, "vireo-1\0\0\0\0\0\0\0\0\0\0\0\0\0", 20); /* BLK-11 */
    /* DRV-BLK-03 */
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_GET_ID, 0, 19, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_GET_ID, 0, 21, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    assert_int_equal(d->in[0], BLK_DISK_UNTOUCHED);
}

/* BLKZ-04, DRV-BLK-09, BLK-09 */
static void test_unknown_types(void **state)
{
    static const uint32_t types[] = {2, 3, 5, 6, 7, 9, 11, 13, 14, 15, 24, 0x80000000, UINT32_MAX};
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) { /* BLK-09 */
        assert_int_equal(blk_disk_request(d, types[i], 0, 512, &used), VIRTIO_BLK_S_UNSUPP);
        assert_int_equal(used, 1);
    }
    blk_disk_assert_image_unchanged(d);
}

/* --- tests: framing (RING-08) ---------------------------------------------------------------- */

static void read_framed(struct blk_disk *d, struct blk_framing f, enum ring_style style)
{
    uint32_t used;

    f.out = 16;
    f.in = 1025;
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_IN, 5);
    assert_int_equal(blk_disk_send(d, &f, style, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1025);
    blk_disk_assert_pattern(d->in, 5 * 512, 1024);
}

static void write_framed(struct blk_disk *d, struct blk_framing f, enum ring_style style)
{
    static uint8_t salt;
    uint8_t bytes[1024];
    uint32_t used;

    f.out = 16 + 1024;
    f.in = 1;
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_OUT, 5);
    salt++;
    for (unsigned i = 0; i < 1024; i++)
        d->out[16 + i] = (uint8_t)(i * 3 + salt);
    assert_int_equal(blk_disk_send(d, &f, style, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
    assert_int_equal(pread(d->image, bytes, sizeof(bytes), 5 * 512), sizeof(bytes));
    assert_memory_equal(bytes, d->out + 16, sizeof(bytes));
}

/* RING-08, RING-18, DRV-BLK-13, BLK-07 */
static void test_read_cut_anywhere(void **state)
{
    struct blk_disk *d = disk_of(state);

    for (unsigned cut = 0; cut < 16; cut++)
        read_framed(d, (struct blk_framing){.out_cut = cut}, RING_DIRECT);
    for (unsigned cut = 1; cut < 1025; cut++)
        read_framed(d, (struct blk_framing){.in_cut = cut}, cut % 2 ? RING_DIRECT : RING_TABLE);
}

/* RING-08, RING-18, DRV-BLK-13, BLK-07 */
static void test_write_cut_anywhere(void **state)
{
    struct blk_disk *d = disk_of(state);

    for (unsigned cut = 0; cut < 16 + 1024; cut++)
        write_framed(d, (struct blk_framing){.out_cut = cut}, cut % 2 ? RING_DIRECT : RING_MIXED);
}

/* RING-08 */
static void test_small_pieces(void **state)
{
    static const unsigned pieces[] = {11, 18, 100, 511, 512, 513, 1024};
    struct blk_disk *d = disk_of(state);

    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        blk_disk_fill(d->image, BLK_DISK_SECTORS * 512);
        read_framed(d, (struct blk_framing){.out_piece = 1, .in_piece = pieces[i]}, RING_DIRECT);
        write_framed(d, (struct blk_framing){.out_piece = pieces[i]}, RING_DIRECT);
    }
}

/* --- tests: what a driver may not do --------------------------------------------------------- */

/* BLK-25, DRV-BLK-01, DRV-BLK-02 */
static void test_bounds(void **state)
{
    static const struct {
        uint64_t sector;
        unsigned bytes;
    } bad[] = {
        {BLK_DISK_SECTORS, 512},
        {BLK_DISK_SECTORS - 1, 1024},
        {BLK_DISK_SECTORS + 1, 0},
        {UINT64_MAX, 512},
        {UINT64_MAX, 0},
        {UINT64_MAX / 512, 512},
        {UINT64_MAX - 1, 1024},
        {BIT(55), 512},
        {BIT(63), 512},
        {0, 1},
        {0, 511},
        {0, 513}, /* DRV-BLK-02 */
        {BLK_DISK_SECTORS - 1, 511},
    };
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].bytes, &used),
                         VIRTIO_BLK_S_IOERR);
        assert_int_equal(used, 1);
        if (bad[i].bytes > 1)
            assert_int_equal(d->in[0], BLK_DISK_UNTOUCHED);
        assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].bytes, &used),
                         VIRTIO_BLK_S_IOERR);
        assert_int_equal(used, 1);
    }
    blk_disk_assert_image_unchanged(d);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, BLK_DISK_SECTORS - 1, 512, &used),
                     VIRTIO_BLK_S_OK);
}

/* DRV-BLK-08 */
static void test_data_in_wrong_direction(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    blk_disk_put_header(d, 0, VIRTIO_BLK_T_OUT, 0);
    assert_int_equal(
        blk_disk_send(d, &(struct blk_framing){.out = 16 + 512, .in = 513}, RING_DIRECT, &used),
        VIRTIO_BLK_S_IOERR);
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_IN, 0);
    assert_int_equal(
        blk_disk_send(d, &(struct blk_framing){.out = 16 + 512, .in = 513}, RING_DIRECT, &used),
        VIRTIO_BLK_S_IOERR);
    blk_disk_assert_image_unchanged(d);
}

/* DRV-BLK-10, and only when SEG_MAX was negotiated: others need not know the limit. */
static void test_too_many_segments(void **state)
{
    static unsigned char without[] = {VIRTIO_BLK_F_FLUSH};
    /* The first descriptor has the header and some data, each other one 4 bytes. */
    const struct blk_framing fits = {.out = 16 + 512, .in = 1, .out_cut = 16 + 12, .out_piece = 4};
    const struct blk_framing many = {.out = 16 + 512, .in = 1, .out_cut = 16 + 8, .out_piece = 4};
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    blk_disk_put_header(d, 0, VIRTIO_BLK_T_OUT, 0);
    assert_int_equal(blk_disk_send(d, &many, RING_DIRECT, &used), VIRTIO_BLK_S_IOERR);
    blk_disk_assert_image_unchanged(d);
    assert_int_equal(blk_disk_send(d, &fits, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
    blk_disk_restart(d, without, sizeof(without));
    assert_int_equal(blk_disk_send(d, &many, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
}

static void expect_broken(struct blk_disk *d, unsigned out, unsigned in)
{
    struct ring_element e[2];
    struct ring_used used;
    unsigned n = blk_disk_cut_up(e, BLK_DISK_OUT, out, 0, 0, false);

    n += blk_disk_cut_up(e + n, BLK_DISK_IN, in, 0, 0, true);
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_IN, 0);
    memset(d->in, BLK_DISK_UNTOUCHED, 600);
    assert_true(ring_add(&d->rings[0], e, n, RING_DIRECT) >= 0);
    blk_disk_kick(d, 0);
    while (!atomic_load(&d->needs_reset))
        blk_disk_wait_interrupt(d);
    assert_false(ring_collect(&d->rings[0], &used));
    assert_int_equal(d->in[0], BLK_DISK_UNTOUCHED);
}

/* BLK-26, DRV-BLK-08: no answer is possible. The device is as new after a reset. */
static void test_no_room_for_status_or_header(void **state)
{
    static const unsigned lengths[][2] = {{16, 0}, {528, 0}, {15, 513}, {0, 513}, {1, 1}};
    struct blk_disk *d = disk_of(state);

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        expect_broken(d, lengths[i][0], lengths[i][1]);
        blk_disk_restart(d, usual, sizeof(usual));
        assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
    }
}

/* --- tests: errors of the host --------------------------------------------------------------- */

/* BLK-31: an error of the host concerns one request */
static void test_read_error(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(ftruncate(d->image, 512 + 100), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 1, 512, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 9, 512, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 0, 512, &used), VIRTIO_BLK_S_OK);
    blk_disk_assert_pattern(d->in, 0, 512);
}

/* BLK-31: an error of the host concerns one request */
static void test_write_error(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(ftruncate(d->image, 512), 0);
    assert_int_equal(fcntl(d->image, F_ADD_SEALS, F_SEAL_GROW), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 1, 512, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 0, 512, &used), VIRTIO_BLK_S_OK);
}

/* --- tests: several requests, several queues ------------------------------------------------- */

/* Reads of one sector each into BLK_DISK_IN + 1024 * i, headers at BLK_DISK_OUT + 16 * i. */
static void add_reads(struct blk_disk *d, int q, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        const struct ring_element e[] = {{BLK_DISK_OUT + 16 * i, 16, false},
                                         {BLK_DISK_IN + 1024 * i, 513, true}};

        blk_disk_put_header(d, 16 * (size_t)i, VIRTIO_BLK_T_IN, i % BLK_DISK_SECTORS);
        memset(d->in + 1024 * (size_t)i, BLK_DISK_UNTOUCHED, 1024);
        assert_true(ring_add(&d->rings[q], e, 2, i % 2 ? RING_DIRECT : RING_TABLE) >= 0);
    }
}

static void assert_reads(struct blk_disk *d, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        const uint8_t *data = d->in + 1024 * (size_t)i;

        blk_disk_assert_pattern(data, i % BLK_DISK_SECTORS * 512, 512);
        assert_int_equal(data[512], VIRTIO_BLK_S_OK);
        assert_int_equal(data[513], BLK_DISK_UNTOUCHED);
    }
}

/* BLK-01 */
static void test_many_in_flight(void **state)
{
    struct blk_disk *d = disk_of(state);

    for (int round = 0; round < 20; round++) {
        add_reads(d, 0, 0, 80);
        add_reads(d, 1, 80, 80);
        blk_disk_kick(d, 0);
        blk_disk_kick(d, 1);
        for (int i = 0; i < 80; i++) {
            assert_int_equal(blk_disk_collect(d, 0).length, 513);
            assert_int_equal(blk_disk_collect(d, 1).length, 513);
        }
        assert_reads(d, 0, 160);
    }
}

/* STAT-07: once a queue is stopped nothing touches guest memory any more. What was taken from the
 * ring was also answered, which disk_stop checks. */
static void test_stop_with_requests_in_flight(void **state)
{
    struct blk_disk *d = disk_of(state);

    for (int round = 0; round < 50; round++) {
        add_reads(d, 0, 0, 80);
        add_reads(d, 1, 80, 80);
        blk_disk_kick(d, 0);
        blk_disk_kick(d, 1);
        if (round % 2)
            blk_disk_collect(d, 0);
        blk_disk_restart(d, usual, sizeof(usual));
        memset(d->in, BLK_DISK_UNTOUCHED, 1024 * 160);
        assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
        for (unsigned i = 1024; i < 1024 * 160; i++)
            assert_int_equal(d->in[i], BLK_DISK_UNTOUCHED);
    }
}

/* --- tests: features and configuration ------------------------------------------------------- */

static uint8_t writeback(struct blk_disk *d)
{
    return (uint8_t)blk_disk_config(d, offsetof(struct virtio_blk_config, wce), 1);
}

static void set_writeback(struct blk_disk *d, uint8_t value)
{
    d->backend->ops->config_write(d->backend, offsetof(struct virtio_blk_config, wce), &value, 1);
}

/* BLK-03, BLK-04, BLK-15, BLK-05, BLK-06, BLK-33 */
static void test_config(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint8_t bytes[128];

    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, capacity), 8),
                     BLK_DISK_SECTORS);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, seg_max), 4),
                     BLK_SEG_MAX);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, blk_size), 4), 512);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, physical_block_exp), 1),
                     3);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, min_io_size), 2), 8);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, num_queues), 2),
                     BLK_DISK_QUEUES);

    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, geometry), 2), 1);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, geometry.heads), 1), 16);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, geometry.sectors), 1),
                     63);

    memset(bytes, BLK_DISK_UNTOUCHED, sizeof(bytes));
    d->backend->ops->config_read(d->backend, 30, bytes, sizeof(bytes));
    assert_int_equal(bytes[33 - 30], 0);       /* unused0 */
    for (size_t i = 57 - 30; i < 60 - 30; i++) /* unused1 */
        assert_int_equal(bytes[i], 0);
    for (size_t i = 60 - 30; i < sizeof(bytes); i++) /* no secure erase, no zones, the end */
        assert_int_equal(bytes[i], 0);
    d->backend->ops->config_read(d->backend, UINT32_MAX - 3, bytes, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(bytes[i], 0);
}

/* BLK-02, BLK-13 */
static void test_features(void **state)
{
    static const unsigned expected[] = {
        VIRTIO_BLK_F_SEG_MAX,  VIRTIO_BLK_F_BLK_SIZE,   VIRTIO_BLK_F_FLUSH,
        VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ,
        VIRTIO_BLK_F_GEOMETRY, VIRTIO_BLK_F_DISCARD,    VIRTIO_BLK_F_WRITE_ZEROES};
    struct blk_disk *d = disk_of(state);
    struct virtio_features offered, wanted = {0};

    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        features_set(&wanted, expected[i], true);
    d->backend->ops->features(d->backend, &offered);
    assert_memory_equal(&offered, &wanted, sizeof(offered));
}

/* 5.2.5, BLK-14, BLK-23, BLK-32: where the cache mode starts, and who may change it. */
static void test_cache_modes(void **state)
{
    static unsigned char wce[] = {VIRTIO_BLK_F_CONFIG_WCE};
    static unsigned char both[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE};
    struct blk_disk *d = disk_of(state);

    assert_int_equal(writeback(d), 1); /* FLUSH alone */
    set_writeback(d, 0);
    assert_int_equal(writeback(d), 1);

    blk_disk_restart(d, NULL, 0);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
    set_writeback(d, 1);
    assert_int_equal(writeback(d), 0);

    blk_disk_restart(d, wce, sizeof(wce));
    assert_int_equal(writeback(d), 0);
    set_writeback(d, 1);
    assert_int_equal(writeback(d), 1);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);

    blk_disk_restart(d, both, sizeof(both));
    assert_int_equal(writeback(d), 1);
    set_writeback(d, 0);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

/* Writes to configuration that is read-only, or around the one field that is not. CFG-07,
 * DRV-CFG-05 */
static void test_config_writes(void **state)
{
    static unsigned char both[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE};
    struct blk_disk *d = disk_of(state);
    uint8_t zeroes[64] = {0};

    blk_disk_restart(d, both, sizeof(both));
    d->backend->ops->config_write(d->backend, 0, zeroes, 32);
    d->backend->ops->config_write(d->backend, 33, zeroes, 8);
    d->backend->ops->config_write(d->backend, UINT32_MAX, zeroes, 8);
    assert_int_equal(writeback(d), 1);
    assert_int_equal(blk_disk_config(d, 0, 8), BLK_DISK_SECTORS);
    d->backend->ops->config_write(d->backend, 28, zeroes, 8);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(blk_disk_config(d, 34, 2), BLK_DISK_QUEUES);
}

/* BLK-16, DRV-BLK-09 */
static void test_readonly(void **state)
{
    struct blk_disk *d = disk_of(state);
    struct virtio_features offered;
    uint32_t used;

    d->backend->ops->features(d->backend, &offered);
    assert_true(features_has(&offered, VIRTIO_BLK_F_RO));
    memset(d->out + 16, 0x5a, 512);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 0, 512, &used),
                     VIRTIO_BLK_S_IOERR); /* BLK-16 */
    assert_int_equal(used, 1);
    blk_disk_assert_image_unchanged(d);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 0, 512, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, &used), VIRTIO_BLK_S_OK);
}

/* clang-format off */
#define ALL(test)                                                                                  \
    {#test " io_uring", test, open_uring, disk_close, NULL},                                       \
    {#test " threads", test, open_threads, disk_close, NULL},                                      \
    {#test " inline", test, open_inline, disk_close, NULL}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(test_read),
        ALL(test_write),
        ALL(test_flush),
        ALL(test_get_id),
        ALL(test_unknown_types),
        ALL(test_read_cut_anywhere),
        ALL(test_write_cut_anywhere),
        ALL(test_small_pieces),
        ALL(test_bounds),
        ALL(test_data_in_wrong_direction),
        ALL(test_too_many_segments),
        ALL(test_no_room_for_status_or_header),
        ALL(test_read_error),
        ALL(test_write_error),
        ALL(test_many_in_flight),
        ALL(test_stop_with_requests_in_flight),
        ALL(test_config),
        ALL(test_features),
        ALL(test_cache_modes),
        ALL(test_config_writes),
        cmocka_unit_test_setup_teardown(test_readonly, open_readonly, disk_close),
    };

    log_configure("error"); /* broken rules are the point here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
