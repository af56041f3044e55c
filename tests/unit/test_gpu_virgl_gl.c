/*
 * The renderer on virglrenderer with the GL of a viewer: its textures are the viewer's, too, and
 * fences come though nothing tells of them.
 */
#include "virgl_fixture.h"

#include <epoxy/egl.h>
#include <epoxy/gl.h>
#include <errno.h>

enum { WIDTH = 16, HEIGHT = 8 };

/* --- a viewer, which has GL and no window ----------------------------------------------------- */

static EGLDisplay egl;
static EGLConfig config;
static EGLContext viewer_context;
static int contexts; /* of the renderer's */

static EGLContext make_context(int major, int minor, EGLContext shared)
{
    const EGLint attributes[] = {EGL_CONTEXT_MAJOR_VERSION, major, EGL_CONTEXT_MINOR_VERSION, minor,
                                 EGL_NONE};

    return eglCreateContext(egl, config, shared, attributes);
}

static void *create_context(struct display_viewer *viewer, int major, int minor)
{
    EGLContext context = make_context(major, minor, viewer_context);

    (void)viewer;
    contexts += context != EGL_NO_CONTEXT;
    return context;
}

static void destroy_context(struct display_viewer *viewer, void *context)
{
    (void)viewer;
    contexts--;
    assert_true(eglDestroyContext(egl, context));
}

static int make_current(struct display_viewer *viewer, void *context)
{
    (void)viewer;
    return eglMakeCurrent(egl, EGL_NO_SURFACE, EGL_NO_SURFACE, context) ? 0 : -1;
}

static const struct display_gl gl = {
    .create_context = create_context,
    .destroy_context = destroy_context,
    .make_current = make_current,
};

static void open_viewer(void)
{
    const EGLint attributes[] = {EGL_SURFACE_TYPE, EGL_PBUFFER_BIT, EGL_RENDERABLE_TYPE,
                                 EGL_OPENGL_BIT, EGL_NONE};
    EGLint count;

    egl = eglGetPlatformDisplayEXT(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, NULL);
    assert_true(eglInitialize(egl, NULL, NULL));
    assert_true(eglBindAPI(EGL_OPENGL_API));
    assert_true(eglChooseConfig(egl, attributes, &config, 1, &count) && count == 1);
    viewer_context = make_context(3, 2, EGL_NO_CONTEXT);
    assert_true(viewer_context != EGL_NO_CONTEXT);
}

/* The first row that the viewer sees of it. */
static uint32_t first_pixel(const struct display_texture *texture)
{
    static uint32_t pixels[WIDTH * HEIGHT];

    make_current(NULL, viewer_context);
    glBindTexture(GL_TEXTURE_2D, texture->id);
    glGetTexImage(GL_TEXTURE_2D, 0, GL_BGRA, GL_UNSIGNED_BYTE, pixels);
    assert_int_equal(glGetError(), GL_NO_ERROR);
    return pixels[0];
}

static int load(void **state)
{
    int ret = load_virgl(state);

    rig.gl = &gl;
    return ret;
}

static int start(void **state)
{
    open_viewer();
    return start_renderer(state);
}

static int stop(void **state)
{
    stop_renderer(state);
    assert_int_equal(contexts, 0);
    eglMakeCurrent(egl, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
    eglDestroyContext(egl, viewer_context);
    eglTerminate(egl);
    return 0;
}

/* --- tests ------------------------------------------------------------------------------------ */

/* The viewer makes its own context current whenever it draws: nobody tells the renderer. */
static void the_viewer_sees_what_a_guest_renders(void **state)
{
    struct gpu_renderer_picture picture;

    (void)state;
    assert_true(contexts > 0);
    assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "test"), 0);
    make_texture(1, 5, WIDTH, HEIGHT);
    assert_int_equal(submit_clear(1, 9, 5, 1, 0, 0), 0);
    assert_int_equal(rig.ops->picture(rig.r, 5, &picture), 0);
    assert_true(picture.has_texture);
    assert_int_equal(picture.texture.width, WIDTH);
    assert_int_equal(picture.texture.height, HEIGHT);
    assert_int_equal(first_pixel(&picture.texture), 0xffff0000);
    assert_int_equal(submit_clear(1, 10, 5, 0, 0, 1), 0);
    assert_int_equal(first_pixel(&picture.texture), 0xff0000ff);
}

static void a_texture_says_which_row_is_the_lowest(void **state)
{
    static uint32_t backing[WIDTH * HEIGHT];
    struct gpu_renderer_texture texture = texture_2d(WIDTH, HEIGHT);
    struct iovec iov = {backing, sizeof(backing)};
    struct gpu_renderer_picture picture;

    (void)state;
    backing[0] = 0xff112233;
    backing[WIDTH * (HEIGHT - 1)] = 0xff445566;
    for (uint32_t flags = 0; flags <= Y_0_TOP; flags++) {
        texture.flags = flags;
        assert_int_equal(rig.ops->resource_create(rig.r, 5, &texture), 0);
        assert_int_equal(rig.ops->attach_backing(rig.r, 5, &iov, 1), 0);
        assert_int_equal(transfer_2d(true, 5, WIDTH, HEIGHT), 0);
        assert_int_equal(rig.ops->picture(rig.r, 5, &picture), 0);
        assert_int_equal(first_pixel(&picture.texture),
                         picture.texture.bottom_up ? 0xff445566 : 0xff112233);
        assert_int_equal(picture.texture.bottom_up, flags == Y_0_TOP);
        rig.ops->resource_unref(rig.r, 5);
    }
}

static void a_render_node_is_for_displays_without(void **state)
{
    const struct gpu_renderer_options options = {.render_node = "/dev/dri/renderD128"};
    struct error err;

    (void)state;
    assert_int_equal(try_create(&options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "rendernode=/dev/dri/renderD128"));
}

static void fences_come_without_being_told(void **state)
{
    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "test"), 0);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(rig.ops->fence(rig.r, 1, 0, id), 0);
        assert_int_equal(rig.ops->fence(rig.r, 1, -1, id), 0);
        make_current(NULL, viewer_context);
    }
    wait_for_fences(6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_viewer_sees_what_a_guest_renders, start, stop),
        cmocka_unit_test_setup_teardown(a_texture_says_which_row_is_the_lowest, start, stop),
        cmocka_unit_test(a_render_node_is_for_displays_without),
        cmocka_unit_test_setup_teardown(fences_come_without_being_told, start, stop),
    };

    return cmocka_run_group_tests_name("gpu_virgl_gl", tests, load, unload_virgl);
}
