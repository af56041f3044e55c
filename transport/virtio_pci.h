/*
 * virtio over PCI (specification 4.1), on a root bus.
 *
 * All structures live in one memory BAR, a page each:
 *
 *     0x0000  common configuration (4.1.4.3)        0x3000  device configuration (4.1.4.6)
 *     0x1000  ISR status (4.1.4.5)                  0x4000  MSI-X table, then pending bits
 *     0x2000  notifications, 4 bytes a queue (4.1.4.4)
 *
 * Where each queue has a page for its notifications (page_per_vq), these are behind all the rest,
 * and a back end can put memory of its own there: transport/notify_pages.h.
 *
 * Capabilities name the regions in the order drivers look for them, then MSI-X, shared memory, the
 * PCI_CFG window (4.1.4.9), and PCI Express for its extended configuration space and function level
 * reset. A device whose vectors do not suffice for all queues lets some share one, or has no MSI-X.
 *
 * Shared memory (2.10) has a BAR of its own, of 64 bits and prefetchable:
 * transport/shared_memory.h.
 *
 * A transitional device (4.1.2.3) has the legacy interface in an I/O BAR besides, and answers to
 * drivers of either kind.
 *
 * Bus mastering (Command bit 2) is not enforced: drivers from before the specification and firmware
 * forget it, virtio asks for nothing here, and a driver that wants the device to keep its hands off
 * memory has to reset it anyway.
 *
 * Locks, outermost first: the bus's lock (configuration accesses only), the device's control lock,
 * `interrupt_lock` (ISR and INTx), and the leaves of msix, doorbells, notify pages, shared memory
 * and pci_intx.
 * Notifications come from any thread and take only interrupt_lock and leaves.
 */
#ifndef TRANSPORT_VIRTIO_PCI_H
#define TRANSPORT_VIRTIO_PCI_H

#include "base/error.h"
#include "transport/pci_bus.h"
#include "virtio/device.h"

#include <stdbool.h>

struct virtio_pci;

#define VIRTIO_PCI_VECTORS_DEFAULT (-1)

struct virtio_pci_config {
    int slot;         /* -1: the lowest free one */
    int vectors;      /* of MSI-X, 0 for no MSI-X; default: one a queue and one for configuration */
    bool legacy;      /* transitional */
    bool page_per_vq; /* a page for each queue's notifications */
};

/*
 * Plug `dev` into `bus`. Both are borrowed. Errors: as pci_bus_add, -EINVAL for a type without
 * legacy interface or with too many shared memory regions, -ENOMEM.
 */
int virtio_pci_create(struct virtio_device *dev, struct pci_bus *bus,
                      const struct virtio_pci_config *config, struct virtio_pci **out,
                      struct error *err);

/* The slot it got. */
unsigned virtio_pci_slot(const struct virtio_pci *pci);

/* Back to power-on values, the device and the BAR's address included (machine reset). No vCPU may
 * run. */
void virtio_pci_reset(struct virtio_pci *pci);

/* Reset the device, then unplug it. No vCPU may run, and the device must not raise any more events
 * afterwards; it is destroyed after its transport, whose doorbells use its eventfds. */
void virtio_pci_destroy(struct virtio_pci *pci);

#endif
