/*
 * What an output shows: a rectangle of a resource.
 *
 * Of an image, viewers are shown our copy of it. Of a blob in guest memory, the guest's pages
 * themselves, if they are one piece of memory for us. Of what the renderer has, its texture, if all
 * viewers can show that. Else there is a shadow, to which a flush copies what it names.
 */
#ifndef DEVICES_GPU_MODEL_SCANOUT_H
#define DEVICES_GPU_MODEL_SCANOUT_H

#include "devices/display/display.h"
#include "devices/gpu/model/resource.h"

struct gpu_scanout {
    struct gpu *gpu;
    struct gpu_resource *resource; /* NULL: it shows nothing */
    struct gpu_layout layout;      /* of the whole picture in the resource... */
    struct display_rect rect;      /* ...of which this is shown */

    uint8_t *shadow; /* of what is shown, without gaps between rows; or NULL */
    uint64_t shadow_size;
    bool shadow_stale; /* nothing was copied to it since something else is shown */
};

/* The format's bytes in memory as DRM_FORMAT_..., with alpha ignored; 0: there is no such format.
 */
uint32_t gpu_format_fourcc(uint32_t format);

/* Whether a rectangle has pixels and lies within a picture of this size. */
bool gpu_rect_fits(const struct display_rect *rect, uint32_t width, uint32_t height);

/* Show it. -ENOMEM when the guest has no more host memory to spend, -EINVAL when the renderer's
 * picture is of another size, and others: then all is as before. */
int gpu_scanout_show(struct gpu *gpu, unsigned index, struct gpu_resource *resource,
                     const struct gpu_layout *layout, const struct display_rect *rect);
void gpu_scanout_disable(struct gpu *gpu, unsigned index);

/* The resource is going, or its backing is: no output shows it any more. */
void gpu_scanout_forget(struct gpu *gpu, const struct gpu_resource *resource);

/* A viewer came: what was not copied without one is. */
void gpu_scanout_refresh(void *opaque);

/* Guest memory moves: what is shown of it directly is not shown meanwhile. */
void gpu_scanout_lose_memory(struct gpu *gpu);
void gpu_scanout_find_memory(struct gpu *gpu);

/* RESOURCE_FLUSH: tell viewers that the rectangle of the resource has changed. */
void gpu_scanout_flush(struct gpu *gpu, struct gpu_resource *resource,
                       const struct display_rect *rect);

#endif
