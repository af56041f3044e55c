/* Registers of version 2 alone (specification 4.2.2). */
#include "transport/shared_memory.h"
#include "transport/virtio_mmio_internal.h"

#include "base/bytes.h"

enum modern_register {
    MODERN_QUEUE_READY = 0x044,       /* RW */
    MODERN_QUEUE_DESC_LOW = 0x080,    /* W */
    MODERN_QUEUE_DESC_HIGH = 0x084,   /* W */
    MODERN_QUEUE_DRIVER_LOW = 0x090,  /* W */
    MODERN_QUEUE_DRIVER_HIGH = 0x094, /* W */
    MODERN_QUEUE_DEVICE_LOW = 0x0a0,  /* W */
    MODERN_QUEUE_DEVICE_HIGH = 0x0a4, /* W */
    MODERN_SHM_SEL = 0x0ac,           /* W */
    MODERN_SHM_LEN_LOW = 0x0b0,       /* R */
    MODERN_SHM_LEN_HIGH = 0x0b4,      /* R */
    MODERN_SHM_BASE_LOW = 0x0b8,      /* R */
    MODERN_SHM_BASE_HIGH = 0x0bc,     /* R */
    MODERN_QUEUE_RESET = 0x0c0,       /* RW */
    MODERN_CONFIG_GENERATION = 0x0fc, /* R */
};

/* Types that may have some, so that their drivers look for it (5.7, 5.11). */
static bool may_have_shared_memory(uint16_t id)
{
    return id == VIRTIO_ID_GPU || id == VIRTIO_ID_FS;
}

/* MMIO-09: all ones, length and base, for an id the device does not have. */
static uint32_t read_shared_memory(struct virtio_mmio *mmio, uint64_t offset)
{
    uint64_t base, length, value;

    if (!mmio->dev->shared_count && !may_have_shared_memory(mmio->dev->id))
        mmio_complain(mmio, "DRV-MMIO-08", "no shared memory, but a read of", offset);
    if (!shared_memory_find(mmio->dev, atomic_load(&mmio->shm_sel), &base, &length))
        return UINT32_MAX;
    value = offset < MODERN_SHM_BASE_LOW ? length : mmio->config.shared_base + base;
    return (uint32_t)(offset & 4 ? value >> 32 : value);
}

uint32_t mmio_modern_read(struct virtio_mmio *mmio, uint64_t offset)
{
    switch (offset) {
    case MODERN_QUEUE_READY:
        return virtio_device_queue_enabled(mmio->dev, mmio_selected_queue(mmio));
    case MODERN_QUEUE_RESET:
        return 0; /* QRST-04: done before the write returned */
    case MODERN_SHM_LEN_LOW:
    case MODERN_SHM_LEN_HIGH:
    case MODERN_SHM_BASE_LOW:
    case MODERN_SHM_BASE_HIGH:
        return read_shared_memory(mmio, offset);
    case MODERN_CONFIG_GENERATION:
        return virtio_device_config_generation(mmio->dev);
    case MODERN_QUEUE_DESC_LOW ... MODERN_QUEUE_DESC_HIGH:
    case MODERN_QUEUE_DRIVER_LOW ... MODERN_QUEUE_DRIVER_HIGH:
    case MODERN_QUEUE_DEVICE_LOW ... MODERN_QUEUE_DEVICE_HIGH:
    case MODERN_SHM_SEL:
        return mmio_read_write_only(mmio, offset);
    default:
        return mmio_read_undefined(mmio, offset);
    }
}

static void write_queue_address(struct virtio_mmio *mmio, enum virtio_queue_address which,
                                uint64_t offset, uint32_t value)
{
    virtio_device_set_queue_address(mmio->dev, mmio_selected_queue(mmio), which, offset & 4, value);
}

void mmio_modern_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case MODERN_QUEUE_READY:
        virtio_device_set_queue_enabled(mmio->dev, mmio_selected_queue(mmio), value & 1);
        break;
    case MODERN_QUEUE_RESET:
        if (value & 1)
            virtio_device_reset_queue(mmio->dev, mmio_selected_queue(mmio));
        break;
    case MODERN_QUEUE_DESC_LOW ... MODERN_QUEUE_DESC_HIGH:
        write_queue_address(mmio, VIRTIO_QUEUE_DESC, offset, value);
        break;
    case MODERN_QUEUE_DRIVER_LOW ... MODERN_QUEUE_DRIVER_HIGH:
        write_queue_address(mmio, VIRTIO_QUEUE_DRIVER, offset, value);
        break;
    case MODERN_QUEUE_DEVICE_LOW ... MODERN_QUEUE_DEVICE_HIGH:
        write_queue_address(mmio, VIRTIO_QUEUE_DEVICE, offset, value);
        break;
    case MODERN_SHM_SEL:
        atomic_store(&mmio->shm_sel, value);
        break;
    case MODERN_SHM_LEN_LOW ... MODERN_SHM_BASE_HIGH:
    case MODERN_CONFIG_GENERATION:
        mmio_write_read_only(mmio, offset);
        break;
    default:
        mmio_write_undefined(mmio, offset);
        break;
    }
}
