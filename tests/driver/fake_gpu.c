#include "tests/driver/fake_gpu.h"

#include "base/bytes.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <stdlib.h>

#define GAP 12 /* bytes between rows */

const uint32_t fake_gpu_formats[] = {
    DRM_FORMAT_XRGB8888, DRM_FORMAT_ARGB8888, DRM_FORMAT_XBGR8888,
    DRM_FORMAT_ABGR8888, DRM_FORMAT_RGBX8888, DRM_FORMAT_RGBA8888,
    DRM_FORMAT_BGRX8888, DRM_FORMAT_BGRA8888, 0,
};

uint32_t fake_gpu_colour(uint32_t x, uint32_t y, uint32_t seed)
{
    return ((x * 5 + seed * 37) & 0xff) << 16 | ((y * 3 + seed * 101) & 0xff) << 8 |
           ((x + y + seed) & 0xff);
}

/* Bytes in memory, alpha or filler as if it did not matter. */
static void store(uint8_t *out, uint32_t fourcc, uint32_t colour)
{
    uint8_t red = (uint8_t)(colour >> 16), green = (uint8_t)(colour >> 8), blue = (uint8_t)colour;
    const char *name = (const char *)&fourcc; /* "XR24": X, R, G, B from the highest byte down */

    out[0] = out[1] = out[2] = out[3] = 0x5a;
    switch (name[0]) {
    case 'X':
    case 'A':
        out[2] = name[1] == 'R' ? red : blue;
        out[1] = green;
        out[0] = name[1] == 'R' ? blue : red;
        break;
    case 'R':
    case 'B':
        out[3] = name[0] == 'R' ? red : blue;
        out[2] = green;
        out[1] = name[0] == 'R' ? blue : red;
        break;
    }
}

static void paint(struct fake_gpu_output *o, const struct display_rect *rect, uint32_t seed)
{
    for (uint32_t y = rect->y; y < rect->y + rect->height; y++)
        for (uint32_t x = rect->x; x < rect->x + rect->width; x++)
            store(o->pixels + (size_t)y * o->stride + 4 * (size_t)x, o->fourcc,
                  fake_gpu_colour(x, y, seed));
}

static void gpu_resize(void *opaque, unsigned output, uint32_t width, uint32_t height,
                       uint32_t width_mm, uint32_t height_mm)
{
    struct fake_gpu_output *o = &((struct fake_gpu *)opaque)->outputs[output];

    (void)width_mm;
    (void)height_mm;
    o->wanted_width = width;
    o->wanted_height = height;
    o->wanted++;
}

static void gpu_refresh(void *opaque)
{
    ((struct fake_gpu *)opaque)->refreshed++;
}

static const struct display_source_ops gpu_ops = {.resize = gpu_resize, .refresh = gpu_refresh};

int fake_gpu_attach(struct fake_gpu *gpu, struct display *display, unsigned outputs)
{
    *gpu = (struct fake_gpu){.display = display};
    return display_attach_source(display, outputs, &gpu_ops, gpu, NULL);
}

void fake_gpu_detach(struct fake_gpu *gpu)
{
    display_detach_source(gpu->display);
    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        free(gpu->outputs[i].pixels);
    *gpu = (struct fake_gpu){0};
}

static int gpu_read(void *opaque, const struct display_rect *rect, void *out, size_t stride)
{
    const struct fake_gpu_output *o = opaque;

    for (uint32_t y = 0; y < rect->height; y++)
        memcpy((uint8_t *)out + stride * y,
               o->pixels + (size_t)o->stride * (rect->y + y) + 4 * (size_t)rect->x,
               4 * (size_t)rect->width);
    return 0;
}

static void show(struct fake_gpu *gpu, unsigned output, uint32_t width, uint32_t height,
                 uint32_t fourcc, enum display_picture_kind kind)
{
    struct fake_gpu_output *o = &gpu->outputs[output];
    uint8_t *before = o->pixels;
    struct display_picture picture = {
        .kind = kind, .width = width, .height = height, .fourcc = fourcc};

    o->width = width;
    o->height = height;
    o->fourcc = fourcc;
    o->stride = picture.stride = 4 * width + GAP;
    o->pixels = calloc(height, o->stride);
    if (!o->pixels)
        abort();
    picture.pixels = kind == DISPLAY_PIXELS ? o->pixels : NULL;
    picture.read = gpu_read;
    picture.opaque = o;
    paint(o, &(struct display_rect){0, 0, width, height}, 0);
    display_show(gpu->display, output, &picture);
    free(before);
}

void fake_gpu_show(struct fake_gpu *gpu, unsigned output, uint32_t width, uint32_t height,
                   uint32_t fourcc)
{
    show(gpu, output, width, height, fourcc, DISPLAY_PIXELS);
}

void fake_gpu_show_foreign(struct fake_gpu *gpu, unsigned output, uint32_t width, uint32_t height)
{
    show(gpu, output, width, height, DRM_FORMAT_XRGB8888, DISPLAY_DMABUF);
}

void fake_gpu_off(struct fake_gpu *gpu, unsigned output)
{
    display_show(gpu->display, output, NULL);
    free(gpu->outputs[output].pixels);
    gpu->outputs[output].pixels = NULL;
}

void fake_gpu_paint(struct fake_gpu *gpu, unsigned output, const struct display_rect *rect,
                    uint32_t seed)
{
    paint(&gpu->outputs[output], rect, seed);
    display_damage(gpu->display, output, rect);
}
