/*
 * The throw-away layer of a snapshot: a sparse temporary file without a name, as long as the disk,
 * and a map of the sectors that have been written to it. All others are still the image's.
 *
 * A bit for each sector means that nothing is ever copied from the image: a write replaces whole
 * sectors. The map takes 1/4096 of the image's size in address space, and memory only where its
 * bits are touched: a page for each 16 MiB of the disk that something is written in.
 *
 * Thread: the one that owns the disk.
 */
#ifndef DEVICES_BLK_OVERLAY_H
#define DEVICES_BLK_OVERLAY_H

#include "base/error.h"
#include "devices/blk/io.h"

#include <stdbool.h>
#include <stdint.h>

struct blk_overlay {
    struct blk_file file;   /* file.fd is -1 while closed */
    uint64_t image_sectors; /* what lies behind them is never the image's */
    uint64_t *map;          /* for the sectors the image had at first */
    size_t map_bytes;
};

/* Make a layer over an image of so many sectors. The file is made in $TMPDIR, or /var/tmp, and gone
 * with its descriptor. */
int blk_overlay_open(struct blk_overlay *overlay, uint64_t sectors, struct error *err);
void blk_overlay_close(struct blk_overlay *overlay);

/* The disk has another size from now on. What was cut off does not come back: sectors behind a
 * smaller size read as zeroes when it grows again. */
int blk_overlay_resize(struct blk_overlay *overlay, uint64_t sectors, struct error *err);

/* Whether the layer has `sector`, and in *run how many of the `count` (not 0) sectors from it on
 * are the same in that. */
bool blk_overlay_has(const struct blk_overlay *overlay, uint64_t sector, uint64_t count,
                     uint64_t *run);

/* The layer has these sectors now. */
void blk_overlay_add(struct blk_overlay *overlay, uint64_t sector, uint64_t count);

#endif
