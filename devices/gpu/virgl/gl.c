/*
 * GL contexts that the display's viewer makes, so that it can show textures of the guest's.
 */
#include "devices/gpu/virgl/internal.h"

static virgl_renderer_gl_context create_context(void *cookie, int scanout,
                                                struct virgl_renderer_gl_ctx_param *param)
{
    struct gpu_renderer *r = cookie;

    (void)scanout;
    return r->gl->create_context(r->gl->viewer, param->major_ver, param->minor_ver);
}

static void destroy_context(void *cookie, virgl_renderer_gl_context context)
{
    struct gpu_renderer *r = cookie;

    if (context) /* that for blits is destroyed though it never was made */
        r->gl->destroy_context(r->gl->viewer, context);
}

static int make_current(void *cookie, int scanout, virgl_renderer_gl_context context)
{
    struct gpu_renderer *r = cookie;

    (void)scanout;
    return r->gl->make_current(r->gl->viewer, context);
}

void virgl_gl_callbacks(struct virgl_renderer_callbacks *callbacks)
{
    callbacks->create_gl_context = create_context;
    callbacks->destroy_gl_context = destroy_context;
    callbacks->make_current = make_current;
}
