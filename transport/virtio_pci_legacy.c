/*
 * The I/O BAR of transitional devices (specification 4.1.4.10, "Legacy Interfaces").
 *
 *     0  device features      12  queue size       18  status         20  vectors, while MSI-X
 *     4  driver features      14  queue select     19  ISR                is enabled
 *     8  queue address        16  queue notify     20 or 24  device configuration
 *
 * The driver cannot choose a queue's size, and its address is that of a page of 4096 bytes.
 */
#include "transport/virtio_pci_internal.h"

#include "base/log.h"
#include "virtio/device_legacy.h"

enum legacy_field {
    LEGACY_DEVICE_FEATURES = 0,                 /* le32 R */
    LEGACY_DRIVER_FEATURES = 4,                 /* le32 RW */
    LEGACY_QUEUE_ADDRESS = 8,                   /* le32 RW */
    LEGACY_QUEUE_SIZE = 12,                     /* le16 R */
    LEGACY_QUEUE_SELECT = 14,                   /* le16 RW */
    LEGACY_QUEUE_NOTIFY = LEGACY_NOTIFY_OFFSET, /* le16 RW */
    LEGACY_STATUS = 18,                         /* u8 RW */
    LEGACY_ISR = 19,                            /* u8 R */
    LEGACY_CONFIG_VECTOR = 20,                  /* le16 RW, with MSI-X */
    LEGACY_QUEUE_VECTOR = 22,                   /* le16 RW, with MSI-X */
    LEGACY_HEADER_SIZE = 20,
    LEGACY_HEADER_SIZE_MSIX = 24,
};

/* Width of the field that starts at an offset; 0 where none does. */
static const uint8_t field_width[LEGACY_HEADER_SIZE_MSIX] = {
    [LEGACY_DEVICE_FEATURES] = 4, [LEGACY_DRIVER_FEATURES] = 4,
    [LEGACY_QUEUE_ADDRESS] = 4,   [LEGACY_QUEUE_SIZE] = 2,
    [LEGACY_QUEUE_SELECT] = 2,    [LEGACY_QUEUE_NOTIFY] = 2,
    [LEGACY_STATUS] = 1,          [LEGACY_ISR] = 1,
    [LEGACY_CONFIG_VECTOR] = 2,   [LEGACY_QUEUE_VECTOR] = 2,
};

#define QUEUE_PAGE_SHIFT 12

/* PCIL-03: moves with the enable bit of MSI-X, at once. */
static uint32_t header_size(struct virtio_pci *pci)
{
    return msix_enabled(&pci->msix) ? LEGACY_HEADER_SIZE_MSIX : LEGACY_HEADER_SIZE;
}

static void legacy_complain(const struct virtio_pci *pci, const char *rule, const char *what,
                            uint32_t number)
{
    log_limited(LOG_WARN, "virtio-pci", "%s: %s: %s %u", pci->dev->name, rule, what, number);
}

static bool width_valid(struct virtio_pci *pci, uint32_t offset, unsigned size)
{
    if (size == field_width[offset])
        return true;
    legacy_complain(pci, offset + size > LEGACY_CONFIG_VECTOR ? "DRV-PCI-12" : "DRV-CFG-03",
                    "access that matches no field, at offset", offset);
    return false;
}

static uint16_t selected_queue(struct virtio_pci *pci)
{
    return (uint16_t)atomic_load(&pci->legacy_queue_select);
}

static uint32_t read_field(struct virtio_pci *pci, uint32_t offset)
{
    struct virtio_device *dev = pci->dev;
    uint16_t queue = selected_queue(pci);

    switch (offset) {
    case LEGACY_DEVICE_FEATURES:
        return virtio_device_legacy_features(dev);
    case LEGACY_DRIVER_FEATURES:
        return virtio_device_driver_features(dev, 0);
    case LEGACY_QUEUE_ADDRESS:
        return (uint32_t)(virtio_device_queue_address(dev, queue, VIRTIO_QUEUE_DESC) >>
                          QUEUE_PAGE_SHIFT);
    case LEGACY_QUEUE_SIZE:
        return virtio_device_queue_size_max(dev, queue);
    case LEGACY_QUEUE_SELECT:
        return queue;
    case LEGACY_STATUS:
        return virtio_device_status(dev);
    case LEGACY_ISR:
        return pci_take_isr(pci);
    case LEGACY_CONFIG_VECTOR:
        return virtio_pci_config_vector(&pci->common);
    case LEGACY_QUEUE_VECTOR:
        return virtio_pci_queue_vector(&pci->common, queue);
    default: /* a notification leaves nothing to read */
        return 0;
    }
}

void pci_legacy_read(struct virtio_pci *pci, uint32_t offset, void *data, unsigned size)
{
    uint32_t header = header_size(pci);

    if (offset >= header)
        virtio_device_config_read(pci->dev, offset - header, data, size);
    else if (width_valid(pci, offset, size))
        store_le(data, size, read_field(pci, offset));
    else
        memset(data, 0, size);
}

static void write_status(struct virtio_pci *pci, uint8_t value)
{
    if (!value || virtio_device_speak(pci->dev, VIRTIO_LEGACY))
        virtio_device_set_status(pci->dev, value);
    if (!value)
        pci_device_was_reset(pci);
}

/* What only a driver that speaks this interface may do. */
static void write_bound_field(struct virtio_pci *pci, uint32_t offset, uint32_t value)
{
    if (!virtio_device_speak(pci->dev, VIRTIO_LEGACY))
        return;
    if (offset == LEGACY_DRIVER_FEATURES)
        virtio_device_set_driver_features(pci->dev, 0, value);
    else
        virtio_device_set_legacy_queue(pci->dev, selected_queue(pci),
                                       (uint64_t)value << QUEUE_PAGE_SHIFT);
}

static void write_field(struct virtio_pci *pci, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case LEGACY_DRIVER_FEATURES:
    case LEGACY_QUEUE_ADDRESS:
        write_bound_field(pci, offset, value);
        break;
    case LEGACY_QUEUE_SELECT:
        atomic_store(&pci->legacy_queue_select, value);
        break;
    case LEGACY_QUEUE_NOTIFY:
        doorbells_ring(&pci->legacy_doorbells, (uint16_t)value);
        break;
    case LEGACY_STATUS:
        write_status(pci, (uint8_t)value);
        break;
    case LEGACY_CONFIG_VECTOR:
        virtio_pci_set_config_vector(&pci->common, (uint16_t)value);
        break;
    case LEGACY_QUEUE_VECTOR:
        virtio_pci_set_queue_vector(&pci->common, selected_queue(pci), (uint16_t)value);
        break;
    default:
        legacy_complain(pci, "DRV-PCI-09", "write to read-only field at offset", offset);
        break;
    }
}

void pci_legacy_write(struct virtio_pci *pci, uint32_t offset, const void *data, unsigned size)
{
    uint32_t header = header_size(pci);

    if (offset >= header) {
        if (virtio_device_speak(pci->dev, VIRTIO_LEGACY)) /* STAT-09: whatever the status */
            virtio_device_config_write(pci->dev, offset - header, data, size);
    } else if (width_valid(pci, offset, size)) {
        write_field(pci, offset, (uint32_t)load_le(data, size));
    }
}
