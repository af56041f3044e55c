/*
 * Between virtqueue_inflight.c and the two layouts of a record of buffers in flight. Private to
 * virtqueue_inflight*.c.
 */
#ifndef VIRTIO_VIRTQUEUE_RECORD_H
#define VIRTIO_VIRTQUEUE_RECORD_H

#include "virtio/inflight.h"
#include "virtio/virtqueue_inflight.h"
#include "virtio/virtqueue_ring.h"

/* Stores to the region, each after all before it. */
#define record_store(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)

/* A buffer that was in flight when the region was taken over. */
struct record_again {
    uint64_t counter;
    uint16_t entry;
    uint16_t count; /* packed: of its descriptors, which are... */
    uint32_t first; /* ...from here on in `saved` */
};

struct record_layout;

struct virtqueue_inflight {
    const struct record_layout *layout;
    union {
        struct inflight_split *split;
        struct inflight_packed *packed;
    } region;
    uint16_t entry_count;
    uint64_t counter; /* of the next buffer */

    uint16_t *batch; /* entries of buffers pushed since publish */
    uint32_t batch_count;

    struct record_again *again; /* in the order they were taken */
    uint32_t again_count, again_next;

    /* Packed: the links of the region, which is only written to. */
    uint16_t *next, *last;
    uint16_t free_head;
    struct inflight_packed_used used;    /* where the last publish left the ring */
    struct inflight_packed_entry *saved; /* descriptors of `again` */
};

struct record_layout {
    /* Fill a fresh region: the queue starts at `position`. */
    void (*init)(struct virtqueue_inflight *record, struct virtqueue_position position);

    /* Bring a region up to date with its ring, and fill in `again`, in any order. *position becomes
     * where the queue stood before the buffers in it were taken. */
    int (*recover)(struct virtqueue_inflight *record, const struct guest_memory *memory,
                   const struct virtqueue_setup *setup, struct virtqueue_position *position,
                   struct error *err);

    /* Enter the buffer that was popped last; undo that. */
    void (*enter)(struct virtqueue *queue, struct virtqueue_buffer *buffer);
    void (*undo)(struct virtqueue *queue, const struct virtqueue_buffer *buffer);

    void (*before_publish)(struct virtqueue *queue);
    void (*after_publish)(struct virtqueue *queue);
};

extern const struct record_layout record_split, record_packed;

#endif
