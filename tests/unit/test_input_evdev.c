/*
 * virtio-input with a device of the host's. The kernel's side is played here: a FIFO that answers
 * the requests of <linux/input.h>, to the real libevdev.
 */
#include "input_fixture.h"

#include <fcntl.h>
#include <libevdev/libevdev-uinput.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* --- the host's device ------------------------------------------------------------------------ */

#define SLOTS 2

static struct {
    char path[40];
    int feeder; /* where its events come from */
    int fd;     /* as it was opened; -1: it was not */
    bool gone, grabbed, grabbed_by_another;
    uint8_t types[4], codes[EV_CNT][KEY_CNT / 8], properties[4];
    uint8_t keys[KEY_CNT / 8], switches[2];
    struct input_absinfo axes[ABS_CNT];
    int32_t tracking[SLOTS];
    struct input_event written[4];
    unsigned written_count;
} host;

static void host_has(unsigned type, unsigned code)
{
    host.types[type / 8] |= (uint8_t)(1u << type % 8);
    host.codes[type][code / 8] |= (uint8_t)(1u << code % 8);
}

static void set_bit(uint8_t *bits, unsigned bit, bool on)
{
    bits[bit / 8] = (uint8_t)((bits[bit / 8] & ~(1u << bit % 8)) | (unsigned)on << bit % 8);
}

static int answer(void *out, size_t room, const void *bytes, size_t length)
{
    memset(out, 0, room);
    memcpy(out, bytes, MIN(room, length));
    return (int)MIN(room, length);
}

static int answer_slots(int32_t *values, size_t room)
{
    for (size_t i = 0; i < SLOTS && (i + 1) * sizeof(*values) < room; i++)
        values[i + 1] = values[0] == ABS_MT_TRACKING_ID ? host.tracking[i] : 5;
    return 0;
}

static int answer_bits(unsigned type, void *out, size_t room)
{
    return type ? answer(out, room, host.codes[type], sizeof(host.codes[type]))
                : answer(out, room, host.types, sizeof(host.types));
}

static int grab(bool on)
{
    if (host.grabbed_by_another) {
        errno = EBUSY;
        return -1;
    }
    host.grabbed = on;
    return 0;
}

static int host_ioctl(unsigned long request, void *out)
{
    static const struct input_id id = {BUS_USB, 0x1234, 0x5678, 9};
    unsigned number = _IOC_NR(request);
    size_t room = _IOC_SIZE(request);

    switch (number) {
    case _IOC_NR(EVIOCGVERSION):
        return answer(out, room, &(int){EV_VERSION}, sizeof(int));
    case _IOC_NR(EVIOCGID):
        return answer(out, room, &id, sizeof(id));
    case _IOC_NR(EVIOCGNAME(0)):
        return answer(out, room, "Acme keys", sizeof("Acme keys"));
    case _IOC_NR(EVIOCGUNIQ(0)):
        return answer(out, room, "42", sizeof("42"));
    case _IOC_NR(EVIOCGPROP(0)):
        return answer(out, room, host.properties, sizeof(host.properties));
    case _IOC_NR(EVIOCGMTSLOTS(0)):
        return answer_slots(out, room);
    case _IOC_NR(EVIOCGKEY(0)):
        return answer(out, room, host.keys, sizeof(host.keys));
    case _IOC_NR(EVIOCGSW(0)):
        return answer(out, room, host.switches, sizeof(host.switches));
    case _IOC_NR(EVIOCGLED(0)):
        return answer(out, room, "", 1);
    case _IOC_NR(EVIOCGREP):
        return answer(out, room, (unsigned[]){250, 33}, 8);
    case _IOC_NR(EVIOCGRAB):
        return grab(out);
    }
    if (number >= 0x20 && number < 0x20 + EV_CNT)
        return answer_bits(number - 0x20, out, room);
    if (number >= 0x40 && number < 0x40 + ABS_CNT)
        return answer(out, room, &host.axes[number - 0x40], sizeof(host.axes[0]));
    errno = ENOENT;
    return -1;
}

static bool is_host(int fd)
{
    struct stat status;

    return host.path[0] && fd != host.feeder && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

/* These stand before the C library's, for libevdev, too. */
int ioctl(int fd, unsigned long request, ...)
{
    void *out;
    va_list list;

    va_start(list, request);
    out = va_arg(list, void *);
    va_end(list);
    if (!is_host(fd) || _IOC_TYPE(request) != 'E')
        return (int)syscall(SYS_ioctl, fd, request, out);
    host.fd = fd;
    return host_ioctl(request, out);
}

ssize_t read(int fd, void *out, size_t length)
{
    if (!is_host(fd) || !host.gone)
        return syscall(SYS_read, fd, out, length);
    errno = ENODEV;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    if (!is_host(fd))
        return syscall(SYS_write, fd, bytes, length);
    for (size_t i = 0; i < length / sizeof(struct input_event); i++)
        host.written[host.written_count++ % ARRAY_SIZE(host.written)] =
            ((const struct input_event *)bytes)[i];
    return (ssize_t)length;
}

/* --- fixture ---------------------------------------------------------------------------------- */

static void host_plug(struct fixture *f)
{
    host.fd = -1;
    strcpy(host.path, "/tmp/vireo-evdev-XXXXXX");
    assert_non_null(mkdtemp(host.path));
    rmdir(host.path);
    assert_int_equal(mkfifo(host.path, 0600), 0);
    host.feeder = open(host.path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    f->options.evdev = host.path;
}

static void host_unplug(void)
{
    unlink(host.path);
    close(host.feeder);
    memset(&host, 0, sizeof(host));
}

static int set_up_keys(void **state)
{
    int ret = set_up(state);

    memset(&host, 0, sizeof(host));
    host_has(EV_KEY, KEY_A);
    host_has(EV_KEY, KEY_B);
    host_has(EV_KEY, BTN_LEFT);
    host_has(EV_MSC, MSC_SCAN);
    host_has(EV_LED, LED_CAPSL);
    host_has(EV_REP, REP_DELAY);
    host_has(EV_SW, SW_LID);
    host_has(EV_FF, FF_RUMBLE);
    host_plug(*state);
    return ret;
}

static int tear_down_host(void **state)
{
    int ret = tear_down(state);

    host_unplug();
    return ret;
}

static void feed(unsigned type, unsigned code, int32_t value)
{
    const struct input_event event = {
        .type = (uint16_t)type, .code = (uint16_t)code, .value = value};

    assert_int_equal(write(host.feeder, &event, sizeof(event)), sizeof(event));
}

static void feed_key(unsigned code, int32_t value)
{
    set_bit(host.keys, code, value);
    feed(EV_KEY, code, value);
    feed(EV_SYN, SYN_REPORT, 0);
}

static void start(struct fixture *f)
{
    assert_int_equal(create(f, NULL), 0);
    driver_start(f);
    offer(f, QUEUE_SIZE);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* INP-03: what the host's device is and has, but for force feedback, which takes more than events.
 */
static void capabilities(void **state)
{
    struct fixture *f = *state;
    struct virtio_input_config c;

    set_bit(host.properties, INPUT_PROP_POINTER, true);
    assert_int_equal(create(f, NULL), 0);
    c = selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0);
    assert_int_equal(c.size, 9);
    assert_memory_equal(c.u.string, "Acme keys", 9);
    c = selected(f, VIRTIO_INPUT_CFG_ID_SERIAL, 0);
    assert_int_equal(c.size, 2);
    c = selected(f, VIRTIO_INPUT_CFG_ID_DEVIDS, 0);
    assert_int_equal(le16toh(c.u.ids.bustype), BUS_USB);
    assert_int_equal(le16toh(c.u.ids.vendor), 0x1234);
    assert_int_equal(le16toh(c.u.ids.product), 0x5678);
    assert_int_equal(le16toh(c.u.ids.version), 9);
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_PROP_BITS, 0).u.bitmap[0],
                     1 << INPUT_PROP_POINTER);
    assert_true(has_code(f, EV_KEY, KEY_A) && has_code(f, EV_KEY, BTN_LEFT));
    assert_false(has_code(f, EV_KEY, KEY_C));
    assert_true(has_code(f, EV_MSC, MSC_SCAN) && has_code(f, EV_LED, LED_CAPSL) &&
                has_code(f, EV_SW, SW_LID) && has_code(f, EV_REP, REP_PERIOD));
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_FF).size, 0);
}

static void events_pass_through(void **state)
{
    struct fixture *f = *state;

    start(f);
    feed(EV_MSC, MSC_SCAN, 0x1e);
    feed_key(KEY_A, 1);
    feed_key(KEY_A, 2); /* the guest repeats it */
    feed_key(KEY_A, 0);
    settle(f);
    expect(f, EV_MSC, MSC_SCAN, 0x1e);
    expect_key(f, KEY_A, 1);
    expect_key(f, KEY_A, 0);
    expect_nothing(f);
}

/* Only lights and sounds that it has: a driver must not type on the host. And no echo of them. */
static void lights_come_back(void **state)
{
    struct fixture *f = *state;

    start(f);
    say(f, EV_LED, LED_CAPSL, 1);
    assert_int_equal(host.written_count, 2);
    assert_int_equal(host.written[0].type, EV_LED);
    assert_int_equal(host.written[0].code, LED_CAPSL);
    assert_int_equal(host.written[0].value, 1);
    assert_int_equal(host.written[1].type, EV_SYN);
    say(f, EV_LED, LED_NUML, 1);
    say(f, EV_KEY, KEY_A, 1);
    say(f, EV_REP, REP_DELAY, 1);
    assert_int_equal(host.written_count, 2);
    feed(EV_LED, LED_CAPSL, 1);
    feed(EV_SYN, SYN_REPORT, 0);
    expect_nothing(f);
}

static void grabbing(void **state)
{
    struct error err = ERROR_INIT;
    struct fixture *f = *state;

    assert_int_equal(create(f, NULL), 0);
    assert_true(host.grabbed);
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
    host.grabbed = false;
    f->options.grab = false;
    assert_int_equal(create(f, NULL), 0);
    assert_false(host.grabbed);
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
    f->options.grab = host.grabbed_by_another = true;
    assert_int_equal(create(f, &err), -EBUSY);
    assert_non_null(strstr(err.text, "grab: another program has grabbed /tmp/vireo-evdev-"));
}

/* The kernel's queue ran over: what changed meanwhile is found out. */
static void events_were_dropped(void **state)
{
    struct fixture *f = *state;

    start(f);
    feed_key(KEY_A, 1);
    settle(f);
    expect_key(f, KEY_A, 1);
    set_bit(host.keys, KEY_A, false);
    set_bit(host.keys, KEY_B, true);
    feed(EV_SYN, SYN_DROPPED, 0);
    feed(EV_KEY, BTN_LEFT, 0);
    feed(EV_SYN, SYN_REPORT, 0);
    settle(f);
    expect(f, EV_KEY, KEY_A, 0);
    expect(f, EV_KEY, KEY_B, 1);
    expect_end(f);
    feed_key(KEY_B, 0);
    settle(f);
    expect_key(f, KEY_B, 0);
    expect_nothing(f);
}

/* It is pulled out: keys come up, and nothing is asked of it any more. */
static void device_goes(void **state)
{
    struct fixture *f = *state;

    start(f);
    feed_key(KEY_A, 1);
    settle(f);
    expect_key(f, KEY_A, 1);
    host.gone = true;
    feed(EV_SYN, SYN_REPORT, 0); /* something to wake up by */
    settle(f);
    expect_key(f, KEY_A, 0);
    say(f, EV_LED, LED_CAPSL, 1);
    assert_int_equal(host.written_count, 0);
    driver_reset(f);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    expect_nothing(f);
}

/* Keys that were pressed for somebody else stay so; switches are told of. */
static void state_at_the_beginning(void **state)
{
    struct fixture *f = *state;

    set_bit(host.keys, KEY_A, true);
    set_bit(host.switches, SW_LID, true);
    start(f);
    expect(f, EV_SW, SW_LID, 1);
    expect_end(f);
    feed_key(KEY_B, 1);
    settle(f);
    expect_key(f, KEY_B, 1);
    expect_nothing(f);
}

static int set_up_touch(void **state)
{
    int ret = set_up(state);

    memset(&host, 0, sizeof(host));
    host_has(EV_KEY, BTN_TOUCH);
    host_has(EV_ABS, ABS_X);
    host_has(EV_ABS, ABS_MT_SLOT);
    host_has(EV_ABS, ABS_MT_TRACKING_ID);
    host_has(EV_ABS, ABS_MT_POSITION_X);
    host.axes[ABS_X] = (struct input_absinfo){70, -100, 1000, 1, 2, 3};
    host.axes[ABS_MT_SLOT] = (struct input_absinfo){.maximum = SLOTS - 1};
    host.axes[ABS_MT_TRACKING_ID] = (struct input_absinfo){.maximum = 65535};
    host.axes[ABS_MT_POSITION_X] = (struct input_absinfo){.maximum = 1000};
    host.tracking[0] = 7;
    host.tracking[1] = -1;
    host_plug(*state);
    return ret;
}

/* INP-04; axes that do not change would never be told of: a driver hears of them when it comes. */
static void axes_and_fingers(void **state)
{
    struct fixture *f = *state;
    struct virtio_input_config c;

    start(f);
    c = selected(f, VIRTIO_INPUT_CFG_ABS_INFO, ABS_X);
    assert_int_equal(c.size, 20);
    assert_int_equal((int32_t)le32toh(c.u.abs.min), -100);
    assert_int_equal(le32toh(c.u.abs.max), 1000);
    assert_int_equal(le32toh(c.u.abs.fuzz), 1);
    assert_int_equal(le32toh(c.u.abs.flat), 2);
    assert_int_equal(le32toh(c.u.abs.res), 3);
    expect(f, EV_ABS, ABS_X, 70);
    expect(f, EV_ABS, ABS_MT_SLOT, 0);
    expect(f, EV_ABS, ABS_MT_POSITION_X, 5);
    expect(f, EV_ABS, ABS_MT_TRACKING_ID, 7);
    expect(f, EV_ABS, ABS_MT_SLOT, 1);
    expect(f, EV_ABS, ABS_MT_POSITION_X, 5);
    expect(f, EV_ABS, ABS_MT_TRACKING_ID, -1);
    expect(f, EV_ABS, ABS_MT_SLOT, 0);
    expect_end(f);
    offer(f, 9);
    host.gone = true;
    feed(EV_SYN, SYN_REPORT, 0);
    settle(f);
    expect(f, EV_ABS, ABS_MT_SLOT, 0);
    expect(f, EV_ABS, ABS_MT_TRACKING_ID, -1);
    expect_end(f);
    expect_nothing(f);
}

/* --- the kernel's own ------------------------------------------------------------------------- */

static struct libevdev_uinput *plug_real(void)
{
    struct libevdev *like = libevdev_new();
    struct libevdev_uinput *device = NULL;

    libevdev_set_name(like, "Vireo test");
    libevdev_enable_event_code(like, EV_KEY, KEY_F24, NULL);
    libevdev_enable_event_code(like, EV_KEY, KEY_F23, NULL);
    libevdev_enable_event_code(like, EV_LED, LED_MISC, NULL);
    if (libevdev_uinput_create_from_device(like, LIBEVDEV_UINPUT_OPEN_MANAGED, &device))
        device = NULL;
    libevdev_free(like);
    return device;
}

static void press_real(struct fixture *f, struct libevdev_uinput *device, unsigned code, int value)
{
    libevdev_uinput_write_event(device, EV_KEY, code, value);
    libevdev_uinput_write_event(device, EV_SYN, SYN_REPORT, 0);
    run_for(f, 50);
}

/* The same with a device that the kernel makes, where it may. */
static void real_device(void **state)
{
    struct libevdev_uinput *device = plug_real();
    struct fixture *f = *state;
    struct input_event light = {0};
    char path[64];

    if (!device)
        skip();
    snprintf(path, sizeof(path), "%s", libevdev_uinput_get_devnode(device));
    f->options.evdev = path;
    start(f);
    assert_memory_equal(selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0).u.string, "Vireo test", 11);
    assert_true(has_code(f, EV_LED, LED_MISC) && !has_code(f, EV_KEY, KEY_A));
    press_real(f, device, KEY_F24, 1);
    expect_key(f, KEY_F24, 1);
    say(f, EV_LED, LED_MISC, 1);
    assert_int_equal(read(libevdev_uinput_get_fd(device), &light, sizeof(light)), sizeof(light));
    assert_int_equal(light.type, EV_LED);
    assert_int_equal(light.code, LED_MISC);
    assert_int_equal(light.value, 1);
    press_real(f, device, KEY_F23, 1);
    press_real(f, device, KEY_F23, 0);
    expect_key(f, KEY_F23, 1);
    expect_key(f, KEY_F23, 0);
    libevdev_uinput_destroy(device);
    run_for(f, 50);
    expect_key(f, KEY_F24, 0);
    expect_nothing(f);
}

#define KEYS(test)                                                      \
    {#test " (split)", test, set_up_keys, tear_down_host, NULL},        \
    {                                                                   \
#test " (packed)", test, set_up_keys, tear_down_host, (void *)1 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEYS(capabilities),
        KEYS(events_pass_through),
        KEYS(lights_come_back),
        KEYS(grabbing),
        KEYS(events_were_dropped),
        KEYS(device_goes),
        KEYS(state_at_the_beginning),
        cmocka_unit_test_setup_teardown(real_device, set_up, tear_down),
        cmocka_unit_test_setup_teardown(axes_and_fingers, set_up_touch, tear_down_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
