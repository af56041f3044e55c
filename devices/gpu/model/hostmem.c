/* Blobs in the region that the driver sees (GPU-17, GPU-25). */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#include <errno.h>
#include <unistd.h>

static uint32_t check_map(struct gpu *gpu, struct gpu_request *request,
                          const struct gpu_resource *resource, uint64_t offset)
{
    uint64_t size = align_up(resource->blob_size, GPU_BLOB_ALIGNMENT);

    if (resource->kind != GPU_RESOURCE_BLOB || resource->blob_memory == VIRTIO_GPU_BLOB_MEM_GUEST ||
        !(resource->blob_flags & VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "a resource that is not mappable host memory");
    if (resource->mapped)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "DRV-GPU-03",
                          "a blob that is mapped already");
    if (offset % GPU_BLOB_ALIGNMENT)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "DRV-GPU-02",
                          "a place that is not aligned");
    if (offset > gpu->render->hostmem || size > gpu->render->hostmem - offset)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "a place that is not within the region");
    return VIRTIO_GPU_RESP_OK_NODATA;
}

static int map(struct gpu *gpu, struct gpu_resource *resource, uint64_t offset,
               struct gpu_renderer_mapping *mapping)
{
    struct gpu_render *render = gpu->render;
    struct virtio_shared_mapping shared = {
        .id = VIRTIO_GPU_SHM_ID_HOST_VISIBLE,
        .offset = offset,
        .length = align_up(resource->blob_size, GPU_BLOB_ALIGNMENT),
        .writable = true,
    };
    struct error err = ERROR_INIT;
    int ret = render->module->map(render->renderer, resource->id, mapping);

    if (ret)
        return ret;
    shared.memory = mapping->memory;
    shared.fd = mapping->fd;
    shared.fd_offset = mapping->fd_offset;
    /* To its last byte: what else is in a page of ours is not the guest's. */
    ret = mapping->size < shared.length
              ? error_set(&err, EINVAL, "it has less memory than was asked for")
              : virtio_builtin_shared_map(gpu->builtin, &shared, &err);
    if (mapping->fd >= 0)
        close(mapping->fd);
    if (ret) {
        log_limited(LOG_INFO, "gpu", "%s: cannot map blob %u: %s",
                    virtio_builtin_name(gpu->builtin), resource->id, err.text);
        render->module->unmap(render->renderer, resource->id);
    }
    return ret;
}

uint32_t gpu_resource_map_blob(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_map_blob *in = &request->in.map_blob;
    uint32_t code = VIRTIO_GPU_RESP_OK_NODATA;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(in->resource_id), &code);
    struct gpu_renderer_mapping mapping;
    int ret;

    if (!resource)
        return code;
    if (!gpu_renderer_of(gpu) || !gpu->render->hostmem)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL,
                          "there is no region to map in");
    code = check_map(gpu, request, resource, le64toh(in->offset));
    if (code != VIRTIO_GPU_RESP_OK_NODATA)
        return code;
    ret = map(gpu, resource, le64toh(in->offset), &mapping);
    if (ret)
        return gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
    resource->mapped = true;
    resource->map_offset = le64toh(in->offset);
    request->out.map_info.map_info = htole32(mapping.map_info & VIRTIO_GPU_MAP_CACHE_MASK);
    return VIRTIO_GPU_RESP_OK_MAP_INFO;
}

void gpu_hostmem_unmap(struct gpu *gpu, struct gpu_resource *resource)
{
    if (!resource->mapped)
        return;
    virtio_builtin_shared_unmap(gpu->builtin, VIRTIO_GPU_SHM_ID_HOST_VISIBLE, resource->map_offset,
                                align_up(resource->blob_size, GPU_BLOB_ALIGNMENT));
    if (gpu_renderer_of(gpu))
        gpu->render->module->unmap(gpu->render->renderer, resource->id);
    resource->mapped = false;
}

uint32_t gpu_resource_unmap_blob(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t code = VIRTIO_GPU_RESP_OK_NODATA;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(request->in.unmap_blob.resource_id), &code);

    if (!resource)
        return code;
    if (!resource->mapped)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "DRV-GPU-03",
                          "a blob that is not mapped");
    gpu_hostmem_unmap(gpu, resource);
    return code;
}
