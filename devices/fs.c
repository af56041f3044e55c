#include "devices/fs.h"

#include "base/bytes.h"
#include "virtio/device.h"

#include <errno.h>
#include <string.h>

/* 5.11.4: offsets, without notify_buf_size, which belongs to a feature nobody offers. */
enum fs_config_offset {
    FS_CONFIG_TAG = 0, /* UTF-8, padded with zeroes */
    FS_CONFIG_NUM_REQUEST_QUEUES = 36,
    FS_CONFIG_SIZE = 40,
};
#define FS_TAG_MAX (FS_CONFIG_NUM_REQUEST_QUEUES - FS_CONFIG_TAG)

static int fs_describe(const void *options, struct virtio_foreign *out, struct error *err)
{
    const char *tag = ((const struct fs_options *)options)->tag;
    uint16_t request_queues = out->queue_count;

    out->queue_count++; /* 5.11.2: one of high priority comes first */
    if (!tag)
        return 0;
    if (!*tag || strlen(tag) > FS_TAG_MAX)
        return error_set(err, EINVAL, "tag: must have 1 to %d bytes", FS_TAG_MAX);
    memcpy(out->stand_in.config + FS_CONFIG_TAG, tag, strlen(tag));
    store_le32(out->stand_in.config + FS_CONFIG_NUM_REQUEST_QUEUES, request_queues);
    out->stand_in.key = "tag";
    out->has_stand_in = true;
    return 0;
}

static const struct option_spec fs_option_specs[] = {
    {.key = "tag",
     .type = OPTION_STRING,
     .offset = offsetof(struct fs_options, tag),
     .metavar = "NAME",
     .help = "what the guest mounts (default: as the daemon says, which most do not)"},
};

static const struct virtio_foreign_type fs_foreign = {
    .options = fs_option_specs,
    .option_count = ARRAY_SIZE(fs_option_specs),
    .options_size = sizeof(struct fs_options),
    .describe = fs_describe,
};

const struct virtio_model fs_model = {
    .name = "fs",
    .id = VIRTIO_ID_FS,
    .help = "a directory, by a daemon such as virtiofsd (vhost-user or vdpa)",
    .foreign = &fs_foreign,
    .config_size = FS_CONFIG_SIZE,
    .queues_default = 1,
    .queues_max = VIRTIO_QUEUES_MAX - 1,
    .queue_size_default = 256,
};
