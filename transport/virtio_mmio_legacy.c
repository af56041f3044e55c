/* Registers of version 1 alone (specification 4.2.4, "Legacy interface"). */
#include "transport/virtio_mmio_internal.h"

#include "base/bytes.h"
#include "virtio/device_legacy.h"

enum legacy_register {
    LEGACY_GUEST_PAGE_SIZE = 0x028, /* W */
    LEGACY_QUEUE_ALIGN = 0x03c,     /* W */
    LEGACY_QUEUE_PFN = 0x040,       /* RW */
};

uint32_t mmio_legacy_read(struct virtio_mmio *mmio, uint64_t offset)
{
    switch (offset) {
    case LEGACY_QUEUE_PFN:
        return (uint32_t)(virtio_device_queue_address(mmio->dev, mmio_selected_queue(mmio),
                                                      VIRTIO_QUEUE_DESC) /
                          MAX(atomic_load(&mmio->guest_page_size), 1u));
    case LEGACY_GUEST_PAGE_SIZE:
    case LEGACY_QUEUE_ALIGN:
        return mmio_read_write_only(mmio, offset);
    default: /* MMIOL-08: what version 2 has there is not */
        return mmio_read_undefined(mmio, offset);
    }
}

static void write_guest_page_size(struct virtio_mmio *mmio, uint32_t value)
{
    if (is_power_of_two(value))
        atomic_store(&mmio->guest_page_size, value);
    else
        mmio_complain(mmio, "DRV-MMIO-09", "no power of two is a GuestPageSize of", value);
}

/* MMIOL-05: the queue is live from here on, or not any more. */
static void write_queue_pfn(struct virtio_mmio *mmio, uint32_t pfn)
{
    uint32_t page_size = atomic_load(&mmio->guest_page_size);

    if (pfn && !page_size)
        mmio_complain(mmio, "DRV-MMIO-09", "no GuestPageSize for QueuePFN", pfn);
    else if (virtio_device_speak(mmio->dev, VIRTIO_LEGACY))
        virtio_device_set_legacy_queue(mmio->dev, mmio_selected_queue(mmio),
                                       (uint64_t)pfn * page_size);
}

void mmio_legacy_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case LEGACY_GUEST_PAGE_SIZE:
        write_guest_page_size(mmio, value);
        break;
    case LEGACY_QUEUE_ALIGN:
        virtio_device_set_legacy_alignment(mmio->dev, mmio_selected_queue(mmio), value);
        break;
    case LEGACY_QUEUE_PFN:
        write_queue_pfn(mmio, value);
        break;
    default:
        mmio_write_undefined(mmio, offset);
        break;
    }
}
