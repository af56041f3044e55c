#include "devices/gpu/gpu.h"

#include "base/bytes.h"
#include "devices/gpu/foreign.h"
#include "virtio/device.h"

#define QUEUES 2 /* 5.7.2: controlq, cursorq */

static const struct option_spec gpu_option_specs[] = {
    {.key = "outputs",
     .type = OPTION_STRING,
     .offset = offsetof(struct gpu_options, outputs),
     .initial = "1280x800",
     .metavar = "WxH[@HZ][+...]",
     .help = "up to 16 screens: first size of each, and refresh rate"},
    {.key = "max-hostmem",
     .type = OPTION_SIZE,
     .offset = offsetof(struct gpu_options, max_hostmem),
     .min = 1,
     .help = "host memory that the guest may have allocated (default: 256M, with virgl=on 4G)"},
    {.key = "virgl",
     .type = OPTION_BOOL,
     .offset = offsetof(struct gpu_options, virgl),
     .initial = "off",
     .help = "3D: OpenGL of the guest is rendered by virglrenderer"},
    {.key = "venus",
     .type = OPTION_BOOL,
     .offset = offsetof(struct gpu_options, venus),
     .initial = "off",
     .help = "Vulkan of the guest as well; needs virgl=on"},
    {.key = "drm",
     .type = OPTION_BOOL,
     .offset = offsetof(struct gpu_options, drm),
     .initial = "off",
     .help = "native contexts of the host's DRM driver as well; needs virgl=on"},
    {.key = "rendernode",
     .type = OPTION_STRING,
     .offset = offsetof(struct gpu_options, rendernode),
     .metavar = "PATH",
     .help = "the GPU that renders, as /dev/dri/renderD128 (default: what EGL finds without one)"},
    {.key = "hostmem",
     .type = OPTION_SIZE,
     .offset = offsetof(struct gpu_options, hostmem),
     .help = "a region for host memory that the guest maps, a power of two; needs virgl=on"},
};

/* virgl has a key of its own. */
static const struct virtio_feature_name gpu_features[] = {
    {"edid", GPU_F_EDID, -1, "each screen describes itself"},
    {"resource_uuid", GPU_F_RESOURCE_UUID, -1, "pictures can be named to other devices"},
    {"resource_blob", GPU_F_RESOURCE_BLOB, -1, "pictures can be in guest memory"},
    {"context_init", GPU_F_CONTEXT_INIT, GPU_F_VIRGL, "kinds of 3D contexts, several timelines"},
    {"blob_alignment", GPU_F_BLOB_ALIGNMENT, GPU_F_RESOURCE_BLOB,
     "the guest is told what blobs are aligned to"},
};

static const struct virtio_command gpu_commands[] = {
    {"resize", "[OUTPUT:]WxH", "tell the guest of a screen's new size; 0x0 pulls its plug", NULL},
};

static uint16_t gpu_virtqueue_count(const void *options, uint16_t queues)
{
    (void)options;
    (void)queues;
    return QUEUES;
}

static struct display **gpu_display(void *options)
{
    return &((struct gpu_options *)options)->display;
}

/* A renderer may be busy for long with what a guest sends; on a slow machine without a GPU, too. */
#define GPU_HANG_MS 20000

/* What renders does more than the model of two dimensions. */
static const char *gpu_confined_as(const void *options)
{
    return ((const struct gpu_options *)options)->virgl ? "gpu-3d" : "gpu";
}

const struct virtio_model gpu_model = {
    .name = "gpu",
    .id = VIRTIO_ID_GPU,
    .help = "a graphics card, shown by --display",
    .options = gpu_option_specs,
    .option_count = ARRAY_SIZE(gpu_option_specs),
    .options_size = sizeof(struct gpu_options),
    .features = gpu_features,
    .feature_count = ARRAY_SIZE(gpu_features),
    .config_size = GPU_CONFIG_SIZE,
    .queues_default = 1,
    .queues_max = 1,
    .queue_size_default = 256,
    .virtqueue_count = gpu_virtqueue_count,
    .commands = gpu_commands,
    .command_count = ARRAY_SIZE(gpu_commands),
    .foreign = &gpu_foreign,
    .display = gpu_display,
    .show_elsewhere = gpu_show_elsewhere,
    .attach_front_end = gpu_attach_front_end,
    .confined_as = gpu_confined_as,
    .hang_ms = GPU_HANG_MS,
    .module = "gpu",
};
