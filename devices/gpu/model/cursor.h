/*
 * The pointer: an image for each output, copied out of a resource when the driver says so.
 */
#ifndef DEVICES_GPU_MODEL_CURSOR_H
#define DEVICES_GPU_MODEL_CURSOR_H

#include "devices/gpu/model/protocol.h"

#include <stdint.h>

/* DRM_FORMAT_ARGB8888. */
struct gpu_cursor {
    uint32_t pixels[GPU_CURSOR_SIZE * GPU_CURSOR_SIZE];
};

#endif
