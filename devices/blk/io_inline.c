/*
 * Host I/O by plain system calls on the loop's own thread, for files in memory: such a call never
 * waits for a device, and handing it to anybody else would cost more than it does. When there is a
 * lot to do, others on the loop get their turn in between.
 */
#include "base/bytes.h"
#include "devices/blk/io.h"

#include <errno.h>
#include <stdlib.h>

#define TURN_BYTES (64 * MIB)

struct inliner {
    struct blk_engine engine;
    struct loop *loop;
    const struct blk_file *file;
    struct blk_io_list waiting;
    struct loop_task more;
    bool turn_over; /* `more` will go on */
};

static void inline_submit(struct blk_engine *engine, struct blk_io *io)
{
    blk_io_list_add(&container_of(engine, struct inliner, engine)->waiting, io);
}

static void run(struct inliner *inliner)
{
    struct blk_io *io;

    if (!inliner->waiting.first)
        return;
    for (uint64_t bytes = 0; bytes < TURN_BYTES && (io = blk_io_list_take(&inliner->waiting));) {
        bytes += io->bytes;
        blk_io_perform(inliner->file, io);
        io->done(io);
    }
    inliner->turn_over = inliner->waiting.first;
    if (inliner->turn_over)
        loop_post(inliner->loop, &inliner->more);
    inliner->engine.batch_done(inliner->engine.opaque);
}

static void run_more(struct loop_task *task)
{
    run(container_of(task, struct inliner, more));
}

static void inline_flush(struct blk_engine *engine)
{
    struct inliner *inliner = container_of(engine, struct inliner, engine);

    if (!inliner->turn_over)
        run(inliner);
}

static void inline_wait(struct blk_engine *engine)
{
    run(container_of(engine, struct inliner, engine));
}

static void inline_destroy(struct blk_engine *engine)
{
    struct inliner *inliner = container_of(engine, struct inliner, engine);

    loop_task_cancel(inliner->loop, &inliner->more);
    free(inliner);
}

static const struct blk_engine_ops inline_ops = {
    .name = "inline",
    .submit = inline_submit,
    .flush = inline_flush,
    .wait = inline_wait,
    .destroy = inline_destroy,
};

int blk_inline_create(struct loop *loop, const struct blk_file *file, struct blk_engine **out,
                      struct error *err)
{
    struct inliner *inliner = calloc(1, sizeof(*inliner));

    if (!inliner)
        return error_errno(err, ENOMEM, "cannot set up disk I/O");
    inliner->engine.ops = &inline_ops;
    inliner->loop = loop;
    inliner->file = file;
    inliner->more.run = run_more;
    blk_io_list_init(&inliner->waiting);
    *out = &inliner->engine;
    return 0;
}
