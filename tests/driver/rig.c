#include "tests/driver/rig.h"

#include "base/bytes.h"

#include <errno.h>
#include <string.h>

static int init_mmio(struct rig *rig, struct virtio_device *dev, struct error *err)
{
    mmio_driver_init(&rig->mmio_driver, &rig->fake, RIG_MMIO_BASE, RIG_MMIO_GSI);
    rig->driver = &rig->mmio_driver.driver;
    return virtio_mmio_create(dev, &rig->fake.platform, RIG_MMIO_BASE, RIG_MMIO_GSI, &rig->mmio,
                              err);
}

static bool probe_pci(struct rig *rig)
{
    return pci_driver_init(&rig->pci_driver, &rig->fake, RIG_ECAM, RIG_SLOT,
                           RIG_GSI_BASE + RIG_SLOT, rig->kind == RIG_PCI_MSIX);
}

static int init_pci(struct rig *rig, struct virtio_device *dev, struct error *err)
{
    const struct pci_bus_config config = {
        .platform = &rig->fake.platform,
        .ecam = {RIG_ECAM, MIB},
        .mem32 = {RIG_MEM32, 64 * MIB},
        .io = {0x6000, 0x1000},
        .gsi_base = RIG_GSI_BASE,
        .gsi_count = 4,
        .ports = true,
    };
    int ret = pci_bus_create(&config, &rig->bus, err);

    if (ret)
        return ret;
    ret = virtio_pci_create(dev, rig->bus, RIG_SLOT, &rig->pci, err);
    if (!ret && !probe_pci(rig))
        ret = error_set(err, ENODEV, "the driver finds no device");
    rig->driver = &rig->pci_driver.driver;
    return ret;
}

int rig_init(struct rig *rig, enum rig_kind kind, struct virtio_device *dev, struct error *err)
{
    int ret;

    memset(rig, 0, sizeof(*rig));
    rig->kind = kind;
    fake_platform_init(&rig->fake);
    ret = kind == RIG_MMIO ? init_mmio(rig, dev, err) : init_pci(rig, dev, err);
    if (ret)
        rig_destroy(rig);
    return ret;
}

void rig_reset(struct rig *rig)
{
    if (rig->kind == RIG_MMIO) {
        virtio_mmio_reset(rig->mmio);
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
