/*
 * How worn the medium of a block device is, where the host knows: eMMC tells it in two files of its
 * sysfs directory (specification 5.2.6, struct virtio_blk_lifetime; JEDEC JESD84-B51 7.4).
 *
 *     device/pre_eol_info   "0x01"       reserve blocks: 1 normal, 2 warning, 3 urgent
 *     device/life_time      "0x03 0x02"  memory of type A and B: tenths of its life used, 11: over
 */
#ifndef DEVICES_BLK_LIFETIME_H
#define DEVICES_BLK_LIFETIME_H

#include <stdint.h>

#define BLK_LIFETIME_SIZE 6 /* pre_eol_info le16, device_lifetime_est_typ_a le16, ..._b le16 */

/* Read it from a block device's directory in sysfs (a partition's will do). -ENODATA when nothing
 * is there, or nothing that means anything (BLK-24: no reserved value ever gets through). */
int blk_lifetime_read(const char *sysfs, uint8_t out[BLK_LIFETIME_SIZE]);

#endif
