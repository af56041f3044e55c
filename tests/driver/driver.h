/*
 * A virtio driver for tests, down to the registers: one interface, two transports.
 *
 * mmio_driver.h and pci_driver.h make a `struct driver`; a test that uses only this interface runs
 * on both. Rings are the caller's (tests/driver/ring.h): the driver only takes their addresses.
 * Register offsets come from the kernel's headers, not from the code under test.
 */
#ifndef TESTS_DRIVER_DRIVER_H
#define TESTS_DRIVER_DRIVER_H

#include "tests/driver/fake_platform.h"
#include "virtio/features.h"

#include <stdbool.h>
#include <stdint.h>

struct driver;

/* Causes, as bits of what `interrupts` returns. */
#define DRIVER_INTERRUPT_QUEUE  1u
#define DRIVER_INTERRUPT_CONFIG 2u

struct driver_ops {
    const char *name;
    uint16_t (*device_id)(struct driver *d);
    uint8_t (*status)(struct driver *d);
    void (*set_status)(struct driver *d, uint8_t value);
    uint32_t (*device_features)(struct driver *d, uint32_t word);
    void (*set_driver_features)(struct driver *d, uint32_t word, uint32_t bits);
    uint32_t (*generation)(struct driver *d);
    uint64_t (*config_read)(struct driver *d, uint32_t offset, unsigned size);
    void (*config_write)(struct driver *d, uint32_t offset, unsigned size, uint64_t value);

    uint16_t (*queue_size_max)(struct driver *d, uint16_t index); /* 0: no such queue */
    /* Program a queue and enable it; with interrupts where the transport wants them mapped. */
    void (*queue_enable)(struct driver *d, uint16_t index, uint16_t size, uint64_t desc,
                         uint64_t driver_area, uint64_t device_area);
    bool (*queue_enabled)(struct driver *d, uint16_t index);
    void (*queue_disable)(struct driver *d, uint16_t index); /* MMIO and legacy only; else NULL */
    /* Reset a queue and wait for it (2.6.1); false when the device shows it done without having
     * done it. Not for legacy drivers. */
    bool (*queue_reset)(struct driver *d, uint16_t index);
    /* Notify in the form that was negotiated; with NOTIFICATION_DATA the next slot is d->next. */
    void (*kick)(struct driver *d, uint16_t index);

    /* Take and acknowledge what came since the last call: DRIVER_INTERRUPT_* bits. */
    unsigned (*interrupts)(struct driver *d);
};

struct driver {
    const struct driver_ops *ops;
    struct fake_platform *fake;
    bool legacy;                       /* speaks the legacy interface */
    struct virtio_features negotiated; /* by driver_negotiate */
    uint16_t next;                     /* 2.9: next_off and next_wrap of the next notification */
};

/* Status by the book (3.1.1): reset, ACKNOWLEDGE, DRIVER, `wanted` of what is offered, FEATURES_OK.
 * Returns false when the device refused the features. `negotiated` may be NULL. A legacy driver
 * takes 32 bits and has no FEATURES_OK (3.1.2). */
bool driver_negotiate(struct driver *d, const struct virtio_features *wanted,
                      struct virtio_features *negotiated);

/* After the queues were enabled. */
void driver_ok(struct driver *d);
void driver_reset(struct driver *d);

/* Collect interrupts until all bits of `causes` were seen; false after `timeout_ms`. */
bool driver_wait(struct driver *d, unsigned causes, int timeout_ms);

#endif
