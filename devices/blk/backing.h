/*
 * What a disk's bytes are kept in, put together as the options say:
 *
 *     engine ->  [snapshot -> layer's file
 *                      |   ]
 *                      +----> [direct ->] image
 *
 * Thread: as for engines (io.h).
 */
#ifndef DEVICES_BLK_BACKING_H
#define DEVICES_BLK_BACKING_H

#include "devices/blk/image.h"
#include "devices/blk/io.h"
#include "devices/blk/overlay.h"

struct blk_backing_options {
    struct blk_image_options image;
    enum blk_aio aio;
    bool snapshot; /* writes go to a throw-away layer; nothing to do where the guest cannot write */
};

struct blk_backing {
    struct blk_image image;
    struct blk_overlay overlay; /* with snapshot */
    bool snapshot;
    const struct blk_file *written; /* the file that changes: of the image, or of the overlay */
    struct blk_engine *engine;      /* NULL while closed */
    const char *aio;                /* name of the engine that does the image's I/O */
};

int blk_backing_open(struct blk_backing *backing, const struct blk_backing_options *options,
                     struct loop *loop, struct error *err);
void blk_backing_close(struct blk_backing *backing); /* nothing may be in flight */

/* Give the disk another size, or the one that the image has now. Nothing may be in flight. A size
 * that cannot be is -EINVAL. */
int blk_backing_resize(struct blk_backing *backing, uint64_t bytes, struct error *err);
int blk_backing_remeasure(struct blk_backing *backing, struct error *err);

#endif
