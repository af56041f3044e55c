/*
 * The VNC server and whoever means it no good: guests that point to where there is nothing, clients
 * that stop in the middle of a message or never begin.
 */
#include "tests/unit/display_fixture.h"

#include "devices/display/vnc/guard.h"
#include "devices/display/vnc/patience.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <libdrm/drm_fourcc.h>
#include <malloc.h>
#include <netdb.h>
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

/* Ask for the left upper part of this size. */
static void ask(int fd, bool only_new, unsigned width, unsigned height)
{
    uint8_t request[10] = {3, only_new};

    store_be16(request + 6, (uint16_t)width);
    store_be16(request + 8, (uint16_t)height);
    say(fd, request, sizeof(request));
}

/* An update of a picture of this width, as XRGB8888; how many whole rows there were in it. */
static unsigned get_update(int fd, uint32_t *pixels, unsigned picture)
{
    uint8_t head[4], rect[12];
    unsigned rows = 0;

    hear(fd, head, sizeof(head));
    assert_int_equal(head[0], 0);
    for (unsigned i = 0; i < load_be16(head + 2); i++) {
        unsigned x, y, width, height;

        hear(fd, rect, sizeof(rect));
        assert_int_equal(load_le32(rect + 8), 0); /* raw */
        x = load_be16(rect);
        y = load_be16(rect + 2);
        width = load_be16(rect + 4);
        height = load_be16(rect + 6);
        for (unsigned row = y; row < y + height; row++)
            hear(fd, pixels + row * picture + x, width * 4);
        rows += width == picture ? height : 0;
    }
    return rows;
}

/* A whole picture: it comes in bands. */
static void get_picture(int fd, uint32_t *pixels)
{
    ask(fd, false, WIDTH, HEIGHT);
    for (unsigned rows = 0; rows < HEIGHT;)
        rows += get_update(fd, pixels, WIDTH);
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
 * waits, and meanwhile the server does not spin. */
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

/* --- clients that hold up others -------------------------------------------------------------- */

#define LARGE_WIDTH  1920
#define LARGE_HEIGHT 1080

static void show_large(void *arg)
{
    (void)arg;
    fake_gpu_show(&f.gpu, 0, LARGE_WIDTH, LARGE_HEIGHT, DRM_FORMAT_XRGB8888);
}

static void paint(void *arg)
{
    const struct display_rect top = {0, 0, LARGE_WIDTH, 8};

    fake_gpu_paint(&f.gpu, 0, &top, *(uint32_t *)arg);
}

/* Pixels that do not touch each other. */
static void paint_pixels(void *arg)
{
    unsigned *row = arg;

    for (uint32_t i = 0; i < 32; i++)
        fake_gpu_paint(&f.gpu, 0, &(struct display_rect){2 * i, *row, 1, 1}, RED);
    *row += 2;
}

/* What changed is kept for a client that asks for nothing, but not in any number of pieces. */
static void test_idle_client_takes_no_memory(void **state)
{
    static uint32_t pixels[WIDTH * HEIGHT];
    int fd = connect_client();
    size_t before;

    (void)state;
    get_picture(fd, pixels);
    before = mallinfo2().uordblks;
    for (unsigned row = 0; row < 2 * 100;) {
        loop_call(f.loop, paint_pixels, &row);
        usleep(20000);
    }
    print_message("%zu bytes before, %zu after\n", before, mallinfo2().uordblks);
    assert_true(mallinfo2().uordblks < before + 100 * KIB);
    close(fd);
}

/* Connected, and then: one that takes nothing of much, one that takes nothing and asks for answers,
 * one in the middle of a message, one of its greeting. */
static void stall(int fds[4])
{
    uint8_t version[12];

    for (int i = 0; i < 3; i++)
        fds[i] = connect_client();
    for (int i = 0; i < 20; i++)
        ask(fds[0], false, LARGE_WIDTH, LARGE_HEIGHT);
    ask(fds[1], false, LARGE_WIDTH, LARGE_HEIGHT);
    for (int i = 0; i < 20; i++)
        say(fds[1], "\2\0\0\1\xff\xff\xff\x21", 8);
    say(fds[2], "\5\0", 2);
    fds[3] = dial();
    hear(fds[3], version, sizeof(version));
    say(fds[3], "RFB", 3);
}

#define MS UINT64_C(1000000)

/* The longest of some updates that the client gets while the guest draws, in nanoseconds. */
static uint64_t longest_update(int fd, uint32_t *pixels)
{
    uint64_t longest = 0;

    for (uint32_t i = 0; i < 20; i++) {
        uint64_t before = loop_now_ns();

        ask(fd, true, LARGE_WIDTH, LARGE_HEIGHT);
        loop_call(f.loop, paint, &i);
        get_update(fd, pixels, LARGE_WIDTH);
        longest = MAX(longest, loop_now_ns() - before);
    }
    return longest;
}

/* A busy machine gets another chance; clients that were let go for others would be missed. */
static void test_others_do_not_wait(void **state)
{
    static uint32_t pixels[LARGE_WIDTH * LARGE_HEIGHT];
    uint64_t longest = UINT64_MAX;
    int fds[4], fd;

    (void)state;
    loop_call(f.loop, show_large, NULL);
    stall(fds);
    fd = connect_client();
    ask(fd, false, LARGE_WIDTH, LARGE_HEIGHT);
    for (unsigned rows = 0; rows < LARGE_HEIGHT;)
        rows += get_update(fd, pixels, LARGE_WIDTH);
    for (int i = 0; i < 5 && longest > 200 * MS; i++)
        longest = longest_update(fd, pixels);
    print_message("updates took %" PRIu64 " ms at most\n", longest / MS);
    assert_true(longest < 200 * MS);
    for (int i = 0; i < 4; i++) { /* and nobody was let go for it */
        struct pollfd p = {.fd = fds[i], .events = POLLRDHUP};

        assert_int_equal(poll(&p, 1, 0), 0);
        close(fds[i]);
    }
    close(fd);
}

static void get_wanted(void *arg)
{
    *(struct fake_gpu_output *)arg = f.gpu.outputs[0];
}

/* The guest is asked now and then, and of the last one said. */
static void test_sizes_are_asked_for_now_and_then(void **state)
{
    uint8_t message[24] = {251, 0, 0, 0, 0, 0, 1};
    struct fake_gpu_output output = {0};
    int fd = connect_client();

    (void)state;
    for (uint16_t i = 1; i <= 500; i++) {
        store_be16(message + 2, (uint16_t)(600 + i));
        store_be16(message + 4, i);
        say(fd, message, sizeof(message));
    }
    for (int i = 0; i < 5000 && output.wanted_height != 500; i++) {
        usleep(1000);
        loop_call(f.loop, get_wanted, &output);
    }
    assert_int_equal(output.wanted_width, 1100);
    assert_int_equal(output.wanted_height, 500);
    assert_in_range(output.wanted, 1, 25); /* 5 a second */
    close(fd);
}

/* What the library would allocate for, or answer, for good. */
static void test_unwanted_messages_are_dropped(void **state)
{
    static const uint8_t cut_text[8] = {6, [4] = 0x7f, 0xff, 0xff, 0xff}, scale[4] = {8, 2};
    static const uint8_t chat[12] = {11}, encodings[4] = {2, 0, 0xff, 0xff};
    static uint32_t pixels[WIDTH * HEIGHT];
    uint8_t byte;
    int fd = connect_client();

    (void)state;
    say(fd, scale, sizeof(scale));
    get_picture(fd, pixels); /* in its own size */
    say(fd, cut_text, sizeof(cut_text));
    close(fd);
    fd = connect_client();
    say(fd, chat, sizeof(chat));
    assert_int_equal(recv(fd, &byte, 1, 0) > 0, 0);
    close(fd);
    fd = connect_client();
    say(fd, encodings, sizeof(encodings));
    assert_int_equal(recv(fd, &byte, 1, 0) > 0, 0);
    close(fd);
}

/* Whoever connects is greeted at once, and one of the web is not served, however slowly it talks.
 */
static void test_greeting_takes_no_time(void **state)
{
    uint64_t longest = UINT64_MAX;
    uint8_t bytes[12];
    int fd;

    (void)state;
    for (int i = 0; i < 10 && longest > 50 * MS; i++) { /* a busy machine gets another chance */
        uint64_t before = loop_now_ns();

        fd = dial();
        hear(fd, bytes, sizeof(bytes));
        longest = loop_now_ns() - before;
        say(fd, "GET / HTTP/1", 12);
        assert_int_equal(recv(fd, bytes, 1, 0) > 0, 0);
        close(fd);
    }
    assert_true(longest < 50 * MS);
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
    struct vnc_connection stranger = {0}, friend = {0}, full = {0};
    int strangers[2], friends[2], slow[2], fulls[2];
    struct vnc_patience p;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, strangers), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, friends), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, slow), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fulls), 0);
    vnc_patience_open(&p, f.loop);
    p.handshake_ns = p.call_ns = p.stall_ns = 1;
    vnc_patience_add(&p, &stranger, strangers[0]);
    vnc_patience_add(&p, &friend, friends[0]);
    atomic_store(&friend.admitted, true);
    atomic_store(&full.admitted, true);
    vnc_patience_add(&p, &full, fulls[0]);
    assert_true(is_cut(strangers[1], 5000));
    assert_false(is_cut(friends[1], 0));
    assert_false(is_cut(fulls[1], 0));
    say(fulls[0], "news", 4);
    atomic_store(&full.full, true);
    assert_true(is_cut(fulls[1], 5000));
    vnc_patience_begin(&p, slow[0]);
    assert_true(is_cut(slow[1], 5000));
    vnc_patience_end(&p);
    vnc_patience_remove(&p, &stranger);
    vnc_patience_remove(&p, &full);
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
        close(fulls[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pointer_far_away, setup, teardown),
        cmocka_unit_test(test_end_does_not_wait),
        cmocka_unit_test_setup_teardown(test_client_waits_for_a_descriptor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_client_takes_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_do_not_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes_are_asked_for_now_and_then, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwanted_messages_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_greeting_takes_no_time, setup, teardown),
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
