#include "transport/virtio_pci.h"

#include "base/bytes.h"
#include "base/log.h"
#include "transport/doorbell.h"
#include "transport/msix.h"
#include "transport/pci_function.h"
#include "transport/virtio_pci_common.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdlib.h>

#define VENDOR_ID      0x1af4 /* 4.1.2.1 */
#define DEVICE_ID_BASE 0x1040
#define REVISION       1

/* 4.1.4: cfg_type */
enum cfg_type { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_ISR = 3, CFG_DEVICE = 4, CFG_PCI = 5 };

/* 4.1.4: struct virtio_pci_cap, and what two types append to it. */
enum cap_field {
    CAP_LEN = 2,
    CAP_CFG_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_LENGTH = 12,
    CAP_SIZE = 16,
    CAP_NOTIFY_OFF_MULTIPLIER = 16,
    CAP_PCI_CFG_DATA = 16,
    CAP_EXTENDED_SIZE = 20,
};

#define BAR           0
#define REGION_SIZE   0x1000
#define COMMON_OFFSET 0x0000
#define ISR_OFFSET    0x1000
#define NOTIFY_OFFSET 0x2000
#define DEVICE_OFFSET 0x3000
#define MSIX_OFFSET   0x4000

#define ISR_SIZE          1
#define NOTIFY_MULTIPLIER 4

/* 4.1.4.5 ISR status */
#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

struct virtio_pci {
    struct pci_function function;
    struct pci_bus *bus;
    struct virtio_device *dev;
    struct virtio_pci_common common;
    struct msix msix;
    struct doorbells doorbells;
    uint32_t pba_offset;
    unsigned window; /* offset of the PCI_CFG capability */

    /* Orders changes of the ISR with the level of the pin that follows from them. */
    pthread_mutex_t interrupt_lock;
    unsigned isr;
};

static struct virtio_pci *pci_of(struct pci_function *function)
{
    return container_of(function, struct virtio_pci, function);
}

/* Class codes of the PCI Code and ID Assignment Specification, as other VMMs choose them. */
static uint32_t class_code_of(uint16_t id)
{
    switch (id) {
    case VIRTIO_ID_NET:
        return 0x020000; /* network, Ethernet */
    case VIRTIO_ID_BLOCK:
    case VIRTIO_ID_FS:
        return 0x018000; /* mass storage, other */
    case VIRTIO_ID_SCSI:
        return 0x010000; /* mass storage, SCSI */
    case VIRTIO_ID_CONSOLE:
    case VIRTIO_ID_VSOCK:
        return 0x078000; /* communication, other */
    case VIRTIO_ID_GPU:
        return 0x038000; /* display, other */
    case VIRTIO_ID_INPUT:
        return 0x098000; /* input, other */
    default:
        return 0xff0000; /* fits no defined class */
    }
}

/* --- Interrupts (4.1.4.5, 4.1.5.3, 4.1.5.4) --- */

/* Change the ISR, and set the pin to what 4.1.4.5.1 says: the OR of its bits while MSI-X is off.
 * Returns the bits there were. */
static unsigned update_isr(struct virtio_pci *pci, unsigned keep, unsigned set)
{
    unsigned before;

    pthread_mutex_lock(&pci->interrupt_lock);
    before = pci->isr;
    pci->isr = (before & keep) | set;
    pci_intx_set_pending(&pci->function.intx, pci->isr && !msix_enabled(&pci->msix));
    pthread_mutex_unlock(&pci->interrupt_lock);
    return before;
}

static void pci_notify_queue(void *opaque, uint16_t index)
{
    struct virtio_pci *pci = opaque;

    /* An unmapped event is NO_VECTOR, which msix_notify ignores like any vector there is not. */
    if (msix_enabled(&pci->msix))
        msix_notify(&pci->msix, (uint16_t)atomic_load(&pci->common.queue_vectors[index]));
    else
        update_isr(pci, ~0u, ISR_QUEUE);
}

static void pci_notify_config(void *opaque)
{
    struct virtio_pci *pci = opaque;

    update_isr(pci, ~0u, ISR_CONFIG); /* PCII-03: with MSI-X, too */
    if (msix_enabled(&pci->msix))
        msix_notify(&pci->msix, (uint16_t)atomic_load(&pci->common.config_vector));
}

static const struct virtio_transport_ops pci_transport_ops = {
    .notify_queue = pci_notify_queue,
    .notify_config = pci_notify_config,
};

/* The driver reset the device (2.4.1, PCII-08): nothing of before must interrupt it any more. */
static void pci_device_was_reset(struct virtio_pci *pci)
{
    virtio_pci_common_reset(&pci->common);
    msix_clear_pending(&pci->msix);
    update_isr(pci, 0, 0);
}

/* --- BAR 0 --- */

static uint32_t notify_length(const struct virtio_pci *pci)
{
    return NOTIFY_MULTIPLIER * MAX(pci->dev->queue_count, 1u);
}

static void isr_read(struct virtio_pci *pci, uint32_t offset, void *data, unsigned size)
{
    memset(data, 0, size);
    if (offset == 0)
        *(uint8_t *)data = (uint8_t)update_isr(pci, 0, 0); /* PCII-02: read to clear */
}

/* The address alone says which queue is meant, as for an ioeventfd, which does not see the rest. */
static void notify_write(struct virtio_pci *pci, uint32_t offset, const void *data, unsigned size)
{
    uint32_t index = offset / NOTIFY_MULTIPLIER;
    const char *name = pci->dev->name;

    if (offset % NOTIFY_MULTIPLIER || index >= pci->dev->queue_count) {
        log_limited(LOG_WARN, "virtio-pci", "%s: DRV-NTF-07: no queue at notification offset 0x%x",
                    name, offset);
        return;
    }
    if (size != 2)
        log_limited(LOG_WARN, "virtio-pci", "%s: DRV-NTF-05: notification of %u bytes", name, size);
    else if (load_le16(data) != index)
        log_limited(LOG_WARN, "virtio-pci", "%s: DRV-NTF-06: queue %u notified with value %u", name,
                    index, load_le16(data));
    doorbells_ring(&pci->doorbells, (uint16_t)index);
}

static void pci_bar_read(struct pci_function *function, unsigned bar, uint64_t offset, void *data,
                         unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint32_t within = offset % REGION_SIZE;

    (void)bar;
    if (offset >= pci->pba_offset) {
        msix_pba_read(&pci->msix, offset - pci->pba_offset, data, size);
        return;
    }
    if (offset >= MSIX_OFFSET) {
        msix_table_read(&pci->msix, offset - MSIX_OFFSET, data, size);
        return;
    }
    switch (offset - within) {
    case COMMON_OFFSET:
        virtio_pci_common_read(&pci->common, within, data, size);
        break;
    case ISR_OFFSET:
        isr_read(pci, within, data, size);
        break;
    case DEVICE_OFFSET:
        virtio_device_config_read(pci->dev, within, data, size);
        break;
    default: /* notifications are written, not read */
        memset(data, 0, size);
        break;
    }
}

static void pci_bar_write(struct pci_function *function, unsigned bar, uint64_t offset,
                          const void *data, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint32_t within = offset % REGION_SIZE;

    (void)bar;
    if (offset >= MSIX_OFFSET) {
        if (offset < pci->pba_offset) /* the pending bits are read-only */
            msix_table_write(&pci->msix, offset - MSIX_OFFSET, data, size);
        return;
    }
    switch (offset - within) {
    case COMMON_OFFSET:
        if (virtio_pci_common_write(&pci->common, within, data, size))
            pci_device_was_reset(pci);
        break;
    case NOTIFY_OFFSET:
        notify_write(pci, within, data, size);
        break;
    case DEVICE_OFFSET:
        virtio_device_config_write(pci->dev, within, data, size);
        break;
    default: /* writes to the ISR do nothing */
        break;
    }
}

static void pci_bar_mapped(struct pci_function *function, unsigned bar, uint64_t address)
{
    (void)bar;
    doorbells_place(&pci_of(function)->doorbells, address + NOTIFY_OFFSET);
}

static void pci_bar_unmapped(struct pci_function *function, unsigned bar)
{
    (void)bar;
    doorbells_unplace(&pci_of(function)->doorbells);
}

/* --- The PCI_CFG window (4.1.4.9): BAR accesses by way of configuration space --- */

static bool window_in_region(const struct virtio_pci *pci, uint32_t offset, uint32_t length)
{
    const struct {
        uint32_t offset, length;
    } regions[] = {
        {COMMON_OFFSET, VIRTIO_PCI_COMMON_SIZE},
        {ISR_OFFSET, ISR_SIZE},
        {NOTIFY_OFFSET, notify_length(pci)},
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
    else if (cap[CAP_BAR] != BAR || !window_in_region(pci, *offset, *length))
        rule = "DRV-PCI-06";
    if (rule)
        log_limited(LOG_WARN, "virtio-pci",
                    "%s: %s: PCI_CFG access of %" PRIu32 " bytes at BAR %u offset 0x%" PRIx32,
                    pci->dev->name, rule, *length, cap[CAP_BAR], *offset);
    return !rule;
}

static bool touches_window_data(const struct virtio_pci *pci, uint32_t offset, unsigned size)
{
    uint32_t data = pci->window + CAP_PCI_CFG_DATA;

    return offset < data + 4 && data < offset + size;
}

static void pci_config_read(struct pci_function *function, uint32_t offset, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint8_t *data = &function->config[pci->window + CAP_PCI_CFG_DATA];
    uint32_t target, length;

    if (!touches_window_data(pci, offset, size))
        return;
    store_le32(data, 0);
    if (window_target(pci, &target, &length))
        pci_bar_read(function, BAR, target, data, length);
}

static void pci_config_written(struct pci_function *function, uint32_t offset, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint32_t target, length;

    if (touches_window_data(pci, offset, size)) {
        if (window_target(pci, &target, &length))
            pci_bar_write(function, BAR, target, &function->config[pci->window + CAP_PCI_CFG_DATA],
                          length);
    } else if (msix_config_written(&pci->msix)) {
        update_isr(pci, ~0u, 0); /* the pin is silent while MSI-X is on */
    }
}

static const struct pci_function_ops virtio_pci_function_ops = {
    .name = "virtio-pci",
    .bar_read = pci_bar_read,
    .bar_write = pci_bar_write,
    .bar_mapped = pci_bar_mapped,
    .bar_unmapped = pci_bar_unmapped,
    .config_read = pci_config_read,
    .config_written = pci_config_written,
};

/* --- Creation --- */

static unsigned add_virtio_capability(struct virtio_pci *pci, enum cfg_type type, unsigned size,
                                      uint32_t offset, uint32_t length)
{
    unsigned at = pci_function_add_capability(&pci->function, PCI_CAP_ID_VNDR, size);
    uint8_t *cap = &pci->function.config[at];

    cap[CAP_LEN] = (uint8_t)size;
    cap[CAP_CFG_TYPE] = (uint8_t)type;
    cap[CAP_BAR] = BAR;
    store_le32(cap + CAP_OFFSET, offset);
    store_le32(cap + CAP_LENGTH, length);
    return at;
}

static void add_regions(struct virtio_pci *pci)
{
    unsigned notify;

    add_virtio_capability(pci, CFG_COMMON, CAP_SIZE, COMMON_OFFSET, VIRTIO_PCI_COMMON_SIZE);
    add_virtio_capability(pci, CFG_ISR, CAP_SIZE, ISR_OFFSET, ISR_SIZE);
    notify = add_virtio_capability(pci, CFG_NOTIFY, CAP_EXTENDED_SIZE, NOTIFY_OFFSET,
                                   notify_length(pci));
    store_le32(&pci->function.config[notify + CAP_NOTIFY_OFF_MULTIPLIER], NOTIFY_MULTIPLIER);
    add_virtio_capability(pci, CFG_DEVICE, CAP_SIZE, DEVICE_OFFSET, REGION_SIZE);
}

/* PCI-13: bar, offset, length and data are the driver's to write. */
static void add_window(struct virtio_pci *pci)
{
    unsigned window = add_virtio_capability(pci, CFG_PCI, CAP_EXTENDED_SIZE, 0, 0);

    pci_function_set_writable(&pci->function, window + CAP_BAR, 1, 0xff);
    pci_function_set_writable(&pci->function, window + CAP_OFFSET, 4, UINT32_MAX);
    pci_function_set_writable(&pci->function, window + CAP_LENGTH, 4, UINT32_MAX);
    pci_function_set_writable(&pci->function, window + CAP_PCI_CFG_DATA, 4, UINT32_MAX);
    pci->window = window;
}

static uint64_t bar_size(uint32_t used)
{
    uint64_t size = REGION_SIZE;

    while (size < used)
        size *= 2;
    return size;
}

/* Fill in the function: identity, capabilities, BAR. `vectors` are those of MSI-X. */
static int describe(struct virtio_pci *pci, uint16_t vectors, struct error *err)
{
    const struct pci_identity identity = {
        .vendor = VENDOR_ID,
        .device = (uint16_t)(DEVICE_ID_BASE + pci->dev->id),
        .subsystem_vendor = VENDOR_ID,
        .subsystem = (uint16_t)(DEVICE_ID_BASE + pci->dev->id), /* PCI-02: at least 0x40 */
        .class_code = class_code_of(pci->dev->id),
        .revision = REVISION,
    };
    int ret;

    pci->pba_offset = MSIX_OFFSET + msix_table_size(vectors);
    pci_function_init(&pci->function, &identity, &virtio_pci_function_ops);
    pci_function_use_intx(&pci->function);
    pci_function_add_bar(&pci->function, BAR, PCI_BAR_MEM32,
                         bar_size(pci->pba_offset + msix_pba_size(vectors)));
    add_regions(pci);
    ret = msix_init(&pci->msix, pci_bus_platform(pci->bus), &pci->function, vectors, BAR,
                    MSIX_OFFSET, pci->pba_offset, err);
    if (ret)
        return ret;
    add_window(pci);
    return 0;
}

int virtio_pci_create(struct virtio_device *dev, struct pci_bus *bus, int slot,
                      struct virtio_pci **out, struct error *err)
{
    struct virtio_pci *pci = calloc(1, sizeof(*pci));
    uint16_t vectors = (uint16_t)(MAX(dev->queue_count, 1u) + 1);
    int ret;

    if (!pci)
        return error_set(err, ENOMEM, "no memory for the PCI function of %s", dev->name);
    pci->dev = dev;
    pci->bus = bus;
    pthread_mutex_init(&pci->interrupt_lock, NULL);
    ret = describe(pci, vectors, err);
    if (ret)
        goto fail_free;
    ret = virtio_pci_common_init(&pci->common, dev, vectors, err);
    if (ret)
        goto fail_msix;
    ret = doorbells_init(&pci->doorbells, pci_bus_platform(bus), dev, NOTIFY_MULTIPLIER, err);
    if (ret)
        goto fail_common;
    ret = pci_bus_add(bus, slot, &pci->function, err);
    if (ret)
        goto fail_doorbells;
    virtio_device_attach(dev, &pci_transport_ops, pci);
    *out = pci;
    return 0;

fail_doorbells:
    doorbells_destroy(&pci->doorbells);
fail_common:
    virtio_pci_common_destroy(&pci->common);
fail_msix:
    msix_destroy(&pci->msix);
fail_free:
    pthread_mutex_destroy(&pci->interrupt_lock);
    free(pci);
    return ret;
}

unsigned virtio_pci_slot(const struct virtio_pci *pci)
{
    return pci->function.slot;
}

void virtio_pci_reset(struct virtio_pci *pci)
{
    virtio_device_reset(pci->dev);
    pci_function_reset(&pci->function);
    doorbells_reset(&pci->doorbells);
    msix_reset(&pci->msix);
    pci_device_was_reset(pci);
}

void virtio_pci_destroy(struct virtio_pci *pci)
{
    if (!pci)
        return;
    virtio_device_reset(pci->dev);
    pci_bus_remove(pci->bus, &pci->function);
    doorbells_destroy(&pci->doorbells);
    virtio_pci_common_destroy(&pci->common);
    msix_destroy(&pci->msix);
    pthread_mutex_destroy(&pci->interrupt_lock);
    free(pci);
}
