/*
 * Queues of a vhost-user device: started at the peer, and their interrupts passed on.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The peer's interrupt, passed on. */
static void call_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_queue *queue = container_of(self, struct vhost_user_queue, call);
    const struct virtio_device_events *device = &queue->owner->backend.events;
    eventfd_t count;

    (void)events;
    if (eventfd_read(self->fd, &count) == 0)
        device->notify_queue(device->opaque, queue->setup.index);
}

int vhost_user_queues_create(struct vhost_user *v, struct error *err)
{
    for (uint16_t i = 0; i < v->queue_count; i++)
        v->queues[i].call.fd = v->queues[i].error_fd = -1;
    for (uint16_t i = 0; i < v->queue_count; i++) {
        struct vhost_user_queue *queue = &v->queues[i];
        int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        queue->owner = v;
        queue->setup.index = i;
        queue->error_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (call < 0 || queue->error_fd < 0)
            return error_errno(err, errno, "cannot make an eventfd");
        queue->call = (struct loop_fd){call, EPOLLIN, call_ready};
        if (loop_fd_add(v->loop, &queue->call, err)) {
            queue->call.fd = -1;
            close(call);
            return -ENOMEM;
        }
    }
    return 0;
}

void vhost_user_queues_drain(struct vhost_user *v)
{
    eventfd_t count;

    for (uint16_t i = 0; i < v->queue_count; i++)
        (void)eventfd_read(v->queues[i].call.fd, &count);
}

void vhost_user_queues_destroy(struct vhost_user *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++) {
        struct vhost_user_queue *queue = &v->queues[i];

        if (queue->call.fd >= 0) {
            loop_fd_remove(v->loop, &queue->call);
            close(queue->call.fd);
        }
        if (queue->error_fd >= 0)
            close(queue->error_fd);
    }
}

/* Tell the peer of an eventfd. */
static int tell_fd(struct vhost_user *v, enum vhost_user_request request, uint16_t index, int fd,
                   struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = request, .size = sizeof(uint64_t)},
        .payload.u64 = index,
        .fds = {fd},
        .fd_count = 1,
    };

    return vhost_user_tell(v, &message, err);
}

static int tell_addresses(struct vhost_user *v, const struct vhost_user_queue *queue,
                          struct error *err)
{
    const struct virtqueue_setup *setup = &queue->setup;
    const gpa_t guest[3] = {setup->desc, setup->driver, setup->device};
    uint64_t user[3];
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_SET_VRING_ADDR,
                   .size = sizeof(struct vhost_user_vring_address)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(guest); i++) {
        user[i] = (uintptr_t)guest_memory_map(v->backend.memory, guest[i], 1);
        if (!user[i])
            return error_set(err, EINVAL, "DRV-QCFG-06: queue %u is not in guest memory",
                             setup->index);
    }
    message.payload.address = (struct vhost_user_vring_address){
        .index = setup->index, .descriptor = user[0], .available = user[1], .used = user[2]};
    return vhost_user_tell(v, &message, err);
}

/* Packed, both indexes go in one number. */
static uint32_t base_of(const struct vhost_user *v, const struct vhost_user_queue *queue)
{
    bool packed = features_has(&v->negotiated, VIRTIO_F_RING_PACKED);

    return queue->position.avail | (packed ? (uint32_t)queue->position.used << 16 : 0);
}

int vhost_user_queue_begin(struct vhost_user *v, uint16_t index, struct error *err)
{
    struct vhost_user_queue *queue = &v->queues[index];
    int ret = vhost_user_tell_state(v, VHOST_USER_SET_VRING_NUM, index, queue->setup.size, err);

    if (!ret)
        ret = vhost_user_tell_state(v, VHOST_USER_SET_VRING_BASE, index, base_of(v, queue), err);
    if (!ret)
        ret = tell_addresses(v, queue, err);
    if (!ret)
        ret = tell_fd(v, VHOST_USER_SET_VRING_CALL, index, queue->call.fd, err);
    if (!ret)
        ret = tell_fd(v, VHOST_USER_SET_VRING_ERR, index, queue->error_fd, err);
    if (!ret)
        ret = tell_fd(v, VHOST_USER_SET_VRING_KICK, index, queue->kick_fd, err);
    if (!ret)
        ret = vhost_user_tell_state(v, VHOST_USER_SET_VRING_ENABLE, index, 1, err);
    return ret;
}
