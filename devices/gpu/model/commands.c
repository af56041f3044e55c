/* Commands about resources and what is shown of them (5.7.6.8). */
#include "base/bytes.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define OK VIRTIO_GPU_RESP_OK_NODATA

struct display_rect gpu_rect_of(const struct virtio_gpu_rect *r)
{
    return (struct display_rect){le32toh(r->x), le32toh(r->y), le32toh(r->width),
                                 le32toh(r->height)};
}

uint32_t gpu_refuse_memory(struct gpu_request *request)
{
    return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, NULL,
                      "the guest may not take more host memory");
}

static uint32_t bad_rectangle(struct gpu_request *request)
{
    return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                      "a rectangle that is empty or not within the resource");
}

struct gpu_resource *gpu_request_resource(struct gpu *gpu, struct gpu_request *request, uint32_t id,
                                          uint32_t *code)
{
    struct gpu_resource *resource = gpu_resource_find(gpu, id);

    if (!resource)
        *code = gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, GPU_RULE_FIELDS,
                           "there is no such resource");
    return resource;
}

uint32_t gpu_request_new_id(struct gpu *gpu, struct gpu_request *request, uint32_t id)
{
    if (id && !gpu_resource_find(gpu, id))
        return OK;
    return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, GPU_RULE_FIELDS,
                      "the id of a new resource is 0 or taken");
}

/* --- life of resources ------------------------------------------------------------------------ */

uint32_t gpu_resource_create_2d(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_create_2d *in = &request->in.create_2d;
    uint32_t id = le32toh(in->resource_id), code = gpu_request_new_id(gpu, request, id);
    struct gpu_layout layout = {.width = le32toh(in->width),
                                .height = le32toh(in->height),
                                .format = le32toh(in->format),
                                .stride = le32toh(in->width) * GPU_BYTES_PER_PIXEL};
    uint64_t bytes = (uint64_t)layout.stride * layout.height;
    struct gpu_resource *resource;

    if (code != OK)
        return code;
    if (!gpu_format_fourcc(layout.format) || !layout.width || !layout.height)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "a format that is none, or no pixels");
    if (layout.width > UINT32_MAX / GPU_BYTES_PER_PIXEL)
        return gpu_refuse_memory(request);
    if (gpu_renderer_of(gpu))
        return gpu_texture_create_2d(gpu, request, id, &layout);
    resource = gpu_resource_add(gpu, id, GPU_RESOURCE_IMAGE, bytes);
    if (!resource)
        return gpu_refuse_memory(request);
    resource->layout = layout;
    resource->pixels = calloc(1, bytes);
    if (resource->pixels)
        return OK;
    gpu_resource_remove(gpu, resource);
    return gpu_refuse_memory(request);
}

uint32_t gpu_resource_unref(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t code = OK;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(request->in.unref.resource_id), &code);

    if (resource)
        gpu_resource_remove(gpu, resource);
    return code;
}

uint32_t gpu_resource_assign_uuid(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t code = VIRTIO_GPU_RESP_OK_RESOURCE_UUID;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(request->in.assign_uuid.resource_id), &code);
    uint8_t *uuid;

    if (!resource)
        return code;
    uuid = resource->uuid;
    if (!resource->has_uuid &&
        getrandom(uuid, sizeof(resource->uuid), 0) != (ssize_t)sizeof(resource->uuid))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL, "no random numbers");
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4 (RFC 9562): random */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    resource->has_uuid = true;
    memcpy(request->out.uuid.uuid, uuid, sizeof(resource->uuid));
    return code;
}

/* --- backing ---------------------------------------------------------------------------------- */

/* Copied once: `entries` is what is checked and used. */
static uint32_t take_extents(struct gpu *gpu, struct gpu_request *request,
                             const struct virtio_gpu_mem_entry *entries, struct gpu_backing *out)
{
    for (uint32_t i = 0; i < out->count; i++) {
        struct gpu_extent extent = {GPA(le64toh(entries[i].addr)), le32toh(entries[i].length)};

        if (!guest_memory_map(gpu->memory, extent.address, extent.length))
            return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                              "backing that is empty or not guest memory");
        out->extents[i] = extent;
        out->size += extent.length;
    }
    return OK;
}

uint32_t gpu_request_backing(struct gpu *gpu, struct gpu_request *request, size_t at,
                             uint32_t count, struct gpu_backing *out)
{
    size_t bytes = count * sizeof(struct virtio_gpu_mem_entry);
    struct virtio_gpu_mem_entry *entries;
    uint32_t code = OK;

    *out = (struct gpu_backing){.count = count};
    if (count > GPU_ENTRIES_MAX)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, GPU_RULE_FIELDS,
                          "memory in too many pieces");
    if (!count || bytes > request->buffer->readable_bytes - at)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "nr_entries is 0 or more than the request holds");
    if (!gpu_hostmem_take(gpu, count * sizeof(*out->extents)))
        return gpu_refuse_memory(request);
    entries = malloc(bytes);
    out->extents = malloc(count * sizeof(*out->extents));
    if (entries && out->extents) {
        virtqueue_read(request->buffer, at, entries, bytes);
        code = take_extents(gpu, request, entries, out);
    } else {
        code = gpu_refuse_memory(request);
    }
    free(entries);
    if (code == OK)
        return code;
    gpu_backing_release(gpu, out);
    return code;
}

uint32_t gpu_resource_attach_backing(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_attach_backing *in = &request->in.attach_backing;
    uint32_t code = OK;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(in->resource_id), &code);
    struct gpu_backing backing;
    int ret;

    if (!resource)
        return code;
    if (resource->backing.extents || resource->kind == GPU_RESOURCE_BLOB)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL,
                          "the resource has its backing already");
    code = gpu_request_backing(gpu, request, sizeof(*in), le32toh(in->nr_entries), &backing);
    if (code != OK)
        return code;
    gpu_resource_set_backing(gpu, resource, &backing);
    ret = resource->kind == GPU_RESOURCE_TEXTURE ? gpu_texture_attach(gpu, resource) : 0;
    if (!ret)
        return OK;
    gpu_resource_set_backing(gpu, resource, NULL);
    return gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
}

uint32_t gpu_resource_detach_backing(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t code = OK;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(request->in.detach_backing.resource_id), &code);

    if (!resource)
        return code;
    if (!resource->backing.extents || resource->kind == GPU_RESOURCE_BLOB)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL,
                          "the resource has no backing that could be detached");
    gpu_texture_detach(gpu, resource);
    gpu_resource_set_backing(gpu, resource, NULL);
    return code;
}

/* --- pictures --------------------------------------------------------------------------------- */

static uint32_t transfer_image(struct gpu *gpu, struct gpu_request *request,
                               const struct gpu_resource *resource, const struct display_rect *rect)
{
    const struct gpu_layout *layout = &resource->layout;
    const struct gpu_rows rows = {
        .offset = le64toh(request->in.transfer_2d.offset),
        .stride = layout->stride,
        .out = resource->pixels + (uint64_t)rect->y * layout->stride +
               (uint64_t)rect->x * GPU_BYTES_PER_PIXEL,
        .out_stride = layout->stride,
        .bytes = (size_t)rect->width * GPU_BYTES_PER_PIXEL,
        .count = rect->height,
    };

    if (!gpu_rows_fit(&rows, resource->backing.size))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "a transfer from behind the end of the backing");
    if (gpu_backing_read(gpu->memory, &resource->backing, &rows))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL, "guest memory is gone");
    gpu->copied += rows.bytes * rows.count;
    return OK;
}

/* Of a blob in guest memory there is nothing to bring; Linux asks for it nevertheless. */
uint32_t gpu_transfer_to_host_2d(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_transfer_to_host_2d *in = &request->in.transfer_2d;
    struct display_rect rect = gpu_rect_of(&in->r);
    uint32_t code = OK;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(in->resource_id), &code);
    int ret;

    if (!resource)
        return code;
    if (!resource->backing.extents)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, GPU_RULE_FIELDS,
                          "a transfer of a resource without backing");
    if (resource->kind == GPU_RESOURCE_BLOB)
        return OK;
    if (!gpu_rect_fits(&rect, resource->layout.width, resource->layout.height))
        return bad_rectangle(request);
    if (resource->kind == GPU_RESOURCE_IMAGE)
        return transfer_image(gpu, request, resource, &rect);
    ret = gpu_texture_transfer_2d(gpu, resource, &rect, le64toh(in->offset));
    return ret ? gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID) : OK;
}

struct gpu_resource *gpu_request_shown(struct gpu *gpu, struct gpu_request *request, uint32_t index,
                                       uint32_t id, uint32_t *code)
{
    if (index >= gpu->output_count) {
        *code = gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID, GPU_RULE_FIELDS,
                           "there is no such scanout");
        return NULL;
    }
    if (id != 0)
        return gpu_request_resource(gpu, request, id, code);
    gpu_scanout_disable(gpu, index);
    *code = OK;
    return NULL;
}

uint32_t gpu_set_scanout(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_set_scanout *in = &request->in.set_scanout;
    uint32_t index = le32toh(in->scanout_id), code = OK;
    struct display_rect rect = gpu_rect_of(&in->r);
    struct gpu_resource *resource =
        gpu_request_shown(gpu, request, index, le32toh(in->resource_id), &code);
    int ret;

    if (!resource)
        return code;
    if (resource->kind == GPU_RESOURCE_BLOB)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, GPU_RULE_FIELDS,
                          "a blob, of which SET_SCANOUT_BLOB says what is in it");
    if (!gpu_rect_fits(&rect, resource->layout.width, resource->layout.height) ||
        rect.width > DISPLAY_SIZE_MAX || rect.height > DISPLAY_SIZE_MAX)
        return bad_rectangle(request);
    ret = gpu_scanout_show(gpu, index, resource, &resource->layout, &rect);
    return ret ? gpu_refuse_errno(request, ret, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID) : OK;
}

/* Of a blob nobody but the scanout knows how large the picture in it is. */
uint32_t gpu_resource_flush(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_resource_flush *in = &request->in.flush;
    struct display_rect rect = gpu_rect_of(&in->r);
    uint32_t code = OK;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(in->resource_id), &code);

    if (!resource)
        return code;
    if (resource->kind != GPU_RESOURCE_BLOB &&
        !gpu_rect_fits(&rect, resource->layout.width, resource->layout.height))
        return bad_rectangle(request);
    gpu_scanout_flush(gpu, resource, &rect);
    return OK;
}
