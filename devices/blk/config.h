/*
 * The device configuration structure (specification 5.2.4), little-endian also for legacy drivers:
 * our guests are (BLK-27).
 */
#ifndef DEVICES_BLK_CONFIG_H
#define DEVICES_BLK_CONFIG_H

#include "devices/blk/state.h"

/* Fill blk->config from what the device is. Limits the options set must be in blk by then. */
void blk_config_fill(struct blk *blk);

/* For the model's table: any vCPU thread, under the device's lock. */
void blk_config_read(void *model, uint32_t offset, void *data, uint32_t len);
void blk_config_write(void *model, uint32_t offset, const void *data, uint32_t len);

#endif
