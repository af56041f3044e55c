/*
 * What fuzz targets of device models have in common: a device of which nobody hears anything but
 * that it needs a reset, and whose queues are sound rings.
 */
#ifndef TESTS_FUZZ_DEVICE_H
#define TESTS_FUZZ_DEVICE_H

#include "tests/driver/ring.h"
#include "tests/fuzz/input.h"
#include "virtio/backend.h"

static bool needs_reset; /* it said so: a target forgets it between inputs */

static inline void on_notify(void *opaque, uint16_t index)
{
    (void)opaque;
    (void)index;
}

static inline void on_config_changed(void *opaque)
{
    (void)opaque;
}

static inline void on_needs_reset(void *opaque)
{
    (void)opaque;
    needs_reset = true;
}

static const struct virtio_device_events device_events = {
    .notify_queue = on_notify, .config_changed = on_config_changed, .needs_reset = on_needs_reset};

/* From the ring's beginning. */
static inline void device_queue_start(struct virtio_backend *backend, uint16_t index,
                                      const struct ring *ring, int kick)
{
    const struct virtqueue_setup setup = {index, ring->size, GPA(ring->desc), GPA(ring->avail),
                                          GPA(ring->used)};

    REQUIRE(backend->ops->queue_start(backend, &setup, (struct virtqueue_position){0, 0}, kick,
                                      NULL) == 0);
}

#endif
