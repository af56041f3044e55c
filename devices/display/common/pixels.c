#include "devices/display/common/pixels.h"

#include "base/bytes.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>

/* Where red, green and blue begin in a format's 32 bits. */
struct layout {
    uint32_t fourcc;
    uint8_t red, green, blue;
};

static const struct layout layouts[] = {
    {DRM_FORMAT_XRGB8888, 16, 8, 0},  {DRM_FORMAT_ARGB8888, 16, 8, 0},
    {DRM_FORMAT_XBGR8888, 0, 8, 16},  {DRM_FORMAT_ABGR8888, 0, 8, 16},
    {DRM_FORMAT_RGBX8888, 24, 16, 8}, {DRM_FORMAT_RGBA8888, 24, 16, 8},
    {DRM_FORMAT_BGRX8888, 8, 16, 24}, {DRM_FORMAT_BGRA8888, 8, 16, 24},
};

static const struct layout *layout_of(uint32_t fourcc)
{
    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
        if (layouts[i].fourcc == fourcc)
            return &layouts[i];
    return NULL;
}

static void convert_row(const struct layout *layout, const uint8_t *in, uint8_t *out,
                        uint32_t width)
{
    for (uint32_t x = 0; x < width; x++) {
        uint32_t v = load_le32(in + 4 * (size_t)x);

        store_le32(out + 4 * (size_t)x, (v >> layout->red & 0xff) << 16 |
                                            (v >> layout->green & 0xff) << 8 |
                                            (v >> layout->blue & 0xff));
    }
}

int display_pixels_read(const struct display_picture *picture, const struct display_rect *rect,
                        void *out, size_t stride)
{
    const struct layout *layout = layout_of(picture->fourcc);

    if (picture->kind != DISPLAY_PIXELS)
        return picture->read ? picture->read(picture->opaque, rect, out, stride) : -EINVAL;
    if (!layout)
        return -EINVAL;
    for (uint32_t y = 0; y < rect->height; y++) {
        const uint8_t *in =
            picture->pixels + (size_t)picture->stride * (rect->y + y) + 4 * (size_t)rect->x;
        uint8_t *row = (uint8_t *)out + stride * y;

        if (layout->red == 16)
            memcpy(row, in, 4 * (size_t)rect->width);
        else
            convert_row(layout, in, row, rect->width);
    }
    return 0;
}

/* --- pointers --------------------------------------------------------------------------------- */

static uint32_t straight(uint32_t pixel)
{
    uint32_t alpha = pixel >> 24, out = alpha << 24;

    for (unsigned shift = 0; alpha && shift < 24; shift += 8) {
        uint32_t colour = ((pixel >> shift & 0xff) * 255 + alpha / 2) / alpha;

        out |= MIN(colour, 255) << shift;
    }
    return out;
}

void display_cursor_straight(const struct display_cursor *cursor, uint32_t *out)
{
    for (size_t i = 0; i < (size_t)cursor->width * cursor->height; i++)
        out[i] = straight(cursor->pixels[i]);
}
