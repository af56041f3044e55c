/* Blob resources (5.7.6.8, RESOURCE_BLOB). */
#include "base/bytes.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#define OK VIRTIO_GPU_RESP_OK_NODATA
#define FLAGS                                                                 \
    (VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE | VIRTIO_GPU_BLOB_FLAG_USE_SHAREABLE | \
     VIRTIO_GPU_BLOB_FLAG_USE_CROSS_DEVICE)

static uint32_t bad(struct gpu_request *request, const char *rule, const char *reason)
{
    return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, rule, reason);
}

/* What the specification says of the fields (GPU-16, GPU-25). */
static uint32_t check_create(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_create_blob *in = &request->in.create_blob;
    uint32_t memory = le32toh(in->blob_mem), flags = le32toh(in->blob_flags);
    uint64_t size = le64toh(in->size);

    if (memory < VIRTIO_GPU_BLOB_MEM_GUEST || memory > VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST)
        return bad(request, "DRV-GPU-04", "a blob in memory of no kind");
    if (memory != VIRTIO_GPU_BLOB_MEM_GUEST && !gpu_has(gpu, GPU_F_VIRGL))
        return bad(request, GPU_RULE_FIELDS, "a blob in host memory without VIRGL");
    if (flags & ~(uint32_t)FLAGS)
        return bad(request, GPU_RULE_FIELDS, "a blob with unknown flags");
    if (!size)
        return bad(request, GPU_RULE_FIELDS, "a blob of no bytes");
    if (gpu_has(gpu, GPU_F_BLOB_ALIGNMENT) && size % GPU_BLOB_ALIGNMENT)
        return bad(request, "DRV-GPU-02", "a blob whose size is not aligned");
    return gpu_request_new_id(gpu, request, le32toh(in->resource_id));
}

/* GUEST and HOST3D_GUEST have guest memory behind them. */
static uint32_t take_backing(struct gpu *gpu, struct gpu_request *request, uint32_t memory,
                             struct gpu_backing *out)
{
    const struct virtio_gpu_resource_create_blob *in = &request->in.create_blob;
    uint32_t count = le32toh(in->nr_entries), code;

    *out = (struct gpu_backing){NULL, 0, 0};
    if (memory == VIRTIO_GPU_BLOB_MEM_HOST3D)
        return count ? bad(request, GPU_RULE_FIELDS, "guest memory of a blob in host memory") : OK;
    code = gpu_request_backing(gpu, request, sizeof(*in), count, out);
    if (code != OK || out->size >= le64toh(in->size))
        return code;
    gpu_backing_release(gpu, out);
    return bad(request, GPU_RULE_FIELDS, "a blob that is larger than its memory");
}

uint32_t gpu_resource_create_blob(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_create_blob *in = &request->in.create_blob;
    uint32_t code = check_create(gpu, request), memory = le32toh(in->blob_mem);
    struct gpu_resource *resource;
    struct gpu_backing backing;
    int ret;

    if (code == OK)
        code = take_backing(gpu, request, memory, &backing);
    if (code != OK)
        return code;
    resource = gpu_resource_add(gpu, le32toh(in->resource_id), GPU_RESOURCE_BLOB, 0);
    if (!resource) {
        gpu_backing_release(gpu, &backing);
        return gpu_refuse_memory(request);
    }
    resource->blob_size = le64toh(in->size);
    resource->blob_memory = memory;
    resource->blob_flags = le32toh(in->blob_flags);
    resource->backing = backing;
    if (memory == VIRTIO_GPU_BLOB_MEM_GUEST && !gpu_renderer_of(gpu))
        return OK;
    ret = gpu_texture_create_blob(gpu, resource, le32toh(in->hdr.ctx_id), le64toh(in->blob_id));
    if (!ret)
        return OK;
    gpu_resource_remove(gpu, resource);
    return gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
}

/* --- showing one ------------------------------------------------------------------------------ */

static uint32_t check_layout(struct gpu_request *request, const struct gpu_resource *resource,
                             const struct gpu_layout *layout, const struct display_rect *rect)
{
    const struct gpu_rows rows = {
        .offset = layout->offset,
        .stride = layout->stride,
        .bytes = (size_t)layout->width * GPU_BYTES_PER_PIXEL,
        .count = layout->height,
    };

    if (!gpu_format_fourcc(layout->format))
        return bad(request, GPU_RULE_FIELDS, "a format that is none");
    if (!gpu_rect_fits(rect, layout->width, layout->height) || rect->width > DISPLAY_SIZE_MAX ||
        rect->height > DISPLAY_SIZE_MAX)
        return bad(request, GPU_RULE_FIELDS, "a rectangle that is empty or not within the picture");
    if (rows.bytes > rows.stride || !gpu_rows_fit(&rows, resource->blob_size))
        return bad(request, GPU_RULE_FIELDS, "a picture that is not within its blob");
    return OK;
}

/* GPU-24. All formats there are have one plane. */
uint32_t gpu_set_scanout_blob(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_set_scanout_blob *in = &request->in.set_scanout_blob;
    uint32_t index = le32toh(in->scanout_id), code = OK;
    const struct gpu_layout layout = {le32toh(in->width), le32toh(in->height), le32toh(in->format),
                                      le32toh(in->strides[0]), le32toh(in->offsets[0])};
    const struct display_rect rect = gpu_rect_of(&in->r);
    struct gpu_resource *resource =
        gpu_request_shown(gpu, request, index, le32toh(in->resource_id), &code);
    int ret;

    if (!resource)
        return code;
    if (resource->kind != GPU_RESOURCE_BLOB)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, GPU_RULE_FIELDS,
                          "a resource that is no blob");
    code = check_layout(request, resource, &layout, &rect);
    if (code != OK)
        return code;
    ret = gpu_scanout_show(gpu, index, resource, &layout, &rect);
    return ret ? gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID) : OK;
}
