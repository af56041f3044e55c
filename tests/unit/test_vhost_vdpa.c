/*
 * The vDPA back end against a kernel that the test plays: what it asks, and in which order, for all
 * that a driver does.
 */
#include "base/bytes.h"
#include "tests/driver/fake_vdpa.h"
#include "tests/driver/rig.h"
#include "virtio/vhost_vdpa.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY     UINT64_C(0x400000)
#define QUEUE_SIZE 16
#define RING(q)    (UINT64_C(0x10000) * ((q) + 1))
#define FEATURES   "features 300000000" /* VERSION_1 and, between device and us, ACCESS_PLATFORM */

struct fixture {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;
    struct virtio_device device;
    struct rig rig;
    struct driver *driver;
};

#define expect(words) assert_string_equal(fake_vdpa_take_log(), words)

static int create(struct fixture *f, struct error *err)
{
    const struct vhost_vdpa_options options = {
        .path = "/dev/vhost-vdpa-0", .type = VIRTIO_ID_NET, .system = &fake_vdpa_system};

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MEMORY, 0, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    return vhost_vdpa_create(&options, &f->memory, f->loop, &f->backend, err);
}

static void release(struct fixture *f)
{
    loop_destroy(f->loop);
    guest_memory_destroy(&f->memory);
    fake_vdpa_destroy();
    free(f);
}

/* A device on PCI, for which the user wants these bits. */
static int set_up_wanting(void **state, const struct virtio_features *wanted)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    if (create(f, &err))
        fail_msg("%s", err.text);
    assert_int_equal(virtio_device_init(&f->device, VIRTIO_ID_NET, "net0", f->backend,
                                        vhost_vdpa_queue_count(f->backend), QUEUE_SIZE, wanted,
                                        &(struct virtio_features){0}, NULL),
                     0);
    assert_int_equal(rig_init(&f->rig, RIG_PCI_MSIX, &f->device, NULL), 0);
    assert_int_equal(loop_start_thread(f->loop, "vdpa", NULL), 0);
    f->driver = f->rig.driver;
    expect("owner");
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    fake_vdpa_init();
    return set_up_wanting(state, &(struct virtio_features){0});
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    rig_destroy(&f->rig);
    virtio_device_destroy(&f->device);
    loop_join_thread(f->loop);
    release(f);
    return 0;
}

/* VERSION_1 and `bit`. */
static bool negotiate(struct fixture *f, unsigned bit)
{
    struct virtio_features wanted = {0};

    features_set(&wanted, VIRTIO_F_VERSION_1, true);
    features_set(&wanted, bit, true);
    return driver_negotiate(f->driver, &wanted, NULL);
}

static void enable(struct fixture *f, uint16_t queue)
{
    f->driver->ops->queue_enable(f->driver, queue, QUEUE_SIZE, RING(queue), RING(queue) + 0x1000,
                                 RING(queue) + 0x2000);
}

/* Queues 0 and 2 of three. */
static void start(struct fixture *f)
{
    assert_true(negotiate(f, VIRTIO_F_VERSION_1));
    enable(f, 0);
    enable(f, 2);
    fake_vdpa_take_log();
    driver_ok(f->driver);
}

static bool signalled(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    eventfd_t count;

    return poll(&p, 1, 0) == 1 && eventfd_read(fd, &count) == 0;
}

/* --- a driver's life -------------------------------------------------------------------------- */

/* FEAT-08: the steps of 3.1.1, with the device as with the driver. */
static void features(void **state)
{
    struct fixture *f = *state;

    assert_true(negotiate(f, VIRTIO_F_VERSION_1));
    expect("status 1 status 3 " FEATURES " status b config-call");
}

/* FEAT-08: a device that does not set FEATURES_OK. */
static void features_refused(void **state)
{
    struct fixture *f = *state;

    fake_vdpa.refuses = VIRTIO_STATUS_FEATURES_OK;
    assert_false(negotiate(f, VIRTIO_F_VERSION_1));
    expect("status 1 status 3 " FEATURES " status b");
    fake_vdpa.refuses = 0;
    assert_true(negotiate(f, VIRTIO_F_VERSION_1));
    expect("status 0 status 1 status 3 " FEATURES " status b config-call");
}

/* RING_RESET needs queues that stop alone, translation is not the driver's affair, and what is of
 * old drivers goes to none. */
static void offered(void **state)
{
    struct fixture *f = *state;
    static const unsigned absent[] = {VIRTIO_F_ANY_LAYOUT, VIRTIO_F_ACCESS_PLATFORM,
                                      VIRTIO_F_RING_RESET, VIRTIO_F_INDIRECT_DESC,
                                      VIRTIO_F_EVENT_IDX,  VIRTIO_F_RING_PACKED};

    for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
        assert_false(features_has(&f->device.offered, absent[i]));
    assert_true(features_has(&f->device.offered, VIRTIO_F_VERSION_1));
}

/* STAT-02: the device starts after all of its queues were placed, at guest addresses, in memory
 * that it can reach; then it hears of what was kicked before. */
static void starts_together(void **state)
{
    struct fixture *f = *state;

    start(f);
    expect("asid 0 0 asid 1 0 begin map 0+400000 end "
           "num 0 16 base 0 0 place 0 call 0 on kick 0 enable 0 1 "
           "num 2 16 base 2 0 place 2 call 2 on kick 2 enable 2 1 status f");
    assert_int_equal(fake_vdpa.places[2].desc_user_addr, RING(2));
    assert_int_equal(fake_vdpa.places[2].avail_user_addr, RING(2) + 0x1000);
    assert_int_equal(fake_vdpa.places[2].used_user_addr, RING(2) + 0x2000);
    assert_true(signalled(fake_vdpa.kicks[0]));
    assert_true(signalled(fake_vdpa.kicks[2]));
}

/* STAT-06, STAT-07: suspended before it is asked where it stands; the memory goes last. */
static void stops_together(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_vdpa_take_log();
    driver_reset(f->driver);
    expect("suspend base? 0 call 0 off base? 2 call 2 off status 0 begin unmap 0+400000 end");
    assert_int_equal(f->driver->ops->status(f->driver), 0);
}

/* STAT-05, FEAT-09: it starts again as it did at first. */
static void starts_again(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        start(f);
        assert_string_equal(strstr(fake_vdpa_take_log(), "enable 2 1"), "enable 2 1 status f");
    }
}

/* STAT-03, STAT-04: it does not start, and the driver hears of it. */
static void start_refused(void **state)
{
    struct fixture *f = *state;

    fake_vdpa.refuses = VIRTIO_STATUS_DRIVER_OK;
    start(f);
    assert_true(f->driver->ops->status(f->driver) & VIRTIO_STATUS_NEEDS_RESET);
    fake_vdpa.refuses = 0;
    start(f);
    assert_int_equal(f->driver->ops->status(f->driver), 0xf);
}

/* A queue that cannot be placed: the device is not started without it. */
static void queue_refused(void **state)
{
    struct fixture *f = *state;

    fake_vdpa.fails = VHOST_SET_VRING_ADDR;
    start(f);
    expect("asid 0 0 asid 1 0 begin map 0+400000 end num 0 16 base 0 0 num 2 16 base 2 0");
    assert_true(f->driver->ops->status(f->driver) & VIRTIO_STATUS_NEEDS_RESET);
}

/* A ring beyond guest memory never reaches the kernel. */
static void ring_outside(void **state)
{
    struct fixture *f = *state;

    assert_true(negotiate(f, VIRTIO_F_VERSION_1));
    f->driver->ops->queue_enable(f->driver, 0, QUEUE_SIZE, MEMORY - 16, RING(0), RING(0) + 0x1000);
    fake_vdpa_take_log();
    driver_ok(f->driver);
    expect("asid 0 0 asid 1 0 begin map 0+400000 end");
    assert_true(f->driver->ops->status(f->driver) & VIRTIO_STATUS_NEEDS_RESET);
}

/* A device without IOTLB_BATCH, IOTLB_ASID and SUSPEND. */
static int set_up_plain(void **state)
{
    fake_vdpa_init();
    fake_vdpa.backend_features = 1 << VHOST_BACKEND_F_IOTLB_MSG_V2;
    return set_up_wanting(state, &(struct virtio_features){0});
}

static void plain(void **state)
{
    struct fixture *f = *state;

    start(f);
    expect("map 0+400000 num 0 16 base 0 0 place 0 call 0 on kick 0 enable 0 1 "
           "num 2 16 base 2 0 place 2 call 2 on kick 2 enable 2 1 status f");
    driver_reset(f->driver);
    expect("enable 0 0 call 0 off enable 2 0 call 2 off status 0 unmap 0+400000");
}

/* --- suspension, packed rings ----------------------------------------------------------------- */

static int set_up_suspend(void **state)
{
    struct virtio_features wanted = {0};

    fake_vdpa_init();
    features_set(&wanted, VIRTIO_F_SUSPEND, true);
    features_set(&wanted, VIRTIO_F_RING_PACKED, true);
    return set_up_wanting(state, &wanted);
}

/* STAT-13, STAT-14, STAT-18: the driver's suspension is the device's; the bit itself is not. */
static void suspends(void **state)
{
    struct fixture *f = *state;

    assert_true(negotiate(f, VIRTIO_F_SUSPEND));
    expect("status 1 status 3 " FEATURES " status b config-call");
    enable(f, 1);
    driver_ok(f->driver);
    fake_vdpa_take_log();
    fake_vdpa.positions[1] = 7;
    f->driver->ops->set_status(f->driver, 0xf | VIRTIO_STATUS_SUSPEND);
    expect("suspend base? 1 call 1 off");
    assert_int_equal(f->device.queues[1].position.avail, 7);
    (void)signalled(fake_vdpa.kicks[1]);
    f->driver->ops->set_status(f->driver, 0xf);
    expect("call 1 on resume");
    assert_true(signalled(fake_vdpa.kicks[1]));
}

/* Without RESUME a driver could not go on. */
static int set_up_no_resume(void **state)
{
    struct virtio_features wanted = {0};

    fake_vdpa_init();
    fake_vdpa.backend_features &= ~(UINT64_C(1) << 5);
    features_set(&wanted, VIRTIO_F_SUSPEND, true);
    return set_up_wanting(state, &wanted);
}

static void no_resume(void **state)
{
    struct fixture *f = *state;

    assert_false(features_has(&f->device.offered, VIRTIO_F_SUSPEND));
}

/* Both places of a packed ring go in one number, each with its wrap counter. */
static void packed(void **state)
{
    struct fixture *f = *state;
    struct virtio_features wanted = {0};

    features_set(&wanted, VIRTIO_F_VERSION_1, true);
    features_set(&wanted, VIRTIO_F_RING_PACKED, true);
    features_set(&wanted, VIRTIO_F_SUSPEND, true);
    assert_true(driver_negotiate(f->driver, &wanted, NULL));
    expect("status 1 status 3 features 700000000 status b config-call");
    enable(f, 0);
    driver_ok(f->driver);
    assert_non_null(strstr(fake_vdpa_take_log(), "base 0 2147516416 ")); /* 0x80008000 */
    fake_vdpa.positions[0] = 0x00038005;
    f->driver->ops->set_status(f->driver, 0xf | VIRTIO_STATUS_SUSPEND);
    expect("suspend base? 0 call 0 off");
    assert_int_equal(f->device.queues[0].position.avail, 0x8005);
    assert_int_equal(f->device.queues[0].position.used, 3);
}

/* --- configuration and interrupts ------------------------------------------------------------- */

/* CFG-06, CFG-07 */
static void configuration(void **state)
{
    struct fixture *f = *state;

    memcpy(fake_vdpa.config, "\2\0\0\0\7\1", 6);
    fake_vdpa.config[23] = 0x5a;
    assert_int_equal(f->driver->ops->config_read(f->driver, 4, 2), 0x107);
    assert_int_equal(f->driver->ops->config_read(f->driver, 23, 1), 0x5a);
    assert_int_equal(f->driver->ops->config_read(f->driver, 24, 4), 0);
    assert_true(negotiate(f, VIRTIO_F_VERSION_1));
    fake_vdpa_take_log();
    f->driver->ops->config_write(f->driver, 8, 2, 0x1234);
    expect("config 8+2");
    assert_int_equal(f->driver->ops->config_read(f->driver, 8, 2), 0x1234);
    f->driver->ops->config_write(f->driver, 22, 4, 0);
    expect("");
}

/* CFG-03, CFG-04 */
static void configuration_changes(void **state)
{
    struct fixture *f = *state;
    uint32_t before;

    start(f);
    before = f->driver->ops->generation(f->driver);
    fake_vdpa.config[0] = 9;
    eventfd_write(fake_vdpa.config_call, 1);
    assert_true(driver_wait(f->driver, DRIVER_INTERRUPT_CONFIG, 5000));
    assert_int_equal(f->driver->ops->config_read(f->driver, 0, 1), 9);
    assert_int_not_equal(f->driver->ops->generation(f->driver), before);
}

/* STAT-03, STAT-04 */
static void needs_reset(void **state)
{
    struct fixture *f = *state;

    start(f);
    atomic_fetch_or(&fake_vdpa.status, VIRTIO_STATUS_NEEDS_RESET);
    eventfd_write(fake_vdpa.config_call, 1);
    assert_true(driver_wait(f->driver, DRIVER_INTERRUPT_CONFIG, 5000));
    assert_true(f->driver->ops->status(f->driver) & VIRTIO_STATUS_NEEDS_RESET);
}

static void interrupts(void **state)
{
    struct fixture *f = *state;

    start(f);
    eventfd_write(fake_vdpa.calls[2], 1);
    assert_true(driver_wait(f->driver, DRIVER_INTERRUPT_QUEUE, 5000));
}

/* --- queues ----------------------------------------------------------------------------------- */

static int set_up_sizes(void **state)
{
    fake_vdpa_init();
    fake_vdpa.queue_sizes[0] = 256;
    fake_vdpa.queue_sizes[1] = 4;
    return set_up_wanting(state, &(struct virtio_features){0});
}

/* Each has its own size where the kernel says so, else the device's largest. */
static void queue_sizes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vhost_vdpa_queue_count(f->backend), 3);
    assert_int_equal(vhost_vdpa_largest_queue(f->backend), 256);
    assert_int_equal(vhost_vdpa_queue_size(f->backend, 0), 256);
    assert_int_equal(vhost_vdpa_queue_size(f->backend, 1), 4);
    assert_int_equal(vhost_vdpa_queue_size(f->backend, 2), 256);
    virtio_device_limit_queue(&f->device, 1, vhost_vdpa_queue_size(f->backend, 1));
    assert_int_equal(f->driver->ops->queue_size_max(f->driver, 0), QUEUE_SIZE);
    assert_int_equal(f->driver->ops->queue_size_max(f->driver, 1), 4);
}

/* What MMIO's QueueReady = 0 does. */
static void stops_alone(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_vdpa_take_log();
    virtio_device_set_queue_enabled(&f->device, 0, false);
    expect("enable 0 0 call 0 off");
}

/* After DRIVER_OK the device takes one more queue, or says why it does not. */
static int start_late(struct fixture *f, struct error *err)
{
    const struct virtqueue_setup setup = {1, QUEUE_SIZE, GPA(RING(1)), GPA(RING(1) + 0x1000),
                                          GPA(RING(1) + 0x2000)};

    return f->backend->ops->queue_start(f->backend, &setup, (struct virtqueue_position){0, 0},
                                        f->device.queues[1].kick_fd, err);
}

static void late_queue(void **state)
{
    struct fixture *f = *state;

    start(f);
    fake_vdpa_take_log();
    assert_int_equal(start_late(f, NULL), 0);
    expect("num 1 16 base 1 0 place 1 call 1 on kick 1 enable 1 1");
    f->backend->ops->queue_stop(f->backend, 1); /* the device does not know of it */
}

static void late_queue_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    start(f);
    fake_vdpa_take_log();
    assert_int_equal(start_late(f, &err), -ENOTSUP);
    assert_string_equal(err.text,
                        "/dev/vhost-vdpa-0: the device takes no more queues once it runs");
    expect("");
}

/* --- what is refused at the start ------------------------------------------------------------- */

static void refused(int code, const char *reason)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    assert_int_equal(create(f, &err), -code);
    if (!strstr(err.text, reason))
        fail_msg("'%s' does not say '%s'", err.text, reason);
    release(f);
}

static void not_there(void **state)
{
    (void)state;
    fake_vdpa_init();
    fake_vdpa.open_error = ENOENT;
    refused(ENOENT, "this host has no /dev/vhost-vdpa-0 (modprobe vhost_vdpa)");
}

static void other_type(void **state)
{
    (void)state;
    fake_vdpa_init();
    fake_vdpa.type = VIRTIO_ID_BLOCK;
    refused(ENODEV, "it is a device of type 2, not 1");
}

static void legacy_only(void **state)
{
    (void)state;
    fake_vdpa_init();
    fake_vdpa.features = 0;
    refused(ENOTSUP, "it serves legacy drivers only");
}

static void no_iotlb(void **state)
{
    (void)state;
    fake_vdpa_init();
    fake_vdpa.backend_features = 0;
    refused(ENOTSUP, "the kernel cannot be told of memory (IOTLB_MSG_V2)");
}

static void absurd_queues(void **state)
{
    (void)state;
    fake_vdpa_init();
    fake_vdpa.queue_count = 100000;
    refused(ENOTSUP, "it has 100000 queues of at most 256 entries");
}

static void out_of_reach(void **state)
{
    (void)state;
    fake_vdpa_init();
    fake_vdpa.range.last = MEMORY - 2;
    refused(ERANGE, "the device reaches addresses 0x0 to 0x3ffffe, and not all of the guest's");
}

/* In a process of its own: a hard limit cannot be raised again, and root could. */
static void may_not_pin(void **state)
{
    const struct rlimit none = {KIB, KIB};
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        fake_vdpa_init();
        if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setresuid(65534, 65534, 65534) < 0)
            _exit(1);
        refused(EPERM, "that is 4096 KiB, and this process may lock 1 KiB");
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define TEST(name)            cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_WITH(name, with) cmocka_unit_test_setup_teardown(name, with, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(features),
        TEST(features_refused),
        TEST(offered),
        TEST(starts_together),
        TEST(stops_together),
        TEST(starts_again),
        TEST(start_refused),
        TEST(queue_refused),
        TEST(ring_outside),
        TEST_WITH(plain, set_up_plain),
        TEST_WITH(suspends, set_up_suspend),
        TEST_WITH(no_resume, set_up_no_resume),
        TEST_WITH(packed, set_up_suspend),
        TEST(configuration),
        TEST(configuration_changes),
        TEST(needs_reset),
        TEST(interrupts),
        TEST_WITH(queue_sizes, set_up_sizes),
        TEST(stops_alone),
        TEST(late_queue),
        TEST_WITH(late_queue_refused, set_up_plain),
        cmocka_unit_test(not_there),
        cmocka_unit_test(other_type),
        cmocka_unit_test(legacy_only),
        cmocka_unit_test(no_iotlb),
        cmocka_unit_test(absurd_queues),
        cmocka_unit_test(out_of_reach),
        cmocka_unit_test(may_not_pin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
