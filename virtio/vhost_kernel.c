#include "virtio/vhost_kernel.h"

#include "base/log.h"
#include "virtio/vhost_kernel_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* --- features --------------------------------------------------------------------------------- */

static void vhost_kernel_features(struct virtio_backend *backend, struct virtio_features *out)
{
    *out = vhost_kernel_of(backend)->kernel;
}

/* Each device of the kernel's has an IOTLB, which is a new one with each SET_FEATURES; it stays in
 * use when a later driver does without ACCESS_PLATFORM. */
static int map_memory(struct vhost_kernel *v, struct error *err)
{
    int ret = 0;

    for (size_t i = 0; i < v->device_count && !ret; i++)
        ret = vhost_fd_map_memory(&v->devices[i].fd, 0, v->backend.memory, err);
    v->translates = true;
    return ret;
}

int vhost_kernel_tell_features(struct vhost_kernel *v, struct error *err)
{
    struct virtio_features known = v->negotiated;
    int ret = 0;

    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        known.word[i] &= v->kernel.word[i]; /* the rest is the model's */
    features_set(&known, VHOST_F_LOG_ALL, v->log != NULL);
    for (size_t i = 0; i < v->device_count && !ret; i++)
        ret = vhost_fd_set_features(&v->devices[i].fd, &known, err);
    if (!ret && features_has(&known, VIRTIO_F_ACCESS_PLATFORM))
        ret = map_memory(v, err);
    return ret;
}

static int vhost_kernel_set_features(struct virtio_backend *backend,
                                     const struct virtio_features *negotiated)
{
    struct vhost_kernel *v = vhost_kernel_of(backend);
    struct error err = ERROR_INIT;
    int ret;

    v->negotiated = *negotiated;
    ret = vhost_kernel_tell_features(v, &err);
    v->settled = !ret;
    if (ret)
        log_limited(LOG_WARN, "vhost", "%s: %s", backend->name, err.text);
    return ret;
}

/* Guest memory is mapped before a queue starts, but a log that is switched makes the IOTLB a new
 * one while queues run: one that came in between has stopped, and what it lacked is there by now.
 * Anything else is an address of the driver's that is no memory, and the kernel waits for it to
 * become some. */
static void misses_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_kernel_device *device = container_of(self, struct vhost_kernel_device, misses);
    const struct virtio_backend *backend = &device->owner->backend;
    uint64_t address;

    (void)events;
    if (!vhost_fd_read_miss(&device->fd, &address))
        return;
    if (guest_memory_map(backend->memory, GPA(address), 1)) {
        vhost_kernel_queues_kick(device);
        return;
    }
    log_limited(LOG_WARN, "vhost", "%s: DRV-RING-09: 0x%" PRIx64 " is not in guest memory",
                backend->name, address);
    backend->events.needs_reset(backend->events.opaque);
}

/* --- life ------------------------------------------------------------------------------------- */

/* No queue runs: there are as many as there are. */
static void drain_misses(struct vhost_kernel_device *device)
{
    uint64_t address;

    while (device->misses.fd >= 0 && vhost_fd_read_miss(&device->fd, &address))
        ;
}

static void vhost_kernel_reset(struct virtio_backend *backend)
{
    struct vhost_kernel *v = vhost_kernel_of(backend);

    v->settled = false;
    vhost_kernel_queues_drain(v);
    for (size_t i = 0; i < v->device_count; i++)
        drain_misses(&v->devices[i]);
}

static void vhost_kernel_destroy(struct virtio_backend *backend)
{
    struct vhost_kernel *v = vhost_kernel_of(backend);

    vhost_kernel_queues_destroy(v);
    for (size_t i = 0; i < v->device_count; i++) {
        if (v->devices[i].misses.fd >= 0)
            loop_fd_remove(v->loop, &v->devices[i].misses);
        vhost_fd_close(&v->devices[i].fd);
    }
    free(v->devices);
    free(v);
}

static const struct virtio_backend_ops vhost_kernel_ops = {
    .name = "vhost",
    .features = vhost_kernel_features,
    .set_features = vhost_kernel_set_features,
    .queue_start = vhost_kernel_queue_start,
    .queue_stop = vhost_kernel_queue_stop,
    .reset = vhost_kernel_reset,
    .dirty_log = vhost_kernel_dirty_log,
    .destroy = vhost_kernel_destroy,
};

static int watch_misses(struct vhost_kernel_device *device, struct error *err)
{
    struct loop_fd watch = {device->fd.fd, EPOLLIN, misses_ready};
    int ret;

    if (!vhost_fd_has(&device->fd, VHOST_BACKEND_F_IOTLB_MSG_V2))
        return 0;
    device->misses = watch;
    ret = loop_fd_add(device->owner->loop, &device->misses, err);
    if (ret)
        device->misses.fd = -1;
    return ret;
}

static int device_open(struct vhost_kernel *v, struct vhost_kernel_device *device,
                       struct error *err)
{
    const struct vhost_kernel_options *o = &v->options;
    int ret = vhost_fd_open(&device->fd, o->system ? o->system : &vhost_system_host, o->type->node,
                            o->type->module, o->type->backend_features, err);

    device->owner = v;
    device->misses.fd = -1;
    if (ret)
        return ret;
    v->device_count++;
    ret = vhost_fd_get_features(&device->fd, &v->kernel, err);
    if (!ret)
        ret = vhost_fd_set_memory(&device->fd, v->backend.memory, err);
    if (!ret)
        ret = watch_misses(device, err);
    if (!vhost_fd_has(&device->fd, VHOST_BACKEND_F_IOTLB_MSG_V2))
        features_set(&v->kernel, VIRTIO_F_ACCESS_PLATFORM, false);
    return ret;
}

static int open_devices(struct vhost_kernel *v, struct error *err)
{
    uint16_t vrings = v->options.type->vrings;
    size_t count = (v->options.queue_count + vrings - 1u) / vrings;
    int ret = 0;

    v->devices = calloc(count, sizeof(*v->devices));
    if (!v->devices)
        return error_set(err, ENOMEM, "no memory for a vhost device");
    while (v->device_count < count && !ret)
        ret = device_open(v, &v->devices[v->device_count], err);
    v->logs = features_has(&v->kernel, VHOST_F_LOG_ALL);
    features_set(&v->kernel, VHOST_F_LOG_ALL, false);
    if (!ret && !features_has(&v->kernel, VIRTIO_F_VERSION_1))
        ret = error_set(err, ENOTSUP, "%s: this kernel's is older than virtio 1.0",
                        v->options.type->node);
    return ret;
}

int vhost_kernel_create(const struct vhost_kernel_options *options,
                        const struct guest_memory *memory, struct loop *loop,
                        struct virtio_backend **out, struct error *err)
{
    struct vhost_kernel *v =
        calloc(1, sizeof(*v) + options->queue_count * sizeof(struct vhost_kernel_queue));
    int ret;

    if (!v)
        return error_set(err, ENOMEM, "no memory for a vhost device");
    v->backend =
        (struct virtio_backend){.ops = &vhost_kernel_ops, .memory = memory, .name = "vhost"};
    v->options = *options;
    v->loop = loop;
    vhost_kernel_queues_init(v);
    ret = open_devices(v, err);
    if (!ret)
        ret = vhost_kernel_queues_create(v, err);
    if (ret) {
        vhost_kernel_destroy(&v->backend);
        return ret;
    }
    *out = &v->backend;
    return 0;
}
