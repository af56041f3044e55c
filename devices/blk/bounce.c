#include "devices/blk/bounce.h"

#include "base/bytes.h"
#include "devices/blk/image.h"

#include <errno.h>
#include <stdlib.h>

struct bounce {
    struct blk_engine engine, *inner;
    uint32_t memory, block;  /* alignments */
    struct blk_io_list held; /* must wait until others are done */
    unsigned under_way;      /* operations started, of those that are followed */
    bool alone;              /* the one under way must stay the only one */
    bool starting;           /* held ones */
    uint8_t *buffers[BLK_BOUNCE_BUFFERS];
    unsigned buffers_free, buffers_made; /* buffers[0..buffers_free) are not in use */
    struct blk_io *spare;                /* of allocated operations */
};

/* An operation of the owner's that is followed until it is done. */
struct follower {
    struct blk_io io; /* what the inner engine does for it now */
    struct iovec iov;
    struct bounce *bounce;
    struct blk_io *outer; /* what is left of it: iov, bytes and offset move on */
    uint8_t *buffer;      /* NULL: it is aligned, and passed on as it is */
    uint32_t skip, take;  /* of the bytes in the buffer, those that are the owner's */
};

static struct bounce *bounce_of(struct blk_engine *engine)
{
    return container_of(engine, struct bounce, engine);
}

/* --- what an operation needs ----------------------------------------------------------------- */

static bool is_transfer(const struct blk_io *io)
{
    return io->type == BLK_IO_READ || io->type == BLK_IO_WRITE;
}

static bool is_whole_blocks(const struct bounce *b, const struct blk_io *io)
{
    return ((io->offset | io->bytes) & (b->block - 1)) == 0;
}

static bool is_aligned(const struct bounce *b, const struct blk_io *io)
{
    uintptr_t addresses = 0, lengths = 0;

    for (unsigned i = 0; i < io->iov_count; i++) {
        addresses |= (uintptr_t)io->iov[i].iov_base;
        lengths |= io->iov[i].iov_len;
    }
    return is_whole_blocks(b, io) && (addresses & (b->memory - 1)) == 0 &&
           (lengths & (b->block - 1)) == 0;
}

static bool needs_buffer(const struct bounce *b, const struct blk_io *io)
{
    return is_transfer(io) && !is_aligned(b, io);
}

static bool must_be_alone(const struct bounce *b, const struct blk_io *io)
{
    return io->type == BLK_IO_WRITE && !is_whole_blocks(b, io);
}

static bool may_start(const struct bounce *b, const struct blk_io *io)
{
    if (b->alone || (must_be_alone(b, io) && b->under_way > 0))
        return false;
    return b->buffers_free > 0 || b->buffers_made < BLK_BOUNCE_BUFFERS || !needs_buffer(b, io);
}

/* --- buffers and followers ------------------------------------------------------------------- */

static uint8_t *buffer_get(struct bounce *b)
{
    uint8_t *buffer;

    if (b->buffers_free > 0)
        return b->buffers[--b->buffers_free];
    buffer = aligned_alloc(MAX(b->memory, (uint32_t)4096), BLK_BOUNCE_SIZE);
    if (buffer)
        b->buffers_made++;
    return buffer;
}

static struct follower *follower_get(struct bounce *b)
{
    struct blk_io *io = b->spare;

    if (!io)
        return malloc(sizeof(struct follower));
    b->spare = io->next;
    return container_of(io, struct follower, io);
}

static void follower_put(struct follower *f)
{
    struct bounce *b = f->bounce;

    if (f->buffer)
        b->buffers[b->buffers_free++] = f->buffer;
    f->io.next = b->spare;
    b->spare = &f->io;
}

/* --- one operation --------------------------------------------------------------------------- */

static void start(struct bounce *b, struct blk_io *outer);

/* A loop here, and not one call within the other: each may be over at once and so come back. */
static void start_held(struct bounce *b)
{
    if (b->starting)
        return;
    b->starting = true;
    while (b->held.first && may_start(b, b->held.first))
        start(b, blk_io_list_take(&b->held));
    b->starting = false;
}

static void over(struct follower *f, int error)
{
    struct bounce *b = f->bounce;
    struct blk_io *outer = f->outer;

    follower_put(f);
    b->under_way--;
    b->alone = false;
    outer->error = error;
    outer->done(outer);
    start_held(b);
}

static void passed_done(struct blk_io *io)
{
    over(container_of(io, struct follower, io), io->error);
}

/* Copy between the owner's next bytes and the buffer, and move on behind them. */
static void copy_outer(struct follower *f, bool from_outer)
{
    struct blk_io *outer = f->outer;
    uint8_t *at = f->buffer + f->skip;

    outer->bytes -= f->take;
    outer->offset += f->take;
    for (size_t left = f->take, n; left > 0; left -= n, at += n) {
        struct iovec *v = outer->iov;

        n = MIN(left, v->iov_len);
        if (from_outer)
            memcpy(at, v->iov_base, n);
        else
            memcpy(v->iov_base, at, n);
        v->iov_base = (uint8_t *)v->iov_base + n;
        v->iov_len -= n;
        if (v->iov_len == 0) {
            outer->iov++;
            outer->iov_count--;
        }
    }
}

static void piece_done(struct blk_io *io);

static void submit_piece(struct follower *f, enum blk_io_type type, uint64_t offset, size_t bytes)
{
    struct blk_engine *inner = f->bounce->inner;

    f->iov = (struct iovec){f->buffer, bytes};
    f->io = (struct blk_io){
        .type = type,
        .stable = type == BLK_IO_WRITE && f->outer->stable,
        .iov = &f->iov,
        .iov_count = 1,
        .bytes = bytes,
        .offset = offset,
        .done = piece_done,
    };
    inner->ops->submit(inner, &f->io);
}

/* The whole blocks around the owner's next bytes, as many as the buffer holds. */
static void start_piece(struct follower *f)
{
    const struct blk_io *outer = f->outer;
    uint32_t block = f->bounce->block;
    uint64_t begin = align_down(outer->offset, block);
    uint64_t end = MIN(outer->offset + outer->bytes, begin + BLK_BOUNCE_SIZE);
    size_t bytes = (size_t)(align_up(end, block) - begin);
    bool write = outer->type == BLK_IO_WRITE;

    f->skip = (uint32_t)(outer->offset - begin);
    f->take = (uint32_t)(end - outer->offset);
    if (write && f->take == bytes) {
        copy_outer(f, true);
        submit_piece(f, BLK_IO_WRITE, begin, bytes);
    } else {
        submit_piece(f, BLK_IO_READ, begin, bytes);
    }
}

static void piece_done(struct blk_io *io)
{
    struct follower *f = container_of(io, struct follower, io);
    uint32_t block = f->bounce->block;
    uint64_t begin = align_down(f->outer->offset, block);

    if (!io->error && io->type == BLK_IO_READ) {
        bool write = f->outer->type == BLK_IO_WRITE;
        size_t bytes = (size_t)align_up(f->skip + f->take, block);

        copy_outer(f, write);
        if (write) { /* the blocks were read, are changed, and go back */
            submit_piece(f, BLK_IO_WRITE, begin, bytes);
            return;
        }
    }
    if (io->error || f->outer->bytes == 0)
        over(f, io->error);
    else
        start_piece(f);
}

static void fail(struct blk_io *outer)
{
    outer->error = -ENOMEM;
    outer->done(outer);
}

static void start(struct bounce *b, struct blk_io *outer)
{
    bool buffered = needs_buffer(b, outer);
    struct follower *f = follower_get(b);

    if (!f) {
        fail(outer);
        return;
    }
    f->bounce = b;
    f->outer = outer;
    f->buffer = buffered ? buffer_get(b) : NULL;
    if (buffered && !f->buffer) {
        follower_put(f);
        fail(outer);
        return;
    }
    b->under_way++;
    b->alone = must_be_alone(b, outer);
    if (buffered) {
        start_piece(f);
        return;
    }
    f->io = *outer;
    f->io.done = passed_done;
    b->inner->ops->submit(b->inner, &f->io);
}

/* --- the engine ------------------------------------------------------------------------------ */

static void bounce_submit(struct blk_engine *engine, struct blk_io *io)
{
    struct bounce *b = bounce_of(engine);

    /* Only where a write can be less than a block need whole ones be followed. */
    if (b->block == BLK_SECTOR_SIZE && !needs_buffer(b, io))
        b->inner->ops->submit(b->inner, io);
    else if (b->held.first || !may_start(b, io))
        blk_io_list_add(&b->held, io);
    else
        start(b, io);
}

static void bounce_flush(struct blk_engine *engine)
{
    struct bounce *b = bounce_of(engine);

    b->inner->ops->flush(b->inner);
}

static void bounce_wait(struct blk_engine *engine)
{
    struct bounce *b = bounce_of(engine);

    b->inner->ops->wait(b->inner);
}

static void bounce_batch_done(void *opaque)
{
    struct bounce *b = opaque;

    b->engine.batch_done(b->engine.opaque);
}

static void bounce_destroy(struct blk_engine *engine)
{
    struct bounce *b = bounce_of(engine);

    b->inner->ops->destroy(b->inner);
    while (b->buffers_free > 0)
        free(b->buffers[--b->buffers_free]);
    while (b->spare)
        free(follower_get(b));
    free(b);
}

static const struct blk_engine_ops bounce_ops = {
    .name = "direct",
    .submit = bounce_submit,
    .flush = bounce_flush,
    .wait = bounce_wait,
    .destroy = bounce_destroy,
};

int blk_bounce_create(struct blk_engine *inner, uint32_t memory, uint32_t block,
                      struct blk_engine **out, struct error *err)
{
    struct bounce *b = calloc(1, sizeof(*b));

    if (!b) {
        inner->ops->destroy(inner);
        return error_errno(err, ENOMEM, "cannot set up direct I/O");
    }
    b->engine.ops = &bounce_ops;
    b->inner = inner;
    b->memory = memory;
    b->block = MAX(block, (uint32_t)BLK_SECTOR_SIZE);
    blk_io_list_init(&b->held);
    inner->batch_done = bounce_batch_done;
    inner->opaque = b;
    *out = &b->engine;
    return 0;
}
