/*
 * The disk image: a raw file or a block device, opened, locked and measured.
 *
 * An image is locked for as long as it is open (an open file description lock over the whole
 * file): many may read it, or one may write it. QEMU honours and takes such locks, too.
 */
#ifndef DEVICES_BLK_IMAGE_H
#define DEVICES_BLK_IMAGE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define BLK_SECTOR_SIZE 512 /* 5.2.5: the unit of everything in the protocol, whatever blk_size */

struct blk_image {
    int fd;
    bool readonly;
    uint64_t sectors;

    /* What the host prefers (5.2.4, struct virtio_blk_topology). All of it is advice. */
    uint32_t block_size;        /* logical block, bytes */
    uint8_t physical_block_exp; /* logical blocks per physical block, log2 */
    uint8_t alignment_offset;   /* of the first aligned logical block */
    uint16_t min_io_blocks;     /* in logical blocks; 0: no advice */
    uint32_t opt_io_blocks;
};

/*
 * -EINVAL for what is neither a regular file nor a block device, is empty, or is not a whole number
 * of sectors long (to pad it or to drop its tail is the user's decision); -EBUSY when another
 * program has locked it; else the host's reason. On success the caller closes `fd`.
 */
int blk_image_open(struct blk_image *image, const char *path, bool readonly, struct error *err);
void blk_image_close(struct blk_image *image);

#endif
