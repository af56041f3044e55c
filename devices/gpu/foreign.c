/*
 * A GPU that another process serves: its pictures come to our display, and what its screens are
 * like is for the display to say. And one of ours that another process shows: the other way round.
 */
#include "devices/gpu/foreign.h"

#include "base/bytes.h"
#include "base/module.h"
#include "devices/gpu/gpu.h"
#include "devices/gpu/vhost_user_gpu.h"

struct gpu_foreign_options {
    char *outputs;
};

static const struct option_spec option_specs[] = {
    {.key = "outputs",
     .type = OPTION_STRING,
     .offset = offsetof(struct gpu_foreign_options, outputs),
     .initial = "1280x800",
     .metavar = "WxH[@HZ][+...]",
     .help = "up to 16 screens: first size of each, and refresh rate"},
};

/* 5.7.2. Programs know the configuration of virtio 1.2, without blob_alignment. */
static int describe(const void *options, struct virtio_foreign *out, struct error *err)
{
    (void)options;
    (void)err;
    out->queue_count = 2;
    out->config_size = GPU_CONFIG_BLOB_ALIGNMENT;
    features_set(&out->masked, GPU_F_BLOB_ALIGNMENT, true);
    return 0;
}

int gpu_vhost_user_load(const struct gpu_vhost_user_module **out, struct error *err)
{
    static struct module module; /* never unloaded */
    int ret = module.table ? 0 : module_load(&module, "vhost_user_gpu", err);

    *out = module.table;
    return ret;
}

static int make_front_part(const void *options, bool own, struct display *display, const char *name,
                           struct vhost_user_front_part **out, struct error *err)
{
    const char *outputs = own ? ((const struct gpu_options *)options)->outputs
                              : ((const struct gpu_foreign_options *)options)->outputs;
    const struct gpu_vhost_user_module *module;
    int ret = gpu_vhost_user_load(&module, err);

    return ret ? ret : module->source_create(display, name, outputs, out, err);
}

static const struct gpu_vhost_user_module *front_end; /* NULL: there is to be none */

int gpu_show_elsewhere(void *options, struct error *err)
{
    ((struct gpu_options *)options)->all_outputs = true;
    return gpu_vhost_user_load(&front_end, err);
}

int gpu_attach_front_end(struct display *display, int socket, struct error *err)
{
    return front_end->viewer_attach(display, socket, err);
}

const struct virtio_foreign_type gpu_foreign = {
    .options = option_specs,
    .option_count = ARRAY_SIZE(option_specs),
    .options_size = sizeof(struct gpu_foreign_options),
    .describe = describe,
    .make_front_part = make_front_part,
};
