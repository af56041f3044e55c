/*
 * What a guest sees of a virtio device before it knows what it is: identity, BARs, capabilities
 * (specification 4.1.2 and 4.1.4).
 */
#include "transport/virtio_pci_internal.h"

#include "transport/shared_memory.h"
#include "virtio/device_legacy.h"

#include <errno.h>
#include <linux/pci_regs.h>

#define VENDOR_ID      0x1af4 /* 4.1.2.1 */
#define DEVICE_ID_BASE 0x1040
#define REVISION       1 /* 4.1.2.3: transitional devices have 0 */

/* 4.1.4: cfg_type */
enum cfg_type {
    CFG_COMMON = 1,
    CFG_NOTIFY = 2,
    CFG_ISR = 3,
    CFG_DEVICE = 4,
    CFG_PCI = 5,
    CFG_SHARED_MEMORY = 8,
};

/* --- identity -------------------------------------------------------------------------------- */

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

/* 4.1.2.1, PCI-01: the ids that transitional devices have; 0 for types without one. */
static uint16_t transitional_id_of(uint16_t id)
{
    switch (id) {
    case VIRTIO_ID_NET:
        return 0x1000;
    case VIRTIO_ID_BLOCK:
        return 0x1001;
    case VIRTIO_ID_BALLOON:
        return 0x1002;
    case VIRTIO_ID_CONSOLE:
        return 0x1003;
    case VIRTIO_ID_SCSI:
        return 0x1004;
    case VIRTIO_ID_ENTROPY:
        return 0x1005;
    case VIRTIO_ID_9P:
        return 0x1009;
    default:
        return 0;
    }
}

static struct pci_identity identity_of(const struct virtio_pci *pci)
{
    uint16_t type = pci->dev->id;
    uint16_t modern = (uint16_t)(DEVICE_ID_BASE + type);

    return (struct pci_identity){
        .vendor = VENDOR_ID,
        .device = pci->legacy ? transitional_id_of(type) : modern,
        .subsystem_vendor = VENDOR_ID,
        .subsystem = pci->legacy ? type : modern, /* PCI-03; PCI-02: at least 0x40 */
        .class_code = class_code_of(type),
        .revision = pci->legacy ? 0 : REVISION,
    };
}

/* --- capabilities ---------------------------------------------------------------------------- */

struct region {
    unsigned bar;
    uint64_t offset, length;
};

/* The low halves of offset and length; returns where the capability is. */
static uint8_t *add_capability(struct virtio_pci *pci, enum cfg_type type, unsigned size,
                               struct region region)
{
    unsigned at = pci_function_add_capability(&pci->function, PCI_CAP_ID_VNDR, size);
    uint8_t *cap = &pci->function.config[at];

    cap[CAP_LEN] = (uint8_t)size;
    cap[CAP_CFG_TYPE] = (uint8_t)type;
    cap[CAP_BAR] = (uint8_t)region.bar;
    store_le32(cap + CAP_OFFSET, (uint32_t)region.offset);
    store_le32(cap + CAP_LENGTH, (uint32_t)region.length);
    return cap;
}

static void add_regions(struct virtio_pci *pci)
{
    unsigned bar = pci->modern_bar;
    uint8_t *notify;

    add_capability(pci, CFG_COMMON, CAP_SIZE,
                   (struct region){bar, COMMON_OFFSET, VIRTIO_PCI_COMMON_SIZE});
    add_capability(pci, CFG_ISR, CAP_SIZE, (struct region){bar, ISR_OFFSET, ISR_SIZE});
    notify = add_capability(pci, CFG_NOTIFY, CAP_EXTENDED_SIZE,
                            (struct region){bar, pci->notify_offset, pci_notify_length(pci)});
    store_le32(notify + CAP_NOTIFY_OFF_MULTIPLIER, pci->notify_multiplier);
    add_capability(pci, CFG_DEVICE, CAP_SIZE, (struct region){bar, DEVICE_OFFSET, REGION_SIZE});
}

/* PCI-13: bar, offset, length and data are the driver's to write. */
static void add_window(struct virtio_pci *pci)
{
    struct pci_function *function = &pci->function;
    uint8_t *cap = add_capability(pci, CFG_PCI, CAP_EXTENDED_SIZE, (struct region){0, 0, 0});
    unsigned window = (unsigned)(cap - function->config);

    pci_function_set_writable(function, window + CAP_BAR, 1, 0xff);
    pci_function_set_writable(function, window + CAP_OFFSET, 4, UINT32_MAX);
    pci_function_set_writable(function, window + CAP_LENGTH, 4, UINT32_MAX);
    pci_function_set_writable(function, window + CAP_PCI_CFG_DATA, 4, UINT32_MAX);
    pci->window = window;
}

static uint64_t bar_size(uint64_t used)
{
    uint64_t size = REGION_SIZE;

    while (size < used)
        size *= 2;
    return size;
}

/* PCI-11: a capability for each region, all of them in one BAR. */
static void add_shared_memory(struct virtio_pci *pci)
{
    const struct virtio_device *dev = pci->dev;
    uint64_t offset = 0;

    if (!dev->shared_count)
        return;
    pci_function_add_bar(&pci->function, BAR_SHARED_MEMORY, PCI_BAR_MEM64,
                         bar_size(shared_memory_size(dev)));
    for (size_t i = 0; i < dev->shared_count; i++) {
        const struct virtio_shared_region *shared = &dev->shared[i];
        uint8_t *cap = add_capability(pci, CFG_SHARED_MEMORY, CAP_SHARED_MEMORY_SIZE,
                                      (struct region){BAR_SHARED_MEMORY, offset, shared->length});

        cap[CAP_ID] = shared->id;
        store_le32(cap + CAP_OFFSET_HIGH, (uint32_t)(offset >> 32));
        store_le32(cap + CAP_LENGTH_HIGH, (uint32_t)(shared->length >> 32));
        offset += shared->length;
    }
}

/* --- the whole ------------------------------------------------------------------------------- */

/* The 192 bytes for capabilities hold one for shared memory beside those every device has. */
#define SHARED_REGIONS_MAX 1

static int check(const struct virtio_pci *pci, struct error *err)
{
    if (pci->legacy && !transitional_id_of(pci->dev->id))
        return error_set(err, EINVAL, "%s is of a type without a legacy interface", pci->dev->name);
    if (pci->dev->shared_count > SHARED_REGIONS_MAX)
        return error_set(err, EINVAL, "%s has %zu shared memory regions, a PCI function at most %d",
                         pci->dev->name, pci->dev->shared_count, SHARED_REGIONS_MAX);
    return 0;
}

/* What of the modern BAR is not where it always is; returns its end. */
static uint64_t lay_out(struct virtio_pci *pci, uint16_t vectors)
{
    uint64_t end;

    pci->pba_offset = MSIX_OFFSET + msix_table_size(vectors);
    end = pci->pba_offset + msix_pba_size(vectors);
    pci->notify_multiplier = pci->page_per_vq ? NOTIFY_PAGE : NOTIFY_MULTIPLIER;
    pci->notify_offset = NOTIFY_OFFSET;
    if (!pci->page_per_vq)
        return end;
    pci->notify_offset = (uint32_t)align_up(end, NOTIFY_PAGE);
    return pci->notify_offset + pci_notify_length(pci);
}

int pci_describe(struct virtio_pci *pci, uint16_t vectors, struct error *err)
{
    const struct pci_identity identity = identity_of(pci);
    int ret = check(pci, err);
    uint64_t end;

    if (ret)
        return ret;
    pci->modern_bar = pci->legacy ? 1 : 0;
    end = lay_out(pci, vectors);
    pci_function_init(&pci->function, &identity, &virtio_pci_function_ops);
    pci_function_use_intx(&pci->function);
    if (pci->legacy)
        pci_function_add_bar(&pci->function, BAR_LEGACY, PCI_BAR_IO, LEGACY_BAR_SIZE);
    pci_function_add_bar(&pci->function, pci->modern_bar, PCI_BAR_MEM32, bar_size(end));
    add_regions(pci);
    ret = msix_init(&pci->msix, pci_bus_platform(pci->bus), &pci->function, vectors,
                    pci->modern_bar, MSIX_OFFSET, pci->pba_offset, err);
    if (ret)
        return ret;
    add_shared_memory(pci);
    add_window(pci);
    pci_function_add_pcie(&pci->function);
    return 0;
}
