/*
 * Between the files of the vDPA back end. Calls come under the device's lock unless said otherwise.
 */
#ifndef VIRTIO_VHOST_VDPA_INTERNAL_H
#define VIRTIO_VHOST_VDPA_INTERNAL_H

#include "base/bytes.h"
#include "virtio/call.h"
#include "virtio/vhost_vdpa.h"

#include <linux/vhost.h>

/* Younger than the headers of Debian 12. */
#ifndef VHOST_VDPA_RESUME
#define VHOST_VDPA_RESUME _IO(VHOST_VIRTIO, 0x7E)
#endif
#ifndef VHOST_VDPA_GET_VRING_SIZE
#define VHOST_VDPA_GET_VRING_SIZE _IOWR(VHOST_VIRTIO, 0x82, struct vhost_vring_state)
#endif
#ifndef VHOST_BACKEND_F_RESUME
#define VHOST_BACKEND_F_RESUME 0x5
#endif
#ifndef VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK
#define VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK 0x6
#endif

struct vhost_vdpa_queue {
    uint16_t size_max;                  /* entries */
    struct virtqueue_position position; /* where it was started, or has stopped */
    bool started;                       /* the device was told of it since its reset */
    int kick_fd;                        /* the device's, while started */
    struct virtio_call call;
};

struct vhost_vdpa {
    struct virtio_backend backend;
    struct vhost_vdpa_options options;
    char *path; /* a copy */
    struct vhost_fd fd;
    struct loop *loop;
    struct loop_fd config_call; /* eventfd: the configuration or the status has changed */

    /* What the device is: constant. */
    struct virtio_features offered;
    uint32_t config_size;
    uint32_t group_count;    /* of queues with an address space each */
    uint32_t address_spaces; /* 1 unless VHOST_BACKEND_F_IOTLB_ASID was agreed */
    uint16_t queue_count, queue_size_max;

    struct virtio_features negotiated;
    uint8_t status; /* as we have set it */
    bool suspended; /* by us, while DRIVER_OK is set */
    bool mapped;    /* guest memory, in whole or in part */
    bool counted;   /* among the devices that pin memory */
    struct vhost_vdpa_queue *queues;
};

static inline struct vhost_vdpa *vhost_vdpa_of(struct virtio_backend *backend)
{
    return container_of(backend, struct vhost_vdpa, backend);
}

/* Where an error has no other way to go. */
void vhost_vdpa_complain(const struct vhost_vdpa *v, const struct error *err);

/* --- vhost_vdpa_describe.c --- */

/* Fill in what the device is. It must be of the right type. */
int vhost_vdpa_describe(struct vhost_vdpa *v, struct error *err);

/* --- vhost_vdpa_status.c --- */

/* 3.1.1 steps 2 to 6, on a device that was reset. */
int vhost_vdpa_agree(struct vhost_vdpa *v, struct error *err);

/* DRIVER_OK, or resume; and the end of that. The queues' places can be asked for afterwards. */
int vhost_vdpa_run(struct vhost_vdpa *v, struct error *err);
void vhost_vdpa_pause(struct vhost_vdpa *v);
bool vhost_vdpa_runs(const struct vhost_vdpa *v); /* DRIVER_OK is set; perhaps suspended */

void vhost_vdpa_reset_device(struct vhost_vdpa *v);

/* Whether the device says that it cannot go on. Any thread. */
bool vhost_vdpa_needs_reset(struct vhost_vdpa *v);

/* --- vhost_vdpa_queue.c --- */

int vhost_vdpa_queues_create(struct vhost_vdpa *v, struct error *err);
void vhost_vdpa_queues_destroy(struct vhost_vdpa *v); /* on the loop */
void vhost_vdpa_queues_drain(struct vhost_vdpa *v);   /* on the loop */

int vhost_vdpa_queue_begin(struct vhost_vdpa *v, const struct virtqueue_setup *setup,
                           struct virtqueue_position position, int kick_fd, struct error *err);
struct virtqueue_position vhost_vdpa_queue_end(struct vhost_vdpa *v, uint16_t index);

/* What was kicked before the device listened. */
void vhost_vdpa_queues_kick(struct vhost_vdpa *v);

/* --- vhost_vdpa_memory.c --- */

/* All guest memory lies where the device can reach it, and may be pinned. Main thread. */
int vhost_vdpa_check_range(struct vhost_vdpa *v, struct error *err);
int vhost_vdpa_allow_pinning(struct vhost_vdpa *v, struct error *err);
void vhost_vdpa_end_pinning(struct vhost_vdpa *v);

int vhost_vdpa_map(struct vhost_vdpa *v, struct error *err);
void vhost_vdpa_unmap(struct vhost_vdpa *v);

#endif
