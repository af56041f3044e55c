/*
 * Queue registers (specification 4.1.4.3 and 4.2.2, as far as the transports agree), and starting
 * and stopping of queues.
 *
 * Registers keep whatever the driver writes; whether it makes sense is found in one place, when the
 * queue starts. A queue that cannot start puts the device into NEEDS_RESET (RING-17).
 */
#include "base/bytes.h"
#include "base/event_signal.h"
#include "virtio/device_internal.h"
#include "virtio/device_legacy.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct virtio_queue *device_queue(struct virtio_device *dev, uint16_t index)
{
    return index < dev->queue_count ? &dev->queues[index] : NULL;
}

/* PCIC-12: a driver that has not chosen the packed ring must not even see another size. */
static uint16_t largest_size(const struct virtio_device *dev, const struct virtio_queue *queue)
{
    uint32_t size = 1;

    if (device_negotiated(dev, VIRTIO_F_RING_PACKED))
        return queue->size_max;
    while (size * 2 <= queue->size_max)
        size *= 2;
    return (uint16_t)size;
}

/* `size_max` and `kick_fd` are constant, and transports read them without the lock: hands off. */
void device_clear_queue(struct virtio_device *dev, uint16_t index)
{
    struct virtio_queue *queue = &dev->queues[index];

    queue->size = largest_size(dev, queue);
    queue->enabled = queue->running = false;
    queue->desc = queue->driver = queue->device = GPA(0);
    queue->alignment = VIRTIO_LEGACY_ALIGNMENT;
}

int device_create_queues(struct virtio_device *dev, uint16_t count, uint16_t size,
                         struct error *err)
{
    if (count > VIRTIO_QUEUES_MAX)
        return error_set(err, EINVAL, "%s: %u queues are more than %d", dev->name, count,
                         VIRTIO_QUEUES_MAX);
    if (!size || size > VIRTQUEUE_SIZE_MAX ||
        (!is_power_of_two(size) && !features_has(&dev->offered, VIRTIO_F_RING_PACKED)))
        return error_set(err, EINVAL, "%s: queue size %u is no power of two up to %d", dev->name,
                         size, VIRTQUEUE_SIZE_MAX); /* RING-02, PACK-01 */
    dev->queues = calloc(count, sizeof(*dev->queues));
    if (!dev->queues && count)
        return error_set(err, ENOMEM, "%s: no memory for %u queues", dev->name, count);
    for (; dev->queue_count < count; dev->queue_count++) {
        struct virtio_queue *queue = &dev->queues[dev->queue_count];

        queue->size_max = size;
        queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (queue->kick_fd < 0)
            return error_errno(err, errno, "%s: cannot make an eventfd", dev->name);
        device_clear_queue(dev, dev->queue_count);
    }
    return 0;
}

void device_destroy_queues(struct virtio_device *dev)
{
    for (uint16_t i = 0; i < dev->queue_count; i++)
        close(dev->queues[i].kick_fd);
    free(dev->queues);
    dev->queues = NULL;
    dev->queue_count = 0;
}

/* --- start and stop -------------------------------------------------------------------------- */

static int queue_try_start(struct virtio_device *dev, uint16_t index, struct error *err)
{
    struct virtio_queue *queue = &dev->queues[index];
    const struct virtqueue_setup setup = {
        .index = index,
        .size = queue->size,
        .desc = queue->desc,
        .driver = queue->driver,
        .device = queue->device,
    };

    if (queue->size > queue->size_max)
        return error_set(err, EINVAL, "DRV-QCFG-03: size %u is above the %u offered", queue->size,
                         queue->size_max);
    if (!queue->desc.value && !queue->driver.value && !queue->device.value)
        return error_set(err, EINVAL, "DRV-QCFG-07, -13: it was enabled without addresses");
    return dev->backend->ops->queue_start(dev->backend, &setup, queue->position, queue->kick_fd,
                                          err);
}

/* Whoever else has the eventfd must not hold up a vCPU. */
static void signal_queue(const struct virtio_device *dev, const struct virtio_queue *queue)
{
    if (dev->backend->foreign)
        event_signal(queue->kick_fd);
    else
        eventfd_write(queue->kick_fd, 1);
}

void device_start_queue(struct virtio_device *dev, uint16_t index)
{
    struct virtio_queue *queue = &dev->queues[index];
    struct error err = ERROR_INIT;

    if (queue_try_start(dev, index, &err) < 0) {
        log_limited(LOG_WARN, "virtio", "%s: queue %u cannot start: %s", dev->name, index,
                    err.text);
        device_needs_reset(dev);
        return;
    }
    queue->running = true;
    /* Buffers may have been made available before there was anybody to tell. */
    signal_queue(dev, queue);
}

/* Those of some back ends start and stop together. */
static void run_queues(struct virtio_device *dev, bool on)
{
    struct virtio_backend *backend = dev->backend;
    struct error err = ERROR_INIT;

    if (!backend->ops->run || backend->ops->run(backend, on, &err) == 0)
        return;
    log_limited(LOG_WARN, "virtio", "%s: the queues cannot start: %s", dev->name, err.text);
    device_needs_reset(dev);
}

void device_start_queues(struct virtio_device *dev)
{
    for (uint16_t i = 0; i < dev->queue_count; i++)
        if (dev->queues[i].enabled && !dev->queues[i].running)
            device_start_queue(dev, i);
    if (!device_has_status(dev, VIRTIO_STATUS_NEEDS_RESET))
        run_queues(dev, true);
}

void device_stop_queues(struct virtio_device *dev)
{
    run_queues(dev, false);
    for (uint16_t i = 0; i < dev->queue_count; i++)
        device_stop_queue(dev, i);
}

void device_stop_queue(struct virtio_device *dev, uint16_t index)
{
    struct virtio_queue *queue = &dev->queues[index];

    if (!queue->running)
        return;
    queue->position = dev->backend->ops->queue_stop(dev->backend, index);
    queue->running = false;
}

void device_reset_queues(struct virtio_device *dev)
{
    device_stop_queues(dev);
    for (uint16_t i = 0; i < dev->queue_count; i++)
        device_clear_queue(dev, i);
}

void virtio_device_limit_queue(struct virtio_device *dev, uint16_t index, uint16_t size)
{
    DEVICE_LOCK(dev);

    dev->queues[index].size_max = MIN(dev->queues[index].size_max, size);
    device_clear_queue(dev, index);
}

/* --- registers ------------------------------------------------------------------------------- */

uint16_t virtio_device_queue_size(struct virtio_device *dev, uint16_t index)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    return queue ? queue->size : 0;
}

uint16_t virtio_device_queue_size_max(struct virtio_device *dev, uint16_t index)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    return queue ? largest_size(dev, queue) : 0;
}

/* The queue if its size and addresses may be written: not while it is enabled. */
static struct virtio_queue *queue_to_configure(struct virtio_device *dev, uint16_t index)
{
    struct virtio_queue *queue = device_queue(dev, index);

    if (queue && queue->enabled) {
        device_complain(dev, "DRV-QCFG-07, -08", "queue %u is enabled, and is written to", index);
        return NULL;
    }
    return queue;
}

void virtio_device_set_queue_size(struct virtio_device *dev, uint16_t index, uint16_t size)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = queue_to_configure(dev, index);

    if (queue)
        queue->size = size;
}

static gpa_t *queue_address(struct virtio_queue *queue, enum virtio_queue_address which)
{
    switch (which) {
    case VIRTIO_QUEUE_DESC:
        return &queue->desc;
    case VIRTIO_QUEUE_DRIVER:
        return &queue->driver;
    case VIRTIO_QUEUE_DEVICE:
        return &queue->device;
    }
    return NULL;
}

uint64_t virtio_device_queue_address(struct virtio_device *dev, uint16_t index,
                                     enum virtio_queue_address which)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    return queue ? queue_address(queue, which)->value : 0;
}

void virtio_device_set_queue_address(struct virtio_device *dev, uint16_t index,
                                     enum virtio_queue_address which, bool high, uint32_t bits)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = queue_to_configure(dev, index);
    gpa_t *address;

    if (!queue)
        return;
    address = queue_address(queue, which);
    if (high)
        address->value = (uint64_t)bits << 32 | (uint32_t)address->value;
    else
        address->value = (address->value >> 32) << 32 | bits;
}

bool virtio_device_queue_enabled(struct virtio_device *dev, uint16_t index)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    return queue && queue->enabled;
}

/* With RING_RESET a queue may come back at any time (2.6.1.2). */
static void queue_enable(struct virtio_device *dev, uint16_t index)
{
    bool live = device_has_status(dev, VIRTIO_STATUS_DRIVER_OK);

    if (device_suspended(dev)) {
        device_complain(dev, "DRV-INIT-17", "queue %u enabled while suspended", index);
    } else if (!device_has_status(dev, VIRTIO_STATUS_FEATURES_OK) ||
               (live && !device_negotiated(dev, VIRTIO_F_RING_RESET))) {
        device_complain(dev, "DRV-INIT-14", "queue %u enabled at status 0x%02x", index,
                        virtio_device_status(dev));
    } else {
        dev->queues[index].enabled = true;
        dev->queues[index].position = virtqueue_position_first(&dev->driver);
        if (live)
            device_start_queue(dev, index);
    }
}

void virtio_device_set_queue_enabled(struct virtio_device *dev, uint16_t index, bool enabled)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    if (!queue) {
        device_complain(dev, "DRV-QCFG-14", "queue %u does not exist", index);
    } else if (enabled) {
        if (!queue->enabled)
            queue_enable(dev, index);
    } else {
        device_stop_queue(dev, index);
        queue->enabled = false;
    }
}

bool virtio_device_reset_queue(struct virtio_device *dev, uint16_t index)
{
    DEVICE_LOCK(dev);

    if (!device_queue(dev, index)) {
        device_complain(dev, "DRV-QCFG-14", "queue %u does not exist", index);
        return false;
    }
    if (!device_negotiated(dev, VIRTIO_F_RING_RESET)) {
        device_complain(dev, "DRV-QCFG-12", "queue %u reset without RING_RESET", index);
        return false;
    }
    device_stop_queue(dev, index);
    device_clear_queue(dev, index);
    return true;
}

/* The rule a notification breaks in the device's state, or NULL. */
static const char *kick_breaks(struct virtio_device *dev, const struct virtio_queue *queue)
{
    if (!queue || !queue->enabled)
        return "DRV-NTF-07";
    if (device_suspended(dev))
        return "DRV-INIT-17";
    if (dev->interface != VIRTIO_LEGACY && !device_has_status(dev, VIRTIO_STATUS_DRIVER_OK))
        return "DRV-INIT-11";
    return NULL;
}

void virtio_device_kick(struct virtio_device *dev, uint16_t index)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);
    const char *rule = kick_breaks(dev, queue);

    if (rule)
        device_complain(dev, rule, "notification of queue %u (%s) at status 0x%02x", index,
                        queue && queue->enabled ? "enabled" : "not enabled",
                        virtio_device_status(dev));
    else
        signal_queue(dev, queue);
}
