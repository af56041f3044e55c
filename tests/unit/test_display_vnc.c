/*
 * The VNC server, seen by LibVNCClient.
 */
#include "tests/unit/display_fixture.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <linux/input-event-codes.h>
#include <netinet/in.h>
#include <rfb/rfbclient.h>
#include <stdlib.h>
#include <time.h>

#define WIDTH  320
#define HEIGHT 240
#define LONG   5000 /* ms, at most, for what has to happen */

static struct display_fixture f;
static char directory[] = "/tmp/vireo-vnc-XXXXXX";
static char path[64];

/* --- the machine's side: on the display's loop ------------------------------------------------ */

struct step {
    unsigned output, width, height;
    uint32_t fourcc, seed;
    struct display_rect rect;
    enum { SHOW, PAINT, OFF, CURSOR, TIMING } what;
    const struct display_cursor *cursor;
    FILE *out;
};

static void on_loop(void *arg)
{
    const struct step *s = arg;

    switch (s->what) {
    case SHOW:
        fake_gpu_show(&f.gpu, s->output, s->width, s->height, s->fourcc);
        break;
    case PAINT:
        fake_gpu_paint(&f.gpu, s->output, &s->rect, s->seed);
        break;
    case OFF:
        fake_gpu_off(&f.gpu, s->output);
        break;
    case CURSOR:
        display_set_cursor(f.display, s->output, s->cursor);
        break;
    case TIMING:
        display_print_timing(f.display, s->out);
        break;
    }
}

static void show(unsigned output, unsigned width, unsigned height, uint32_t fourcc)
{
    loop_call(
        f.loop, on_loop,
        &(struct step){
            .what = SHOW, .output = output, .width = width, .height = height, .fourcc = fourcc});
}

static void paint(const struct display_rect *rect, uint32_t seed)
{
    loop_call(f.loop, on_loop, &(struct step){.what = PAINT, .rect = *rect, .seed = seed});
}

static int open_with(unsigned outputs, unsigned inputs, const char *options)
{
    char text[160];

    fixture_open(&f, outputs, inputs);
    snprintf(text, sizeof(text), "unix:%s%s", path, options);
    assert_int_equal(fixture_view(&f, "vnc", text, NULL), 0);
    fake_gpu_show(&f.gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    assert_int_equal(loop_start_thread(f.loop, "display", NULL), 0);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return open_with(1, DISPLAY_KEYS | DISPLAY_ABSOLUTE, "");
}

static int setup_mouse(void **state)
{
    (void)state;
    return open_with(2, DISPLAY_KEYS | DISPLAY_RELATIVE, "");
}

static int teardown(void **state)
{
    (void)state;
    loop_join_thread(f.loop);
    fixture_close(&f);
    return access(path, F_OK) ? 0 : -1; /* nothing is left behind */
}

/* --- the client's ----------------------------------------------------------------------------- */

static char *no_password(rfbClient *client)
{
    (void)client;
    return NULL;
}

static rfbClient *connect_to(const char *host, int port, char *(*password)(rfbClient *))
{
    rfbClient *c = rfbGetClient(8, 3, 4);

    free(c->serverHost);
    c->serverHost = strdup(host);
    c->serverPort = port;
    c->canHandleNewFBSize = TRUE;
    c->GetPassword = password;
    c->appData.encodingsString = "zlib hextile raw";
    c->appData.useRemoteCursor = TRUE;
    c->format.redShift = 16;
    c->format.greenShift = 8;
    c->format.blueShift = 0;
    return rfbInitClient(c, NULL, NULL) ? c : NULL;
}

static rfbClient *connect_client(void)
{
    rfbClient *c = connect_to(path, 0, no_password);

    assert_non_null(c);
    return c;
}

static void disconnect(rfbClient *c)
{
    free(c->frameBuffer);
    free(c->rcSource);
    free(c->rcMask);
    rfbClientCleanup(c);
}

static uint32_t pixel(const rfbClient *c, uint32_t x, uint32_t y)
{
    uint32_t value;

    memcpy(&value, c->frameBuffer + 4 * ((size_t)y * (unsigned)c->width + x), 4);
    return value & 0xffffff;
}

/* The client has the picture of this size, of seed 0 but for `rect`, which has seed 1. */
static bool has_picture(const rfbClient *c, unsigned width, unsigned height,
                        const struct display_rect *rect)
{
    if (c->width != (int)width || c->height != (int)height)
        return false;
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++) {
            bool painted = x - rect->x < rect->width && y - rect->y < rect->height;

            if (pixel(c, x, y) != fake_gpu_colour(x, y, painted))
                return false;
        }
    return true;
}

static const struct display_rect nothing;

/* One message, if one comes in a moment. The library does not wait for what it has read already. */
static void handle(rfbClient *c)
{
    if (c->buffered > 0 || WaitForMessage(c, 20000) > 0)
        assert_true(HandleRFBServerMessage(c));
}

static void assert_gets_picture(rfbClient *c, unsigned width, unsigned height,
                                const struct display_rect *rect)
{
    for (int i = 0; i < LONG / 20 && !has_picture(c, width, height, rect); i++)
        handle(c);
    assert_true(has_picture(c, width, height, rect));
}

static void count_events(void *arg)
{
    *(size_t *)arg = f.count;
}

/* Wait for so many events. */
static void assert_events(size_t wanted)
{
    size_t count = 0;

    for (int i = 0; i < LONG && count < wanted; i++) {
        loop_call(f.loop, count_events, &count);
        usleep(1000);
    }
    assert_int_equal(count, wanted);
}

/* Wait until the last event but the SYN_REPORT is this one. */
static void assert_last(uint16_t type, uint16_t code, int32_t value)
{
    size_t count = 0;

    for (int i = 0; i < LONG; i++) {
        loop_call(f.loop, count_events, &count);
        if (count >= 2 && f.events[count - 2].type == type && f.events[count - 2].code == code &&
            f.events[count - 2].value == value)
            return;
        usleep(1000);
    }
    fail_msg("event %u/%u/%d never came, of %zu", type, code, value, count);
}

/* --- what is shown ---------------------------------------------------------------------------- */

static void test_formats(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    assert_string_equal(c->desktopName, "a machine");
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    for (const uint32_t *format = fake_gpu_formats; *format; format++) {
        unsigned more = (unsigned)(format - fake_gpu_formats) * 4;

        show(0, WIDTH + more, HEIGHT + more, *format);
        assert_gets_picture(c, WIDTH + more, HEIGHT + more, &nothing);
    }
    disconnect(c);
}

static void test_damage(void **state)
{
    const struct display_rect rect = {20, 30, 40, 50};
    rfbClient *c = connect_client();

    (void)state;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    paint(&rect, 1);
    assert_gets_picture(c, WIDTH, HEIGHT, &rect);
    disconnect(c);
}

/* What happened while nobody looked is there when somebody does. */
static void test_later_client_sees_all(void **state)
{
    const struct display_rect rect = {200, 100, 17, 19};
    rfbClient *c = connect_client();

    (void)state;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    disconnect(c);
    paint(&rect, 1);
    c = connect_client();
    assert_gets_picture(c, WIDTH, HEIGHT, &rect);
    disconnect(c);
}

static void test_output_that_is_off_is_black(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    loop_call(f.loop, on_loop, &(struct step){.what = OFF});
    for (int i = 0; i < LONG / 20 && c->width != 640; i++)
        handle(c);
    assert_int_equal(c->width, 640);
    assert_int_equal(pixel(c, 100, 100), 0);
    show(0, WIDTH, HEIGHT, DRM_FORMAT_BGRX8888);
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    disconnect(c);
}

static void test_socket_for_each_output(void **state)
{
    char second[80];
    rfbClient *c;

    (void)state;
    show(1, 100, 60, DRM_FORMAT_XRGB8888);
    snprintf(second, sizeof(second), "%s-1", path);
    c = connect_to(second, 0, no_password);
    assert_non_null(c);
    assert_gets_picture(c, 100, 60, &nothing);
    disconnect(c);
}

static unsigned shapes;

static void got_shape(rfbClient *client, int hot_x, int hot_y, int width, int height, int bytes)
{
    uint32_t third = load_le32(client->rcSource + 2 * (size_t)bytes);

    shapes += hot_x == 3 && hot_y == 4 && width == 16 && height == 16 &&
              (third >> client->format.redShift & 0xff) == 0xff &&
              (third >> client->format.greenShift & 0xff) == 0x80;
}

static void test_pointer_has_the_guests_shape(void **state)
{
    static uint32_t pixels[16 * 16] = {0xffff0000, 0xff00ff00, 0x40402000};
    const struct display_cursor cursor = {16, 16, 3, 4, pixels};
    rfbClient *c = connect_client();

    (void)state;
    shapes = 0;
    c->GotCursorShape = got_shape;
    loop_call(f.loop, on_loop, &(struct step){.what = CURSOR, .cursor = &cursor});
    for (int i = 0; i < LONG / 20 && !shapes; i++)
        handle(c);
    assert_int_equal(shapes, 1);
    loop_call(f.loop, on_loop, &(struct step){.what = CURSOR});
    disconnect(c);
}

static void get_wanted(void *arg)
{
    *(struct fake_gpu_output *)arg = f.gpu.outputs[0];
}

static void test_client_resizes(void **state)
{
    rfbClient *c = connect_client();
    struct fake_gpu_output output = {0};

    (void)state;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    assert_true(SendExtDesktopSize(c, 800, 600));
    for (int i = 0; i < LONG / 20 && !output.wanted; i++) {
        handle(c);
        loop_call(f.loop, get_wanted, &output);
    }
    assert_int_equal(output.wanted_width, 800);
    assert_int_equal(output.wanted_height, 600);
    disconnect(c);
}

/* --- what is typed and pointed ---------------------------------------------------------------- */

static void type(rfbClient *c, uint32_t keysym)
{
    SendKeyEvent(c, keysym, TRUE);
    SendKeyEvent(c, keysym, FALSE);
}

static void test_keys(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    type(c, XK_a);
    assert_events(4);
    assert_int_equal(fixture_event(&f, 0, EV_KEY, KEY_A, 1), 1);
    assert_int_equal(fixture_event(&f, 0, EV_KEY, KEY_A, 0), 3);
    type(c, XK_F12);
    assert_last(EV_KEY, KEY_F12, 0);
    SendKeyEvent(c, XK_Shift_L, TRUE);
    SendKeyEvent(c, XK_B, TRUE); /* a shift that is held is not pressed again */
    assert_events(12);
    assert_last(EV_KEY, KEY_B, 1);
    disconnect(c);
}

/* A client that sends characters and no modifiers, as scripts do. */
static void test_character_brings_its_modifiers(void **state)
{
    static const uint16_t codes[] = {KEY_LEFTSHIFT, KEY_2, KEY_LEFTSHIFT, KEY_2};
    rfbClient *c = connect_client();

    (void)state;
    type(c, XK_at);
    assert_events(8);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(f.events[2 * i].code, codes[i]);
        assert_int_equal(f.events[2 * i].value, i < 2);
    }
    disconnect(c);
}

static void test_repeated_press_is_one(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    for (int i = 0; i < 5; i++)
        SendKeyEvent(c, XK_x, TRUE);
    SendKeyEvent(c, XK_x, FALSE);
    SendKeyEvent(c, XK_y, TRUE);
    assert_last(EV_KEY, KEY_Y, 1);
    assert_events(6);
    disconnect(c);
}

static void test_client_that_leaves_releases_all(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    SendKeyEvent(c, XK_Control_R, TRUE);
    assert_last(EV_KEY, KEY_RIGHTCTRL, 1);
    SendPointerEvent(c, 1, 1, rfbButton1Mask);
    assert_last(EV_KEY, BTN_LEFT, 1);
    disconnect(c);
    assert_last(EV_KEY, BTN_LEFT, 0);
    assert_int_not_equal(fixture_event(&f, 0, EV_KEY, KEY_RIGHTCTRL, 0), 0);
}

static void test_tablet(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    SendPointerEvent(c, WIDTH - 1, 0, 0);
    assert_events(3);
    assert_int_equal(fixture_event(&f, 0, EV_ABS, ABS_X, DISPLAY_ABSOLUTE_MAX), 1);
    assert_int_equal(fixture_event(&f, 0, EV_ABS, ABS_Y, 0), 2);
    SendPointerEvent(c, WIDTH - 1, 0, rfbButton3Mask);
    assert_last(EV_KEY, BTN_RIGHT, 1);
    SendPointerEvent(c, WIDTH - 1, 0, rfbButton4Mask);
    assert_last(EV_REL, REL_WHEEL, 1);
    SendPointerEvent(c, WIDTH - 1, 0, 0);
    SendPointerEvent(c, WIDTH - 1, 0, rfbButton5Mask);
    assert_last(EV_REL, REL_WHEEL, -1);
    disconnect(c);
}

static void test_mouse(void **state)
{
    rfbClient *c = connect_client();

    (void)state;
    SendPointerEvent(c, 100, 100, 0);
    SendPointerEvent(c, 107, 95, 0);
    assert_events(3);
    assert_int_equal(fixture_event(&f, 0, EV_REL, REL_X, 7), 1);
    assert_int_equal(fixture_event(&f, 0, EV_REL, REL_Y, -5), 2);
    disconnect(c);
}

static int keyboard_lights;

static void got_lights(rfbClient *client, int value, int pad)
{
    (void)client;
    (void)pad;
    keyboard_lights = value;
}

static void set_lights(void *arg)
{
    display_set_lights(f.display, *(uint32_t *)arg);
}

/* The guest's lights come to clients that want to know, though nothing is drawn. */
static void test_lights_come_back(void **state)
{
    static const uint32_t lights[] = {1 << LED_CAPSL, 1 << LED_NUML | 1 << LED_SCROLLL, 0};
    static const int wanted[] = {rfbKeyboardMaskCapsLock,
                                 rfbKeyboardMaskNumLock | rfbKeyboardMaskScrollLock, 0};
    rfbClient *c = connect_client();

    (void)state;
    c->HandleKeyboardLedState = got_lights;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    for (unsigned i = 0; i < ARRAY_SIZE(lights); i++) {
        uint32_t now = lights[i];

        loop_call(f.loop, set_lights, &now);
        for (int n = 0; n < LONG / 20 && keyboard_lights != wanted[i]; n++)
            handle(c);
        assert_int_equal(keyboard_lights, wanted[i]);
    }
    disconnect(c);
}

/* --- who may connect -------------------------------------------------------------------------- */

static char *right_password(rfbClient *client)
{
    (void)client;
    return strdup("secret");
}

static char *wrong_password(rfbClient *client)
{
    (void)client;
    return strdup("guess");
}

static void write_password(const char *to, const char *text)
{
    FILE *out = fopen(to, "we");

    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

/* After five that are wrong nobody may try for a while. */
static void test_password(void **state)
{
    char file[80], options[128];
    rfbClient *c;

    (void)state;
    snprintf(file, sizeof(file), "%s/password", directory);
    write_password(file, "secret\nof no importance\n");
    snprintf(options, sizeof(options), ",password-file=%s", file);
    open_with(1, 0, options);
    c = connect_to(path, 0, right_password);
    assert_non_null(c);
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    disconnect(c);
    for (int i = 0; i < 5; i++)
        assert_null(connect_to(path, 0, wrong_password));
    assert_null(connect_to(path, 0, right_password));
    teardown(NULL);
    unlink(file);
}

static void test_passwords_that_are_none(void **state)
{
    static const char *const bad[] = {"", "\n", "longer than eight\n"};
    struct error err = ERROR_INIT;
    char file[80], text[200];

    (void)state;
    snprintf(file, sizeof(file), "%s/password", directory);
    snprintf(text, sizeof(text), "unix:%s,password-file=%s", path, file);
    fixture_open(&f, 1, 0);
    assert_int_equal(fixture_view(&f, "vnc", text, &err), -ENOENT);
    for (unsigned i = 0; i < 3; i++) {
        write_password(file, bad[i]);
        assert_int_equal(fixture_view(&f, "vnc", text, &err), -EINVAL);
    }
    assert_non_null(strstr(err.text, "is no password of 1 to 8 characters"));
    fixture_close(&f);
    unlink(file);
}

static void test_clients_are_bounded(void **state)
{
    rfbClient *a, *b;

    (void)state;
    open_with(1, 0, ",clients=2,shared=always");
    a = connect_client();
    b = connect_client();
    assert_null(connect_to(path, 0, no_password));
    disconnect(a);
    disconnect(b);
    for (int i = 0; i < 100 && !(a = connect_to(path, 0, no_password)); i++)
        usleep(10000);
    assert_non_null(a);
    disconnect(a);
    teardown(NULL);
}

static void test_bad_places_are_refused(void **state)
{
    static const char *const bad[] = {
        "5", ":x", ":70000", "unix:", "no.such.host.invalid:1", ":1,layout=nowhere"};
    struct error err = ERROR_INIT;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        fixture_open(&f, 1, 0);
        assert_true(fixture_view(&f, "vnc", bad[i], &err) < 0);
        assert_string_not_equal(err.text, "");
        fixture_close(&f);
    }
}

/* What --dry-run sees: all that is wrong, and nothing is made for what is not. */
static void test_check_leaves_no_trace(void **state)
{
    static const char *const where[] = {"unix:%s/none/vnc", "unix:%s/%0120d", "unix:%s/vnc"};
    static const int wanted[] = {-ENOENT, -ENAMETOOLONG, 0};
    struct display_viewer_setup *setup;
    const struct display_viewer_kind *const *kind = display_viewer_kinds;

    (void)state;
    build_directory();
    while (strcmp((*kind)->name, "vnc"))
        kind++;
    for (unsigned i = 0; i < ARRAY_SIZE(where); i++) {
        struct option_list list = {0};
        char text[256];

        snprintf(text, sizeof(text), where[i], directory, 0);
        assert_int_equal(option_list_parse(&list, "--display", text, "where", NULL), 0);
        assert_int_equal(display_viewer_take(*kind, &list, &setup, NULL), 0);
        assert_int_equal(display_viewer_load(setup, NULL), wanted[i]);
        display_viewer_release(setup);
        option_list_free(&list);
    }
    assert_int_equal(access(path, F_OK), -1);
}

/* A socket that is bound to localhost, and its port. */
static int bound_socket(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    for (*port = 5900 + 100 + getpid() % 1000; *port < 20000; ++*port) {
        address.sin_port = htons((uint16_t)*port);
        if (!bind(fd, (struct sockaddr *)&address, sizeof(address)))
            break;
    }
    return fd;
}

/* On localhost's addresses alone; a port that is taken is told of. */
static void test_tcp(void **state)
{
    struct error err = ERROR_INIT;
    int port, taken = bound_socket(&port);
    char text[16];
    rfbClient *c;

    (void)state;
    fixture_open(&f, 1, 0);
    snprintf(text, sizeof(text), ":%d", port - 5900);
    assert_int_equal(fixture_view(&f, "vnc", text, &err), -EADDRINUSE);
    close(taken);
    assert_int_equal(fixture_view(&f, "vnc", text, &err), 0);
    assert_int_equal(fixture_view(&f, "vnc", text, &err), -EBUSY); /* it is one for all outputs */
    fake_gpu_show(&f.gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    assert_int_equal(loop_start_thread(f.loop, "display", NULL), 0);
    c = connect_to("127.0.0.1", port, no_password);
    assert_non_null(c);
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    disconnect(c);
    loop_join_thread(f.loop);
    fixture_close(&f);
}

/* --- what it costs ---------------------------------------------------------------------------- */

/* A client that takes nothing, and one that says half a message, hold nobody up but VNC. */
static void test_machine_does_not_wait_for_clients(void **state)
{
    const struct display_rect part = {0, 0, 64, 64};
    rfbClient *c = connect_client();
    uint64_t before;

    (void)state;
    assert_true(WriteToRFBServer(c, "\005", 1)); /* the first byte of a pointer's six */
    show(0, 1920, 1080, DRM_FORMAT_XRGB8888);
    usleep(50000);
    before = loop_now_ns();
    for (uint32_t i = 0; i < 100; i++)
        paint(&part, i);
    assert_true(loop_now_ns() - before < UINT64_C(2000000000));
    disconnect(c);
}

static void test_idle_client_costs_nothing(void **state)
{
    rfbClient *c = connect_client();
    double before;

    (void)state;
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    usleep(100000);
    before = fixture_cpu_seconds();
    sleep(1);
    assert_true(fixture_cpu_seconds() - before < 0.01);
    disconnect(c);
}

static unsigned long long timing(const char *format)
{
    unsigned long long value = 0;
    char *text = NULL, *found;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    loop_call(f.loop, on_loop, &(struct step){.what = TIMING, .out = out});
    fclose(out);
    found = strstr(text, format);
    assert_non_null(found);
    while (found > text && found[-1] != ';' && found[-1] != ',' && found[-1] != ':')
        found--;
    sscanf(found, "%llu", &value);
    free(text);
    return value;
}

static void test_nobody_looks_nothing_is_copied(void **state)
{
    const struct display_rect all = {0, 0, WIDTH, HEIGHT};
    const struct display_rect rect = {0, 0, 50, 50};
    unsigned long long copied;
    rfbClient *c;

    (void)state;
    for (int i = 0; i < 50; i++)
        paint(&all, 0);
    usleep(50000);
    assert_int_equal(timing(" copied"), 0);
    c = connect_client();
    assert_gets_picture(c, WIDTH, HEIGHT, &nothing);
    usleep(50000);
    copied = timing(" copied");
    paint(&rect, 1);
    assert_gets_picture(c, WIDTH, HEIGHT, &rect);
    assert_int_equal(timing(" copied") - copied, 50 * 50 * 4);
    disconnect(c);
}

static void quiet(const char *format, ...)
{
    (void)format;
}

#define WITH(fn, start) cmocka_unit_test_setup_teardown(fn, start, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_formats, setup),
        WITH(test_damage, setup),
        WITH(test_later_client_sees_all, setup),
        WITH(test_output_that_is_off_is_black, setup),
        WITH(test_socket_for_each_output, setup_mouse),
        WITH(test_pointer_has_the_guests_shape, setup),
        WITH(test_client_resizes, setup),
        WITH(test_keys, setup),
        WITH(test_character_brings_its_modifiers, setup),
        WITH(test_repeated_press_is_one, setup),
        WITH(test_client_that_leaves_releases_all, setup),
        WITH(test_tablet, setup),
        WITH(test_mouse, setup_mouse),
        WITH(test_lights_come_back, setup),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_passwords_that_are_none),
        cmocka_unit_test(test_clients_are_bounded),
        cmocka_unit_test(test_bad_places_are_refused),
        cmocka_unit_test(test_check_leaves_no_trace),
        cmocka_unit_test(test_tcp),
        WITH(test_machine_does_not_wait_for_clients, setup),
        WITH(test_idle_client_costs_nothing, setup),
        WITH(test_nobody_looks_nothing_is_copied, setup),
    };
    int ret;

    rfbClientLog = rfbClientErr = quiet;
    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof(path), "%s/vnc", directory);
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return ret;
}
