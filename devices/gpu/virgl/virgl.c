/*
 * Start, end and reset of the library; the module's table.
 */
#include "devices/gpu/virgl/internal.h"

#include "base/log.h"

#include <epoxy/egl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool busy;           /* the library is one to a process */
static bool async_for_good; /* once it told of fences on its own threads, it always does */
static char last_log[240];  /* the library's: a reason, when it does not start */

/* Lines may quote a guest. */
static void log_library(const char *format, va_list arguments)
{
    vsnprintf(last_log, sizeof(last_log), format, arguments);
    last_log[strcspn(last_log, "\n")] = '\0';
    for (char *c = last_log; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    log_limited(LOG_INFO, "virgl", "%s", last_log);
}

int virgl_result(int ret)
{
    if (!ret)
        return 0;
    return ret == ENOMEM || ret == -ENOMEM ? -ENOMEM : -EINVAL;
}

/* --- the current context ---------------------------------------------------------------------- */

void virgl_enter(struct gpu_renderer *r)
{
    if (!r->gl && r->entered && pthread_equal(r->thread, pthread_self()))
        return; /* with the viewer's GL, that one has drawn since, as far as is known */
    r->entered = true;
    r->thread = pthread_self();
    if (!r->gl)
        eglBindAPI(EGL_OPENGL_API); /* a thread's; the library does it on its first alone */
    virgl_renderer_force_ctx_0();
}

/* Another thread can have it from now on. */
static void leave(struct gpu_renderer *r)
{
    r->entered = false;
    if (r->gl)
        r->gl->make_current(r->gl->viewer, NULL);
    else if (eglGetCurrentDisplay() != EGL_NO_DISPLAY)
        eglMakeCurrent(eglGetCurrentDisplay(), EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
}

/* --- start ------------------------------------------------------------------------------------ */

/* The library closes what it gets. */
static int open_render_node(void *cookie)
{
    struct gpu_renderer *r = cookie;

    return r->render_node ? open(r->render_node, O_RDWR | O_CLOEXEC) : -1;
}

static int check_render_node(struct gpu_renderer *r, struct error *err)
{
    int fd = open_render_node(r);

    if (fd < 0)
        return error_errno(err, errno, "cannot open rendernode=%s", r->render_node);
    close(fd);
    return 0;
}

static int server_fd; /* for the library to take, once */

static int take_server_fd(void *cookie, uint32_t version)
{
    int fd = server_fd;

    (void)cookie;
    (void)version;
    server_fd = -1;
    return fd;
}

/* The library keeps the callbacks' address. */
static struct virgl_renderer_callbacks callbacks;

static void set_callbacks(const struct gpu_renderer *r)
{
    callbacks = (struct virgl_renderer_callbacks){
        .version = 3,
        .get_drm_fd = open_render_node,
        .get_server_fd = take_server_fd,
    };
    virgl_fence_callbacks(&callbacks);
    if (r->gl)
        virgl_gl_callbacks(&callbacks);
}

static int choose_flags(const struct gpu_renderer *r, const struct gpu_renderer_options *options)
{
    int flags = 0;

    if (!r->gl)
        flags |= VIRGL_RENDERER_USE_EGL | VIRGL_RENDERER_THREAD_SYNC;
    if (!r->gl && !r->render_node)
        flags |= VIRGL_RENDERER_USE_SURFACELESS;
    if (options->venus)
        flags |= VIRGL_RENDERER_VENUS | VIRGL_RENDERER_RENDER_SERVER;
    if (options->drm) /* it has its fences told by no other way */
        flags |= VIRGL_RENDERER_DRM | VIRGL_RENDERER_ASYNC_FENCE_CB;
    return flags;
}

static int start_library(struct gpu_renderer *r, const struct gpu_renderer_options *options,
                         struct error *err)
{
    int ret;

    virgl_set_debug_callback(log_library);
    last_log[0] = '\0';
    r->async = async_for_good |= options->drm;
    set_callbacks(r);
    ret = virgl_renderer_init(r, choose_flags(r, options), &callbacks);
    if (server_fd >= 0)
        close(server_fd);
    server_fd = -1;
    if (ret)
        return error_set(err, ENODEV, "virglrenderer cannot start with %s%s%s",
                         r->gl            ? "the display's GL"
                         : r->render_node ? r->render_node
                                          : "EGL surfaceless",
                         last_log[0] ? ": " : "", last_log);
    r->entered = true;
    r->thread = pthread_self();
    return 0;
}

static void stop_library(struct gpu_renderer *r)
{
    virgl_enter(r);
    virgl_renderer_cleanup(r);
    leave(r);
}

static int start(struct gpu_renderer *r, const struct gpu_renderer_options *options,
                 struct error *err)
{
    int ret = start_library(r, options, err);

    if (ret < 0)
        return ret;
    r->blobs = options->blob && virgl_buffers_map(r);
    ret = virgl_capsets_read(r, options, err);
    if (ret == 0)
        ret = virgl_fences_start(r, err);
    if (ret < 0) {
        virgl_capsets_free(r);
        stop_library(r);
        return ret;
    }
    leave(r);
    return 0;
}

static int create(const struct gpu_renderer_options *options,
                  const struct gpu_renderer_events *events, struct loop *loop,
                  const struct display_gl *gl, struct gpu_renderer **out, struct error *err)
{
    struct gpu_renderer *r;
    int ret = 0;

    if (busy)
        return error_set(err, EBUSY, "virgl serves one GPU of a process, and there is one");
    if (gl && options->render_node)
        return error_set(err, EINVAL,
                         "rendernode=%s: the display has GL of its own, which guests then render "
                         "with",
                         options->render_node);
    r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(err, ENOMEM, "no memory for a renderer");
    *r = (struct gpu_renderer){
        .events = *events,
        .loop = loop,
        .gl = gl,
        .render_node = options->render_node,
        .max_memory = options->max_memory,
        .poll = {.fd = -1},
        .venus = -1,
    };
    server_fd = -1;
    if (options->drm)
        ret = virgl_capset_needs(VIRGL_CAPSET_DRM, "drm=on", err);
    if (ret == 0 && options->venus)
        ret = virgl_capset_needs(VIRGL_CAPSET_VENUS, "venus=on", err);
    if (ret == 0 && r->render_node)
        ret = check_render_node(r, err);
    if (ret == 0 && options->venus)
        ret = virgl_venus_start(r, &server_fd, err);
    if (ret == 0)
        ret = start(r, options, err);
    if (ret < 0) {
        virgl_venus_stop(r);
        free(r);
        return ret;
    }
    busy = true;
    *out = r;
    return 0;
}

/* Not virgl_renderer_reset: it ends the thread that waits for fences, for good. What stays in the
 * library (virgl_context_destroy) stays counted: a guest may reset as often as it likes. */
static void reset(struct gpu_renderer *r)
{
    virgl_fences_forget(r);
    while (r->contexts)
        virgl_context_destroy(r, r->contexts->id);
    while (r->resources)
        virgl_resource_unref(r, r->resources->id);
}

static void destroy(struct gpu_renderer *r)
{
    reset(r);
    virgl_fences_stop(r);
    virgl_capsets_free(r);
    stop_library(r);
    virgl_fences_end(r);
    virgl_venus_stop(r);
    free(r);
    busy = false;
}

extern const struct gpu_renderer_module vireo_module_virgl;

const struct gpu_renderer_module vireo_module_virgl = {
    .create = create,
    .destroy = destroy,
    .reset = reset,
    .capset_count = virgl_capset_count,
    .capset_info = virgl_capset_info,
    .capset = virgl_capset,
    .context_create = virgl_context_create,
    .context_destroy = virgl_context_destroy,
    .context_attach = virgl_context_attach,
    .context_detach = virgl_context_detach,
    .resource_create = virgl_resource_create,
    .blob_create = virgl_blob_create,
    .resource_unref = virgl_resource_unref,
    .attach_backing = virgl_attach_backing,
    .detach_backing = virgl_detach_backing,
    .transfer = virgl_transfer,
    .submit = virgl_submit,
    .fence = virgl_fence,
    .picture = virgl_picture,
    .read = virgl_read,
    .map = virgl_map,
    .unmap = virgl_unmap,
};
