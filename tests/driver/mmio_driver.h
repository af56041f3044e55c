/* The test driver on virtio-mmio (specification 4.2), of version 2, or of version 1 (4.2.4). */
#ifndef TESTS_DRIVER_MMIO_DRIVER_H
#define TESTS_DRIVER_MMIO_DRIVER_H

#include "tests/driver/driver.h"

#include <stdint.h>

struct mmio_driver {
    struct driver driver;
    uint64_t base;
    uint32_t gsi;
};

/* A driver for what the Version register says is there. Version 1 lays its queues out in pages of
 * 4096 bytes, used rings aligned to as many: queue_enable then goes by `desc` alone. */
void mmio_driver_init(struct mmio_driver *d, struct fake_platform *fake, uint64_t base,
                      uint32_t gsi);

/* Registers, for tests of the transport itself: 32 bits at `offset`. */
uint32_t mmio_driver_read(struct mmio_driver *d, uint32_t offset);
void mmio_driver_write(struct mmio_driver *d, uint32_t offset, uint32_t value);

#endif
