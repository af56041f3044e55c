/*
 * snapshot=on: an engine that reads from an image and writes to a throw-away layer (overlay.h).
 *
 *     write, zero, discard ----------------> the layer; then its map has the sectors
 *     read    sectors the layer has -------> the layer
 *             all others ------------------> the image
 *
 * A read of both is done piece after piece. Sectors count as written once the write is done, so
 * that one which fails leaves what was there. Nothing here survives Vireo, so nothing is synced.
 */
#ifndef DEVICES_BLK_SNAPSHOT_H
#define DEVICES_BLK_SNAPSHOT_H

#include "devices/blk/io.h"
#include "devices/blk/overlay.h"

/* `image` and `layer` are engines for the image and for the overlay's file; both belong to the new
 * engine from now on, also when this fails. `overlay` is borrowed. Threads as for any
 * engine (io.h). */
int blk_snapshot_create(struct blk_engine *image, struct blk_engine *layer,
                        struct blk_overlay *overlay, struct blk_engine **out, struct error *err);

#endif
