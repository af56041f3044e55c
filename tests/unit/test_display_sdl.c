/*
 * Windows on an X server, photographed there, and typed and pointed at by xdotool.
 */
#include "devices/display/display_gl.h"
#include "tests/unit/display_fixture.h"
#include "tests/unit/mesa.h"
#include "tests/unit/x_server.h"

#include <SDL.h>
#include <epoxy/gl.h>
#include <libdrm/drm_fourcc.h>
#include <linux/input-event-codes.h>

#define WIDTH  320
#define HEIGHT 240

static struct display_fixture f;

/* --- helpers ---------------------------------------------------------------------------------- */

/* The window's id, as xdotool finds it by its title; "" when none is visible. */
static const char *window(const char *title)
{
    static char id[256];
    char command[128];

    snprintf(command, sizeof(command), "xdotool search --onlyvisible --name '^%s$' 2>/dev/null",
             title);
    snprintf(id, sizeof(id), "%s", x_command(command));
    return id;
}

/* `xdotool CALL`, where %s is the machine's window; then what came of it. */
static void xdotool(const char *call)
{
    char command[256], filled[192];

    snprintf(filled, sizeof(filled), call, window("a machine.*"));
    snprintf(command, sizeof(command), "xdotool %s", filled);
    x_command(command);
    fixture_run(&f, 100);
}

/* The colour at a place of a photograph. */
static uint32_t at(const uint8_t *rgb, unsigned width, unsigned x, unsigned y)
{
    const uint8_t *p = rgb + 3 * ((size_t)y * width + x);

    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

/* The window shows seed 0, but for `rect` which has seed 1. */
static void assert_shows(const struct display_rect *rect)
{
    uint8_t *rgb = x_photograph(window("a machine"), WIDTH, HEIGHT);

    assert_non_null(rgb);
    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++) {
            bool painted = x - rect->x < rect->width && y - rect->y < rect->height;

            assert_int_equal(at(rgb, WIDTH, x, y), fake_gpu_colour(x, y, painted));
        }
    free(rgb);
}

static const struct display_rect nothing;

/* The number that SDL gave the window: it counts on over all tests. */
static uint32_t window_id(void)
{
    uint32_t id = 1;

    while (!SDL_GetWindowFromID(id) && id < 1000)
        id++;
    return id;
}

/* As if the window system had said it; events of the test's own are looked for after a frame. */
static void push(SDL_Event *event)
{
    SDL_PushEvent(event);
    fake_gpu_paint(&f.gpu, 0, &(struct display_rect){0, 0, 1, 1}, 0);
    fixture_run(&f, 60);
}

/* What a window manager would say. */
static void window_event(uint8_t event)
{
    SDL_PushEvent(
        &(SDL_Event){.window = {.type = SDL_WINDOWEVENT, .event = event, .windowID = window_id()}});
    fixture_run(&f, 600);
}

/* What --timing says, by the words before a number: "bytes damaged". */
static unsigned long long timing(const char *words)
{
    unsigned long long value = 0;
    char *text = NULL, *found;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    display_print_timing(f.display, out);
    fclose(out);
    found = strstr(text, words);
    assert_non_null(found);
    while (found > text && (found[-1] == ' ' || (found[-1] >= '0' && found[-1] <= '9')))
        found--;
    sscanf(found, "%llu", &value);
    free(text);
    return value;
}

static int open_with(unsigned outputs, unsigned inputs, const char *options)
{
    fixture_open(&f, outputs, inputs);
    assert_int_equal(fixture_view(&f, "sdl", options, NULL), 0);
    fake_gpu_show(&f.gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    fixture_run(&f, 100);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return open_with(2, DISPLAY_KEYS | DISPLAY_ABSOLUTE, "");
}

static int setup_one(void **state)
{
    (void)state;
    return open_with(1, DISPLAY_KEYS | DISPLAY_ABSOLUTE, "");
}

static int setup_mouse(void **state)
{
    (void)state;
    return open_with(1, DISPLAY_KEYS | DISPLAY_RELATIVE, "");
}

static int setup_touch(void **state)
{
    (void)state;
    return open_with(1, DISPLAY_TOUCH, "");
}

static int setup_gl(void **state)
{
    (void)state;
    return open_with(1, 0, "gl=on");
}

static int setup_gl_mouse(void **state)
{
    (void)state;
    return open_with(1, DISPLAY_KEYS | DISPLAY_RELATIVE, "gl=on");
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* --- what is shown ---------------------------------------------------------------------------- */

static void test_formats(void **state)
{
    (void)state;
    for (const uint32_t *format = fake_gpu_formats; *format; format++) {
        fake_gpu_show(&f.gpu, 0, WIDTH, HEIGHT, *format);
        fixture_run(&f, 60);
        assert_shows(&nothing);
    }
    fake_gpu_show_foreign(&f.gpu, 0, WIDTH, HEIGHT);
    fixture_run(&f, 60);
    assert_shows(&nothing);
}

/* Each byte that is damaged is copied once. */
static void test_damage_is_copied_once(void **state)
{
    const struct display_rect rect = {33, 47, 100, 50};
    unsigned long long damaged = timing("bytes damaged"), copied = timing("copied");

    (void)state;
    assert_shows(&nothing);
    fake_gpu_paint(&f.gpu, 0, &rect, 1);
    fixture_run(&f, 60);
    assert_shows(&rect);
    assert_int_equal(timing("bytes damaged") - damaged, 100 * 50 * 4);
    assert_int_equal(timing("copied") - copied, 100 * 50 * 4);
}

/* 1000 frames in a moment are a few on the screen, and the last is one of them. */
static void test_frames_are_dropped_not_queued(void **state)
{
    const struct display_rect all = {0, 0, WIDTH, HEIGHT};
    unsigned long long shown = timing("frames shown");

    (void)state;
    for (int i = 0; i < 1000; i++)
        fake_gpu_paint(&f.gpu, 0, &all, i == 999);
    fixture_run(&f, 60);
    assert_int_equal(timing("frames shown") - shown, 1);
    assert_true(timing("dropped") >= 999);
    assert_shows(&all);
}

static void test_window_for_each_output(void **state)
{
    (void)state;
    assert_string_not_equal(window("a machine .1."), "");
    assert_string_equal(window("a machine .2."), "");
    fake_gpu_show(&f.gpu, 1, 100, 80, DRM_FORMAT_XRGB8888);
    fixture_run(&f, 60);
    assert_string_not_equal(window("a machine .2."), "");
    fake_gpu_off(&f.gpu, 1);
    fixture_run(&f, 60);
    assert_string_equal(window("a machine .2."), "");
}

/* The window follows the guest. */
static void test_guest_changes_its_size(void **state)
{
    uint8_t *rgb;

    (void)state;
    fake_gpu_show(&f.gpu, 0, 500, 400, DRM_FORMAT_XRGB8888);
    fixture_run(&f, 100);
    rgb = x_photograph(window("a machine"), 500, 400);
    assert_non_null(rgb);
    assert_int_equal(at(rgb, 500, 499, 399), fake_gpu_colour(499, 399, 0));
    free(rgb);
    assert_int_equal(f.gpu.outputs[0].wanted, 0);
}

/* The user changes it: the guest is asked, once, and until it follows its picture is in the middle,
 * black beside it. */
static void test_user_changes_the_size(void **state)
{
    uint8_t *rgb;

    (void)state;
    xdotool("windowsize %s 700 400");
    xdotool("windowsize %s 800 240");
    fixture_run(&f, 400);
    assert_int_equal(f.gpu.outputs[0].wanted, 1);
    assert_int_equal(f.gpu.outputs[0].wanted_width, 800);
    assert_int_equal(f.gpu.outputs[0].wanted_height, 240);
    rgb = x_photograph(window("a machine"), 800, 240);
    assert_non_null(rgb);
    assert_int_equal(at(rgb, 800, 239, 120), 0);
    assert_int_equal(at(rgb, 800, 240, 120), fake_gpu_colour(0, 120, 0));
    assert_int_equal(at(rgb, 800, 559, 239), fake_gpu_colour(319, 239, 0));
    assert_int_equal(at(rgb, 800, 560, 120), 0);
    free(rgb);
}

/* Twice the size: each pixel is four, once Ctrl-Alt-S has it so. */
static void test_scaled_to_the_nearest(void **state)
{
    uint8_t *rgb;

    (void)state;
    xdotool("windowsize %s 640 480");
    xdotool("windowfocus %s key ctrl+alt+s");
    fixture_run(&f, 100);
    rgb = x_photograph(window("a machine"), 640, 480);
    assert_non_null(rgb);
    for (unsigned y = 0; y < 480; y++)
        for (unsigned x = 0; x < 640; x++)
            assert_int_equal(at(rgb, 640, x, y), fake_gpu_colour(x / 2, y / 2, 0));
    free(rgb);
}

static void test_gl(void **state)
{
    const struct display_rect rect = {5, 6, 70, 80};

    (void)state;
    assert_non_null(display_gl(f.display));
    test_formats(state);
    fake_gpu_show(&f.gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_RGBX8888);
    fixture_run(&f, 60);
    fake_gpu_paint(&f.gpu, 0, &rect, 1);
    fixture_run(&f, 100);
    assert_shows(&rect);
}

/* A texture of a renderer's own context, with room around what is shown; a row of it by `row`. */
static unsigned make_texture(const struct display_gl *gl, void *context, unsigned (*row)(unsigned))
{
    static uint32_t pixels[(HEIGHT + 20) * (WIDTH + 20)];
    unsigned id;

    memset(pixels, 0xff, sizeof(pixels));
    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
            pixels[row(y) * (WIDTH + 20) + x + 5] = fake_gpu_colour(x, y, 0);
    assert_int_equal(gl->make_current(gl->viewer, context), 0);
    glGenTextures(1, &id);
    glBindTexture(GL_TEXTURE_2D, id);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, WIDTH + 20, HEIGHT + 20, 0, GL_BGRA,
                 GL_UNSIGNED_INT_8_8_8_8_REV, pixels);
    glFinish();
    return id;
}

static unsigned downwards(unsigned y)
{
    return y + 7;
}

static unsigned upwards(unsigned y)
{
    return HEIGHT + 19 - (y + 7);
}

/* What a renderer has drawn is shown where it is, whichever row comes first: nothing is copied. */
static void test_textures_are_not_copied(void **state)
{
    const struct display_gl *gl = display_gl(f.display);
    void *context = gl->create_context(gl->viewer, 3, 1);
    unsigned long long copied = timing("copied");

    (void)state;
    assert_non_null(context);
    for (int up = 0; up < 2; up++) {
        unsigned id = make_texture(gl, context, up ? upwards : downwards);
        const struct display_picture picture = {
            .kind = DISPLAY_TEXTURE,
            .width = WIDTH,
            .height = HEIGHT,
            .x = 5,
            .y = 7,
            .texture = {.id = id, .width = WIDTH + 20, .height = HEIGHT + 20, .bottom_up = up},
        };

        display_show(f.display, 0, &picture);
        fixture_run(&f, 100);
        assert_shows(&nothing);
        display_show(f.display, 0, NULL);
        gl->make_current(gl->viewer, context);
        glDeleteTextures(1, &id);
    }
    assert_int_equal(timing("copied"), copied);
    gl->make_current(gl->viewer, NULL);
    gl->destroy_context(gl->viewer, context);
}

/* --- what is typed and pointed ---------------------------------------------------------------- */

static void test_keys(void **state)
{
    size_t a, up;

    (void)state;
    xdotool("windowfocus %s key a");
    a = fixture_event(&f, 0, EV_KEY, KEY_A, 1);
    assert_int_not_equal(a, 0);
    assert_int_equal(f.events[a].type, EV_SYN);
    up = fixture_event(&f, a, EV_KEY, KEY_A, 0);
    assert_int_not_equal(up, 0);
    xdotool("key shift+F12 Delete KP_Enter");
    assert_int_not_equal(fixture_event(&f, up, EV_KEY, KEY_LEFTSHIFT, 1), 0);
    assert_int_not_equal(fixture_event(&f, up, EV_KEY, KEY_F12, 1), 0);
    assert_int_not_equal(fixture_event(&f, up, EV_KEY, KEY_DELETE, 0), 0);
    assert_int_not_equal(fixture_event(&f, up, EV_KEY, KEY_KPENTER, 0), 0);
}

/* A key that is down when somebody else gets the keyboard would be down for ever. */
static void test_lost_focus_releases_keys(void **state)
{
    (void)state;
    xdotool("windowfocus %s keydown b");
    assert_int_not_equal(fixture_event(&f, 0, EV_KEY, KEY_B, 1), 0);
    assert_int_equal(fixture_event(&f, 0, EV_KEY, KEY_B, 0), 0);
    window_event(SDL_WINDOWEVENT_FOCUS_LOST);
    assert_int_not_equal(fixture_event(&f, 0, EV_KEY, KEY_B, 0), 0);
    xdotool("keyup b");
}

static void test_tablet(void **state)
{
    size_t x;

    (void)state;
    xdotool("mousemove --window %1$s 0 0 mousemove --window %1$s 319 120");
    x = fixture_event(&f, 0, EV_ABS, ABS_X, DISPLAY_ABSOLUTE_MAX);
    assert_int_not_equal(x, 0);
    assert_int_equal(f.events[x].code, ABS_Y);
    assert_int_equal(f.events[x].value, 120 * DISPLAY_ABSOLUTE_MAX / 239);
    xdotool("click 3 click 4 click 5");
    x = fixture_event(&f, x, EV_KEY, BTN_RIGHT, 1);
    assert_int_not_equal(x, 0);
    assert_int_not_equal(fixture_event(&f, x, EV_KEY, BTN_RIGHT, 0), 0);
    assert_int_not_equal(fixture_event(&f, x, EV_REL, REL_WHEEL, 1), 0);
    assert_int_not_equal(fixture_event(&f, x, EV_REL, REL_WHEEL, -1), 0);
}

/* Nothing goes to the guest before a click, which takes the pointer until Ctrl-Alt-G. */
static void test_mouse_is_grabbed(void **state)
{
    (void)state;
    xdotool("mousemove --window %s 100 100 mousemove_relative 5 5");
    assert_int_equal(f.count, 0);
    xdotool("click 1");
    assert_string_not_equal(window("a machine - Ctrl-Alt-G releases the pointer"), "");
    xdotool("mousemove_relative 7 3");
    assert_int_not_equal(fixture_event(&f, 0, EV_REL, REL_X, 7), 0);
    assert_int_not_equal(fixture_event(&f, 0, EV_REL, REL_Y, 3), 0);
    xdotool("click 1");
    assert_int_not_equal(fixture_event(&f, 0, EV_KEY, BTN_LEFT, 1), 0);
    xdotool("key ctrl+alt+g");
    assert_string_not_equal(window("a machine"), "");
    assert_int_equal(fixture_event(&f, 0, EV_KEY, KEY_G, 1), 0);
}

/* A grabbed mouse has no pointer of the host's: the guest's is drawn. */
static void test_grabbed_pointer_is_drawn(void **state)
{
    static const uint32_t pixels[3] = {0xffff0000, 0xff00ff00, 0x80800000};
    const struct display_cursor cursor = {3, 1, 1, 0, pixels};
    uint8_t *rgb;

    (void)state;
    display_set_cursor(f.display, 0, &cursor);
    display_move_cursor(f.display, 0, 50, 60);
    xdotool("mousemove --window %s 100 100 click 1");
    display_move_cursor(f.display, 0, 80, 90);
    fixture_run(&f, 100);
    rgb = x_photograph(window("a machine.*"), WIDTH, HEIGHT);
    assert_non_null(rgb);
    assert_int_equal(at(rgb, WIDTH, 79, 90), 0xff0000);
    assert_int_equal(at(rgb, WIDTH, 80, 90), 0x00ff00);
    assert_in_range(at(rgb, WIDTH, 81, 90) >> 16, 126 + (fake_gpu_colour(81, 90, 0) >> 17 & 0x7f),
                    130 + (fake_gpu_colour(81, 90, 0) >> 17 & 0x7f));
    assert_int_equal(at(rgb, WIDTH, 50, 60), fake_gpu_colour(50, 60, 0));
    free(rgb);
    xdotool("key ctrl+alt+g");
    rgb = x_photograph(window("a machine"), WIDTH, HEIGHT);
    assert_int_equal(at(rgb, WIDTH, 80, 90), fake_gpu_colour(80, 90, 0));
    free(rgb);
    display_set_cursor(f.display, 0, NULL);
}

static void test_pointer_has_the_guests_shape(void **state)
{
    static const uint32_t pixels[16 * 16] = {0xffff0000};
    const struct display_cursor cursor = {16, 16, 3, 4, pixels};

    (void)state;
    xdotool("mousemove --window %s 100 100");
    assert_ptr_equal(SDL_GetCursor(), SDL_GetDefaultCursor());
    display_set_cursor(f.display, 0, &cursor);
    assert_ptr_not_equal(SDL_GetCursor(), SDL_GetDefaultCursor());
    display_set_cursor(f.display, 0, NULL);
    assert_int_equal(SDL_ShowCursor(SDL_QUERY), SDL_DISABLE);
}

static void finger(uint32_t type, int64_t id, float x, float y)
{
    SDL_Event event = {
        .tfinger = {.type = type, .fingerId = id, .x = x, .y = y, .windowID = window_id()}};

    push(&event);
}

static void test_touch(void **state)
{
    size_t second;

    (void)state;
    finger(SDL_FINGERDOWN, 77, 0.5f, 0.25f);
    assert_int_equal(fixture_event(&f, 0, EV_ABS, ABS_MT_SLOT, 0), 1);
    assert_int_equal(f.events[1].code, ABS_MT_TRACKING_ID);
    assert_in_range(f.events[2].value, DISPLAY_ABSOLUTE_MAX / 2 - 200,
                    DISPLAY_ABSOLUTE_MAX / 2 + 200);
    assert_int_not_equal(fixture_event(&f, 0, EV_KEY, BTN_TOUCH, 1), 0);
    second = f.count;
    finger(SDL_FINGERDOWN, 99, 0.75f, 0.75f);
    assert_int_not_equal(fixture_event(&f, second, EV_ABS, ABS_MT_SLOT, 1), 0);
    assert_int_equal(fixture_event(&f, second, EV_KEY, BTN_TOUCH, 1), 0);
    finger(SDL_FINGERUP, 77, 0.5f, 0.25f);
    assert_int_equal(fixture_event(&f, second, EV_KEY, BTN_TOUCH, 0), 0);
    finger(SDL_FINGERUP, 99, 0.5f, 0.25f);
    assert_int_not_equal(fixture_event(&f, second, EV_ABS, ABS_MT_TRACKING_ID, -1), 0);
    assert_int_not_equal(fixture_event(&f, second, EV_KEY, BTN_TOUCH, 0), 0);
}

static void test_closing_asks_the_machine(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 2; i++) {
        window_event(SDL_WINDOWEVENT_CLOSE);
        assert_int_equal(f.closed, i);
    }
}

/* --- what it costs ---------------------------------------------------------------------------- */

static void test_idle_window_costs_nothing(void **state)
{
    double used;

    (void)state;
    fixture_run(&f, 600);
    used = fixture_cpu_seconds();
    fixture_run(&f, 1000);
    used = fixture_cpu_seconds() - used;
    print_message("idle: %.2f%% of a core\n", used * 100);
    assert_true(used < 0.01);
}

/* Mesa and D-Bus leave memory behind, and are gone themselves when leaks are looked for. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_copied_once, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_frames_are_dropped_not_queued, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_window_for_each_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guest_changes_its_size, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_user_changes_the_size, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_scaled_to_the_nearest, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_gl, setup_gl, teardown),
        cmocka_unit_test_setup_teardown(test_textures_are_not_copied, setup_gl, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_lost_focus_releases_keys, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_tablet, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_mouse_is_grabbed, setup_mouse, teardown),
        cmocka_unit_test_setup_teardown(test_grabbed_pointer_is_drawn, setup_mouse, teardown),
        cmocka_unit_test_setup_teardown(test_grabbed_pointer_is_drawn, setup_gl_mouse, teardown),
        cmocka_unit_test_setup_teardown(test_pointer_has_the_guests_shape, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_touch, setup_touch, teardown),
        cmocka_unit_test_setup_teardown(test_closing_asks_the_machine, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_idle_window_costs_nothing, setup_one, teardown),
    };
    int ret;

    setenv("SDL_VIDEODRIVER", "x11", 1);
    if (x_server_start())
        return 1;
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    x_server_stop();
    return ret;
}
