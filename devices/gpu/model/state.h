/*
 * The GPU model's state, and what its parts share.
 *
 *   model.c     the table: creation, features, configuration, reset
 *   command.c   queues: requests in, answers out, fences
 *   commands.c  commands about resources, 2D
 *   resource.c  resources by id, and the host memory they may take
 *   memory.c    guest memory that moves
 *   backing.c   lists of guest memory
 *   scanout.c   what outputs show
 *   output.c    what outputs there are, and of which size
 *   cursor.c    the pointer
 *   blob.c      blob resources
 *   render.c, fence.c, texture.c, commands_3d.c, hostmem.c: 3D
 *   edid.c      what a monitor says of itself
 *
 * Thread: all on the loop, which is the display's, but for the configuration bytes.
 */
#ifndef DEVICES_GPU_MODEL_STATE_H
#define DEVICES_GPU_MODEL_STATE_H

#include "devices/display/display.h"
#include "devices/gpu/gpu.h"
#include "devices/gpu/model/cursor.h"
#include "devices/gpu/model/output.h"
#include "devices/gpu/model/resource.h"
#include "devices/gpu/model/scanout.h"

#include <stdatomic.h>

/* A request that waits until it is known what outputs there are (display_ask). */
struct gpu_asking {
    struct virtqueue *queue; /* NULL: there is none */
    struct virtqueue_buffer *buffer;
};

struct gpu_render;

struct gpu {
    struct virtio_builtin *builtin;
    const struct guest_memory *memory;
    struct display *display;
    bool own_display; /* the options had none */
    struct virtio_features negotiated;

    struct gpu_resources resources;
    unsigned output_count;
    struct gpu_output outputs[DISPLAY_OUTPUTS_MAX];
    struct gpu_scanout scanouts[DISPLAY_OUTPUTS_MAX];
    struct gpu_cursor *cursors; /* as many */
    struct gpu_render *render;  /* render.h; NULL: there is no 3D */

    struct gpu_asking asking;

    /* Any thread. */
    atomic_uint events;    /* VIRTIO_GPU_EVENT_... */
    unsigned capset_count; /* constant */

    /* For --timing: bytes copied out of guest memory for pictures, and bytes of pictures that were
     * said to have changed. */
    uint64_t copied, damaged;
};

/* memory.c: as of virtio_model. */
void gpu_memory_changes(void *model, bool done);

static inline bool gpu_has(const struct gpu *gpu, enum gpu_feature feature)
{
    return features_has(&gpu->negotiated, feature);
}

#endif
