/*
 * virtio-blk: a disk image on the host as a block device of the guest (specification 5.2).
 *
 *   blk.c        the model: options, features, queues
 *   config.c     the configuration structure
 *   parts.c      a request taken apart
 *   request.c    a request checked, done and answered
 *   ranges.c     discard, write zeroes, secure erase
 *   resize.c     another size while the guest runs
 *   lifetime.c   wear of the medium
 *
 *   backing.c    what is behind it, put together from:
 *     image*.c     the file or block device
 *     io.h         asynchronous host I/O, by io_uring.c, io_threads.c or io_inline.c
 *     bounce.c     direct I/O for any guest buffer
 *     snapshot.c   a throw-away layer over the image, kept by overlay.c
 *
 * Data never pass through the program, but with direct=on what is not aligned: the host reads and
 * writes guest memory directly. All of a device's queues are served on one loop; what a request
 * needs is allocated when so many are in flight for the first time, and reused.
 *
 * Not offered: zoned devices (ZONED; so DRV-BLK-12, -14 and -15 cannot be broken), since neither a
 * file nor an ordinary disk has zones; of the legacy features BARRIER and SCSI, which no driver of
 * the last decade uses. Not noticed: a driver that reads `writeback` too early (DRV-BLK-11).
 */
#ifndef DEVICES_BLK_BLK_H
#define DEVICES_BLK_BLK_H

#include "virtio/builtin.h"

enum blk_cache {
    BLK_CACHE_WRITEBACK,    /* a write is done when the host has it, stable after a flush */
    BLK_CACHE_WRITETHROUGH, /* a write is done when it is stable, unless the driver wants less */
    BLK_CACHE_UNSAFE,       /* a flush does nothing */
};

/* What the option table of blk_model fills. Numbers are 0 where the user said nothing. */
struct blk_options {
    char *path;
    bool readonly, direct, snapshot;
    char *serial; /* NULL: none */
    int cache;    /* enum blk_cache */
    int aio;      /* enum blk_aio, see io.h */
    uint64_t logical_block_size, physical_block_size;
    uint64_t seg_max, size_max;
    uint64_t cyls, heads, secs;
};

extern const struct virtio_model blk_model;

#endif
