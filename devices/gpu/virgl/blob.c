/*
 * Blobs, and their memory.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#include <unistd.h>

/* Of a blob in host memory: what the context that makes it has counted already, as a resource to
 * be. */
static uint64_t claimable(struct gpu_renderer *r, const struct gpu_renderer_blob *blob)
{
    return MIN(virgl_context_find(r, blob->context)->unclaimed, blob->size);
}

static void claim(struct gpu_renderer *r, uint32_t context, struct virgl_resource *resource,
                  uint64_t claimed)
{
    if (!claimed)
        return;
    virgl_context_find(r, context)->unclaimed -= claimed;
    resource->bytes += claimed;
}

static int check(struct gpu_renderer *r, const struct gpu_renderer_blob *blob, unsigned iov_count)
{
    if (!blob->size)
        return -EINVAL;
    switch (blob->memory) {
    case VIRGL_RENDERER_BLOB_MEM_GUEST:
        return iov_count ? 0 : -EINVAL;
    case VIRGL_RENDERER_BLOB_MEM_HOST3D:
        return iov_count ? -EINVAL : virgl_context_find(r, blob->context) ? 0 : -ENOENT;
    case VIRGL_RENDERER_BLOB_MEM_HOST3D_GUEST:
        return !iov_count ? -EINVAL : virgl_context_find(r, blob->context) ? 0 : -ENOENT;
    default:
        return -EINVAL;
    }
}

int virgl_blob_create(struct gpu_renderer *r, uint32_t id, const struct gpu_renderer_blob *blob,
                      const struct iovec *iov, unsigned iov_count)
{
    const struct virgl_renderer_resource_create_blob_args args = {
        .res_handle = id,
        .ctx_id = blob->context,
        .blob_mem = blob->memory,
        .blob_flags = blob->flags,
        .blob_id = blob->blob_id,
        .size = blob->size,
        .iovecs = iov,
        .num_iovs = iov_count,
    };
    bool in_guest = blob->memory == VIRGL_RENDERER_BLOB_MEM_GUEST;
    struct virgl_resource *resource;
    uint64_t claimed;
    int ret = check(r, blob, iov_count);

    if (ret < 0)
        return ret;
    claimed = in_guest ? 0 : claimable(r, blob);
    ret = virgl_resource_add(r, id, in_guest ? 0 : blob->size - claimed, &resource);
    if (ret < 0)
        return ret;
    virgl_enter(r);
    ret = virgl_result(virgl_renderer_resource_create_blob(&args));
    if (ret < 0) {
        virgl_resource_remove(r, resource);
        return ret;
    }
    claim(r, blob->context, resource, claimed);
    resource->first_backing = iov_count ? iov[0].iov_len : 0;
    virgl_renderer_resource_set_priv(id, resource);
    return 0;
}

static bool at_page(const void *memory)
{
    return (uintptr_t)memory % (uintptr_t)sysconf(_SC_PAGESIZE) == 0;
}

int virgl_map(struct gpu_renderer *r, uint32_t id, struct gpu_renderer_mapping *out)
{
    struct virgl_resource *resource = virgl_resource_find(id);
    uint32_t fd_type;

    *out = (struct gpu_renderer_mapping){.fd = -1};
    if (!resource)
        return -ENOENT;
    if (resource->typed || resource->mapped)
        return -EINVAL;
    virgl_enter(r);
    if (virgl_renderer_resource_get_map_info(id, &out->map_info) ||
        virgl_renderer_resource_map(id, &out->memory, &out->size))
        return -ENOTSUP;
    resource->mapped = true;
    if (!at_page(out->memory)) {
        virgl_unmap(r, id);
        return -ENOTSUP;
    }
    out->map_info &= VIRGL_RENDERER_MAP_CACHE_MASK;
    if (virgl_renderer_resource_export_blob(id, &fd_type, &out->fd))
        out->fd = -1;
    return 0;
}

void virgl_unmap(struct gpu_renderer *r, uint32_t id)
{
    struct virgl_resource *resource = virgl_resource_find(id);

    if (!resource || !resource->mapped)
        return;
    virgl_enter(r);
    virgl_renderer_resource_unmap(id);
    resource->mapped = false;
}

bool virgl_buffers_map(struct gpu_renderer *r)
{
    const uint32_t id = 1; /* there are no others yet */
    struct virgl_renderer_resource_create_args args = {
        .handle = id,
        .format = 64,   /* R8_UNORM */
        .bind = 1 << 4, /* a vertex buffer */
        .width = 1 << 20,
        .height = 1,
        .depth = 1,
        .array_size = 1,
        .flags = 1 << 1 | 1 << 2, /* mapped for good, coherently */
    };
    void *memory = NULL;
    uint64_t size;
    bool yes;

    virgl_enter(r);
    if (virgl_renderer_resource_create(&args, NULL, 0))
        return false;
    yes = virgl_renderer_resource_map(id, &memory, &size) == 0;
    if (yes)
        virgl_renderer_resource_unmap(id);
    virgl_renderer_resource_unref(id);
    return yes && at_page(memory);
}
