#include "virtio/vhost_vdpa.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/loop_event.h"
#include "virtio/device.h"
#include "virtio/vhost_vdpa_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void vhost_vdpa_complain(const struct vhost_vdpa *v, const struct error *err)
{
    log_limited(LOG_WARN, "vdpa", "%s: %s", v->backend.name, err->text);
}

/* --- features and configuration --------------------------------------------------------------- */

/* Bits of drivers older than virtio 1.0, of PCI functions that we are not, and the translation of
 * addresses, which is between the device and us. */
static const uint8_t not_passed_on[] = {
    VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_ANY_LAYOUT, 30,
    VIRTIO_F_SR_IOV,          VIRTIO_F_ADMIN_VQ,   VIRTIO_F_ACCESS_PLATFORM,
};

static void vdpa_features(struct virtio_backend *backend, struct virtio_features *out)
{
    *out = vhost_vdpa_of(backend)->offered; /* constant */
    for (size_t i = 0; i < ARRAY_SIZE(not_passed_on); i++)
        features_set(out, not_passed_on[i], false);
}

static int vdpa_set_features(struct virtio_backend *backend,
                             const struct virtio_features *negotiated)
{
    struct vhost_vdpa *v = vhost_vdpa_of(backend);
    struct error err = ERROR_INIT;
    int ret;

    v->negotiated = *negotiated;
    ret = vhost_vdpa_agree(v, &err);
    if (ret)
        vhost_vdpa_complain(v, &err);
    return ret;
}

/* struct vhost_vdpa_config with room for as much as a driver can ask for at once. */
struct config_request {
    uint32_t offset, length;
    uint8_t bytes[VIRTIO_CONFIG_COPY];
};

static void vdpa_config_read(struct virtio_backend *backend, uint32_t offset, void *data,
                             uint32_t len)
{
    struct vhost_vdpa *v = vhost_vdpa_of(backend);
    struct config_request request = {.offset = offset};
    struct error err = ERROR_INIT;

    memset(data, 0, len);
    if (offset >= v->config_size)
        return;
    request.length = MIN(MIN(len, v->config_size - offset), (uint32_t)sizeof(request.bytes));
    if (VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_CONFIG, &request, &err))
        vhost_vdpa_complain(v, &err);
    else
        memcpy(data, request.bytes, request.length);
}

static void vdpa_config_write(struct virtio_backend *backend, uint32_t offset, const void *data,
                              uint32_t len)
{
    struct vhost_vdpa *v = vhost_vdpa_of(backend);
    struct config_request request = {.offset = offset, .length = len};
    struct error err = ERROR_INIT;

    if (offset >= v->config_size || len > v->config_size - offset || len > sizeof(request.bytes))
        return;
    memcpy(request.bytes, data, len);
    if (VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_SET_CONFIG, &request, &err))
        vhost_vdpa_complain(v, &err);
}

/* On the loop; the kernel lets one request wait for another. */
static void config_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_vdpa *v = container_of(self, struct vhost_vdpa, config_call);
    const struct virtio_device_events *device = &v->backend.events;

    (void)events;
    if (!loop_event_take(self->fd))
        return;
    if (vhost_vdpa_needs_reset(v)) {
        log_limited(LOG_WARN, "vdpa", "%s: the device needs a reset", v->backend.name);
        device->needs_reset(device->opaque);
    }
    device->config_changed(device->opaque);
}

/* --- queues ----------------------------------------------------------------------------------- */

static int vdpa_queue_start(struct virtio_backend *backend, const struct virtqueue_setup *setup,
                            struct virtqueue_position position, int kick_fd, struct error *err)
{
    return vhost_vdpa_queue_begin(vhost_vdpa_of(backend), setup, position, kick_fd, err);
}

static struct virtqueue_position vdpa_queue_stop(struct virtio_backend *backend, uint16_t index)
{
    return vhost_vdpa_queue_end(vhost_vdpa_of(backend), index);
}

static int vdpa_run(struct virtio_backend *backend, bool on, struct error *err)
{
    struct vhost_vdpa *v = vhost_vdpa_of(backend);

    if (on)
        return vhost_vdpa_run(v, err);
    vhost_vdpa_pause(v);
    return 0;
}

uint16_t vhost_vdpa_queue_count(const struct virtio_backend *backend)
{
    return vhost_vdpa_of((struct virtio_backend *)backend)->queue_count;
}

uint16_t vhost_vdpa_queue_size(const struct virtio_backend *backend, uint16_t index)
{
    return vhost_vdpa_of((struct virtio_backend *)backend)->queues[index].size_max;
}

uint16_t vhost_vdpa_largest_queue(const struct virtio_backend *backend)
{
    return vhost_vdpa_of((struct virtio_backend *)backend)->queue_size_max;
}

/* --- life ------------------------------------------------------------------------------------- */

static void drain_on_loop(void *arg)
{
    struct vhost_vdpa *v = arg;

    vhost_vdpa_queues_drain(v);
    (void)loop_event_take(v->config_call.fd);
}

static void vdpa_reset(struct virtio_backend *backend)
{
    struct vhost_vdpa *v = vhost_vdpa_of(backend);

    vhost_vdpa_reset_device(v);
    v->negotiated = (struct virtio_features){0};
    loop_call(v->loop, drain_on_loop, v);
}

static void close_on_loop(void *arg)
{
    struct vhost_vdpa *v = arg;

    vhost_vdpa_queues_destroy(v);
    loop_fd_close(v->loop, &v->config_call);
}

static void vdpa_destroy(struct virtio_backend *backend)
{
    struct vhost_vdpa *v = vhost_vdpa_of(backend);

    vhost_fd_close(&v->fd); /* which resets the device, and lets go of memory */
    vhost_vdpa_end_pinning(v);
    loop_call(v->loop, close_on_loop, v);
    free(v->path);
    free(v);
}

static const struct virtio_backend_ops vdpa_ops = {
    .name = "vdpa",
    .features = vdpa_features,
    .set_features = vdpa_set_features,
    .config_read = vdpa_config_read,
    .config_write = vdpa_config_write,
    .queue_start = vdpa_queue_start,
    .queue_stop = vdpa_queue_stop,
    .run = vdpa_run,
    .reset = vdpa_reset,
    .destroy = vdpa_destroy,
};

#define BACKEND_BIT(name) (UINT64_C(1) << VHOST_BACKEND_F_##name)

static int vdpa_open(struct vhost_vdpa *v, struct error *err)
{
    static const uint64_t wanted = BACKEND_BIT(IOTLB_MSG_V2) | BACKEND_BIT(IOTLB_BATCH) |
                                   BACKEND_BIT(IOTLB_ASID) | BACKEND_BIT(SUSPEND) |
                                   BACKEND_BIT(RESUME) | BACKEND_BIT(ENABLE_AFTER_DRIVER_OK);
    int ret;

    if (!v->path)
        return error_set(err, ENOMEM, "no memory for a vDPA device");
    ret = vhost_fd_open(&v->fd, v->options.system, v->path, "vhost_vdpa", wanted, err);
    if (!ret)
        ret = vhost_vdpa_describe(v, err);
    if (!ret)
        ret = vhost_vdpa_check_range(v, err);
    if (!ret)
        ret = vhost_vdpa_allow_pinning(v, err);
    if (!ret)
        ret = loop_event_open(v->loop, &v->config_call, config_ready, err);
    return ret;
}

/* Bits that core offers by itself, of which this device cannot do its part. */
static void find_lacks(struct vhost_vdpa *v)
{
    struct virtio_features *lacks = &v->backend.lacks;

    features_set(lacks, VIRTIO_F_RING_RESET, true);
    features_set(lacks, VIRTIO_F_SUSPEND,
                 !vhost_fd_has(&v->fd, VHOST_BACKEND_F_SUSPEND) ||
                     !vhost_fd_has(&v->fd, VHOST_BACKEND_F_RESUME));
}

int vhost_vdpa_create(const struct vhost_vdpa_options *options, const struct guest_memory *memory,
                      struct loop *loop, struct virtio_backend **out, struct error *err)
{
    struct vhost_vdpa *v = calloc(1, sizeof(*v));
    int ret;

    if (!v)
        return error_set(err, ENOMEM, "no memory for a vDPA device");
    v->backend = (struct virtio_backend){
        .ops = &vdpa_ops,
        .memory = memory,
        .feature_names = options->feature_names,
        .feature_count = options->feature_count,
        .foreign = true,
        .name = "vdpa",
    };
    v->options = *options;
    v->path = strdup(options->path);
    v->loop = loop;
    v->fd.fd = v->config_call.fd = -1;
    ret = vdpa_open(v, err);
    if (ret) {
        vdpa_destroy(&v->backend);
        return ret;
    }
    find_lacks(v);
    *out = &v->backend;
    return 0;
}
