/*
 * virtio-vsock (specification 5.10): sockets between guest and host, AF_VSOCK of both kernels.
 *
 * The host's kernel is at the other end (vhost-vsock): the guest gets the context id `cid`, the
 * host is 2. Of the three queues the kernel serves rx and tx. In the event queue the driver's
 * buffers stay unused: it is for a context id that changes, which here it does not.
 */
#ifndef DEVICES_VSOCK_H
#define DEVICES_VSOCK_H

#include "virtio/builtin.h"

struct vsock_options {
    uint64_t cid; /* 3 to 0xfffffffe */
};

extern const struct virtio_model vsock_model;

#endif
