#include "devices/scsi.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"
#include "virtio/vhost_kernel.h"

#include <errno.h>
#include <stdlib.h>

/* 5.6.2: control, event, and from then on requests */
#define SCSI_REQUEST_QUEUE 2

/* 5.6.3 */
enum scsi_feature { SCSI_F_HOTPLUG = 1, SCSI_F_T10_PI = 3 };

/* 5.6.4 Device configuration layout */
enum scsi_config {
    SCSI_CONFIG_NUM_QUEUES = 0,
    SCSI_CONFIG_SEG_MAX = 4,
    SCSI_CONFIG_MAX_SECTORS = 8,
    SCSI_CONFIG_CMD_PER_LUN = 12,
    SCSI_CONFIG_EVENT_INFO_SIZE = 16,
    SCSI_CONFIG_SENSE_SIZE = 20,
    SCSI_CONFIG_CDB_SIZE = 24,
    SCSI_CONFIG_MAX_CHANNEL = 28, /* le16 */
    SCSI_CONFIG_MAX_TARGET = 30,  /* le16 */
    SCSI_CONFIG_MAX_LUN = 32,
    SCSI_CONFIG_SIZE = 36,
};

/* What the kernel has (drivers/vhost/scsi.c). */
#define SCSI_EVENT_SIZE 16
#define SCSI_SENSE_SIZE 96
#define SCSI_CDB_SIZE   32
#define SCSI_TARGETS    256
#define SCSI_LUNS       16384
#define SCSI_QUEUES_MAX 126 /* of requests */

struct scsi {
    struct virtio_backend *kernel;
    struct loop *loop;
    uint16_t queue_count;
    struct vhost_scsi_target target;
    bool endpoint;           /* the kernel serves the rings it knows */
    struct loop_task update; /* they have changed */
    uint8_t config[SCSI_CONFIG_SIZE];
};

static const struct option_spec scsi_option_specs[] = {
    {.key = "wwpn",
     .type = OPTION_STRING,
     .offset = offsetof(struct scsi_options, wwpn),
     .metavar = "naa.NUMBER",
     .required = true,
     .help = "the target port, as in /sys/kernel/config/target/vhost"},
};

static const struct virtio_feature_name scsi_features[] = {
    {"hotplug", SCSI_F_HOTPLUG, -1, "logical units come and go"},
    {"t10_pi", SCSI_F_T10_PI, FEATURE_ON_REQUEST, "protection information with each block"},
};

static void scsi_get_features(void *model, struct virtio_features *out)
{
    struct scsi *scsi = model;
    struct virtio_features kernel;

    scsi->kernel->ops->features(scsi->kernel, &kernel);
    for (size_t i = 0; i < ARRAY_SIZE(scsi_features); i++)
        features_set(out, scsi_features[i].bit, features_has(&kernel, scsi_features[i].bit));
}

static void scsi_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    const struct scsi *scsi = model;

    memset(data, 0, len);
    if (offset < sizeof(scsi->config))
        memcpy(data, scsi->config + offset, MIN(len, sizeof(scsi->config) - offset));
}

/* --- the endpoint ----------------------------------------------------------------------------- */

static int set_endpoint(struct scsi *scsi, bool on, struct error *err)
{
    struct vhost_fd *fd = vhost_kernel_fd(scsi->kernel, 0);
    int ret = on ? VHOST_FD_REQUEST(fd, VHOST_SCSI_SET_ENDPOINT, &scsi->target, err)
                 : VHOST_FD_REQUEST(fd, VHOST_SCSI_CLEAR_ENDPOINT, &scsi->target, err);

    if (!ret)
        scsi->endpoint = on;
    return ret;
}

static void switch_off(struct scsi *scsi)
{
    struct error err = ERROR_INIT;

    if (scsi->endpoint && set_endpoint(scsi, false, &err))
        log_limited(LOG_WARN, "scsi", "%s", err.text);
}

/* What the driver notified meanwhile would be lost. */
static void switch_on(struct scsi *scsi)
{
    const struct virtio_device_events *device = &scsi->kernel->events;
    struct error err = ERROR_INIT;

    if (set_endpoint(scsi, true, &err)) {
        log_limited(LOG_WARN, "scsi", "%s: %s", scsi->kernel->name, err.text);
        device->needs_reset(device->opaque);
        return;
    }
    for (uint16_t i = 0; i < scsi->queue_count; i++)
        if (vhost_kernel_queue_started(scsi->kernel, i))
            vhost_kernel_kick(scsi->kernel, i);
}

static void update(struct loop_task *task)
{
    struct scsi *scsi = container_of(task, struct scsi, update);

    for (uint16_t i = 0; i < scsi->queue_count && !scsi->endpoint; i++)
        if (vhost_kernel_queue_started(scsi->kernel, i)) {
            switch_on(scsi);
            return;
        }
}

static int scsi_serve(void *model, uint16_t index, struct error *err)
{
    struct scsi *scsi = model;

    (void)index;
    (void)err;
    loop_post(scsi->loop, &scsi->update);
    return 0;
}

/* The others go on soon. */
static void scsi_halt(void *model, uint16_t index)
{
    struct scsi *scsi = model;

    (void)index;
    switch_off(scsi);
    loop_post(scsi->loop, &scsi->update);
}

static bool scsi_queue_lent(void *model, uint16_t index)
{
    (void)model;
    (void)index;
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct vhost_kernel_type scsi_type = {
    .node = "/dev/vhost-scsi",
    .module = "vhost_scsi",
    .vrings = SCSI_REQUEST_QUEUE + SCSI_QUEUES_MAX,
    .workers = true,
    .serve = scsi_serve,
    .halt = scsi_halt,
};

static void config_fill(struct scsi *scsi, uint16_t queue_size)
{
    uint8_t *c = scsi->config;

    store_le32(c + SCSI_CONFIG_NUM_QUEUES, scsi->queue_count - SCSI_REQUEST_QUEUE);
    /* All of a ring, but for request and response. */
    store_le32(c + SCSI_CONFIG_SEG_MAX, queue_size > 3 ? queue_size - 2u : 1);
    store_le32(c + SCSI_CONFIG_MAX_SECTORS, 0xffff);
    store_le32(c + SCSI_CONFIG_CMD_PER_LUN, 128);
    store_le32(c + SCSI_CONFIG_EVENT_INFO_SIZE, SCSI_EVENT_SIZE);
    store_le32(c + SCSI_CONFIG_SENSE_SIZE, SCSI_SENSE_SIZE);
    store_le32(c + SCSI_CONFIG_CDB_SIZE, SCSI_CDB_SIZE);
    store_le16(c + SCSI_CONFIG_MAX_TARGET, SCSI_TARGETS - 1);
    store_le32(c + SCSI_CONFIG_MAX_LUN, SCSI_LUNS - 1);
}

/* Without rings the endpoint serves nothing; but whether it is there is known before the guest
 * runs. */
static int find_target(struct scsi *scsi, const char *wwpn, struct error *err)
{
    int ret;

    if (strlen(wwpn) >= sizeof(scsi->target.vhost_wwpn))
        return error_set(err, EINVAL, "wwpn: '%s' is too long", wwpn);
    scsi->target.abi_version = VHOST_SCSI_ABI_VERSION;
    strcpy(scsi->target.vhost_wwpn, wwpn);
    scsi->target.vhost_tpgt = 1;
    ret = set_endpoint(scsi, true, err);
    if (ret)
        return error_set(err, -ret,
                         "wwpn: the kernel has no free target port '%s' with a nexus: %s; see "
                         "/sys/kernel/config/target/vhost",
                         wwpn, strerror(-ret));
    switch_off(scsi);
    return 0;
}

static int scsi_create_vhost(struct virtio_builtin *b, const void *options, void **out,
                             struct error *err)
{
    const struct scsi_options *o = options;
    struct scsi *scsi = calloc(1, sizeof(*scsi));
    const struct vhost_kernel_options kernel = {
        .type = &scsi_type, .model = scsi, .queue_count = virtio_builtin_queue_count(b)};
    int ret;

    if (!scsi)
        return error_set(err, ENOMEM, "no memory for a SCSI device");
    scsi->loop = virtio_builtin_loop(b);
    scsi->queue_count = kernel.queue_count;
    scsi->update.run = update;
    config_fill(scsi, virtio_builtin_queue_size(b));
    ret = vhost_kernel_create(&kernel, virtio_builtin_memory(b), scsi->loop, &scsi->kernel, err);
    if (!ret) {
        virtio_builtin_set_deputy(b, scsi->kernel);
        ret = find_target(scsi, o->wwpn, err);
    }
    if (ret) {
        free(scsi);
        return ret;
    }
    *out = scsi;
    return 0;
}

static void scsi_destroy(void *model)
{
    struct scsi *scsi = model;

    loop_task_cancel(scsi->loop, &scsi->update);
    free(scsi);
}

static uint16_t scsi_virtqueue_count(const void *options, uint16_t queues)
{
    (void)options;
    return (uint16_t)(SCSI_REQUEST_QUEUE + queues);
}

const struct virtio_model scsi_model = {
    .name = "scsi",
    .id = VIRTIO_ID_SCSI,
    .help = "a SCSI host with targets of the host's kernel",
    .options = scsi_option_specs,
    .option_count = ARRAY_SIZE(scsi_option_specs),
    .options_size = sizeof(struct scsi_options),
    .features = scsi_features,
    .feature_count = ARRAY_SIZE(scsi_features),
    .config_size = SCSI_CONFIG_SIZE,
    .queues_max = SCSI_QUEUES_MAX,
    .queue_size_default = 128,
    .virtqueue_count = scsi_virtqueue_count,
    .create_vhost = scsi_create_vhost,
    .destroy = scsi_destroy,
    .get_features = scsi_get_features,
    .config_read = scsi_config_read,
    .queue_lent = scsi_queue_lent,
};
