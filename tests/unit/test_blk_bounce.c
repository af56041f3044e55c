/*
 * Direct I/O for any guest buffer: what reaches the host is aligned, what the driver sees is right.
 */
#include "base/bytes.h"
#include "devices/blk/bounce.h"
#include "devices/blk/image.h"
#include "tests/driver/fake_engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECTORS    4096
#define BYTES      (SECTORS * 512)
#define OPERATIONS 64
#define PIECES     4

struct fixture {
    struct fake_engine fake;
    struct blk_engine *engine;
    uint8_t expected[BYTES];
    unsigned done, failed;
    uint64_t random;
};

struct operation {
    struct blk_io io;
    struct fixture *f;
    struct iovec iov[PIECES];
    uint8_t *data, *memory;
    uint64_t offset, bytes;
    bool write;
};

static uint64_t draw(struct fixture *f, uint64_t below)
{
    f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (f->random >> 33) % below;
}

static void batch_done(void *opaque)
{
    (void)opaque;
}

static int set_up(void **state, uint32_t memory, uint32_t block)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    fake_engine_init(&f->fake, BYTES, memory, block);
    if (blk_bounce_create(&f->fake.engine, memory, block, &f->engine, NULL) < 0)
        return -1;
    f->engine->batch_done = batch_done;
    for (size_t i = 0; i < BYTES; i++)
        f->fake.bytes[i] = f->expected[i] = (uint8_t)(i / 512 + i);
    return 0;
}

static int set_up_512(void **state)
{
    return set_up(state, 512, 512);
}

static int set_up_4096(void **state)
{
    return set_up(state, 4096, 4096);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->engine->ops->destroy(f->engine);
    assert_true(f->fake.destroyed);
    free(f);
    return 0;
}

static void operation_done(struct blk_io *io)
{
    struct operation *op = container_of(io, struct operation, io);

    op->f->done++;
    op->f->failed += io->error != 0;
    if (!op->write && !io->error)
        assert_memory_equal(op->data, op->f->expected + op->offset, op->bytes);
}

/* Memory that is aligned or not, cut into pieces anywhere or not at all. */
static void operation_submit(struct fixture *f, struct operation *op, bool write, uint64_t sector,
                             uint64_t sectors, bool crooked)
{
    uint64_t at = 0;
    unsigned n = 0;

    *op =
        (struct operation){.f = f, .offset = sector * 512, .bytes = sectors * 512, .write = write};
    op->memory = aligned_alloc(4096, align_up(op->bytes + 4096, 4096));
    assert_non_null(op->memory);
    op->data = op->memory + (crooked ? 1 + draw(f, 4095) : 0);
    for (; n < PIECES - 1 && crooked && op->bytes - at > 1; n++) {
        uint64_t size = 1 + draw(f, op->bytes - at - 1);

        op->iov[n] = (struct iovec){op->data + at, size};
        at += size;
    }
    op->iov[n++] = (struct iovec){op->data + at, op->bytes - at};
    if (write)
        for (uint64_t i = 0; i < op->bytes; i++)
            op->data[i] = f->expected[op->offset + i] = (uint8_t)draw(f, 256);
    op->io = (struct blk_io){.type = write ? BLK_IO_WRITE : BLK_IO_READ,
                             .iov = op->iov,
                             .iov_count = n,
                             .bytes = op->bytes,
                             .offset = op->offset,
                             .done = operation_done};
    f->engine->ops->submit(f->engine, &op->io);
}

static void finish(struct fixture *f, struct operation *ops, unsigned count)
{
    for (int i = 0; f->done < count && i < 1000000; i++)
        f->engine->ops->wait(f->engine);
    assert_int_equal(f->done, count);
    f->done = 0;
    for (unsigned i = 0; i < count; i++)
        free(ops[i].memory);
}

/* Neighbours of each other, also within a block: none of their writes may be lost. */
static void test_neighbours(void **state)
{
    struct fixture *f = *state;
    struct operation ops[OPERATIONS];

    for (unsigned round = 0; round < 200; round++) {
        uint64_t sector = draw(f, 64);

        for (unsigned i = 0; i < OPERATIONS; i++) {
            uint64_t sectors = draw(f, 4) ? 1 + draw(f, 12) : 8;

            operation_submit(f, &ops[i], draw(f, 3), sector, sectors, draw(f, 2));
            sector += sectors + (draw(f, 4) == 0);
        }
        finish(f, ops, OPERATIONS);
        assert_int_equal(f->failed, 0);
        assert_memory_equal(f->fake.bytes, f->expected, BYTES);
    }
}

/* Longer than a buffer; more of them than there are buffers. */
static void test_long(void **state)
{
    struct fixture *f = *state;
    struct operation ops[2 * BLK_BOUNCE_BUFFERS];
    const unsigned count = ARRAY_SIZE(ops);

    for (unsigned i = 0; i < count; i++)
        operation_submit(f, &ops[i], i % 2, i * (SECTORS / count) + 1, SECTORS / count - 2, true);
    finish(f, ops, count);
    assert_int_equal(f->failed, 0);
    assert_memory_equal(f->fake.bytes, f->expected, BYTES);
    assert_true(f->fake.peak <= BLK_BOUNCE_BUFFERS);
    operation_submit(f, &ops[0], true, 0, SECTORS, true);
    finish(f, ops, 1);
    assert_memory_equal(f->fake.bytes, f->expected, BYTES);
}

/* What is aligned goes to the host as it is, all at once. */
static void test_aligned_pass(void **state)
{
    struct fixture *f = *state;
    struct operation ops[OPERATIONS];

    for (unsigned i = 0; i < OPERATIONS; i++)
        operation_submit(f, &ops[i], i % 2, 8 * i, 8, false);
    assert_int_equal(f->fake.count, OPERATIONS);
    finish(f, ops, OPERATIONS);
    assert_int_equal(f->fake.transferred, OPERATIONS);
    assert_memory_equal(f->fake.bytes, f->expected, BYTES);
}

/* An error of the host ends one operation; what waits for it goes on. */
static void test_errors(void **state)
{
    struct fixture *f = *state;
    struct operation ops[OPERATIONS];

    f->fake.fail = -EIO;
    for (unsigned i = 0; i < OPERATIONS; i++)
        operation_submit(f, &ops[i], i % 2, 3 * i, 3, true);
    finish(f, ops, OPERATIONS);
    assert_int_equal(f->failed, OPERATIONS);
    f->fake.fail = 0;
    memcpy(f->expected, f->fake.bytes, BYTES);
    operation_submit(f, &ops[0], true, 5, 3, true);
    finish(f, ops, 1);
    assert_int_equal(f->failed, OPERATIONS);
    assert_memory_equal(f->fake.bytes, f->expected, BYTES);
}

static void test_ranges_and_syncs_pass(void **state)
{
    struct fixture *f = *state;
    struct operation op = {.f = f, .write = true};

    op.io = (struct blk_io){.type = BLK_IO_SYNC, .done = operation_done};
    f->engine->ops->submit(f->engine, &op.io);
    finish(f, &op, 1);
    op.io = (struct blk_io){.type = BLK_IO_DISCARD, .bytes = 4096, .done = operation_done};
    memset(f->expected, 0, 4096);
    f->engine->ops->submit(f->engine, &op.io);
    finish(f, &op, 1);
    assert_memory_equal(f->fake.bytes, f->expected, BYTES);
}

/* What the host refuses at once does not pile up on the stack, however many waited for the same. */
static void test_many_refused_at_once(void **state)
{
    struct fixture *f = *state;
    const unsigned count = 10000;
    struct operation *ops = calloc(count, sizeof(*ops));

    f->fake.refuse = -EOPNOTSUPP;
    assert_non_null(ops);
    operation_submit(f, &ops[0], true, 1, 3, true); /* may have to be alone */
    for (unsigned i = 1; i < count; i++) {
        ops[i] = (struct operation){.f = f, .write = true};
        ops[i].io = (struct blk_io){.type = BLK_IO_ZERO, .bytes = 4096, .done = operation_done};
        f->engine->ops->submit(f->engine, &ops[i].io);
    }
    finish(f, ops, count);
    assert_int_equal(f->failed, count - 1);
    assert_int_equal(f->fake.deepest, 1);
    assert_memory_equal(f->fake.bytes, f->expected, BYTES);
    free(ops);
}

/* clang-format off */
#define BOTH(test)                                                                                 \
    {#test " 512", test, set_up_512, tear_down, NULL},                                             \
    {#test " 4096", test, set_up_4096, tear_down, NULL}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_neighbours),
        BOTH(test_long),
        BOTH(test_aligned_pass),
        BOTH(test_errors),
        BOTH(test_ranges_and_syncs_pass),
        BOTH(test_many_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
