/*
 * The kernel vhost back end as the deputy of a built-in model, with a kernel that the test plays:
 * queues 0 to 3 are lent, two to each of the kernel's devices; queue 4 is the model's.
 */
#include "base/bytes.h"
#include "guest/dirty_log.h"
#include "tests/driver/back_end_events.h"
#include "tests/driver/fake_vhost.h"
#include "tests/driver/ring.h"
#include "virtio/builtin.h"
#include "virtio/vhost_kernel.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define LENT   4
#define QUEUES 5
#define SIZE   16
#define NODE   "/dev/vhost-toy"
#define TAP    77 /* what SET_BACKEND gets */

#define LOG_ALL BIT(26) /* VHOST_F_LOG_ALL */
#define KERNEL                                                                         \
    (BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1) | \
     BIT(VIRTIO_F_ACCESS_PLATFORM) | LOG_ALL)
#define V2 BIT(VHOST_BACKEND_F_IOTLB_MSG_V2)

struct fixture {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend; /* the built-in one */
    struct virtio_builtin *builtin; /* the same */
    struct virtio_backend *vhost;   /* its deputy */
    uint16_t lent;                  /* how many queues the model asks the kernel for */
    struct virtio_features negotiated;
    struct ring rings[QUEUES];
    int kicks[QUEUES];
    struct back_end_events events;
    atomic_int own_turns;
    bool fail_serve;
};

/* --- the model -------------------------------------------------------------------------------- */

static int toy_set_backend(struct fixture *f, uint16_t index, int fd, struct error *err)
{
    return VHOST_FD_VRING_FILE(vhost_kernel_fd(f->vhost, index), VHOST_NET_SET_BACKEND, index % 2,
                               fd, err);
}

static int toy_serve(void *model, uint16_t index, struct error *err)
{
    struct fixture *f = model;

    assert_true(vhost_kernel_queue_started(f->vhost, index));
    if (f->fail_serve)
        return error_set(err, EIO, "the toy fails");
    return toy_set_backend(f, index, TAP, err);
}

static void toy_halt(void *model, uint16_t index)
{
    toy_set_backend(model, index, -1, NULL);
}

static const struct vhost_kernel_type toy_type = {
    .node = NODE,
    .module = "vhost_toy",
    .vrings = 2,
    .backend_features = V2,
    .workers = true,
    .serve = toy_serve,
    .halt = toy_halt,
};

static int toy_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    struct fixture *f = *(struct fixture *const *)options;
    const struct vhost_kernel_options kernel = {
        .type = &toy_type,
        .model = f,
        .queue_count = f->lent,
        .busy_poll_us = 50,
        .system = &fake_vhost_system,
    };
    int ret = vhost_kernel_create(&kernel, virtio_builtin_memory(b), virtio_builtin_loop(b),
                                  &f->vhost, err);

    if (ret)
        return ret;
    virtio_builtin_set_deputy(b, f->vhost);
    f->builtin = b;
    *out = f;
    return 0;
}

static void toy_destroy(void *model)
{
    (void)model;
}

static void toy_get_features(void *model, struct virtio_features *out)
{
    (void)model;
    features_set(out, 5, true);
}

static bool toy_queue_lent(void *model, uint16_t index)
{
    (void)model;
    return index < LENT;
}

static int toy_queue_ready(void *model, struct virtqueue *queue)
{
    struct fixture *f = model;

    assert_int_equal(queue->index, LENT);
    atomic_fetch_add(&f->own_turns, 1);
    return 0;
}

static const struct virtio_model toy_model = {
    .name = "toy",
    .create_vhost = toy_create,
    .destroy = toy_destroy,
    .get_features = toy_get_features,
    .queue_ready = toy_queue_ready,
    .queue_lent = toy_queue_lent,
};

/* --- the device ------------------------------------------------------------------------------- */

static int create(struct fixture *f, struct error *err)
{
    return virtio_builtin_create_vhost(&toy_model, &f, &f->memory, f->loop, QUEUES, SIZE,
                                       &f->backend, err);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    fake_vhost_init(KERNEL, V2);
    f->lent = LENT;
    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MIB, 0, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    f->events.fd = -1;
    for (uint16_t i = 0; i < QUEUES; i++) {
        f->kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ring_init(&f->rings[i], &f->memory, UINT64_C(0x10000) * i, SIZE, false);
    }
    *state = f;
    return 0;
}

/* With a device, on a loop that runs. */
static int setup_device(void **state)
{
    struct fixture *f;

    setup(state);
    f = *state;
    assert_int_equal(create(f, NULL), 0);
    f->backend->name = "toy0";
    back_end_events_init(&f->events, f->backend);
    assert_int_equal(loop_start_thread(f->loop, "toy", NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->backend) {
        f->backend->ops->destroy(f->backend);
        loop_join_thread(f->loop);
    }
    loop_destroy(f->loop);
    guest_memory_destroy(&f->memory);
    for (uint16_t i = 0; i < QUEUES; i++) {
        ring_destroy(&f->rings[i]);
        close(f->kicks[i]);
    }
    back_end_events_destroy(&f->events);
    fake_vhost_end();
    free(f);
    return 0;
}

static int negotiate(struct fixture *f, uint64_t bits)
{
    f->negotiated = (struct virtio_features){{(uint32_t)bits, (uint32_t)(bits >> 32)}};
    return f->backend->ops->set_features(f->backend, &f->negotiated);
}

static int start(struct fixture *f, uint16_t index, struct error *err)
{
    const struct ring *ring = &f->rings[index];
    const struct virtqueue_setup queue = {index, SIZE, GPA(ring->desc), GPA(ring->avail),
                                          GPA(ring->used)};

    return f->backend->ops->queue_start(f->backend, &queue, (struct virtqueue_position){3, 3},
                                        f->kicks[index], err);
}

static struct fake_vring *vring_of(uint16_t index)
{
    return &fake_vhost.devices[index / 2].vrings[index % 2];
}

/* --- creation --------------------------------------------------------------------------------- */

static void test_creation_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    fake_vhost.open_error = ENOENT;
    assert_int_equal(create(f, &err), -ENOENT);
    assert_string_equal(err.text, "this host has no " NODE " (modprobe vhost_toy)");

    fake_vhost_init(KERNEL & ~BIT(VIRTIO_F_VERSION_1), V2);
    assert_int_equal(create(f, &err), -ENOTSUP);
    assert_string_equal(err.text, NODE ": this kernel's is older than virtio 1.0");
    fake_vhost_end();

    fake_vhost_init(KERNEL, V2);
    fake_vhost.vrings = 1;
    assert_int_equal(create(f, &err), -ENOTSUP);
    assert_string_equal(err.text, NODE " has no more than 1 queues");
    fake_vhost_end();

    fake_vhost_init(KERNEL, V2);
    fake_vhost.refused = VHOST_SET_MEM_TABLE;
    fake_vhost.refused_error = E2BIG;
    assert_int_equal(create(f, &err), -E2BIG);
    f->backend = NULL;
}

/* FEAT-01: of rings, what the kernel has; of the type, what the model has */
static void test_features(void **state)
{
    struct fixture *f = *state;
    struct virtio_features offered;

    assert_int_equal(fake_vhost.device_count, LENT / 2);
    assert_int_equal(fake_vhost.devices[1].region_count, 1);
    f->backend->ops->features(f->backend, &offered);
    assert_true(f->backend->foreign);
    assert_true(features_has(&offered, 5));
    assert_true(features_has(&offered, VIRTIO_F_EVENT_IDX));
    assert_true(features_has(&offered, VIRTIO_F_ACCESS_PLATFORM));
    assert_false(features_has(&offered, VIRTIO_F_RING_PACKED));
    assert_false(features_has(&offered, 26));
    assert_int_equal(negotiate(f, BIT(5) | BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1)), 0);
    for (int i = 0; i < LENT / 2; i++) /* bit 5 is not the kernel's */
        assert_int_equal(fake_vhost.devices[i].features,
                         BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1));
    /* FEAT-08 */
    fake_vhost.refused = VHOST_SET_FEATURES;
    fake_vhost.refused_error = EINVAL;
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), -EINVAL);
}

static void test_no_translation_by_old_kernels(void **state)
{
    struct fixture *f = *state;
    struct virtio_features offered;

    fake_vhost_init(KERNEL, 0);
    assert_int_equal(create(f, NULL), 0);
    f->backend->ops->features(f->backend, &offered);
    assert_false(features_has(&offered, VIRTIO_F_ACCESS_PLATFORM));
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
}

static void test_a_thread_for_each_queue(void **state)
{
    struct fixture *f = *state;

    fake_vhost.has_workers = true;
    assert_int_equal(create(f, NULL), 0);
    for (uint16_t i = 0; i < LENT; i++)
        assert_int_equal(vring_of(i)->worker, i + 1);
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
}

/* --- queues ----------------------------------------------------------------------------------- */

/* STAT-07 */
static void test_start_and_stop(void **state)
{
    struct fixture *f = *state;
    struct fake_vring *vring = vring_of(3);
    struct virtqueue_position position;

    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(start(f, 3, NULL), 0);
    assert_int_equal(vring->num, SIZE);
    assert_int_equal(vring->base, 3);
    assert_int_equal(vring->busy_poll, 50);
    assert_int_equal(vring->address.desc_user_addr,
                     (uintptr_t)guest_memory_map(&f->memory, GPA(f->rings[3].desc), 1));
    assert_int_equal(vring->kick, f->kicks[3]);
    assert_true(vring->call >= 0 && vring->error >= 0);
    assert_int_equal(vring->backend, TAP);
    assert_int_equal(vring_of(2)->backend, -1);

    vring->base = 9; /* the kernel has taken six buffers */
    position = f->backend->ops->queue_stop(f->backend, 3);
    assert_int_equal(position.avail, 9);
    assert_int_equal(vring->backend, -1);
    assert_int_equal(vring->kick, -1);
    assert_int_equal(vring->call, -1);
    assert_int_equal(vring->address.used_user_addr, 0); /* forgotten */
    assert_int_equal(start(f, 3, NULL), 0);             /* and again */
    assert_int_equal(vring->backend, TAP);
    f->backend->ops->queue_stop(f->backend, 3);
}

static void test_own_queue(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    f->rings[LENT].avail_idx = 3; /* where start() has it stand */
    ring_publish(&f->rings[LENT]);
    assert_int_equal(start(f, LENT, NULL), 0);
    eventfd_write(f->kicks[LENT], 1);
    for (int i = 0; i < 1000 && !atomic_load(&f->own_turns); i++)
        poll(NULL, 0, 10);
    assert_true(atomic_load(&f->own_turns) > 0);
    f->backend->ops->queue_stop(f->backend, LENT);
}

/* Nothing of a start that fails is left at the kernel. DRV-QCFG-06 */
static void test_start_fails(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    uint64_t used = f->rings[0].used;

    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    f->rings[0].used = MIB - 4;
    assert_int_equal(start(f, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "DRV-QCFG-06"));
    assert_int_equal(vring_of(0)->num, 0);
    f->rings[0].used = used;

    f->fail_serve = true;
    assert_int_equal(start(f, 0, &err), -EIO);
    assert_int_equal(vring_of(0)->kick, -1);
    assert_int_equal(vring_of(0)->backend, -1);
    assert_false(vhost_kernel_queue_started(f->vhost, 0));
    f->fail_serve = false;

    fake_vhost.refused = VHOST_SET_VRING_KICK;
    fake_vhost.refused_error = EBADF;
    assert_int_equal(start(f, 0, &err), -EBADF);
    assert_string_equal(err.text, NODE ": VHOST_SET_VRING_KICK: Bad file descriptor");
    assert_int_equal(vring_of(0)->backend, -1);
}

/* STAT-04. Without a transport that takes the eventfd, interrupts come by the loop */
static void test_signals(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(start(f, 1, NULL), 0);
    eventfd_write(vring_of(1)->call, 1);
    assert_true(back_end_events_wait(&f->events, 10000));
    assert_int_equal(atomic_load(&f->events.queue), 1);
    eventfd_write(vring_of(1)->error, 1);
    assert_true(back_end_events_wait(&f->events, 10000));
    assert_int_equal(atomic_load(&f->events.needs_reset), 1);
    f->backend->ops->queue_stop(f->backend, 1);
    f->backend->ops->reset(f->backend);
}

/* --- translation ------------------------------------------------------------------------------ */

/* A kernel that has had an IOTLB keeps using it. */
static void test_access_platform(void **state)
{
    struct fixture *f = *state;
    uint64_t translated = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM);

    assert_int_equal(negotiate(f, translated), 0);
    for (int i = 0; i < LENT / 2; i++) {
        assert_int_equal(fake_vhost.devices[i].message_count, 1);
        assert_int_equal(fake_vhost.devices[i].messages[0].iotlb.size, MIB);
    }
    assert_int_equal(start(f, 1, NULL), 0);
    assert_int_equal(vring_of(1)->address.desc_user_addr, f->rings[1].desc);
    f->backend->ops->queue_stop(f->backend, 1);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(start(f, 1, NULL), 0);
    assert_int_equal(vring_of(1)->address.desc_user_addr, f->rings[1].desc);
    f->backend->ops->queue_stop(f->backend, 1);
}

/* DRV-RING-09 */
static void test_address_outside_of_memory(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM)), 0);
    assert_int_equal(start(f, 2, NULL), 0);
    fake_vhost_miss(&fake_vhost.devices[1], 2 * MIB);
    assert_true(back_end_events_wait(&f->events, 10000));
    assert_int_equal(atomic_load(&f->events.needs_reset), 1);
    f->backend->ops->queue_stop(f->backend, 2);
}

/* What a driver asked for that is gone is no affair of the next one's (STAT-06). */
static void test_reset_forgets_misses(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(create(f, NULL), 0);
    back_end_events_init(&f->events, f->backend);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM)), 0);
    assert_int_equal(start(f, 2, NULL), 0);
    fake_vhost_miss(&fake_vhost.devices[1], 2 * MIB);
    fake_vhost_miss(&fake_vhost.devices[1], 3 * MIB);
    f->backend->ops->queue_stop(f->backend, 2);
    f->backend->ops->reset(f->backend);
    assert_int_equal(loop_start_thread(f->loop, "toy", NULL), 0);
    assert_false(back_end_events_wait(&f->events, 100));
}

/* --- the log of dirty pages ------------------------------------------------------------------- */

static int set_log(struct fixture *f, struct dirty_log *log, struct error *err)
{
    return f->backend->ops->dirty_log(f->backend, log, err);
}

/* Whether the kernel logs a queue, at the right place. */
static bool logged(const struct fixture *f, uint16_t index)
{
    const struct vhost_vring_addr *address = &vring_of(index)->address;
    bool flag = address->flags & 1 << VHOST_VRING_F_LOG;

    assert_int_equal(address->log_guest_addr, flag ? f->rings[index].used : 0);
    assert_int_equal(address->used_user_addr,
                     (uintptr_t)guest_memory_map(&f->memory, GPA(f->rings[index].used), 1));
    return flag;
}

static void test_dirty_log(void **state)
{
    struct fixture *f = *state;
    struct dirty_log log;

    assert_int_equal(dirty_log_create(&log, &f->memory, NULL), 0);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(start(f, 0, NULL), 0);
    assert_int_equal(start(f, 3, NULL), 0);
    assert_false(logged(f, 0));

    assert_int_equal(set_log(f, &log, NULL), 0);
    for (int i = 0; i < LENT / 2; i++) {
        assert_int_equal(fake_vhost.devices[i].log_base, (uintptr_t)log.bits);
        assert_int_equal(fake_vhost.devices[i].features, BIT(VIRTIO_F_VERSION_1) | LOG_ALL);
    }
    assert_true(logged(f, 0));
    assert_true(logged(f, 3));
    assert_int_equal(vring_of(1)->address.flags, 0); /* not started */
    assert_int_equal(start(f, 1, NULL), 0);
    assert_true(logged(f, 1));

    assert_int_equal(set_log(f, NULL, NULL), 0);
    for (int i = 0; i < LENT / 2; i++)
        assert_int_equal(fake_vhost.devices[i].features, BIT(VIRTIO_F_VERSION_1));
    assert_false(logged(f, 0));
    assert_false(logged(f, 1));
    assert_false(logged(f, 3));
    dirty_log_destroy(&log);
}

/* Before features are agreed on they are not told; a reset leaves the log there. */
static void test_dirty_log_before_features(void **state)
{
    struct fixture *f = *state;
    struct dirty_log log;

    assert_int_equal(dirty_log_create(&log, &f->memory, NULL), 0);
    assert_int_equal(set_log(f, &log, NULL), 0);
    assert_int_equal(fake_vhost.devices[0].features, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
        assert_int_equal(fake_vhost.devices[0].features, BIT(VIRTIO_F_VERSION_1) | LOG_ALL);
        assert_int_equal(start(f, 0, NULL), 0);
        assert_true(logged(f, 0));
        f->backend->ops->queue_stop(f->backend, 0);
        f->backend->ops->reset(f->backend);
    }
    assert_int_equal(set_log(f, NULL, NULL), 0);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(fake_vhost.devices[0].features, BIT(VIRTIO_F_VERSION_1));
    dirty_log_destroy(&log);
}

static void test_dirty_log_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct dirty_log log;

    assert_int_equal(dirty_log_create(&log, &f->memory, NULL), 0);
    fake_vhost_init(KERNEL & ~LOG_ALL, V2);
    assert_int_equal(create(f, NULL), 0);
    assert_int_equal(set_log(f, &log, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "this kernel's " NODE " cannot tell what it writes"));
    assert_int_equal(fake_vhost.devices[0].log_base, 0);
    assert_int_equal(set_log(f, NULL, NULL), 0);
    f->backend->ops->destroy(f->backend);
    fake_vhost_end();

    fake_vhost_init(KERNEL, V2);
    assert_int_equal(create(f, NULL), 0);
    fake_vhost.refused = VHOST_SET_LOG_BASE;
    fake_vhost.refused_error = EFAULT;
    assert_int_equal(set_log(f, &log, NULL), -EFAULT);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(fake_vhost.devices[0].features, BIT(VIRTIO_F_VERSION_1));
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
    dirty_log_destroy(&log);
}

/* The log goes away all the same: our own queues must not use it. */
static void test_dirty_log_end_refused(void **state)
{
    struct fixture *f = *state;
    struct dirty_log log;

    assert_int_equal(dirty_log_create(&log, &f->memory, NULL), 0);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1)), 0);
    assert_int_equal(start(f, LENT, NULL), 0);
    assert_int_equal(set_log(f, &log, NULL), 0);
    assert_ptr_equal(virtio_builtin_queue(f->builtin, LENT)->log, &log);
    fake_vhost.refused = VHOST_SET_FEATURES;
    fake_vhost.refused_error = ENOMEM;
    assert_int_equal(set_log(f, NULL, NULL), -ENOMEM);
    assert_null(virtio_builtin_queue(f->builtin, LENT)->log);
    f->backend->ops->queue_stop(f->backend, LENT);
    dirty_log_destroy(&log);
}

/* The kernel's IOTLB is a new one then: a queue that came by before it was filled has stopped. */
static void test_dirty_log_while_translating(void **state)
{
    struct fixture *f = *state;
    struct dirty_log log;
    struct pollfd kicked = {.fd = f->kicks[2], .events = POLLIN};

    assert_int_equal(dirty_log_create(&log, &f->memory, NULL), 0);
    assert_int_equal(negotiate(f, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM)), 0);
    assert_int_equal(start(f, 0, NULL), 0);
    assert_int_equal(start(f, 2, NULL), 0);
    assert_int_equal(set_log(f, &log, NULL), 0);
    assert_int_equal(fake_vhost.devices[1].message_count, 2);
    fake_vhost_miss(&fake_vhost.devices[1], f->rings[2].avail);
    assert_int_equal(poll(&kicked, 1, 10000), 1);
    kicked.fd = f->kicks[0]; /* another device's */
    assert_int_equal(poll(&kicked, 1, 0), 0);
    assert_int_equal(set_log(f, NULL, NULL), 0); /* after the miss, on the loop */
    assert_int_equal(atomic_load(&f->events.needs_reset), 0);
    dirty_log_destroy(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_creation_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_features, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_no_translation_by_old_kernels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_thread_for_each_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_and_stop, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_own_queue, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_start_fails, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_signals, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_access_platform, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_address_outside_of_memory, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_reset_forgets_misses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dirty_log, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_dirty_log_before_features, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_dirty_log_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dirty_log_end_refused, setup_device, teardown),
        cmocka_unit_test_setup_teardown(test_dirty_log_while_translating, setup_device, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
