/*
 * The disk image: a raw file or a block device, opened, locked and measured.
 *
 *   image.c          opening, and a new size
 *   image_lock.c     the lock, held for as long as the image is open
 *   image_measure.c  its size and what the host prefers
 *   image_methods.c  discard, write zeroes, secure erase: what the host can do
 *
 * All calls on the thread that owns the disk: the main thread at first, then its loop.
 */
#ifndef DEVICES_BLK_IMAGE_H
#define DEVICES_BLK_IMAGE_H

#include "base/error.h"
#include "devices/blk/io.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BLK_SECTOR_SIZE    512 /* 5.2.5: the unit of everything in the protocol, whatever blk_size */
#define BLK_BLOCK_SIZE_MAX 65536

/* How a user wants it opened. Sizes: powers of two from 512 to BLK_BLOCK_SIZE_MAX, or 0 for what
 * the host says. */
struct blk_image_options {
    const char *path;
    bool readonly;
    bool direct; /* O_DIRECT: around the host's page cache */
    uint64_t logical_block_size, physical_block_size;
};

struct blk_image {
    struct blk_file file;  /* file.fd is -1 while closed */
    bool readonly, device; /* device: a block device */
    uint64_t sectors;
    char *sysfs; /* the block device's directory in sysfs; NULL: a file */

    /* With direct I/O, what addresses in memory, and offsets and lengths in the file, must be
     * multiples of; otherwise 1. */
    uint32_t memory_alignment, block_alignment;

    /* What the host prefers (5.2.4, struct virtio_blk_topology). All of it is advice. */
    uint32_t block_size;        /* logical block, bytes; at least block_alignment */
    uint8_t physical_block_exp; /* logical blocks per physical block, log2 */
    uint8_t alignment_offset;   /* of the first aligned logical block */
    uint16_t min_io_blocks;     /* in logical blocks; 0: no advice */
    uint32_t opt_io_blocks;

    uint32_t discard_sectors; /* ranges to discard should be multiples of so many */
};

/*
 * -EINVAL for what is neither a regular file nor a block device, is empty, or is not a whole number
 * of logical blocks long (to pad it or to drop its tail is the user's decision), or cannot be
 * accessed the way the options want; -EBUSY when another program has locked it; else the host's
 * reason. `image` is closed after a failure.
 */
int blk_image_open(struct blk_image *image, const struct blk_image_options *options,
                   struct error *err);
void blk_image_close(struct blk_image *image);

/* Make a file so many bytes long; what is behind a smaller size is lost. `sectors` follows. */
int blk_image_resize(struct blk_image *image, uint64_t bytes, struct error *err);

/* Set `sectors` to the size the image has now, which others may have changed. */
int blk_image_remeasure(struct blk_image *image, struct error *err);

/* A disk cannot have this size: empty, or not a multiple of the logical block. */
int blk_image_check_size(const struct blk_image *image, uint64_t bytes, struct error *err);

/* --- the parts ------------------------------------------------------------------------------- */

/*
 * Many may read an image, or one may write it. The locks are those of open file descriptions, on
 * the bytes QEMU puts its own on, so that each respects the other's. A file system without locks
 * is warned about only.
 */
int blk_image_lock(const struct blk_image *image, const char *path, struct error *err);

/* Fill in all that image.h lists from `sectors` on but discard_sectors. */
int blk_image_measure(struct blk_image *image, const struct blk_image_options *options,
                      struct error *err);
int blk_image_bytes(const struct blk_image *image, uint64_t *bytes, struct error *err);

/* Find out what the file's file system or the device can do, and fill in file's methods and
 * discard_sectors. Changes nothing that could be read. */
void blk_image_find_methods(struct blk_image *image);

/* The same for any file that may be written, for `bytes` its size. */
void blk_file_find_methods(struct blk_file *file, uint64_t bytes);

/* A number from a file in the device's sysfs directory (a partition's: its disk's), or 0. */
uint64_t blk_image_sysfs_number(const struct blk_image *image, const char *name);

#endif
