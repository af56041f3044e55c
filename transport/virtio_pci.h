/*
 * virtio over PCI, the modern interface (specification 4.1), on a root bus.
 *
 * All structures live in BAR 0, a page each:
 *
 *     0x0000  common configuration (4.1.4.3)        0x3000  device configuration (4.1.4.6)
 *     0x1000  ISR status (4.1.4.5)                  0x4000  MSI-X table, then pending bits
 *     0x2000  notifications, 4 bytes a queue (4.1.4.4)
 *
 * Capabilities name the regions in the order drivers look for them, then MSI-X with a vector for
 * each queue and one for configuration changes, then the PCI_CFG window (4.1.4.9). As usual for
 * endpoints directly on a root complex there is no PCI Express capability: the guest would read
 * dozens of registers that say nothing.
 *
 * Locks, outermost first: the bus's lock (configuration accesses only), the device's control lock,
 * `interrupt_lock` (ISR and INTx), and the leaves of msix, doorbells and pci_intx. Notifications
 * come from any thread and take only interrupt_lock and leaves.
 */
#ifndef TRANSPORT_VIRTIO_PCI_H
#define TRANSPORT_VIRTIO_PCI_H

#include "base/error.h"
#include "transport/pci_bus.h"
#include "virtio/device.h"

struct virtio_pci;

/*
 * Plug `dev` into `bus` at `slot` (-1: the lowest free one). Both are borrowed. Errors: as
 * pci_bus_add, or -ENOMEM.
 */
int virtio_pci_create(struct virtio_device *dev, struct pci_bus *bus, int slot,
                      struct virtio_pci **out, struct error *err);

/* The slot it got. */
unsigned virtio_pci_slot(const struct virtio_pci *pci);

/* Back to power-on values, the device and the BAR's address included (machine reset). No vCPU may
 * run. */
void virtio_pci_reset(struct virtio_pci *pci);

/* Reset the device, then unplug it. No vCPU may run, and the device must not raise any more events
 * afterwards; it is destroyed after its transport, whose doorbells use its eventfds. */
void virtio_pci_destroy(struct virtio_pci *pci);

#endif
