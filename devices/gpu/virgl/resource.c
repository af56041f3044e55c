/*
 * Textures and buffers: bounds, memory, backing, transfers.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#include <stdlib.h>

/* enum pipe_texture_target of virgl_hw.h */
enum {
    TARGET_BUFFER,
    TARGET_1D,
    TARGET_2D,
    TARGET_3D,
    TARGET_CUBE,
    TARGET_RECT,
    TARGET_1D_ARRAY,
    TARGET_2D_ARRAY,
    TARGET_CUBE_ARRAY,
    TARGET_COUNT,
};

#define SIZE_MAX_2D        16384
#define SIZE_MAX_3D        2048
#define LAYERS_MAX         2048
#define SAMPLES_MAX        32
#define RESOURCE_MAX       (2 * GIB) /* the library counts the bytes of transfers in 32 bits */
#define QUERY_BYTES        16 /* what it writes to a buffer of a query's, however short that is */
#define VIRGL_BIND_STAGING BIT(19) /* guest memory and nothing else */

/* --- what can be made ------------------------------------------------------------------------- */

static unsigned layers_of(const struct gpu_renderer_texture *t)
{
    return t->target == TARGET_3D ? t->depth : t->array_size;
}

static bool is_sized(const struct gpu_renderer_texture *t)
{
    uint32_t size_max = t->target == TARGET_3D ? SIZE_MAX_3D : SIZE_MAX_2D;

    if (!t->width || !t->height || !t->depth || !t->array_size)
        return false;
    if (t->target == TARGET_BUFFER)
        return t->width <= RESOURCE_MAX && t->height == 1 && t->depth == 1 && t->array_size == 1 &&
               !t->last_level;
    return t->width <= size_max && t->height <= size_max && t->depth <= SIZE_MAX_3D &&
           t->array_size <= LAYERS_MAX && t->samples <= SAMPLES_MAX &&
           (t->target == TARGET_3D || t->depth == 1) && t->last_level < 15 &&
           (MAX(t->width, MAX(t->height, t->depth)) >> t->last_level);
}

/* Of a pixel in memory, at most: by ranges of enum virgl_formats. */
static unsigned pixel_bytes(uint32_t format)
{
    static const struct {
        uint16_t first, last;
        uint8_t bytes;
    } small[] = {
        {1, 23, 4},    {28, 28, 4},   {48, 49, 4},   {64, 72, 4},   {74, 77, 4},
        {91, 92, 4},   {95, 104, 4},  {105, 116, 1}, {117, 125, 4}, {127, 135, 4},
        {177, 186, 4}, {193, 193, 4}, {225, 233, 4}, {255, 258, 1}, {269, 306, 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(small); i++)
        if (format >= small[i].first && format <= small[i].last)
            return small[i].bytes;
    return 32;
}

int64_t virgl_texture_bytes(const struct gpu_renderer_texture *t)
{
    uint64_t bytes;

    if (t->target >= TARGET_COUNT || !t->format || !is_sized(t))
        return -EINVAL;
    if (t->target == TARGET_BUFFER)
        return t->bind == VIRGL_BIND_STAGING ? 0 : t->width;
    /* At most 2^14 * 2^14 * 2^11 * 2^5 * 2^5: no overflow. Smaller levels are a third at most of a
     * 2D texture, but of one of height 1 as much again. */
    bytes =
        (uint64_t)t->width * t->height * layers_of(t) * MAX(t->samples, 1) * pixel_bytes(t->format);
    if (t->last_level)
        bytes *= 2;
    return bytes <= RESOURCE_MAX ? (int64_t)bytes : -EINVAL;
}

/* --- records ---------------------------------------------------------------------------------- */

struct virgl_resource *virgl_resource_find(uint32_t id)
{
    return virgl_renderer_resource_get_priv(id);
}

int virgl_resource_add(struct gpu_renderer *r, uint32_t id, uint64_t bytes,
                       struct virgl_resource **out)
{
    struct virgl_resource *resource;

    if (!id || virgl_resource_find(id))
        return -EINVAL;
    if (bytes > r->max_memory - MIN(r->memory, r->max_memory))
        return -ENOMEM;
    resource = calloc(1, sizeof(*resource));
    if (!resource)
        return -ENOMEM;
    *resource = (struct virgl_resource){.id = id, .bytes = bytes};
    resource->link = &r->resources;
    resource->next = r->resources;
    if (resource->next)
        resource->next->link = &resource->next;
    r->resources = resource;
    r->memory += bytes;
    *out = resource;
    return 0;
}

void virgl_resource_remove(struct gpu_renderer *r, struct virgl_resource *resource)
{
    *resource->link = resource->next;
    if (resource->next)
        resource->next->link = resource->link;
    r->memory -= resource->bytes;
    free(resource);
}

int virgl_resource_create(struct gpu_renderer *r, uint32_t id, const struct gpu_renderer_texture *t)
{
    struct virgl_renderer_resource_create_args args = {
        .handle = id,
        .target = t->target,
        .format = t->format,
        .bind = t->bind,
        .width = t->target == TARGET_BUFFER ? MAX(t->width, QUERY_BYTES) : t->width,
        .height = t->height,
        .depth = t->depth,
        .array_size = t->array_size,
        .last_level = t->last_level,
        .nr_samples = t->samples,
        .flags = t->flags,
    };
    struct virgl_resource *resource;
    int64_t bytes = virgl_texture_bytes(t);
    int ret;

    if (bytes < 0)
        return (int)bytes;
    ret = virgl_resource_add(r, id, (uint64_t)bytes, &resource);
    if (ret < 0)
        return ret;
    virgl_enter(r);
    ret = virgl_result(virgl_renderer_resource_create(&args, NULL, 0));
    if (ret < 0) {
        virgl_resource_remove(r, resource);
        return ret;
    }
    resource->typed = true;
    resource->texture = *t;
    virgl_renderer_resource_set_priv(id, resource);
    return 0;
}

void virgl_resource_unref(struct gpu_renderer *r, uint32_t id)
{
    struct virgl_resource *resource = virgl_resource_find(id);

    if (!resource)
        return;
    virgl_unmap(r, id);
    virgl_enter(r);
    virgl_renderer_resource_detach_iov((int)id, NULL, NULL);
    virgl_renderer_resource_unref(id);
    virgl_resource_remove(r, resource);
}

/* --- backing, transfers ----------------------------------------------------------------------- */

int virgl_attach_backing(struct gpu_renderer *r, uint32_t id, struct iovec *iov, unsigned iov_count)
{
    struct virgl_resource *resource = virgl_resource_find(id);
    int ret;

    if (!resource)
        return -ENOENT;
    if (!iov_count)
        return -EINVAL;
    virgl_enter(r);
    ret = virgl_result(virgl_renderer_resource_attach_iov((int)id, iov, (int)iov_count));
    if (ret == 0)
        resource->first_backing = iov[0].iov_len;
    return ret;
}

void virgl_detach_backing(struct gpu_renderer *r, uint32_t id)
{
    struct virgl_resource *resource = virgl_resource_find(id);

    if (!resource)
        return;
    virgl_enter(r);
    virgl_renderer_resource_detach_iov((int)id, NULL, NULL);
    resource->first_backing = 0;
}

static bool within(uint32_t start, uint32_t count, uint32_t limit)
{
    return start <= limit && count <= limit - start;
}

/* What the library adds up in 32 bits fits there; of a resource whose kind only it knows, the rest
 * is its own to check. */
static bool transfer_fits(const struct virgl_resource *resource,
                          const struct gpu_renderer_transfer *t)
{
    const struct gpu_renderer_box *box = &t->box;
    const struct gpu_renderer_texture *texture = &resource->texture;

    if (!within(box->x, box->width, INT32_MAX) || !within(box->y, box->height, INT32_MAX) ||
        !within(box->z, box->depth, LAYERS_MAX))
        return false;
    if (t->offset > UINT32_MAX || (uint64_t)t->stride * box->height > UINT32_MAX ||
        (uint64_t)t->layer_stride * box->depth > UINT32_MAX ||
        (uint64_t)t->stride * box->height + (uint64_t)t->layer_stride * box->depth + t->offset >
            UINT32_MAX)
        return false;
    return !resource->typed ||
           (t->level <= texture->last_level && within(box->z, box->depth, layers_of(texture)));
}

int virgl_transfer(struct gpu_renderer *r, bool to_host, const struct gpu_renderer_transfer *t)
{
    struct virgl_resource *resource = virgl_resource_find(t->resource);
    struct {
        uint32_t x, y, z, width, height, depth;
    } box = {t->box.x, t->box.y, t->box.z, t->box.width, t->box.height, t->box.depth};
    struct virgl_box *library_box = (struct virgl_box *)(void *)&box;
    int ret;

    if (!resource || (t->context && !virgl_context_find(r, t->context)))
        return -ENOENT;
    if (!transfer_fits(resource, t))
        return -EINVAL;
    if (!box.width || !box.height || !box.depth)
        return 0;
    virgl_enter(r);
    if (to_host)
        ret = virgl_renderer_transfer_write_iov(t->resource, t->context, (int)t->level, t->stride,
                                                t->layer_stride, library_box, t->offset, NULL, 0);
    else
        ret = virgl_renderer_transfer_read_iov(t->resource, t->context, t->level, t->stride,
                                               t->layer_stride, library_box, t->offset, NULL, 0);
    return virgl_result(ret);
}
