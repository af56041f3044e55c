/*
 * The host I/O engines of virtio-blk, without a device: both must pass the same tests.
 */
#include "base/bytes.h"
#include "devices/blk/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY  600 /* more than fit into the rings of io_uring */
#define BLOCK 512

struct fixture {
    struct loop *loop;
    struct blk_engine *engine;
    struct blk_file file; /* a memfd of MANY blocks */
    unsigned done, failed, batches;
    unsigned stop_after; /* stop the loop after so many are done; 0: never */
};

struct operation {
    struct blk_io io;
    struct fixture *fixture;
    struct iovec iov[2];
    uint8_t data[BLOCK];
    int calls;
};

static void operation_done(struct blk_io *io)
{
    struct operation *op = container_of(io, struct operation, io);

    op->calls++;
    op->fixture->done++;
    op->fixture->failed += io->error != 0;
}

static void batch_done(void *opaque)
{
    struct fixture *f = opaque;

    f->batches++;
    if (f->stop_after && f->done >= f->stop_after)
        loop_stop(f->loop);
}

static int setup(void **state, enum blk_aio choice)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    f->file.fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ftruncate(f->file.fd, MANY * BLOCK) < 0 || loop_create(&f->loop, NULL) < 0)
        return -1;
    if (blk_engine_create(choice, f->loop, &f->file, &f->engine, NULL) == 0) {
        f->engine->batch_done = batch_done;
        f->engine->opaque = f;
    }
    return 0;
}

static int setup_uring(void **state)
{
    return setup(state, BLK_AIO_URING);
}

static int setup_threads(void **state)
{
    return setup(state, BLK_AIO_THREADS);
}

static int setup_inline(void **state)
{
    return setup(state, BLK_AIO_INLINE);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->engine)
        f->engine->ops->destroy(f->engine);
    loop_destroy(f->loop);
    close(f->file.fd);
    free(f);
    return 0;
}

/* io_uring may be forbidden where the tests run. */
static struct fixture *fixture_of(void **state)
{
    struct fixture *f = *state;

    if (!f->engine)
        skip();
    return f;
}

static void transfer(struct fixture *f, struct operation *op, enum blk_io_type type, unsigned block)
{
    *op = (struct operation){.fixture = f};
    memset(op->data, (int)(block % 251), sizeof(op->data));
    op->iov[0] = (struct iovec){op->data, 100};
    op->iov[1] = (struct iovec){op->data + 100, BLOCK - 100};
    op->io = (struct blk_io){.type = type,
                             .stable = block % 2,
                             .iov = op->iov,
                             .iov_count = 2,
                             .bytes = BLOCK,
                             .offset = (uint64_t)block * BLOCK,
                             .done = operation_done};
    f->engine->ops->submit(f->engine, &op->io);
}

static void wait_for(struct fixture *f, unsigned done)
{
    while (f->done < done)
        f->engine->ops->wait(f->engine);
    assert_int_equal(f->done, done);
}

static void test_write_then_read_many(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation *ops = calloc(MANY, sizeof(*ops));
    uint8_t expected[BLOCK];

    for (unsigned i = 0; i < MANY; i++)
        transfer(f, &ops[i], BLK_IO_WRITE, i);
    assert_int_equal(f->done, 0); /* nothing is done within submit */
    wait_for(f, MANY);

    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(ops[i].calls, 1);
        transfer(f, &ops[i], BLK_IO_READ, i);
        memset(ops[i].data, 0xff, BLOCK);
    }
    wait_for(f, 2 * MANY);
    for (unsigned i = 0; i < MANY; i++) {
        memset(expected, (int)(i % 251), BLOCK);
        assert_memory_equal(ops[i].data, expected, BLOCK);
        assert_int_equal(ops[i].calls, 1);
    }
    assert_int_equal(f->failed, 0);
    assert_true(f->batches > 0 && f->batches <= f->done);
    free(ops);
}

/* Completions reach the loop by themselves, whatever flush has already run. (Inline, flush has run
 * all.) */
static void test_completes_on_loop(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation *ops = calloc(MANY, sizeof(*ops));

    f->stop_after = MANY;
    for (unsigned i = 0; i < MANY; i++) {
        transfer(f, &ops[i], i % 3 ? BLK_IO_WRITE : BLK_IO_READ, i);
        if (i % 7 == 0)
            f->engine->ops->flush(f->engine);
    }
    f->engine->ops->flush(f->engine);
    loop_run(f->loop); /* until the last is done, which may have stopped it already */
    assert_int_equal(f->done, MANY);
    assert_int_equal(f->failed, 0);
    free(ops);
}

static void test_sync(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation op = {.fixture = f, .io = {.type = BLK_IO_SYNC, .done = operation_done}};

    f->engine->ops->submit(f->engine, &op.io);
    wait_for(f, 1);
    assert_int_equal(op.io.error, 0);
}

static void test_wait_when_idle(void **state)
{
    struct fixture *f = fixture_of(state);

    f->engine->ops->wait(f->engine);
    f->engine->ops->flush(f->engine);
    assert_int_equal(f->batches, 0);
}

/* Behind the end of a file that was cut short there is nothing: an error, for that read alone. */
static void test_read_beyond_end(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation ops[3];

    assert_int_equal(ftruncate(f->file.fd, BLOCK + 100), 0);
    for (unsigned i = 0; i < 3; i++)
        transfer(f, &ops[i], BLK_IO_READ, i);
    wait_for(f, 3);
    assert_int_equal(ops[0].io.error, 0);
    assert_int_equal(ops[1].io.error, -EIO); /* partly there */
    assert_int_equal(ops[2].io.error, -EIO);
}

static void test_write_refused(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation ops[2];

    assert_int_equal(ftruncate(f->file.fd, BLOCK), 0);
    assert_int_equal(fcntl(f->file.fd, F_ADD_SEALS, F_SEAL_GROW), 0);
    transfer(f, &ops[0], BLK_IO_WRITE, 0);
    transfer(f, &ops[1], BLK_IO_WRITE, 1);
    wait_for(f, 2);
    assert_int_equal(ops[0].io.error, 0);
    assert_int_equal(ops[1].io.error, -EPERM);
}

/* --- ranges ---------------------------------------------------------------------------------- */

static void range(struct fixture *f, struct operation *op, enum blk_io_type type, bool unmap,
                  unsigned block, unsigned count)
{
    *op = (struct operation){.fixture = f};
    op->io = (struct blk_io){.type = type,
                             .unmap = unmap,
                             .bytes = (uint64_t)count * BLOCK,
                             .offset = (uint64_t)block * BLOCK,
                             .done = operation_done};
    f->engine->ops->submit(f->engine, &op->io);
}

/* BLK-19, BLK-35: what was punched out reads as zeroes, and its storage is gone. */
static void test_punch(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation op;
    struct stat before, after;
    uint8_t bytes[8 * BLOCK], zeroes[8 * BLOCK] = {0};

    f->file.discard = f->file.zero_unmap =
        (struct blk_method){BLK_METHOD_FALLOCATE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    memset(bytes, 7, sizeof(bytes));
    for (unsigned i = 0; i < MANY; i += 8)
        assert_int_equal(pwrite(f->file.fd, bytes, sizeof(bytes), i * BLOCK), sizeof(bytes));
    assert_int_equal(fstat(f->file.fd, &before), 0);
    range(f, &op, BLK_IO_DISCARD, false, 8, 8);
    wait_for(f, 1);
    assert_int_equal(op.io.error, 0);
    range(f, &op, BLK_IO_ZERO, true, 24, 8);
    wait_for(f, 2);
    assert_int_equal(op.io.error, 0);
    assert_int_equal(fstat(f->file.fd, &after), 0);
    assert_true(after.st_blocks < before.st_blocks);
    assert_int_equal(pread(f->file.fd, bytes, sizeof(bytes), 24 * BLOCK), sizeof(bytes));
    assert_memory_equal(bytes, zeroes, sizeof(bytes));
}

/* What the host has no method for, and an ioctl that it refuses. */
static void test_range_refused(void **state)
{
    struct fixture *f = fixture_of(state);
    struct operation op;

    range(f, &op, BLK_IO_ZERO, false, 0, 8);
    wait_for(f, 1);
    assert_int_equal(op.io.error, -EOPNOTSUPP);
    f->file.erase = (struct blk_method){BLK_METHOD_IOCTL, BLKSECDISCARD};
    range(f, &op, BLK_IO_ERASE, false, 0, 8);
    wait_for(f, 2);
    assert_int_equal(op.io.error, -ENOTTY);
}

/* --- accounting ------------------------------------------------------------------------------ */

/* blk_io_advance: what a short transfer leaves to do. */
static void test_short_transfers(void **state)
{
    uint8_t data[30];
    struct iovec iov[4] = {{data, 10}, {data + 10, 0}, {data + 10, 5}, {data + 15, 15}};
    struct blk_io io = {
        .type = BLK_IO_READ, .iov = iov, .iov_count = 4, .bytes = 30, .offset = 1000};

    (void)state;
    assert_false(blk_io_advance(&io, 4));
    assert_ptr_equal(io.iov->iov_base, data + 4);
    assert_int_equal(io.iov->iov_len, 6);
    assert_false(blk_io_advance(&io, -EINTR));
    assert_false(blk_io_advance(&io, 6));
    assert_int_equal(io.iov_count, 2);
    assert_ptr_equal(io.iov->iov_base, data + 10);
    assert_false(blk_io_advance(&io, 14));
    assert_int_equal(io.iov_count, 1);
    assert_ptr_equal(io.iov->iov_base, data + 24);
    assert_int_equal(io.iov->iov_len, 6);
    assert_int_equal(io.offset, 1024);
    assert_int_equal(io.bytes, 6);
    assert_true(blk_io_advance(&io, 6));
    assert_int_equal(io.error, 0);
}

static void test_outcomes(void **state)
{
    uint8_t data[8];
    struct iovec iov = {data, 8};
    struct blk_io io = {.type = BLK_IO_READ, .iov = &iov, .iov_count = 1, .bytes = 8};
    int again = 0;

    (void)state;
    assert_true(blk_io_advance(&io, 0));
    assert_int_equal(io.error, -EIO);
    assert_true(blk_io_advance(&io, -ENOSPC));
    assert_int_equal(io.error, -ENOSPC);
    while (!blk_io_advance(&io, -EAGAIN))
        again++;
    assert_in_range(again, 1, 100);
    assert_int_equal(io.error, -EAGAIN);

    io = (struct blk_io){.type = BLK_IO_SYNC};
    assert_true(blk_io_advance(&io, 0));
    assert_int_equal(io.error, 0);
}

static void test_auto_never_fails(void **state)
{
    struct fixture *f = *state;

    assert_non_null(f->engine);
}

static int setup_auto(void **state)
{
    return setup(state, BLK_AIO_AUTO);
}

/* clang-format off */
#define ALL(test)                                            \
    {#test " io_uring", test, setup_uring, teardown, NULL},   \
    {#test " threads", test, setup_threads, teardown, NULL},  \
    {#test " inline", test, setup_inline, teardown, NULL}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(test_write_then_read_many),
        ALL(test_completes_on_loop),
        ALL(test_sync),
        ALL(test_wait_when_idle),
        ALL(test_read_beyond_end),
        ALL(test_write_refused),
        ALL(test_punch),
        ALL(test_range_refused),
        cmocka_unit_test(test_short_transfers),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test_setup_teardown(test_auto_never_fails, setup_auto, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
