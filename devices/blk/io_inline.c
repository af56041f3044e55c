/*
 * Host I/O by plain system calls on the loop's own thread, for files in memory: such a call never
 * waits for a device, and handing it to anybody else would cost more than it does.
 */
#include "base/bytes.h"
#include "devices/blk/io.h"

#include <errno.h>
#include <stdlib.h>

struct inliner {
    struct blk_engine engine;
    const struct blk_file *file;
    struct blk_io_list waiting;
};

static void inline_submit(struct blk_engine *engine, struct blk_io *io)
{
    blk_io_list_add(&container_of(engine, struct inliner, engine)->waiting, io);
}

static void inline_flush(struct blk_engine *engine)
{
    struct inliner *inliner = container_of(engine, struct inliner, engine);

    if (!inliner->waiting.first)
        return;
    for (struct blk_io *io; (io = blk_io_list_take(&inliner->waiting));) {
        blk_io_perform(inliner->file, io);
        io->done(io);
    }
    engine->batch_done(engine->opaque);
}

static void inline_destroy(struct blk_engine *engine)
{
    free(container_of(engine, struct inliner, engine));
}

static const struct blk_engine_ops inline_ops = {
    .name = "inline",
    .submit = inline_submit,
    .flush = inline_flush,
    .wait = inline_flush,
    .destroy = inline_destroy,
};

int blk_inline_create(const struct blk_file *file, struct blk_engine **out, struct error *err)
{
    struct inliner *inliner = calloc(1, sizeof(*inliner));

    if (!inliner)
        return error_errno(err, ENOMEM, "cannot set up disk I/O");
    inliner->engine.ops = &inline_ops;
    inliner->file = file;
    blk_io_list_init(&inliner->waiting);
    *out = &inliner->engine;
    return 0;
}
