/*
 * The PCI_CFG window (specification 4.1.4.9): BAR accesses by way of configuration space, for those
 * who cannot reach the BAR.
 */
#include "transport/virtio_pci_internal.h"

#include "base/log.h"

#include <inttypes.h>

static bool window_in_region(const struct virtio_pci *pci, uint32_t offset, uint32_t length)
{
    const struct {
        uint32_t offset, length;
    } regions[] = {
        {COMMON_OFFSET, VIRTIO_PCI_COMMON_SIZE},
        {ISR_OFFSET, ISR_SIZE},
        {pci->notify_offset, pci_notify_length(pci)},
        {DEVICE_OFFSET, REGION_SIZE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(regions); i++)
        if (offset >= regions[i].offset && offset - regions[i].offset < regions[i].length &&
            length <= regions[i].length - (offset - regions[i].offset))
            return true;
    return false;
}

/* Where the window points; false, and the access is dropped, when that is nowhere (PCI-15). */
static bool window_target(const struct virtio_pci *pci, uint32_t *offset, uint32_t *length)
{
    const uint8_t *cap = &pci->function.config[pci->window];
    const char *rule = NULL;

    *offset = load_le32(cap + CAP_OFFSET);
    *length = load_le32(cap + CAP_LENGTH);
    if ((*length != 1 && *length != 2 && *length != 4) || *offset % *length)
        rule = "DRV-PCI-05";
    else if (cap[CAP_BAR] != pci->modern_bar || !window_in_region(pci, *offset, *length))
        rule = "DRV-PCI-06";
    if (rule)
        log_limited(LOG_WARN, "virtio-pci",
                    "%s: %s: PCI_CFG access of %" PRIu32 " bytes at BAR %u offset 0x%" PRIx32,
                    pci->dev->name, rule, *length, cap[CAP_BAR], *offset);
    return !rule;
}

static bool touches_data(const struct virtio_pci *pci, uint32_t offset, unsigned size)
{
    uint32_t data = pci->window + CAP_PCI_CFG_DATA;

    return offset < data + 4 && data < offset + size;
}

void pci_window_read(struct virtio_pci *pci, uint32_t offset, unsigned size)
{
    uint8_t *data = &pci->function.config[pci->window + CAP_PCI_CFG_DATA];
    uint32_t target, length;

    if (!touches_data(pci, offset, size))
        return;
    store_le32(data, 0);
    if (!load_le32(&pci->function.config[pci->window + CAP_LENGTH]))
        return; /* nobody has set it up: this is a tool that shows all of configuration space */
    if (window_target(pci, &target, &length))
        pci_bar_read(&pci->function, pci->modern_bar, target, data, length);
}

bool pci_window_written(struct virtio_pci *pci, uint32_t offset, unsigned size)
{
    const uint8_t *data = &pci->function.config[pci->window + CAP_PCI_CFG_DATA];
    uint32_t target, length;

    if (!touches_data(pci, offset, size))
        return false;
    if (window_target(pci, &target, &length))
        pci_bar_write(&pci->function, pci->modern_bar, target, data, length);
    return true;
}
