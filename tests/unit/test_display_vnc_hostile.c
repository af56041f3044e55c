/*
 * The VNC server and whoever means it no good: guests that point to where there is nothing, clients
 * that stop in the middle of a message or never begin.
 */
#include "tests/unit/display_fixture.h"

#include "devices/display/vnc/guard.h"
#include "devices/display/vnc/patience.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
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

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The machine ends at once, whoever is waited for. */
static void test_end_does_not_wait(void **state)
{
    double before;
    int fds[2];

    setup(state);
    fds[0] = connect_client();
    say(fds[0], "\5", 1); /* the first byte of a pointer's six */
    fds[1] = dial();
    usleep(300000);
    before = seconds();
    teardown(state);
    assert_true(seconds() - before < 2);
    close(fds[0]);
    close(fds[1]);
}

/* --- passwords -------------------------------------------------------------------------------- */

static struct vnc_origin origin(const char *host)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found;
    struct vnc_origin out;

    assert_int_equal(getaddrinfo(host, NULL, &hints, &found), 0);
    out = vnc_origin_of(found->ai_addr);
    freeaddrinfo(found);
    return out;
}

static void test_guard_is_of_each_source(void **state)
{
    const struct vnc_origin bad = origin("10.0.0.1"), good = origin("10.0.0.2");
    const struct vnc_origin host = origin("2001:db8::1"), same = origin("2001:db8::2");
    struct vnc_guard guard = {0};
    char text[32];

    (void)state;
    for (unsigned i = 0; i < VNC_GUARD_FAILURES; i++) {
        assert_true(vnc_guard_admits(&guard, bad, 1));
        vnc_guard_wrong(&guard, bad, 1);
        vnc_guard_wrong(&guard, good, 1);
        vnc_guard_right(&guard, good); /* not in a row */
        vnc_guard_wrong(&guard, host, 1);
    }
    assert_false(vnc_guard_admits(&guard, bad, VNC_GUARD_REFUSE));
    assert_false(vnc_guard_admits(&guard, same, VNC_GUARD_REFUSE));
    assert_true(vnc_guard_admits(&guard, good, 1));
    assert_true(vnc_guard_admits(&guard, bad, VNC_GUARD_REFUSE + 1));
    for (unsigned i = 0; i < VNC_GUARD_SOURCES; i++) { /* others drive it out, the oldest first */
        assert_int_equal(vnc_guard_admits(&guard, bad, 2), i >= VNC_GUARD_SOURCES - 2);
        snprintf(text, sizeof(text), "10.1.0.%u", i);
        vnc_guard_wrong(&guard, origin(text), 2);
    }
}

/* A client on TCP at `port`, from this address of the loopback's. */
static int dial_from(const char *host, int port)
{
    struct sockaddr_in from = {.sin_family = AF_INET},
                       to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, host, &from.sin_addr);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* Whether it may say a password, which is wrong. */
static bool may_guess(const char *host, int port)
{
    uint8_t bytes[16];
    int fd = dial_from(host, port);
    bool may = recv(fd, bytes, 12, MSG_WAITALL) == 12;

    if (may) {
        say(fd, "RFB 003.008\n", 12);
        hear(fd, bytes, 2);
        say(fd, "\2", 1);
        hear(fd, bytes, 16);
        say(fd, bytes, 16);
        hear(fd, bytes, 4);
        assert_int_equal(bytes[3], 1);
    }
    close(fd);
    return may;
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void test_guesser_locks_out_nobody_else(void **state)
{
    int port = free_port();
    char file[80], text[160];
    FILE *out;

    (void)state;
    snprintf(file, sizeof(file), "%s/password", directory);
    out = fopen(file, "we");
    assert_non_null(out);
    fputs("secret\n", out);
    fclose(out);
    fixture_open(&f, 1, 0);
    snprintf(text, sizeof(text), "127.0.0.1:%d,password-file=%s", port - 5900, file);
    assert_int_equal(fixture_view(&f, "vnc", text, NULL), 0);
    unlink(file);
    assert_int_equal(loop_start_thread(f.loop, "display", NULL), 0);
    for (unsigned i = 0; i < VNC_GUARD_FAILURES; i++)
        assert_true(may_guess("127.0.0.2", port));
    assert_false(may_guess("127.0.0.2", port));
    assert_true(may_guess("127.0.0.1", port));
    teardown(NULL);
}

/* --- the end of patience ---------------------------------------------------------------------- */

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
        cmocka_unit_test(test_guard_is_of_each_source),
        cmocka_unit_test(test_guesser_locks_out_nobody_else),
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
