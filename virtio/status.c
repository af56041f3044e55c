/*
 * The status state machine (specification 2.1 and 3.1.1), the same for all transports.
 *
 *     0 --> ACKNOWLEDGE --> DRIVER --> FEATURES_OK --> DRIVER_OK       FAILED from anywhere
 *     ^                                                    |
 *     +------------------------- write of 0 ---------------+
 *
 * Each bit is a step; a step is taken when the driver writes its bit for the first time. A write
 * may take several steps, in this order. NEEDS_RESET is the device's own bit: what the driver
 * writes there means nothing. With VIRTIO_F_SUSPEND (3.4), SUSPEND is a step from DRIVER_OK that
 * takes DRIVER_OK away, and DRIVER_OK the one back. A legacy driver has no FEATURES_OK.
 */
#include "base/bytes.h"
#include "virtio/device_internal.h"

#include <stddef.h>

enum {
    ACKNOWLEDGE = VIRTIO_STATUS_ACKNOWLEDGE,
    DRIVER = VIRTIO_STATUS_DRIVER,
    FEATURES_OK = VIRTIO_STATUS_FEATURES_OK,
    DRIVER_OK = VIRTIO_STATUS_DRIVER_OK,
    SUSPEND = VIRTIO_STATUS_SUSPEND,
    FAILED = VIRTIO_STATUS_FAILED,
};

struct status_step {
    uint8_t bit;
    uint8_t needs;    /* bits that must be set before */
    const char *rule; /* broken when they are not */
    const char *name;
    int (*check)(struct virtio_device *dev);    /* negative: the bit stays clear */
    void (*entered)(struct virtio_device *dev); /* the bit was set */
};

static void driver_failed(struct virtio_device *dev)
{
    log_limited(LOG_WARN, "virtio", "%s: the driver has given up on the device (FAILED)",
                dev->name);
}

static const struct status_step steps[] = {
    /* 3.1.1 step 2: the guest has noticed the device */
    {ACKNOWLEDGE, 0, NULL, "ACKNOWLEDGE", NULL, NULL},
    /* 3.1.1 step 3: and has a driver for it */
    {DRIVER, ACKNOWLEDGE, "DRV-INIT-01", "DRIVER", NULL, NULL},
    /* 3.1.1 steps 5 and 6, 2.2.2: the features are agreed, or the bit reads back clear (FEAT-08) */
    {FEATURES_OK, ACKNOWLEDGE | DRIVER, "DRV-INIT-01", "FEATURES_OK", device_accept_features, NULL},
    /* 3.1.1 step 8: the device is live. The queues start after the bit is set, so that one that
     * cannot finds DRIVER_OK set and the driver is told (STAT-04). */
    {DRIVER_OK, ACKNOWLEDGE | DRIVER | FEATURES_OK, "DRV-INIT-04", "DRIVER_OK", NULL,
     device_start_queues},
    /* 2.1: the driver gives up */
    {FAILED, 0, NULL, "FAILED", NULL, driver_failed},
    /* 3.4.1: the driver wants the device to pause */
    {SUSPEND, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, "DRV-INIT-16", "SUSPEND",
     device_suspend, NULL},
};

/* 3.1.2: without FEATURES_OK, and queues started when they were placed. */
static const struct status_step legacy_steps[] = {
    {ACKNOWLEDGE, 0, NULL, "ACKNOWLEDGE", NULL, NULL},
    {DRIVER, ACKNOWLEDGE, "DRV-INIT-01", "DRIVER", NULL, NULL},
    {DRIVER_OK, ACKNOWLEDGE | DRIVER, "DRV-INIT-01", "DRIVER_OK", device_settle_legacy, NULL},
    {FAILED, 0, NULL, "FAILED", NULL, driver_failed},
};

/* Whether the driver may write `value` at all when it sees `status`. */
static bool write_allowed(struct virtio_device *dev, uint8_t status, uint8_t value)
{
    if (status & ~value & ~SUSPEND) { /* SUSPEND goes with the write that resumes */
        device_complain(dev, "DRV-INIT-02", "status 0x%02x written over 0x%02x clears bits", value,
                        status);
        return false;
    }
    if ((status & FAILED) && value != status) {
        device_complain(dev, "DRV-INIT-03", "status 0x%02x written after FAILED", value);
        return false;
    }
    return true;
}

/* Returns whether the step was taken. */
static bool step_take(struct virtio_device *dev, const struct status_step *step)
{
    if (!device_has_status(dev, step->needs)) {
        device_complain(dev, step->rule, "%s written at status 0x%02x", step->name,
                        virtio_device_status(dev));
        return false;
    }
    if (step->check && step->check(dev) < 0)
        return false;
    atomic_fetch_or(&dev->status, step->bit);
    if (step->entered)
        step->entered(dev);
    return true;
}

static void take_steps(struct virtio_device *dev, const struct status_step *table, size_t count,
                       unsigned wanted)
{
    for (size_t i = 0; i < count; i++)
        if ((wanted & table[i].bit) && !step_take(dev, &table[i]))
            return;
}

void device_advance_status(struct virtio_device *dev, uint8_t value)
{
    uint8_t status = virtio_device_status(dev) & (uint8_t)~VIRTIO_STATUS_NEEDS_RESET;
    unsigned wanted = value & ~status & ~(unsigned)VIRTIO_STATUS_NEEDS_RESET;

    if (!write_allowed(dev, status, value & (uint8_t)~VIRTIO_STATUS_NEEDS_RESET))
        return;
    if ((status & SUSPEND) && (wanted & DRIVER_OK)) {
        device_resume(dev);
        wanted &= ~(unsigned)DRIVER_OK;
    }
    if (dev->interface == VIRTIO_LEGACY)
        take_steps(dev, legacy_steps, ARRAY_SIZE(legacy_steps), wanted);
    else
        take_steps(dev, steps, ARRAY_SIZE(steps), wanted);
}
