/*
 * Kernel vhost character devices: what /dev/vhost-net, -vsock, -scsi and -vdpa-N have in common
 * (linux/vhost.h).
 *
 * One descriptor is one device of the kernel's, with an owner (whose memory it uses), features and
 * vrings. A vring's `index` counts within the descriptor, which may be less than the virtio device
 * has queues. All calls are system calls that return at once or, where they stop something, once
 * the kernel has finished with it; the caller sees to it that not two threads make them for one
 * descriptor. Errors name the node and what it was asked.
 */
#ifndef VIRTIO_VHOST_FD_H
#define VIRTIO_VHOST_FD_H

#include "base/error.h"
#include "guest/memory.h"
#include "virtio/features.h"
#include "virtio/virtqueue.h"

#include <linux/vhost.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The system calls, for tests that play the kernel. As open(2), ioctl(2), write(2) and
 * read(2): -1 and errno.
 * What `open` gives is closed by close(2). */
struct vhost_system {
    int (*open)(const char *path);
    int (*control)(int fd, unsigned long request, void *argument);
    ssize_t (*write)(int fd, const void *data, size_t length);
    ssize_t (*read)(int fd, void *data, size_t length);
};
extern const struct vhost_system vhost_system_host;

struct vhost_fd {
    const struct vhost_system *system;
    const char *path; /* borrowed */
    int fd;           /* -1: not open */
    uint64_t backend_features;
};

/*
 * Open the node, take ownership, and agree on those of the backend features (VHOST_BACKEND_F_...,
 * as bits) in `wanted` that it has; none where the kernel is too old to know them. `module` is what
 * makes the node, for errors: -ENOENT, -EACCES and others say what to do. On failure it is closed.
 */
int vhost_fd_open(struct vhost_fd *v, const struct vhost_system *system, const char *path,
                  const char *module, uint64_t wanted, struct error *err);
void vhost_fd_close(struct vhost_fd *v); /* the kernel lets go of all rings and memory first */

static inline bool vhost_fd_has(const struct vhost_fd *v, unsigned backend_feature)
{
    return v->backend_features >> backend_feature & 1;
}

/* Any request; `name` is the request's, for the error. */
int vhost_fd_request(struct vhost_fd *v, unsigned long request, void *argument, const char *name,
                     struct error *err);
#define VHOST_FD_REQUEST(v, request, argument, err) \
    vhost_fd_request(v, request, argument, #request, err)

/* Feature bits 0 to 63, those of virtio and a few of vhost's own. */
int vhost_fd_get_features(struct vhost_fd *v, struct virtio_features *out, struct error *err);
int vhost_fd_set_features(struct vhost_fd *v, const struct virtio_features *features,
                          struct error *err);

/* --- memory ---------------------------------------------------------------------------------- */

/* VHOST_SET_MEM_TABLE: guest addresses to addresses in this process. */
int vhost_fd_set_memory(struct vhost_fd *v, const struct guest_memory *memory, struct error *err);

/* One message to the device's IOTLB, in address space 0 unless VHOST_BACKEND_F_IOTLB_ASID was
 * agreed; needs VHOST_BACKEND_F_IOTLB_MSG_V2. */
int vhost_fd_iotlb(struct vhost_fd *v, uint32_t asid, const struct vhost_iotlb_msg *message,
                   struct error *err);

/* Map all guest memory at its guest addresses, for reading and writing, and the reverse; in one
 * batch if VHOST_BACKEND_F_IOTLB_BATCH was agreed. */
int vhost_fd_map_memory(struct vhost_fd *v, uint32_t asid, const struct guest_memory *memory,
                        struct error *err);
int vhost_fd_unmap_memory(struct vhost_fd *v, uint32_t asid, const struct guest_memory *memory,
                          struct error *err);

/* Read a message from the device's IOTLB. True: it has no mapping for *address. */
bool vhost_fd_read_miss(struct vhost_fd *v, uint64_t *address);

/* --- vrings ----------------------------------------------------------------------------------- */

/* Requests that take a vring's index and a number, or a descriptor (-1: none). */
int vhost_fd_vring_number(struct vhost_fd *v, unsigned long request, unsigned index,
                          unsigned number, const char *name, struct error *err);
int vhost_fd_vring_file(struct vhost_fd *v, unsigned long request, unsigned index, int fd,
                        const char *name, struct error *err);
#define VHOST_FD_VRING_NUMBER(v, request, index, number, err) \
    vhost_fd_vring_number(v, request, index, number, #request, err)
#define VHOST_FD_VRING_FILE(v, request, index, fd, err) \
    vhost_fd_vring_file(v, request, index, fd, #request, err)

/* Where a ring's areas are, as the device is to be told: addresses of this process, or the guest's
 * for a device that translates them itself. */
struct vhost_ring {
    uint64_t desc, driver, device;
};

/*
 * Find a ring in guest memory, with all the checks of virtqueue_start: the kernel itself does not
 * mind a ring that reaches beyond guest memory into this process. `guest`: give guest addresses.
 */
int vhost_ring_find(const struct guest_memory *memory, const struct virtqueue_setup *setup,
                    const struct virtio_features *negotiated, bool guest, struct vhost_ring *out,
                    struct error *err);

/* Addresses of a vring. `used`: where its used ring is for the guest, to have what is written there
 * logged (VHOST_SET_LOG_BASE); NULL: no need. Of one that runs only that may differ. */
int vhost_fd_vring_addresses(struct vhost_fd *v, unsigned index, const struct vhost_ring *ring,
                             const gpa_t *used, struct error *err);

/* Size, position and addresses of a vring that is not running. */
int vhost_fd_vring_place(struct vhost_fd *v, unsigned index, uint16_t size,
                         struct virtqueue_position position, bool packed,
                         const struct vhost_ring *ring, struct error *err);

/* Where a vring that has stopped stood. */
int vhost_fd_vring_position(struct vhost_fd *v, unsigned index, bool packed,
                            struct virtqueue_position *out, struct error *err);

#endif
