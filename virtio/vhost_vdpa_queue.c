/*
 * Queues of a vDPA device.
 */
#include "virtio/vhost_vdpa_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* --- interrupts ------------------------------------------------------------------------------- */

int vhost_vdpa_queues_create(struct vhost_vdpa *v, struct error *err)
{
    int ret = 0;

    for (uint16_t i = 0; i < v->queue_count; i++)
        v->queues[i].call.watch.fd = -1;
    for (uint16_t i = 0; i < v->queue_count && !ret; i++)
        ret = virtio_call_create(&v->queues[i].call, &v->backend, i, v->loop, err);
    return ret;
}

void vhost_vdpa_queues_destroy(struct vhost_vdpa *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++)
        virtio_call_destroy(&v->queues[i].call, v->loop);
    free(v->queues);
}

void vhost_vdpa_queues_drain(struct vhost_vdpa *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++)
        virtio_call_drain(&v->queues[i].call);
}

void vhost_vdpa_queues_kick(struct vhost_vdpa *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++)
        if (v->queues[i].started)
            eventfd_write(v->queues[i].kick_fd, 1);
}

/* --- start and stop --------------------------------------------------------------------------- */

static bool packed(const struct vhost_vdpa *v)
{
    return features_has(&v->negotiated, VIRTIO_F_RING_PACKED);
}

static int place(struct vhost_vdpa *v, const struct virtqueue_setup *setup,
                 struct virtqueue_position position, struct error *err)
{
    struct vhost_ring ring;
    int ret = vhost_ring_find(v->backend.memory, setup, &v->negotiated, true, &ring, err);

    if (!ret)
        ret = vhost_fd_vring_place(&v->fd, setup->index, setup->size, position, packed(v), &ring,
                                   err);
    return ret;
}

static int enable(struct vhost_vdpa *v, uint16_t index, struct error *err)
{
    int ret =
        VHOST_FD_VRING_FILE(&v->fd, VHOST_SET_VRING_KICK, index, v->queues[index].kick_fd, err);

    if (!ret)
        ret = VHOST_FD_VRING_NUMBER(&v->fd, VHOST_VDPA_SET_VRING_ENABLE, index, 1, err);
    return ret;
}

/* A queue that the device was suspended with goes on where it stood when the device is resumed. */
static int begin(struct vhost_vdpa *v, const struct virtqueue_setup *setup,
                 struct virtqueue_position position, struct error *err)
{
    struct vhost_vdpa_queue *queue = &v->queues[setup->index];
    bool goes_on = v->suspended && queue->started;
    int ret = 0;

    if (vhost_vdpa_runs(v) && !goes_on &&
        !vhost_fd_has(&v->fd, VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK))
        return error_set(err, ENOTSUP, "%s: the device takes no more queues once it runs", v->path);
    if (!goes_on)
        ret = place(v, setup, position, err);
    if (!ret)
        ret = VHOST_FD_VRING_FILE(&v->fd, VHOST_SET_VRING_CALL, setup->index,
                                  virtio_call_connect(&queue->call), err);
    if (!ret && !goes_on)
        ret = enable(v, setup->index, err);
    if (ret)
        virtio_call_disconnect(&queue->call);
    return ret;
}

int vhost_vdpa_queue_begin(struct vhost_vdpa *v, const struct virtqueue_setup *setup,
                           struct virtqueue_position position, int kick_fd, struct error *err)
{
    struct vhost_vdpa_queue *queue = &v->queues[setup->index];
    int ret;

    queue->position = position;
    queue->kick_fd = kick_fd;
    ret = vhost_vdpa_map(v, err);
    if (!ret)
        ret = begin(v, setup, position, err);
    queue->started = !ret;
    return ret;
}

/* Alone it is disabled; together with all others it was suspended, and may go on. */
struct virtqueue_position vhost_vdpa_queue_end(struct vhost_vdpa *v, uint16_t index)
{
    struct vhost_vdpa_queue *queue = &v->queues[index];
    struct error err = ERROR_INIT;
    int ret = 0;

    if (!v->suspended) {
        ret = VHOST_FD_VRING_NUMBER(&v->fd, VHOST_VDPA_SET_VRING_ENABLE, index, 0, &err);
        queue->started = false;
    }
    if (!ret)
        ret = vhost_fd_vring_position(&v->fd, index, packed(v), &queue->position, &err);
    if (!ret)
        ret = VHOST_FD_VRING_FILE(&v->fd, VHOST_SET_VRING_CALL, index, -1, &err);
    if (ret)
        vhost_vdpa_complain(v, &err);
    virtio_call_disconnect(&queue->call);
    return queue->position;
}
