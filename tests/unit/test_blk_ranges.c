/*
 * virtio-blk's discard, write zeroes and secure erase, on all host I/O engines.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/state.h"
#include "tests/driver/blk_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/virtio_blk.h>

#define SECTORS 4096
#define UNMAP   1

static const unsigned char all[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE,
                                    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES};

/* Images on a disk, where there is more that a host can do than in memory. */
struct fixture {
    struct blk_disk *d;
    char path[32];
    int fd;
};

static int disk_open(void **state, const struct blk_options *options)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct blk_options own = *options;

    *state = f;
    strcpy(f->path, "/var/tmp/test_blk.XXXXXX");
    f->fd = mkstemp(f->path);
    blk_disk_fill(f->fd, SECTORS * 512);
    own.path = f->path;
    f->d = blk_disk_open(&own);
    if (f->d->backend)
        blk_disk_start(f->d, all, sizeof(all));
    return 0;
}

static int open_uring(void **state)
{
    return disk_open(state, &(struct blk_options){.aio = BLK_AIO_URING});
}

static int open_threads(void **state)
{
    return disk_open(state, &(struct blk_options){.aio = BLK_AIO_THREADS});
}

static int open_inline(void **state)
{
    return disk_open(state, &(struct blk_options){.aio = BLK_AIO_INLINE});
}

static int open_blocks(void **state)
{
    return disk_open(state, &(struct blk_options){.logical_block_size = 4096});
}

static int open_snapshot(void **state)
{
    return disk_open(state, &(struct blk_options){.snapshot = true});
}

static int open_readonly(void **state)
{
    return disk_open(state, &(struct blk_options){.readonly = true});
}

static int disk_close(void **state)
{
    struct fixture *f = *state;

    blk_disk_close(f->d);
    unlink(f->path);
    close(f->fd);
    free(f);
    return 0;
}

static struct blk_disk *disk_of(void **state)
{
    struct fixture *f = *state;

    if (!f->d->backend)
        skip();
    return f->d;
}

/* BLK-10 */
static void put_range(struct blk_disk *d, unsigned i, uint64_t sector, uint32_t sectors,
                      uint32_t flags)
{
    uint8_t *at = d->out + 16 + 16 * (size_t)i;

    store_le64(at, sector);
    store_le32(at + 8, sectors);
    store_le32(at + 12, flags);
}

static uint8_t request(struct blk_disk *d, uint32_t type, uint64_t sector, uint32_t sectors,
                       uint32_t flags)
{
    uint32_t used;
    uint8_t status;

    put_range(d, 0, sector, sectors, flags);
    status = blk_disk_request(d, type, 0, 16, &used);
    assert_int_equal(used, 1); /* BLK-31 */
    return status;
}

/* The disk, as the driver reads it: zeroes in [sector, sector + sectors), the pattern elsewhere. */
static void assert_zeroes(struct blk_disk *d, uint64_t sector, uint32_t sectors)
{
    uint64_t from = sector > 16 ? sector - 16 : 0, n = 0;

    for (uint64_t s = from; s < MIN(sector + sectors + 16, (uint64_t)SECTORS); s += n) {
        n = MIN(sector + sectors + 16 - s, (uint64_t)512);
        n = MIN(n, SECTORS - s);
        assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, s, (unsigned)(n * 512), NULL),
                         VIRTIO_BLK_S_OK);
        for (uint64_t i = 0; i < n * 512; i++) {
            uint64_t at = s + i / 512;
            bool zero = at >= sector && at < sector + sectors;

            assert_int_equal(d->in[i], zero ? 0 : blk_disk_pattern(s * 512 + i));
        }
    }
}

static long long blocks(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    fsync(f->fd);
    assert_int_equal(fstat(f->fd, &st), 0);
    return st.st_blocks;
}

/* BLK-05: what is offered says how much. */
static void test_config(void **state)
{
    struct blk_disk *d = disk_of(state);

#define FIELD(name)                                              \
    blk_disk_config(d, offsetof(struct virtio_blk_config, name), \
                    sizeof(((struct virtio_blk_config *)0)->name))
    assert_int_equal(FIELD(max_discard_sectors), BLK_RANGE_SECTORS_MAX);
    assert_int_equal(FIELD(max_discard_seg), BLK_RANGES_MAX);
    assert_in_range(FIELD(discard_sector_alignment), 1, 1024);
    assert_int_equal(FIELD(max_write_zeroes_sectors), BLK_RANGE_SECTORS_MAX);
    assert_int_equal(FIELD(max_write_zeroes_seg), BLK_RANGES_MAX);
    assert_int_equal(FIELD(write_zeroes_may_unmap), 1); /* BLK-20 */
    assert_int_equal(FIELD(unused1), 0);                /* BLK-15 */
    assert_true(blk_disk_offers(d, VIRTIO_BLK_F_DISCARD));
    assert_true(blk_disk_offers(d, VIRTIO_BLK_F_WRITE_ZEROES));
    assert_false(blk_disk_offers(d, VIRTIO_BLK_F_SECURE_ERASE)); /* a file cannot promise that */
    assert_false(blk_disk_offers(d, 15));                        /* BLK-24: LIFETIME */
}

/* BLK-08, BLK-10, BLK-35: the host gets the storage back. */
static void test_discard(void **state)
{
    struct blk_disk *d = disk_of(state);
    long long before = blocks(state);

    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 1024, 2048, 0), VIRTIO_BLK_S_OK);
    assert_true(blocks(state) <= before - 2048);
    assert_zeroes(d, 1024, 2048);
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 5, 0, 0), VIRTIO_BLK_S_OK);
}

/* BLK-08, BLK-19, BLK-35: zeroes in any case; storage goes only where unmap allows it. */
static void test_write_zeroes(void **state)
{
    struct blk_disk *d = disk_of(state);
    long long before = blocks(state);

    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, 1024, 1024, 0), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 1024, 1024);
    assert_true(blocks(state) >= before);
    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, 1024, 1024, UNMAP), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 1024, 1024);
    assert_true(blocks(state) <= before - 1024);
    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, SECTORS - 1, 1, 0), VIRTIO_BLK_S_OK);
    assert_zeroes(d, SECTORS - 1, 1);
    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, 3, 7, 0), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 3, 7);
}

/* BLK-19, BLK-33: ranges that are no whole blocks. Discard leaves the odd ends alone. */
static void test_odd_ranges(void **state)
{
    struct blk_disk *d = disk_of(state);

    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, 101, 3000, 0), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 101, 3000);
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 3201, 100, 0), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 3208, 88);
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 3401, 6, 0), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 3401, 0);
}

/* In writethrough mode, too (BLK-23): the sync at the end works. */
static void test_many_segments(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint8_t off = 0;

    d->backend->ops->config_write(d->backend, offsetof(struct virtio_blk_config, wce), &off, 1);
    for (unsigned i = 0; i < BLK_RANGES_MAX; i++)
        put_range(d, i, 100 * i, i % 3 ? 20 : 0, i % 2);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16 * BLK_RANGES_MAX, NULL),
                     VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < BLK_RANGES_MAX; i++)
        assert_zeroes(d, 100 * i, i % 3 ? 20 : 0);
}

/* Segments may be cut up by descriptors like anything else (RING-08). */
static void test_framing(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    for (unsigned piece = 1; piece < 40; piece += 6) {
        struct blk_framing f = {.out = 16 + 32, .in = 1, .out_piece = piece};

        blk_disk_put_header(d, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0);
        put_range(d, 0, 64, 10, 0);
        put_range(d, 1, 128, 10, UNMAP);
        assert_int_equal(blk_disk_send(d, &f, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
        assert_zeroes(d, 64, 10);
        assert_zeroes(d, 128, 10);
    }
}

static void expect_pattern(struct blk_disk *d)
{
    assert_zeroes(d, 0, 0);
    assert_zeroes(d, SECTORS - 8, 0);
}

/* BLK-17, BLK-18, BLK-25, DRV-BLK-04, DRV-BLK-05, DRV-BLK-10, DRV-BLK-17: refused whole, also when
 * only the last segment is wrong, and nothing is touched. */
static void test_refused(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t sector;
        uint32_t sectors, flags;
        uint8_t status;
    } bad[] = {
        {VIRTIO_BLK_T_DISCARD, 0, 8, UNMAP, VIRTIO_BLK_S_UNSUPP},
        {VIRTIO_BLK_T_DISCARD, 0, 8, 2, VIRTIO_BLK_S_UNSUPP},
        {VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2, VIRTIO_BLK_S_UNSUPP},
        {VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0x80000001, VIRTIO_BLK_S_UNSUPP},
        {VIRTIO_BLK_T_DISCARD, SECTORS, 1, 0, VIRTIO_BLK_S_IOERR},
        {VIRTIO_BLK_T_DISCARD, SECTORS - 1, 2, 0, VIRTIO_BLK_S_IOERR},
        {VIRTIO_BLK_T_WRITE_ZEROES, SECTORS - 8, 9, UNMAP, VIRTIO_BLK_S_IOERR},
        {VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX, 1, 0, VIRTIO_BLK_S_IOERR},
        {VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX - 1, 8, 0, VIRTIO_BLK_S_IOERR},
        {VIRTIO_BLK_T_WRITE_ZEROES, 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR},
        {VIRTIO_BLK_T_SECURE_ERASE, 0, 8, 0, VIRTIO_BLK_S_UNSUPP}, /* DRV-BLK-09 */
    };
    struct blk_disk *d = disk_of(state);

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(request(d, bad[i].type, bad[i].sector, bad[i].sectors, bad[i].flags),
                         bad[i].status);
        put_range(d, 0, 0, 8, 0);
        put_range(d, 1, bad[i].sector, bad[i].sectors, bad[i].flags);
        assert_int_equal(blk_disk_request(d, bad[i].type, 0, 32, NULL), bad[i].status);
    }
    put_range(d, 0, 0, 8, 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_DISCARD, 0, 15, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_DISCARD, 0, 17, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_DISCARD, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
    for (unsigned i = 0; i <= BLK_RANGES_MAX; i++)
        put_range(d, i, 0, 8, 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_DISCARD, 0, 16 * (BLK_RANGES_MAX + 1), NULL),
                     VIRTIO_BLK_S_IOERR);
    expect_pattern(d);
}

/* DRV-BLK-10: no more sectors in a segment than the configuration allows, on a disk that has them.
 */
static void test_too_many_sectors(void **state)
{
    struct blk_disk *d = disk_of(state);
    struct error err = ERROR_INIT;

    if (d->options.snapshot)
        skip();
    assert_int_equal(d->backend->ops->command(d->backend, "resize", "4G", &err), 0);
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 0, BLK_RANGE_SECTORS_MAX + 1, 0),
                     VIRTIO_BLK_S_IOERR);
    expect_pattern(d);
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, SECTORS, BLK_RANGE_SECTORS_MAX, 0),
                     VIRTIO_BLK_S_OK);
    expect_pattern(d);
}

/* DRV-BLK-08: data to read where there is nothing to be read. DRV-BLK-07: a sector is ignored. */
static void test_direction(void **state)
{
    struct blk_disk *d = disk_of(state);
    uint32_t used;

    blk_disk_put_header(d, 0, VIRTIO_BLK_T_DISCARD, 0);
    put_range(d, 0, 0, 8, 0);
    assert_int_equal(
        blk_disk_send(d, &(struct blk_framing){.out = 32, .in = 513}, RING_DIRECT, &used),
        VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    expect_pattern(d);
    put_range(d, 0, 16, 8, 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_WRITE_ZEROES, 99, 16, NULL), VIRTIO_BLK_S_OK);
    assert_zeroes(d, 16, 8);
}

/* DRV-BLK-09 */
static void test_not_negotiated(void **state)
{
    struct blk_disk *d = disk_of(state);

    blk_disk_restart(d, all, 1);
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(d, 10, 0, 6, 0), VIRTIO_BLK_S_UNSUPP); /* GET_LIFETIME */
    expect_pattern(d);
}

/* BLK-16, DRV-BLK-09 */
static void test_readonly(void **state)
{
    struct blk_disk *d = disk_of(state);

    assert_false(blk_disk_offers(d, VIRTIO_BLK_F_DISCARD));
    assert_false(blk_disk_offers(d, VIRTIO_BLK_F_WRITE_ZEROES));
    assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(d, VIRTIO_BLK_T_SECURE_ERASE, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    expect_pattern(d);
}

/* clang-format off */
#define ALL(test)                                                                                  \
    {#test " io_uring", test, open_uring, disk_close, NULL},                                       \
    {#test " threads", test, open_threads, disk_close, NULL},                                      \
    {#test " inline", test, open_inline, disk_close, NULL}
/* clang-format on */

/* More zeroes than can be written in minutes, on a disk in memory: others on the loop get their
 * turn meanwhile, and neither a user nor a reset waits for all of them. */
static void test_endless_zeroes(void **state)
{
    struct blk_disk *d = blk_disk_open(&(struct blk_options){0});
    const uint32_t sectors = 128 * MIB / 512;
    const unsigned requests = 80;
    struct error err = ERROR_INIT;
    uint64_t begin;
    int ret;

    (void)state;
    assert_int_equal(d->backend->ops->command(d->backend, "resize", "128M", &err), 0);
    blk_disk_start(d, all, sizeof(all));
    for (unsigned i = 0; i < BLK_RANGES_MAX; i++)
        put_range(d, i, 0, sectors, 0);
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0);
    for (unsigned i = 0; i < requests; i++) {
        const struct ring_element e[] = {{BLK_DISK_OUT, 16 + 16 * BLK_RANGES_MAX, false},
                                         {BLK_DISK_IN + i, 1, true}};

        d->in[i] = BLK_DISK_UNTOUCHED;
        assert_true(ring_add(&d->rings[0], e, 2, RING_DIRECT) >= 0);
    }
    blk_disk_kick(d, 0);
    begin = loop_now_ns();
    do
        ret = d->backend->ops->command(d->backend, "resize", "128M", &err);
    while (ret == 0 && d->in[requests - 1] == BLK_DISK_UNTOUCHED); /* not kicked yet */
    assert_int_equal(ret, -EBUSY);
    assert_int_equal(d->in[requests - 1], BLK_DISK_UNTOUCHED);
    d->backend->ops->queue_stop(d->backend, 0);
    assert_true(loop_now_ns() - begin < UINT64_C(20000000000));
    assert_int_equal(d->in[requests - 1], VIRTIO_BLK_S_IOERR);
    blk_disk_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(test_config),
        ALL(test_discard),
        ALL(test_write_zeroes),
        ALL(test_many_segments),
        ALL(test_framing),
        ALL(test_refused),
        ALL(test_too_many_sectors),
        ALL(test_direction),
        ALL(test_not_negotiated),
        cmocka_unit_test_setup_teardown(test_odd_ranges, open_blocks, disk_close),
        {"test_config snapshot", test_config, open_snapshot, disk_close, NULL},
        {"test_many_segments snapshot", test_many_segments, open_snapshot, disk_close, NULL},
        {"test_framing snapshot", test_framing, open_snapshot, disk_close, NULL},
        {"test_refused snapshot", test_refused, open_snapshot, disk_close, NULL},
        cmocka_unit_test_setup_teardown(test_readonly, open_readonly, disk_close),
        cmocka_unit_test(test_endless_zeroes),
    };
    log_configure("error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
