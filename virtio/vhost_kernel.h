/*
 * Kernel vhost: queues that the host's kernel serves, without a thread or a system call of ours
 * once they run.
 *
 *     driver --> transport --> virtio_device --> builtin, model --> this --ioctl--> kernel thread
 *        |                                                                          |  |
 *        +------------------------------- kick eventfds ----------------------------+  |
 *        +------------------------------- call eventfds -------------------------------+
 *
 * The kernel knows rings and what goes through them, and nothing else of a device: no
 * configuration, no status, no control queue. So this back end is always the deputy
 * (virtio_builtin_set_deputy) of a model of ours, which keeps all that and lends its data queues:
 * net (devices/net/vhost.h), vsock, scsi. Being told what the driver asks for, the model says when
 * a queue is served: `serve` and `halt` of the kind.
 *
 * Only split rings, and the ring features that the kernel's GET_FEATURES names. The guest's memory
 * need not be shared: the kernel uses this process's mapping of it. With ACCESS_PLATFORM negotiated
 * it is mapped through the device's IOTLB instead, once and for all, at the guest's own addresses.
 *
 *   vhost_kernel.c         creation, features, memory
 *   vhost_kernel_queue.c   queues
 *   vhost_kernel_log.c     the log of what the kernel writes to
 *   vhost_fd.h             requests to the kernel
 */
#ifndef VIRTIO_VHOST_KERNEL_H
#define VIRTIO_VHOST_KERNEL_H

#include "base/error.h"
#include "base/loop.h"
#include "virtio/backend.h"
#include "virtio/vhost_fd.h"

/* A kind of device. The functions are called on the loop. */
struct vhost_kernel_type {
    const char *node;   /* /dev/vhost-... */
    const char *module; /* of the kernel, for errors */

    /* Virtqueue i is vring i % vrings of descriptor i / vrings. */
    uint16_t vrings;

    /* VHOST_BACKEND_F_... it may use, as bits. */
    uint64_t backend_features;

    /* The kernel has its own threads for vrings, if it is asked. */
    bool workers;

    /* The queue is set up, and may be served: now, or later when the model sees fit; then it is for
     * vhost_kernel_kick to have the kernel look at buffers that wait. */
    int (*serve)(void *model, uint16_t index, struct error *err);

    /* Not to be served any more, or not to be while it is being set up: when this returns, the
     * kernel is done with the ring. */
    void (*halt)(void *model, uint16_t index);
};

struct vhost_kernel_options {
    const struct vhost_kernel_type *type;
    void *model; /* of `serve` and `halt` */
    uint16_t queue_count;
    uint32_t busy_poll_us; /* how long the kernel looks for more before it sleeps; 0: not */
    const struct vhost_system *system; /* NULL: the host's */
};

/*
 * Open as many descriptors as the queues need. -ENOENT, -EACCES and others when the host does not
 * let us; -ENOTSUP when its kernel lacks something. On the loop of the model, or before it runs.
 */
int vhost_kernel_create(const struct vhost_kernel_options *options,
                        const struct guest_memory *memory, struct loop *loop,
                        struct virtio_backend **out, struct error *err);

/* --- for the model, on the loop --- */

/* The descriptor that a queue is a vring of, for the requests of its kind. */
struct vhost_fd *vhost_kernel_fd(struct virtio_backend *backend, uint16_t index);

/* Between queue_start and queue_stop. */
bool vhost_kernel_queue_started(const struct virtio_backend *backend, uint16_t index);

/* Have the kernel look at a started queue as if the driver had notified. */
void vhost_kernel_kick(struct virtio_backend *backend, uint16_t index);

#endif
