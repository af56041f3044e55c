/*
 * What 3D needs of a renderer: the table of the module vireo-virgl, which stands on virglrenderer.
 *
 * The GPU model (devices/gpu/model/) checks commands' sizes and flags and what the specification
 * says of them; a renderer checks what only it can know, as its contexts and resources, and returns
 * a negative errno: -EINVAL for a bad parameter, -ENOENT for a context or resource that there is
 * not, -ENOMEM. Resource ids are the driver's and not 0; the model has seen to it that they are
 * unique, and knows all of them.
 *
 * Thread: all on the display's loop; callbacks come there, too.
 */
#ifndef DEVICES_GPU_RENDERER_H
#define DEVICES_GPU_RENDERER_H

#include "base/error.h"
#include "base/loop.h"
#include "devices/display/display.h"
#include "devices/display/display_gl.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct gpu_renderer;

struct gpu_renderer_options {
    const char *render_node; /* a path; NULL: none, the display's GL or EGL surfaceless */
    bool venus, drm;         /* capsets beyond VIRGL and VIRGL2 */
    bool blob;               /* blobs that are mapped: RESOURCE_BLOB and host memory are offered */
    uint64_t max_memory;     /* bytes of textures, buffers and blobs at most, as estimated */
};

struct gpu_renderer_events {
    /* The fence of this id on this timeline, and all before it there, are done: each is reported,
     * in order, and those of a context that is destroyed, too. ring -1: the timeline of ctx0, of
     * commands without a ring_idx, whatever their context. Never from within a call of the table,
     * but for context_destroy. */
    void (*fence_done)(void *opaque, uint32_t context, int ring, uint64_t fence);
    void *opaque;
};

/* VIRTIO_GPU_CMD_RESOURCE_CREATE_3D, in the host's byte order. */
struct gpu_renderer_texture {
    uint32_t target, format, bind;
    uint32_t width, height, depth, array_size, last_level, samples, flags;
};

struct gpu_renderer_blob {
    uint32_t context;
    uint32_t memory; /* VIRTIO_GPU_BLOB_MEM_... */
    uint32_t flags;
    uint64_t blob_id, size;
};

struct gpu_renderer_box {
    uint32_t x, y, z, width, height, depth;
};

struct gpu_renderer_transfer {
    uint32_t context, resource;
    uint64_t offset;
    uint32_t level, stride, layer_stride;
    struct gpu_renderer_box box;
};

struct gpu_renderer_picture {
    uint32_t width, height;
    bool has_texture; /* the viewer with GL can show this one, where no pixels need be read: */
    struct display_texture texture;
};

/* A blob in the host's memory. */
struct gpu_renderer_mapping {
    void *memory; /* at a page's start */
    uint64_t size;
    uint32_t map_info; /* VIRTIO_GPU_MAP_CACHE_... */
    int fd;            /* the same as a file, the caller's to close; -1: there is none */
    uint64_t fd_offset;
};

struct gpu_renderer_module {
    /* On the loop, or before it runs. `gl`: of the display (display_gl), NULL: it has none; a
     * render node is for those. -EBUSY when there is one already: a process has one. */
    int (*create)(const struct gpu_renderer_options *options,
                  const struct gpu_renderer_events *events, struct loop *loop,
                  const struct display_gl *gl, struct gpu_renderer **out, struct error *err);
    void (*destroy)(struct gpu_renderer *r);

    /* All contexts and resources are gone, and no fence of before is reported any more. */
    void (*reset)(struct gpu_renderer *r);

    /* Capsets by index, from 0 on; constant. */
    unsigned (*capset_count)(const struct gpu_renderer *r);
    void (*capset_info)(const struct gpu_renderer *r, unsigned index, uint32_t *id,
                        uint32_t *version, uint32_t *size);
    int (*capset)(const struct gpu_renderer *r, uint32_t id, uint32_t version, void *out,
                  uint32_t size);

    /* `capset`: context_init's, 0: whichever the renderer prefers. */
    int (*context_create)(struct gpu_renderer *r, uint32_t context, uint32_t capset,
                          const char *name);
    int (*context_destroy)(struct gpu_renderer *r, uint32_t context);
    int (*context_attach)(struct gpu_renderer *r, uint32_t context, uint32_t resource);
    int (*context_detach)(struct gpu_renderer *r, uint32_t context, uint32_t resource);

    int (*resource_create)(struct gpu_renderer *r, uint32_t resource,
                           const struct gpu_renderer_texture *texture);
    /* `iov` is guest memory: of blobs in it, borrowed until resource_unref. */
    int (*blob_create)(struct gpu_renderer *r, uint32_t resource,
                       const struct gpu_renderer_blob *blob, const struct iovec *iov,
                       unsigned iov_count);
    void (*resource_unref)(struct gpu_renderer *r, uint32_t resource);

    /* `iov` is borrowed until it is detached or the resource is gone. */
    int (*attach_backing)(struct gpu_renderer *r, uint32_t resource, struct iovec *iov,
                          unsigned iov_count);
    void (*detach_backing)(struct gpu_renderer *r, uint32_t resource);
    int (*transfer)(struct gpu_renderer *r, bool to_host,
                    const struct gpu_renderer_transfer *transfer);

    /* `commands`: `bytes` of them, copied out of guest memory, 8 bytes aligned; may be changed.
     * -EINVAL: some of it may have been carried out. */
    int (*submit)(struct gpu_renderer *r, uint32_t context, void *commands, size_t bytes);

    /* Report when all that was submitted on the timeline so far is done. */
    int (*fence)(struct gpu_renderer *r, uint32_t context, int ring, uint64_t fence);

    /* What a screen has to know of a 2D resource; -ENOTSUP for those that cannot be shown. */
    int (*picture)(struct gpu_renderer *r, uint32_t resource, struct gpu_renderer_picture *out);

    /* The pixels of a rectangle of the resource, as DRM_FORMAT_XRGB8888 (the highest byte alpha,
     * where it has that) and `stride` bytes a row, the first row the highest. It waits for what
     * was submitted. */
    int (*read)(struct gpu_renderer *r, uint32_t resource, const struct display_rect *rect,
                void *out, size_t stride);

    /* -ENOTSUP for a blob that cannot be mapped into a guest. */
    int (*map)(struct gpu_renderer *r, uint32_t resource, struct gpu_renderer_mapping *out);
    void (*unmap)(struct gpu_renderer *r, uint32_t resource);
};

#endif
