/*
 * The outputs (the specification's scanouts) as the guest sees them: which are plugged in, and what
 * size whoever looks would like.
 */
#ifndef DEVICES_GPU_MODEL_OUTPUT_H
#define DEVICES_GPU_MODEL_OUTPUT_H

#include "base/error.h"

#include <linux/virtio_gpu.h>
#include <stddef.h>
#include <stdint.h>

struct gpu;
struct gpu_request;

#define GPU_REFRESH_DEFAULT 60 /* Hz */
#define GPU_REFRESH_MIN     10
#define GPU_REFRESH_MAX     500

struct gpu_output {
    uint32_t width, height;       /* pixels; 0: unplugged */
    uint32_t refresh;             /* Hz */
    uint32_t width_mm, height_mm; /* 0: not known */
};

/* What a driver is told of it, which is side by side with the others: *x is where it begins, and is
 * moved behind it. `out` is zeroed; it stays so for one that is unplugged. */
void gpu_output_describe(const struct gpu_output *output, uint32_t *x,
                         struct virtio_gpu_display_one *out);

/* The EDID of an output of this index: as edid_make; 0 bytes for one that is unplugged. */
size_t gpu_output_edid(const struct gpu_output *output, unsigned index, uint8_t *out);

/* "WxH[@HZ][+...]": fill `outputs`, of which there are DISPLAY_OUTPUTS_MAX, and *count. -EINVAL. */
int gpu_outputs_parse(const char *text, struct gpu_output *outputs, unsigned *count,
                      struct error *err);

/* What the command of users says, "[OUTPUT:]WxH", of one of `count` outputs. -EINVAL. */
struct gpu_resize {
    uint32_t output, width, height;
};
int gpu_output_parse_resize(const char *argument, unsigned count, struct gpu_resize *out,
                            struct error *err);

/* The command of users, "[OUTPUT:]WxH". */
int gpu_output_command(void *model, const char *argument, struct error *err);

/* As of display_source_ops. */
void gpu_output_resize(void *opaque, unsigned output, uint32_t width, uint32_t height,
                       uint32_t width_mm, uint32_t height_mm);

#endif
