#include "transport/virtio_mmio.h"

#include "base/bytes.h"
#include "base/log.h"
#include "transport/doorbell.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* 4.2.2 MMIO Device Register Layout: R read-only, W write-only, RW both. */
enum mmio_register {
    MMIO_MAGIC_VALUE = 0x000,         /* R */
    MMIO_VERSION = 0x004,             /* R */
    MMIO_DEVICE_ID = 0x008,           /* R */
    MMIO_VENDOR_ID = 0x00c,           /* R */
    MMIO_DEVICE_FEATURES = 0x010,     /* R */
    MMIO_DEVICE_FEATURES_SEL = 0x014, /* W */
    MMIO_DRIVER_FEATURES = 0x020,     /* W */
    MMIO_DRIVER_FEATURES_SEL = 0x024, /* W */
    MMIO_QUEUE_SEL = 0x030,           /* W */
    MMIO_QUEUE_SIZE_MAX = 0x034,      /* R */
    MMIO_QUEUE_SIZE = 0x038,          /* W */
    MMIO_QUEUE_READY = 0x044,         /* RW */
    MMIO_QUEUE_NOTIFY = 0x050,        /* W */
    MMIO_INTERRUPT_STATUS = 0x060,    /* R */
    MMIO_INTERRUPT_ACK = 0x064,       /* W */
    MMIO_STATUS = 0x070,              /* RW */
    MMIO_QUEUE_DESC_LOW = 0x080,      /* W */
    MMIO_QUEUE_DESC_HIGH = 0x084,     /* W */
    MMIO_QUEUE_DRIVER_LOW = 0x090,    /* W */
    MMIO_QUEUE_DRIVER_HIGH = 0x094,   /* W */
    MMIO_QUEUE_DEVICE_LOW = 0x0a0,    /* W */
    MMIO_QUEUE_DEVICE_HIGH = 0x0a4,   /* W */
    MMIO_SHM_SEL = 0x0ac,             /* W */
    MMIO_SHM_LEN_LOW = 0x0b0,         /* R */
    MMIO_SHM_LEN_HIGH = 0x0b4,        /* R */
    MMIO_SHM_BASE_LOW = 0x0b8,        /* R */
    MMIO_SHM_BASE_HIGH = 0x0bc,       /* R */
    MMIO_CONFIG_GENERATION = 0x0fc,   /* R */
    MMIO_CONFIG = 0x100,              /* RW, any width */
};

#define MAGIC   0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR  0x45524956 /* "VIRE": 4.2.2 leaves the value to the vendor */

/* InterruptStatus */
#define INTERRUPT_QUEUE  1u
#define INTERRUPT_CONFIG 2u

struct virtio_mmio {
    struct virtio_device *dev;
    struct platform *platform;
    uint64_t base;
    uint32_t gsi;
    int irq_fd; /* each signal is an edge on the line */
    atomic_uint device_features_sel, driver_features_sel, queue_sel;
    atomic_uint interrupt_status;
    struct doorbells doorbells;
};

static void mmio_complain(const struct virtio_mmio *mmio, const char *rule, const char *what,
                          uint64_t offset)
{
    log_limited(LOG_WARN, "virtio-mmio", "%s: %s: %s 0x%03" PRIx64, mmio->dev->name, rule, what,
                offset);
}

static uint16_t selected_queue(struct virtio_mmio *mmio)
{
    /* Indexes that do not fit name no queue, whichever they are. */
    return (uint16_t)MIN(atomic_load(&mmio->queue_sel), (unsigned)UINT16_MAX);
}

static void mmio_edge(struct virtio_mmio *mmio)
{
    /* Fails only when 2^64-2 edges are waiting to be taken: one more makes no difference. */
    (void)eventfd_write(mmio->irq_fd, 1);
}

static void mmio_interrupt(struct virtio_mmio *mmio, unsigned bit)
{
    atomic_fetch_or(&mmio->interrupt_status, bit); /* MMIO-11: set before the line rises */
    mmio_edge(mmio);
}

static void mmio_notify_queue(void *opaque, uint16_t index)
{
    (void)index;
    mmio_interrupt(opaque, INTERRUPT_QUEUE);
}

static void mmio_notify_config(void *opaque)
{
    mmio_interrupt(opaque, INTERRUPT_CONFIG);
}

static const struct virtio_transport_ops mmio_transport_ops = {
    .notify_queue = mmio_notify_queue,
    .notify_config = mmio_notify_config,
};

static uint32_t mmio_read_register(struct virtio_mmio *mmio, uint64_t offset)
{
    struct virtio_device *dev = mmio->dev;

    switch (offset) {
    case MMIO_MAGIC_VALUE:
        return MAGIC;
    case MMIO_VERSION:
        return VERSION;
    case MMIO_DEVICE_ID:
        return dev->id;
    case MMIO_VENDOR_ID:
        return VENDOR;
    case MMIO_DEVICE_FEATURES:
        return virtio_device_features(dev, atomic_load(&mmio->device_features_sel));
    case MMIO_QUEUE_SIZE_MAX:
        return virtio_device_queue_size_max(dev, selected_queue(mmio));
    case MMIO_QUEUE_READY:
        return virtio_device_queue_enabled(dev, selected_queue(mmio));
    case MMIO_INTERRUPT_STATUS:
        return atomic_load(&mmio->interrupt_status);
    case MMIO_STATUS:
        return virtio_device_status(dev);
    case MMIO_SHM_LEN_LOW: /* 2.10: no device has shared memory; every id is unknown (MMIO-09) */
    case MMIO_SHM_LEN_HIGH:
    case MMIO_SHM_BASE_LOW:
    case MMIO_SHM_BASE_HIGH:
        return UINT32_MAX;
    case MMIO_CONFIG_GENERATION:
        return virtio_device_config_generation(dev);
    case MMIO_DEVICE_FEATURES_SEL:
    case MMIO_DRIVER_FEATURES:
    case MMIO_DRIVER_FEATURES_SEL:
    case MMIO_QUEUE_SEL:
    case MMIO_QUEUE_SIZE:
    case MMIO_QUEUE_NOTIFY:
    case MMIO_INTERRUPT_ACK:
    case MMIO_QUEUE_DESC_LOW ... MMIO_QUEUE_DESC_HIGH:
    case MMIO_QUEUE_DRIVER_LOW ... MMIO_QUEUE_DRIVER_HIGH:
    case MMIO_QUEUE_DEVICE_LOW ... MMIO_QUEUE_DEVICE_HIGH:
    case MMIO_SHM_SEL:
        mmio_complain(mmio, "DRV-MMIO-02", "read of write-only register", offset);
        return 0;
    default: /* QueueReset 0x0c0 is among these until RING_RESET is offered */
        mmio_complain(mmio, "DRV-MMIO-03", "read of undefined register", offset);
        return 0;
    }
}

static void mmio_write_interrupt_ack(struct virtio_mmio *mmio, uint32_t value)
{
    if (value & ~(INTERRUPT_QUEUE | INTERRUPT_CONFIG))
        mmio_complain(mmio, "DRV-MMIO-06", "undefined bits in InterruptACK:", value);
    /* A level-triggered line would still be high for what is left (4.2.3.4). */
    if (atomic_fetch_and(&mmio->interrupt_status, ~value) & ~value)
        mmio_edge(mmio);
}

static void mmio_write_status(struct virtio_mmio *mmio, uint32_t value)
{
    virtio_device_set_status(mmio->dev, (uint8_t)value);
    if (!(uint8_t)value)
        atomic_store(&mmio->interrupt_status, 0); /* MMIO-12 */
}

static void mmio_write_queue_address(struct virtio_mmio *mmio, enum virtio_queue_address which,
                                     uint64_t offset, uint32_t value)
{
    virtio_device_set_queue_address(mmio->dev, selected_queue(mmio), which, offset & 4, value);
}

static void mmio_write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct virtio_device *dev = mmio->dev;

    switch (offset) {
    case MMIO_DEVICE_FEATURES_SEL:
        atomic_store(&mmio->device_features_sel, value);
        break;
    case MMIO_DRIVER_FEATURES_SEL:
        atomic_store(&mmio->driver_features_sel, value);
        break;
    case MMIO_DRIVER_FEATURES:
        virtio_device_set_driver_features(dev, atomic_load(&mmio->driver_features_sel), value);
        break;
    case MMIO_QUEUE_SEL:
        atomic_store(&mmio->queue_sel, value);
        break;
    case MMIO_QUEUE_SIZE:
        virtio_device_set_queue_size(dev, selected_queue(mmio), (uint16_t)MIN(value, 0xffffu));
        break;
    case MMIO_QUEUE_READY:
        virtio_device_set_queue_enabled(dev, selected_queue(mmio), value & 1);
        break;
    case MMIO_QUEUE_NOTIFY:
        doorbells_ring(&mmio->doorbells, (uint16_t)MIN(value, 0xffffu));
        break;
    case MMIO_INTERRUPT_ACK:
        mmio_write_interrupt_ack(mmio, value);
        break;
    case MMIO_STATUS:
        mmio_write_status(mmio, value);
        break;
    case MMIO_QUEUE_DESC_LOW ... MMIO_QUEUE_DESC_HIGH:
        mmio_write_queue_address(mmio, VIRTIO_QUEUE_DESC, offset, value);
        break;
    case MMIO_QUEUE_DRIVER_LOW ... MMIO_QUEUE_DRIVER_HIGH:
        mmio_write_queue_address(mmio, VIRTIO_QUEUE_DRIVER, offset, value);
        break;
    case MMIO_QUEUE_DEVICE_LOW ... MMIO_QUEUE_DEVICE_HIGH:
        mmio_write_queue_address(mmio, VIRTIO_QUEUE_DEVICE, offset, value);
        break;
    case MMIO_SHM_SEL: /* every id selects "no such region" */
        break;
    case MMIO_MAGIC_VALUE ... MMIO_DEVICE_FEATURES:
    case MMIO_QUEUE_SIZE_MAX:
    case MMIO_INTERRUPT_STATUS:
    case MMIO_SHM_LEN_LOW ... MMIO_SHM_BASE_HIGH:
    case MMIO_CONFIG_GENERATION:
        mmio_complain(mmio, "DRV-MMIO-02", "write to read-only register", offset);
        break;
    default:
        mmio_complain(mmio, "DRV-MMIO-03", "write to undefined register", offset);
        break;
    }
}

static bool mmio_access_valid(struct virtio_mmio *mmio, uint64_t offset, unsigned size)
{
    if (size == 4 && offset % 4 == 0)
        return true;
    mmio_complain(mmio, "DRV-MMIO-01", "access is not 32 bits wide and aligned:", offset);
    return false;
}

static void mmio_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct virtio_mmio *mmio = opaque;

    if (offset >= MMIO_CONFIG)
        virtio_device_config_read(mmio->dev, (uint32_t)(offset - MMIO_CONFIG), data, size);
    else if (mmio_access_valid(mmio, offset, size))
        store_le32(data, mmio_read_register(mmio, offset));
    else
        memset(data, 0, size);
}

static void mmio_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct virtio_mmio *mmio = opaque;

    if (offset >= MMIO_CONFIG)
        virtio_device_config_write(mmio->dev, (uint32_t)(offset - MMIO_CONFIG), data, size);
    else if (mmio_access_valid(mmio, offset, size))
        mmio_write_register(mmio, offset, load_le32(data));
}

static int mmio_connect(struct virtio_mmio *mmio, struct error *err)
{
    const struct address_range range = {
        .space = ADDRESS_MMIO,
        .base = mmio->base,
        .size = VIRTIO_MMIO_SIZE,
        .name = "virtio-mmio",
        .read = mmio_read,
        .write = mmio_write,
        .opaque = mmio,
    };
    struct platform *platform = mmio->platform;
    int ret = platform->ops->range_add(platform, &range, err);

    if (ret)
        return ret;
    ret = platform->ops->line_irqfd_add(platform, mmio->gsi, mmio->irq_fd, err);
    if (ret) {
        platform->ops->range_remove(platform, ADDRESS_MMIO, mmio->base);
        return ret;
    }
    doorbells_place(&mmio->doorbells, mmio->base + MMIO_QUEUE_NOTIFY);
    virtio_device_attach(mmio->dev, &mmio_transport_ops, mmio);
    return 0;
}

int virtio_mmio_create(struct virtio_device *dev, struct platform *platform, uint64_t base,
                       uint32_t gsi, struct virtio_mmio **out, struct error *err)
{
    struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));
    int ret;

    if (!mmio)
        return error_set(err, ENOMEM, "no memory for the virtio-mmio registers of %s", dev->name);
    mmio->dev = dev;
    mmio->platform = platform;
    mmio->base = base;
    mmio->gsi = gsi;
    mmio->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mmio->irq_fd < 0) {
        ret = error_errno(err, errno, "cannot make an eventfd for the interrupt of %s", dev->name);
        goto fail_free;
    }
    ret = doorbells_init(&mmio->doorbells, platform, dev, 0, err);
    if (ret)
        goto fail_eventfd;
    ret = mmio_connect(mmio, err);
    if (ret)
        goto fail_doorbells;
    *out = mmio;
    return 0;

fail_doorbells:
    doorbells_destroy(&mmio->doorbells);
fail_eventfd:
    close(mmio->irq_fd);
fail_free:
    free(mmio);
    return ret;
}

void virtio_mmio_reset(struct virtio_mmio *mmio)
{
    virtio_device_reset(mmio->dev);
    doorbells_reset(&mmio->doorbells);
    atomic_store(&mmio->device_features_sel, 0);
    atomic_store(&mmio->driver_features_sel, 0);
    atomic_store(&mmio->queue_sel, 0);
    atomic_store(&mmio->interrupt_status, 0);
}

void virtio_mmio_destroy(struct virtio_mmio *mmio)
{
    struct platform *platform;

    if (!mmio)
        return;
    platform = mmio->platform;
    virtio_device_reset(mmio->dev);
    doorbells_destroy(&mmio->doorbells);
    platform->ops->range_remove(platform, ADDRESS_MMIO, mmio->base);
    platform->ops->line_irqfd_remove(platform, mmio->gsi, mmio->irq_fd);
    close(mmio->irq_fd);
    free(mmio);
}
