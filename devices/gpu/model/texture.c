/* Resources as the renderer has them. */
#include "devices/gpu/model/render.h"

#include "base/log.h"
#include "devices/gpu/model/state.h"

#include <errno.h>
#include <stdlib.h>

static void free_iov(struct gpu *gpu, struct gpu_resource *resource)
{
    if (resource->iov)
        gpu_hostmem_give(gpu, resource->backing.count * sizeof(*resource->iov));
    free(resource->iov);
    resource->iov = NULL;
}

static int fill_iov(const struct gpu *gpu, struct gpu_resource *resource)
{
    for (uint32_t i = 0; i < resource->backing.count; i++) {
        const struct gpu_extent *extent = &resource->backing.extents[i];

        resource->iov[i].iov_base = guest_memory_map(gpu->memory, extent->address, extent->length);
        resource->iov[i].iov_len = extent->length;
        if (!resource->iov[i].iov_base)
            return -EFAULT;
    }
    return 0;
}

/* The backing's pieces, where they are for us; counted as host memory like its extents. */
static int make_iov(struct gpu *gpu, struct gpu_resource *resource)
{
    uint64_t bytes = resource->backing.count * sizeof(*resource->iov);
    int ret;

    if (!bytes)
        return 0;
    if (!gpu_hostmem_take(gpu, bytes))
        return -ENOMEM;
    resource->iov = malloc(bytes);
    if (!resource->iov) {
        gpu_hostmem_give(gpu, bytes);
        return -ENOMEM;
    }
    ret = fill_iov(gpu, resource);
    if (ret)
        free_iov(gpu, resource);
    return ret;
}

uint32_t gpu_request_texture(struct gpu *gpu, struct gpu_request *request, uint32_t id,
                             const struct gpu_renderer_texture *texture)
{
    struct gpu_resource *resource = gpu_resource_add(gpu, id, GPU_RESOURCE_TEXTURE, 0);
    int ret;

    if (!resource)
        return gpu_refuse_memory(request);
    ret = gpu->render->module->resource_create(gpu->render->renderer, id, texture);
    if (ret) {
        gpu_resource_remove(gpu, resource);
        return gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
    }
    resource->rendered = true;
    resource->layout = (struct gpu_layout){
        .width = texture->width,
        .height = texture->height,
        .format = texture->format,
    };
    return VIRTIO_GPU_RESP_OK_NODATA;
}

/* What all 2D resources of drivers are to a renderer, in Gallium's numbers. */
#define TEXTURE_2D         2
#define BIND_RENDER_TARGET 2

uint32_t gpu_texture_create_2d(struct gpu *gpu, struct gpu_request *request, uint32_t id,
                               const struct gpu_layout *layout)
{
    const struct gpu_renderer_texture texture = {
        .target = TEXTURE_2D,
        .format = layout->format,
        .bind = BIND_RENDER_TARGET,
        .width = layout->width,
        .height = layout->height,
        .depth = 1,
        .array_size = 1,
        .flags = VIRTIO_GPU_RESOURCE_FLAG_Y_0_TOP,
    };

    return gpu_request_texture(gpu, request, id, &texture);
}

int gpu_texture_transfer_2d(struct gpu *gpu, const struct gpu_resource *resource,
                            const struct display_rect *rect, uint64_t offset)
{
    const struct gpu_renderer_transfer transfer = {
        .resource = resource->id,
        .offset = offset,
        .box = {rect->x, rect->y, 0, rect->width, rect->height, 1},
    };

    if (!gpu_renderer_of(gpu))
        return -ENODEV;
    gpu->copied += (uint64_t)rect->width * rect->height * GPU_BYTES_PER_PIXEL;
    return gpu->render->module->transfer(gpu->render->renderer, true, &transfer);
}

int gpu_texture_read(struct gpu *gpu, const struct gpu_resource *resource,
                     const struct display_rect *rect, void *out, size_t stride)
{
    if (!gpu_renderer_of(gpu))
        return -ENODEV;
    return gpu->render->module->read(gpu->render->renderer, resource->id, rect, out, stride);
}

int gpu_texture_create_blob(struct gpu *gpu, struct gpu_resource *resource, uint32_t context,
                            uint64_t blob_id)
{
    struct gpu_renderer *renderer = gpu_renderer_of(gpu);
    const struct gpu_renderer_blob blob = {
        .context = context,
        .memory = resource->blob_memory,
        .flags = resource->blob_flags,
        .blob_id = blob_id,
        .size = resource->blob_size,
    };
    int ret = renderer ? make_iov(gpu, resource) : -ENODEV;

    if (!ret)
        ret = gpu->render->module->blob_create(renderer, resource->id, &blob, resource->iov,
                                               resource->backing.count);
    resource->rendered = ret == 0;
    if (ret)
        free_iov(gpu, resource);
    return ret;
}

int gpu_texture_attach(struct gpu *gpu, struct gpu_resource *resource)
{
    int ret = gpu_renderer_of(gpu) ? make_iov(gpu, resource) : -ENODEV;

    if (ret)
        return ret;
    ret = gpu->render->module->attach_backing(gpu->render->renderer, resource->id, resource->iov,
                                              resource->backing.count);
    if (ret)
        free_iov(gpu, resource);
    return ret;
}

void gpu_texture_detach(struct gpu *gpu, struct gpu_resource *resource)
{
    if (resource->iov && gpu_renderer_of(gpu))
        gpu->render->module->detach_backing(gpu->render->renderer, resource->id);
    free_iov(gpu, resource);
}

void gpu_texture_unref(struct gpu *gpu, struct gpu_resource *resource)
{
    gpu_hostmem_unmap(gpu, resource);
    if (resource->rendered && gpu_renderer_of(gpu))
        gpu->render->module->resource_unref(gpu->render->renderer, resource->id);
    resource->rendered = false;
    free_iov(gpu, resource);
}

void gpu_texture_lose_memory(struct gpu *gpu, struct gpu_resource *resource)
{
    if (!resource->iov)
        return;
    if (resource->kind == GPU_RESOURCE_BLOB)
        gpu_texture_unref(gpu, resource);
    else
        gpu_texture_detach(gpu, resource);
}

void gpu_texture_find_memory(struct gpu *gpu, struct gpu_resource *resource)
{
    int ret = 0;

    if (!gpu_renderer_of(gpu) || !resource->backing.extents)
        return;
    if (resource->kind == GPU_RESOURCE_TEXTURE)
        ret = gpu_texture_attach(gpu, resource);
    else if (resource->blob_memory == VIRTIO_GPU_BLOB_MEM_GUEST)
        ret = gpu_texture_create_blob(gpu, resource, 0, 0);
    if (ret)
        log_limited(LOG_WARN, "gpu", "%s: the memory of resource %u is gone",
                    virtio_builtin_name(gpu->builtin), resource->id);
}
