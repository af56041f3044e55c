/*
 * Another size of the disk while the guest runs (BLK-21).
 */
#ifndef DEVICES_BLK_RESIZE_H
#define DEVICES_BLK_RESIZE_H

#include "devices/blk/state.h"

/* The command `resize SIZE|auto`, for the model's table. On the loop; what is in flight is done
 * before the size changes. What lies behind a smaller size is lost, and requests there fail. */
int blk_resize(void *model, const char *argument, struct error *err);

/* Wait until nothing is in flight in a queue. On the loop. */
void blk_drain(struct blk *blk, struct blk_queue *queue);

#endif
