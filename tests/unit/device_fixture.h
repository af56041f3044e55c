/*
 * For the tests of the device as its driver sees it: a device with a back end that only remembers
 * what it was asked, on a transport that only counts.
 */
#ifndef TESTS_UNIT_DEVICE_FIXTURE_H
#define TESTS_UNIT_DEVICE_FIXTURE_H

#include "base/bytes.h"
#include "virtio/device.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define QUEUES 3

enum {
    ACKNOWLEDGE = VIRTIO_STATUS_ACKNOWLEDGE,
    DRIVER = VIRTIO_STATUS_DRIVER,
    FEATURES_OK = VIRTIO_STATUS_FEATURES_OK,
    DRIVER_OK = VIRTIO_STATUS_DRIVER_OK,
    NEEDS_RESET = VIRTIO_STATUS_NEEDS_RESET,
    FAILED = VIRTIO_STATUS_FAILED,
    SET_UP = ACKNOWLEDGE | DRIVER | FEATURES_OK,
    LIVE = SET_UP | DRIVER_OK,
};

enum { TOY_BASIC = 1, TOY_BETTER = 2, TOY_BEST = 3, TOY_ODD = 64 };

static const struct virtio_feature_name toy_features[] = {
    {"best", TOY_BEST, TOY_BETTER, "better than better"},
    {"better", TOY_BETTER, TOY_BASIC, "better than basic"},
    {"basic", TOY_BASIC, -1, "basic"},
    {"odd", TOY_ODD, -1, "in the third word"},
};

struct fixture {
    struct virtio_backend backend;
    struct virtio_device dev;

    /* what the back end was asked */
    bool running[QUEUES];
    struct virtqueue_setup started[QUEUES];
    struct virtqueue_position started_at; /* the last one */
    unsigned resets, feature_sets, config_reads, destroyed;
    struct virtio_features negotiated;

    /* how it behaves */
    bool refuse_features, refuse_start;
    uint8_t config[16];
    uint8_t status_during_stop, status_during_reset;
    struct virtqueue_position stand; /* where queues are when they stop */

    /* what the transport was told */
    atomic_uint queue_interrupts, config_interrupts;
};

static inline struct fixture *fixture_of(struct virtio_backend *b)
{
    return container_of(b, struct fixture, backend);
}

static inline void toy_get_features(struct virtio_backend *b, struct virtio_features *out)
{
    (void)b;
    *out = (struct virtio_features){0};
    for (size_t i = 0; i < ARRAY_SIZE(toy_features); i++)
        features_set(out, toy_features[i].bit, true);
}

static inline int toy_set_features(struct virtio_backend *b,
                                   const struct virtio_features *negotiated)
{
    struct fixture *f = fixture_of(b);

    f->feature_sets++;
    f->negotiated = *negotiated;
    return f->refuse_features ? -EINVAL : 0;
}

static inline void toy_config_read(struct virtio_backend *b, uint32_t offset, void *data,
                                   uint32_t len)
{
    struct fixture *f = fixture_of(b);

    f->config_reads++;
    memset(data, 0, len);
    if (offset < sizeof(f->config))
        memcpy(data, f->config + offset, MIN(len, sizeof(f->config) - offset));
}

static inline void toy_config_write(struct virtio_backend *b, uint32_t offset, const void *data,
                                    uint32_t len)
{
    struct fixture *f = fixture_of(b);

    if (offset == 8 && len == 1)
        memcpy(&f->config[8], data, 1);
}

static inline int toy_queue_start(struct virtio_backend *b, const struct virtqueue_setup *setup,
                                  struct virtqueue_position position, int kick_fd,
                                  struct error *err)
{
    struct fixture *f = fixture_of(b);

    f->started_at = position;
    assert_int_equal(kick_fd, f->dev.queues[setup->index].kick_fd);
    assert_false(f->running[setup->index]);
    if (f->refuse_start)
        return error_set(err, EINVAL, "DRV-QCFG-06: not in guest memory");
    f->running[setup->index] = true;
    f->started[setup->index] = *setup;
    return 0;
}

static inline struct virtqueue_position toy_queue_stop(struct virtio_backend *b, uint16_t index)
{
    struct fixture *f = fixture_of(b);

    assert_true(f->running[index]);
    f->running[index] = false;
    f->status_during_stop = virtio_device_status(&f->dev);
    return f->stand;
}

static inline void toy_reset(struct virtio_backend *b)
{
    struct fixture *f = fixture_of(b);

    for (int i = 0; i < QUEUES; i++)
        assert_false(f->running[i]);
    f->resets++;
    f->status_during_reset = virtio_device_status(&f->dev);
    f->config[8] = 0;
}

static inline void toy_destroy(struct virtio_backend *b)
{
    fixture_of(b)->destroyed++;
}

static const struct virtio_backend_ops toy_ops = {
    .name = "toy",
    .features = toy_get_features,
    .set_features = toy_set_features,
    .config_read = toy_config_read,
    .config_write = toy_config_write,
    .queue_start = toy_queue_start,
    .queue_stop = toy_queue_stop,
    .reset = toy_reset,
    .destroy = toy_destroy,
};

static inline void notify_queue(void *transport, uint16_t index)
{
    struct fixture *f = transport;

    atomic_fetch_add(&f->queue_interrupts, index + 1u);
}

static inline void notify_config(void *transport)
{
    struct fixture *f = transport;

    atomic_fetch_add(&f->config_interrupts, 1);
}

static const struct virtio_transport_ops toy_transport = {
    .notify_queue = notify_queue,
    .notify_config = notify_config,
};

static const struct virtio_features no_features;

static inline int init(struct fixture *f, const struct virtio_features *masked)
{
    f->backend.ops = &toy_ops;
    f->backend.feature_names = toy_features;
    f->backend.feature_count = ARRAY_SIZE(toy_features);
    return virtio_device_init(&f->dev, VIRTIO_ID_ENTROPY, "toy0", &f->backend, QUEUES, 128,
                              &no_features, masked, NULL);
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    store_le64(f->config, 0x1122334455667788);
    assert_int_equal(init(f, &(struct virtio_features){0}), 0);
    virtio_device_attach(&f->dev, &toy_transport, f);
    f->resets = 0;
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    virtio_device_destroy(&f->dev);
    assert_int_equal(f->destroyed, 1);
    free(f);
    return 0;
}

/* Write a status; returns what can be read back. */
static inline uint8_t set(struct fixture *f, uint8_t status)
{
    virtio_device_set_status(&f->dev, status);
    return virtio_device_status(&f->dev);
}

static inline void accept(struct fixture *f, uint64_t bits)
{
    virtio_device_set_driver_features(&f->dev, 0, (uint32_t)bits);
    virtio_device_set_driver_features(&f->dev, 1, (uint32_t)(bits >> 32));
}

/* By the book up to FEATURES_OK. */
static inline void negotiate(struct fixture *f)
{
    set(f, 0);
    set(f, ACKNOWLEDGE);
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, SET_UP), SET_UP);
}

static inline void program_queue(struct fixture *f, uint16_t index)
{
    for (int which = VIRTIO_QUEUE_DESC; which <= VIRTIO_QUEUE_DEVICE; which++) {
        virtio_device_set_queue_address(&f->dev, index, which, false, 0x1000u * (unsigned)which);
        virtio_device_set_queue_address(&f->dev, index, which, true, 1);
    }
    virtio_device_set_queue_size(&f->dev, index, 64);
    virtio_device_set_queue_enabled(&f->dev, index, true);
}

static inline void go_live(struct fixture *f)
{
    negotiate(f);
    program_queue(f, 0);
    program_queue(f, 2);
    assert_int_equal(set(f, LIVE), LIVE);
}

static inline bool kicked(struct fixture *f, uint16_t index)
{
    struct pollfd p = {f->dev.queues[index].kick_fd, POLLIN, 0};

    return poll(&p, 1, 0) == 1;
}

/* A device that also offers what is offered on request, live with these features besides VERSION_1.
 */
static inline void go_live_with(struct fixture *f, uint64_t bits)
{
    const struct virtio_features wanted = {{UINT32_MAX, UINT32_MAX}}, masked = {0};

    virtio_device_destroy(&f->dev);
    f->destroyed = 0;
    f->backend.feature_names = toy_features;
    assert_int_equal(virtio_device_init(&f->dev, VIRTIO_ID_ENTROPY, "toy0", &f->backend, QUEUES,
                                        100, &wanted, &masked, NULL),
                     0);
    virtio_device_attach(&f->dev, &toy_transport, f);
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, bits | BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, SET_UP), SET_UP);
    program_queue(f, 0);
    program_queue(f, 2);
    assert_int_equal(set(f, LIVE), LIVE);
    assert_int_equal(f->started_at.avail, bits & BIT(VIRTIO_F_RING_PACKED) ? 0x8000 : 0);
}

static inline uint32_t config32(struct fixture *f, uint32_t offset)
{
    uint8_t bytes[4];

    virtio_device_config_read(&f->dev, offset, bytes, 4);
    return load_le32(bytes);
}

static inline void needs_reset(struct fixture *f)
{
    f->backend.events.needs_reset(f->backend.events.opaque);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
