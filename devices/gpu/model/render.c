/* The renderer's life. */
#include "devices/gpu/model/render.h"

#include "base/bytes.h"
#include "devices/gpu/model/state.h"

#include <errno.h>
#include <stdlib.h>

struct gpu_renderer *gpu_renderer_of(const struct gpu *gpu)
{
    return gpu->render ? gpu->render->renderer : NULL;
}

static int start(struct gpu *gpu, struct error *err)
{
    const struct gpu_renderer_events events = {gpu_fence_done, gpu};
    struct gpu_render *render = gpu->render;
    int ret = render->module->create(&render->options, &events, virtio_builtin_loop(gpu->builtin),
                                     display_gl(gpu->display), &render->renderer, err);

    if (ret)
        return ret;
    gpu->capset_count = render->module->capset_count(render->renderer);
    return 0;
}

/* 5.7.5, behind a BAR, whose sizes are powers of two. */
static int add_region(struct gpu *gpu, struct error *err)
{
    uint64_t hostmem = gpu->render->hostmem;

    if (!hostmem)
        return 0;
    if (!is_power_of_two(hostmem) || hostmem < GPU_BLOB_ALIGNMENT)
        return error_set(err, EINVAL, "hostmem: a power of two, and at least 4K");
    return virtio_builtin_add_shared(gpu->builtin, VIRTIO_GPU_SHM_ID_HOST_VISIBLE, hostmem, err);
}

int gpu_render_create(struct gpu *gpu, const struct gpu_options *options, struct error *err)
{
    struct gpu_render *render = calloc(1, sizeof(*render));
    int ret;

    if (!render)
        return error_set(err, ENOMEM, "no memory for a renderer");
    gpu->render = render;
    render->hostmem = options->hostmem;
    render->options = (struct gpu_renderer_options){
        .render_node = options->rendernode,
        .venus = options->venus,
        .drm = options->drm,
        .blob = options->hostmem,
        .max_memory = gpu->resources.hostmem_max,
    };
    ret = add_region(gpu, err);
    if (!ret)
        ret = module_load(&render->handle, "virgl", err);
    render->module = render->handle.table;
    if (!ret)
        ret = start(gpu, err);
    if (ret)
        gpu_render_destroy(gpu);
    return ret;
}

int gpu_render_start(struct gpu *gpu, struct error *err)
{
    const struct display_gl *gl = display_gl(gpu->display);

    if (!gl)
        return 0;
    gl->make_current(gl->viewer, NULL); /* of GLX and EGL a thread has one at a time */
    gpu_render_end(gpu);
    return start(gpu, err);
}

void gpu_render_reset(struct gpu *gpu)
{
    if (gpu_renderer_of(gpu))
        gpu->render->module->reset(gpu->render->renderer);
}

void gpu_render_end(struct gpu *gpu)
{
    if (gpu_renderer_of(gpu))
        gpu->render->module->destroy(gpu->render->renderer);
    gpu->render->renderer = NULL;
}

void gpu_render_destroy(struct gpu *gpu)
{
    if (!gpu->render)
        return;
    gpu_render_end(gpu);
    if (gpu->render->handle.table)
        module_unload(&gpu->render->handle);
    free(gpu->render);
    gpu->render = NULL;
}

uint32_t gpu_refuse_errno(struct gpu_request *request, int error, uint32_t missing)
{
    switch (error) {
    case -ENOENT:
        return gpu_refuse(request, missing, GPU_RULE_FIELDS,
                          "there is no such context or resource");
    case -ENOMEM:
        return gpu_refuse_memory(request);
    case -EINVAL:
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "the renderer does not take it");
    default:
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL, "the renderer cannot");
    }
}
