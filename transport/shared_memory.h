/*
 * A device's shared memory regions (specification 2.10) as a window of guest addresses.
 *
 * The regions lie one behind another in the order of the device's table. What the back end maps
 * into them becomes memory of the guest (platform_ops.memory_map) wherever the window is decoded,
 * and moves with it. Where nothing is mapped, reads give all ones and writes are dropped. Accesses
 * are carried out one by one, as those of registers, where the platform has no place for a mapping:
 * right for every device and fast for none.
 *
 * Any thread. `lock` is a leaf; nothing here takes another lock but the platform's.
 */
#ifndef TRANSPORT_SHARED_MEMORY_H
#define TRANSPORT_SHARED_MEMORY_H

#include "base/error.h"
#include "base/platform.h"
#include "virtio/device.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED_MAPPINGS_MAX 4096 /* of a device: a driver may be who asks for them */

struct shared_mapping;

struct shared_memory {
    struct platform *platform;
    const struct virtio_device *dev;

    pthread_mutex_t lock;
    bool placed;      /* the window is decoded */
    uint64_t address; /* of its beginning */
    size_t count, capacity;
    struct shared_mapping *mappings; /* by offset */
};

/* `dev` with its table of regions and `platform` are borrowed. */
void shared_memory_init(struct shared_memory *shared, struct platform *platform,
                        const struct virtio_device *dev);
void shared_memory_destroy(struct shared_memory *shared);

/* Bytes all regions take. */
uint64_t shared_memory_size(const struct virtio_device *dev);

/* Where the region with this id begins and how long it is; false when there is none. */
bool shared_memory_find(const struct virtio_device *dev, uint32_t id, uint64_t *offset,
                        uint64_t *length);

/* The window is decoded at `address` from now on; it is decoded nowhere. Between range_add and
 * range_remove of its addresses. */
void shared_memory_place(struct shared_memory *shared, uint64_t address);
void shared_memory_unplace(struct shared_memory *shared);

/* See virtio_device_events. */
int shared_memory_map(struct shared_memory *shared, const struct virtio_shared_mapping *mapping,
                      struct error *err);
void shared_memory_unmap(struct shared_memory *shared, uint8_t id, uint64_t offset,
                         uint64_t length);

/* Guest accesses that were trapped, relative to the window. One that is not all in one mapping
 * counts as one of nothing. */
void shared_memory_read(struct shared_memory *shared, uint64_t offset, void *data, unsigned size);
void shared_memory_write(struct shared_memory *shared, uint64_t offset, const void *data,
                         unsigned size);

#endif
