/*
 * virtio over MMIO (specification 4.2): one page of registers and one interrupt line. Version 2, or
 * version 1 for drivers older than the specification (4.2.4); a device has the registers of one.
 *
 * Registers in, eventfds out: a control register becomes a call of virtio_device, the queue
 * notifications of a busy queue become an ioeventfd, and the interrupt is the eventfd of an irqfd.
 * With NOTIFICATION_DATA there are no ioeventfds: a notification's value then differs each time.
 *
 * The line is edge triggered and belongs to this device alone: each event is one edge, whatever
 * InterruptStatus says already, and one more follows an acknowledgement that leaves bits set, so
 * that a driver sees what a level-triggered line (4.2.3.4) would have shown it. Back ends that are
 * not ours signal the irqfd themselves; while they serve queues, InterruptStatus always says that
 * one has used buffers.
 *
 * Nothing here needs a lock of its own: selectors and InterruptStatus are atomics, the rest is
 * virtio_device's.
 */
#ifndef TRANSPORT_VIRTIO_MMIO_H
#define TRANSPORT_VIRTIO_MMIO_H

#include "base/error.h"
#include "base/platform.h"
#include "virtio/device.h"

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_MMIO_SIZE 0x1000 /* bytes of address space a device takes */

struct virtio_mmio;

struct virtio_mmio_config {
    uint64_t base;        /* VIRTIO_MMIO_SIZE bytes of guest addresses */
    uint32_t gsi;         /* edge triggered, the device's own */
    bool legacy;          /* version 1 */
    uint64_t shared_base; /* where the device's shared memory is decoded, if it has any */
};

/*
 * Show `dev` at the addresses of `config`. `dev` and `platform` are borrowed. Errors: -EEXIST when
 * the addresses are taken, -EINVAL for a type without legacy interface, -ENOMEM, or the host's
 * reason for refusing an eventfd or an irqfd.
 */
int virtio_mmio_create(struct virtio_device *dev, struct platform *platform,
                       const struct virtio_mmio_config *config, struct virtio_mmio **out,
                       struct error *err);

/* Back to power-on values, the device included (machine reset). No vCPU may run. */
void virtio_mmio_reset(struct virtio_mmio *mmio);

/* Reset the device, then take it off the bus. No vCPU may run, and the device must not raise any
 * more events afterwards; it is destroyed after its transport, whose doorbells use its eventfds. */
void virtio_mmio_destroy(struct virtio_mmio *mmio);

#endif
