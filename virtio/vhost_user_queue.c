/*
 * Queues of a vhost-user device: started at the peer, and their interrupts passed on.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/loop_event.h"

#include <errno.h>

void vhost_user_queue_broken(struct vhost_user *v, uint16_t index)
{
    const struct virtio_backend *backend = &v->backend;

    log_limited(LOG_WARN, "vhost-user", "%s: the process that serves it finds queue %u broken",
                backend->name, index);
    backend->events.needs_reset(backend->events.opaque);
}

static void error_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_queue *queue = container_of(self, struct vhost_user_queue, error);

    (void)events;
    if (loop_event_take(self->fd))
        vhost_user_queue_broken(queue->owner, queue->index);
}

int vhost_user_queues_create(struct vhost_user *v, struct error *err)
{
    int ret = 0;

    for (uint16_t i = 0; i < v->queue_count; i++)
        v->queues[i].call.watch.fd = v->queues[i].error.fd = v->queues[i].kick.fd = -1;
    for (uint16_t i = 0; i < v->queue_count && !ret; i++) {
        struct vhost_user_queue *queue = &v->queues[i];

        queue->owner = v;
        queue->index = i;
        ret = virtio_call_create(&queue->call, &v->backend, i, v->loop, err);
        if (!ret)
            ret = loop_event_open(v->loop, &queue->error, error_ready, err);
    }
    return ret;
}

void vhost_user_queues_drain(struct vhost_user *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++) {
        virtio_call_drain(&v->queues[i].call);
        loop_event_take(v->queues[i].error.fd);
    }
}

void vhost_user_queues_destroy(struct vhost_user *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++) {
        virtio_call_destroy(&v->queues[i].call, v->loop);
        loop_fd_close(v->loop, &v->queues[i].error);
    }
}

/* Tell the peer of an eventfd, or that there is none and messages are in its place. */
static int tell_fd(struct vhost_user *v, enum vhost_user_request request, uint16_t index, int fd,
                   struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = request, .size = sizeof(uint64_t)},
        .payload.u64 = index,
        .fds = {fd},
        .fd_count = 1,
    };

    if (vhost_user_inband(v)) {
        message.payload.u64 |= VHOST_USER_VRING_NOFD;
        message.fd_count = 0;
    }
    return vhost_user_tell(v, &message, err);
}

static int tell_addresses(struct vhost_user *v, const struct vhost_user_queue *queue,
                          const struct vhost_user_rings *rings, struct error *err)
{
    const struct virtqueue_setup *setup = &queue->setup;
    const gpa_t guest[3] = {setup->desc, rings->avail, rings->used};
    bool as_guest = vhost_user_has(v, VHOST_USER_PROTOCOL_F_GPA_ADDRESSES);
    uint64_t told[3];
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_SET_VRING_ADDR,
                   .size = sizeof(struct vhost_user_vring_address)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(guest); i++) {
        const void *host = guest_memory_map(vhost_user_memory(v), guest[i], 1);

        if (!host)
            return error_set(err, EINVAL, "DRV-QCFG-06: queue %u is not in guest memory",
                             setup->index);
        told[i] = as_guest ? guest[i].value : (uintptr_t)host;
    }
    message.payload.address = (struct vhost_user_vring_address){
        .index = setup->index,
        .flags = v->log ? VHOST_USER_VRING_F_LOG : 0,
        .descriptor = told[0],
        .available = told[1],
        .used = told[2],
        .log = setup->device.value,
    };
    return vhost_user_tell(v, &message, err);
}

static struct vhost_user_rings driver_rings(struct vhost_user_queue *queue)
{
    return (struct vhost_user_rings){queue->setup.driver, queue->setup.device, queue->kick_fd,
                                     virtio_call_connect(&queue->call)};
}

int vhost_user_tell_addresses(struct vhost_user *v, struct vhost_user_queue *queue,
                              struct error *err)
{
    const struct vhost_user_rings rings = driver_rings(queue);

    return tell_addresses(v, queue, &rings, err);
}

int vhost_user_queue_begin(struct vhost_user *v, uint16_t index, struct error *err)
{
    struct vhost_user_queue *queue = &v->queues[index];
    bool packed = features_has(&v->negotiated, VIRTIO_F_RING_PACKED);
    uint32_t base = v->relay ? 0 : virtqueue_position_base(queue->position, packed);
    struct vhost_user_rings rings;
    int ret = v->relay ? vhost_user_relay_prepare(v, index, err) : 0;

    vhost_user_notifier_want(v, index);
    if (!ret)
        ret = vhost_user_tell_state(v, VHOST_USER_SET_VRING_NUM, index, queue->setup.size, err);
    if (!ret)
        ret = vhost_user_tell_state(v, VHOST_USER_SET_VRING_BASE, index, base, err);
    rings = v->relay ? vhost_user_relay_rings(v, index) : driver_rings(queue);
    if (!ret)
        ret = tell_addresses(v, queue, &rings, err);
    if (!ret)
        ret = tell_fd(v, VHOST_USER_SET_VRING_CALL, index, rings.call_fd, err);
    if (!ret)
        ret = tell_fd(v, VHOST_USER_SET_VRING_ERR, index, queue->error.fd, err);
    if (!ret)
        ret = tell_fd(v, VHOST_USER_SET_VRING_KICK, index, rings.kick_fd, err);
    if (!ret)
        ret = vhost_user_tell_state(v, VHOST_USER_SET_VRING_ENABLE, index, 1, err);
    if (!ret)
        ret = vhost_user_driver_ok(v, err);
    return ret;
}
