#include "devices/virtio_user.h"

#include "base/bytes.h"
#include "virtio/device.h"

#include <errno.h>
#include <string.h>

/* 5: types by name, with the bytes of configuration that a device of the type has at least; 0 where
 * it has none, or where its size is for the user to know. */
static const struct named_type {
    const char *name;
    uint16_t id;
    uint16_t config_size;
} named_types[] = {
    {"net", VIRTIO_ID_NET, 24},
    {"blk", VIRTIO_ID_BLOCK, 60},
    {"console", VIRTIO_ID_CONSOLE, 12},
    {"rng", VIRTIO_ID_ENTROPY, 0},
    {"rpmsg", 7, 0},
    {"scsi", VIRTIO_ID_SCSI, 36},
    {"9p", VIRTIO_ID_9P, 0},
    {"rproc-serial", 11, 0},
    {"caif", 12, 0},
    {"gpu", VIRTIO_ID_GPU, 16},
    {"clock", 17, 0},
    {"input", VIRTIO_ID_INPUT, 136},
    {"vsock", VIRTIO_ID_VSOCK, 8},
    {"crypto", 20, 56},
    {"iommu", 23, 0},
    {"mem", 24, 56},
    {"sound", 25, 12},
    {"fs", VIRTIO_ID_FS, 40},
    {"pmem", 27, 16},
    {"rpmb", 28, 0},
    {"scmi", 32, 0},
    {"i2c", 34, 0},
    {"watchdog", 35, 0},
    {"can", 36, 0},
    {"bt", 40, 0},
    {"gpio", 41, 8},
};

static int find_type(const char *text, struct virtio_foreign *out, struct error *err)
{
    struct error ignored = ERROR_INIT;
    uint64_t number;

    for (size_t i = 0; i < ARRAY_SIZE(named_types); i++)
        if (strcmp(named_types[i].name, text) == 0) {
            out->id = named_types[i].id;
            out->config_size = named_types[i].config_size;
            return 0;
        }
    if (option_parse_uint("type", text, 1, UINT16_MAX, &number, &ignored))
        return error_set(err, EINVAL,
                         "type: '%s' is no type's name (blk, vsock, ...) and no number "
                         "from 1 on",
                         text);
    for (size_t i = 0; i < ARRAY_SIZE(named_types); i++)
        if (named_types[i].id == number)
            out->config_size = named_types[i].config_size;
    out->id = (uint16_t)number;
    return 0;
}

static void mask_features(uint64_t allowed, struct virtio_features *masked)
{
    masked->word[0] = (uint32_t)~allowed;
    masked->word[1] = (uint32_t)(~allowed >> 32);
    features_set(masked, VIRTIO_F_VERSION_1, false); /* FEAT-04 */
}

static int virtio_user_describe(const void *options, struct virtio_foreign *out, struct error *err)
{
    const struct virtio_user_options *o = options;
    uint64_t size;
    int ret = find_type(o->type, out, err);

    mask_features(o->features, &out->masked);
    if (ret || !o->config_size)
        return ret;
    ret =
        option_parse_uint("config-size", o->config_size, 0, VIRTIO_FOREIGN_CONFIG_MAX, &size, err);
    if (ret)
        return ret;
    out->config_size = (uint32_t)size;
    out->stand_in.key = "config-size";
    return 0;
}

static const struct option_spec virtio_user_option_specs[] = {
    {.key = "type",
     .type = OPTION_STRING,
     .offset = offsetof(struct virtio_user_options, type),
     .metavar = "NAME|NUMBER",
     .required = true,
     .help = "the type of device: vsock, scsi, i2c, gpio, sound, input, ... or its number"},
    {.key = "config-size",
     .type = OPTION_STRING,
     .offset = offsetof(struct virtio_user_options, config_size),
     .metavar = "BYTES",
     .help = "of its configuration, asked of the process that serves it (default: by the type)"},
    {.key = "features",
     .type = OPTION_UINT,
     .offset = offsetof(struct virtio_user_options, features),
     .metavar = "MASK",
     .initial = "0xffffffffffffffff",
     .help = "feature bits that may be offered, of those the process has"},
};

static const struct virtio_foreign_type virtio_user_foreign = {
    .options = virtio_user_option_specs,
    .option_count = ARRAY_SIZE(virtio_user_option_specs),
    .options_size = sizeof(struct virtio_user_options),
    .describe = virtio_user_describe,
};

const struct virtio_model virtio_user_model = {
    .name = "virtio-user",
    .help = "a device of any type (vhost-user or vdpa)",
    .foreign = &virtio_user_foreign,
    .queues_default = 1,
    .queues_max = VIRTIO_QUEUES_MAX,
    .queue_size_default = 256,
};
