/*
 * One virtio-blk device: what its parts share.
 *
 * All of it belongs to the device's loop, except where said otherwise.
 */
#ifndef DEVICES_BLK_STATE_H
#define DEVICES_BLK_STATE_H

#include "devices/blk/backing.h"
#include "devices/blk/blk.h"

#include <stdatomic.h>

/* 5.2.3 Feature bits */
enum blk_feature {
    BLK_F_SIZE_MAX = 1,
    BLK_F_SEG_MAX = 2,
    BLK_F_GEOMETRY = 4,
    BLK_F_RO = 5,
    BLK_F_BLK_SIZE = 6,
    BLK_F_FLUSH = 9,
    BLK_F_TOPOLOGY = 10,
    BLK_F_CONFIG_WCE = 11,
    BLK_F_MQ = 12,
    BLK_F_DISCARD = 13,
    BLK_F_WRITE_ZEROES = 14,
    BLK_F_LIFETIME = 15,
    BLK_F_SECURE_ERASE = 16,
};

/* The most data segments in a request (5.2.4 seg_max) where the user does not say. With header and
 * status this fits a queue of 128; smaller queues get less, so that a request always fits without
 * an indirect table. */
#define BLK_SEG_MAX 126

/* Limits on discard, write zeroes and secure erase (5.2.4): what one request may ask of the host
 * stays within bounds. */
#define BLK_RANGES_MAX        32      /* segments in a request */
#define BLK_RANGE_SECTORS_MAX 4194304 /* sectors in a segment: 2 GiB */

#define BLK_CONFIG_SIZE 96 /* 5.2.4 */
#define BLK_ID_SIZE     20 /* 5.2.6: VIRTIO_BLK_T_GET_ID */

struct blk_queue {
    struct virtqueue *ring;
    uint32_t in_flight; /* requests with the engine */
    bool unpublished;   /* something was pushed since the last publish */
    bool impatient;     /* it stops, and its ranges that are not done yet have to fail */
};

/* Of a disk of the old days, which some boot loaders still ask for. */
struct blk_geometry {
    uint16_t cylinders; /* 0: as many as the capacity has room for */
    uint8_t heads, sectors;
};

struct blk {
    struct virtio_builtin *builtin;
    const char *path; /* for logs */
    struct blk_backing backing;
    struct blk_engine *engine;       /* the backing's */
    char id[BLK_ID_SIZE];            /* NUL-padded, no NUL when full (BLK-11) */
    uint8_t config[BLK_CONFIG_SIZE]; /* constant; what changes is put in when it is read */
    struct blk_geometry geometry;
    bool readonly;       /* for the guest */
    bool unsafe;         /* nothing need ever be stable */
    bool cache_at_first; /* `writeback` after a reset */
    bool lifetime;

    /* The capacity. Written on the loop, read on any thread. */
    atomic_uint_least64_t sectors;

    /* The driver's choice. Changes only while no queue runs. */
    struct virtio_features negotiated;
    bool accepted;                  /* there is one */
    bool seg_limited, size_limited; /* a request must keep to seg_max, size_max */
    bool framed; /* DRV-BLK-13: a legacy driver that may not lay requests out as it likes */

    /* The cache mode (5.2.5, config field writeback): true, a write is done when the host has it;
     * false, when it is on stable storage. Read and written on any thread. */
    atomic_bool writeback;

    uint64_t drain_until_ns; /* how long stopping queues wait for ranges; 0: not begun */

    struct blk_io *spare; /* of allocated requests that are not in flight */
    uint16_t queue_count;
    uint16_t seg_max;
    uint32_t size_max; /* bytes in a segment; 0: no limit */
    struct blk_queue *queues;
};

static inline bool blk_has(const struct blk *blk, enum blk_feature feature)
{
    return features_has(&blk->negotiated, feature);
}

#endif
