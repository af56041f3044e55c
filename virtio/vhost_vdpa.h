/*
 * The vDPA back end: a device of the host's kernel that speaks virtio's rings itself, in hardware
 * or in software, behind /dev/vhost-vdpa-N (linux/vhost.h).
 *
 *     driver --> transport --> virtio_device --> this --ioctl--> the device
 *       rings <----------------- DMA, kicks and calls by eventfd ----+
 *
 * One for every device type: features, configuration, number and sizes of queues are the device's,
 * and so is the control queue of a network card. We see to what a driver cannot do from a guest:
 *
 * - Status. Its queues start together with DRIVER_OK and stop together by VHOST_VDPA_SUSPEND (where
 *   there is such a thing) or a reset; see virtio_backend_ops.run. So RING_RESET is not offered,
 *   and VIRTIO_F_SUSPEND only of a device that can resume. One queue more after DRIVER_OK needs
 *   VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK.
 * - Addresses. The device translates them (VIRTIO_F_ACCESS_PLATFORM, agreed with it, unknown to the
 *   driver); guest memory is mapped at its guest addresses, in address space 0 for all groups of
 *   queues, from the first queue's start to the reset. No longer, for a machine's reset gives its
 *   memory back to the host, and a device would go on using pages that are no longer the guest's.
 * - Memory. The kernel pins all of it, so RLIMIT_MEMLOCK must allow as much for each device.
 *   Devices of VDUSE do not pin, and see only memory that is shared (--memory ...,shared=on).
 *
 * Not there: doorbell pages mapped into the guest (mmap of the node; kicks go through the kernel's
 * vhost), dirty logging (the kernel has none for vDPA), and drivers older than virtio 1.0.
 *
 *   vhost_vdpa.c            the back end's operations
 *   vhost_vdpa_describe.c   what the device says it is
 *   vhost_vdpa_status.c     features, start, suspension and reset
 *   vhost_vdpa_queue.c      queues
 *   vhost_vdpa_memory.c     memory
 */
#ifndef VIRTIO_VHOST_VDPA_H
#define VIRTIO_VHOST_VDPA_H

#include "base/error.h"
#include "base/loop.h"
#include "virtio/backend.h"
#include "virtio/vhost_fd.h"

struct vhost_vdpa_options {
    const char *path;                                /* of the node */
    uint16_t type;                                   /* enum virtio_device_id it must be of */
    const struct virtio_feature_name *feature_names; /* of the type, may be none */
    size_t feature_count;
    const struct vhost_system *system; /* &vhost_system_host */
};

/*
 * Open the device, which is reset by that. `loop` hears of changes of the configuration, and passes
 * on interrupts where the transport cannot take them itself. -ENOENT, -EACCES, -EBUSY and others of
 * open; -ENODEV: it is of another type; -ENOTSUP: the kernel or the device lacks something we need;
 * -ERANGE: it cannot reach all of guest memory; -EPERM: the memory must not be pinned.
 */
int vhost_vdpa_create(const struct vhost_vdpa_options *options, const struct guest_memory *memory,
                      struct loop *loop, struct virtio_backend **out, struct error *err);

/* How many queues it has, and how many entries each of them, or the largest, may have. Constant. */
uint16_t vhost_vdpa_queue_count(const struct virtio_backend *backend);
uint16_t vhost_vdpa_queue_size(const struct virtio_backend *backend, uint16_t index);
uint16_t vhost_vdpa_largest_queue(const struct virtio_backend *backend);

#endif
