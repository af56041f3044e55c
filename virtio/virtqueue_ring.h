/*
 * Between virtqueue.c, which devices call, and the ring formats. Private to virtqueue*.c.
 *
 * A format implements the functions of virtqueue.h for its layout; virtqueue.c keeps what is the
 * same for all and picks the format.
 */
#ifndef VIRTIO_VIRTQUEUE_RING_H
#define VIRTIO_VIRTQUEUE_RING_H

#include "virtio/virtqueue.h"

#include <errno.h>

/* The ring breaks a rule, or bends one: remember which. */
void virtqueue_set_broken(struct virtqueue *queue, const char *rule, const char *what);
void virtqueue_bend(struct virtqueue *queue, const char *rule, const char *what);

static inline int virtqueue_break(struct virtqueue *queue, const char *rule, const char *what)
{
    virtqueue_set_broken(queue, rule, what);
    return -EPROTO;
}

/* One of a ring's areas as its format lays it out. */
struct virtqueue_area {
    const char *name;
    gpa_t address;
    uint64_t bytes, alignment;
    const char *alignment_rule;
    uint8_t **host; /* out */
};

/* Check alignment, memory and overlap of the three areas, and find their host addresses. */
int virtqueue_map_areas(const struct guest_memory *memory, const struct virtqueue_area areas[3],
                        struct error *err);

/* Both formats. `slots` of a push: how far it advances the ring; more than the buffer's own when
 * buffers before it are skipped (in order, 2.7.9, 2.8.8), which were released. */

/* virtqueue_split.c */
int virtqueue_split_start(struct virtqueue *queue, const struct virtqueue_setup *setup,
                          struct virtqueue_position position, struct error *err);
int virtqueue_split_pop(struct virtqueue *queue, struct virtqueue_buffer **out);
void virtqueue_split_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer);
void virtqueue_split_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                          uint32_t written, uint32_t slots);
void virtqueue_split_release(struct virtqueue *queue, struct virtqueue_buffer *buffer);
void virtqueue_split_publish(struct virtqueue *queue);
bool virtqueue_split_enable_kicks(struct virtqueue *queue);
void virtqueue_split_disable_kicks(struct virtqueue *queue);
struct virtqueue_position virtqueue_split_position(const struct virtqueue *queue);

/* virtqueue_packed.c */
int virtqueue_packed_start(struct virtqueue *queue, const struct virtqueue_setup *setup,
                           struct virtqueue_position position, struct error *err);
int virtqueue_packed_pop(struct virtqueue *queue, struct virtqueue_buffer **out);
void virtqueue_packed_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer);
void virtqueue_packed_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                           uint32_t written, uint32_t slots);
void virtqueue_packed_release(struct virtqueue *queue, struct virtqueue_buffer *buffer);
void virtqueue_packed_publish(struct virtqueue *queue);
bool virtqueue_packed_enable_kicks(struct virtqueue *queue);
void virtqueue_packed_disable_kicks(struct virtqueue *queue);
struct virtqueue_position virtqueue_packed_position(const struct virtqueue *queue);

#endif
