/*
 * Between the files of the kernel vhost back end.
 */
#ifndef VIRTIO_VHOST_KERNEL_INTERNAL_H
#define VIRTIO_VHOST_KERNEL_INTERNAL_H

#include "base/bytes.h"
#include "virtio/call.h"
#include "virtio/vhost_kernel.h"

#include <stdatomic.h>

struct vhost_kernel;

struct vhost_kernel_queue {
    struct vhost_kernel *owner;
    uint16_t index;
    atomic_bool started; /* the loop looks at it, too: vhost_kernel_queues_kick */
    struct virtqueue_position position;
    struct vhost_ring ring; /* while started */
    gpa_t used;
    int kick_fd; /* the device's, while started */
    struct virtio_call call;
    struct loop_fd error; /* eventfd: the kernel finds the ring broken; .fd -1: none */
};

/* A device of the kernel's. */
struct vhost_kernel_device {
    struct vhost_kernel *owner;
    struct vhost_fd fd;
    struct loop_fd misses; /* the same descriptor: addresses its IOTLB does not know; .fd -1: not
                            * watched */
};

struct vhost_kernel {
    struct virtio_backend backend;
    struct vhost_kernel_options options;
    struct loop *loop;
    struct virtio_features kernel; /* what it offers */
    struct virtio_features negotiated;
    bool settled;          /* the kernel was told of them */
    bool logs;             /* the kernel can keep a log of dirty pages... */
    struct dirty_log *log; /* ...and has to; NULL: not now */
    bool translates;       /* addresses the kernel is told are the guest's, by its IOTLB */
    size_t device_count;
    struct vhost_kernel_device *devices;
    struct vhost_kernel_queue queues[];
};

static inline struct vhost_kernel *vhost_kernel_of(struct virtio_backend *backend)
{
    return container_of(backend, struct vhost_kernel, backend);
}

/* --- vhost_kernel.c, vhost_kernel_log.c --- */

int vhost_kernel_tell_features(struct vhost_kernel *v, struct error *err);
int vhost_kernel_dirty_log(struct virtio_backend *backend, struct dirty_log *log,
                           struct error *err);

/* --- vhost_kernel_queue.c; on the loop, or before it runs --- */

void vhost_kernel_queues_init(struct vhost_kernel *v); /* so that they can be destroyed */
int vhost_kernel_queues_create(struct vhost_kernel *v, struct error *err);
void vhost_kernel_queues_destroy(struct vhost_kernel *v);

/* What the kernel said before is forgotten. */
void vhost_kernel_queues_drain(struct vhost_kernel *v);

/* Have the kernel look at those of a device of its own that are started. */
void vhost_kernel_queues_kick(const struct vhost_kernel_device *device);

/* Tell the kernel again where the ring of a started queue is, and whether it is logged. */
int vhost_kernel_tell_ring(struct vhost_kernel_queue *queue, struct error *err);

/* Operations of the back end. */
int vhost_kernel_queue_start(struct virtio_backend *backend, const struct virtqueue_setup *setup,
                             struct virtqueue_position position, int kick_fd, struct error *err);
struct virtqueue_position vhost_kernel_queue_stop(struct virtio_backend *backend, uint16_t index);

#endif
