/*
 * Textures as pictures.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>

/* enum virgl_formats, those with 8 bits to a channel: in memory the red, or the blue one first. */
static bool is_blue_first(uint32_t format)
{
    return format == 1 || format == 2 || format == 100 || format == 101;
}

static bool is_red_first(uint32_t format)
{
    return format == 67 || format == 104 || format == 134 || format == 230;
}

#define VIRGL_RESOURCE_Y_0_TOP 1
#define TARGET_2D              2
#define TARGET_RECT            5

static int look_up(struct gpu_renderer *r, uint32_t id, struct virgl_renderer_resource_info *info)
{
    const struct virgl_resource *resource = virgl_resource_find(id);

    *info = (struct virgl_renderer_resource_info){0};
    if (!resource)
        return -ENOENT;
    if (resource->typed && resource->texture.target != TARGET_2D &&
        resource->texture.target != TARGET_RECT)
        return -ENOTSUP;
    virgl_enter(r);
    virgl_renderer_resource_get_info((int)id, info); /* fails for want of a DRM format only */
    if (!info->tex_id || (!is_blue_first(info->virgl_format) && !is_red_first(info->virgl_format)))
        return -ENOTSUP;
    return 0;
}

int virgl_picture(struct gpu_renderer *r, uint32_t id, struct gpu_renderer_picture *out)
{
    struct virgl_renderer_resource_info info;
    int ret = look_up(r, id, &info);

    if (ret < 0)
        return ret;
    *out = (struct gpu_renderer_picture){
        .width = info.width,
        .height = info.height,
        .has_texture = r->gl,
        .texture = {.id = info.tex_id,
                    .width = info.width,
                    .height = info.height,
                    .bottom_up = info.flags & VIRGL_RESOURCE_Y_0_TOP},
    };
    return 0;
}

static void swap_red_and_blue(uint8_t *row, size_t stride, uint32_t width, uint32_t height)
{
    for (uint32_t y = 0; y < height; y++, row += stride)
        for (uint32_t x = 0; x < width; x++) {
            uint8_t red = row[4 * x];

            row[4 * x] = row[4 * x + 2];
            row[4 * x + 2] = red;
        }
}

int virgl_read(struct gpu_renderer *r, uint32_t id, const struct display_rect *rect, void *out,
               size_t stride)
{
    struct virgl_renderer_resource_info info;
    struct {
        uint32_t x, y, z, width, height, depth;
    } box = {rect->x, rect->y, 0, rect->width, rect->height, 1};
    struct iovec iov;
    int ret = look_up(r, id, &info);

    if (ret < 0)
        return ret;
    if (rect->x > info.width || rect->width > info.width - rect->x || rect->y > info.height ||
        rect->height > info.height - rect->y || stride < 4 * (size_t)rect->width || stride % 4 ||
        stride > UINT32_MAX)
        return -EINVAL;
    if (!rect->width || !rect->height)
        return 0;
    iov = (struct iovec){.iov_base = out,
                         .iov_len = stride * (rect->height - 1) + 4 * (size_t)rect->width};
    ret = virgl_renderer_transfer_read_iov(id, 0, 0, (uint32_t)stride, 0,
                                           (struct virgl_box *)(void *)&box, 0, &iov, 1);
    if (ret == 0 && is_red_first(info.virgl_format))
        swap_red_and_blue(out, stride, rect->width, rect->height);
    return virgl_result(ret);
}
