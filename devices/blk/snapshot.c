#include "devices/blk/snapshot.h"

#include "base/bytes.h"
#include "devices/blk/image.h"

#include <errno.h>
#include <stdlib.h>

struct snapshot {
    struct blk_engine engine;
    struct blk_engine *image, *layer;
    struct blk_overlay *overlay;
    struct blk_io *spare; /* of allocated operations */
    bool settling;        /* in settle(), which is to look */
    bool again;           /* once more */
};

/* An operation of our own in place of one of the owner's, or of a part of it. */
struct part {
    struct blk_io io;
    struct snapshot *snapshot;
    struct blk_io *whole;
    uint64_t sector, sectors; /* as submitted */

    /* READ: the buffer in which the part ends, and what of it belongs to the parts that follow. */
    struct iovec *last;
    struct iovec rest;
};

static struct snapshot *snapshot_of(struct blk_engine *engine)
{
    return container_of(engine, struct snapshot, engine);
}

static struct part *part_get(struct snapshot *s, struct blk_io *whole)
{
    struct blk_io *io = s->spare;
    struct part *part;

    if (io)
        s->spare = io->next;
    else
        io = malloc(sizeof(struct part));
    if (!io)
        return NULL;
    part = container_of(io, struct part, io);
    part->snapshot = s;
    part->whole = whole;
    return part;
}

static void whole_over(struct part *part, int error)
{
    struct snapshot *s = part->snapshot;
    struct blk_io *whole = part->whole;

    part->io.next = s->spare;
    s->spare = &part->io;
    whole->error = error;
    whole->done(whole);
}

/* --- to the layer ---------------------------------------------------------------------------- */

static void changed(struct blk_io *io)
{
    struct part *part = container_of(io, struct part, io);

    if (!io->error)
        blk_overlay_add(part->snapshot->overlay, part->sector, part->sectors);
    whole_over(part, io->error);
}

static void submit_change(struct snapshot *s, struct part *part)
{
    part->io = *part->whole;
    part->io.stable = false;
    part->io.done = changed;
    part->sector = part->io.offset / BLK_SECTOR_SIZE;
    part->sectors = part->io.bytes / BLK_SECTOR_SIZE;
    s->layer->ops->submit(s->layer, &part->io);
}

/* --- from both ------------------------------------------------------------------------------- */

static void part_read(struct blk_io *io);

/* Read what comes first and lies in one place, into the first buffers of the whole; where it ends
 * within one of them, that is cut in two for as long as it takes. */
static void submit_part(struct snapshot *s, struct part *part)
{
    struct blk_io *whole = part->whole;
    struct iovec *last = whole->iov;
    uint64_t run, left;
    bool has = blk_overlay_has(s->overlay, whole->offset / BLK_SECTOR_SIZE,
                               whole->bytes / BLK_SECTOR_SIZE, &run);
    struct blk_engine *engine = has ? s->layer : s->image;

    part->sectors = run;
    for (left = run * BLK_SECTOR_SIZE; left > last->iov_len; last++)
        left -= last->iov_len;
    part->last = last;
    part->rest = (struct iovec){(uint8_t *)last->iov_base + left, (size_t)(last->iov_len - left)};
    last->iov_len = (size_t)left;
    part->io = (struct blk_io){
        .type = BLK_IO_READ,
        .iov = whole->iov,
        .iov_count = (unsigned)(last - whole->iov) + 1,
        .bytes = run * BLK_SECTOR_SIZE,
        .offset = whole->offset,
        .done = part_read,
    };
    engine->ops->submit(engine, &part->io);
}

static void part_read(struct blk_io *io)
{
    struct part *part = container_of(io, struct part, io);
    struct blk_io *whole = part->whole;
    uint64_t bytes = part->sectors * BLK_SECTOR_SIZE;

    if (io->error || bytes == whole->bytes) {
        whole_over(part, io->error);
        return;
    }
    whole->bytes -= bytes;
    whole->offset += bytes;
    whole->iov_count -= (unsigned)(part->last - whole->iov);
    whole->iov = part->last;
    *whole->iov = part->rest;
    submit_part(part->snapshot, part);
}

/* --- the engine ------------------------------------------------------------------------------ */

static bool all_in_one_place(const struct snapshot *s, const struct blk_io *io, bool *in_layer)
{
    uint64_t sectors = io->bytes / BLK_SECTOR_SIZE, run;

    *in_layer = blk_overlay_has(s->overlay, io->offset / BLK_SECTOR_SIZE, sectors, &run);
    return run == sectors;
}

static void snapshot_submit(struct blk_engine *engine, struct blk_io *io)
{
    struct snapshot *s = snapshot_of(engine);
    struct blk_engine *place;
    struct part *part;
    bool in_layer;

    if (io->type == BLK_IO_READ && all_in_one_place(s, io, &in_layer)) {
        place = in_layer ? s->layer : s->image;
        place->ops->submit(place, io);
        return;
    }
    if (io->type == BLK_IO_SYNC) {
        io->error = 0;
        io->done(io);
        return;
    }
    part = part_get(s, io);
    if (!part) {
        io->error = -ENOMEM;
        io->done(io);
        return;
    }
    if (io->type == BLK_IO_READ)
        submit_part(s, part);
    else
        submit_change(s, part);
}

static void snapshot_flush(struct blk_engine *engine)
{
    struct snapshot *s = snapshot_of(engine);

    s->image->ops->flush(s->image);
    s->layer->ops->flush(s->layer);
}

static void snapshot_wait(struct blk_engine *engine)
{
    struct snapshot *s = snapshot_of(engine);

    snapshot_flush(engine);
    s->image->ops->wait(s->image);
    s->layer->ops->wait(s->layer);
}

/* What one engine has finished may have submitted to the other. A loop here, since each may finish
 * at once what it gets and so come back here. */
static void settle(void *opaque)
{
    struct snapshot *s = opaque;

    s->again = true;
    if (s->settling)
        return;
    s->settling = true;
    while (s->again) {
        s->again = false;
        snapshot_flush(&s->engine);
    }
    s->settling = false;
    s->engine.batch_done(s->engine.opaque);
}

static void snapshot_destroy(struct blk_engine *engine)
{
    struct snapshot *s = snapshot_of(engine);

    s->image->ops->destroy(s->image);
    s->layer->ops->destroy(s->layer);
    while (s->spare)
        free(part_get(s, NULL));
    free(s);
}

static const struct blk_engine_ops snapshot_ops = {
    .name = "snapshot",
    .submit = snapshot_submit,
    .flush = snapshot_flush,
    .wait = snapshot_wait,
    .destroy = snapshot_destroy,
};

int blk_snapshot_create(struct blk_engine *image, struct blk_engine *layer,
                        struct blk_overlay *overlay, struct blk_engine **out, struct error *err)
{
    struct snapshot *s = calloc(1, sizeof(*s));

    if (!s) {
        image->ops->destroy(image);
        layer->ops->destroy(layer);
        return error_errno(err, ENOMEM, "cannot make a snapshot");
    }
    s->engine.ops = &snapshot_ops;
    s->image = image;
    s->layer = layer;
    s->overlay = overlay;
    image->batch_done = layer->batch_done = settle;
    image->opaque = layer->opaque = s;
    *out = &s->engine;
    return 0;
}
