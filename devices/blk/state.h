/*
 * One virtio-blk device: what blk.c and request.c share.
 *
 * All of it belongs to the device's loop, except where said otherwise.
 */
#ifndef DEVICES_BLK_STATE_H
#define DEVICES_BLK_STATE_H

#include "devices/blk/blk.h"
#include "devices/blk/image.h"
#include "devices/blk/io.h"

#include <stdatomic.h>

/* 5.2.3 Feature bits */
enum blk_feature {
    BLK_F_SEG_MAX = 2,
    BLK_F_RO = 5,
    BLK_F_BLK_SIZE = 6,
    BLK_F_FLUSH = 9,
    BLK_F_TOPOLOGY = 10,
    BLK_F_CONFIG_WCE = 11,
    BLK_F_MQ = 12,
};

/* The most data segments in a request (5.2.4 seg_max). With header and status this fits a queue of
 * 128; smaller queues get less, so that a request always fits without an indirect table. */
#define BLK_SEG_MAX 126

#define BLK_CONFIG_SIZE 36 /* 5.2.4, up to num_queues */
#define BLK_ID_SIZE     20 /* 5.2.6: VIRTIO_BLK_T_GET_ID */

struct blk_queue {
    struct virtqueue *ring;
    uint32_t in_flight; /* requests with the engine */
    bool unpublished;   /* something was pushed since the last publish */
};

struct blk {
    const char *path; /* for logs */
    struct blk_image image;
    struct blk_engine *engine;
    char id[BLK_ID_SIZE];            /* NUL-padded, no NUL when full (BLK-11) */
    uint8_t config[BLK_CONFIG_SIZE]; /* constant; `writeback` is put in when it is read */

    /* The driver's choice. Changes only while no queue runs. */
    struct virtio_features negotiated;

    /* The cache mode (5.2.5, config field writeback): true, a write is done when the host has it;
     * false, when it is on stable storage. Read and written on any thread. */
    atomic_bool writeback;

    struct blk_io *spare; /* of allocated requests that are not in flight */
    uint16_t queue_count;
    uint16_t seg_max; /* of this device, at most BLK_SEG_MAX */
    struct blk_queue *queues;
};

#endif
