/* virtio-gpu: the table of the module, and a device's life. */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"
#include "virtio/device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HOSTMEM_DEFAULT       (256 * MIB)
#define HOSTMEM_DEFAULT_VIRGL (4 * GIB)

extern const struct virtio_model vireo_module_gpu;

/* --- features and configuration --------------------------------------------------------------- */

static void gpu_get_features(void *model, struct virtio_features *out)
{
    const struct gpu *gpu = model;

    features_set(out, GPU_F_VIRGL, gpu->render);
    features_set(out, GPU_F_CONTEXT_INIT, gpu->render);
    features_set(out, GPU_F_EDID, true);
    features_set(out, GPU_F_RESOURCE_UUID, true);
    features_set(out, GPU_F_RESOURCE_BLOB, true);
    features_set(out, GPU_F_BLOB_ALIGNMENT, true);
}

static void gpu_set_features(void *model, const struct virtio_features *negotiated)
{
    ((struct gpu *)model)->negotiated = *negotiated;
}

/* GPU-03 */
static void gpu_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    struct gpu *gpu = model;
    uint8_t config[GPU_CONFIG_SIZE] = {0};

    store_le32(config + GPU_CONFIG_EVENTS_READ, atomic_load(&gpu->events));
    store_le32(config + GPU_CONFIG_NUM_SCANOUTS, gpu->output_count);
    store_le32(config + GPU_CONFIG_NUM_CAPSETS, gpu->capset_count);
    store_le32(config + GPU_CONFIG_BLOB_ALIGNMENT, GPU_BLOB_ALIGNMENT);
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

static void gpu_config_write(void *model, uint32_t offset, const void *data, uint32_t len)
{
    struct gpu *gpu = model;

    if (offset != GPU_CONFIG_EVENTS_CLEAR || len != 4) {
        log_limited(LOG_INFO, "gpu", "%s: DRV-GPU-01: configuration byte %u is not to be written",
                    virtio_builtin_name(gpu->builtin), offset);
        return;
    }
    atomic_fetch_and(&gpu->events, ~load_le32(data));
}

/* --- life ------------------------------------------------------------------------------------- */

static void gpu_reset(void *model)
{
    struct gpu *gpu = model;

    gpu->negotiated = (struct virtio_features){0};
    atomic_store(&gpu->events, 0);
    gpu_resource_remove_all(gpu);
    gpu_render_reset(gpu);
    for (unsigned i = 0; i < gpu->output_count; i++)
        display_set_cursor(gpu->display, i, NULL);
}

static void detach(struct gpu *gpu)
{
    display_detach_source(gpu->display);
    if (gpu->own_display)
        display_destroy(gpu->display);
}

static int gpu_start(void *model, struct error *err)
{
    struct gpu *gpu = model;

    return gpu->render ? gpu_render_start(gpu, err) : 0;
}

static void gpu_queue_drain(void *model, struct virtqueue *queue)
{
    gpu_finish_asking(model, queue);
    gpu_fence_drain(model, queue);
}

static void gpu_destroy(void *model)
{
    struct gpu *gpu = model;

    gpu_resource_remove_all(gpu);
    gpu_render_destroy(gpu);
    detach(gpu);
    free(gpu->cursors);
    free(gpu);
}

/* The renderer may stand on a viewer's GL. */
static void gpu_display_end(void *opaque)
{
    struct gpu *gpu = opaque;

    gpu_resource_remove_all(gpu);
    if (gpu->render)
        gpu_render_end(gpu);
}

static void gpu_print_timing(void *opaque, FILE *out)
{
    const struct gpu *gpu = opaque;

    fprintf(out, "display: %s: %" PRIu64 " bytes damaged, %" PRIu64 " copied for it\n",
            virtio_builtin_name(gpu->builtin), gpu->damaged, gpu->copied);
}

static const struct display_source_ops source_ops = {
    .print_timing = gpu_print_timing,
    .resize = gpu_output_resize,
    .answered = gpu_display_answered,
    .end = gpu_display_end,
    .refresh = gpu_scanout_refresh,
};

static int attach(struct gpu *gpu, const struct gpu_options *options, struct error *err)
{
    int ret = 0;

    gpu->display = options->display;
    gpu->own_display = !gpu->display;
    if (gpu->own_display)
        ret = display_create(virtio_builtin_loop(gpu->builtin), "", &gpu->display, err);
    if (ret)
        return ret;
    ret = display_attach_source(gpu->display, gpu->output_count, &source_ops, gpu, err);
    if (ret && gpu->own_display)
        display_destroy(gpu->display);
    return ret;
}

static int check_options(const struct gpu_options *o, struct error *err)
{
    const char *key = o->venus        ? "venus"
                      : o->drm        ? "drm"
                      : o->rendernode ? "rendernode"
                      : o->hostmem    ? "hostmem"
                                      : NULL;

    return o->virgl || !key ? 0 : error_set(err, EINVAL, "%s: needs virgl=on", key);
}

static int gpu_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    const struct gpu_options *o = options;
    struct gpu *gpu = calloc(1, sizeof(*gpu));
    int ret;

    if (!gpu)
        return error_set(err, ENOMEM, "no memory for a graphics card");
    gpu->builtin = b;
    gpu->memory = virtio_builtin_memory(b);
    gpu->resources.hostmem_max = o->max_hostmem ? o->max_hostmem
                                 : o->virgl     ? HOSTMEM_DEFAULT_VIRGL
                                                : HOSTMEM_DEFAULT;
    ret = check_options(o, err);
    if (!ret)
        ret = gpu_outputs_parse(o->outputs, gpu->outputs, &gpu->output_count, err);
    if (o->all_outputs)
        gpu->output_count = DISPLAY_OUTPUTS_MAX;
    if (!ret && !(gpu->cursors = calloc(gpu->output_count, sizeof(*gpu->cursors))))
        ret = error_set(err, ENOMEM, "no memory for a graphics card");
    if (!ret)
        ret = attach(gpu, o, err);
    if (!ret && o->virgl && (ret = gpu_render_create(gpu, o, err)))
        detach(gpu);
    if (ret) {
        free(gpu->cursors);
        free(gpu);
        return ret;
    }
    *out = gpu;
    return 0;
}

static const struct virtio_command gpu_commands[] = {
    {.name = "resize", .run = gpu_output_command},
};

const struct virtio_model vireo_module_gpu = {
    .name = "gpu",
    .id = VIRTIO_ID_GPU,
    .commands = gpu_commands,
    .command_count = ARRAY_SIZE(gpu_commands),
    .create = gpu_create,
    .destroy = gpu_destroy,
    .start = gpu_start,
    .get_features = gpu_get_features,
    .set_features = gpu_set_features,
    .config_read = gpu_config_read,
    .config_write = gpu_config_write,
    .queue_ready = gpu_queue_ready,
    .queue_drain = gpu_queue_drain,
    .reset = gpu_reset,
    .memory_changes = gpu_memory_changes,
};
