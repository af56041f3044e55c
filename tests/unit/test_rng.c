/*
 * virtio-entropy: sources, rate limit, and drivers that break rules.
 */
#include "base/bytes.h"
#include "devices/rng.h"
#include "tests/driver/backend_rig.h"
#include "virtio/device.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct backend_rig rig;
    struct rng_options options;
    char dir[40], path[60];
};

static struct fixture f;

static int set_up(void **state)
{
    (void)state;
    f = (struct fixture){0};
    strcpy(f.dir, "/tmp/vireo-rng-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.path, sizeof(f.path), "%s/source", f.dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(f.path);
    return rmdir(f.dir);
}

static const unsigned char modern[] = {VIRTIO_F_VERSION_1};

static void start(char *source, uint64_t rate, uint64_t burst)
{
    f.options = (struct rng_options){source, rate, burst};
    assert_int_equal(backend_rig_init(&f.rig, &rng_model, &f.options, 1, NULL), 0);
    backend_rig_run(&f.rig, modern, sizeof(modern));
}

static void source_file(const char *text)
{
    int fd = open(f.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void ask(uint32_t length)
{
    backend_rig_add_one(&f.rig, 0, BACKEND_RIG_DATA(0), length, true);
    backend_rig_kick(&f.rig, 0);
}

static uint32_t get(void)
{
    return backend_rig_collect(&f.rig, 0).length;
}

/* RNG-01 */
static void type_and_features(void **state)
{
    struct virtio_features features;

    (void)state;
    start("getrandom", 0, 0);
    assert_int_equal(rng_model.id, VIRTIO_ID_ENTROPY);
    assert_int_equal(VIRTIO_ID_ENTROPY, 4);
    f.rig.backend->ops->features(f.rig.backend, &features);
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        assert_int_equal(features.word[i], 0);
    backend_rig_destroy(&f.rig);
}

/* RNG-02, RING-08: over any split of the buffer; every byte of it is another one than before. */
static void getrandom_fills(void **state)
{
    const struct ring_element parts[] = {
        {BACKEND_RIG_DATA(0), 1, true},
        {BACKEND_RIG_DATA(0) + 1, 700, true},
        {BACKEND_RIG_DATA(0) + 701, 299, true},
    };
    uint8_t *bytes, seen[1000] = {0};

    (void)state;
    start("getrandom", 0, 0);
    bytes = backend_rig_host(&f.rig, BACKEND_RIG_DATA(0));
    for (int i = 0; i < 8; i++) {
        memset(bytes, 0, 1001);
        backend_rig_add(&f.rig, 0, parts, ARRAY_SIZE(parts));
        backend_rig_kick(&f.rig, 0);
        assert_int_equal(get(), 1000);
        assert_int_equal(bytes[1000], 0);
        for (int n = 0; n < 1000; n++)
            seen[n] |= bytes[n];
    }
    for (int n = 0; n < 1000; n++)
        assert_int_not_equal(seen[n], 0); /* 8 zeroes in a row: once in 2^64 */
    backend_rig_destroy(&f.rig);
}

/* RNG-02: a huge buffer gets a bounded answer. */
static void requests_are_bounded(void **state)
{
    (void)state;
    start("getrandom", 0, 0);
    ask(BACKEND_RIG_DATA_SIZE);
    assert_in_range(get(), 1, 65536);
    backend_rig_destroy(&f.rig);
}

/* The bytes are the file's, each once; at its end requests wait and the log says why. */
static void file_to_its_end(void **state)
{
    (void)state;
    source_file("0123456789");
    start(f.path, 0, 0);
    ask(4);
    assert_int_equal(get(), 4);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), "0123", 4);
    ask(100);
    assert_int_equal(get(), 6);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), "456789", 6);
    ask(1);
    backend_rig_assert_none(&f.rig, 0);
    assert_true(backend_rig_logged(&f.rig, "dev0: its source gives no more: it came to its end"));
    backend_rig_destroy(&f.rig);
}

/* A FIFO nobody writes to, somebody writes to, and somebody else again: nothing blocks. */
static void fifo_may_be_empty(void **state)
{
    int fd;

    (void)state;
    assert_int_equal(mkfifo(f.path, 0600), 0);
    start(f.path, 0, 0);
    ask(100);
    backend_rig_assert_none(&f.rig, 0);
    for (int i = 0; i < 2; i++) {
        fd = open(f.path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(write(fd, i ? "again" : "bytes", 5), 5);
        assert_int_equal(get(), 5);
        assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), i ? "again" : "bytes",
                            5);
        close(fd);
        ask(100);
    }
    backend_rig_stop(&f.rig); /* with a request waiting */
    backend_rig_run(&f.rig, modern, sizeof(modern));
    ask(100);
    fd = open(f.path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "more", 4), 4);
    assert_int_equal(get(), 4);
    close(fd);
    backend_rig_destroy(&f.rig);
}

static void device_file(void **state)
{
    (void)state;
    start("/dev/zero", 0, 0);
    memset(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), 1, 9);
    ask(8);
    assert_int_equal(get(), 8);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), "\0\0\0\0\0\0\0\0\1", 9);
    backend_rig_destroy(&f.rig);
}

/* First what was saved up, then as much a second as allowed. */
static void rate_limit(void **state)
{
    uint64_t begin, total = 0, ms;

    (void)state;
    start("getrandom", 10000, 500);
    begin = loop_now_ns();
    ask(1000);
    assert_in_range(get(), 500, 520);
    while (total < 2000) {
        uint32_t got;

        ask(1000);
        got = get();
        assert_in_range(got, 100, 500); /* not a byte each time */
        total += got;
    }
    ms = (loop_now_ns() - begin) / 1000000;
    assert_true(ms >= 195); /* 2000 bytes at 10000 a second */
    assert_true(ms < 5000);
    backend_rig_destroy(&f.rig);
}

/* Less than a byte comes together between two looks at it. */
static void slow_rate(void **state)
{
    uint64_t begin;

    (void)state;
    start("getrandom", 20, 1);
    begin = loop_now_ns();
    for (int i = 0; i < 6; i++) {
        ask(100);
        assert_int_equal(get(), 1);
    }
    /* One was saved up, and most of the next one may have been. */
    assert_in_range((loop_now_ns() - begin) / 1000000, 200, 5000);
    backend_rig_destroy(&f.rig);
}

/* EVT-04, EVT-06: a driver that kicks only when asked to, and waits for each answer, gets all of
 * them: those that come at once and those that the allowance delays. */
static void kicks_only_when_wanted(void **state)
{
    static const unsigned char event_idx[] = {VIRTIO_F_VERSION_1, VIRTIO_F_EVENT_IDX};
    struct ring *ring = &f.rig.rings[0];

    (void)state;
    start("getrandom", 100 * KIB, 1000);
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, event_idx, sizeof(event_idx));
    for (int i = 0; i < 500; i++) {
        backend_rig_add_one(&f.rig, 0, BACKEND_RIG_DATA(0), 64, true);
        ring_publish(ring);
        if (ring_wants_kick(ring))
            eventfd_write(f.rig.kicks[0], 1);
        assert_in_range(get(), 1, 64);
        assert_false(ring_enable_interrupts(ring));
    }
    backend_rig_destroy(&f.rig);
}

/* DRV-RNG-01, DRV-RING-13: readable parts are left alone, buffers without room given back. */
static void drv_rng_01(void **state)
{
    const struct ring_element mixed[] = {
        {BACKEND_RIG_DATA(0), 8, false},
        {BACKEND_RIG_DATA(0) + 8, 8, true},
    };

    (void)state;
    source_file("abcdefgh");
    start(f.path, 0, 0);
    memset(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), '-', 16);
    backend_rig_add_one(&f.rig, 0, BACKEND_RIG_DATA(0), 8, false);
    backend_rig_kick(&f.rig, 0);
    assert_int_equal(get(), 0);
    backend_rig_add(&f.rig, 0, mixed, 2);
    backend_rig_kick(&f.rig, 0);
    assert_int_equal(get(), 8);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(0)), "--------abcdefgh", 16);
    assert_true(backend_rig_logged(&f.rig, "dev0: DRV-RNG-01: "));
    backend_rig_destroy(&f.rig);
}

static void break_ring(void *arg)
{
    (void)arg;
    ring_set_descriptor(&f.rig.rings[0], 0, UINT64_C(1) << 60, 100, RING_WRITE, 0);
}

/* A queue that breaks while a request waits: found by the timer, and told. */
static void breaks_while_waiting(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(f.path, 0600), 0);
    start(f.path, 0, 0);
    ask(100);
    backend_rig_settle(&f.rig);
    loop_call(f.rig.loop, break_ring, NULL); /* not while it looks */
    for (int i = 0; i < 5000 && !atomic_load(&f.rig.needs_reset); i++)
        usleep(1000);
    assert_true(atomic_load(&f.rig.needs_reset));
    assert_true(backend_rig_logged(&f.rig, "DRV-RING-09"));
    backend_rig_destroy(&f.rig);
}

static void assert_refused(char *source, uint64_t rate, uint64_t burst, const char *text)
{
    struct error err = ERROR_INIT;

    f.options = (struct rng_options){source, rate, burst};
    assert_true(backend_rig_init(&f.rig, &rng_model, &f.options, 1, &err) < 0);
    assert_string_equal(err.text, text);
}

static void refusals(void **state)
{
    (void)state;
    assert_refused("/nonexistent", 0, 0,
                   "source: cannot open /nonexistent: No such file or directory");
    assert_refused("/tmp", 0, 0, "source: /tmp is no file, character device or FIFO");
    assert_refused("getrandom", 0, 100, "burst: needs rate");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(type_and_features),
        TEST(getrandom_fills),
        TEST(requests_are_bounded),
        TEST(file_to_its_end),
        TEST(fifo_may_be_empty),
        TEST(device_file),
        TEST(rate_limit),
        TEST(slow_rate),
        TEST(kicks_only_when_wanted),
        TEST(drv_rng_01),
        TEST(breaks_while_waiting),
        TEST(refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
