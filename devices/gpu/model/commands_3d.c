/* Commands for the renderer (5.7.6.9), and about its capabilities (GPU-09). */
#include "base/bytes.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#include <errno.h>
#include <stdlib.h>

#define OK VIRTIO_GPU_RESP_OK_NODATA

#define NO_CONTEXT VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID

/* Of contexts: -EEXIST, too, is about their id. */
static uint32_t context_result(struct gpu_request *request, int ret)
{
    return ret ? gpu_refuse_errno(request, ret == -EEXIST ? -ENOENT : ret, NO_CONTEXT) : OK;
}

static uint32_t refuse_3d(struct gpu_request *request)
{
    return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL, "the renderer is gone");
}

/* --- capabilities ----------------------------------------------------------------------------- */

uint32_t gpu_get_capset_info(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t index = le32toh(request->in.get_capset_info.capset_index), id, version, size;
    struct virtio_gpu_resp_capset_info *out = &request->out.capset_info;

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    if (index >= gpu->capset_count)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "DRV-GPU-04",
                          "there is no such set of capabilities");
    gpu->render->module->capset_info(gpu->render->renderer, index, &id, &version, &size);
    out->capset_id = htole32(id);
    out->capset_max_version = htole32(version);
    out->capset_max_size = htole32(size);
    return VIRTIO_GPU_RESP_OK_CAPSET_INFO;
}

/* Its size, and whether there is this version of it. */
static bool find_capset(struct gpu *gpu, uint32_t wanted, uint32_t wanted_version, uint32_t *size)
{
    uint32_t id, version;

    for (unsigned i = 0; i < gpu->capset_count; i++) {
        gpu->render->module->capset_info(gpu->render->renderer, i, &id, &version, size);
        if (id == wanted)
            return wanted_version <= version;
    }
    return false;
}

uint32_t gpu_get_capset(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t id = le32toh(request->in.get_capset.capset_id);
    uint32_t version = le32toh(request->in.get_capset.capset_version), size = 0;
    const struct virtqueue_buffer *buffer = request->buffer;
    uint8_t *data;
    int ret;

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    if (!find_capset(gpu, id, version, &size))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "DRV-GPU-04",
                          "there is no such set of capabilities");
    if (buffer->writable_bytes - sizeof(struct virtio_gpu_resp_capset) < size)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, GPU_RULE_FIELDS,
                          "there is no room for the answer");
    data = calloc(1, size);
    ret = data ? gpu->render->module->capset(gpu->render->renderer, id, version, data, size)
               : -ENOMEM;
    if (!ret)
        request->more = virtqueue_write(buffer, sizeof(struct virtio_gpu_resp_capset), data, size);
    free(data);
    if (ret)
        return gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
    return VIRTIO_GPU_RESP_OK_CAPSET;
}

/* --- contexts --------------------------------------------------------------------------------- */

/* GPU-18. What is in context_init counts only if the driver knows of it. */
uint32_t gpu_ctx_create(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_ctx_create *in = &request->in.ctx_create;
    uint32_t id = le32toh(in->hdr.ctx_id), length = le32toh(in->nlen), capset = 0;
    char name[sizeof(in->debug_name) + 1] = "";

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    if (!id)
        return gpu_refuse(request, NO_CONTEXT, GPU_RULE_FIELDS, "a context of id 0");
    if (length > sizeof(in->debug_name))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "a context's name of more than 64 bytes");
    memcpy(name, in->debug_name, length);
    if (gpu_has(gpu, GPU_F_CONTEXT_INIT))
        capset = le32toh(in->context_init) & VIRTIO_GPU_CONTEXT_INIT_CAPSET_ID_MASK;
    return context_result(
        request, gpu->render->module->context_create(gpu->render->renderer, id, capset, name));
}

uint32_t gpu_ctx_destroy(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t id = le32toh(request->in.hdr.ctx_id);

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    return context_result(request, gpu->render->module->context_destroy(gpu->render->renderer, id));
}

static uint32_t ctx_resource(struct gpu *gpu, struct gpu_request *request,
                             int (*run)(struct gpu_renderer *r, uint32_t context,
                                        uint32_t resource))
{
    const struct virtio_gpu_ctx_resource *in = &request->in.ctx_resource;
    uint32_t code = OK;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(in->resource_id), &code);

    if (!resource)
        return code;
    return context_result(request,
                          run(gpu->render->renderer, le32toh(in->hdr.ctx_id), resource->id));
}

uint32_t gpu_ctx_attach_resource(struct gpu *gpu, struct gpu_request *request)
{
    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    return ctx_resource(gpu, request, gpu->render->module->context_attach);
}

uint32_t gpu_ctx_detach_resource(struct gpu *gpu, struct gpu_request *request)
{
    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    return ctx_resource(gpu, request, gpu->render->module->context_detach);
}

/* --- resources -------------------------------------------------------------------------------- */

uint32_t gpu_resource_create_3d(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_create_3d *in = &request->in.create_3d;
    const struct gpu_renderer_texture texture = {
        .target = le32toh(in->target),
        .format = le32toh(in->format),
        .bind = le32toh(in->bind),
        .width = le32toh(in->width),
        .height = le32toh(in->height),
        .depth = le32toh(in->depth),
        .array_size = le32toh(in->array_size),
        .last_level = le32toh(in->last_level),
        .samples = le32toh(in->nr_samples),
        .flags = le32toh(in->flags),
    };
    uint32_t id = le32toh(in->resource_id), code = gpu_request_new_id(gpu, request, id);

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    if (code != OK)
        return code;
    return gpu_request_texture(gpu, request, id, &texture);
}

static uint32_t transfer_3d(struct gpu *gpu, struct gpu_request *request, bool to_host)
{
    const struct virtio_gpu_transfer_host_3d *in = &request->in.transfer_3d;
    const struct gpu_renderer_transfer transfer = {
        .context = le32toh(in->hdr.ctx_id),
        .resource = le32toh(in->resource_id),
        .offset = le64toh(in->offset),
        .level = le32toh(in->level),
        .stride = le32toh(in->stride),
        .layer_stride = le32toh(in->layer_stride),
        .box = {le32toh(in->box.x), le32toh(in->box.y), le32toh(in->box.z), le32toh(in->box.w),
                le32toh(in->box.h), le32toh(in->box.d)},
    };
    uint32_t code = OK;
    int ret;

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    if (!gpu_request_resource(gpu, request, transfer.resource, &code))
        return code;
    ret = gpu->render->module->transfer(gpu->render->renderer, to_host, &transfer);
    return ret ? gpu_refuse_errno(request, ret, NO_CONTEXT) : OK;
}

uint32_t gpu_transfer_to_host_3d(struct gpu *gpu, struct gpu_request *request)
{
    return transfer_3d(gpu, request, true);
}

uint32_t gpu_transfer_from_host_3d(struct gpu *gpu, struct gpu_request *request)
{
    return transfer_3d(gpu, request, false);
}

/* --- 3D commands ------------------------------------------------------------------------------ */

uint32_t gpu_submit_3d(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_cmd_submit *in = &request->in.submit;
    uint32_t size = le32toh(in->size), code = OK;
    void *commands;
    int ret;

    if (!gpu_renderer_of(gpu))
        return refuse_3d(request);
    if (size > request->buffer->readable_bytes - sizeof(*in))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "more 3D commands than the request holds");
    if (!gpu_hostmem_take(gpu, size))
        return gpu_refuse_memory(request);
    commands = malloc(MAX(size, 1u));
    if (commands) {
        virtqueue_read(request->buffer, sizeof(*in), commands, size);
        ret = gpu->render->module->submit(gpu->render->renderer, le32toh(in->hdr.ctx_id), commands,
                                          size);
    } else {
        ret = -ENOMEM;
    }
    free(commands);
    gpu_hostmem_give(gpu, size);
    if (ret)
        code = gpu_refuse_errno(request, ret, NO_CONTEXT);
    return code;
}
