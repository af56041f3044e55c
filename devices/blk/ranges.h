/*
 * Discard, write zeroes and secure erase (specification 5.2.6): requests whose data are a list of
 * ranges of the disk.
 *
 * All ranges are copied and checked before anything is done. They are done one after another, and
 * the first that fails ends the request; what became of the others is left open (BLK-30). Where
 * the host has no way to zero a range, zeroes are written.
 */
#ifndef DEVICES_BLK_RANGES_H
#define DEVICES_BLK_RANGES_H

#include "devices/blk/request.h"

/* Start such a request; *later is set when the answer comes with the end of host I/O. Else, what to
 * answer now. */
enum blk_status blk_ranges_start(struct blk *blk, struct blk_queue *queue,
                                 const struct blk_parts *parts, bool *later);

#endif
