/*
 * virtio-console with one port: configuration, bytes both ways, slow hosts, reset.
 *
 * The host's side is one end of a socket pair, which the device inherits as fd:N.
 */
#include "base/bytes.h"
#include "devices/console/console.h"
#include "tests/driver/backend_rig.h"
#include "tests/driver/rig.h"
#include "virtio/device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* From the kernel's uapi, a second source for the numbers under test. */
#include <linux/virtio_console.h>

#define RX 0
#define TX 1

struct fixture {
    struct backend_rig rig;
    struct console_options options;
    char to[16];
    int host; /* our end */
};

static struct fixture f;

static const unsigned char modern[] = {VIRTIO_F_VERSION_1, VIRTIO_CONSOLE_F_SIZE};

/* A connected socket, the other end of which a device may take as `where`. */
static int host_end(char where[16])
{
    int pair[2], left;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    left = dup(pair[0]); /* as it is inherited: not closed on exec */
    close(pair[0]);
    snprintf(where, 16, "fd:%d", left);
    return pair[1];
}

static void create(void)
{
    f = (struct fixture){0};
    f.host = host_end(f.to);
    f.options.to = f.to;
    assert_int_equal(backend_rig_init(&f.rig, &console_model, &f.options, 2, NULL), 0);
}

static int set_up(void **state)
{
    (void)state;
    create();
    backend_rig_run(&f.rig, modern, sizeof(modern));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_rig_destroy(&f.rig);
    close(f.host);
    return 0;
}

static void host_says(const char *text)
{
    assert_int_equal(send(f.host, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void host_hears(const char *text)
{
    char got[256];
    size_t len = strlen(text), done = 0;

    while (done < len) {
        struct pollfd p = {.fd = f.host, .events = POLLIN};
        ssize_t count;

        assert_int_equal(poll(&p, 1, 10000), 1);
        count = read(f.host, got + done, len - done);
        assert_true(count > 0);
        done += (size_t)count;
    }
    assert_memory_equal(got, text, len);
}

static bool host_hears_nothing(void)
{
    struct pollfd p = {.fd = f.host, .events = POLLIN};

    backend_rig_settle(&f.rig);
    return poll(&p, 1, 0) == 0;
}

static void offer(uint64_t offset, uint32_t length)
{
    backend_rig_add_one(&f.rig, RX, BACKEND_RIG_DATA(RX) + offset, length, true);
    backend_rig_kick(&f.rig, RX);
}

static void guest_says(const char *text)
{
    memcpy(backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX)), text, strlen(text));
    backend_rig_add_one(&f.rig, TX, BACKEND_RIG_DATA(TX), (uint32_t)strlen(text), false);
    backend_rig_kick(&f.rig, TX);
}

static void guest_hears(uint64_t offset, const char *text)
{
    assert_int_equal(backend_rig_collect(&f.rig, RX).length, strlen(text));
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(RX) + offset), text,
                        strlen(text));
}

static uint64_t config(uint32_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    f.rig.backend->ops->config_read(f.rig.backend, offset, bytes, size);
    return load_le64(bytes);
}

/* CON-01, CON-02, CON-03 */
static void features_and_configuration(void **state)
{
    struct virtio_features features;
    struct virtio_console_config layout;

    (void)state;
    assert_int_equal(console_model.id, 3);
    assert_int_equal(console_model.virtqueue_count(&f.options, 1), 2);
    f.rig.backend->ops->features(f.rig.backend, &features);
    assert_int_equal(features.word[0],
                     1 << VIRTIO_CONSOLE_F_SIZE | 1 << VIRTIO_CONSOLE_F_EMERG_WRITE);
    assert_int_equal(sizeof(layout), 12);
    assert_int_equal(config(offsetof(struct virtio_console_config, cols), 2), 0);
    assert_int_equal(config(offsetof(struct virtio_console_config, max_nr_ports), 4), 1);
    assert_int_equal(config(8, 8), 0);    /* CFG-06 */
    assert_int_equal(config(4000, 8), 0); /* CFG-06 */
}

/* CON-12: by command here, by terminal in test_console_multiport.c. */
static void size_by_command(void **state)
{
    struct error err = ERROR_INIT;
    const struct virtio_backend_ops *ops = f.rig.backend->ops;

    (void)state;
    assert_int_equal(ops->command(f.rig.backend, "size", "132x43", &err), 0);
    assert_int_equal(atomic_load(&f.rig.config_changes), 1);
    assert_int_equal(config(0, 2), 132);
    assert_int_equal(config(2, 2), 43);
    assert_int_equal(ops->command(f.rig.backend, "size", "132x43", &err), 0); /* no change */
    assert_int_equal(atomic_load(&f.rig.config_changes), 1);
    for (size_t i = 0; i < 6; i++) {
        static const char *const bad[] = {"80", "80x", "x25", "0x25", "80x25x", "65536x1"};

        assert_int_equal(ops->command(f.rig.backend, "size", bad[i], &err), -EINVAL);
    }
    assert_int_equal(config(0, 2), 132);
}

/* A driver that has started is told of a size that was there before: Linux asks only then. */
static void size_from_before(void **state)
{
    (void)state;
    guest_says("a");
    backend_rig_collect(&f.rig, TX);
    assert_int_equal(f.rig.backend->ops->command(f.rig.backend, "size", "80x25", NULL), 0);
    usleep(150000);
    assert_int_equal(atomic_load(&f.rig.config_changes), 1); /* the change */
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    guest_says("b");
    backend_rig_wait(&f.rig.config_changes, 2);
    guest_says("c");
    usleep(150000);
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, modern, 1); /* without SIZE */
    guest_says("d");
    usleep(150000);
    assert_int_equal(atomic_load(&f.rig.config_changes), 2);
}

/* CON-15, RING-08: everything in order, however it is cut up; used length 0. */
static void output_in_order(void **state)
{
    uint8_t *bytes = backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX));

    (void)state;
    for (int i = 0; i < 1000; i++)
        bytes[i] = (uint8_t)('0' + i % 75);
    bytes[200] = '\0';
    for (int i = 0; i < 10; i++) {
        const struct ring_element parts[] = {
            {BACKEND_RIG_DATA(TX) + (uint64_t)i * 20, 3, false},
            {BACKEND_RIG_DATA(TX) + (uint64_t)i * 20 + 3, 16, false},
            {BACKEND_RIG_DATA(TX) + (uint64_t)i * 20 + 19, 1, false},
        };

        if (i % 2)
            backend_rig_add(&f.rig, TX, parts, 3);
        else
            backend_rig_add_one(&f.rig, TX, parts[0].address, 20, false);
    }
    backend_rig_kick(&f.rig, TX);
    for (int i = 0; i < 10; i++)
        assert_int_equal(backend_rig_collect(&f.rig, TX).length, 0);
    host_hears((char *)bytes);
    assert_true(host_hears_nothing());
}

/* CON-14, CON-15: input waits for buffers, goes no further than they reach, and comes at once. */
static void input_waits_for_buffers(void **state)
{
    (void)state;
    host_says("hello, guest");
    backend_rig_settle(&f.rig);
    offer(0, 5);
    guest_hears(0, "hello");
    backend_rig_assert_none(&f.rig, RX);
    offer(100, 100);
    guest_hears(100, ", guest");
    offer(200, 100);
    backend_rig_assert_none(&f.rig, RX); /* nothing to say: no empty buffers come back */
    host_says("x");
    guest_hears(200, "x");
}

/* A buffer of several parts is one buffer. */
static void input_over_parts(void **state)
{
    const struct ring_element parts[] = {
        {BACKEND_RIG_DATA(RX), 2, true},
        {BACKEND_RIG_DATA(RX) + 10, 3, true},
    };

    (void)state;
    memset(backend_rig_host(&f.rig, BACKEND_RIG_DATA(RX)), '-', 20);
    backend_rig_add(&f.rig, RX, parts, 2);
    backend_rig_kick(&f.rig, RX);
    host_says("abcdefg");
    assert_int_equal(backend_rig_collect(&f.rig, RX).length, 5);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(RX)), "ab--------cde---", 16);
}

/* DRV-CON-01, DRV-RING-13 */
static void drv_con_01(void **state)
{
    const struct ring_element mixed[] = {
        {BACKEND_RIG_DATA(TX), 2, false},
        {BACKEND_RIG_DATA(TX) + 100, 4, true},
    };

    (void)state;
    memcpy(backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX)), "ok", 2);
    backend_rig_add(&f.rig, RX, mixed, 2);
    backend_rig_kick(&f.rig, RX);
    host_says("four");
    assert_int_equal(backend_rig_collect(&f.rig, RX).length, 4);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX)), "ok", 2);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX) + 100), "four", 4);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-01: a receive buffer is readable"));
    backend_rig_add(&f.rig, TX, mixed, 2);
    backend_rig_add_one(&f.rig, TX, BACKEND_RIG_DATA(TX), 4, true);
    backend_rig_kick(&f.rig, TX);
    assert_int_equal(backend_rig_collect(&f.rig, TX).length, 0);
    assert_int_equal(backend_rig_collect(&f.rig, TX).length, 0);
    host_hears("ok");
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-01: a transmit buffer is writable"));
    /* One without any room comes back, and the next one is used. */
    backend_rig_add_one(&f.rig, RX, BACKEND_RIG_DATA(RX), 8, false);
    offer(0, 8);
    host_says("next");
    assert_int_equal(backend_rig_collect(&f.rig, RX).length, 0);
    guest_hears(0, "next");
}

static uint64_t cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* CON-14, CON-15: a host that does not read gets no more than it takes; the rest stays in the ring
 * and costs nothing; all of it comes when the host reads on. */
static void slow_reader(void **state)
{
    uint32_t *words = backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX)), next = 0, word;
    uint64_t busy;
    struct ring_used used;
    int queued = BACKEND_RIG_QUEUE_SIZE, done = 0;

    (void)state;
    for (uint32_t i = 0; i < BACKEND_RIG_DATA_SIZE / 4; i++)
        words[i] = i;
    for (int i = 0; i < queued; i++)
        backend_rig_add_one(&f.rig, TX, BACKEND_RIG_DATA(TX) + (uint64_t)i * 65536, 65536, false);
    backend_rig_kick(&f.rig, TX);
    backend_rig_settle(&f.rig);
    while (ring_collect(&f.rig.rings[TX], &used))
        done++;
    assert_true(done < queued); /* a socket holds some of it */
    busy = cpu_us();
    for (int i = 0; i < 10; i++) {
        usleep(20000);
        backend_rig_kick(&f.rig, TX); /* an impatient driver */
    }
    assert_true(cpu_us() - busy < 100000);
    while (next < BACKEND_RIG_DATA_SIZE / 4) {
        assert_int_equal(recv(f.host, &word, 4, MSG_WAITALL), 4);
        assert_int_equal(word, next++);
    }
    for (; done < queued; done++)
        assert_int_equal(backend_rig_collect(&f.rig, TX).length, 0);
    assert_true(host_hears_nothing());
}

#define TOTAL (8 * MIB) /* bytes each way */
#define SLOT  8192      /* bytes of a buffer's place */

/* Byte `i` of what goes each way. */
static uint8_t output_byte(size_t i)
{
    return (uint8_t)(i * 7 / 3);
}

static uint8_t input_byte(size_t i)
{
    return (uint8_t)(i * 5 / 3);
}

/* From byte `sent` on, as much as there are buffers for: where it ends. */
static size_t guest_sends_on(size_t sent)
{
    while (sent < TOTAL && f.rig.rings[TX].free_count) {
        uint64_t at = BACKEND_RIG_DATA(TX) + (uint64_t)f.rig.rings[TX].free_head * SLOT;
        uint32_t len = (uint32_t)MIN(1 + sent % 5000, TOTAL - sent);
        uint8_t *out = backend_rig_host(&f.rig, at);

        for (uint32_t i = 0; i < len; i++)
            out[i] = output_byte(sent + i);
        backend_rig_add_one(&f.rig, TX, at, len, false);
        sent += len;
        backend_rig_kick(&f.rig, TX);
    }
    return sent;
}

static size_t host_reads_on(size_t got)
{
    uint8_t block[4096];
    ssize_t n;

    while ((n = read(f.host, block, sizeof(block))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (block[i] != output_byte(got + (size_t)i))
                fail_msg("output differs at byte %zu", got + (size_t)i);
        got += (size_t)n;
    }
    return got;
}

static size_t host_sends_on(size_t sent)
{
    uint8_t block[4096];
    ssize_t n = 1;

    for (; sent < TOTAL && n > 0; sent += n > 0 ? (size_t)n : 0) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = input_byte(sent + i);
        n = write(f.host, block, MIN(sizeof(block), TOTAL - sent));
    }
    return sent;
}

static size_t guest_reads_on(size_t got)
{
    struct ring_used used;

    while (f.rig.rings[RX].free_count) {
        uint32_t slot = f.rig.rings[RX].free_head;

        offer(slot * SLOT, 1 + slot * 499);
    }
    while (ring_collect(&f.rig.rings[RX], &used)) {
        const uint8_t *in = backend_rig_host(&f.rig, BACKEND_RIG_DATA(RX) + used.id * SLOT);

        for (uint32_t i = 0; i < used.length; i++)
            if (in[i] != input_byte(got + i))
                fail_msg("input differs at byte %zu", got + i);
        got += used.length;
    }
    return got;
}

/* Both ways at once, each side as fast as it can, with buffers of all lengths: nothing is lost. */
static void much_both_ways(void **state)
{
    const uint64_t begin = loop_now_ns();
    size_t to_host = 0, from_guest = 0, to_guest = 0, from_host = 0;
    struct ring_used used;
    double rate;

    (void)state;
    fcntl(f.host, F_SETFL, O_NONBLOCK);
    while (from_guest < TOTAL || from_host < TOTAL) {
        size_t before = from_guest + from_host;

        to_host = guest_sends_on(to_host);
        while (ring_collect(&f.rig.rings[TX], &used))
            ;
        from_guest = host_reads_on(from_guest);
        to_guest = host_sends_on(to_guest);
        from_host = guest_reads_on(from_host);
        if (from_guest + from_host == before)
            usleep(200);
    }
    rate = (double)TOTAL * 1e3 / (double)(loop_now_ns() - begin);
    print_message("%.0f MB/s each way\n", rate);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(rate >= 10);
#endif
}

/* CON-15, STAT-07: what the guest sent before a reset goes out, input waits for the next driver. */
static void reset_in_between(void **state)
{
    (void)state;
    offer(0, 100);
    backend_rig_settle(&f.rig); /* the device has looked at this buffer */
    guest_says("last words");
    backend_rig_stop(&f.rig);
    host_hears("last words");
    host_says("who is there?");
    backend_rig_run(&f.rig, modern, sizeof(modern));
    offer(0, 100);
    guest_hears(0, "who is there?");
    guest_says("a new driver");
    assert_int_equal(backend_rig_collect(&f.rig, TX).length, 0);
    host_hears("a new driver");
}

/* STAT-14, DRV-RING-13: a queue that stops goes on with the buffers it had, also when one without
 * room is among them. */
static void stop_with_an_empty_buffer(void **state)
{
    struct virtqueue_position at;

    (void)state;
    backend_rig_add_one(&f.rig, RX, BACKEND_RIG_DATA(RX), 5, true);
    backend_rig_add_one(&f.rig, RX, BACKEND_RIG_DATA(RX), 8, false);
    offer(100, 5);
    backend_rig_settle(&f.rig);
    at = f.rig.backend->ops->queue_stop(f.rig.backend, RX);
    assert_int_equal(at.avail, 0);
    assert_int_equal(at.used, 0);
}

/* A stuck host does not hold a reset up for long, and the driver gets all buffers back. */
static void reset_with_a_stuck_host(void **state)
{
    uint64_t begin;

    (void)state;
    backend_rig_add_one(&f.rig, TX, BACKEND_RIG_DATA(TX), BACKEND_RIG_DATA_SIZE, false);
    backend_rig_kick(&f.rig, TX);
    backend_rig_settle(&f.rig);
    begin = loop_now_ns();
    backend_rig_stop(&f.rig);
    assert_true(loop_now_ns() - begin < UINT64_C(3000000000));
    assert_true(backend_rig_logged(&f.rig, "nobody reads: output is lost"));
}

/* The host hangs up: output is dropped, the guest goes on. */
static void host_gone(void **state)
{
    (void)state;
    close(f.host);
    f.host = -1;
    for (int i = 0; i < 3; i++) {
        guest_says("hello?");
        assert_int_equal(backend_rig_collect(&f.rig, TX).length, 0);
    }
}

/* A broken ring is told, whichever way it is found: by a kick, or by input that comes. */
static void broken_rings(void **state)
{
    (void)state;
    for (int by_input = 0; by_input < 2; by_input++) {
        uint16_t q = by_input ? RX : TX;

        ring_set_descriptor(&f.rig.rings[q], 0, UINT64_C(1) << 60, 9, by_input ? RING_WRITE : 0, 0);
        ring_offer(&f.rig.rings[q], 0);
        backend_rig_kick(&f.rig, q);
        if (by_input)
            host_says("x");
        for (int i = 0; i < 5000 && !atomic_load(&f.rig.needs_reset); i++)
            usleep(1000);
        assert_true(atomic_load(&f.rig.needs_reset));
        assert_true(backend_rig_logged(&f.rig, "DRV-RING-09"));
        backend_rig_stop(&f.rig);
        backend_rig_run(&f.rig, modern, sizeof(modern));
    }
    offer(0, 10);
    guest_hears(0, "x");
}

/* CON-04, CON-05, CON-12, DRV-CFG-05 on every transport: from before the first status bit on; and a
 * size change interrupts. */
static void on_transports(void **state)
{
    (void)state;
    for (enum rig_kind kind = 0; kind < RIG_KINDS; kind++) {
        struct virtio_features wanted = {{1 << VIRTIO_CONSOLE_F_SIZE, 1, 0, 0}}, none = {0};
        struct virtio_device device;
        struct rig rig;

        create();
        assert_int_equal(virtio_device_init(&device, console_model.id, "console0", f.rig.backend, 2,
                                            BACKEND_RIG_QUEUE_SIZE, &none, &none, NULL),
                         0);
        assert_int_equal(rig_init(&rig, kind, &device, NULL), 0);
        for (unsigned size = 1; size <= 4; size *= 2)
            rig.driver->ops->config_write(rig.driver, 8, size, 0x00414243);
        host_hears("CCC");
        rig.driver->ops->config_write(rig.driver, 0, 4, 0xffffffff); /* read-only */
        assert_int_equal(rig.driver->ops->config_read(rig.driver, 0, 2), 0);
        assert_true(driver_negotiate(rig.driver, &wanted, NULL));
        driver_ok(rig.driver);
        assert_int_equal(virtio_device_command(&device, "size", "100x30", NULL), 0);
        assert_true(driver_wait(rig.driver, DRIVER_INTERRUPT_CONFIG, 5000));
        assert_int_equal(rig.driver->ops->config_read(rig.driver, 0, 2), 100);
        assert_int_equal(rig.driver->ops->config_read(rig.driver, 2, 2), 30);
        rig.driver->ops->config_write(rig.driver, 8, 4, 'z');
        host_hears("z");
        rig_destroy(&rig);
        backend_rig_disown(&f.rig);
        virtio_device_destroy(&device);
        backend_rig_destroy(&f.rig);
        close(f.host);
    }
}

static void assert_refused(struct console_options options, const char *text)
{
    struct error err = ERROR_INIT;

    assert_true(backend_rig_init(&f.rig, &console_model, &options, 2, &err) < 0);
    assert_string_equal(err.text, text);
}

#define PLACES "(stdio, null, file:PATH, pty, unix:PATH, fd:N)"

static void refusals(void **state)
{
    char *bad_ports[] = {"a", ":null", "a:", "a/b:null", "a:tape"};
    char *twice[] = {"a:null", "b:null", "a:null"}, *many[32], names[32][24], longest[80];

    (void)state;
    assert_refused((struct console_options){0}, "needs to=WHERE, or port=NAME:WHERE");
    assert_refused((struct console_options){.to = "printer"},
                   "to: 'printer' is not a place for characters " PLACES);
    assert_refused((struct console_options){.to = "null", .winsize = "80,25"},
                   "winsize: '80,25' is no size, such as 80x25");
    for (size_t i = 0; i < ARRAY_SIZE(bad_ports); i++) {
        static const char *const texts[] = {
            "port: 'a' is not like NAME:WHERE",
            "port: ':null' is not like NAME:WHERE",
            "port: 'a:' is not like NAME:WHERE",
            "port: 'a/b': a name has at most 64 bytes and no '/'",
            ("port: a: 'tape' is not a place for characters " PLACES),
        };

        assert_refused((struct console_options){.ports = {&bad_ports[i], 1}}, texts[i]);
    }
    memset(longest, 'n', 65);
    strcpy(longest + 65, ":null");
    bad_ports[0] = longest;
    assert_refused((struct console_options){.ports = {bad_ports, 1}},
                   "port: 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn': a "
                   "name has at most 64 bytes and no '/'");
    assert_refused((struct console_options){.ports = {twice, 3}}, "port: 'a' is named twice");
    for (int i = 0; i < 32; i++) {
        snprintf(names[i], sizeof(names[i]), "p%d:null", i);
        many[i] = names[i];
    }
    assert_refused((struct console_options){.ports = {many, 32}}, "port: at most 31");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(features_and_configuration),
        TEST(size_by_command),
        TEST(size_from_before),
        TEST(output_in_order),
        TEST(input_waits_for_buffers),
        TEST(input_over_parts),
        TEST(drv_con_01),
        TEST(slow_reader),
        TEST(much_both_ways),
        TEST(reset_in_between),
        TEST(stop_with_an_empty_buffer),
        TEST(reset_with_a_stuck_host),
        TEST(host_gone),
        TEST(broken_rings),
        cmocka_unit_test(on_transports),
        cmocka_unit_test(refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
