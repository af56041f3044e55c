#include "transport/virtio_pci_common.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device_legacy.h"

#include <errno.h>
#include <stdlib.h>

/* 4.1.4.3 Common configuration structure layout. */
enum common_field {
    COMMON_DEVICE_FEATURE_SELECT = 0x00,   /* le32 RW */
    COMMON_DEVICE_FEATURE = 0x04,          /* le32 R */
    COMMON_DRIVER_FEATURE_SELECT = 0x08,   /* le32 RW */
    COMMON_DRIVER_FEATURE = 0x0c,          /* le32 RW */
    COMMON_CONFIG_MSIX_VECTOR = 0x10,      /* le16 RW */
    COMMON_NUM_QUEUES = 0x12,              /* le16 R */
    COMMON_DEVICE_STATUS = 0x14,           /* u8 RW */
    COMMON_CONFIG_GENERATION = 0x15,       /* u8 R */
    COMMON_QUEUE_SELECT = 0x16,            /* le16 RW */
    COMMON_QUEUE_SIZE = 0x18,              /* le16 RW */
    COMMON_QUEUE_MSIX_VECTOR = 0x1a,       /* le16 RW */
    COMMON_QUEUE_ENABLE = 0x1c,            /* le16 RW */
    COMMON_QUEUE_NOTIFY_OFF = 0x1e,        /* le16 R */
    COMMON_QUEUE_DESC = 0x20,              /* le64 RW, by halves */
    COMMON_QUEUE_DRIVER = 0x28,            /* le64 RW, by halves */
    COMMON_QUEUE_DEVICE = 0x30,            /* le64 RW, by halves */
    COMMON_QUEUE_NOTIF_CONFIG_DATA = 0x38, /* le16 R with NOTIF_CONFIG_DATA */
    COMMON_QUEUE_RESET = 0x3a,             /* le16 RW with RING_RESET */
    COMMON_ADMIN_QUEUE_INDEX = 0x3c,       /* le16 R with ADMIN_VQ */
    COMMON_ADMIN_QUEUE_NUM = 0x3e,         /* le16 R with ADMIN_VQ */
};

/* Width of the field that starts at an offset; 0 where none does. */
static const uint8_t field_width[VIRTIO_PCI_COMMON_SIZE] = {
    [COMMON_DEVICE_FEATURE_SELECT] = 4, [COMMON_DEVICE_FEATURE] = 4,
    [COMMON_DRIVER_FEATURE_SELECT] = 4, [COMMON_DRIVER_FEATURE] = 4,
    [COMMON_CONFIG_MSIX_VECTOR] = 2,    [COMMON_NUM_QUEUES] = 2,
    [COMMON_DEVICE_STATUS] = 1,         [COMMON_CONFIG_GENERATION] = 1,
    [COMMON_QUEUE_SELECT] = 2,          [COMMON_QUEUE_SIZE] = 2,
    [COMMON_QUEUE_MSIX_VECTOR] = 2,     [COMMON_QUEUE_ENABLE] = 2,
    [COMMON_QUEUE_NOTIFY_OFF] = 2,      [COMMON_QUEUE_DESC] = 4,
    [COMMON_QUEUE_DESC + 4] = 4,        [COMMON_QUEUE_DRIVER] = 4,
    [COMMON_QUEUE_DRIVER + 4] = 4,      [COMMON_QUEUE_DEVICE] = 4,
    [COMMON_QUEUE_DEVICE + 4] = 4,      [COMMON_QUEUE_NOTIF_CONFIG_DATA] = 2,
    [COMMON_QUEUE_RESET] = 2,           [COMMON_ADMIN_QUEUE_INDEX] = 2,
    [COMMON_ADMIN_QUEUE_NUM] = 2,
};

int virtio_pci_common_init(struct virtio_pci_common *common, struct virtio_device *dev,
                           uint16_t vectors, struct error *err)
{
    memset(common, 0, sizeof(*common));
    common->dev = dev;
    common->vectors = vectors;
    common->queue_vectors = calloc(dev->queue_count + 1u, sizeof(*common->queue_vectors));
    if (!common->queue_vectors)
        return error_set(err, ENOMEM, "no memory for the vectors of %s", dev->name);
    virtio_pci_common_reset(common);
    return 0;
}

void virtio_pci_common_destroy(struct virtio_pci_common *common)
{
    free(common->queue_vectors);
}

void virtio_pci_common_reset(struct virtio_pci_common *common)
{
    atomic_store(&common->device_feature_select, 0);
    atomic_store(&common->driver_feature_select, 0);
    atomic_store(&common->queue_select, 0);
    atomic_store(&common->config_vector, VIRTIO_PCI_NO_VECTOR);
    for (uint16_t i = 0; i < common->dev->queue_count; i++)
        atomic_store(&common->queue_vectors[i], VIRTIO_PCI_NO_VECTOR);
}

static void common_complain(const struct virtio_pci_common *common, const char *rule,
                            const char *what, uint32_t number)
{
    log_limited(LOG_WARN, "virtio-pci", "%s: %s: %s 0x%02x", common->dev->name, rule, what, number);
}

static uint16_t selected_queue(struct virtio_pci_common *common)
{
    return (uint16_t)atomic_load(&common->queue_select);
}

/* --- vectors --------------------------------------------------------------------------------- */

uint16_t virtio_pci_config_vector(struct virtio_pci_common *common)
{
    return (uint16_t)atomic_load(&common->config_vector);
}

uint16_t virtio_pci_queue_vector(struct virtio_pci_common *common, uint16_t queue)
{
    return queue < common->dev->queue_count ? (uint16_t)atomic_load(&common->queue_vectors[queue])
                                            : VIRTIO_PCI_NO_VECTOR;
}

static void set_vector(struct virtio_pci_common *common, atomic_uint *event, uint16_t vector)
{
    if (vector >= common->vectors && vector != VIRTIO_PCI_NO_VECTOR) {
        common_complain(common, "DRV-PCI-03", "no such MSI-X vector:", vector);
        vector = VIRTIO_PCI_NO_VECTOR;
    }
    atomic_store(event, vector);
}

void virtio_pci_set_config_vector(struct virtio_pci_common *common, uint16_t vector)
{
    set_vector(common, &common->config_vector, vector);
}

void virtio_pci_set_queue_vector(struct virtio_pci_common *common, uint16_t queue, uint16_t vector)
{
    if (queue >= common->dev->queue_count)
        return;
    set_vector(common, &common->queue_vectors[queue], vector);
    if (common->queue_vector_set)
        common->queue_vector_set(common, queue);
}

/* --- fields ---------------------------------------------------------------------------------- */

static uint32_t read_queue_field(struct virtio_pci_common *common, uint32_t offset)
{
    struct virtio_device *dev = common->dev;
    uint16_t index = selected_queue(common);
    uint64_t address;

    if (index >= dev->queue_count)
        return 0; /* PCIC-15 */
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        return virtio_device_queue_size(dev, index);
    case COMMON_QUEUE_MSIX_VECTOR:
        return virtio_pci_queue_vector(common, index);
    case COMMON_QUEUE_ENABLE:
        return virtio_device_queue_enabled(dev, index);
    case COMMON_QUEUE_NOTIFY_OFF:
        return index;
    case COMMON_QUEUE_DESC ... COMMON_QUEUE_DEVICE + 4:
        address = virtio_device_queue_address(dev, index, (offset - COMMON_QUEUE_DESC) / 8);
        return (uint32_t)(offset & 4 ? address >> 32 : address);
    case COMMON_QUEUE_NOTIF_CONFIG_DATA:
        return virtio_device_negotiated(dev, VIRTIO_F_NOTIF_CONFIG_DATA)
                   ? virtio_pci_notif_config_data(index)
                   : 0;
    default: /* a queue reset is over when the write returns (QRST-04); there is no admin queue */
        return 0;
    }
}

static uint32_t read_field(struct virtio_pci_common *common, uint32_t offset)
{
    struct virtio_device *dev = common->dev;

    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        return atomic_load(&common->device_feature_select);
    case COMMON_DEVICE_FEATURE:
        return virtio_device_features(dev, atomic_load(&common->device_feature_select));
    case COMMON_DRIVER_FEATURE_SELECT:
        return atomic_load(&common->driver_feature_select);
    case COMMON_DRIVER_FEATURE:
        return virtio_device_driver_features(dev, atomic_load(&common->driver_feature_select));
    case COMMON_CONFIG_MSIX_VECTOR:
        return virtio_pci_config_vector(common);
    case COMMON_NUM_QUEUES:
        return dev->queue_count;
    case COMMON_DEVICE_STATUS:
        return virtio_device_status(dev);
    case COMMON_CONFIG_GENERATION:
        return virtio_device_config_generation(dev) & 0xff;
    case COMMON_QUEUE_SELECT:
        return selected_queue(common);
    default:
        return read_queue_field(common, offset);
    }
}

/* A width that is not the field's own; 64-bit accesses to the addresses are made of two by the
 * callers. */
static bool width_valid(struct virtio_pci_common *common, uint32_t offset, unsigned size)
{
    if (offset < VIRTIO_PCI_COMMON_SIZE && size == field_width[offset])
        return true;
    common_complain(common, "DRV-CFG-03", "access that matches no field, at common configuration",
                    offset);
    return false;
}

static bool is_queue_address(uint32_t offset, unsigned size)
{
    return size == 8 && offset % 8 == 0 && offset >= COMMON_QUEUE_DESC &&
           offset <= COMMON_QUEUE_DEVICE;
}

void virtio_pci_common_read(struct virtio_pci_common *common, uint32_t offset, void *data,
                            unsigned size)
{
    uint8_t *bytes = data;

    if (is_queue_address(offset, size)) {
        store_le32(bytes, read_field(common, offset));
        store_le32(bytes + 4, read_field(common, offset + 4));
    } else if (width_valid(common, offset, size)) {
        store_le(data, size, read_field(common, offset));
    } else {
        memset(data, 0, size);
    }
}

static void write_queue_enable(struct virtio_pci_common *common, uint32_t value)
{
    if (value == 1)
        virtio_device_set_queue_enabled(common->dev, selected_queue(common), true);
    else
        common_complain(common, "DRV-QCFG-09", "queue_enable written with", value);
}

static void write_queue_reset(struct virtio_pci_common *common, uint32_t value)
{
    uint16_t index = selected_queue(common);

    if (value == 1 && virtio_device_reset_queue(common->dev, index))
        virtio_pci_set_queue_vector(common, index, VIRTIO_PCI_NO_VECTOR);
}

/* Whether a write changes something for good: a transitional device must not hear of it by this
 * interface when its driver speaks the other one. */
static bool write_binds(uint32_t offset, uint32_t value)
{
    switch (offset) {
    case COMMON_DEVICE_STATUS:
        return value != 0; /* a reset is open to all */
    case COMMON_DRIVER_FEATURE:
    case COMMON_QUEUE_SIZE:
    case COMMON_QUEUE_ENABLE:
    case COMMON_QUEUE_DESC ... COMMON_QUEUE_DEVICE + 4:
    case COMMON_QUEUE_RESET:
        return true;
    default:
        return false;
    }
}

static void write_field(struct virtio_pci_common *common, uint32_t offset, uint32_t value)
{
    struct virtio_device *dev = common->dev;

    if (write_binds(offset, value) && !virtio_device_speak(dev, VIRTIO_MODERN))
        return;
    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        atomic_store(&common->device_feature_select, value);
        break;
    case COMMON_DRIVER_FEATURE_SELECT:
        atomic_store(&common->driver_feature_select, value);
        break;
    case COMMON_DRIVER_FEATURE:
        virtio_device_set_driver_features(dev, atomic_load(&common->driver_feature_select), value);
        break;
    case COMMON_CONFIG_MSIX_VECTOR:
        virtio_pci_set_config_vector(common, (uint16_t)value);
        break;
    case COMMON_DEVICE_STATUS:
        virtio_device_set_status(dev, (uint8_t)value);
        break;
    case COMMON_QUEUE_SELECT:
        atomic_store(&common->queue_select, value);
        break;
    case COMMON_QUEUE_SIZE:
        virtio_device_set_queue_size(dev, selected_queue(common), (uint16_t)value);
        break;
    case COMMON_QUEUE_MSIX_VECTOR:
        virtio_pci_set_queue_vector(common, selected_queue(common), (uint16_t)value);
        break;
    case COMMON_QUEUE_ENABLE:
        write_queue_enable(common, value);
        break;
    case COMMON_QUEUE_DESC ... COMMON_QUEUE_DEVICE + 4:
        virtio_device_set_queue_address(dev, selected_queue(common),
                                        (offset - COMMON_QUEUE_DESC) / 8, offset & 4, value);
        break;
    case COMMON_QUEUE_RESET:
        write_queue_reset(common, value);
        break;
    default:
        common_complain(common, "DRV-PCI-01", "write to read-only field", offset);
        break;
    }
}

bool virtio_pci_common_write(struct virtio_pci_common *common, uint32_t offset, const void *data,
                             unsigned size)
{
    const uint8_t *bytes = data;

    if (is_queue_address(offset, size)) {
        write_field(common, offset, load_le32(bytes));
        write_field(common, offset + 4, load_le32(bytes + 4));
        return false;
    }
    if (!width_valid(common, offset, size))
        return false;
    write_field(common, offset, (uint32_t)load_le(data, size));
    return offset == COMMON_DEVICE_STATUS && bytes[0] == 0;
}
