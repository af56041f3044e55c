#include "transport/virtio_mmio.h"

#include "base/bytes.h"
#include "base/event_signal.h"
#include "base/log.h"
#include "transport/virtio_mmio_internal.h"
#include "virtio/device_legacy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Registers of both versions: R read-only, W write-only, RW both (4.2.2, 4.2.4). */
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
    MMIO_QUEUE_NOTIFY = 0x050,        /* W */
    MMIO_INTERRUPT_STATUS = 0x060,    /* R */
    MMIO_INTERRUPT_ACK = 0x064,       /* W */
    MMIO_STATUS = 0x070,              /* RW */
    MMIO_CONFIG = 0x100,              /* RW, any width */
};

#define MAGIC          0x74726976 /* "virt" */
#define VERSION_MODERN 2
#define VERSION_LEGACY 1
#define VENDOR         0x45524956 /* "VIRE": 4.2.2 leaves the value to the vendor */

/* InterruptStatus */
#define INTERRUPT_QUEUE  1u
#define INTERRUPT_CONFIG 2u

void mmio_complain(const struct virtio_mmio *mmio, const char *rule, const char *what,
                   uint64_t number)
{
    log_limited(LOG_WARN, "virtio-mmio", "%s: %s: %s 0x%03" PRIx64, mmio->dev->name, rule, what,
                number);
}

uint32_t mmio_read_write_only(const struct virtio_mmio *mmio, uint64_t offset)
{
    mmio_complain(mmio, "DRV-MMIO-02", "read of write-only register", offset);
    return 0;
}

uint32_t mmio_read_undefined(const struct virtio_mmio *mmio, uint64_t offset)
{
    mmio_complain(mmio, "DRV-MMIO-03", "read of undefined register", offset);
    return 0;
}

void mmio_write_read_only(const struct virtio_mmio *mmio, uint64_t offset)
{
    mmio_complain(mmio, "DRV-MMIO-02", "write to read-only register", offset);
}

void mmio_write_undefined(const struct virtio_mmio *mmio, uint64_t offset)
{
    mmio_complain(mmio, "DRV-MMIO-03", "write to undefined register", offset);
}

uint16_t mmio_selected_queue(struct virtio_mmio *mmio)
{
    return (uint16_t)MIN(atomic_load(&mmio->queue_sel), (unsigned)UINT16_MAX);
}

/* --- interrupts ------------------------------------------------------------------------------ */

static void mmio_edge(struct virtio_mmio *mmio)
{
    /* Fails only when 2^64-2 edges are waiting to be taken: one more makes no difference. */
    if (mmio->dev->backend->foreign) /* others have it, too */
        event_signal(mmio->irq_fd);
    else
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

/* All who signal share our eventfd: edges of two irqfds on one line can melt into one. From the
 * first on nobody can tell any more whether a queue has interrupted. */
static int mmio_queue_call_fd(void *opaque, uint16_t index, int fd)
{
    struct virtio_mmio *mmio = opaque;

    (void)index;
    atomic_fetch_add(&mmio->foreign_queues, fd >= 0 ? 1 : -1);
    return mmio->irq_fd;
}

static int mmio_shared_map(void *opaque, const struct virtio_shared_mapping *mapping,
                           struct error *err)
{
    return shared_memory_map(&((struct virtio_mmio *)opaque)->shared, mapping, err);
}

static void mmio_shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    shared_memory_unmap(&((struct virtio_mmio *)opaque)->shared, id, offset, length);
}

/* FEAT-15: no register for what NOTIF_CONFIG_DATA would need. */
static const struct virtio_transport_ops mmio_modern_ops = {
    .notify_queue = mmio_notify_queue,
    .notify_config = mmio_notify_config,
    .queue_call_fd = mmio_queue_call_fd,
    .shared_map = mmio_shared_map,
    .shared_unmap = mmio_shared_unmap,
    .lacks.word = {[VIRTIO_F_NOTIF_CONFIG_DATA / 32] = BIT(VIRTIO_F_NOTIF_CONFIG_DATA % 32)},
};

static const struct virtio_transport_ops mmio_legacy_ops = {
    .notify_queue = mmio_notify_queue,
    .notify_config = mmio_notify_config,
    .queue_call_fd = mmio_queue_call_fd,
    .lacks.word = {[1] = UINT32_MAX, [2] = UINT32_MAX, [3] = UINT32_MAX},
};

/* --- registers ------------------------------------------------------------------------------- */

static uint32_t read_device_features(struct virtio_mmio *mmio)
{
    uint32_t word = atomic_load(&mmio->device_features_sel);

    if (!atomic_load(&mmio->device_features_selected))
        mmio_complain(mmio, "DRV-MMIO-05", "read without DeviceFeaturesSel:", MMIO_DEVICE_FEATURES);
    if (!mmio->config.legacy)
        return virtio_device_features(mmio->dev, word);
    return word ? 0 : virtio_device_legacy_features(mmio->dev);
}

static uint32_t mmio_read_register(struct virtio_mmio *mmio, uint64_t offset)
{
    struct virtio_device *dev = mmio->dev;

    switch (offset) {
    case MMIO_MAGIC_VALUE:
        return MAGIC;
    case MMIO_VERSION:
        return mmio->config.legacy ? VERSION_LEGACY : VERSION_MODERN;
    case MMIO_DEVICE_ID:
        return dev->id;
    case MMIO_VENDOR_ID:
        return VENDOR;
    case MMIO_DEVICE_FEATURES:
        return read_device_features(mmio);
    case MMIO_QUEUE_SIZE_MAX:
        return virtio_device_queue_size_max(dev, mmio_selected_queue(mmio));
    case MMIO_INTERRUPT_STATUS:
        return atomic_load(&mmio->interrupt_status) |
               (atomic_load(&mmio->foreign_queues) > 0 ? INTERRUPT_QUEUE : 0);
    case MMIO_STATUS:
        return virtio_device_status(dev);
    case MMIO_DEVICE_FEATURES_SEL:
    case MMIO_DRIVER_FEATURES:
    case MMIO_DRIVER_FEATURES_SEL:
    case MMIO_QUEUE_SEL:
    case MMIO_QUEUE_SIZE:
    case MMIO_QUEUE_NOTIFY:
    case MMIO_INTERRUPT_ACK:
        return mmio_read_write_only(mmio, offset);
    default:
        return mmio->config.legacy ? mmio_legacy_read(mmio, offset)
                                   : mmio_modern_read(mmio, offset);
    }
}

static void write_interrupt_ack(struct virtio_mmio *mmio, uint32_t value)
{
    if (value & ~(INTERRUPT_QUEUE | INTERRUPT_CONFIG))
        mmio_complain(mmio, "DRV-MMIO-06", "undefined bits in InterruptACK:", value);
    /* A level-triggered line would still be high for what is left (4.2.3.4). */
    if (atomic_fetch_and(&mmio->interrupt_status, ~value) & ~value)
        mmio_edge(mmio);
}

/* The device learns from these which interface its driver speaks. */
static bool mmio_speak(struct virtio_mmio *mmio)
{
    return virtio_device_speak(mmio->dev, mmio->config.legacy ? VIRTIO_LEGACY : VIRTIO_MODERN);
}

static void write_status(struct virtio_mmio *mmio, uint32_t value)
{
    if (!(uint8_t)value || mmio_speak(mmio))
        virtio_device_set_status(mmio->dev, (uint8_t)value);
    if (!(uint8_t)value)
        atomic_store(&mmio->interrupt_status, 0); /* MMIO-12 */
}

static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
    if (!atomic_load(&mmio->driver_features_selected))
        mmio_complain(mmio, "DRV-MMIO-05",
                      "write without DriverFeaturesSel:", MMIO_DRIVER_FEATURES);
    if (mmio_speak(mmio))
        virtio_device_set_driver_features(mmio->dev, atomic_load(&mmio->driver_features_sel),
                                          value);
}

/* NTF-01: with NOTIFICATION_DATA the upper half says how far the ring is filled, which the ring
 * says, too. */
static void write_queue_notify(struct virtio_mmio *mmio, uint32_t value)
{
    if (virtio_device_negotiated(mmio->dev, VIRTIO_F_NOTIFICATION_DATA))
        value &= UINT16_MAX;
    doorbells_ring(&mmio->doorbells, (uint16_t)MIN(value, (uint32_t)UINT16_MAX));
}

static void mmio_write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case MMIO_DEVICE_FEATURES_SEL:
        atomic_store(&mmio->device_features_sel, value);
        atomic_store(&mmio->device_features_selected, true);
        break;
    case MMIO_DRIVER_FEATURES_SEL:
        atomic_store(&mmio->driver_features_sel, value);
        atomic_store(&mmio->driver_features_selected, true);
        break;
    case MMIO_DRIVER_FEATURES:
        write_driver_features(mmio, value);
        break;
    case MMIO_QUEUE_SEL:
        atomic_store(&mmio->queue_sel, value);
        break;
    case MMIO_QUEUE_SIZE:
        virtio_device_set_queue_size(mmio->dev, mmio_selected_queue(mmio),
                                     (uint16_t)MIN(value, (uint32_t)UINT16_MAX));
        break;
    case MMIO_QUEUE_NOTIFY:
        write_queue_notify(mmio, value);
        break;
    case MMIO_INTERRUPT_ACK:
        write_interrupt_ack(mmio, value);
        break;
    case MMIO_STATUS:
        write_status(mmio, value);
        break;
    case MMIO_MAGIC_VALUE ... MMIO_DEVICE_FEATURES:
    case MMIO_QUEUE_SIZE_MAX:
    case MMIO_INTERRUPT_STATUS:
        mmio_write_read_only(mmio, offset);
        break;
    default:
        if (mmio->config.legacy)
            mmio_legacy_write(mmio, offset, value);
        else
            mmio_modern_write(mmio, offset, value);
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

static void shared_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    shared_memory_read(opaque, offset, data, size);
}

static void shared_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    shared_memory_write(opaque, offset, data, size);
}

/* --- creation -------------------------------------------------------------------------------- */

static int add_ranges(struct virtio_mmio *mmio, struct error *err)
{
    const struct address_range registers = {
        .space = ADDRESS_MMIO,
        .base = mmio->config.base,
        .size = VIRTIO_MMIO_SIZE,
        .name = "virtio-mmio",
        .read = mmio_read,
        .write = mmio_write,
        .opaque = mmio,
    };
    const struct address_range shared = {
        .space = ADDRESS_MMIO,
        .base = mmio->config.shared_base,
        .size = shared_memory_size(mmio->dev),
        .name = "virtio-mmio shared memory",
        .read = shared_read,
        .write = shared_write,
        .opaque = &mmio->shared,
    };
    struct platform *platform = mmio->platform;
    int ret = platform->ops->range_add(platform, &registers, err);

    if (ret || !shared.size)
        return ret;
    ret = platform->ops->range_add(platform, &shared, err);
    if (ret)
        platform->ops->range_remove(platform, ADDRESS_MMIO, registers.base);
    else
        shared_memory_place(&mmio->shared, shared.base);
    return ret;
}

static void remove_ranges(struct virtio_mmio *mmio)
{
    struct platform *platform = mmio->platform;

    platform->ops->range_remove(platform, ADDRESS_MMIO, mmio->config.base);
    if (!mmio->dev->shared_count)
        return;
    shared_memory_unplace(&mmio->shared);
    platform->ops->range_remove(platform, ADDRESS_MMIO, mmio->config.shared_base);
}

static int mmio_connect(struct virtio_mmio *mmio, struct error *err)
{
    struct platform *platform = mmio->platform;
    int ret = add_ranges(mmio, err);

    if (ret)
        return ret;
    ret = platform->ops->line_irqfd_add(platform, mmio->config.gsi, mmio->irq_fd, err);
    if (ret) {
        remove_ranges(mmio);
        return ret;
    }
    doorbells_place(&mmio->doorbells, mmio->config.base + MMIO_QUEUE_NOTIFY);
    virtio_device_attach(mmio->dev, mmio->config.legacy ? &mmio_legacy_ops : &mmio_modern_ops,
                         mmio);
    return 0;
}

int virtio_mmio_create(struct virtio_device *dev, struct platform *platform,
                       const struct virtio_mmio_config *config, struct virtio_mmio **out,
                       struct error *err)
{
    const struct doorbell_kind kind = {.space = ADDRESS_MMIO, .stride = 0, .length = 4};
    struct virtio_mmio *mmio;
    int ret;

    if (config->legacy && !virtio_device_type_has_legacy(dev->id))
        return error_set(err, EINVAL, "%s is of a type without a legacy interface", dev->name);
    if (dev->shared_count && !config->shared_base)
        return error_set(err, EINVAL, "there are no addresses for the shared memory of %s",
                         dev->name);
    mmio = calloc(1, sizeof(*mmio));
    if (!mmio)
        return error_set(err, ENOMEM, "no memory for the virtio-mmio registers of %s", dev->name);
    mmio->dev = dev;
    mmio->platform = platform;
    mmio->config = *config;
    shared_memory_init(&mmio->shared, platform, dev);
    mmio->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mmio->irq_fd < 0) {
        ret = error_errno(err, errno, "cannot make an eventfd for the interrupt of %s", dev->name);
        goto fail_free;
    }
    ret = doorbells_init(&mmio->doorbells, platform, dev, &kind, err);
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
    shared_memory_destroy(&mmio->shared);
    free(mmio);
    return ret;
}

void virtio_mmio_reset(struct virtio_mmio *mmio)
{
    virtio_device_reset(mmio->dev);
    doorbells_reset(&mmio->doorbells);
    atomic_store(&mmio->device_features_sel, 0);
    atomic_store(&mmio->driver_features_sel, 0);
    atomic_store(&mmio->device_features_selected, false);
    atomic_store(&mmio->driver_features_selected, false);
    atomic_store(&mmio->queue_sel, 0);
    atomic_store(&mmio->shm_sel, 0);
    atomic_store(&mmio->guest_page_size, 0);
    atomic_store(&mmio->interrupt_status, 0);
}

void virtio_mmio_destroy(struct virtio_mmio *mmio)
{
    if (!mmio)
        return;
    virtio_device_reset(mmio->dev);
    virtio_device_detach(mmio->dev);
    doorbells_destroy(&mmio->doorbells);
    remove_ranges(mmio);
    mmio->platform->ops->line_irqfd_remove(mmio->platform, mmio->config.gsi, mmio->irq_fd);
    close(mmio->irq_fd);
    shared_memory_destroy(&mmio->shared);
    free(mmio);
}
