/*
 * direct=on: an engine that lets operations pass which the host can do directly between the file
 * and guest memory, and does the others through buffers of its own.
 *
 * Direct I/O wants addresses aligned in memory, and offsets and lengths to whole blocks in the
 * file. Drivers that heed blk_size send whole blocks; their buffers may still lie anywhere. A write
 * of less than a block is done by reading the block, changing and writing it; nothing else is under
 * way meanwhile, so that no other write to that block is lost.
 *
 * Memory: at most BLK_BOUNCE_BUFFERS of BLK_BOUNCE_SIZE bytes, allocated when first needed. Longer
 * operations are done piece after piece, and more of them wait for their turn.
 */
#ifndef DEVICES_BLK_BOUNCE_H
#define DEVICES_BLK_BOUNCE_H

#include "base/error.h"
#include "devices/blk/io.h"

#define BLK_BOUNCE_BUFFERS 8
#define BLK_BOUNCE_SIZE    (256 * 1024) /* a multiple of any alignment */

/*
 * `inner` does the I/O and belongs to the new engine from now on, also when this fails. Alignments
 * are powers of two, `block` at least a sector and at most BLK_BLOCK_SIZE_MAX, and the file is a
 * whole number of blocks long. Threads as for any engine (io.h).
 */
int blk_bounce_create(struct blk_engine *inner, uint32_t memory, uint32_t block,
                      struct blk_engine **out, struct error *err);

#endif
