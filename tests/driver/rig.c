#include "tests/driver/rig.h"

#include "base/bytes.h"

#include <errno.h>
#include <string.h>

static int init_mmio(struct rig *rig, struct virtio_device *dev, struct error *err)
{
    const struct virtio_mmio_config config = {
        .base = RIG_MMIO_BASE,
        .gsi = RIG_MMIO_GSI,
        .legacy = rig->kind == RIG_MMIO_LEGACY,
        .shared_base = RIG_SHARED,
    };
    int ret = virtio_mmio_create(dev, &rig->fake.platform, &config, &rig->mmio, err);

    if (ret)
        return ret;
    mmio_driver_init(&rig->mmio_driver, &rig->fake, RIG_MMIO_BASE, RIG_MMIO_GSI);
    rig->driver = &rig->mmio_driver.driver;
    return 0;
}

static bool probe_pci(struct rig *rig)
{
    uint32_t gsi = RIG_GSI_BASE + RIG_SLOT;
    struct pci_driver *d = &rig->pci_driver;

    switch (rig->kind) {
    case RIG_PCI_LEGACY_MSIX:
    case RIG_PCI_LEGACY_INTX:
        return pci_driver_init_legacy(d, &rig->fake, RIG_ECAM, RIG_SLOT, gsi,
                                      rig_has_msix(rig->kind));
    default:
        return pci_driver_init(d, &rig->fake, RIG_ECAM, RIG_SLOT, gsi, rig_has_msix(rig->kind));
    }
}

static int init_pci(struct rig *rig, int vectors, struct virtio_device *dev, struct error *err)
{
    const struct pci_bus_config bus = {
        .platform = &rig->fake.platform,
        .ecam = {RIG_ECAM, MIB},
        .mem32 = {RIG_MEM32, 64 * MIB},
        .mem64 = {RIG_MEM64, 64 * GIB},
        .io = {0x6000, 0x1000},
        .gsi_base = RIG_GSI_BASE,
        .gsi_count = 4,
        .ports = true,
    };
    const struct virtio_pci_config config = {
        .slot = RIG_SLOT,
        .vectors = vectors,
        .legacy = rig_is_legacy(rig->kind) || rig->kind == RIG_PCI_TRANSITIONAL,
        .page_per_vq = rig->kind == RIG_PCI_PAGES,
    };
    int ret = pci_bus_create(&bus, &rig->bus, err);

    if (ret)
        return ret;
    ret = virtio_pci_create(dev, rig->bus, &config, &rig->pci, err);
    if (!ret && !probe_pci(rig))
        ret = error_set(err, ENODEV, "the driver finds no device");
    rig->driver = &rig->pci_driver.driver;
    return ret;
}

int rig_init_vectors(struct rig *rig, enum rig_kind kind, int vectors, struct virtio_device *dev,
                     struct error *err)
{
    int ret;

    memset(rig, 0, sizeof(*rig));
    rig->kind = kind;
    fake_platform_init(&rig->fake);
    ret = rig_is_mmio(kind) ? init_mmio(rig, dev, err) : init_pci(rig, vectors, dev, err);
    if (ret)
        rig_destroy(rig);
    return ret;
}

int rig_init(struct rig *rig, enum rig_kind kind, struct virtio_device *dev, struct error *err)
{
    return rig_init_vectors(rig, kind, VIRTIO_PCI_VECTORS_DEFAULT, dev, err);
}

void rig_reset(struct rig *rig)
{
    if (rig_is_mmio(rig->kind)) {
        virtio_mmio_reset(rig->mmio);
        mmio_driver_init(&rig->mmio_driver, &rig->fake, RIG_MMIO_BASE, RIG_MMIO_GSI);
        return;
    }
    pci_bus_reset(rig->bus);
    virtio_pci_reset(rig->pci);
    probe_pci(rig);
}

void rig_destroy(struct rig *rig)
{
    virtio_mmio_destroy(rig->mmio);
    virtio_pci_destroy(rig->pci);
    pci_bus_destroy(rig->bus);
    fake_platform_destroy(&rig->fake);
}
