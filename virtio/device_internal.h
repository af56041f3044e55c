/*
 * Between the files that make up struct virtio_device. Private to status.c and device*.c.
 *
 * Functions here are called with the device's lock held.
 */
#ifndef VIRTIO_DEVICE_INTERNAL_H
#define VIRTIO_DEVICE_INTERNAL_H

#include "base/log.h"
#include "virtio/device.h"

/* Hold the device's lock to the end of the scope. */
static inline struct virtio_device *device_lock(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    return dev;
}

static inline void device_unlock(struct virtio_device **dev)
{
    pthread_mutex_unlock(&(*dev)->lock);
}

#define DEVICE_LOCK(dev) \
    __attribute__((cleanup(device_unlock), unused)) struct virtio_device *locked_ = device_lock(dev)

/* The driver broke a rule; `format` starts after "NAME: RULE: ". */
#define device_complain(dev, rule, format, ...) \
    log_limited(LOG_WARN, "virtio", "%s: %s: " format, (dev)->name, rule, ##__VA_ARGS__)

static inline bool device_has_status(struct virtio_device *dev, unsigned bits)
{
    return (atomic_load(&dev->status) & bits) == bits;
}

/* status.c: a driver's write of anything but 0. */
void device_advance_status(struct virtio_device *dev, uint8_t value);

static inline bool device_negotiated(const struct virtio_device *dev, unsigned bit)
{
    return dev->negotiated && features_has(&dev->driver, bit);
}

/* device.c */
int device_accept_features(struct virtio_device *dev);
int device_settle_features(struct virtio_device *dev); /* tell the back end the driver's choice */
void device_reset(struct virtio_device *dev);
void device_needs_reset(struct virtio_device *dev); /* also without the lock */

/* The first feature in `f` whose prerequisite is not (FEAT-06, DRV-INIT-06), or NULL. `by_driver`:
 * `f` is a driver's choice. */
const struct virtio_feature_name *device_feature_unmet(const struct virtio_device *dev,
                                                       const struct virtio_features *f,
                                                       bool by_driver);

/* device_legacy.c: settle the features if that has not happened yet. Legacy drivers do not say when
 * their choice is final: with the first queue, or with DRIVER_OK. */
int device_settle_legacy(struct virtio_device *dev);

/* device_suspend.c */
int device_suspend(struct virtio_device *dev); /* negative: not negotiated */
void device_resume(struct virtio_device *dev);
static inline bool device_suspended(struct virtio_device *dev)
{
    return device_has_status(dev, VIRTIO_STATUS_SUSPEND);
}

/* device_config.c: read the configuration anew at the next access. Also without the lock. */
void device_config_stale(struct virtio_device *dev);

/* device_queue.c */
int device_create_queues(struct virtio_device *dev, uint16_t count, uint16_t size,
                         struct error *err);
void device_destroy_queues(struct virtio_device *dev);
struct virtio_queue *device_queue(struct virtio_device *dev, uint16_t index); /* or NULL */
void device_start_queues(struct virtio_device *dev); /* those enabled, where they stood */
void device_stop_queues(struct virtio_device *dev);
void device_start_queue(struct virtio_device *dev, uint16_t index);
void device_stop_queue(struct virtio_device *dev, uint16_t index); /* and remember where it stood */
void device_clear_queue(struct virtio_device *dev, uint16_t index); /* registers as after reset */
void device_reset_queues(struct virtio_device *dev); /* stop them, registers to power-on values */

#endif
