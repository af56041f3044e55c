/*
 * Between the files of the built-in back end.
 */
#ifndef VIRTIO_BUILTIN_INTERNAL_H
#define VIRTIO_BUILTIN_INTERNAL_H

#include "base/bytes.h"
#include "base/module.h"
#include "virtio/builtin.h"

#include <stdbool.h>
#include <stdint.h>

struct builtin_queue {
    struct virtio_builtin *owner;
    struct virtqueue ring;
    struct virtqueue_setup setup;
    struct loop_fd kick; /* the driver's notifications */
    bool listening;      /* `kick` is on the loop */
    bool lent;           /* the deputy serves it */
    bool broken;         /* and reported */
};

struct virtio_builtin {
    struct virtio_backend backend;
    const struct virtio_model *type;  /* what the device is */
    const struct virtio_model *model; /* what runs it: the same, or a module's */
    struct module module;
    void *state;                   /* the model's */
    struct virtio_backend *deputy; /* or NULL */
    struct loop *loop;
    struct virtio_features negotiated;
    struct dirty_log *log; /* of what is written to guest memory, or NULL */
    struct virtio_shared_region shared[VIRTIO_BUILTIN_SHARED];
    uint16_t queue_count, queue_size;
    struct builtin_queue queues[];
};

static inline struct virtio_builtin *builtin_of(struct virtio_backend *backend)
{
    return container_of(backend, struct virtio_builtin, backend);
}

/* Operations of the back end; each is carried out on the loop, while its caller waits. */

/* --- builtin_queue.c --- */

int builtin_queue_start(struct virtio_backend *backend, const struct virtqueue_setup *setup,
                        struct virtqueue_position position, int kick_fd, struct error *err);
struct virtqueue_position builtin_queue_stop(struct virtio_backend *backend, uint16_t index);
int builtin_dirty_log(struct virtio_backend *backend, struct dirty_log *log, struct error *err);

/* --- builtin_shared.c --- */

/* Unmap all: before the model's memory goes. On the loop. */
void builtin_shared_clear(struct virtio_builtin *b);

/* --- builtin_state.c --- */

int builtin_save(struct virtio_backend *backend, struct virtio_state *out, struct error *err);
int builtin_load(struct virtio_backend *backend, const struct virtio_state *from,
                 struct error *err);

#endif
