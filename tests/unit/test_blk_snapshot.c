/*
 * The throw-away layer of a snapshot: its map, the engine on image and layer, and whole disks.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/image.h"
#include "devices/blk/overlay.h"
#include "devices/blk/snapshot.h"
#include "tests/driver/blk_disk.h"
#include "tests/driver/fake_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/virtio_blk.h>

#define SECTORS 1000
#define BYTES   (SECTORS * 512)
#define PIECES  6

static uint64_t draw(uint64_t below)
{
    return (uint64_t)rand() % below;
}

/* --- the map --------------------------------------------------------------------------------- */

static void test_map(void **state)
{
    static bool expected[SECTORS + 100];
    struct blk_overlay o;
    uint64_t run;

    (void)state;
    assert_int_equal(blk_overlay_open(&o, SECTORS, NULL), 0);
    srand(1);
    for (int round = 0; round < 300; round++) {
        uint64_t sector = draw(SECTORS), count = 1 + draw(MIN(70, SECTORS - sector));

        blk_overlay_add(&o, sector, count);
        memset(expected + sector, true, count);
        sector = draw(SECTORS);
        count = 1 + draw(MIN(200, SECTORS - sector));
        assert_int_equal(blk_overlay_has(&o, sector, count, &run), expected[sector]);
        assert_in_range(run, 1, count);
        for (uint64_t i = 0; i < run; i++)
            assert_int_equal(expected[sector + i], expected[sector]);
        assert_true(run == count || expected[sector + run] != expected[sector]);
        if (round % 20 == 19) {
            memset(expected, 0, sizeof(expected));
            memset(o.map, 0, o.map_bytes);
        }
    }
    blk_overlay_close(&o);
}

/* What a smaller size cut off is zeroes when the disk grows again, and so is what is new. */
static void test_map_of_other_sizes(void **state)
{
    struct blk_overlay o;
    uint64_t run;

    (void)state;
    assert_int_equal(blk_overlay_open(&o, SECTORS, NULL), 0);
    assert_int_equal(blk_overlay_resize(&o, SECTORS - 100, NULL), 0);
    assert_int_equal(blk_overlay_resize(&o, SECTORS + 100, NULL), 0);
    assert_false(blk_overlay_has(&o, SECTORS - 200, 300, &run));
    assert_int_equal(run, 100);
    assert_true(blk_overlay_has(&o, SECTORS - 100, 200, &run));
    assert_int_equal(run, 200);
    blk_overlay_add(&o, SECTORS - 101, 150);
    assert_true(blk_overlay_has(&o, SECTORS - 101, 201, &run));
    assert_int_equal(run, 1);
    assert_int_equal(lseek(o.file.fd, 0, SEEK_END), (SECTORS + 100) * 512);
    blk_overlay_close(&o);
}

static void test_no_place(void **state)
{
    const char *before = getenv("TMPDIR");
    char *kept = before ? strdup(before) : NULL;
    struct error err = ERROR_INIT;
    struct blk_overlay o;

    (void)state;
    setenv("TMPDIR", "/nonexistent", 1);
    assert_int_equal(blk_overlay_open(&o, SECTORS, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'/nonexistent'"));
    if (kept)
        setenv("TMPDIR", kept, 1);
    else
        unsetenv("TMPDIR");
    free(kept);
}

/* --- the engine ------------------------------------------------------------------------------ */

struct fixture {
    struct fake_engine image, layer;
    struct blk_overlay overlay;
    struct blk_engine *engine;
    uint8_t expected[BYTES];
    unsigned done, failed;
};

struct operation {
    struct blk_io io;
    struct fixture *f;
    struct iovec iov[PIECES];
    uint8_t data[BYTES];
};

static void batch_done(void *opaque)
{
    (void)opaque;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    fake_engine_init(&f->image, BYTES, 1, 1);
    fake_engine_init(&f->layer, BYTES, 1, 1);
    for (size_t i = 0; i < BYTES; i++)
        f->image.bytes[i] = f->expected[i] = blk_disk_pattern(i);
    if (blk_overlay_open(&f->overlay, SECTORS, NULL) < 0 ||
        blk_snapshot_create(&f->image.engine, &f->layer.engine, &f->overlay, &f->engine, NULL) < 0)
        return -1;
    f->engine->batch_done = batch_done;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(f->image.bytes[i], blk_disk_pattern(i));
    f->engine->ops->destroy(f->engine);
    assert_true(f->image.destroyed && f->layer.destroyed);
    blk_overlay_close(&f->overlay);
    free(f);
    return 0;
}

static void operation_done(struct blk_io *io)
{
    struct operation *op = container_of(io, struct operation, io);

    op->f->done++;
    op->f->failed += io->error != 0;
}

static void run(struct operation *op, enum blk_io_type type, uint64_t sector, uint64_t sectors)
{
    struct fixture *f = op->f;
    uint64_t bytes = sectors * 512, at = 0;
    unsigned n = 0;

    for (; n < PIECES - 1 && bytes - at > 1; n++) {
        uint64_t size = 1 + draw(bytes - at - 1);

        op->iov[n] = (struct iovec){op->data + at, size};
        at += size;
    }
    op->iov[n++] = (struct iovec){op->data + at, bytes - at};
    op->io = (struct blk_io){.type = type,
                             .iov = op->iov,
                             .iov_count = n,
                             .bytes = bytes,
                             .offset = sector * 512,
                             .done = operation_done};
    f->done = 0;
    f->engine->ops->submit(f->engine, &op->io);
    for (int i = 0; f->done == 0 && i < 100000; i++)
        f->engine->ops->wait(f->engine);
    assert_int_equal(f->done, 1);
}

/* BLK-19 also here: zeroed and discarded ranges read as zeroes. */
static void test_any_mixture(void **state)
{
    struct fixture *f = *state;
    struct operation *op = calloc(1, sizeof(*op));

    op->f = f;
    srand(2);
    for (int round = 0; round < 3000; round++) {
        uint64_t sector = draw(SECTORS), sectors = 1 + draw(MIN(30, SECTORS - sector));
        uint8_t *expected = f->expected + sector * 512;

        if (round % 3 == 0) {
            memset(op->data, round, sectors * 512);
            memset(expected, round, sectors * 512);
            run(op, BLK_IO_WRITE, sector, sectors);
        } else if (round % 100 == 1) {
            memset(expected, 0, sectors * 512);
            run(op, round % 200 == 1 ? BLK_IO_ZERO : BLK_IO_DISCARD, sector, sectors);
        } else {
            memset(op->data, 0xee, sectors * 512);
            run(op, BLK_IO_READ, sector, sectors);
            assert_memory_equal(op->data, expected, sectors * 512);
        }
    }
    assert_int_equal(f->failed, 0);
    free(op);
}

/* A write that fails leaves what was there; a read of both fails with either. */
static void test_errors(void **state)
{
    struct fixture *f = *state;
    struct operation *op = calloc(1, sizeof(*op));

    op->f = f;
    f->layer.fail = -ENOSPC;
    run(op, BLK_IO_WRITE, 4, 4);
    assert_int_equal(op->io.error, -ENOSPC);
    f->layer.fail = 0;
    run(op, BLK_IO_READ, 4, 4);
    assert_memory_equal(op->data, f->expected + 4 * 512, 4 * 512);
    run(op, BLK_IO_WRITE, 6, 1);
    f->layer.fail = -EIO;
    run(op, BLK_IO_READ, 4, 2);
    assert_int_equal(op->io.error, 0);
    run(op, BLK_IO_READ, 4, 4);
    assert_int_equal(op->io.error, -EIO);
    f->layer.fail = 0;
    f->image.fail = -EIO;
    run(op, BLK_IO_READ, 4, 4);
    assert_int_equal(op->io.error, -EIO);
    run(op, BLK_IO_SYNC, 0, 1);
    assert_int_equal(op->io.error, 0);
    free(op);
}

/* --- disks ----------------------------------------------------------------------------------- */

static const unsigned char bits[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_WRITE_ZEROES,
                                     VIRTIO_BLK_F_DISCARD};

static void assert_image_file_unchanged(const char *path)
{
    static uint8_t bytes[64 * 512];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
    blk_disk_assert_pattern(bytes, 0, sizeof(bytes));
    assert_int_equal(lseek(fd, 0, SEEK_END), sizeof(bytes));
    close(fd);
}

static void write_one(struct blk_disk *d, uint64_t sector, uint8_t value)
{
    memset(d->out + 16, value, 512);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, sector, 512, NULL), VIRTIO_BLK_S_OK);
}

/* Two of them share an image, and neither sees what the other writes. */
static void snapshots(enum blk_aio aio, bool direct)
{
    char path[] = "/var/tmp/test_blk.XXXXXX";
    int fd = mkstemp(path);
    struct blk_options options = {
        .path = path, .snapshot = true, .aio = (int)aio, .direct = direct};
    struct blk_disk *a, *b;

    blk_disk_fill(fd, 64 * 512);
    a = blk_disk_open(&options);
    b = blk_disk_open(&options);
    if (a->backend && b->backend) {
        blk_disk_start(a, bits, sizeof(bits));
        blk_disk_start(b, bits, sizeof(bits));
        assert_false(blk_disk_offers(a, VIRTIO_BLK_F_RO));
        for (unsigned i = 0; i < 64; i += 3)
            write_one(a, i, (uint8_t)i);
        assert_int_equal(blk_disk_request(a, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
        assert_int_equal(blk_disk_request(a, VIRTIO_BLK_T_IN, 0, 64 * 512, NULL), VIRTIO_BLK_S_OK);
        for (unsigned i = 0; i < 64; i++)
            for (unsigned j = 0; j < 512; j++)
                assert_int_equal(a->in[i * 512 + j], i % 3 ? blk_disk_pattern(i * 512 + j) : i);
        assert_int_equal(blk_disk_request(b, VIRTIO_BLK_T_IN, 0, 64 * 512, NULL), VIRTIO_BLK_S_OK);
        blk_disk_assert_pattern(b->in, 0, 64 * 512);
        assert_image_file_unchanged(path);
    } else {
        assert_int_not_equal(aio, BLK_AIO_THREADS);
    }
    blk_disk_close(a);
    blk_disk_close(b);
    close(fd);
    unlink(path);
}

static void test_disks(void **state)
{
    (void)state;
    snapshots(BLK_AIO_THREADS, false);
    snapshots(BLK_AIO_URING, false);
    snapshots(BLK_AIO_INLINE, false);
}

static void test_disks_direct(void **state)
{
    (void)state;
    snapshots(BLK_AIO_URING, true);
}

/* BLK-21, of a disk whose image stays as it is */
static void test_resize(void **state)
{
    struct blk_disk *d = blk_disk_open(&(struct blk_options){.snapshot = true});
    struct error err = ERROR_INIT;

    (void)state;
    blk_disk_start(d, bits, sizeof(bits));
    write_one(d, 60, 1);
    assert_int_equal(d->backend->ops->command(d->backend, "resize", "20K", &err), 0);
    assert_int_equal(blk_disk_config(d, 0, 8), 40);
    assert_int_equal(d->backend->ops->command(d->backend, "resize", "40K", &err), 0);
    assert_int_equal(atomic_load(&d->config_changes), 2);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 38, 30 * 512, NULL), VIRTIO_BLK_S_OK);
    blk_disk_assert_pattern(d->in, 38 * 512, 2 * 512);
    for (unsigned i = 2 * 512; i < 30 * 512; i++)
        assert_int_equal(d->in[i], 0);
    write_one(d, 79, 3);
    assert_int_equal(d->backend->ops->command(d->backend, "resize", "auto", &err), -EINVAL);
    blk_disk_assert_image_unchanged(d);
    blk_disk_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_of_other_sizes),
        cmocka_unit_test(test_no_place),
        cmocka_unit_test_setup_teardown(test_any_mixture, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_disks_direct),
        cmocka_unit_test(test_resize),
    };
    log_configure("error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
