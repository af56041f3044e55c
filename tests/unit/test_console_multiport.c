/*
 * virtio-console with MULTIPORT: the control queues, ports that come and go, and drivers that break
 * rules.
 */
#include "base/bytes.h"
#include "devices/chardev/chardev.h"
#include "devices/console/console.h"
#include "tests/driver/backend_rig.h"
#include "virtio/device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

/* From the kernel's uapi, a second source for the numbers under test. */
#include <linux/virtio_console.h>

/* CON-01 */
enum { RX0, TX0, CONTROL_IN, CONTROL_OUT, RX1, TX1, RX2, TX2, QUEUES };

#define CONTROL_BUFFERS 8
#define CONTROL_SIZE    128

struct fixture {
    struct backend_rig rig;
    struct console_options options;
    char to[16], dir[40], path[60], port_texts[2][96], *ports[2];
    int terminal, slave; /* port 0 is on it */
};

static struct fixture f;

static const unsigned char modern[] = {VIRTIO_F_VERSION_1, VIRTIO_CONSOLE_F_SIZE,
                                       VIRTIO_CONSOLE_F_MULTIPORT};

/* Port 0 on a terminal, "first" on a Unix socket, "second" nowhere. */
static void create(int resize, char *winsize)
{
    char path[32];
    int left;

    f = (struct fixture){.terminal = posix_openpt(O_RDWR | O_NOCTTY)};
    assert_true(f.terminal >= 0 && grantpt(f.terminal) == 0 && unlockpt(f.terminal) == 0);
    assert_int_equal(ptsname_r(f.terminal, path, sizeof(path)), 0);
    assert_int_equal(ioctl(f.terminal, TIOCSWINSZ, &(struct winsize){25, 81, 0, 0}), 0);
    f.slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    left = open(path, O_RDWR | O_NOCTTY);
    snprintf(f.to, sizeof(f.to), "fd:%d", left);
    strcpy(f.dir, "/tmp/vireo-console-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.path, sizeof(f.path), "%s/s", f.dir);
    snprintf(f.port_texts[0], sizeof(f.port_texts[0]), "first:unix:%s", f.path);
    strcpy(f.port_texts[1], "org.second:null");
    f.ports[0] = f.port_texts[0];
    f.ports[1] = f.port_texts[1];
    f.options = (struct console_options){
        .to = f.to, .ports = {f.ports, 2}, .winsize = winsize, .resize = resize};
    assert_int_equal(console_model.virtqueue_count(&f.options, 1), QUEUES);
    assert_int_equal(backend_rig_init(&f.rig, &console_model, &f.options, QUEUES, NULL), 0);
}

static int set_up(void **state)
{
    (void)state;
    create(CONSOLE_RESIZE_SPEC, NULL);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_rig_destroy(&f.rig);
    close(f.slave);
    close(f.terminal);
    return rmdir(f.dir);
}

/* --- the driver's side of the control queues -------------------------------------------------- */

static void offer_control_buffer(uint32_t length)
{
    unsigned slot = f.rig.rings[CONTROL_IN].free_head;

    backend_rig_add_one(&f.rig, CONTROL_IN, BACKEND_RIG_DATA(CONTROL_IN) + slot * CONTROL_SIZE,
                        length, true);
    backend_rig_kick(&f.rig, CONTROL_IN);
}

static void offer_control_buffers(void)
{
    for (int i = 0; i < CONTROL_BUFFERS; i++)
        offer_control_buffer(CONTROL_SIZE);
}

/* CON-06, CON-07: the next message is this one, with `more` behind its 8 bytes. */
static void told(uint32_t id, uint16_t event, uint16_t value, const void *more, uint32_t length)
{
    struct ring_used used = backend_rig_collect(&f.rig, CONTROL_IN);
    const uint8_t *bytes =
        backend_rig_host(&f.rig, BACKEND_RIG_DATA(CONTROL_IN) + (uint64_t)used.id * CONTROL_SIZE);

    assert_int_equal(load_le16(bytes + 4), event);
    assert_int_equal(load_le32(bytes), id);
    assert_int_equal(load_le16(bytes + 6), value);
    assert_int_equal(used.length, 8 + length);
    assert_memory_equal(bytes + 8, more, length);
    offer_control_buffer(CONTROL_SIZE);
}

static void told_nothing(void)
{
    backend_rig_assert_none(&f.rig, CONTROL_IN);
}

static void tell_length(uint32_t id, uint16_t event, uint16_t value, uint32_t length)
{
    uint8_t *bytes = backend_rig_host(&f.rig, BACKEND_RIG_DATA(CONTROL_OUT));

    store_le32(bytes, id);
    store_le16(bytes + 4, event);
    store_le16(bytes + 6, value);
    backend_rig_add_one(&f.rig, CONTROL_OUT, BACKEND_RIG_DATA(CONTROL_OUT), length, false);
    backend_rig_kick(&f.rig, CONTROL_OUT);
    assert_int_equal(backend_rig_collect(&f.rig, CONTROL_OUT).length, 0);
}

static void tell(uint32_t id, uint16_t event, uint16_t value)
{
    tell_length(id, event, value, 8);
}

static const uint8_t size_81x25[] = {81, 0, 25, 0};

/* What Linux does up to the point where all ports can be used. */
static void shake_hands(void)
{
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (uint32_t id = 0; id < 3; id++)
        told(id, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
    told(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "", 0);
    told(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
    told(0, VIRTIO_CONSOLE_RESIZE, 1, size_81x25, 4);
    tell(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
    tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
    told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "first", 5);
    tell(2, VIRTIO_CONSOLE_PORT_READY, 1);
    told(2, VIRTIO_CONSOLE_PORT_NAME, 1, "org.second", 10);
    told(2, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
}

static int peer_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, f.path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* --- tests ------------------------------------------------------------------------------------ */

/* CON-02, CON-03 */
static void features_and_configuration(void **state)
{
    struct virtio_features features;
    uint8_t config[8];

    (void)state;
    f.rig.backend->ops->features(f.rig.backend, &features);
    assert_int_equal(features.word[0], 7);
    f.rig.backend->ops->config_read(f.rig.backend, 0, config, 8);
    assert_int_equal(load_le16(config), 81);
    assert_int_equal(load_le16(config + 2), 25);
    assert_int_equal(load_le32(config + 4), 3);
}

/* CON-06, CON-07, CON-08, CON-09, CON-11 */
static void handshake(void **state)
{
    (void)state;
    offer_control_buffers();
    told_nothing();
    shake_hands();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1); /* again: no port is added twice */
    tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
    told_nothing();
}

/* CON-14: the driver is told as its buffers allow, one by one, and nothing is forgotten. */
static void few_control_buffers(void **state)
{
    (void)state;
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (uint32_t id = 0; id < 3; id++) {
        told_nothing();
        offer_control_buffer(CONTROL_SIZE);
        struct ring_used used = backend_rig_collect(&f.rig, CONTROL_IN);

        assert_int_equal(used.length, 8);
        assert_int_equal(*(uint8_t *)backend_rig_host(&f.rig, BACKEND_RIG_DATA(CONTROL_IN) +
                                                                  used.id * CONTROL_SIZE),
                         id);
    }
    told_nothing();
}

/* CON-01, CON-15: each port has its own queues. */
static void ports_are_apart(void **state)
{
    char got[8];
    int fd;

    (void)state;
    shake_hands();
    fd = peer_connect();
    told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    for (uint16_t q = TX0; q < QUEUES; q += q == TX0 ? 4 : 2) {
        memcpy(backend_rig_host(&f.rig, BACKEND_RIG_DATA(q)), q == TX0 ? "zero" : "port", 4);
        backend_rig_add_one(&f.rig, q, BACKEND_RIG_DATA(q), 4, false);
        backend_rig_kick(&f.rig, q);
        assert_int_equal(backend_rig_collect(&f.rig, q).length, 0);
    }
    assert_int_equal(read(f.terminal, got, 8), 4);
    assert_memory_equal(got, "zero", 4);
    assert_int_equal(recv(fd, got, 8, 0), 4);
    assert_memory_equal(got, "port", 4);
    for (uint16_t q = RX0; q < QUEUES; q += q == RX0 ? 4 : 2) {
        backend_rig_add_one(&f.rig, q, BACKEND_RIG_DATA(q), 64, true);
        backend_rig_kick(&f.rig, q);
    }
    assert_int_equal(send(fd, "in", 2, 0), 2);
    assert_int_equal(backend_rig_collect(&f.rig, RX1).length, 2);
    backend_rig_assert_none(&f.rig, RX0);
    backend_rig_assert_none(&f.rig, RX2);
    close(fd);
    told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
}

/* CON-16: while the guest has a port closed, its input waits; what comes and goes is told. */
static void open_and_close(void **state)
{
    int fd;

    (void)state;
    shake_hands();
    backend_rig_add_one(&f.rig, RX1, BACKEND_RIG_DATA(RX1), 64, true);
    backend_rig_add_one(&f.rig, RX1, BACKEND_RIG_DATA(RX1), 64, true);
    backend_rig_kick(&f.rig, RX1);
    for (int i = 0; i < 3; i++) {
        fd = peer_connect();
        told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
        close(fd);
        told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
    }
    fd = peer_connect();
    told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
    assert_int_equal(send(fd, "early", 5, 0), 5);
    backend_rig_assert_none(&f.rig, RX1);
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    assert_int_equal(backend_rig_collect(&f.rig, RX1).length, 5);
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    assert_int_equal(send(fd, "late", 4, 0), 4);
    backend_rig_assert_none(&f.rig, RX1);
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    assert_int_equal(backend_rig_collect(&f.rig, RX1).length, 4);
    close(fd);
}

/* A peer that is there before the driver, and one that comes and goes while there is no buffer to
 * tell it by. */
static void open_without_buffers(void **state)
{
    int fd = peer_connect();

    (void)state;
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (uint32_t id = 0; id < 3; id++)
        told(id, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
    told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "first", 5);
    told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    close(fd);
    backend_rig_settle(&f.rig);
    offer_control_buffers();
    for (uint32_t id = 0; id < 3; id++)
        told(id, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
    told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "first", 5);
    told_nothing();
}

/* CON-10, CON-11: a driver that comes after another one is told everything anew; no port is ever
 * removed. */
static void reload(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        shake_hands();
        backend_rig_stop(&f.rig);
        backend_rig_run(&f.rig, modern, sizeof(modern));
    }
    offer_control_buffers();
    told_nothing();
}

static void set_terminal_size(uint16_t columns, uint16_t rows)
{
    assert_int_equal(ioctl(f.terminal, TIOCSWINSZ, &(struct winsize){rows, columns, 0, 0}), 0);
}

/* CON-08, CON-12: a new size is in the configuration and in a message, columns first. */
static void resize(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    shake_hands();
    assert_int_equal(f.rig.backend->ops->command(f.rig.backend, "size", "300x2", &err), 0);
    told(0, VIRTIO_CONSOLE_RESIZE, 1, "\x2c\x01\x02\x00", 4);
    assert_int_equal(atomic_load(&f.rig.config_changes), 1);
}

/* ERR-08: the order Linux expects, where the user says so; and a size the user gave is not that of
 * the terminal. */
static void resize_for_linux(void **state)
{
    (void)state;
    create(CONSOLE_RESIZE_LINUX, "132x50");
    set_terminal_size(40, 10);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (uint32_t id = 0; id < 3; id++)
        told(id, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
    told(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "", 0);
    told(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
    told(0, VIRTIO_CONSOLE_RESIZE, 1, "\x32\x00\x84\x00", 4);
    tear_down(state);
}

/* CON-01, CON-16: a driver without MULTIPORT has port 0 and nothing else. */
static void without_multiport(void **state)
{
    static const unsigned char single[] = {VIRTIO_F_VERSION_1};
    int fd = peer_connect();
    char got[8];

    (void)state;
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, single, sizeof(single));
    backend_rig_add_one(&f.rig, RX0, BACKEND_RIG_DATA(RX0), 64, true);
    backend_rig_kick(&f.rig, RX0);
    assert_int_equal(write(f.terminal, "key\n", 4), 4);
    assert_int_equal(backend_rig_collect(&f.rig, RX0).length, 4);
    for (uint16_t q = CONTROL_IN; q <= RX1; q++) {
        backend_rig_add_one(&f.rig, q, BACKEND_RIG_DATA(q), 64, q != CONTROL_OUT);
        backend_rig_kick(&f.rig, q);
    }
    assert_int_equal(send(fd, "to nobody", 9, 0), 9);
    for (uint16_t q = CONTROL_IN; q <= RX1; q++)
        backend_rig_assert_none(&f.rig, q);
    memcpy(backend_rig_host(&f.rig, BACKEND_RIG_DATA(TX0)), "out", 3);
    backend_rig_add_one(&f.rig, TX0, BACKEND_RIG_DATA(TX0), 3, false);
    backend_rig_kick(&f.rig, TX0);
    backend_rig_collect(&f.rig, TX0);
    assert_true(read(f.terminal, got, 8) >= 3);
    close(fd);
}

/* DRV-CON-02: nothing counts before DEVICE_READY, nor after a driver that failed. */
static void drv_con_02(void **state)
{
    (void)state;
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-02: a control message before DEVICE_READY"));
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 0);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-02"));
    told_nothing();
}

/* DRV-CON-03 */
static void drv_con_03(void **state)
{
    (void)state;
    shake_hands();
    tell(0, VIRTIO_CONSOLE_PORT_OPEN, 0); /* closing later is no answer */
    assert_false(backend_rig_logged(&f.rig, "DRV-CON-03"));
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
    tell(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-03"));
}

/* DRV-CON-04, CON-14: what is unknown or for nobody is dropped, and the device works on. */
static void drv_con_04(void **state)
{
    (void)state;
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (uint32_t id = 0; id < 3; id++)
        told(id, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    tell_length(0, VIRTIO_CONSOLE_PORT_READY, 1, 7);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-04: a control message has less than 8 bytes"));
    tell(3, VIRTIO_CONSOLE_PORT_READY, 1);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-04: a control message for a port"));
    tell(UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-04: a control message for a port"));
    tell(0, VIRTIO_CONSOLE_PORT_REMOVE, 1); /* the device's to say */
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-04: an event"));
    tell(0, 0xffff, 1);
    tell(1, VIRTIO_CONSOLE_PORT_READY, 0);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-04: the driver could not set a port up"));
    told_nothing();
    tell_length(1, VIRTIO_CONSOLE_PORT_READY, 1, 4096); /* more than needed is no harm */
    told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "first", 5);
}

/* DRV-CON-04: control buffers that are too small get what fits. */
static void small_control_buffers(void **state)
{
    (void)state;
    offer_control_buffer(3);
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    assert_int_equal(backend_rig_collect(&f.rig, CONTROL_IN).length, 3);
    assert_true(backend_rig_logged(&f.rig, "DRV-CON-04: a control buffer of 3 bytes"));
    offer_control_buffer(8);
    assert_int_equal(backend_rig_collect(&f.rig, CONTROL_IN).length, 8);
}

/* DRV-CON-05, CON-13, RING-18: a legacy driver without ANY_LAYOUT sends one descriptor. */
static void drv_con_05(void **state)
{
    static const unsigned char legacy[] = {VIRTIO_CONSOLE_F_MULTIPORT};
    const struct ring_element parts[] = {
        {BACKEND_RIG_DATA(CONTROL_OUT), 4, false},
        {BACKEND_RIG_DATA(CONTROL_OUT) + 4, 4, false},
    };

    (void)state;
    for (int i = 0; i < 2; i++) {
        backend_rig_stop(&f.rig);
        backend_rig_run(&f.rig, i ? legacy : modern, i ? sizeof(legacy) : sizeof(modern));
        offer_control_buffers();
        memcpy(backend_rig_host(&f.rig, BACKEND_RIG_DATA(CONTROL_OUT)), "\0\0\0\0\0\0\1\0", 8);
        backend_rig_add(&f.rig, CONTROL_OUT, parts, 2);
        backend_rig_kick(&f.rig, CONTROL_OUT);
        backend_rig_collect(&f.rig, CONTROL_OUT);
        assert_int_equal(backend_rig_logged(&f.rig, "DRV-CON-05"), i);
        told(0, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0); /* and yet it is understood */
    }
}

/* A control queue that breaks when there is something to be told. */
static void broken_control_queue(void **state)
{
    int fd;

    (void)state;
    shake_hands();
    for (unsigned i = 0; i < BACKEND_RIG_QUEUE_SIZE; i++)
        ring_set_descriptor(&f.rig.rings[CONTROL_IN], (uint16_t)i, UINT64_C(1) << 60, 8, RING_WRITE,
                            0);
    fd = peer_connect();
    for (int i = 0; i < 5000 && !atomic_load(&f.rig.needs_reset); i++)
        usleep(1000);
    assert_true(atomic_load(&f.rig.needs_reset));
    assert_true(backend_rig_logged(&f.rig, "queue 2 is broken: DRV-RING-09"));
    close(fd);
    backend_rig_stop(&f.rig);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    shake_hands();
}

/* CON-09, CON-16: without `to` there is no port 0, but its queues are. */
static void no_port_0(void **state)
{
    struct virtio_features features;

    (void)state;
    f = (struct fixture){0};
    strcpy(f.port_texts[0], "only:pty");
    f.ports[0] = f.port_texts[0];
    f.options = (struct console_options){.ports = {f.ports, 1}};
    assert_int_equal(backend_rig_init(&f.rig, &console_model, &f.options, 6, NULL), 0);
    assert_true(backend_rig_logged(&f.rig, "dev0 port only is on /dev/pts/"));
    f.rig.backend->ops->features(f.rig.backend, &features);
    assert_int_equal(features.word[0], 3); /* no emergency output */
    f.rig.backend->ops->config_write(f.rig.backend, 8, "xxxx", 4);
    backend_rig_run(&f.rig, modern, sizeof(modern));
    offer_control_buffers();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    told(1, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
    tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
    told_nothing();
    backend_rig_add_one(&f.rig, RX0, BACKEND_RIG_DATA(RX0), 64, true);
    backend_rig_kick(&f.rig, RX0);
    backend_rig_add_one(&f.rig, TX0, BACKEND_RIG_DATA(TX0), 64, false);
    backend_rig_kick(&f.rig, TX0);
    assert_int_equal(backend_rig_collect(&f.rig, TX0).length, 0);
    told_nothing();
    backend_rig_destroy(&f.rig);
}

/* --- a terminal as standard input and output -------------------------------------------------- */

static void quit(void *opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

/* CON-12; and the escape keys: quit reaches the program, a break is Linux's SysRq key (Ctrl-O). */
static void standard_terminal(void **state)
{
    static const unsigned char single[] = {VIRTIO_F_VERSION_1, VIRTIO_CONSOLE_F_SIZE};
    int saved[2] = {dup(0), dup(1)};
    atomic_int quits = 0;
    uint8_t config[4];
    char stdio[] = "stdio";

    (void)state;
    create(CONSOLE_RESIZE_SPEC, NULL);
    backend_rig_destroy(&f.rig);
    dup2(f.slave, 0);
    dup2(f.slave, 1);
    f.options = (struct console_options){.to = stdio};
    chardev_set_quit(quit, &quits);
    assert_int_equal(backend_rig_init(&f.rig, &console_model, &f.options, 2, NULL), 0);
    backend_rig_run(&f.rig, single, sizeof(single));
    set_terminal_size(90, 33);
    chardev_window_changed();
    backend_rig_wait(&f.rig.config_changes, 1);
    f.rig.backend->ops->config_read(f.rig.backend, 0, config, 4);
    assert_memory_equal(config, "\x5a\x00\x21\x00", 4);
    backend_rig_add_one(&f.rig, RX0, BACKEND_RIG_DATA(RX0), 1, true);
    backend_rig_add_one(&f.rig, RX0, BACKEND_RIG_DATA(RX0) + 1, 1, true);
    backend_rig_kick(&f.rig, RX0);
    assert_int_equal(write(f.terminal,
                           "a\x01"
                           "c",
                           3),
                     3);
    assert_int_equal(backend_rig_collect(&f.rig, RX0).length, 1);
    assert_int_equal(backend_rig_collect(&f.rig, RX0).length, 1);
    assert_memory_equal(backend_rig_host(&f.rig, BACKEND_RIG_DATA(RX0)), "a\x0f", 2);
    assert_int_equal(write(f.terminal, "\x01x", 2), 2);
    backend_rig_wait(&quits, 1);
    backend_rig_destroy(&f.rig);
    dup2(saved[0], 0);
    dup2(saved[1], 1);
    close(saved[0]);
    close(saved[1]);
    close(f.slave);
    close(f.terminal);
    rmdir(f.dir);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(features_and_configuration),
        TEST(handshake),
        TEST(few_control_buffers),
        TEST(ports_are_apart),
        TEST(open_and_close),
        TEST(open_without_buffers),
        TEST(reload),
        TEST(resize),
        cmocka_unit_test(resize_for_linux),
        TEST(without_multiport),
        TEST(drv_con_02),
        TEST(drv_con_03),
        TEST(drv_con_04),
        TEST(small_control_buffers),
        TEST(drv_con_05),
        TEST(broken_control_queue),
        cmocka_unit_test(no_port_0),
        cmocka_unit_test(standard_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
