/*
 * Random register accesses on a device with a toy back end, through virtio-mmio and virtio-pci.
 *
 * Input: one byte that chooses the transport, then records of 8 bytes: action, width, offset (16
 * bits), value. Each is one access, notification or event. Nothing may crash, hang or leak:
 * MMIO-16, MMIO-17, PCIC-15, CFG-06, CFG-07.
 */
#include "tests/driver/rig.h"
#include "tests/driver/toy_device.h"

#include "base/bytes.h"
#include "base/log.h"

#include <stdlib.h>

#define RECORD 8
#define QUEUES 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a driver of the rig's kind looks at; with a legacy one, its I/O BAR. */
static uint64_t register_base(const struct rig *rig, uint8_t selector)
{
    const uint64_t structures[] = {rig->pci_driver.common,     rig->pci_driver.isr,
                                   rig->pci_driver.notify,     rig->pci_driver.device,
                                   rig->pci_driver.msix_table, rig->pci_driver.msix_pba};

    if (rig_is_mmio(rig->kind))
        return RIG_MMIO_BASE;
    return rig_is_legacy(rig->kind) ? rig->pci_driver.io
                                    : structures[selector % ARRAY_SIZE(structures)];
}

static void event(struct rig *rig, struct toy_device *toy, uint8_t action)
{
    switch (action % 5) {
    case 0:
        toy_used(toy, action / 5 % QUEUES);
        break;
    case 1:
        toy_config_changed(toy);
        break;
    case 2:
        toy_needs_reset(toy);
        break;
    case 3:
        rig_reset(rig);
        break;
    default:
        rig->driver->ops->interrupts(rig->driver);
        break;
    }
}

static void step(struct rig *rig, struct toy_device *toy, const uint8_t record[RECORD])
{
    enum address_space space =
        rig_is_legacy(rig->kind) && !rig_is_mmio(rig->kind) ? ADDRESS_PIO : ADDRESS_MMIO;
    unsigned width = 1u << (record[1] & 3);
    uint64_t address = register_base(rig, record[1] >> 2) +
                       load_le16(record + 2) % (rig_is_mmio(rig->kind) ? 0x200 : 0x80);

    switch (record[0] & 3) {
    case 0:
        fake_read(&rig->fake, space, address, width);
        break;
    case 1:
        event(rig, toy, record[0] >> 2);
        break;
    default:
        fake_write(&rig->fake, space, address, width, load_le32(record + 4));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct virtio_features all = {{UINT32_MAX, UINT32_MAX}};
    struct error err = ERROR_INIT;
    struct toy_device toy;
    struct rig rig;

    log_threshold = LOG_ERROR;
    if (!size || toy_device_init_with(&toy, VIRTIO_ID_BLOCK, QUEUES, 100, &all, &err))
        return 0;
    if (rig_init(&rig, data[0] % RIG_KINDS, &toy.dev, &err))
        abort();
    for (size_t at = 1; at + RECORD <= size && at < 512 * RECORD; at += RECORD)
        step(&rig, &toy, data + at);
    rig_destroy(&rig);
    toy_device_destroy(&toy);
    return 0;
}
