/*
 * The renderer on virglrenderer: what a guest renders is what it reads back and what is shown;
 * fences come in order; nothing is left behind.
 */
#include "tests/unit/this_process.h"
#include "virgl_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

/* --- start ------------------------------------------------------------------------------------ */

static void mesa_is_mapped_when_a_renderer_is_made(void **state)
{
    assert_true(is_mapped("libvirglrenderer"));
    assert_false(is_mapped("libEGL_mesa"));
    start_renderer(state);
    assert_true(is_mapped("libEGL_mesa"));
    stop_renderer(state);
}

static void bad_options_are_refused_with_a_reason(void **state)
{
    struct gpu_renderer_options options = {.render_node = "/nonexistent/node"};
    struct error err;

    (void)state;
    assert_int_equal(try_create(&options, &err), -ENOENT);
    assert_non_null(strstr(err.text, "rendernode=/nonexistent/node"));

    options = (struct gpu_renderer_options){.render_node = "/dev/null"};
    assert_int_equal(try_create(&options, &err), -ENODEV);
    assert_non_null(strstr(err.text, "/dev/null"));

    options = (struct gpu_renderer_options){.drm = true};
    assert_int_equal(try_create(&options, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "drm=on"));
}

static void there_is_one_renderer_a_process(void **state)
{
    const struct gpu_renderer_options options = {.max_memory = MIB};
    struct gpu_renderer *first = rig.r;
    struct error err;

    (void)state;
    assert_int_equal(try_create(&options, &err), -EBUSY);
    assert_ptr_equal(rig.r, first);
}

/* GPU-15, GPU-18 */
static void capsets_of_virgl(void **state)
{
    static uint8_t data[8192];

    (void)state;
    assert_int_equal(rig.ops->capset_count(rig.r), 2);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t id, version, size;
        bool empty = true;

        rig.ops->capset_info(rig.r, i, &id, &version, &size);
        assert_int_equal(id, i + 1);
        assert_in_range(size, 1, sizeof(data));
        memset(data, 0, sizeof(data));
        assert_int_equal(rig.ops->capset(rig.r, id, version, data, size), 0);
        for (uint32_t at = 0; at < size; at++)
            empty &= !data[at];
        assert_false(empty);
        assert_int_equal(rig.ops->capset(rig.r, id, version + 1, data, size), -EINVAL);
        assert_int_equal(rig.ops->capset(rig.r, id, version, data, size - 1), -EINVAL);
    }
    assert_int_equal(rig.ops->capset(rig.r, 4, 0, data, sizeof(data)), -EINVAL);
}

/* --- what is rendered ------------------------------------------------------------------------- */

enum { WIDTH = 32, HEIGHT = 16 };

static void what_a_guest_renders_it_reads_back(void **state)
{
    static uint32_t backing[WIDTH * HEIGHT];
    struct iovec iov[2] = {{backing, sizeof(backing) / 4},
                           {backing + WIDTH * HEIGHT / 4, sizeof(backing) * 3 / 4}};

    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 1, 0, "test"), 0);
    make_texture(1, 5, WIDTH, HEIGHT);
    assert_int_equal(rig.ops->attach_backing(rig.r, 5, iov, 2), 0);
    assert_int_equal(submit_clear(1, 9, 5, 1, 0.5, 0), 0);
    assert_int_equal(transfer_2d(false, 5, WIDTH, HEIGHT), 0);
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        assert_int_equal(backing[i], 0xffff8000);
}

/* A picture's rows come from above, whichever way the texture keeps them; and as XRGB8888. */
static void read_rows(uint32_t format, uint32_t flags)
{
    static uint32_t backing[WIDTH * HEIGHT], out[4 * 3];
    const struct display_rect rect = {.x = 5, .y = 2, .width = 3, .height = 3};
    struct gpu_renderer_texture texture = texture_2d(WIDTH, HEIGHT);
    struct iovec iov = {backing, sizeof(backing)};

    texture.format = format;
    texture.flags = flags;
    for (uint32_t i = 0; i < WIDTH * HEIGHT; i++)
        backing[i] = 0xff000000 | i / WIDTH << 16 | i % WIDTH;
    assert_int_equal(rig.ops->resource_create(rig.r, 7, &texture), 0);
    assert_int_equal(rig.ops->attach_backing(rig.r, 7, &iov, 1), 0);
    assert_int_equal(transfer_2d(true, 7, WIDTH, HEIGHT), 0);
    memset(out, 0, sizeof(out));
    assert_int_equal(rig.ops->read(rig.r, 7, &rect, out, 16), 0);
    for (uint32_t y = 0; y < 3; y++) {
        for (uint32_t x = 0; x < 3; x++) {
            uint32_t high = y + 2, low = x + 5;

            assert_int_equal(out[4 * y + x] & 0xffffff,
                             format == FORMAT_BGRA ? high << 16 | low : low << 16 | high);
        }
        assert_int_equal(out[4 * y + 3], 0); /* between rows */
    }
    rig.ops->resource_unref(rig.r, 7);
}

static void a_picture_is_read_the_right_way_up(void **state)
{
    (void)state;
    read_rows(FORMAT_BGRA, 0);
    read_rows(FORMAT_BGRA, Y_0_TOP);
    read_rows(FORMAT_RGBA, 0);
    read_rows(FORMAT_RGBA, Y_0_TOP);
}

static void what_a_guest_renders_is_a_picture(void **state)
{
    const struct display_rect corner = {.x = WIDTH - 1, .y = HEIGHT - 1, .width = 1, .height = 1};
    struct gpu_renderer_picture picture;
    uint32_t pixel = 0;

    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "test"), 0);
    make_texture(1, 5, WIDTH, HEIGHT);
    assert_int_equal(submit_clear(1, 9, 5, 0, 1, 1), 0);
    assert_int_equal(rig.ops->picture(rig.r, 5, &picture), 0);
    assert_int_equal(picture.width, WIDTH);
    assert_int_equal(picture.height, HEIGHT);
    assert_false(picture.has_texture); /* nobody looks with GL */
    assert_int_equal(rig.ops->read(rig.r, 5, &corner, &pixel, 4), 0);
    assert_int_equal(pixel & 0xffffff, 0x00ffff);
}

/* --- fences ----------------------------------------------------------------------------------- */

static void assert_done(unsigned index, uint32_t context, int ring, uint64_t id)
{
    assert_int_equal(rig.done[index].context, context);
    assert_int_equal(rig.done[index].ring, ring);
    assert_int_equal(rig.done[index].id, id);
}

/* GPU-06, GPU-07 */
static void fences_come_in_the_order_of_their_timeline(void **state)
{
    uint64_t expected[2][2] = {{0}};

    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "one"), 0);
    assert_int_equal(rig.ops->context_create(rig.r, 2, 2, "two"), 0);
    make_texture(1, 5, WIDTH, HEIGHT);
    for (uint64_t id = 1; id <= 8; id++) {
        assert_int_equal(submit_clear(1, 10 + (uint32_t)id, 5, 1, 0, 0), 0);
        assert_int_equal(rig.ops->fence(rig.r, 1 + id % 2, 0, id << 33), 0);
        assert_int_equal(rig.ops->fence(rig.r, 1 + id % 2, -1, id << 33 | 1), 0);
    }
    wait_for_fences(16);
    for (unsigned i = 0; i < 16; i++) {
        uint64_t *last = &expected[rig.done[i].context - 1][rig.done[i].ring < 0];

        assert_int_equal(rig.done[i].context, 1 + (rig.done[i].id >> 33) % 2);
        assert_true(rig.done[i].id > *last);
        *last = rig.done[i].id;
    }
}

static void fences_of_rings_of_one_context_come(void **state)
{
    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 3, 2, "rings"), 0);
    assert_int_equal(rig.ops->fence(rig.r, 3, 63, 1), 0);
    assert_int_equal(rig.ops->fence(rig.r, 3, 1, 2), 0);
    wait_for_fences(2);
    assert_done(0, 3, 63, 1);
    assert_done(1, 3, 1, 2);
    assert_int_equal(rig.ops->fence(rig.r, 4, 0, 3), -ENOENT);
}

static void a_destroyed_context_leaves_no_fence_pending(void **state)
{
    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "one"), 0);
    assert_int_equal(rig.ops->context_create(rig.r, 2, 2, "two"), 0);
    assert_int_equal(rig.ops->fence(rig.r, 1, -1, 1), 0);
    assert_int_equal(rig.ops->fence(rig.r, 2, 0, 2), 0);
    assert_int_equal(rig.ops->fence(rig.r, 1, 0, 3), 0);
    assert_int_equal(rig.ops->context_destroy(rig.r, 1), 0);
    assert_true(rig.done_count >= 1);
    wait_for_fences(3);
    assert_int_equal(rig.ops->context_destroy(rig.r, 1), -ENOENT);
}

static void many_contexts_that_go_lose_no_fence(void **state)
{
    (void)state;
    for (uint32_t id = 1; id <= 40; id++) {
        assert_int_equal(rig.ops->context_create(rig.r, id, 2, "short"), 0);
        assert_int_equal(rig.ops->fence(rig.r, id, -1, id), 0);
        assert_int_equal(rig.ops->context_destroy(rig.r, id), 0);
    }
    wait_for_fences(40);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(rig.done[i].id, i + 1);
}

/* --- the end of things ------------------------------------------------------------------------ */

static void reset_forgets_everything(void **state)
{
    struct gpu_renderer_picture picture;

    (void)state;
    for (int round = 0; round < 3; round++) {
        rig.done_count = 0;
        assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "test"), 0);
        make_texture(1, 5, WIDTH, HEIGHT);
        assert_int_equal(submit_clear(1, 9, 5, 1, 1, 1), 0);
        assert_int_equal(rig.ops->fence(rig.r, 1, 0, 1), 0);
        rig.ops->reset(rig.r);
        assert_int_equal(rig.ops->picture(rig.r, 5, &picture), -ENOENT);
        assert_int_equal(rig.ops->context_attach(rig.r, 1, 5), -ENOENT);
        assert_int_equal(rig.done_count, 0);
        assert_int_equal(rig.ops->fence(rig.r, 0, -1, 77), 0);
        wait_for_fences(1);
        assert_done(0, 0, -1, 77);
    }
}

static void rounds_of_contexts_and_textures_leave_nothing(void **state)
{
    unsigned files = count_fds();

    (void)state;
    for (uint32_t round = 1; round <= 100; round++) {
        assert_int_equal(rig.ops->context_create(rig.r, round, 2, "round"), 0);
        make_texture(round, 5, 256, 256); /* all of them together are too many */
        make_texture(round, 6, 2048, 1024);
        assert_int_equal(submit_clear(round, 9, 5, 1, 1, 1), 0);
        rig.ops->resource_unref(rig.r, 5);
        assert_int_equal(rig.ops->context_destroy(rig.r, round), 0);
        rig.ops->resource_unref(rig.r, 6);
    }
    assert_int_equal(count_fds(), files);
}

static void renderers_come_and_go(void **state)
{
    unsigned files = 0;

    for (int round = 0; round < 5; round++) {
        start_renderer(state);
        assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "round"), 0);
        assert_int_equal(rig.ops->fence(rig.r, 1, 0, 1), 0);
        wait_for_fences(1);
        stop_renderer(state);
        if (round)
            assert_int_equal(count_fds(), files);
        files = count_fds();
    }
}

/* --- threads: made on one, used on the loop's, destroyed after it ended ----------------------- */

static void render_on_loop(void *arg)
{
    const struct display_rect pixel_rect = {.width = 1, .height = 1};
    uint32_t *pixel = arg;

    assert_int_equal(rig.ops->context_create(rig.r, 1, 2, "test"), 0);
    make_texture(1, 5, WIDTH, HEIGHT);
    assert_int_equal(submit_clear(1, 9, 5, 0, 0, 1), 0);
    assert_int_equal(rig.ops->read(rig.r, 5, &pixel_rect, pixel, 4), 0);
}

static void the_loop_may_have_a_thread_of_its_own(void **state)
{
    struct error err;
    uint32_t pixel = 0;

    for (int round = 0; round < 2; round++) {
        start_renderer(state);
        assert_int_equal(loop_start_thread(rig.loop, "display", &err), 0);
        loop_call(rig.loop, render_on_loop, &pixel);
        assert_int_equal(pixel & 0xffffff, 0x0000ff);
        loop_join_thread(rig.loop);
        stop_renderer(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mesa_is_mapped_when_a_renderer_is_made),
        cmocka_unit_test(bad_options_are_refused_with_a_reason),
        RENDERER_TEST(there_is_one_renderer_a_process),
        RENDERER_TEST(capsets_of_virgl),
        RENDERER_TEST(what_a_guest_renders_it_reads_back),
        RENDERER_TEST(a_picture_is_read_the_right_way_up),
        RENDERER_TEST(what_a_guest_renders_is_a_picture),
        RENDERER_TEST(fences_come_in_the_order_of_their_timeline),
        RENDERER_TEST(fences_of_rings_of_one_context_come),
        RENDERER_TEST(a_destroyed_context_leaves_no_fence_pending),
        RENDERER_TEST(many_contexts_that_go_lose_no_fence),
        RENDERER_TEST(reset_forgets_everything),
        RENDERER_TEST(rounds_of_contexts_and_textures_leave_nothing),
        cmocka_unit_test(renderers_come_and_go),
        cmocka_unit_test(the_loop_may_have_a_thread_of_its_own),
    };

    return cmocka_run_group_tests_name("gpu_virgl", tests, load_virgl, unload_virgl);
}
