/* What outputs show. */
#include "devices/gpu/model/scanout.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <stdlib.h>

uint32_t gpu_format_fourcc(uint32_t format)
{
    switch (format) {
    case VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM:
    case VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM:
        return DRM_FORMAT_XRGB8888;
    case VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM:
    case VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM:
        return DRM_FORMAT_BGRX8888;
    case VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM:
    case VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM:
        return DRM_FORMAT_XBGR8888;
    case VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM:
    case VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM:
        return DRM_FORMAT_RGBX8888;
    default:
        return 0;
    }
}

bool gpu_rect_fits(const struct display_rect *rect, uint32_t width, uint32_t height)
{
    return rect->width && rect->height && rect->x <= width && rect->width <= width - rect->x &&
           rect->y <= height && rect->height <= height - rect->y;
}

/* The part of a rectangle of the resource that the output shows, as it shows it; false: none. */
static bool shown_part(const struct gpu_scanout *s, const struct display_rect *rect,
                       struct display_rect *out)
{
    uint64_t left = MAX(rect->x, s->rect.x), top = MAX(rect->y, s->rect.y);
    uint64_t right = MIN((uint64_t)rect->x + rect->width, (uint64_t)s->rect.x + s->rect.width);
    uint64_t bottom = MIN((uint64_t)rect->y + rect->height, (uint64_t)s->rect.y + s->rect.height);

    if (left >= right || top >= bottom)
        return false;
    *out = (struct display_rect){(uint32_t)(left - s->rect.x), (uint32_t)(top - s->rect.y),
                                 (uint32_t)(right - left), (uint32_t)(bottom - top)};
    return true;
}

/* Of the pixel at x, y of what is shown, in the resource. */
static uint64_t offset_of(const struct gpu_scanout *s, uint32_t x, uint32_t y)
{
    return s->layout.offset + (uint64_t)(s->rect.y + y) * s->layout.stride +
           (uint64_t)(s->rect.x + x) * GPU_BYTES_PER_PIXEL;
}

/* --- showing ---------------------------------------------------------------------------------- */

static void drop_shadow(struct gpu *gpu, struct gpu_scanout *s)
{
    gpu_hostmem_give(gpu, s->shadow_size);
    free(s->shadow);
    s->shadow = NULL;
    s->shadow_size = 0;
}

/* The renderer has its pixels. */
static bool is_rendered(const struct gpu_resource *resource)
{
    return resource->rendered && !(resource->kind == GPU_RESOURCE_BLOB &&
                                   resource->blob_memory == VIRTIO_GPU_BLOB_MEM_GUEST);
}

static void show_pixels(struct gpu *gpu, unsigned index, const uint8_t *pixels, uint32_t stride)
{
    const struct gpu_scanout *s = &gpu->scanouts[index];
    const struct display_picture picture = {
        .kind = DISPLAY_PIXELS,
        .width = s->rect.width,
        .height = s->rect.height,
        .pixels = pixels,
        .stride = stride,
        .fourcc =
            is_rendered(s->resource) ? DRM_FORMAT_XRGB8888 : gpu_format_fourcc(s->layout.format),
    };

    display_show(gpu->display, index, &picture);
}

/* `rect` is of what is shown. */
static int read_rendered(void *opaque, const struct display_rect *rect, void *out, size_t stride)
{
    const struct gpu_scanout *s = opaque;
    const struct display_rect moved = {s->rect.x + rect->x, s->rect.y + rect->y, rect->width,
                                       rect->height};

    return gpu_texture_read(s->gpu, s->resource, &moved, out, stride);
}

static void show_texture(struct gpu *gpu, unsigned index, const struct display_texture *texture)
{
    struct gpu_scanout *s = &gpu->scanouts[index];
    const struct display_picture picture = {
        .kind = DISPLAY_TEXTURE,
        .width = s->rect.width,
        .height = s->rect.height,
        .x = s->rect.x,
        .y = s->rect.y,
        .texture = *texture,
        .read = read_rendered,
        .opaque = s,
    };

    display_show(gpu->display, index, &picture);
}

/* What is shown, when it can be read where it is. */
static const uint8_t *direct_pixels(struct gpu *gpu, const struct gpu_scanout *s)
{
    uint64_t bytes = (uint64_t)(s->rect.height - 1) * s->layout.stride +
                     (uint64_t)s->rect.width * GPU_BYTES_PER_PIXEL;

    if (s->resource->kind == GPU_RESOURCE_IMAGE)
        return s->resource->pixels + offset_of(s, 0, 0);
    if (is_rendered(s->resource))
        return NULL;
    return gpu_backing_map(gpu->memory, &s->resource->backing, offset_of(s, 0, 0), bytes);
}

/* Have a shadow for what is shown, if need be the one of before: its picture stays until the
 * first flush. */
static int make_shadow(struct gpu *gpu, struct gpu_scanout *s, const struct gpu_scanout *before)
{
    uint64_t size = (uint64_t)s->rect.width * s->rect.height * GPU_BYTES_PER_PIXEL;

    s->shadow_stale = true;
    s->shadow_size = size;
    if (before->shadow && before->rect.width == s->rect.width &&
        before->rect.height == s->rect.height &&
        is_rendered(before->resource) == is_rendered(s->resource) &&
        before->layout.format == s->layout.format) {
        s->shadow = before->shadow;
        return 0;
    }
    if (!gpu_hostmem_take(gpu, size))
        return -ENOMEM;
    s->shadow = calloc(1, size);
    if (s->shadow)
        return 0;
    gpu_hostmem_give(gpu, size);
    return -ENOMEM;
}

/* What the renderer has of a resource of its own; of others nothing. */
static int look_at_rendered(struct gpu *gpu, const struct gpu_scanout *now,
                            struct gpu_renderer_picture *out)
{
    int ret;

    *out = (struct gpu_renderer_picture){.has_texture = false};
    if (!is_rendered(now->resource))
        return 0;
    if (!gpu_renderer_of(gpu))
        return -ENODEV;
    ret = gpu->render->module->picture(gpu->render->renderer, now->resource->id, out);
    if (ret)
        return ret;
    out->has_texture = out->has_texture && display_knows(gpu->display, DISPLAY_TEXTURE);
    return gpu_rect_fits(&now->rect, out->width, out->height) ? 0 : -EINVAL;
}

int gpu_scanout_show(struct gpu *gpu, unsigned index, struct gpu_resource *resource,
                     const struct gpu_layout *layout, const struct display_rect *rect)
{
    struct gpu_scanout before = gpu->scanouts[index];
    struct gpu_scanout now = {.gpu = gpu, .resource = resource, .layout = *layout, .rect = *rect};
    const uint8_t *pixels = direct_pixels(gpu, &now);
    struct gpu_renderer_picture rendered;
    int ret = look_at_rendered(gpu, &now, &rendered);

    if (!ret && !pixels && !rendered.has_texture)
        ret = make_shadow(gpu, &now, &before);
    if (ret)
        return ret;
    gpu->scanouts[index] = now;
    if (rendered.has_texture)
        show_texture(gpu, index, &rendered.texture);
    else if (pixels)
        show_pixels(gpu, index, pixels, layout->stride);
    else if (now.shadow != before.shadow)
        show_pixels(gpu, index, now.shadow, rect->width * GPU_BYTES_PER_PIXEL);
    if (before.shadow && now.shadow != before.shadow)
        drop_shadow(gpu, &before);
    return 0;
}

void gpu_scanout_disable(struct gpu *gpu, unsigned index)
{
    struct gpu_scanout *s = &gpu->scanouts[index];

    if (!s->resource)
        return;
    display_show(gpu->display, index, NULL);
    drop_shadow(gpu, s);
    *s = (struct gpu_scanout){0};
}

void gpu_scanout_forget(struct gpu *gpu, const struct gpu_resource *resource)
{
    for (unsigned i = 0; i < gpu->output_count; i++)
        if (gpu->scanouts[i].resource == resource)
            gpu_scanout_disable(gpu, i);
}

/* --- guest memory that moves ------------------------------------------------------------------ */

static bool shows_guest_memory(const struct gpu_scanout *s)
{
    return s->resource && s->resource->kind == GPU_RESOURCE_BLOB && !s->shadow &&
           s->resource->blob_memory == VIRTIO_GPU_BLOB_MEM_GUEST;
}

void gpu_scanout_lose_memory(struct gpu *gpu)
{
    for (unsigned i = 0; i < gpu->output_count; i++)
        if (shows_guest_memory(&gpu->scanouts[i]))
            display_show(gpu->display, i, NULL);
}

void gpu_scanout_find_memory(struct gpu *gpu)
{
    for (unsigned i = 0; i < gpu->output_count; i++) {
        struct gpu_scanout s = gpu->scanouts[i];

        if (shows_guest_memory(&s) && gpu_scanout_show(gpu, i, s.resource, &s.layout, &s.rect) < 0)
            gpu_scanout_disable(gpu, i);
    }
}

/* --- flushing --------------------------------------------------------------------------------- */

static int copy_to_shadow(struct gpu *gpu, struct gpu_scanout *s, const struct display_rect *part)
{
    size_t stride = (size_t)s->rect.width * GPU_BYTES_PER_PIXEL;
    const struct gpu_rows rows = {
        .offset = offset_of(s, part->x, part->y),
        .stride = s->layout.stride,
        .out = s->shadow + part->y * stride + (size_t)part->x * GPU_BYTES_PER_PIXEL,
        .out_stride = stride,
        .bytes = (size_t)part->width * GPU_BYTES_PER_PIXEL,
        .count = part->height,
    };

    gpu->copied += rows.bytes * rows.count;
    if (is_rendered(s->resource))
        return read_rendered(s, part, rows.out, stride);
    return gpu_backing_read(gpu->memory, &s->resource->backing, &rows);
}

/* Bring the shadow up to date: the part that changed, at first all of it. */
static void update_shadow(struct gpu *gpu, struct gpu_scanout *s, struct display_rect *part)
{
    if (s->shadow_stale)
        *part = (struct display_rect){0, 0, s->rect.width, s->rect.height};
    s->shadow_stale = false;
    if (copy_to_shadow(gpu, s, part))
        log_limited(LOG_WARN, "gpu", "%s: what is shown cannot be read",
                    virtio_builtin_name(gpu->builtin));
}

/* While nobody looks, nothing is copied. */
static void changed(struct gpu *gpu, unsigned index, struct display_rect *part)
{
    struct gpu_scanout *s = &gpu->scanouts[index];

    if (!display_is_watched(gpu->display)) {
        s->shadow_stale = true;
        return;
    }
    if (s->shadow)
        update_shadow(gpu, s, part);
    gpu->damaged += (uint64_t)part->width * part->height * GPU_BYTES_PER_PIXEL;
    display_damage(gpu->display, index, part);
}

void gpu_scanout_refresh(void *opaque)
{
    struct gpu *gpu = opaque;

    for (unsigned i = 0; i < gpu->output_count; i++) {
        const struct gpu_scanout *s = &gpu->scanouts[i];
        struct display_rect all = {0, 0, s->rect.width, s->rect.height};

        if (s->resource && s->shadow && s->shadow_stale)
            changed(gpu, i, &all);
    }
}

void gpu_scanout_flush(struct gpu *gpu, struct gpu_resource *resource,
                       const struct display_rect *rect)
{
    struct display_rect part;

    for (unsigned i = 0; i < gpu->output_count; i++) {
        const struct gpu_scanout *s = &gpu->scanouts[i];

        if (s->resource == resource && shown_part(s, rect, &part))
            changed(gpu, i, &part);
    }
}
