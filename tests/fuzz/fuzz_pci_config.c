/*
 * Random configuration accesses to two virtio-pci functions, by ECAM and by ports, mixed with
 * accesses to wherever their BARs are.
 *
 * Input: records of 8 bytes: action, width, offset (16 bits), value. Besides "nothing crashes", two
 * properties are checked after each: both ways to configuration space agree, and at the end the
 * fake platform insists that every range and ioeventfd was taken back (PCI-15, PCI-16).
 */
#include "tests/driver/rig.h"
#include "tests/driver/toy_device.h"

#include "base/bytes.h"
#include "base/log.h"

#include <linux/pci_regs.h>
#include <stdlib.h>

#define RECORD 8
#define QUEUES 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool condition)
{
    if (!condition)
        abort();
}

/* The window's data and the ISR behind it change when they are read: leave them out. */
static void check_agreement(struct rig *rig, uint32_t offset)
{
    struct pci_driver *d = &rig->pci_driver;
    uint32_t by_port;

    offset &= 0xfc;
    if (offset == d->window + 16)
        return;
    fake_write(&rig->fake, ADDRESS_PIO, 0xcf8, 4, 0x80000000u | RIG_SLOT << 11 | offset);
    by_port = (uint32_t)fake_read(&rig->fake, ADDRESS_PIO, 0xcfc, 4);
    expect(by_port == pci_driver_config_read(d, offset, 4));
}

static void step(struct rig *rig, struct toy_device *toy, const uint8_t record[RECORD])
{
    unsigned width = 1u << (record[1] & 3);
    uint32_t offset = load_le16(record + 2), value = load_le32(record + 4);
    struct fake_platform *fake = &rig->fake;

    switch (record[0] % 8) {
    case 0: /* any register of slots 0 to 7 */
        fake_read(fake, ADDRESS_MMIO, RIG_ECAM + (uint32_t)(record[0] >> 5 << 15) + offset, width);
        break;
    case 1:
        fake_write(fake, ADDRESS_MMIO, RIG_ECAM + (uint32_t)(record[0] >> 5 << 15) + offset, width,
                   value);
        break;
    case 2:
    case 3:
        fake_write(fake, ADDRESS_MMIO, rig->pci_driver.ecam + (offset & 0xff), width, value);
        break;
    case 4: /* the ports as they come */
        fake_write(fake, ADDRESS_PIO, 0xcf8 + (offset & 7), width, value);
        fake_read(fake, ADDRESS_PIO, 0xcf8 + (offset & 7), width);
        break;
    case 5: /* somewhere in the window of BARs */
        fake_write(fake, ADDRESS_MMIO, RIG_MEM32 + offset, width, value);
        fake_read(fake, ADDRESS_MMIO, RIG_MEM32 + offset, width);
        break;
    case 6:
        toy_used(toy, record[1] % QUEUES);
        toy_config_changed(toy);
        break;
    default: /* put the BAR back to a place where it can be found */
        pci_driver_config_write(&rig->pci_driver, PCI_BASE_ADDRESS_0, 4,
                                (uint32_t)RIG_MEM32 + (offset & 0xf) * 0x8000u);
        pci_driver_config_write(&rig->pci_driver, PCI_COMMAND, 2, value & 0x407);
        break;
    }
    check_agreement(rig, offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    const struct virtio_pci_config config = {
        .slot = -1, .vectors = VIRTIO_PCI_VECTORS_DEFAULT, .legacy = true, .page_per_vq = true};
    struct toy_device toys[2];
    struct virtio_pci *second;
    struct rig rig;

    log_threshold = LOG_ERROR;
    expect(!toy_device_init(&toys[0], VIRTIO_ID_BLOCK, QUEUES, &err));
    expect(!toy_device_init(&toys[1], VIRTIO_ID_NET, QUEUES, &err));
    expect(!rig_init(&rig, RIG_PCI_MSIX, &toys[0].dev, &err));
    expect(!virtio_pci_create(&toys[1].dev, rig.bus, &config, &second, &err));
    for (size_t at = 0; at + RECORD <= size && at < 512 * RECORD; at += RECORD)
        step(&rig, &toys[0], data + at);
    virtio_pci_destroy(second);
    rig_destroy(&rig);
    toy_device_destroy(&toys[0]);
    toy_device_destroy(&toys[1]);
    return 0;
}
