/*
 * The legacy interface: how drivers spoke to devices before the specification's version 1.0
 * (1.3.1, and the "Legacy Interface" sections of 2.2, 2.5, 2.7, 3.1, 4.1 and 4.2).
 *
 * Such a driver knows 32 feature bits and no FEATURES_OK: its choice counts from the first queue or
 * DRIVER_OK on. A queue is one block of memory, split rings only, and live from the moment its
 * address is written. Configuration may be written at any time and has no generation.
 *
 * NOTIFY_ON_EMPTY is not offered: Linux gave it up in 2010, and a device that offers it pays with a
 * look at the ring after every batch.
 *
 * A transitional device has registers of both kinds, and the first of them that the driver writes
 * after a reset decides. Locks and threads as in device.h.
 */
#ifndef VIRTIO_DEVICE_LEGACY_H
#define VIRTIO_DEVICE_LEGACY_H

#include "virtio/device.h"

#include <stdbool.h>
#include <stdint.h>

/* Types that existed before 1.0; later ones have no legacy interface. */
bool virtio_device_type_has_legacy(uint16_t id);

/*
 * The driver is about to change something through registers of this kind. False when it spoke the
 * other kind since the last reset: then the write must be dropped, and was logged (DRV-PCI-09). A
 * reset is open to both and needs no leave.
 */
bool virtio_device_speak(struct virtio_device *dev, enum virtio_interface interface);

/* What is offered to legacy drivers: 32 bits, ANY_LAYOUT among them (FEAT-13). */
uint32_t virtio_device_legacy_features(struct virtio_device *dev);

/* Where the used ring of a queue starts, relative to the rest: a power of two, 4096 after reset. */
#define VIRTIO_LEGACY_ALIGNMENT 4096
void virtio_device_set_legacy_alignment(struct virtio_device *dev, uint16_t index,
                                        uint32_t alignment);

/*
 * Place queue `index` with all its parts at `address` (2.7.2) and start it at once. Address 0 stops
 * it and puts its registers back. VIRTIO_QUEUE_DESC reads back the address. A queue that is in use,
 * or does not exist, is left alone and the driver's mistake logged.
 */
void virtio_device_set_legacy_queue(struct virtio_device *dev, uint16_t index, uint64_t address);

#endif
