/*
 * The record of buffers in flight that a vhost-user back end keeps in memory which outlives it
 * (INFLIGHT_SHMFD; QEMU, docs/interop/vhost-user, "Inflight I/O tracking"): the layouts, and how
 * much memory they take. All fields are in the machine's own byte order.
 *
 * The memory holds one region for each queue, one behind another. What is written there, and in
 * which order, is in virtqueue_inflight.h.
 */
#ifndef VIRTIO_INFLIGHT_H
#define VIRTIO_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INFLIGHT_VERSION   1  /* 0: the region is fresh, nothing was ever in flight */
#define INFLIGHT_ALIGNMENT 64 /* of a region, and its size a multiple of it */

/* One for each descriptor of a split ring; the one of a buffer's head speaks for the buffer. */
struct inflight_split_entry {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;    /* in the list of the last batch that was used */
    uint64_t counter; /* the order in which they were taken */
};

struct inflight_split {
    uint64_t features; /* none are defined */
    uint16_t version;
    uint16_t entry_count;
    uint16_t last_batch_head;
    uint16_t used_idx; /* the used ring's idx once the last batch was noted here */
    struct inflight_split_entry entries[];
};

/* One for each descriptor of a packed ring: a copy, for in the ring it will be overwritten. Those
 * of a buffer are linked from its first one on, and so are those that are free. */
struct inflight_packed_entry {
    uint8_t inflight; /* of a buffer's first one */
    uint8_t padding;
    uint16_t next;
    uint16_t last;    /* of a buffer's first one: its last */
    uint16_t num;     /* of a buffer's first one: how many */
    uint64_t counter; /* as above */
    uint16_t id;
    uint16_t flags;
    uint32_t length;
    uint64_t address;
};

/* What changes at one moment when a batch has been used: stored at once. */
struct inflight_packed_used {
    uint16_t idx, old_idx; /* slots */
    uint8_t wrap, old_wrap;
    uint8_t padding[2];
};

struct inflight_packed {
    uint64_t features;
    uint16_t version;
    uint16_t entry_count;
    uint16_t free_head, old_free_head;
    struct inflight_packed_used used;
    uint8_t padding[8];
    struct inflight_packed_entry entries[];
};

_Static_assert(sizeof(struct inflight_split) == 16 && sizeof(struct inflight_split_entry) == 16 &&
                   sizeof(struct inflight_packed) == 32 &&
                   sizeof(struct inflight_packed_entry) == 32 &&
                   offsetof(struct inflight_packed, used) == 16,
               "as the protocol has them");

/* Bytes of one queue's region, for queues of up to `queue_size` entries. */
static inline size_t inflight_region_size(bool packed, uint16_t queue_size)
{
    size_t bytes =
        packed ? sizeof(struct inflight_packed) + queue_size * sizeof(struct inflight_packed_entry)
               : sizeof(struct inflight_split) + queue_size * sizeof(struct inflight_split_entry);

    return (bytes + INFLIGHT_ALIGNMENT - 1) / INFLIGHT_ALIGNMENT * INFLIGHT_ALIGNMENT;
}

/* Whether a buffer is in flight. For a region whose queue was stopped in good order. */
static inline bool inflight_any(const void *region, bool packed, uint16_t entry_count)
{
    const struct inflight_packed *as_packed = region;
    const struct inflight_split *as_split = region;

    for (uint32_t i = 0; i < entry_count; i++)
        if (packed ? as_packed->entries[i].inflight : as_split->entries[i].inflight)
            return true;
    return false;
}

/* Whether nothing has been in flight yet. The first words of both layouts are the same. */
static inline bool inflight_is_fresh(const void *region)
{
    return __atomic_load_n(&((const struct inflight_split *)region)->version, __ATOMIC_ACQUIRE) ==
           0;
}

/* Whoever starts the queue next says where. */
static inline void inflight_set_fresh(void *region)
{
    __atomic_store_n(&((struct inflight_split *)region)->version, 0, __ATOMIC_RELEASE);
}

#endif
