/*
 * Queues of kernel vhost: told to the kernel, and stopped there.
 */
#include "virtio/vhost_kernel_internal.h"

#include "base/log.h"
#include "base/loop_event.h"

#include <errno.h>
#include <sys/eventfd.h>

/* Newer than the headers of some hosts (Linux 6.5). */
#ifndef VHOST_NEW_WORKER
struct vhost_worker_state {
    unsigned int worker_id;
};
struct vhost_vring_worker {
    unsigned int index;
    unsigned int worker_id;
};
#define VHOST_NEW_WORKER          _IOR(VHOST_VIRTIO, 0x8, struct vhost_worker_state)
#define VHOST_ATTACH_VRING_WORKER _IOW(VHOST_VIRTIO, 0x15, struct vhost_vring_worker)
#endif

static unsigned vring_of(const struct vhost_kernel_queue *queue)
{
    return queue->index % queue->owner->options.type->vrings;
}

static struct vhost_fd *fd_of(const struct vhost_kernel_queue *queue)
{
    return &queue->owner->devices[queue->index / queue->owner->options.type->vrings].fd;
}

/* --- creation --------------------------------------------------------------------------------- */

static void error_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_kernel_queue *queue = container_of(self, struct vhost_kernel_queue, error);
    const struct virtio_backend *backend = &queue->owner->backend;

    (void)events;
    if (!loop_event_take(self->fd))
        return;
    log_limited(LOG_WARN, "vhost", "%s: the kernel finds queue %u broken", backend->name,
                queue->index);
    backend->events.needs_reset(backend->events.opaque);
}

/* A thread of its own, where the kernel has them; else the queues of a descriptor share one. */
static void ask_for_worker(struct vhost_kernel_queue *queue)
{
    struct vhost_worker_state worker = {0};
    struct vhost_vring_worker vring = {.index = vring_of(queue)};
    struct vhost_fd *fd = fd_of(queue);

    if (VHOST_FD_REQUEST(fd, VHOST_NEW_WORKER, &worker, NULL) < 0)
        return;
    vring.worker_id = worker.worker_id;
    (void)VHOST_FD_REQUEST(fd, VHOST_ATTACH_VRING_WORKER, &vring, NULL);
}

static int queue_create(struct vhost_kernel_queue *queue, struct error *err)
{
    struct virtqueue_position position;
    int ret = vhost_fd_vring_position(fd_of(queue), vring_of(queue), false, &position, NULL);

    if (ret == -ENOBUFS)
        return error_set(err, ENOTSUP, "%s has no more than %u queues", fd_of(queue)->path,
                         vring_of(queue));
    ret = virtio_call_create(&queue->call, &queue->owner->backend, queue->index, queue->owner->loop,
                             err);
    if (!ret)
        ret = loop_event_open(queue->owner->loop, &queue->error, error_ready, err);
    if (!ret && queue->owner->options.type->workers)
        ask_for_worker(queue);
    return ret;
}

void vhost_kernel_queues_init(struct vhost_kernel *v)
{
    for (uint16_t i = 0; i < v->options.queue_count; i++) {
        v->queues[i].owner = v;
        v->queues[i].index = i;
        v->queues[i].call.watch.fd = v->queues[i].error.fd = -1;
    }
}

int vhost_kernel_queues_create(struct vhost_kernel *v, struct error *err)
{
    int ret = 0;

    for (uint16_t i = 0; i < v->options.queue_count && !ret; i++)
        ret = queue_create(&v->queues[i], err);
    return ret;
}

void vhost_kernel_queues_destroy(struct vhost_kernel *v)
{
    for (uint16_t i = 0; i < v->options.queue_count; i++) {
        virtio_call_destroy(&v->queues[i].call, v->loop);
        loop_fd_close(v->loop, &v->queues[i].error);
    }
}

void vhost_kernel_queues_drain(struct vhost_kernel *v)
{
    for (uint16_t i = 0; i < v->options.queue_count; i++) {
        virtio_call_drain(&v->queues[i].call);
        loop_event_take(v->queues[i].error.fd);
    }
}

void vhost_kernel_queues_kick(const struct vhost_kernel_device *device)
{
    struct vhost_kernel *v = device->owner;

    for (uint16_t i = 0; i < v->options.queue_count; i++)
        if (v->queues[i].started && fd_of(&v->queues[i]) == &device->fd)
            vhost_kernel_kick(&v->backend, i);
}

/* --- start and stop --------------------------------------------------------------------------- */

static int tell_fds(struct vhost_kernel_queue *queue, int kick, int call, int error,
                    struct error *err)
{
    struct vhost_fd *fd = fd_of(queue);
    unsigned vring = vring_of(queue);
    int ret = VHOST_FD_VRING_FILE(fd, VHOST_SET_VRING_CALL, vring, call, err);

    if (!ret)
        ret = VHOST_FD_VRING_FILE(fd, VHOST_SET_VRING_ERR, vring, error, err);
    if (!ret)
        ret = VHOST_FD_VRING_FILE(fd, VHOST_SET_VRING_KICK, vring, kick, err);
    return ret;
}

int vhost_kernel_tell_ring(struct vhost_kernel_queue *queue, struct error *err)
{
    return vhost_fd_vring_addresses(fd_of(queue), vring_of(queue), &queue->ring,
                                    queue->owner->log ? &queue->used : NULL, err);
}

static int place_ring(struct vhost_kernel_queue *queue, const struct virtqueue_setup *setup,
                      struct error *err)
{
    struct vhost_kernel *v = queue->owner;
    int ret =
        vhost_ring_find(v->backend.memory, setup, &v->negotiated, v->translates, &queue->ring, err);

    queue->used = setup->device;
    if (!ret)
        ret = vhost_fd_vring_place(fd_of(queue), vring_of(queue), setup->size, queue->position,
                                   false, &queue->ring, err);
    if (!ret && v->log)
        ret = vhost_kernel_tell_ring(queue, err);
    if (!ret && v->options.busy_poll_us)
        ret = VHOST_FD_VRING_NUMBER(fd_of(queue), VHOST_SET_VRING_BUSYLOOP_TIMEOUT, vring_of(queue),
                                    v->options.busy_poll_us, err);
    return ret;
}

static int queue_begin(struct vhost_kernel_queue *queue, const struct virtqueue_setup *setup,
                       struct error *err)
{
    const struct vhost_kernel_options *o = &queue->owner->options;
    int ret = place_ring(queue, setup, err);

    if (!ret)
        ret = tell_fds(queue, queue->kick_fd, virtio_call_connect(&queue->call), queue->error.fd,
                       err);
    if (ret)
        return ret;
    queue->started = true;
    return o->type->serve(o->model, queue->index, err);
}

/* The kernel is done with the ring, and forgets it: it might be told to serve others. */
static void queue_end(struct vhost_kernel_queue *queue)
{
    struct vhost_vring_addr nowhere = {.index = vring_of(queue)};

    queue->started = false;
    (void)VHOST_FD_REQUEST(fd_of(queue), VHOST_SET_VRING_ADDR, &nowhere, NULL);
    (void)tell_fds(queue, -1, -1, -1, NULL);
    virtio_call_disconnect(&queue->call);
}

int vhost_kernel_queue_start(struct virtio_backend *backend, const struct virtqueue_setup *setup,
                             struct virtqueue_position position, int kick_fd, struct error *err)
{
    struct vhost_kernel *v = vhost_kernel_of(backend);
    struct vhost_kernel_queue *queue = &v->queues[setup->index];
    int ret;

    queue->position = position;
    queue->kick_fd = kick_fd;
    v->options.type->halt(v->options.model, setup->index);
    ret = queue_begin(queue, setup, err);
    if (ret) {
        v->options.type->halt(v->options.model, setup->index);
        queue_end(queue);
    }
    return ret;
}

struct virtqueue_position vhost_kernel_queue_stop(struct virtio_backend *backend, uint16_t index)
{
    struct vhost_kernel *v = vhost_kernel_of(backend);
    struct vhost_kernel_queue *queue = &v->queues[index];
    struct error err = ERROR_INIT;

    v->options.type->halt(v->options.model, index);
    if (vhost_fd_vring_position(fd_of(queue), vring_of(queue), false, &queue->position, &err))
        log_limited(LOG_WARN, "vhost", "%s: %s", backend->name, err.text);
    queue_end(queue);
    return queue->position;
}

/* --- for the model ---------------------------------------------------------------------------- */

struct vhost_fd *vhost_kernel_fd(struct virtio_backend *backend, uint16_t index)
{
    return fd_of(&vhost_kernel_of(backend)->queues[index]);
}

bool vhost_kernel_queue_started(const struct virtio_backend *backend, uint16_t index)
{
    return container_of(backend, struct vhost_kernel, backend)->queues[index].started;
}

void vhost_kernel_kick(struct virtio_backend *backend, uint16_t index)
{
    eventfd_write(vhost_kernel_of(backend)->queues[index].kick_fd, 1);
}
