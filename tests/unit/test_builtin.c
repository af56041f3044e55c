/*
 * The built-in back end: a toy model on a loop's thread, a driver on this one.
 *
 * Queue 0 of the toy echoes (readable part to writable part, at once); queue 1 keeps buffers until
 * it is told to give them back, as a disk keeps requests in flight; queue 2 takes one buffer a
 * turn, as a network card that has received one packet.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "tests/driver/ring.h"
#include "virtio/builtin.h"
#include "virtio/device.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE   64
#define QUEUES 3
#define DATA   0x200000

enum { ECHO, KEEP, ONE };

/* What a second model does that differs: it wants no kicks, and holds interrupts back. */
static atomic_uint held_back;

struct toy;

struct toy_options {
    bool refuse;
    struct toy **show; /* where a test finds the model's state */
};

struct toy {
    struct virtio_builtin *builtin;
    struct virtqueue_buffer *kept[SIZE];
    unsigned kept_count;
    struct virtio_features negotiated;
    atomic_uint resets, turns, config;
    bool ask_for_io_error;
    struct virtqueue *echo;
    struct ring *endless; /* a driver that adds a buffer for each one used */
};

static int toy_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    const struct toy_options *o = options;
    struct toy *toy;

    if (o->refuse)
        return error_set(err, EACCES, "the toy refuses");
    toy = calloc(1, sizeof(*toy));
    toy->builtin = b;
    assert_int_equal(virtio_builtin_queue_count(b), QUEUES);
    assert_non_null(virtio_builtin_loop(b));
    *out = toy;
    *o->show = toy;
    return 0;
}

static void toy_destroy(void *model)
{
    free(model);
}

static void toy_get_features(void *model, struct virtio_features *out)
{
    (void)model;
    features_set(out, 5, true);
}

static void toy_set_features(void *model, const struct virtio_features *negotiated)
{
    struct toy *toy = model;

    toy->negotiated = *negotiated;
}

static void toy_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    struct toy *toy = model;
    uint8_t config[4];

    store_le32(config, atomic_load(&toy->config));
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

static int echo_ready(struct toy *toy, struct virtqueue *queue)
{
    struct virtqueue_buffer *b;
    uint8_t data[64];
    int ret;

    while ((ret = virtqueue_pop(queue, &b)) > 0) {
        size_t n = virtqueue_read(b, 0, data, sizeof(data));

        virtqueue_push(queue, b, (uint32_t)virtqueue_write(b, 0, data, n));
        if (toy->endless) {
            virtqueue_publish(queue);
            ring_offer(toy->endless, 0);
            ring_publish(toy->endless);
        }
    }
    return ret;
}

static int keep_ready(struct toy *toy, struct virtqueue *queue)
{
    int ret;

    while ((ret = virtqueue_pop(queue, &toy->kept[toy->kept_count])) > 0)
        toy->kept_count++;
    return ret;
}

static int one_ready(struct virtqueue *queue)
{
    struct virtqueue_buffer *b;
    int ret = virtqueue_pop(queue, &b);

    if (ret > 0)
        virtqueue_push(queue, b, 0);
    return ret < 0 ? ret : 0;
}

static int toy_queue_ready(void *model, struct virtqueue *queue)
{
    struct toy *toy = model;

    atomic_fetch_add(&toy->turns, 1);
    if (toy->ask_for_io_error)
        return -EIO;
    switch (queue->index) {
    case ECHO:
        toy->echo = queue;
        return echo_ready(toy, queue);
    case KEEP:
        return keep_ready(toy, queue);
    default:
        return one_ready(queue);
    }
}

static void toy_queue_drain(void *model, struct virtqueue *queue)
{
    struct toy *toy = model;

    while (queue->index == KEEP && toy->kept_count > 0)
        virtqueue_push(queue, toy->kept[--toy->kept_count], 1);
}

static void toy_reset(void *model)
{
    struct toy *toy = model;

    assert_int_equal(toy->kept_count, 0);
    atomic_fetch_add(&toy->resets, 1);
}

static const struct virtio_model toy_model = {
    .name = "toy",
    .id = VIRTIO_ID_ENTROPY,
    .create = toy_create,
    .destroy = toy_destroy,
    .get_features = toy_get_features,
    .set_features = toy_set_features,
    .config_read = toy_config_read,
    .queue_ready = toy_queue_ready,
    .queue_drain = toy_queue_drain,
    .reset = toy_reset,
};

static int quiet_queue_ready(void *model, struct virtqueue *queue)
{
    int ret = toy_queue_ready(model, queue);

    return ret < 0 ? ret : VIRTIO_QUEUE_QUIET;
}

static void quiet_queue_notify(void *model, struct virtqueue *queue)
{
    (void)model;
    (void)queue;
    atomic_fetch_add(&held_back, 1);
}

/* --- fixture ---------------------------------------------------------------------------------- */

struct fixture {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;
    struct toy *toy;
    struct virtio_device dev;
    struct ring ring[QUEUES];
    int interrupt[QUEUES]; /* eventfds, as irqfds would be */
    int config_interrupt;
};

static void notify_queue(void *transport, uint16_t index)
{
    struct fixture *f = transport;

    eventfd_write(f->interrupt[index], 1);
}

static void notify_config(void *transport)
{
    struct fixture *f = transport;

    eventfd_write(f->config_interrupt, 1);
}

static const struct virtio_transport_ops transport = {
    .notify_queue = notify_queue,
    .notify_config = notify_config,
};

static struct virtio_model quiet_model;

static int setup_model(void **state, const struct virtio_model *model)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct toy_options options = {.show = &f->toy};

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, 4 * MIB, 0, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    assert_int_equal(
        virtio_builtin_create(model, &options, &f->memory, f->loop, QUEUES, 128, &f->backend, NULL),
        0);
    assert_int_equal(virtio_device_init(&f->dev, VIRTIO_ID_ENTROPY, "toy0", f->backend, QUEUES,
                                        SIZE, &(struct virtio_features){0},
                                        &(struct virtio_features){0}, NULL),
                     0);
    for (int i = 0; i < QUEUES; i++)
        f->interrupt[i] = eventfd(0, EFD_NONBLOCK);
    f->config_interrupt = eventfd(0, EFD_NONBLOCK);
    virtio_device_attach(&f->dev, &transport, f);
    assert_int_equal(loop_start_thread(f->loop, "toy", NULL), 0);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_model(state, &toy_model);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    virtio_device_destroy(&f->dev);
    loop_join_thread(f->loop);
    loop_destroy(f->loop);
    for (int i = 0; i < QUEUES; i++) {
        close(f->interrupt[i]);
        ring_destroy(&f->ring[i]);
    }
    close(f->config_interrupt);
    guest_memory_destroy(&f->memory);
    free(f);
    return 0;
}

static void negotiate(struct fixture *f, bool event_idx)
{
    virtio_device_set_status(&f->dev, 0);
    virtio_device_set_status(&f->dev, 3);
    virtio_device_set_driver_features(
        &f->dev, 0, BIT(5) | BIT(VIRTIO_F_INDIRECT_DESC) | (event_idx ? BIT(29) : 0));
    virtio_device_set_driver_features(&f->dev, 1, 1);
    virtio_device_set_status(&f->dev, 11);
    assert_int_equal(virtio_device_status(&f->dev), 11);
}

static void enable_queue(struct fixture *f, uint16_t i, bool event_idx)
{
    struct ring *r = &f->ring[i];

    ring_destroy(r);
    ring_init(r, &f->memory, 0x10000 + i * align_up(ring_bytes(SIZE), 4096), SIZE, event_idx);
    virtio_device_set_queue_address(&f->dev, i, VIRTIO_QUEUE_DESC, false, (uint32_t)r->desc);
    virtio_device_set_queue_address(&f->dev, i, VIRTIO_QUEUE_DRIVER, false, (uint32_t)r->avail);
    virtio_device_set_queue_address(&f->dev, i, VIRTIO_QUEUE_DEVICE, false, (uint32_t)r->used);
    virtio_device_set_queue_enabled(&f->dev, i, true);
}

static void go_live(struct fixture *f, bool event_idx)
{
    negotiate(f, event_idx);
    for (uint16_t i = 0; i < QUEUES; i++)
        enable_queue(f, i, event_idx);
    virtio_device_set_status(&f->dev, 15);
    assert_int_equal(virtio_device_status(&f->dev), 15);
}

/* An interrupt within some seconds; takes it. */
static bool interrupted(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    eventfd_t count;

    if (poll(&p, 1, 5000) != 1)
        return false;
    return eventfd_read(fd, &count) == 0;
}

static void kick(struct fixture *f, uint16_t queue)
{
    if (ring_wants_kick(&f->ring[queue]))
        virtio_device_kick(&f->dev, queue);
}

/* Everything the loop had to do so far is done. */
static void nothing(void *arg)
{
    (void)arg;
}

static void settle(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        loop_call(f->loop, nothing, NULL);
}

/* Collect from a queue, waiting for interrupts when the driver sleeps. */
static struct ring_used collect(struct fixture *f, uint16_t queue)
{
    struct ring_used used;

    while (!ring_collect(&f->ring[queue], &used))
        if (!ring_enable_interrupts(&f->ring[queue]))
            assert_true(interrupted(f->interrupt[queue]));
    return used;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void check_echo(struct fixture *f, bool event_idx)
{
    const struct ring_element e[] = {{DATA, 5, false}, {DATA + 64, 64, true}};

    go_live(f, event_idx);
    for (int i = 0; i < 3000; i++) {
        enum ring_style style = i % 3 == 0 ? RING_DIRECT : i % 3 == 1 ? RING_TABLE : RING_MIXED;
        int head;

        memcpy(guest_memory_map(&f->memory, GPA(DATA), 5), "hello", 5);
        memset(guest_memory_map(&f->memory, GPA(DATA + 64), 64), 0, 64);
        head = ring_add(&f->ring[ECHO], e, 2, style);
        ring_publish(&f->ring[ECHO]);
        kick(f, ECHO);
        struct ring_used used = collect(f, ECHO);

        assert_int_equal(used.id, head);
        assert_int_equal(used.length, 5);
        assert_memory_equal(guest_memory_map(&f->memory, GPA(DATA + 64), 5), "hello", 5);
    }
    assert_true(features_has(&f->toy->negotiated, 5));
}

static void echo_with_flags(void **state)
{
    check_echo(*state, false);
}

static void echo_with_event_idx(void **state)
{
    check_echo(*state, true);
}

/* As many as fit are always on their way: batches, suppression and wraps on both sides, and never a
 * lost notification (EVT-06). */
static void check_stream(struct fixture *f, bool event_idx)
{
    const struct ring_element e = {DATA, 64, true};
    unsigned added = 0, collected = 0;

    go_live(f, event_idx);
    while (collected < 100000) {
        while (added < 100000 && ring_add(&f->ring[ECHO], &e, 1, RING_DIRECT) >= 0) {
            added++;
            if (added % 7 == 0) {
                ring_publish(&f->ring[ECHO]);
                kick(f, ECHO);
            }
        }
        ring_publish(&f->ring[ECHO]);
        kick(f, ECHO);
        collect(f, ECHO);
        collected++;
    }
}

static void evt_06_stream_with_flags(void **state)
{
    check_stream(*state, false);
}

static void evt_06_stream_with_event_idx(void **state)
{
    check_stream(*state, true);
}

static void drv_init_11_buffers_from_before_driver_ok(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA, 64, true};

    negotiate(f, true);
    enable_queue(f, ECHO, true);
    ring_add(&f->ring[ECHO], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[ECHO]);
    settle(f);
    assert_int_equal(ring_used_idx(&f->ring[ECHO]), 0); /* STAT-02 */
    virtio_device_set_status(&f->dev, 15);
    assert_int_equal(collect(f, ECHO).id, 0);
}

/* A queue's buffers that the model leaves alone neither keep the loop busy nor stop new kicks. */
static void buffers_may_be_left_in_the_ring(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA, 64, true};
    unsigned turns;

    go_live(f, true);
    for (int i = 0; i < 10; i++)
        ring_add(&f->ring[ONE], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[ONE]);
    kick(f, ONE);
    collect(f, ONE);
    settle(f);
    turns = atomic_load(&f->toy->turns);
    settle(f);
    assert_int_equal(atomic_load(&f->toy->turns), turns);
    ring_add(&f->ring[ONE], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[ONE]);
    assert_true(ring_wants_kick(&f->ring[ONE]));
    virtio_device_kick(&f->dev, ONE);
    collect(f, ONE);
}

/* STAT-07: reset returns what is in flight, and nothing comes after it. */
static void stat_07_reset_in_flight(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA, 64, true};

    for (int round = 0; round < 20; round++) {
        go_live(f, true);
        for (int i = 0; i < 10; i++)
            ring_add(&f->ring[KEEP], &e, 1, RING_DIRECT);
        ring_publish(&f->ring[KEEP]);
        kick(f, KEEP);
        if (round % 2)
            settle(f);
        virtio_device_set_status(&f->dev, 0);
        assert_int_equal(f->toy->kept_count, 0);
        assert_true(ring_used_idx(&f->ring[KEEP]) == 0 || ring_used_idx(&f->ring[KEEP]) == 10);
        eventfd_write(f->dev.queues[KEEP].kick_fd, 1); /* STAT-06: nobody listens */
        settle(f);
    }
    assert_int_equal(atomic_load(&f->toy->resets), 40);
}

static void mmio_13_one_queue_stops_alone(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA, 64, true};

    go_live(f, true);
    ring_add(&f->ring[KEEP], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[KEEP]);
    kick(f, KEEP);
    settle(f);
    virtio_device_set_queue_enabled(&f->dev, KEEP, false);
    assert_int_equal(ring_used_idx(&f->ring[KEEP]), 1);
    ring_add(&f->ring[ECHO], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[ECHO]);
    kick(f, ECHO);
    collect(f, ECHO);
}

/* RING-17, STAT-03, STAT-04: told once, what is in flight is completed, other queues go on. */
static void ring_17_broken_ring_needs_reset(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA, 64, true};
    eventfd_t count;

    go_live(f, true);
    ring_add(&f->ring[KEEP], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[KEEP]);
    kick(f, KEEP);
    settle(f);
    ring_offer(&f->ring[KEEP], 999);
    ring_publish(&f->ring[KEEP]);
    kick(f, KEEP);
    assert_true(interrupted(f->config_interrupt));
    assert_int_equal(virtio_device_status(&f->dev), 15 | VIRTIO_STATUS_NEEDS_RESET);
    virtio_device_kick(&f->dev, KEEP); /* DRV-INIT-19 */
    ring_add(&f->ring[ECHO], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[ECHO]);
    kick(f, ECHO);
    collect(f, ECHO);
    assert_int_equal(eventfd_read(f->config_interrupt, &count), -1); /* once */
    virtio_device_set_status(&f->dev, 0);
    assert_int_equal(ring_used_idx(&f->ring[KEEP]), 1);
    check_echo(f, true); /* as good as new */
    ring_offer(&f->ring[KEEP], 999);
    ring_publish(&f->ring[KEEP]);
    virtio_device_kick(&f->dev, KEEP);
    assert_true(interrupted(f->config_interrupt)); /* and told again */
}

/* A model may find a ring broken when it pops on its own account. */
static void pop_outside_of_a_turn(void *arg)
{
    struct toy *toy = arg;
    struct virtqueue_buffer *b;

    assert_int_equal(virtqueue_pop(toy->echo, &b), -EPROTO);
    virtio_builtin_broken(toy->builtin, toy->echo);
    virtio_builtin_broken(toy->builtin, toy->echo);
}

static void ring_17_found_outside_of_a_turn(void **state)
{
    struct fixture *f = *state;
    eventfd_t count;

    go_live(f, true);
    virtio_device_kick(&f->dev, ECHO);
    settle(f);
    ring_offer(&f->ring[ECHO], 999);
    ring_publish(&f->ring[ECHO]);
    loop_call(f->loop, pop_outside_of_a_turn, f->toy);
    assert_int_equal(virtio_device_status(&f->dev), 15 | VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(eventfd_read(f->config_interrupt, &count), 0);
    assert_int_equal(count, 1);
}

static void set_io_error(void *arg)
{
    struct toy *toy = arg;

    toy->ask_for_io_error = true;
}

static void stat_03_a_model_that_cannot_go_on(void **state)
{
    struct fixture *f = *state;

    go_live(f, true);
    loop_call(f->loop, set_io_error, f->toy);
    virtio_device_kick(&f->dev, ECHO);
    assert_true(interrupted(f->config_interrupt));
    assert_int_equal(virtio_device_status(&f->dev), 15 | VIRTIO_STATUS_NEEDS_RESET);
}

/* PCIC-16 */
static void ring_17_bad_addresses(void **state)
{
    struct fixture *f = *state;

    negotiate(f, true);
    virtio_device_set_queue_address(&f->dev, ECHO, VIRTIO_QUEUE_DESC, true, 0xffff);
    virtio_device_set_queue_enabled(&f->dev, ECHO, true);
    virtio_device_set_status(&f->dev, 15);
    assert_int_equal(virtio_device_status(&f->dev), 15 | VIRTIO_STATUS_NEEDS_RESET);
    assert_true(interrupted(f->config_interrupt));
}

static void change_config(void *arg)
{
    struct toy *toy = arg;

    atomic_fetch_add(&toy->config, 0x01010101);
    virtio_builtin_config_changed(toy->builtin);
}

static void cfg_04_config_change_from_the_loop(void **state)
{
    struct fixture *f = *state;
    uint32_t generation;
    uint8_t data[4];

    go_live(f, true);
    virtio_device_config_read(&f->dev, 0, data, 4);
    assert_int_equal(load_le32(data), 0);
    generation = virtio_device_config_generation(&f->dev);
    loop_call(f->loop, change_config, f->toy);
    assert_true(interrupted(f->config_interrupt));
    assert_int_not_equal(virtio_device_config_generation(&f->dev), generation);
    virtio_device_config_read(&f->dev, 0, data, 4);
    assert_int_equal(load_le32(data), 0x01010101);
}

/* A driver that adds without end: other queues get their turn, and a reset gets through. */
static void a_busy_queue_leaves_others_their_turn(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA, 64, true};

    go_live(f, true);
    for (int i = 0; i < 2; i++) /* the kick that every start brings is over */
        loop_call(f->loop, nothing, NULL);
    f->toy->endless = &f->ring[ECHO];
    ring_add(&f->ring[ECHO], &e, 1, RING_DIRECT);
    ring_publish(&f->ring[ECHO]);
    virtio_device_kick(&f->dev, ECHO); /* the ring is the loop's from here on */
    for (int i = 0; i < 50; i++) {
        ring_add(&f->ring[ONE], &e, 1, RING_DIRECT);
        ring_publish(&f->ring[ONE]);
        virtio_device_kick(&f->dev, ONE);
        collect(f, ONE);
    }
    virtio_device_set_status(&f->dev, 0);
}

/* Resets by one thread, register accesses by another, and a loop that reports all the time: whoever
 * waits for the loop holds the device's lock, so nothing on the loop may want it. */
struct poker {
    struct fixture *f;
    atomic_bool stop;
};

static void *poke(void *arg)
{
    struct poker *poker = arg;
    struct virtio_device *dev = &poker->f->dev;
    uint8_t data[4];

    while (!atomic_load(&poker->stop)) {
        virtio_device_config_read(dev, 0, data, 4);
        virtio_device_config_generation(dev);
        virtio_device_kick(dev, ECHO);
        virtio_device_status(dev);
        loop_call(poker->f->loop, change_config, poker->f->toy);
    }
    return NULL;
}

static void loop_and_control_lock_never_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    struct poker poker = {.f = f};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, poke, &poker), 0);
    for (int i = 0; i < 300; i++) {
        const struct ring_element e = {DATA, 64, true};

        go_live(f, i % 2);
        ring_add(&f->ring[ECHO], &e, 1, RING_DIRECT);
        if (i % 3 == 0)
            ring_offer(&f->ring[ECHO], 999); /* NEEDS_RESET meanwhile */
        ring_publish(&f->ring[ECHO]);
        virtio_device_kick(&f->dev, ECHO);
        if (i % 4 == 0)
            settle(f);
    }
    virtio_device_set_status(&f->dev, 0);
    atomic_store(&poker.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(virtio_device_status(&f->dev), 0);
}

static void create_may_be_refused(void **state)
{
    struct fixture *f = *state;
    struct toy_options options = {.refuse = true};
    struct virtio_backend *backend = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(virtio_builtin_create(&toy_model, &options, &f->memory, f->loop, QUEUES, 128,
                                           &backend, &err),
                     -EACCES);
    assert_null(backend);
    assert_string_equal(err.text, "the toy refuses");
}

static void kick_one(void *arg)
{
    struct toy *toy = arg;

    virtio_builtin_kick(toy->builtin, virtio_builtin_queue(toy->builtin, ECHO));
}

static void notify_one(void *arg)
{
    struct toy *toy = arg;

    virtio_builtin_notify(toy->builtin, virtio_builtin_queue(toy->builtin, ECHO));
}

static void queue_is_gone(void *arg)
{
    struct toy *toy = arg;

    assert_null(virtio_builtin_queue(toy->builtin, ECHO));
}

static int setup_quiet(void **state)
{
    quiet_model = toy_model;
    quiet_model.queue_ready = quiet_queue_ready;
    quiet_model.queue_notify = quiet_queue_notify;
    atomic_store(&held_back, 0);
    return setup_model(state, &quiet_model);
}

/* A model that asks for buffers itself, and interrupts when it likes. */
static void a_quiet_model(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e[] = {{DATA, 5, false}, {DATA + 64, 64, true}};
    eventfd_t count;
    struct ring_used used;

    go_live(f, false);
    settle(f); /* the first turn comes without a kick */
    for (int i = 0; i < 2; i++) {
        ring_add(&f->ring[ECHO], e, 2, RING_DIRECT);
        ring_publish(&f->ring[ECHO]);
        assert_false(ring_wants_kick(&f->ring[ECHO]));
        if (i == 0)
            virtio_device_kick(&f->dev, ECHO);
        else
            loop_call(f->loop, kick_one, f->toy);
        while (!ring_collect(&f->ring[ECHO], &used))
            ;
        settle(f);
        assert_int_equal(atomic_load(&held_back), i + 1);
        assert_int_equal(eventfd_read(f->interrupt[ECHO], &count), -1);
    }
    loop_call(f->loop, notify_one, f->toy);
    assert_true(interrupted(f->interrupt[ECHO]));
    virtio_device_set_status(&f->dev, 0);
    loop_call(f->loop, queue_is_gone, f->toy);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(echo_with_flags),
        T(echo_with_event_idx),
        T(evt_06_stream_with_flags),
        T(evt_06_stream_with_event_idx),
        T(drv_init_11_buffers_from_before_driver_ok),
        T(buffers_may_be_left_in_the_ring),
        T(stat_07_reset_in_flight),
        T(mmio_13_one_queue_stops_alone),
        T(ring_17_broken_ring_needs_reset),
        T(ring_17_found_outside_of_a_turn),
        T(stat_03_a_model_that_cannot_go_on),
        T(ring_17_bad_addresses),
        T(cfg_04_config_change_from_the_loop),
        T(a_busy_queue_leaves_others_their_turn),
        T(loop_and_control_lock_never_wait_for_each_other),
        T(create_may_be_refused),
        cmocka_unit_test_setup_teardown(a_quiet_model, setup_quiet, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
