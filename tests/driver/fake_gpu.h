/*
 * A GPU without a guest: shows pictures of which every pixel is known, for tests of viewers.
 */
#ifndef TESTS_DRIVER_FAKE_GPU_H
#define TESTS_DRIVER_FAKE_GPU_H

#include "devices/display/display.h"

struct fake_gpu_output {
    uint32_t width, height, fourcc;
    uint8_t *pixels; /* of the picture; rows are `stride` apart */
    uint32_t stride;
    uint32_t wanted_width, wanted_height; /* the last that a viewer asked for */
    unsigned wanted;                      /* how often */
};

struct fake_gpu {
    struct display *display;
    unsigned refreshed; /* how often a viewer came */
    struct fake_gpu_output outputs[DISPLAY_OUTPUTS_MAX];
};

/* Attach it. On the display's loop, as all of these. */
int fake_gpu_attach(struct fake_gpu *gpu, struct display *display, unsigned outputs);
void fake_gpu_detach(struct fake_gpu *gpu);

/* Show a picture of this size and format, painted with seed 0. Not a multiple of pixels: rows have
 * a gap between them. */
void fake_gpu_show(struct fake_gpu *gpu, unsigned output, uint32_t width, uint32_t height,
                   uint32_t fourcc);
void fake_gpu_off(struct fake_gpu *gpu, unsigned output);

/* Paint a rectangle with the colours of `seed` and say that it is damaged. */
void fake_gpu_paint(struct fake_gpu *gpu, unsigned output, const struct display_rect *rect,
                    uint32_t seed);

/* The same as texture would be: a picture that can only be read (display_picture.read). */
void fake_gpu_show_foreign(struct fake_gpu *gpu, unsigned output, uint32_t width, uint32_t height);

/* The colour 0xRRGGBB that a pixel of this seed has. */
uint32_t fake_gpu_colour(uint32_t x, uint32_t y, uint32_t seed);

/* The eight formats, by their fourcc, and 0. */
extern const uint32_t fake_gpu_formats[];

#endif
