/*
 * 3D: the renderer's module, and the requests that wait for it.
 *
 * With virgl=on every picture is the renderer's (GPU_RESOURCE_TEXTURE), so that contexts can use
 * all of them, and a request with a fence is answered when the renderer has come that far.
 */
#ifndef DEVICES_GPU_MODEL_RENDER_H
#define DEVICES_GPU_MODEL_RENDER_H

#include "base/module.h"
#include "devices/gpu/model/request.h"
#include "devices/gpu/renderer.h"

struct gpu_options;

/* An answer that was written and is held back. */
struct gpu_held {
    struct gpu_held *next;
    struct virtqueue *queue;
    struct virtqueue_buffer *buffer;
    uint32_t written;
    uint32_t context;
    int ring;       /* GPU-07: the timeline; -1: that of all contexts */
    uint64_t fence; /* of our numbers, which grow */
};

struct gpu_render {
    struct module handle;
    const struct gpu_renderer_module *module;
    struct gpu_renderer *renderer; /* NULL: the display has ended */
    struct gpu_renderer_options options;
    uint64_t hostmem; /* bytes of the region for host blobs; 0: there is none */

    struct gpu_held *held; /* in the order of their fences */
    uint64_t last_fence;
};

/* Load the renderer and have it start; refused with its reason. Main thread. */
int gpu_render_create(struct gpu *gpu, const struct gpu_options *options, struct error *err);

/* On the loop, when viewers are there: one of them may have GL to share. */
int gpu_render_start(struct gpu *gpu, struct error *err);

/* Resources are gone by then. */
void gpu_render_reset(struct gpu *gpu);
void gpu_render_end(struct gpu *gpu); /* the renderer goes; commands for it fail from now on */
void gpu_render_destroy(struct gpu *gpu);

/* NULL: there is none. */
struct gpu_renderer *gpu_renderer_of(const struct gpu *gpu);

/* What a renderer's -errno is answered with; -ENOENT is `missing`. */
uint32_t gpu_refuse_errno(struct gpu_request *request, int error, uint32_t missing);

/* --- fence.c ---------------------------------------------------------------------------------- */

/* Whether the request, carried out and its answer written, has to wait for its fence; then it is
 * pushed later. */
bool gpu_fence_hold(struct gpu *gpu, struct virtqueue *queue, struct virtqueue_buffer *buffer,
                    const struct virtio_gpu_ctrl_hdr *asked, uint32_t written);

/* As of gpu_renderer_events. */
void gpu_fence_done(void *opaque, uint32_t context, int ring, uint64_t fence);

/* The queue stops: what waits in it waits no more. */
void gpu_fence_drain(struct gpu *gpu, const struct virtqueue *queue);

/* --- texture.c: resources of the renderer ----------------------------------------------------- */

/* Enter a texture of this id, which is free. VIRTIO_GPU_RESP_OK_NODATA, or a refusal. */
uint32_t gpu_request_texture(struct gpu *gpu, struct gpu_request *request, uint32_t id,
                             const struct gpu_renderer_texture *texture);

/* RESOURCE_CREATE_2D, its fields checked, and TRANSFER_TO_HOST_2D. */
uint32_t gpu_texture_create_2d(struct gpu *gpu, struct gpu_request *request, uint32_t id,
                               const struct gpu_layout *layout);
int gpu_texture_transfer_2d(struct gpu *gpu, const struct gpu_resource *resource,
                            const struct display_rect *rect, uint64_t offset);

/* Pixels as DRM_FORMAT_ARGB8888; a negative errno. */
int gpu_texture_read(struct gpu *gpu, const struct gpu_resource *resource,
                     const struct display_rect *rect, void *out, size_t stride);

/* A blob of any memory; its backing is in the resource. */
int gpu_texture_create_blob(struct gpu *gpu, struct gpu_resource *resource, uint32_t context,
                            uint64_t blob_id);

/* The renderer knows the backing that the resource has got, or knows it no more. */
int gpu_texture_attach(struct gpu *gpu, struct gpu_resource *resource);
void gpu_texture_detach(struct gpu *gpu, struct gpu_resource *resource);

/* Guest memory moves: the renderer gets the backing again afterwards. A blob in guest memory is
 * made anew, and its contexts have to be told of it again; what cannot be is the renderer's no
 * more. */
void gpu_texture_lose_memory(struct gpu *gpu, struct gpu_resource *resource);
void gpu_texture_find_memory(struct gpu *gpu, struct gpu_resource *resource);

/* Nothing for resources that are not the renderer's. */
void gpu_texture_unref(struct gpu *gpu, struct gpu_resource *resource);

/* --- commands_3d.c ---------------------------------------------------------------------------- */

uint32_t gpu_get_capset_info(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_get_capset(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_ctx_create(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_ctx_destroy(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_ctx_attach_resource(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_ctx_detach_resource(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_create_3d(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_transfer_to_host_3d(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_transfer_from_host_3d(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_submit_3d(struct gpu *gpu, struct gpu_request *request);

/* --- hostmem.c: blobs in the region that the driver sees -------------------------------------- */

uint32_t gpu_resource_map_blob(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_unmap_blob(struct gpu *gpu, struct gpu_request *request);

/* Nothing when it is not mapped. */
void gpu_hostmem_unmap(struct gpu *gpu, struct gpu_resource *resource);

#endif
