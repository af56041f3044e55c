/*
 * Another size of the disk while the guest runs (BLK-21).
 */
#ifndef DEVICES_BLK_RESIZE_H
#define DEVICES_BLK_RESIZE_H

#include "devices/blk/state.h"

/* The command `resize SIZE|auto`, for the model's table. On the loop; what is in flight is done
 * before the size changes, and -EBUSY if that takes seconds. What lies behind a smaller size is
 * lost, and requests there fail. */
int blk_resize(void *model, const char *argument, struct error *err);

/* Wait until nothing is in flight in a queue that stops. On the loop. A driver can ask for more
 * zeroes than the host writes in an hour: after seconds (for all queues together) what is left of
 * ranges fails. */
void blk_drain(struct blk *blk, struct blk_queue *queue);

#endif
