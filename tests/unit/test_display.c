/*
 * The display itself: what a GPU says reaches viewers, what viewers say reaches the GPU and the
 * input device that it is for.
 */
#include "tests/unit/display_fixture.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <linux/input-event-codes.h>

/* A viewer that keeps what it is told. */
struct witness {
    struct display_viewer viewer;
    unsigned shows, offs, damages, cursors, moves, inputs, outputs, saves, destroyed;
    struct display_rect damage;
    const struct display_picture *picture;
    uint32_t lights;
    int32_t x, y;
};

static struct display_fixture f;
static struct witness one, two;

static struct witness *of(struct display_viewer *viewer)
{
    return (struct witness *)viewer;
}

static void show(struct display_viewer *v, unsigned output, const struct display_picture *picture)
{
    (void)output;
    of(v)->shows += picture != NULL;
    of(v)->offs += picture == NULL;
    of(v)->picture = picture;
}

static void damage(struct display_viewer *v, unsigned output, const struct display_rect *rect)
{
    (void)output;
    of(v)->damages++;
    of(v)->damage = *rect;
}

static void set_cursor(struct display_viewer *v, unsigned output,
                       const struct display_cursor *cursor)
{
    (void)output;
    of(v)->cursors += cursor != NULL;
}

static void move_cursor(struct display_viewer *v, unsigned output, int32_t x, int32_t y)
{
    (void)output;
    of(v)->moves++;
    of(v)->x = x;
    of(v)->y = y;
}

static void set_lights(struct display_viewer *v, uint32_t lights)
{
    of(v)->lights = lights;
}

static void inputs_changed(struct display_viewer *v)
{
    of(v)->inputs++;
}

static void outputs_changed(struct display_viewer *v)
{
    of(v)->outputs++;
}

static void save(struct display_viewer *v)
{
    of(v)->saves++;
}

static void destroy(struct display_viewer *v)
{
    of(v)->destroyed++;
}

static const struct display_viewer_ops all_ops = {
    .kinds = 1 << DISPLAY_TEXTURE,
    .show = show,
    .damage = damage,
    .set_cursor = set_cursor,
    .move_cursor = move_cursor,
    .set_lights = set_lights,
    .inputs_changed = inputs_changed,
    .outputs_changed = outputs_changed,
    .save = save,
    .destroy = destroy,
};

/* One that cares for nothing. */
static const struct display_viewer_ops no_ops = {.destroy = destroy};

static int setup(void **state)
{
    (void)state;
    fixture_open(&f, 2, 0);
    one = (struct witness){.viewer.ops = &all_ops};
    two = (struct witness){.viewer.ops = &no_ops};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* Whoever comes later is shown what there is. */
static void test_viewer_is_shown_what_there_is(void **state)
{
    static const uint32_t pixel = 0xffffffff;
    const struct display_cursor cursor = {1, 1, 0, 0, &pixel};

    (void)state;
    fake_gpu_show(&f.gpu, 1, 64, 48, DRM_FORMAT_XRGB8888);
    display_set_cursor(f.display, 1, &cursor);
    display_move_cursor(f.display, 1, 5, -6);
    display_set_lights(f.display, 1 << LED_NUML);
    display_attach_viewer(f.display, &one.viewer);
    assert_int_equal(one.shows, 1);
    assert_int_equal(one.offs, 1);
    assert_int_equal(one.cursors, 1);
    assert_int_equal(one.x, 5);
    assert_int_equal(one.y, -6);
    assert_int_equal(one.lights, 1 << LED_NUML);
    assert_int_equal(f.gpu.refreshed, 1);
    assert_null(display_picture(f.display, 0));
    assert_int_equal(display_picture(f.display, 1)->width, 64);
    assert_null(display_picture(f.display, 2));
}

static void test_damage_is_cut_to_the_picture(void **state)
{
    static const struct {
        struct display_rect rect, cut;
    } cases[] = {
        {{0, 0, 64, 48}, {0, 0, 64, 48}},
        {{60, 40, 100, 100}, {60, 40, 4, 8}},
        {{1, 2, UINT32_MAX, UINT32_MAX}, {1, 2, 63, 46}},
        {{64, 0, 1, 1}, {0}},
        {{0, 48, 1, 1}, {0}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, 1}, {0}},
        {{5, 5, 0, 9}, {0}},
        {{5, 5, 9, 0}, {0}},
    };

    (void)state;
    display_attach_viewer(f.display, &one.viewer);
    display_damage(f.display, 0, &cases[0].rect); /* of an output that is off */
    assert_int_equal(one.damages, 0);
    fake_gpu_show(&f.gpu, 0, 64, 48, DRM_FORMAT_XRGB8888);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        one.damages = 0;
        display_damage(f.display, 0, &cases[i].rect);
        assert_int_equal(one.damages, cases[i].cut.width != 0);
        if (one.damages)
            assert_memory_equal(&one.damage, &cases[i].cut, sizeof(one.damage));
    }
}

static void test_every_viewer_is_told(void **state)
{
    struct witness third = {.viewer.ops = &all_ops};

    (void)state;
    display_attach_viewer(f.display, &one.viewer);
    display_attach_viewer(f.display, &two.viewer);
    display_attach_viewer(f.display, &third.viewer);
    fake_gpu_show(&f.gpu, 0, 8, 8, DRM_FORMAT_XRGB8888);
    display_move_cursor(f.display, 0, 1, 1);
    display_save(f.display);
    display_set_lights(f.display, 7);
    display_print_timing(f.display, stderr);
    assert_int_equal(one.shows + third.shows, 2);
    assert_int_equal(one.saves + third.saves, 2);
    assert_int_equal(one.lights & third.lights, 7);
    display_detach_viewer(f.display, &one.viewer);
    assert_int_equal(one.destroyed, 1);
    display_move_cursor(f.display, 0, 1, 1);
    assert_int_equal(one.moves, 1);
    assert_int_equal(third.moves, 2);
    display_detach_viewer(f.display, &third.viewer);
    display_detach_viewer(f.display, &two.viewer);
    assert_int_equal(two.destroyed, 1);
}

static void test_kinds_that_all_viewers_know(void **state)
{
    (void)state;
    assert_true(display_knows(f.display, DISPLAY_DMABUF)); /* there is none to ask */
    display_attach_viewer(f.display, &one.viewer);
    assert_true(display_knows(f.display, DISPLAY_PIXELS));
    assert_true(display_knows(f.display, DISPLAY_TEXTURE));
    assert_false(display_knows(f.display, DISPLAY_DMABUF));
    display_attach_viewer(f.display, &two.viewer);
    assert_false(display_knows(f.display, DISPLAY_TEXTURE));
    assert_null(display_gl(f.display));
}

static void test_there_is_one_gpu(void **state)
{
    struct fake_gpu second;

    (void)state;
    display_attach_viewer(f.display, &one.viewer);
    assert_int_equal(fake_gpu_attach(&second, f.display, 1), -EBUSY);
    fake_gpu_show(&f.gpu, 0, 8, 8, DRM_FORMAT_XRGB8888);
    one.offs = 0;
    fake_gpu_detach(&f.gpu);
    assert_int_equal(one.offs, 2);
    assert_int_equal(display_outputs(f.display), 0);
    assert_null(display_picture(f.display, 0));
    display_resize(f.display, 0, 10, 10, 0, 0); /* there is nobody to be asked */
    assert_int_equal(fake_gpu_attach(&f.gpu, f.display, 1), 0);
    assert_int_equal(one.outputs, 2);
}

static void test_sizes_are_bounded(void **state)
{
    (void)state;
    display_resize(f.display, 1, UINT32_MAX, 100, 0, 0);
    assert_int_equal(f.gpu.outputs[1].wanted_width, DISPLAY_SIZE_MAX);
    assert_int_equal(f.gpu.outputs[1].wanted_height, 100);
    display_resize(f.display, 2, 10, 10, 0, 0);
    display_resize(f.display, UINT32_MAX, 10, 10, 0, 0);
    assert_int_equal(f.gpu.outputs[0].wanted + f.gpu.outputs[1].wanted, 1);
}

/* --- input ------------------------------------------------------------------------------------ */

#define DEVICES 4

static struct device {
    struct display_sink sink;
    size_t events;
} devices[DEVICES];

static void events(struct display_sink *sink, const struct display_event *from, size_t count)
{
    (void)from;
    ((struct device *)(void *)sink)->events += count;
}

static void attach(unsigned i, unsigned kinds, unsigned output)
{
    devices[i] = (struct device){.sink = {.kinds = kinds, .output = output, .events = events}};
    display_attach_sink(f.display, &devices[i].sink);
}

/* Send one event and find which device had it; DEVICES: none. */
static unsigned taker(enum display_input_kind kind, unsigned output)
{
    const struct display_event event = {EV_SYN, SYN_REPORT, 0};
    unsigned found = DEVICES;

    display_input(f.display, kind, output, &event, 1);
    for (unsigned i = 0; i < DEVICES; i++) {
        if (devices[i].events)
            found = i;
        devices[i].events = 0;
    }
    return found;
}

static void test_input_goes_to_the_first_that_takes_it(void **state)
{
    (void)state;
    assert_int_equal(taker(DISPLAY_KEYS, 0), DEVICES);
    display_attach_viewer(f.display, &one.viewer);
    attach(0, DISPLAY_RELATIVE, DISPLAY_OUTPUT_ANY);
    attach(1, DISPLAY_KEYS, DISPLAY_OUTPUT_ANY);
    attach(2, DISPLAY_KEYS | DISPLAY_ABSOLUTE, DISPLAY_OUTPUT_ANY);
    assert_int_equal(one.inputs, 3);
    assert_int_equal(display_inputs(f.display), DISPLAY_KEYS | DISPLAY_RELATIVE | DISPLAY_ABSOLUTE);
    assert_int_equal(taker(DISPLAY_KEYS, 1), 1);
    assert_int_equal(taker(DISPLAY_RELATIVE, 1), 0);
    assert_int_equal(taker(DISPLAY_ABSOLUTE, 1), 2);
    assert_int_equal(taker(DISPLAY_TOUCH, 0), DEVICES);
    display_detach_sink(f.display, &devices[1].sink);
    assert_int_equal(taker(DISPLAY_KEYS, 0), 2);
    display_detach_sink(f.display, &devices[0].sink);
    display_detach_sink(f.display, &devices[2].sink);
    assert_int_equal(display_inputs(f.display), 0);
}

/* Of two tablets each has its output; keys know no output. */
static void test_input_for_an_output(void **state)
{
    (void)state;
    attach(0, DISPLAY_ABSOLUTE | DISPLAY_KEYS, 1);
    attach(1, DISPLAY_ABSOLUTE | DISPLAY_TOUCH, 0);
    assert_int_equal(taker(DISPLAY_ABSOLUTE, 0), 1);
    assert_int_equal(taker(DISPLAY_ABSOLUTE, 1), 0);
    assert_int_equal(taker(DISPLAY_ABSOLUTE, 2), DEVICES);
    assert_int_equal(taker(DISPLAY_TOUCH, 1), DEVICES);
    assert_int_equal(taker(DISPLAY_KEYS, 0), 0);
    display_detach_sink(f.display, &devices[0].sink);
    display_detach_sink(f.display, &devices[1].sink);
}

static void test_closing_is_told_each_time(void **state)
{
    (void)state;
    display_close(f.display);
    display_close(f.display);
    assert_int_equal(f.closed, 2);
}

#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_viewer_is_shown_what_there_is),
        WITH(test_damage_is_cut_to_the_picture),
        WITH(test_every_viewer_is_told),
        WITH(test_kinds_that_all_viewers_know),
        WITH(test_there_is_one_gpu),
        WITH(test_sizes_are_bounded),
        WITH(test_input_goes_to_the_first_that_takes_it),
        WITH(test_input_for_an_output),
        WITH(test_closing_is_told_each_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
