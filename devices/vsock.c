#include "devices/vsock.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"
#include "virtio/vhost_kernel.h"

#include <errno.h>
#include <stdlib.h>

/* 5.10.2 */
enum vsock_queue { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

/* 5.10.3. STREAM has no bit at the kernel: it is what there is without (VSK-02). */
enum vsock_feature { VSOCK_F_SEQPACKET = 1 };

#define VSOCK_CONFIG_SIZE 8 /* 5.10.4: le64 guest_cid */

struct vsock {
    struct virtio_backend *kernel;
    uint64_t cid;
    bool running;
};

static const struct option_spec vsock_option_specs[] = {
    {.key = "cid",
     .type = OPTION_UINT,
     .offset = offsetof(struct vsock_options, cid),
     .min = 3, /* VSK-03 */
     .max = UINT32_MAX - 1,
     .required = true,
     .help = "the guest's context id, unique on this host, from 3 on"},
};

static const struct virtio_feature_name vsock_features[] = {
    {"seqpacket", VSOCK_F_SEQPACKET, -1, "sockets that keep the bounds of messages"},
};

static void vsock_get_features(void *model, struct virtio_features *out)
{
    struct vsock *vsock = model;
    struct virtio_features kernel;

    vsock->kernel->ops->features(vsock->kernel, &kernel);
    features_set(out, VSOCK_F_SEQPACKET, features_has(&kernel, VSOCK_F_SEQPACKET));
}

static void vsock_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    const struct vsock *vsock = model;
    uint8_t config[VSOCK_CONFIG_SIZE];

    store_le64(config, vsock->cid);
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

/* --- queues ----------------------------------------------------------------------------------- */

static bool vsock_queue_lent(void *model, uint16_t index)
{
    (void)model;
    return index != VSOCK_EVENT;
}

/* The event queue has buffers, and there are no events. */
static int vsock_queue_ready(void *model, struct virtqueue *queue)
{
    (void)model;
    (void)queue;
    return VIRTIO_QUEUE_QUIET;
}

static int set_running(struct vsock *vsock, int running, struct error *err)
{
    int ret = VHOST_FD_REQUEST(vhost_kernel_fd(vsock->kernel, VSOCK_RX), VHOST_VSOCK_SET_RUNNING,
                               &running, err);

    if (!ret)
        vsock->running = running;
    return ret;
}

/* The kernel serves both or none. What was notified meanwhile would be lost. */
static int vsock_serve(void *model, uint16_t index, struct error *err)
{
    struct vsock *vsock = model;
    int ret;

    (void)index;
    if (!vhost_kernel_queue_started(vsock->kernel, VSOCK_RX) ||
        !vhost_kernel_queue_started(vsock->kernel, VSOCK_TX))
        return 0;
    ret = set_running(vsock, 1, err);
    if (ret)
        return ret;
    vhost_kernel_kick(vsock->kernel, VSOCK_RX);
    vhost_kernel_kick(vsock->kernel, VSOCK_TX);
    return 0;
}

static void vsock_halt(void *model, uint16_t index)
{
    struct vsock *vsock = model;
    struct error err = ERROR_INIT;

    (void)index;
    if (vsock->running && set_running(vsock, 0, &err))
        log_limited(LOG_WARN, "vsock", "%s", err.text);
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct vhost_kernel_type vsock_type = {
    .node = "/dev/vhost-vsock",
    .module = "vhost_vsock",
    .vrings = 2,
    .backend_features = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2),
    .serve = vsock_serve,
    .halt = vsock_halt,
};

static int set_cid(struct vsock *vsock, struct error *err)
{
    int ret = VHOST_FD_REQUEST(vhost_kernel_fd(vsock->kernel, VSOCK_RX), VHOST_VSOCK_SET_GUEST_CID,
                               &vsock->cid, err);

    if (ret == -EADDRINUSE)
        error_set(err, EADDRINUSE, "cid: another machine on this host has %u",
                  (unsigned)vsock->cid);
    return ret;
}

static int vsock_create_vhost(struct virtio_builtin *b, const void *options, void **out,
                              struct error *err)
{
    struct vsock *vsock = calloc(1, sizeof(*vsock));
    const struct vhost_kernel_options kernel = {
        .type = &vsock_type, .model = vsock, .queue_count = VSOCK_EVENT};
    int ret;

    if (!vsock)
        return error_set(err, ENOMEM, "no memory for a vsock device");
    vsock->cid = ((const struct vsock_options *)options)->cid;
    ret = vhost_kernel_create(&kernel, virtio_builtin_memory(b), virtio_builtin_loop(b),
                              &vsock->kernel, err);
    if (!ret) {
        virtio_builtin_set_deputy(b, vsock->kernel);
        ret = set_cid(vsock, err);
    }
    if (ret) {
        free(vsock);
        return ret;
    }
    *out = vsock;
    return 0;
}

static uint16_t vsock_virtqueue_count(const void *options, uint16_t queues)
{
    (void)options;
    (void)queues;
    return VSOCK_QUEUES;
}

const struct virtio_model vsock_model = {
    .name = "vsock",
    .id = VIRTIO_ID_VSOCK,
    .help = "sockets between guest and host, by the host's kernel",
    .options = vsock_option_specs,
    .option_count = ARRAY_SIZE(vsock_option_specs),
    .options_size = sizeof(struct vsock_options),
    .features = vsock_features,
    .feature_count = ARRAY_SIZE(vsock_features),
    .config_size = VSOCK_CONFIG_SIZE,
    .queues_default = 1,
    .queues_max = 1,
    .queue_size_default = 256,
    .virtqueue_count = vsock_virtqueue_count,
    .create_vhost = vsock_create_vhost,
    .destroy = free,
    .get_features = vsock_get_features,
    .config_read = vsock_config_read,
    .queue_ready = vsock_queue_ready,
    .queue_lent = vsock_queue_lent,
};
