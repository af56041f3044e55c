/*
 * For tests of the vhost-user front end: a device whose back end is tests/driver/vhost_peer.h, on a
 * transport that does nothing but show its shared memory at FRONT_SHARED, and with
 * options.notify_pages what is in the place of notifications at FRONT_NOTIFY. The test is the
 * driver.
 */
#ifndef TESTS_UNIT_VHOST_USER_FIXTURE_H
#define TESTS_UNIT_VHOST_USER_FIXTURE_H

#include "base/bytes.h"
#include "tests/driver/fake_platform.h"
#include "tests/driver/vhost_peer.h"
#include "transport/notify_pages.h"
#include "transport/shared_memory.h"
#include "virtio/device.h"
#include "virtio/vhost_user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FRONT_MEMORY (1 * MIB)
#define FRONT_QUEUES 2
#define FRONT_RINGS  0x10000
#define FRONT_SHARED UINT64_C(0x1000000000)
#define FRONT_NOTIFY UINT64_C(0xc0000000)

struct front {
    struct vhost_peer peer;
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_device dev;
    bool connected; /* `dev` is there */
    struct fake_platform fake;
    struct shared_memory shared;
    struct notify_pages notify; /* with options.notify_pages */
    struct vhost_user_options options;
    atomic_uint interrupts, config_interrupts;
};

static inline void front_notify_queue(void *opaque, uint16_t index)
{
    struct front *f = opaque;

    (void)index;
    atomic_fetch_add(&f->interrupts, 1);
}

static inline void front_notify_config(void *opaque)
{
    struct front *f = opaque;

    atomic_fetch_add(&f->config_interrupts, 1);
}

static inline int front_shared_map(void *opaque, const struct virtio_shared_mapping *mapping,
                                   struct error *err)
{
    return shared_memory_map(&((struct front *)opaque)->shared, mapping, err);
}

static inline void front_shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    shared_memory_unmap(&((struct front *)opaque)->shared, id, offset, length);
}

static inline int front_queue_notify_page(void *opaque, uint16_t index, void *page,
                                          struct error *err)
{
    return notify_pages_set(&((struct front *)opaque)->notify, index, page, err);
}

static inline int front_setup(void **state)
{
    struct front *f = calloc(1, sizeof(*f));

    fake_platform_init(&f->fake);
    shared_memory_init(&f->shared, &f->fake.platform, &f->dev);
    shared_memory_place(&f->shared, FRONT_SHARED);
    vhost_peer_init(&f->peer);
    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, FRONT_MEMORY, GUEST_MEMORY_SHARED, NULL), 0);
    assert_int_equal(
        guest_memory_add(&f->memory, 16 * MIB, FRONT_MEMORY, GUEST_MEMORY_SHARED, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    f->options = (struct vhost_user_options){
        .id = VIRTIO_ID_BLOCK,
        .queue_count = FRONT_QUEUES,
        .queue_size = 64,
        .config_size = VHOST_PEER_CONFIG,
    };
    *state = f;
    return 0;
}

/* 0, or the reason why not in `err`. */
static inline int front_try(struct front *f, struct error *err)
{
    static const struct virtio_transport_ops transport = {
        .notify_queue = front_notify_queue,
        .notify_config = front_notify_config,
        .shared_map = front_shared_map,
        .shared_unmap = front_shared_unmap,
        .queue_notify_page = front_queue_notify_page,
    };
    static const struct virtio_features none;
    struct virtio_backend *backend;
    int ret;

    f->options.fd = vhost_peer_start(&f->peer);
    ret = vhost_user_create(&f->options, &f->memory, f->loop, &backend, err);
    if (ret)
        return ret;
    assert_int_equal(virtio_device_init(&f->dev, f->options.id, "dev0", backend, FRONT_QUEUES, 64,
                                        &none, &none, err),
                     0);
    if (f->options.notify_pages) {
        assert_int_equal(notify_pages_init(&f->notify, &f->fake.platform, &f->dev, err), 0);
        notify_pages_place(&f->notify, FRONT_NOTIFY);
    }
    virtio_device_attach(&f->dev, &transport, f);
    assert_int_equal(loop_start_thread(f->loop, "front", NULL), 0);
    f->connected = true;
    return 0;
}

static inline void front_connect(struct front *f)
{
    struct error err = ERROR_INIT;

    if (front_try(f, &err))
        fail_msg("%s", err.text);
}

static inline int front_teardown(void **state)
{
    struct front *f = *state;

    if (f->connected) {
        virtio_device_reset(&f->dev);
        if (f->options.notify_pages)
            notify_pages_destroy(&f->notify);
        virtio_device_destroy(&f->dev);
        loop_join_thread(f->loop);
    }
    shared_memory_destroy(&f->shared);
    fake_platform_destroy(&f->fake);
    vhost_peer_stop(&f->peer);
    loop_destroy(f->loop);
    guest_memory_destroy(&f->memory);
    free(f);
    return 0;
}

static inline void front_advance(struct front *f, uint8_t bit)
{
    virtio_device_set_status(&f->dev, virtio_device_status(&f->dev) | bit);
}

/* The driver takes all that is offered and starts queue 0. */
static inline void front_drive(struct front *f)
{
    front_advance(f, VIRTIO_STATUS_ACKNOWLEDGE);
    front_advance(f, VIRTIO_STATUS_DRIVER);
    for (uint32_t i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        virtio_device_set_driver_features(&f->dev, i, virtio_device_features(&f->dev, i));
    front_advance(f, VIRTIO_STATUS_FEATURES_OK);
    for (uint32_t i = 0; i < 3; i++)
        virtio_device_set_queue_address(&f->dev, 0, (enum virtio_queue_address)i, false,
                                        FRONT_RINGS + i * 0x1000);
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    front_advance(f, VIRTIO_STATUS_DRIVER_OK);
}

static inline void front_wait(struct front *f, bool (*done)(struct front *f))
{
    for (int i = 0; i < 1000 && !done(f); i++)
        usleep(10000);
    assert_true(done(f));
}

static inline bool front_needs_reset(struct front *f)
{
    return virtio_device_status(&f->dev) & VIRTIO_STATUS_NEEDS_RESET;
}

static inline bool front_interrupted(struct front *f)
{
    return atomic_load(&f->interrupts) > 0;
}

#define FRONT_TEST(name) cmocka_unit_test_setup_teardown(name, front_setup, front_teardown)

#endif
