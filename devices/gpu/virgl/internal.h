/*
 * The renderer on virglrenderer: what its files share.
 *
 *   virgl.c     the module's table; start, end and reset of the library
 *   gl.c        GL contexts that the display's viewer makes
 *   venus.c     the process that renders for Vulkan
 *   capset.c    what a driver may ask of contexts
 *   context.c   contexts, and commands for them
 *   stream.c    virgl's command streams, looked at before the library gets them
 *   resource.c  textures and buffers: bounds, memory, backing, transfers
 *   blob.c      blobs, and their memory
 *   picture.c   textures as pictures
 *   fence.c     timelines
 *
 * The library is one to a process, trusts its caller more than its caller can trust a guest, and
 * has the current GL context of a thread as hidden state: every use of it comes after
 * virgl_enter().
 */
#ifndef DEVICES_GPU_VIRGL_INTERNAL_H
#define DEVICES_GPU_VIRGL_INTERNAL_H

#define VIRGL_RENDERER_UNSTABLE_APIS /* timelines of contexts: in every release since 0.10 */
#include "base/bytes.h"
#include "devices/gpu/renderer.h"

#include <pthread.h>
#include <sys/types.h>
#include <virgl/virglrenderer.h>

#define VIRGL_CONTEXTS_MAX     256
#define VIRGL_SUB_CONTEXTS_MAX 64                 /* of one context: each is one of GL... */
#define VIRGL_GL_CONTEXTS_MAX  512                /* ...of which each takes some MiB */
#define VIRGL_SUBMIT_MAX       (16 * 1024 * 1024) /* bytes */
#define VIRGL_CAPSETS_MAX      4

/* 5.7.6.8 Capability sets */
enum virgl_capset_id {
    VIRGL_CAPSET_VIRGL = 1,
    VIRGL_CAPSET_VIRGL2 = 2,
    VIRGL_CAPSET_VENUS = 4,
    VIRGL_CAPSET_DRM = 6,
};

struct virgl_capset {
    uint32_t id, version, size;
    uint8_t *data; /* `size` bytes */
};

struct virgl_context {
    struct virgl_context *next;
    struct gpu_renderer *r;
    uint32_t id, capset;
    struct loop_fd poll; /* tells of fences, where the library has it apart; fd -1: it has not */

    /* Of virgl's alone, see stream.c. */
    uint32_t sub_contexts[VIRGL_SUB_CONTEXTS_MAX];
    unsigned sub_context_count;
    uint64_t unclaimed; /* bytes of what is to be a blob */
};

struct virgl_resource {
    struct virgl_resource *next, **link;
    uint32_t id;
    bool typed; /* `texture` says what it is; else it is a blob */
    struct gpu_renderer_texture texture;
    uint64_t bytes;       /* of the host's memory, estimated */
    size_t first_backing; /* bytes of the first piece; 0: there is no backing */
    bool mapped;
};

struct virgl_fence {
    struct virgl_fence *next;
    uint32_t context;
    int ring; /* as the model has them */
    uint64_t id;

    /* As the library has them: a timeline, 0 by 0 is ctx0's; and a number, ever higher. */
    uint32_t line_context, line_ring;
    uint32_t sequence;
    bool done;
};

struct gpu_renderer {
    struct gpu_renderer_events events;
    struct loop *loop;
    const struct display_gl *gl; /* NULL: the library makes contexts itself, by EGL */
    const char *render_node;
    bool blobs; /* are mapped */
    uint64_t memory, max_memory;

    bool entered; /* the library's GL context is current on: */
    pthread_t thread;

    struct virgl_capset capsets[VIRGL_CAPSETS_MAX];
    unsigned capset_count;
    struct virgl_context *contexts;
    unsigned context_count, gl_context_count;
    struct virgl_resource *resources;

    bool async;              /* the library tells of fences on threads of its own */
    struct loop_fd poll;     /* tells of fences; fd -1: they are asked for, by: */
    struct loop_timer timer; /* set while there are any */
    pthread_mutex_t lock;    /* of `fences`: a thread of the library may say that one is done */
    struct virgl_fence *fences, **fences_end;
    struct loop_task retired;
    uint32_t sequence;

    pid_t venus; /* -1: there is none */
};

/* Have the library's GL context on this thread. */
void virgl_enter(struct gpu_renderer *r);

/* What the library returned, as a negative errno or 0. */
int virgl_result(int ret);

/* --- gl.c, venus.c: for the library's callbacks ----------------------------------------------- */

void virgl_gl_callbacks(struct virgl_renderer_callbacks *callbacks);
int virgl_venus_start(struct gpu_renderer *r, int *server, struct error *err);
void virgl_venus_stop(struct gpu_renderer *r);

/* --- capset.c --------------------------------------------------------------------------------- */

/* Before the library starts: -ENOTSUP when it lacks what `option` asks for. */
int virgl_capset_needs(uint32_t id, const char *option, struct error *err);

int virgl_capsets_read(struct gpu_renderer *r, const struct gpu_renderer_options *options,
                       struct error *err);
void virgl_capsets_free(struct gpu_renderer *r);
unsigned virgl_capset_count(const struct gpu_renderer *r);
void virgl_capset_info(const struct gpu_renderer *r, unsigned index, uint32_t *id,
                       uint32_t *version, uint32_t *size);
int virgl_capset(const struct gpu_renderer *r, uint32_t id, uint32_t version, void *out,
                 uint32_t size);
const struct virgl_capset *virgl_capset_find(const struct gpu_renderer *r, uint32_t id);

/* --- context.c, stream.c ---------------------------------------------------------------------- */

struct virgl_context *virgl_context_find(struct gpu_renderer *r, uint32_t id);
bool virgl_context_is_gl(const struct virgl_context *context); /* virgl's, not of another capset */
int virgl_context_create(struct gpu_renderer *r, uint32_t id, uint32_t capset, const char *name);
int virgl_context_destroy(struct gpu_renderer *r, uint32_t id);
int virgl_context_attach(struct gpu_renderer *r, uint32_t context, uint32_t resource);
int virgl_context_detach(struct gpu_renderer *r, uint32_t context, uint32_t resource);
int virgl_submit(struct gpu_renderer *r, uint32_t context, void *commands, size_t bytes);

/* Whether the library may have these commands; notes what they make. */
int virgl_stream_check(struct gpu_renderer *r, struct virgl_context *context,
                       const uint32_t *commands, size_t count);

/* --- resource.c, blob.c ----------------------------------------------------------------------- */

struct virgl_resource *virgl_resource_find(uint32_t id);

/* Make a record of it, and count its bytes; -ENOMEM when they are too many. */
int virgl_resource_add(struct gpu_renderer *r, uint32_t id, uint64_t bytes,
                       struct virgl_resource **out);
void virgl_resource_remove(struct gpu_renderer *r, struct virgl_resource *resource);

/* Check what a driver wants made; the bytes it will take, or -EINVAL. */
int64_t virgl_texture_bytes(const struct gpu_renderer_texture *texture);

int virgl_resource_create(struct gpu_renderer *r, uint32_t id,
                          const struct gpu_renderer_texture *texture);
void virgl_resource_unref(struct gpu_renderer *r, uint32_t id);
int virgl_attach_backing(struct gpu_renderer *r, uint32_t id, struct iovec *iov,
                         unsigned iov_count);
void virgl_detach_backing(struct gpu_renderer *r, uint32_t id);
int virgl_transfer(struct gpu_renderer *r, bool to_host,
                   const struct gpu_renderer_transfer *transfer);
int virgl_blob_create(struct gpu_renderer *r, uint32_t id, const struct gpu_renderer_blob *blob,
                      const struct iovec *iov, unsigned iov_count);
int virgl_map(struct gpu_renderer *r, uint32_t id, struct gpu_renderer_mapping *out);
void virgl_unmap(struct gpu_renderer *r, uint32_t id);

/* Whether blobs of GL buffers could be mapped into a guest: they start at a page. */
bool virgl_buffers_map(struct gpu_renderer *r);

/* --- picture.c -------------------------------------------------------------------------------- */

int virgl_picture(struct gpu_renderer *r, uint32_t id, struct gpu_renderer_picture *out);
int virgl_read(struct gpu_renderer *r, uint32_t id, const struct display_rect *rect, void *out,
               size_t stride);

/* --- fence.c ---------------------------------------------------------------------------------- */

int virgl_fences_start(struct gpu_renderer *r, struct error *err);
void virgl_fences_stop(struct gpu_renderer *r); /* before the library stops, whose threads... */
void virgl_fences_end(struct gpu_renderer *r);  /* ...may tell of fences until it has */
void virgl_fence_callbacks(struct virgl_renderer_callbacks *callbacks);
int virgl_fence(struct gpu_renderer *r, uint32_t context, int ring, uint64_t fence);

/* Hear of a context's fences apart, where the library has that. */
int virgl_fences_watch(struct gpu_renderer *r, struct virgl_context *context);

/* The context is gone from the library: its fences are done. */
void virgl_fences_context_gone(struct gpu_renderer *r, uint32_t context);

/* Forget all of them. */
void virgl_fences_forget(struct gpu_renderer *r);

#endif
