#include "virtio/device_legacy.h"

#include "base/bytes.h"
#include "virtio/device_internal.h"

bool virtio_device_type_has_legacy(uint16_t id)
{
    switch (id) {
    case VIRTIO_ID_NET:
    case VIRTIO_ID_BLOCK:
    case VIRTIO_ID_CONSOLE:
    case VIRTIO_ID_ENTROPY:
    case VIRTIO_ID_BALLOON:
    case VIRTIO_ID_SCSI:
    case VIRTIO_ID_9P:
        return true;
    default:
        return false;
    }
}

bool virtio_device_speak(struct virtio_device *dev, enum virtio_interface interface)
{
    DEVICE_LOCK(dev);

    if (dev->interface == VIRTIO_UNBOUND)
        dev->interface = interface;
    else if (dev->interface != interface)
        device_complain(dev, "DRV-PCI-09", "the driver mixes the legacy and the modern interface");
    return dev->interface == interface;
}

/* --- features -------------------------------------------------------------------------------- */

uint32_t virtio_device_legacy_features(struct virtio_device *dev)
{
    return dev->offered.word[0] | (uint32_t)BIT(VIRTIO_F_ANY_LAYOUT); /* constant: no lock */
}

/* There is no way to refuse a choice: what cannot be is left out of it. */
int device_settle_legacy(struct virtio_device *dev)
{
    uint32_t *choice = &dev->driver.word[0];
    uint32_t unknown = *choice & ~virtio_device_legacy_features(dev);
    const struct virtio_feature_name *row;

    if (dev->negotiated)
        return 0;
    if (unknown)
        device_complain(dev, "DRV-INIT-05", "features 0x%08x accepted that were not offered",
                        unknown);
    *choice &= ~unknown;
    while ((row = device_feature_unmet(dev, &dev->driver, true))) {
        device_complain(dev, "DRV-INIT-06", "%s accepted without feature bit %d", row->name,
                        row->needs & 0xff);
        features_set(&dev->driver, row->bit, false);
    }
    return device_settle_features(dev);
}

/* --- queues ---------------------------------------------------------------------------------- */

/* 2.7.2: descriptors, avail ring, padding, used ring. (The used ring's flags and index are there
 * whatever EVENT_IDX says, and so is the word behind the avail ring: drivers leave room for it.) */
static void place_queue(struct virtio_queue *queue, uint64_t address)
{
    queue->desc = GPA(address);
    queue->driver = GPA(address + UINT64_C(16) * queue->size);
    queue->device =
        GPA(align_up(queue->driver.value + 6 + UINT64_C(2) * queue->size, queue->alignment));
}

void virtio_device_set_legacy_alignment(struct virtio_device *dev, uint16_t index,
                                        uint32_t alignment)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    if (!is_power_of_two(alignment))
        device_complain(dev, "DRV-MMIO-09", "a ring cannot be aligned to %u", alignment);
    else if (queue && !queue->enabled)
        queue->alignment = alignment;
}

void virtio_device_set_legacy_queue(struct virtio_device *dev, uint16_t index, uint64_t address)
{
    DEVICE_LOCK(dev);
    struct virtio_queue *queue = device_queue(dev, index);

    if (!queue) {
        device_complain(dev, "DRV-QCFG-14", "queue %u does not exist", index);
    } else if (!address) {
        device_stop_queue(dev, index);
        device_clear_queue(dev, index);
    } else if (queue->enabled) {
        device_complain(dev, "DRV-QCFG-07, -08", "queue %u is enabled, and is moved", index);
    } else {
        place_queue(queue, address);
        queue->enabled = true;
        queue->position = virtqueue_position_first(&dev->driver);
        if (device_settle_legacy(dev) < 0)
            device_needs_reset(dev);
        else
            device_start_queue(dev, index); /* STAT-10: DRIVER_OK or not */
    }
}
