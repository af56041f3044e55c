/*
 * virtio over MMIO, version 2 (specification 4.2): one page of registers and one interrupt line.
 *
 * Registers in, eventfds out: a control register becomes a call of virtio_device, the queue
 * notifications of a busy queue become an ioeventfd, and the interrupt is the eventfd of an irqfd.
 *
 * The line is edge triggered and belongs to this device alone: each event is one edge, whatever
 * InterruptStatus says already, and one more follows an acknowledgement that leaves bits set, so
 * that a driver sees what a level-triggered line (4.2.3.4) would have shown it.
 *
 * Nothing here needs a lock of its own: selectors and InterruptStatus are atomics, the rest is
 * virtio_device's.
 */
#ifndef TRANSPORT_VIRTIO_MMIO_H
#define TRANSPORT_VIRTIO_MMIO_H

#include "base/error.h"
#include "base/platform.h"
#include "virtio/device.h"

#include <stdint.h>

#define VIRTIO_MMIO_SIZE 0x1000 /* bytes of address space a device takes */

struct virtio_mmio;

/*
 * Show `dev` at `base` (VIRTIO_MMIO_SIZE bytes), with edge-triggered interrupts on line `gsi`.
 * `dev` and `platform` are borrowed. Errors: -EEXIST when the addresses are taken, -ENOMEM, or the
 * host's reason for refusing an eventfd or an irqfd.
 */
int virtio_mmio_create(struct virtio_device *dev, struct platform *platform, uint64_t base,
                       uint32_t gsi, struct virtio_mmio **out, struct error *err);

/* Back to power-on values, the device included (machine reset). No vCPU may run. */
void virtio_mmio_reset(struct virtio_mmio *mmio);

/* Reset the device, then take it off the bus. No vCPU may run, and the device must not raise any
 * more events afterwards; it is destroyed after its transport, whose doorbells use its eventfds. */
void virtio_mmio_destroy(struct virtio_mmio *mmio);

#endif
