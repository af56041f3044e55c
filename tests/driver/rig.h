/*
 * A device on a transport of choice, with a driver facing it: everything a test needs but rings.
 *
 *     struct rig rig;
 *     rig_init(&rig, RIG_PCI_MSIX, &device, &err);
 *     driver_negotiate(rig.driver, &wanted, NULL);
 *     ...
 *     rig_destroy(&rig);
 *     virtio_device_destroy(&device);
 */
#ifndef TESTS_DRIVER_RIG_H
#define TESTS_DRIVER_RIG_H

#include "base/error.h"
#include "tests/driver/fake_platform.h"
#include "tests/driver/mmio_driver.h"
#include "tests/driver/pci_driver.h"
#include "transport/pci_bus.h"
#include "transport/virtio_mmio.h"
#include "transport/virtio_pci.h"
#include "virtio/device.h"

enum rig_kind {
    RIG_MMIO,
    RIG_PCI_MSIX,
    RIG_PCI_INTX,
    RIG_MMIO_LEGACY,
    RIG_PCI_LEGACY_MSIX,
    RIG_PCI_LEGACY_INTX,
    RIG_PCI_TRANSITIONAL, /* of both interfaces, the modern one, with MSI-X */
    RIG_PCI_PAGES,        /* modern, with MSI-X and a page for each queue's notifications */
    RIG_KINDS
};

static inline bool rig_is_mmio(enum rig_kind kind)
{
    return kind == RIG_MMIO || kind == RIG_MMIO_LEGACY;
}

/* The driver is a legacy one. */
static inline bool rig_is_legacy(enum rig_kind kind)
{
    return kind == RIG_MMIO_LEGACY || kind == RIG_PCI_LEGACY_MSIX || kind == RIG_PCI_LEGACY_INTX;
}

static inline bool rig_has_msix(enum rig_kind kind)
{
    return kind == RIG_PCI_MSIX || kind == RIG_PCI_LEGACY_MSIX || kind == RIG_PCI_TRANSITIONAL ||
           kind == RIG_PCI_PAGES;
}

#define RIG_MMIO_BASE UINT64_C(0xd0000000)
#define RIG_MMIO_GSI  5
#define RIG_SHARED    UINT64_C(0xd8000000) /* shared memory of a device on MMIO */
#define RIG_ECAM      UINT64_C(0xe0000000)
#define RIG_MEM32     UINT64_C(0xc0000000)
#define RIG_MEM64     UINT64_C(0x1000000000)
#define RIG_GSI_BASE  16
#define RIG_SLOT      3 /* GSI RIG_GSI_BASE + 3 */

struct rig {
    enum rig_kind kind;
    struct fake_platform fake;
    struct virtio_mmio *mmio;
    struct pci_bus *bus;
    struct virtio_pci *pci;
    struct mmio_driver mmio_driver;
    struct pci_driver pci_driver;
    struct driver *driver; /* the one that fits */
};

/* The rig's address must not change afterwards. `dev` is borrowed. */
int rig_init(struct rig *rig, enum rig_kind kind, struct virtio_device *dev, struct error *err);

/* The same with that many MSI-X vectors (virtio_pci_config). */
int rig_init_vectors(struct rig *rig, enum rig_kind kind, int vectors, struct virtio_device *dev,
                     struct error *err);

/* Machine reset, and the driver's first look at the device again. */
void rig_reset(struct rig *rig);

/* Resets the device, too. */
void rig_destroy(struct rig *rig);

#endif
