#include "tests/driver/fake_engine.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(what)                                                          \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "fake_engine: %d: not so: %s\n", __LINE__, #what); \
            abort();                                                           \
        }                                                                      \
    } while (0)

static struct fake_engine *fake_of(struct blk_engine *engine)
{
    return container_of(engine, struct fake_engine, engine);
}

static void check_transfer(const struct fake_engine *fake, const struct blk_io *io)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < io->iov_count; i++) {
        REQUIRE((uintptr_t)io->iov[i].iov_base % fake->memory == 0);
        REQUIRE(io->iov[i].iov_len % fake->block == 0);
        sum += io->iov[i].iov_len;
    }
    REQUIRE(io->offset % fake->block == 0 && io->bytes % fake->block == 0);
    REQUIRE(sum == io->bytes);
}

static void fake_submit(struct blk_engine *engine, struct blk_io *io)
{
    struct fake_engine *fake = fake_of(engine);

    if (io->type <= BLK_IO_WRITE)
        check_transfer(fake, io);
    REQUIRE(io->type == BLK_IO_SYNC || io->bytes > 0);
    REQUIRE(io->offset <= fake->size && io->bytes <= fake->size - io->offset);
    if (fake->refuse && io->type > BLK_IO_SYNC) {
        fake->depth++;
        fake->deepest = MAX(fake->deepest, fake->depth);
        io->error = fake->refuse;
        io->done(io);
        fake->depth--;
        return;
    }
    io->next = fake->waiting;
    fake->waiting = io;
    fake->count++;
    fake->peak = MAX(fake->peak, fake->count);
}

static void fake_flush(struct blk_engine *engine)
{
    (void)engine;
}

static struct blk_io *take_any(struct fake_engine *fake)
{
    struct blk_io **at = &fake->waiting, *io;

    fake->random = fake->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    for (uint64_t n = (fake->random >> 33) % fake->count; n > 0; n--)
        at = &(*at)->next;
    io = *at;
    *at = io->next;
    fake->count--;
    return io;
}

static void carry_out(struct fake_engine *fake, struct blk_io *io)
{
    uint8_t *at = fake->bytes + io->offset;

    io->error = fake->fail;
    if (io->error || io->type == BLK_IO_SYNC)
        return;
    if (io->type > BLK_IO_SYNC)
        memset(at, 0, io->bytes);
    for (unsigned i = 0; i < io->iov_count && io->type < BLK_IO_SYNC; i++) {
        const struct iovec *v = &io->iov[i];

        if (io->type == BLK_IO_READ)
            memcpy(v->iov_base, at, v->iov_len);
        else
            memcpy(at, v->iov_base, v->iov_len);
        at += v->iov_len;
    }
}

static void fake_wait(struct blk_engine *engine)
{
    struct fake_engine *fake = fake_of(engine);
    struct blk_io *io;

    if (fake->count == 0)
        return;
    io = take_any(fake);
    carry_out(fake, io);
    fake->transferred++;
    io->done(io);
    engine->batch_done(engine->opaque);
}

static void fake_destroy(struct blk_engine *engine)
{
    struct fake_engine *fake = fake_of(engine);

    REQUIRE(fake->count == 0);
    free(fake->bytes);
    fake->destroyed = true;
}

static const struct blk_engine_ops fake_ops = {
    .name = "fake",
    .submit = fake_submit,
    .flush = fake_flush,
    .wait = fake_wait,
    .destroy = fake_destroy,
};

void fake_engine_init(struct fake_engine *fake, uint64_t size, uint32_t memory, uint32_t block)
{
    *fake = (struct fake_engine){
        .engine.ops = &fake_ops, .size = size, .memory = memory, .block = block};
    fake->bytes = calloc(1, size);
    REQUIRE(fake->bytes);
}
