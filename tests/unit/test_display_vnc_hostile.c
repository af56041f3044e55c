/*
 * The VNC server and whoever means it no good: guests that point to where there is nothing, clients
 * that stop in the middle of a message or never begin.
 */
#include "tests/unit/display_fixture.h"

#include "devices/display/vnc/patience.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WIDTH  320
#define HEIGHT 240
#define CURSOR 16
#define RED    0xffff0000

static struct display_fixture f;
static char directory[] = "/tmp/vireo-vnc-XXXXXX";
static char path[64];

static int setup(void **state)
{
    char text[80];

    (void)state;
    fixture_open(&f, 1, DISPLAY_RELATIVE);
    snprintf(text, sizeof(text), "unix:%s", path);
    assert_int_equal(fixture_view(&f, "vnc", text, NULL), 0);
    fake_gpu_show(&f.gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    return loop_start_thread(f.loop, "display", NULL);
}

static int teardown(void **state)
{
    (void)state;
    loop_join_thread(f.loop);
    fixture_close(&f);
    return 0;
}

/* --- a client that knows no encoding but the plain one ---------------------------------------- */

static void say(int fd, const void *bytes, size_t length)
{
    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
}

static void hear(int fd, void *bytes, size_t length)
{
    assert_int_equal(recv(fd, bytes, length, MSG_WAITALL), length);
}

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

/* RFC 6143, 7.1 to 7.3: without a password, sharing. */
static int connect_client(void)
{
    uint8_t bytes[256];
    int fd = dial();

    hear(fd, bytes, 12);
    say(fd, "RFB 003.008\n", 12);
    hear(fd, bytes, 1);
    hear(fd, bytes + 1, bytes[0]);
    say(fd, "\1", 1);
    hear(fd, bytes, 4);
    say(fd, "\1", 1);
    hear(fd, bytes, 24);
    hear(fd, bytes + 24, bytes[23]);
    return fd;
}

/* A whole picture, as XRGB8888. */
static void get_picture(int fd, uint32_t *pixels)
{
    const uint8_t request[] = {3, 0, 0, 0, 0, 0, WIDTH >> 8, WIDTH & 0xff, 0, HEIGHT};
    uint8_t head[4], rect[12];

    say(fd, request, sizeof(request));
    hear(fd, head, sizeof(head));
    assert_int_equal(head[0], 0);
    for (unsigned i = 0; i < head[2] * 256u + head[3]; i++) {
        unsigned x, y, width, height;

        hear(fd, rect, sizeof(rect));
        assert_int_equal(load_le32(rect + 8), 0); /* raw */
        x = rect[0] * 256u + rect[1];
        y = rect[2] * 256u + rect[3];
        width = rect[4] * 256u + rect[5];
        height = rect[6] * 256u + rect[7];
        for (unsigned row = y; row < y + height; row++)
            hear(fd, pixels + row * WIDTH + x, width * 4);
    }
}

/* --- guests ----------------------------------------------------------------------------------- */

struct pointer {
    const struct display_cursor *cursor;
    int32_t x, y;
};

static void point(void *arg)
{
    const struct pointer *to = arg;

    display_set_cursor(f.display, 0, to->cursor);
    display_move_cursor(f.display, 0, to->x, to->y);
}

static bool has_red(const uint32_t *pixels)
{
    for (size_t i = 0; i < WIDTH * HEIGHT; i++)
        if ((pixels[i] & 0xffffff) == (RED & 0xffffff))
            return true;
    return false;
}

/* Whether the client, for whom it is drawn into the picture, comes to see a pointer there. */
static bool is_seen(int fd, struct pointer *to)
{
    static uint32_t pixels[WIDTH * HEIGHT];
    bool seen = false;

    loop_call(f.loop, point, to);
    for (int i = 0; i < 4; i++) {
        usleep(40000);
        get_picture(fd, pixels);
        seen |= has_red(pixels);
    }
    return seen;
}

/* LibVNCServer adds to the place in 32 bits, and then writes there. */
static void test_pointer_far_away(void **state)
{
    static uint32_t red[CURSOR * CURSOR];
    const struct display_cursor cursor = {CURSOR, CURSOR, UINT32_MAX, UINT32_MAX, red};
    const int32_t far[] = {INT32_MAX, INT32_MAX - CURSOR, INT32_MIN, INT32_MIN + CURSOR, 100000};
    int fd = connect_client();

    (void)state;
    for (unsigned i = 0; i < CURSOR * CURSOR; i++)
        red[i] = RED;
    assert_true(is_seen(fd, &(struct pointer){&cursor, 50, 60}));
    for (unsigned i = 0; i < ARRAY_SIZE(far); i++) {
        assert_false(is_seen(fd, &(struct pointer){&cursor, far[i], 60}));
        assert_false(is_seen(fd, &(struct pointer){&cursor, 50, far[i]}));
    }
    assert_true(is_seen(fd, &(struct pointer){&cursor, WIDTH - 1, HEIGHT - 1}));
    loop_call(f.loop, point, &(struct pointer){NULL, 0, 0});
    close(fd);
}

/* --- clients ---------------------------------------------------------------------------------- */

/* The machine ends at once, whoever is waited for. */
static void test_end_does_not_wait(void **state)
{
    uint64_t before;
    int fds[2];

    setup(state);
    fds[0] = connect_client();
    say(fds[0], "\5", 1); /* the first byte of a pointer's six */
    fds[1] = dial();
    usleep(300000);
    before = loop_now_ns();
    teardown(state);
    assert_true(loop_now_ns() - before < UINT64_C(2000000000));
    close(fds[0]);
    close(fds[1]);
}

/* A guest may use up this program's descriptors (by connections through its network): a client then
 * waits, and the display does not do nothing but try. */
static void test_client_waits_for_a_descriptor(void **state)
{
    int lowest = dup(STDIN_FILENO), fd;
    struct rlimit before, none;
    uint8_t greeting[12];
    double used;

    (void)state;
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)lowest + 1; /* that is the client's end */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    fd = dial();
    used = fixture_cpu_seconds();
    usleep(600000);
    used = fixture_cpu_seconds() - used;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(used < 0.1);
    hear(fd, greeting, sizeof(greeting));
    assert_memory_equal(greeting, "RFB ", 4);
    close(fd);
}

static bool is_cut(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, ms) == 1;
}

static void test_patience_has_an_end(void **state)
{
    struct vnc_connection stranger = {0}, friend = {0};
    int strangers[2], friends[2], slow[2];
    struct vnc_patience p;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, strangers), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, friends), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, slow), 0);
    vnc_patience_open(&p, f.loop);
    p.handshake_ns = p.call_ns = 1;
    vnc_patience_add(&p, &stranger, strangers[0]);
    vnc_patience_add(&p, &friend, friends[0]);
    atomic_store(&friend.admitted, true);
    assert_true(is_cut(strangers[1], 5000));
    assert_false(is_cut(friends[1], 0));
    vnc_patience_begin(&p, slow[0]);
    assert_true(is_cut(slow[1], 5000));
    vnc_patience_end(&p);
    vnc_patience_remove(&p, &stranger);
    loop_call(f.loop, (void (*)(void *))vnc_patience_close, &p);
    vnc_patience_begin(&p, friends[0]);
    assert_true(is_cut(friends[1], 0));
    vnc_patience_end(&p);
    vnc_patience_remove(&p, &friend);
    vnc_patience_destroy(&p);
    for (int i = 0; i < 2; i++) {
        close(strangers[i]);
        close(friends[i]);
        close(slow[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pointer_far_away, setup, teardown),
        cmocka_unit_test(test_end_does_not_wait),
        cmocka_unit_test_setup_teardown(test_client_waits_for_a_descriptor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_patience_has_an_end, setup, teardown),
    };
    int ret;

    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof(path), "%s/vnc", directory);
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return ret;
}
