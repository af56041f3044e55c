/*
 * The eventfd by which a queue's interrupts come from code that is not ours: a process, the kernel,
 * a device (vhost's "call").
 *
 * Whenever it can, the transport has KVM take the signals straight from the eventfd, and no thread
 * of ours wakes up. Else (a vector is masked, MSI-X is off) they come by the back end's loop, which
 * watches the eventfd all the time: as long as KVM listens it is first, and leaves nothing behind.
 */
#ifndef VIRTIO_CALL_H
#define VIRTIO_CALL_H

#include "base/error.h"
#include "base/loop.h"
#include "virtio/backend.h"

#include <stdint.h>

struct virtio_call {
    struct loop_fd watch; /* .fd is the eventfd; -1: not created */
    struct virtio_backend *backend;
    uint16_t index;
    int connected; /* the descriptor that is signalled; -1: none */
};

/* For queue `index` of `backend`, which must outlive it. -errno of the host's refusal; `call` can
 * be destroyed then, too. On the loop, or before it runs. */
int virtio_call_create(struct virtio_call *call, struct virtio_backend *backend, uint16_t index,
                       struct loop *loop, struct error *err);
void virtio_call_destroy(struct virtio_call *call, struct loop *loop);

/* The queue starts: the descriptor to be signalled, which stays ours or the transport's and is good
 * until virtio_call_disconnect. The device must have its transport. */
int virtio_call_connect(struct virtio_call *call);

/* The queue has stopped. Without effect when it is not connected. */
void virtio_call_disconnect(struct virtio_call *call);

/* Forget signals that have not been passed on. On the loop. */
void virtio_call_drain(struct virtio_call *call);

#endif
