/*
 * One virtio-blk request (specification 5.2.6), from buffer to status byte.
 *
 *     readable                        writable
 *     | type 4 | reserved 4 | sector 8 | data ...        OUT
 *     | type 4 | reserved 4 | sector 8 |                 | data ...  | status 1 |    IN, GET_ID
 *
 * Descriptor boundaries mean nothing (2.7.4): header, data and status may be split or joined in
 * any way. What is wrong with a request is said in its status byte and concerns that request only;
 * a buffer in which header or status have no room breaks the queue (BLK-26).
 */
#ifndef DEVICES_BLK_REQUEST_H
#define DEVICES_BLK_REQUEST_H

#include "devices/blk/state.h"

/* 5.2.6: type and status */
enum blk_request_type { BLK_T_IN = 0, BLK_T_OUT = 1, BLK_T_FLUSH = 4, BLK_T_GET_ID = 8 };
enum blk_status { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

/*
 * Take on a buffer of the queue: answer it at once, or submit host I/O that answers it later. The
 * caller flushes the engine and publishes the queue. -EPROTO, with the queue's `broken` set,
 * when it can carry no answer.
 */
int blk_request_start(struct blk *blk, struct blk_queue *queue, struct virtqueue_buffer *buffer);

/* Free the requests kept for reuse. */
void blk_requests_free(struct blk *blk);

#endif
