/*
 * The 16550A as a guest's driver sees it, with a Unix socket as the host's end.
 *
 * The sequences of Linux's drivers/tty/serial/8250/8250_port.c are played where it depends on
 * details.
 */
#include "base/bytes.h"
#include "devices/serial.h"
#include "tests/driver/fake_platform.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 0x3f8
#define GSI  4

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define THR RBR
#define FCR IIR

struct fixture {
    struct fake_platform fake;
    struct loop *loop;
    struct chardev *chardev;
    struct serial *serial;
    char path[64], where[80];
    int peer;
    char observed[64];
    size_t observed_len;
};

static uint8_t in(struct fixture *f, unsigned reg)
{
    return (uint8_t)fake_read(&f->fake, ADDRESS_PIO, PORT + reg, 1);
}

static void out(struct fixture *f, unsigned reg, uint8_t value)
{
    fake_write(&f->fake, ADDRESS_PIO, PORT + reg, 1, value);
}

static void out_text(struct fixture *f, const char *text)
{
    for (; *text; text++)
        out(f, THR, (uint8_t)*text);
}

static uint64_t edges(struct fixture *f)
{
    return fake_take_edges(&f->fake, GSI);
}

static int peer_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static bool readable(int fd, int ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, ms) == 1;
}

static void assert_peer_gets(struct fixture *f, const char *text)
{
    char got[256];
    size_t len = 0, wanted = strlen(text);

    while (len < wanted) {
        ssize_t count;
        assert_true(readable(f->peer, 5000));
        count = read(f->peer, got + len, wanted - len);
        assert_true(count > 0);
        len += (size_t)count;
    }
    assert_memory_equal(got, text, wanted);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    fake_platform_init(&f->fake);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    snprintf(f->path, sizeof(f->path), "/tmp/vireo-serial-%d", getpid());
    snprintf(f->where, sizeof(f->where), "unix:%s", f->path);
    assert_int_equal(chardev_open(f->where, f->loop, &f->chardev, NULL), 0);
    assert_int_equal(
        serial_create(&f->fake.platform, f->loop, PORT, GSI, f->chardev, &f->serial, NULL), 0);
    assert_int_equal(chardev_start(f->chardev, NULL), 0);
    assert_int_equal(loop_start_thread(f->loop, "serial", NULL), 0);
    f->peer = peer_connect(f->path);
    /* Until it is accepted output is dropped. */
    out(f, MCR, 0x02);
    assert_int_equal(send(f->peer, "!", 1, 0), 1);
    for (int i = 0; i < 5000 && !(in(f, LSR) & 1); i++)
        usleep(1000);
    assert_int_equal(in(f, RBR), '!');
    out(f, MCR, 0);
    edges(f);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    serial_destroy(f->serial);
    chardev_close(f->chardev);
    loop_join_thread(f->loop);
    loop_destroy(f->loop);
    if (f->peer >= 0)
        close(f->peer);
    fake_platform_destroy(&f->fake);
    free(f);
    return 0;
}

/* autoconfig() and autoconfig_16550a(): must end as PORT_16550A. */
static void test_autoconfig(void **state)
{
    struct fixture *f = *state;

    out(f, IER, 0);
    assert_int_equal(in(f, IER) & 0x0f, 0);
    out(f, IER, 0x0f);
    assert_int_equal(in(f, IER) & 0x0f, 0x0f);
    out(f, IER, 0);
    out(f, MCR, 0x10 | 0x0a);
    assert_int_equal(in(f, MSR) & 0xf0, 0x90);
    out(f, MCR, 0);
    assert_int_equal(in(f, MSR) & 0xf0, 0xb0);
    out(f, LCR, 0xbf);
    out(f, FCR, 0);
    out(f, LCR, 0);
    out(f, FCR, 0x01);
    assert_int_equal(in(f, IIR) >> 6, 3);
    out(f, FCR, 0x01 | 0x20);
    assert_int_equal(in(f, IIR) >> 5, 6); /* not a 16750 */
    out(f, LCR, 0xe0);
    assert_int_equal(in(f, IIR) & 0xc0, 0xc0);
    out(f, LCR, 0);
    out(f, IER, 0x40);
    assert_int_equal(in(f, IER), 0); /* not an XScale */
    out(f, SCR, 0x5a);
    assert_int_equal(in(f, SCR), 0x5a);
    out(f, FCR, 0);
    assert_int_equal(in(f, IIR), 0x01);
}

static void test_divisor(void **state)
{
    struct fixture *f = *state;

    out(f, LCR, 0x83);
    assert_int_equal(in(f, 0), 12);
    out(f, 0, 1);
    out(f, 1, 2);
    assert_int_equal(in(f, 0), 1);
    assert_int_equal(in(f, 1), 2);
    out(f, LCR, 0x03);
    assert_int_equal(in(f, IER), 0);
    assert_int_equal(in(f, LCR), 0x03);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, PORT + LCR, 2), 0x0003);
}

/* serial8250_do_startup(): the interrupt is there each time it is enabled, and is gone once read.
 */
static void test_thre_enable(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        out(f, IER, 0x02);
        assert_int_equal(edges(f), 1);
        assert_int_equal(in(f, IIR), 0x02);
        assert_int_equal(in(f, IIR), 0x01);
        out(f, IER, 0x02); /* no new edge without a change */
        assert_int_equal(in(f, IIR), 0x01);
        out(f, IER, 0);
    }
    out(f, IER, 0x02);
    out(f, IER, 0);
    assert_int_equal(in(f, IIR), 0x01);
    assert_int_equal(edges(f), 1);
}

/* A driver's handler: identify, fill the FIFO, identify again. */
static void test_thre_while_sending(void **state)
{
    struct fixture *f = *state;

    out(f, FCR, 0x81);
    out(f, IER, 0x02);
    assert_int_equal(in(f, IIR), 0xc2);
    edges(f);
    out_text(f, "sixteen letters ");
    assert_int_equal(edges(f), 1); /* one for them all */
    assert_int_equal(in(f, LSR), 0x60);
    assert_int_equal(in(f, IIR), 0xc2);
    out(f, THR, 'a');
    out(f, IER, 0); /* nothing more to send */
    assert_int_equal(in(f, IIR), 0xc1);
    assert_peer_gets(f, "sixteen letters a");
}

static void test_output_flushed(void **state)
{
    struct fixture *f = *state;
    uint64_t start;

    out_text(f, "line\r\n");
    assert_true(readable(f->peer, 0)); /* at once */
    assert_peer_gets(f, "line\r\n");
    start = loop_now_ns();
    out_text(f, "login: ");
    assert_peer_gets(f, "login: "); /* soon */
    assert_true(loop_now_ns() - start < UINT64_C(2000000000));
    usleep(5000); /* the timer is off again */
    out_text(f, "x");
    assert_peer_gets(f, "x");
}

static void test_reset_keeps_output(void **state)
{
    struct fixture *f = *state;

    out_text(f, "last words");
    out(f, IER, 0x02);
    out(f, SCR, 7);
    serial_reset(f->serial);
    assert_int_equal(in(f, IER), 0);
    assert_int_equal(in(f, SCR), 0);
    assert_int_equal(in(f, IIR), 1);
    serial_flush(f->serial);
    assert_peer_gets(f, "last words");
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

static void assert_peer_gets_pattern(struct fixture *f, size_t len)
{
    size_t got = 0;

    while (got < len) {
        uint8_t data[4096];
        ssize_t count;
        assert_true(readable(f->peer, 5000));
        count = read(f->peer, data, sizeof(data));
        assert_true(count > 0);
        for (ssize_t i = 0; i < count; i++)
            assert_int_equal(data[i], pattern(got++));
    }
}

static void wait_for_thre(struct fixture *f)
{
    for (int i = 0; i < 5000 && !(in(f, LSR) & 0x20); i++)
        usleep(1000);
}

/* Nobody reads: THRE goes away, comes back with an interrupt, and nothing is lost. */
static void test_output_back_pressure(void **state)
{
    struct fixture *f = *state;
    size_t sent = 0;

    out(f, FCR, 0x01);
    out(f, IER, 0x02);
    while (in(f, LSR) & 0x20) {
        for (int i = 0; i < 16; i++)
            out(f, THR, pattern(sent++));
        assert_true(sent < 64 * MIB);
    }
    assert_int_equal(in(f, LSR) & 0x60, 0);
    assert_int_equal(in(f, IIR), 0xc1);
    edges(f);
    assert_peer_gets_pattern(f, sent);
    wait_for_thre(f);
    assert_int_equal(edges(f), 1);
    assert_int_equal(in(f, IIR), 0xc2);
    assert_int_equal(in(f, LSR), 0x60);
}

/* A machine reset in between: what was sent still has to go out, and the next driver's interrupt
 * comes when it has. */
static void test_reset_while_full(void **state)
{
    struct fixture *f = *state;
    size_t sent = 0;

    out(f, FCR, 0x01);
    while (in(f, LSR) & 0x20) {
        out(f, THR, pattern(sent++));
        assert_true(sent < 64 * MIB);
    }
    serial_reset(f->serial);
    edges(f);
    assert_int_equal(in(f, LSR) & 0x60, 0);
    out(f, IER, 0x02);
    assert_int_equal(edges(f), 0);
    assert_int_equal(in(f, IIR), 0x01);
    assert_peer_gets_pattern(f, sent);
    wait_for_thre(f);
    assert_int_equal(edges(f), 1);
    assert_int_equal(in(f, IIR), 0x02);
    assert_int_equal(in(f, LSR), 0x60);
}

/* A guest that sends in spite of it only harms itself. */
static void test_output_overrun(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < 2 * MIB; i++)
        out(f, THR, 'x');
    assert_int_equal(in(f, LSR) & 0x20, 0);
    close(f->peer); /* dropped from now on: the transmitter is free again */
    f->peer = -1;
    for (int i = 0; i < 5000 && !(in(f, LSR) & 0x20); i++)
        usleep(1000);
    assert_int_equal(in(f, LSR) & 0x60, 0x60);
}

static void wait_for_data(struct fixture *f)
{
    for (int i = 0; i < 5000 && !(in(f, LSR) & 1); i++)
        usleep(1000);
    assert_true(in(f, LSR) & 1);
}

/* Nothing is given to a driver that is not ready: its start-up would throw it away. */
static void test_input_waits_for_rts(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f->peer, "early", 5, 0), 5);
    usleep(20000);
    assert_int_equal(in(f, LSR) & 1, 0);
    out(f, FCR, 0x07);
    assert_int_equal(in(f, RBR), 0);
    out(f, IER, 0x05);
    out(f, FCR, 0x01);
    out(f, FCR, 0x81);
    out(f, MCR, 0x0b);
    wait_for_data(f);
    assert_int_equal(edges(f), 1);
    for (const char *c = "early"; *c; c++) {
        assert_int_equal(in(f, IIR), 0xcc); /* below the trigger level of 8: a time-out */
        assert_int_equal(in(f, LSR), 0x61);
        assert_int_equal(in(f, RBR), *c);
    }
    assert_int_equal(in(f, IIR), 0xc1);
    assert_int_equal(in(f, LSR), 0x60);
}

static void test_input_trigger(void **state)
{
    struct fixture *f = *state;

    out(f, FCR, 0x41); /* 4 */
    out(f, IER, 0x01);
    out(f, MCR, 0x02);
    assert_int_equal(send(f->peer, "1234", 4, 0), 4);
    wait_for_data(f);
    assert_int_equal(in(f, IIR), 0xc4);
    assert_int_equal(in(f, RBR), '1');
    assert_int_equal(in(f, IIR), 0xcc);
    out(f, FCR, 0); /* without FIFOs there is no time-out */
    assert_int_equal(in(f, IIR), 0x04);
    out(f, FCR, 0x02);
    assert_int_equal(in(f, LSR) & 1, 1); /* the receiver is cleared only with FIFOs on */
}

#define BULK 20000

/* Far more than fits: it stays with the host until the guest has read. */
static void test_input_flow_control(void **state)
{
    struct fixture *f = *state;
    uint8_t data[BULK];
    size_t got = 0;

    for (size_t i = 0; i < BULK; i++)
        data[i] = pattern(i);
    out(f, FCR, 0x01);
    out(f, MCR, 0x02);
    assert_int_equal(send(f->peer, data, BULK, 0), BULK);
    while (got < BULK) {
        wait_for_data(f);
        assert_int_equal(in(f, LSR) & 0x02, 0);
        assert_int_equal(in(f, RBR), pattern(got++));
    }
    assert_int_equal(in(f, LSR) & 1, 0);
}

static void test_break(void **state)
{
    struct fixture *f = *state;

    out(f, FCR, 0x01);
    out(f, IER, 0x05);
    out(f, MCR, 0x02);
    serial_send_break(f->serial);
    assert_int_equal(edges(f), 1);
    assert_int_equal(send(f->peer, "h", 1, 0), 1);
    assert_int_equal(in(f, IIR), 0xc6); /* comes first */
    assert_int_equal(in(f, LSR), 0xf1);
    assert_int_equal(in(f, LSR), 0x61); /* told once */
    assert_int_equal(in(f, IIR), 0xc4);
    assert_int_equal(in(f, RBR), 0);
    wait_for_data(f);
    assert_int_equal(in(f, RBR), 'h');
}

static void test_loopback(void **state)
{
    struct fixture *f = *state;

    out(f, MCR, 0x10);
    out(f, FCR, 0x07);
    for (int i = 0; i < 17; i++)
        out(f, THR, (uint8_t)i);
    assert_int_equal(in(f, LSR), 0x63); /* the 17th was one too many */
    assert_int_equal(in(f, LSR), 0x61);
    for (int i = 0; i < 16; i++)
        assert_int_equal(in(f, RBR), i);
    assert_int_equal(in(f, LSR), 0x60);
    out(f, FCR, 0);
    out(f, THR, 'a');
    out(f, THR, 'b');
    assert_int_equal(in(f, LSR), 0x63);
    assert_int_equal(in(f, RBR), 'a');
    assert_false(readable(f->peer, 20)); /* nothing of it left the port */
}

static void test_modem_status(void **state)
{
    struct fixture *f = *state;

    in(f, MSR);
    assert_int_equal(in(f, MSR), 0xb0);
    out(f, IER, 0x08);
    out(f, MCR, 0x10); /* all lines drop */
    assert_int_equal(edges(f), 1);
    assert_int_equal(in(f, IIR), 0x00);
    assert_int_equal(in(f, MSR), 0x0b);
    assert_int_equal(in(f, IIR), 0x01);
    out(f, MCR, 0x14);
    assert_int_equal(in(f, MSR), 0x40); /* the ring's beginning is no event */
    out(f, MCR, 0x10);
    assert_int_equal(in(f, MSR), 0x04);
    out(f, MCR, 0x1f);
    assert_int_equal(in(f, MSR), 0xfb);
    assert_int_equal(in(f, MCR), 0x1f);
}

static void observe(void *opaque, const uint8_t *data, size_t len)
{
    struct fixture *f = opaque;

    memcpy(f->observed + f->observed_len, data, len);
    f->observed_len += len;
}

static void test_observer(void **state)
{
    struct fixture *f = *state;

    serial_set_observer(f->serial, observe, f);
    out_text(f, "hello");
    assert_string_equal(f->observed, "hello");
    assert_peer_gets(f, "hello");
}

/* Two vCPUs print, the user types, all at once: for the sanitizers. */
static void *other_vcpu(void *opaque)
{
    struct fixture *f = opaque;

    for (int i = 0; i < 300; i++) {
        out_text(f, "other\n");
        in(f, LSR);
        in(f, RBR);
        in(f, IIR);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    size_t got = 0;
    char data[4096];

    out(f, MCR, 0x02);
    out(f, IER, 0x0f);
    pthread_create(&thread, NULL, other_vcpu, f);
    for (int i = 0; i < 300; i++) {
        out_text(f, "one\n");
        send(f->peer, "keys", 4, 0);
        in(f, RBR);
        if (i % 50 == 0)
            serial_send_break(f->serial);
        if (i % 100 == 0)
            serial_flush(f->serial);
        while (readable(f->peer, 0))
            got += (size_t)read(f->peer, data, sizeof(data));
    }
    pthread_join(thread, NULL);
    while (got < 3000) {
        assert_true(readable(f->peer, 5000));
        got += (size_t)read(f->peer, data, sizeof(data));
    }
    assert_int_equal(got, 3000);
}

static void test_create_fails(void **state)
{
    struct fixture *f = *state;
    struct serial *second;
    struct error err = ERROR_INIT;

    assert_int_equal(
        serial_create(&f->fake.platform, f->loop, PORT + 4, 3, f->chardev, &second, &err), -EEXIST);
    assert_true(err.text[0]);
    f->fake.fail_irqfd_add = EBUSY;
    assert_int_equal(serial_create(&f->fake.platform, f->loop, 0x2f8, 3, f->chardev, &second, &err),
                     -EBUSY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_autoconfig),
        TEST(test_divisor),
        TEST(test_thre_enable),
        TEST(test_thre_while_sending),
        TEST(test_output_flushed),
        TEST(test_reset_keeps_output),
        TEST(test_output_back_pressure),
        TEST(test_reset_while_full),
        TEST(test_output_overrun),
        TEST(test_input_waits_for_rts),
        TEST(test_input_trigger),
        TEST(test_input_flow_control),
        TEST(test_break),
        TEST(test_loopback),
        TEST(test_modem_status),
        TEST(test_observer),
        TEST(test_threads),
        TEST(test_create_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
