/*
 * A renderer by EGL surfaceless on Mesa's software rasterizer, with a loop that the test runs while
 * it waits for fences, and the few commands of virgl that tests write by hand.
 */
#ifndef TESTS_UNIT_VIRGL_FIXTURE_H
#define TESTS_UNIT_VIRGL_FIXTURE_H

#include "build_directory.h"
#include "mesa.h"

#include "base/bytes.h"
#include "base/sanitizers.h"
#include "devices/gpu/renderer.h"
#include "tests/driver/loop_turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

/*
 * Mesa keeps memory for the life of a process: what its DRI driver and gbm_create_device allocate
 * once for each time they are loaded, though they are unloaded. Whole stacks are recorded to tell
 * it from other leaks, as those libraries have no frame pointers. virglrenderer 0.10.4 forgets what
 * a context made to become a blob and never did.
 */
#if SANITIZE_ADDRESS
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libEGL_mesa.so\nleak:libgbm.so\nleak:libvirglrenderer.so\n";
}
#endif

enum { FENCES_MAX = 64 };
enum { FORMAT_BGRA = 1, FORMAT_RGBA = 67, FORMAT_R8 = 64, FORMAT_Z32 = 18 };
enum { TARGET_BUFFER = 0, TARGET_2D = 2, TARGET_3D = 3 };
enum {
    BIND_RENDER_TARGET = 1 << 1,
    BIND_SAMPLER_VIEW = 1 << 3,
    BIND_VERTEX_BUFFER = 1 << 4,
    BIND_CUSTOM = 1 << 17,
};
enum { Y_0_TOP = 1 };

struct fence_done {
    uint32_t context;
    int ring;
    uint64_t id;
};

struct virgl_rig {
    struct module module;
    const struct gpu_renderer_module *ops;
    struct gpu_renderer *r;
    struct loop *loop;
    struct fence_done done[FENCES_MAX];
    unsigned done_count, wanted;

    /* What start_renderer makes; a program may change it after load_virgl. */
    struct gpu_renderer_options options;
    const struct display_gl *gl; /* of a viewer, or NULL */
};

static struct virgl_rig rig;

static inline void on_fence_done(void *opaque, uint32_t context, int ring, uint64_t id)
{
    (void)opaque;
    assert_true(rig.done_count < FENCES_MAX);
    rig.done[rig.done_count++] = (struct fence_done){context, ring, id};
    if (rig.done_count == rig.wanted)
        loop_stop(rig.loop);
}

/* Run the loop until so many fences are done in all, or half a minute. */
static inline void wait_for_fences(unsigned count)
{
    rig.wanted = count;
    if (rig.done_count < count)
        loop_run_for(rig.loop, UINT64_C(30000000000));
    assert_int_equal(rig.done_count, count);
}

static inline int try_create(const struct gpu_renderer_options *options, struct error *err)
{
    static const struct gpu_renderer_events events = {.fence_done = on_fence_done};

    return rig.ops->create(options, &events, rig.loop, rig.gl, &rig.r, err);
}

/* --- fixtures of a group: the module, and no renderer yet ------------------------------------- */

static inline int load_virgl(void **state)
{
    struct error err;

    (void)state;
    setenv("LIBGL_ALWAYS_SOFTWARE", "1", 1);
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1);
    build_directory();
    rig = (struct virgl_rig){.options = {.max_memory = 256 * MIB}};
    if (loop_create(&rig.loop, &err) < 0 || module_load(&rig.module, "virgl", &err) < 0) {
        print_message("%s\n", err.text);
        return -1;
    }
    rig.ops = rig.module.table;
    return 0;
}

static inline int unload_virgl(void **state)
{
    (void)state;
    loop_destroy(rig.loop);
    module_unload(&rig.module);
    return 0;
}

/* --- fixtures of a test: a renderer ----------------------------------------------------------- */

static inline int start_renderer(void **state)
{
    struct error err;

    (void)state;
    rig.done_count = rig.wanted = 0;
    if (try_create(&rig.options, &err) < 0)
        fail_msg("%s", err.text);
    return 0;
}

static inline int stop_renderer(void **state)
{
    (void)state;
    rig.ops->destroy(rig.r);
    return 0;
}

#define RENDERER_TEST(name) cmocka_unit_test_setup_teardown(name, start_renderer, stop_renderer)

/* --- resources and commands ------------------------------------------------------------------- */

static inline struct gpu_renderer_texture texture_2d(uint32_t width, uint32_t height)
{
    return (struct gpu_renderer_texture){.target = TARGET_2D,
                                         .format = FORMAT_BGRA,
                                         .bind = BIND_RENDER_TARGET | BIND_SAMPLER_VIEW,
                                         .width = width,
                                         .height = height,
                                         .depth = 1,
                                         .array_size = 1};
}

static inline void make_texture(uint32_t context, uint32_t id, uint32_t width, uint32_t height)
{
    const struct gpu_renderer_texture texture = texture_2d(width, height);

    assert_int_equal(rig.ops->resource_create(rig.r, id, &texture), 0);
    assert_int_equal(rig.ops->context_attach(rig.r, context, id), 0);
}

#define COMMAND(number, object, words) ((number) | (object) << 8 | (uint32_t)(words) << 16)

enum { OBJECT_SURFACE = 8 };
enum { CREATE_OBJECT = 1, SET_FRAMEBUFFER = 5, CLEAR = 7, CREATE_SUB_CONTEXT = 29 };
enum { DESTROY_SUB_CONTEXT = 30, PIPE_RESOURCE_CREATE = 48, GET_MEMORY_INFO = 50, VIDEO = 53 };

/* The bits of a float, as a word. */
static inline uint32_t word_of(float value)
{
    uint32_t word;

    memcpy(&word, &value, sizeof(word));
    return word;
}

/* Make `resource` the framebuffer, by the surface `surface`, and all of it of one colour. */
static inline int submit_clear(uint32_t context, uint32_t surface, uint32_t resource, float red,
                               float green, float blue)
{
    uint32_t commands[] = {COMMAND(CREATE_OBJECT, OBJECT_SURFACE, 5),
                           surface,
                           resource,
                           FORMAT_BGRA,
                           0,
                           0,
                           COMMAND(SET_FRAMEBUFFER, 0, 3),
                           1,
                           0,
                           surface,
                           COMMAND(CLEAR, 0, 8),
                           1 << 2, /* the first colour buffer */
                           word_of(red),
                           word_of(green),
                           word_of(blue),
                           word_of(1),
                           0,
                           0,
                           0};

    return rig.ops->submit(rig.r, context, commands, sizeof(commands));
}

static inline int transfer_2d(bool to_host, uint32_t resource, uint32_t width, uint32_t height)
{
    const struct gpu_renderer_transfer transfer = {
        .resource = resource,
        .stride = 4 * width,
        .box = {.width = width, .height = height, .depth = 1},
    };

    return rig.ops->transfer(rig.r, to_host, &transfer);
}

#endif
