/*
 * A device's shared memory regions (specification 2.10) as a range of guest addresses.
 *
 * The regions lie one behind another in the order of the device's table. Accesses are carried out
 * one by one, as those of registers are: right for every device and fast for none.
 */
#ifndef TRANSPORT_SHARED_MEMORY_H
#define TRANSPORT_SHARED_MEMORY_H

#include "virtio/device.h"

#include <stdint.h>

/* Bytes all regions take. */
uint64_t shared_memory_size(const struct virtio_device *dev);

/* Where the region with this id begins and how long it is; false when there is none. */
bool shared_memory_find(const struct virtio_device *dev, uint32_t id, uint64_t *offset,
                        uint64_t *length);

/* Guest accesses, relative to the first region. Any vCPU. */
void shared_memory_read(const struct virtio_device *dev, uint64_t offset, void *data,
                        unsigned size);
void shared_memory_write(const struct virtio_device *dev, uint64_t offset, const void *data,
                         unsigned size);

#endif
