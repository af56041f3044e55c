/*
 * One virtio-blk request (specification 5.2.6), from buffer to status byte.
 *
 * What is wrong with a request is said in its status byte and concerns that request only; a buffer
 * in which header or status have no room breaks the queue (BLK-26).
 */
#ifndef DEVICES_BLK_REQUEST_H
#define DEVICES_BLK_REQUEST_H

#include "devices/blk/parts.h"
#include "devices/blk/state.h"

/* 5.2.6: type and status */
enum blk_request_type {
    BLK_T_IN = 0,
    BLK_T_OUT = 1,
    BLK_T_FLUSH = 4,
    BLK_T_FLUSH_OUT = 5, /* legacy: the same (BLK-28) */
    BLK_T_GET_ID = 8,
    BLK_T_GET_LIFETIME = 10,
    BLK_T_DISCARD = 11,
    BLK_T_WRITE_ZEROES = 13,
    BLK_T_SECURE_ERASE = 14,
};
enum blk_status { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

struct blk_ranges;

/* A request whose host I/O is under way. */
struct blk_request {
    struct blk_io io;
    struct blk *blk;
    struct blk_queue *queue;
    struct virtqueue_buffer *buffer;
    uint8_t *status;
    uint32_t written;          /* used length if all goes well, without the status byte */
    struct blk_ranges *ranges; /* of ranges.c; else not set */
};

/*
 * Take on a buffer of the queue: answer it at once, or submit host I/O that answers it later. The
 * caller flushes the engine and publishes the queue. -EPROTO, with the queue's `broken` set,
 * when it can carry no answer.
 */
int blk_request_start(struct blk *blk, struct blk_queue *queue, struct virtqueue_buffer *buffer);

/* Free the requests kept for reuse. */
void blk_requests_free(struct blk *blk);

/* --- for other kinds of requests ------------------------------------------------------------- */

/* A request in flight for a buffer that was taken apart, its `io` not set; NULL: no memory. */
struct blk_request *blk_request_get(struct blk *blk, struct blk_queue *queue,
                                    const struct blk_parts *parts);

/* Answer it and put it back. */
void blk_request_finish(struct blk_request *request, enum blk_status status);

/* The host failed it: say so, limited. */
void blk_request_log_error(const struct blk_request *request);

/* Say which rule the driver has broken, limited. */
void blk_request_log_refused(const struct blk *blk, const struct blk_parts *parts,
                             const char *rule);

#endif
