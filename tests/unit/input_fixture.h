/*
 * For the tests of virtio-input: a device on a loop that the test turns itself, with a driver's
 * queues facing it, split or packed.
 */
#ifndef TESTS_UNIT_INPUT_FIXTURE_H
#define TESTS_UNIT_INPUT_FIXTURE_H

#include "base/bytes.h"
#include "base/log.h"
#include "devices/display/display.h"
#include "devices/input/input.h"
#include "tests/driver/loop_turn.h"
#include "tests/driver/packed_ring.h"
#include "virtio/device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

/* From the kernel's uapi, a second source for the numbers under test. */
#include <linux/input.h>
#include <linux/virtio_input.h>

extern const struct virtio_model vireo_module_input;

enum { EVENTQ, STATUSQ, QUEUES };

#define QUEUE_SIZE 16
#define EVENT_SIZE 8
#define DATA       0x20000
#define MEMORY     0x40000

struct driver_ring {
    struct ring split;
    struct packed_ring packed;
    int kick;
};

struct fixture {
    bool packed;
    uint16_t queue_size; /* that the driver chose */
    struct guest_memory memory;
    struct loop *loop;
    struct display *display;
    struct input_options options;
    struct virtio_backend *backend;
    struct driver_ring rings[QUEUES];
    bool running, needs_reset;
    unsigned offered; /* buffers, so far */
    uint64_t address_of[QUEUE_SIZE];
    uint32_t length_of[QUEUE_SIZE];
};

/* --- the loop --------------------------------------------------------------------------------- */

/* The loop handles what comes within this time. */
static inline void run_for(struct fixture *f, unsigned ms)
{
    loop_run_for(f->loop, ms * UINT64_C(1000000));
}

static inline void settle(struct fixture *f)
{
    for (int i = 0; i < 8; i++)
        run_for(f, 0);
}

/* --- life ------------------------------------------------------------------------------------- */

static inline void on_notify(void *opaque, uint16_t index)
{
    (void)opaque, (void)index;
}

static inline void on_config_changed(void *opaque)
{
    (void)opaque;
}

static inline void on_needs_reset(void *opaque)
{
    ((struct fixture *)opaque)->needs_reset = true;
}

/* 0 and the device, or why not. */
static inline int create(struct fixture *f, struct error *err)
{
    int ret = virtio_builtin_create(&vireo_module_input, &f->options, &f->memory, f->loop, QUEUES,
                                    QUEUE_SIZE, &f->backend, err);

    if (ret)
        return ret;
    f->backend->name = "input0";
    f->backend->events = (struct virtio_device_events){.notify_queue = on_notify,
                                                       .config_changed = on_config_changed,
                                                       .needs_reset = on_needs_reset,
                                                       .opaque = f};
    ret = f->backend->ops->start(f->backend, err);
    if (ret) {
        f->backend->ops->destroy(f->backend);
        f->backend = NULL;
    }
    return ret;
}

/* Without a device yet. The state that a test begins with is not NULL for packed rings. */
static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->packed = *state;
    f->queue_size = QUEUE_SIZE;
    log_configure("error");
    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MEMORY, 0, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    assert_int_equal(display_create(f->loop, "test", &f->display, NULL), 0);
    f->options = (struct input_options){.grab = true, .display = f->display};
    for (int q = 0; q < QUEUES; q++)
        f->rings[q].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *state = f;
    return 0;
}

static inline void create_kind(struct fixture *f, enum input_kind kind)
{
    f->options.kind = kind;
    assert_int_equal(create(f, NULL), 0);
}

static inline void start_queue(struct fixture *f, uint16_t q)
{
    struct driver_ring *ring = &f->rings[q];
    struct virtio_features features = {0};
    struct virtqueue_setup setup = {.index = q, .size = f->queue_size};
    uint64_t base = q * 0x8000u;

    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_RING_PACKED, f->packed);
    if (f->packed) {
        packed_ring_init(&ring->packed, &f->memory, base, f->queue_size, false);
        setup.desc = GPA(ring->packed.desc);
        setup.driver = GPA(ring->packed.driver_event);
        setup.device = GPA(ring->packed.device_event);
    } else {
        ring_init(&ring->split, &f->memory, base, f->queue_size, false);
        setup.desc = GPA(ring->split.desc);
        setup.driver = GPA(ring->split.avail);
        setup.device = GPA(ring->split.used);
    }
    assert_int_equal(f->backend->ops->set_features(f->backend, &features), 0);
    assert_int_equal(f->backend->ops->queue_start(
                         f->backend, &setup, virtqueue_position_first(&features), ring->kick, NULL),
                     0);
}

/* The driver's DRIVER_OK. */
static inline void driver_start(struct fixture *f)
{
    for (uint16_t q = 0; q < QUEUES; q++)
        start_queue(f, q);
    f->running = true;
    settle(f);
}

static inline void stop_queues(struct fixture *f)
{
    for (uint16_t q = 0; q < QUEUES; q++) {
        f->backend->ops->queue_stop(f->backend, q);
        if (f->packed)
            packed_ring_destroy(&f->rings[q].packed);
        else
            ring_destroy(&f->rings[q].split);
    }
    f->running = false;
}

static inline void driver_reset(struct fixture *f)
{
    if (f->running)
        stop_queues(f);
    f->backend->ops->reset(f->backend);
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->running)
        driver_reset(f);
    if (f->backend)
        f->backend->ops->destroy(f->backend);
    display_destroy(f->display);
    loop_destroy(f->loop);
    guest_memory_destroy(&f->memory);
    for (int q = 0; q < QUEUES; q++)
        close(f->rings[q].kick);
    free(f);
    return 0;
}

/* --- queues ----------------------------------------------------------------------------------- */

static inline int add(struct fixture *f, unsigned q, uint64_t address, uint32_t length, bool write)
{
    const struct ring_element element = {address, length, write};
    struct driver_ring *ring = &f->rings[q];
    int id = f->packed ? packed_ring_add(&ring->packed, &element, 1, RING_DIRECT)
                       : ring_add(&ring->split, &element, 1, RING_DIRECT);

    assert_in_range(id, 0, QUEUE_SIZE - 1);
    return id;
}

static inline void kick(struct fixture *f, unsigned q)
{
    struct driver_ring *ring = &f->rings[q];
    bool wanted;

    if (f->packed)
        packed_ring_publish(&ring->packed);
    else
        ring_publish(&ring->split);
    wanted = f->packed ? packed_ring_wants_kick(&ring->packed) : ring_wants_kick(&ring->split);
    if (wanted)
        eventfd_write(ring->kick, 1);
    settle(f);
}

/* Give buffers for events, of `length` bytes. */
static inline void offer_of(struct fixture *f, unsigned count, uint32_t length)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t address = DATA + f->offered++ % 1024 * 32;
        int id = add(f, EVENTQ, address, length, true);

        f->address_of[id] = address;
        f->length_of[id] = length;
    }
    kick(f, EVENTQ);
}

static inline void offer(struct fixture *f, unsigned count)
{
    offer_of(f, count, EVENT_SIZE);
}

static inline bool collect(struct fixture *f, unsigned q, unsigned *id, uint32_t *length)
{
    struct packed_used packed;
    struct ring_used split;
    bool found;

    if (f->packed) {
        found = packed_ring_collect(&f->rings[q].packed, &packed);
        *id = found ? packed.id : 0;
        *length = found ? packed.length : 0;
    } else {
        found = ring_collect(&f->rings[q].split, &split);
        *id = found ? split.id : 0;
        *length = found ? split.length : 0;
    }
    return found;
}

/* The next event that the driver got; false: there is none. Buffers without one are passed over. */
static inline bool take(struct fixture *f, struct display_event *out)
{
    const struct virtio_input_event *event;
    uint32_t length;
    unsigned id;

    while (collect(f, EVENTQ, &id, &length)) {
        if (f->length_of[id] < EVENT_SIZE) {
            assert_int_equal(length, 0);
            continue;
        }
        assert_int_equal(length, EVENT_SIZE);
        event = guest_memory_map(&f->memory, GPA(f->address_of[id]), EVENT_SIZE);
        *out = (struct display_event){le16toh(event->type), le16toh(event->code),
                                      (int32_t)le32toh(event->value)};
        return true;
    }
    return false;
}

static inline void expect(struct fixture *f, unsigned type, unsigned code, int32_t value)
{
    struct display_event got = {0};

    if (!take(f, &got))
        fail_msg("no event; expected %u %u %d", type, code, value);
    if (got.type != type || got.code != code || got.value != value)
        fail_msg("event %u %u %d; expected %u %u %d", got.type, got.code, got.value, type, code,
                 value);
}

static inline void expect_end(struct fixture *f)
{
    expect(f, EV_SYN, SYN_REPORT, 0);
}

static inline void expect_key(struct fixture *f, unsigned code, int32_t value)
{
    expect(f, EV_KEY, code, value);
    expect_end(f);
}

static inline void expect_nothing(struct fixture *f)
{
    struct display_event got = {0};

    settle(f);
    if (take(f, &got))
        fail_msg("event %u %u %d; expected none", got.type, got.code, got.value);
}

/* The driver says something: by so many bytes of an event. The buffer must come back. */
static inline void say_bytes(struct fixture *f, unsigned type, unsigned code, int32_t value,
                             uint32_t length)
{
    struct virtio_input_event *event = guest_memory_map(&f->memory, GPA(DATA - 64), EVENT_SIZE);
    unsigned id;
    uint32_t used;

    event->type = htole16((uint16_t)type);
    event->code = htole16((uint16_t)code);
    event->value = htole32((uint32_t)value);
    add(f, STATUSQ, DATA - 64, length, false);
    kick(f, STATUSQ);
    assert_true(collect(f, STATUSQ, &id, &used));
    assert_int_equal(used, 0);
}

static inline void say(struct fixture *f, unsigned type, unsigned code, int32_t value)
{
    say_bytes(f, type, code, value, EVENT_SIZE);
}

/* --- the display ------------------------------------------------------------------------------ */

static inline void press(struct fixture *f, unsigned code, int32_t value)
{
    const struct display_event events[] = {{EV_KEY, (uint16_t)code, value}, {EV_SYN, 0, 0}};

    display_input(f->display, DISPLAY_KEYS, 0, events, 2);
    settle(f);
}

/* --- configuration ---------------------------------------------------------------------------- */

static inline void config_write(struct fixture *f, uint32_t offset, uint8_t value)
{
    f->backend->ops->config_write(f->backend, offset, &value, 1);
}

static inline struct virtio_input_config config_read(struct fixture *f)
{
    struct virtio_input_config config;

    f->backend->ops->config_read(f->backend, 0, &config, sizeof(config));
    return config;
}

static inline struct virtio_input_config selected(struct fixture *f, uint8_t select, uint8_t subsel)
{
    config_write(f, offsetof(struct virtio_input_config, select), select);
    config_write(f, offsetof(struct virtio_input_config, subsel), subsel);
    return config_read(f);
}

static inline bool has_code(struct fixture *f, uint8_t type, unsigned code)
{
    const struct virtio_input_config c = selected(f, VIRTIO_INPUT_CFG_EV_BITS, type);

    return code / 8 < c.size && c.u.bitmap[code / 8] & 1 << code % 8;
}

#define BOTH(test)                                                           \
    {#test " (split)", test, set_up, tear_down, NULL},                       \
    {                                                                        \
#test " (packed)", test, set_up, tear_down, (void *)(uintptr_t) true \
    }

#endif
