#include "devices/blk/backing.h"

#include "base/bytes.h"
#include "devices/blk/bounce.h"
#include "devices/blk/snapshot.h"

#include <errno.h>

/* The image's own engine, with whatever its alignment takes. */
static int image_engine(struct blk_backing *backing, enum blk_aio aio, struct loop *loop,
                        struct blk_engine **out, struct error *err)
{
    const struct blk_image *image = &backing->image;
    int r = blk_engine_create(aio, loop, &image->file, out, err);

    if (r < 0)
        return r;
    backing->aio = (*out)->ops->name;
    if (MAX(image->memory_alignment, image->block_alignment) > 1)
        r = blk_bounce_create(*out, image->memory_alignment, image->block_alignment, out, err);
    return r;
}

static int add_snapshot(struct blk_backing *backing, struct blk_engine *image, enum blk_aio aio,
                        struct loop *loop, struct error *err)
{
    struct blk_overlay *overlay = &backing->overlay;
    struct blk_engine *layer;
    int r = blk_overlay_open(overlay, backing->image.sectors, err);

    if (r == 0)
        r = blk_engine_create(aio, loop, &overlay->file, &layer, err);
    if (r < 0) {
        image->ops->destroy(image);
        return r;
    }
    backing->written = &overlay->file;
    return blk_snapshot_create(image, layer, overlay, &backing->engine, err);
}

int blk_backing_open(struct blk_backing *backing, const struct blk_backing_options *options,
                     struct loop *loop, struct error *err)
{
    struct blk_image_options image = options->image;
    struct blk_engine *engine;
    int r;

    *backing = (struct blk_backing){.overlay.file.fd = -1};
    backing->snapshot = options->snapshot && !image.readonly;
    image.readonly |= options->snapshot;
    r = blk_image_open(&backing->image, &image, err);
    if (r < 0)
        return r;
    backing->written = &backing->image.file;
    r = image_engine(backing, options->aio, loop, &engine, err);
    if (r == 0 && backing->snapshot)
        r = add_snapshot(backing, engine, options->aio, loop, err);
    else if (r == 0)
        backing->engine = engine;
    if (r < 0)
        blk_backing_close(backing);
    return r;
}

void blk_backing_close(struct blk_backing *backing)
{
    if (backing->engine)
        backing->engine->ops->destroy(backing->engine);
    backing->engine = NULL;
    if (backing->snapshot)
        blk_overlay_close(&backing->overlay);
    blk_image_close(&backing->image);
}

int blk_backing_resize(struct blk_backing *backing, uint64_t bytes, struct error *err)
{
    struct blk_image *image = &backing->image;
    int r = blk_image_check_size(image, bytes, err);

    if (r < 0)
        return r;
    if (!backing->snapshot)
        return blk_image_resize(image, bytes, err);
    r = blk_overlay_resize(&backing->overlay, bytes / BLK_SECTOR_SIZE, err);
    if (r == 0)
        image->sectors = bytes / BLK_SECTOR_SIZE;
    return r;
}

int blk_backing_remeasure(struct blk_backing *backing, struct error *err)
{
    if (backing->snapshot)
        return error_set(err, EINVAL, "a snapshot shows the image as it was: give it a size");
    return blk_image_remeasure(&backing->image, err);
}
