/*
 * The outputs (the specification's scanouts) as the guest sees them: which are plugged in, and what
 * size whoever looks would like.
 */
#ifndef DEVICES_GPU_MODEL_OUTPUT_H
#define DEVICES_GPU_MODEL_OUTPUT_H

#include "base/error.h"

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
