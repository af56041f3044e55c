#include "transport/virtio_pci.h"

#include "base/log.h"
#include "transport/virtio_pci_internal.h"

#include <errno.h>
#include <stdlib.h>

/* 4.1.4.5 ISR status */
#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

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

static int pci_queue_call_fd(void *opaque, uint16_t index, int fd)
{
    struct virtio_pci *pci = opaque;

    msix_call_set(&pci->msix, &pci->calls[index], fd);
    return fd;
}

static void pci_queue_vector_set(struct virtio_pci_common *common, uint16_t queue)
{
    struct virtio_pci *pci = container_of(common, struct virtio_pci, common);

    msix_call_refresh(&pci->msix, &pci->calls[queue]);
}

static int pci_shared_map(void *opaque, const struct virtio_shared_mapping *mapping,
                          struct error *err)
{
    return shared_memory_map(&((struct virtio_pci *)opaque)->shared, mapping, err);
}

static void pci_shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    shared_memory_unmap(&((struct virtio_pci *)opaque)->shared, id, offset, length);
}

/* From then on what the eventfd was for goes to the page, and the other way round. */
static int pci_queue_notify_page(void *opaque, uint16_t index, void *page, struct error *err)
{
    struct virtio_pci *pci = opaque;
    int ret;

    if (!pci->page_per_vq)
        return error_set(err, ENOTSUP, "%s has no page for each queue", pci->dev->name);
    ret = notify_pages_set(&pci->notify_pages, index, page, err);
    if (!ret && page)
        doorbells_quiet(&pci->doorbells, index);
    return ret;
}

static const struct virtio_transport_ops pci_transport_ops = {
    .notify_queue = pci_notify_queue,
    .notify_config = pci_notify_config,
    .queue_call_fd = pci_queue_call_fd,
    .queue_notify_page = pci_queue_notify_page,
    .shared_map = pci_shared_map,
    .shared_unmap = pci_shared_unmap,
};

/* The driver reset the device (2.4.1, PCII-08): nothing of before must interrupt it any more. */
void pci_device_was_reset(struct virtio_pci *pci)
{
    virtio_pci_common_reset(&pci->common);
    atomic_store(&pci->legacy_queue_select, 0);
    msix_clear_pending(&pci->msix);
    update_isr(pci, 0, 0);
}

uint8_t pci_take_isr(struct virtio_pci *pci)
{
    return (uint8_t)update_isr(pci, 0, 0);
}

/* --- The BAR of the modern structures --- */

/* How a notification of the queue must look (4.1.5.2): DRV-NTF-05, DRV-NTF-06. */
static void check_notification(struct virtio_pci *pci, uint16_t index, const void *data,
                               unsigned size)
{
    unsigned length = virtio_device_negotiated(pci->dev, VIRTIO_F_NOTIFICATION_DATA) ? 4 : 2;
    uint16_t value = virtio_device_negotiated(pci->dev, VIRTIO_F_NOTIF_CONFIG_DATA)
                         ? virtio_pci_notif_config_data(index)
                         : index;

    if (size != length)
        log_limited(LOG_WARN, "virtio-pci", "%s: DRV-NTF-05: notification of %u bytes, not %u",
                    pci->dev->name, size, length);
    else if (load_le16(data) != value)
        log_limited(LOG_WARN, "virtio-pci", "%s: DRV-NTF-06: queue %u notified with value %u",
                    pci->dev->name, index, load_le16(data));
}

/* The address alone says which queue is meant, as for an ioeventfd, which does not see the rest. */
static void notify_write(struct virtio_pci *pci, uint32_t offset, const void *data, unsigned size)
{
    uint32_t index = offset / pci->notify_multiplier;

    if (offset % pci->notify_multiplier || index >= pci->dev->queue_count) {
        log_limited(LOG_WARN, "virtio-pci", "%s: DRV-NTF-07: no queue at notification offset 0x%x",
                    pci->dev->name, offset);
        return;
    }
    check_notification(pci, (uint16_t)index, data, size);
    if (!pci->page_per_vq || !notify_pages_write(&pci->notify_pages, (uint16_t)index, data, size))
        doorbells_ring(&pci->doorbells, (uint16_t)index);
}

static bool is_notification(const struct virtio_pci *pci, uint64_t offset)
{
    return offset >= pci->notify_offset &&
           offset - pci->notify_offset < align_up(pci_notify_length(pci), REGION_SIZE);
}

static void modern_read(struct virtio_pci *pci, uint64_t offset, void *data, unsigned size)
{
    uint32_t within = offset % REGION_SIZE;

    memset(data, 0, size);
    if (is_notification(pci, offset))
        return; /* they are written, not read */
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
        if (within == 0)
            *(uint8_t *)data = pci_take_isr(pci);
        break;
    case DEVICE_OFFSET:
        virtio_device_config_read(pci->dev, within, data, size);
        break;
    default:
        break;
    }
}

static void modern_write(struct virtio_pci *pci, uint64_t offset, const void *data, unsigned size)
{
    uint32_t within = offset % REGION_SIZE;

    if (is_notification(pci, offset)) {
        notify_write(pci, (uint32_t)offset - pci->notify_offset, data, size);
        return;
    }
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
    case DEVICE_OFFSET:
        virtio_device_config_write(pci->dev, within, data, size);
        break;
    default: /* writes to the ISR do nothing */
        break;
    }
}

/* --- What the PCI bus asks of the function --- */

void pci_bar_read(struct pci_function *function, unsigned bar, uint64_t offset, void *data,
                  unsigned size)
{
    struct virtio_pci *pci = pci_of(function);

    if (bar == pci->modern_bar)
        modern_read(pci, offset, data, size);
    else if (bar == BAR_LEGACY)
        pci_legacy_read(pci, (uint32_t)offset, data, size);
    else
        shared_memory_read(&pci->shared, offset, data, size);
}

void pci_bar_write(struct pci_function *function, unsigned bar, uint64_t offset, const void *data,
                   unsigned size)
{
    struct virtio_pci *pci = pci_of(function);

    if (bar == pci->modern_bar)
        modern_write(pci, offset, data, size);
    else if (bar == BAR_LEGACY)
        pci_legacy_write(pci, (uint32_t)offset, data, size);
    else
        shared_memory_write(&pci->shared, offset, data, size);
}

static void place_notifications(struct virtio_pci *pci, uint64_t address)
{
    doorbells_place(&pci->doorbells, address);
    if (pci->page_per_vq)
        notify_pages_place(&pci->notify_pages, address);
}

static void unplace_notifications(struct virtio_pci *pci)
{
    if (pci->page_per_vq)
        notify_pages_unplace(&pci->notify_pages);
    doorbells_unplace(&pci->doorbells);
}

static void pci_bar_mapped(struct pci_function *function, unsigned bar, uint64_t address)
{
    struct virtio_pci *pci = pci_of(function);

    if (bar == pci->modern_bar)
        place_notifications(pci, address + pci->notify_offset);
    else if (bar == BAR_LEGACY)
        doorbells_place(&pci->legacy_doorbells, address + LEGACY_NOTIFY_OFFSET);
    else
        shared_memory_place(&pci->shared, address);
}

static void pci_bar_unmapped(struct pci_function *function, unsigned bar)
{
    struct virtio_pci *pci = pci_of(function);

    if (bar == pci->modern_bar)
        unplace_notifications(pci);
    else if (bar == BAR_LEGACY)
        doorbells_unplace(&pci->legacy_doorbells);
    else
        shared_memory_unplace(&pci->shared);
}

static void pci_config_read(struct pci_function *function, uint32_t offset, unsigned size)
{
    pci_window_read(pci_of(function), offset, size);
}

static void pci_config_written(struct pci_function *function, uint32_t offset, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);

    if (!pci_window_written(pci, offset, size) && msix_config_written(&pci->msix))
        update_isr(pci, ~0u, 0); /* the pin is silent while MSI-X is on */
}

/* Everything but configuration space. Other vCPUs may run: this is function level reset, too. */
static void pci_reset(struct pci_function *function)
{
    struct virtio_pci *pci = pci_of(function);

    virtio_device_reset(pci->dev);
    doorbells_reset(&pci->doorbells);
    if (pci->legacy)
        doorbells_reset(&pci->legacy_doorbells);
    msix_reset(&pci->msix);
    pci_device_was_reset(pci);
}

const struct pci_function_ops virtio_pci_function_ops = {
    .name = "virtio-pci",
    .bar_read = pci_bar_read,
    .bar_write = pci_bar_write,
    .bar_mapped = pci_bar_mapped,
    .bar_unmapped = pci_bar_unmapped,
    .config_read = pci_config_read,
    .config_written = pci_config_written,
    .reset = pci_reset,
};

/* --- Life and death --- */

static int init_doorbells(struct virtio_pci *pci, struct error *err)
{
    const struct doorbell_kind modern = {ADDRESS_MMIO, .stride = pci->notify_multiplier,
                                         .length = 0};
    const struct doorbell_kind legacy = {ADDRESS_PIO, .stride = 0, .length = 2};
    struct platform *platform = pci_bus_platform(pci->bus);
    int ret = doorbells_init(&pci->doorbells, platform, pci->dev, &modern, err);

    if (ret || !pci->legacy)
        return ret;
    ret = doorbells_init(&pci->legacy_doorbells, platform, pci->dev, &legacy, err);
    if (ret)
        doorbells_destroy(&pci->doorbells);
    return ret;
}

static void destroy_doorbells(struct virtio_pci *pci)
{
    doorbells_destroy(&pci->doorbells);
    if (pci->legacy)
        doorbells_destroy(&pci->legacy_doorbells);
}

static int init_notifications(struct virtio_pci *pci, struct error *err)
{
    int ret = init_doorbells(pci, err);

    if (ret || !pci->page_per_vq)
        return ret;
    ret = notify_pages_init(&pci->notify_pages, pci_bus_platform(pci->bus), pci->dev, err);
    if (ret)
        destroy_doorbells(pci);
    return ret;
}

static void destroy_notifications(struct virtio_pci *pci)
{
    if (pci->page_per_vq)
        notify_pages_destroy(&pci->notify_pages);
    destroy_doorbells(pci);
}

static int init_calls(struct virtio_pci *pci, struct error *err)
{
    uint16_t count = pci->dev->queue_count;

    pci->calls = calloc(count + 1u, sizeof(*pci->calls));
    if (!pci->calls)
        return error_set(err, ENOMEM, "no memory for the interrupts of %s", pci->dev->name);
    for (uint16_t i = 0; i < count; i++)
        pci->calls[i] = (struct msix_call){.vector = &pci->common.queue_vectors[i], .fd = -1};
    msix_attach_calls(&pci->msix, pci->calls, count);
    pci->common.queue_vector_set = pci_queue_vector_set;
    return 0;
}

/* One for each queue and one for configuration changes, if nobody says how many. */
static uint16_t vectors_of(const struct virtio_pci_config *config, const struct virtio_device *dev)
{
    int vectors = config->vectors;

    if (vectors == VIRTIO_PCI_VECTORS_DEFAULT)
        vectors = MAX(dev->queue_count, 1) + 1;
    return (uint16_t)MIN(vectors, MSIX_VECTORS_MAX);
}

int virtio_pci_create(struct virtio_device *dev, struct pci_bus *bus,
                      const struct virtio_pci_config *config, struct virtio_pci **out,
                      struct error *err)
{
    struct virtio_pci *pci = calloc(1, sizeof(*pci));
    uint16_t vectors = vectors_of(config, dev);
    int ret;

    if (!pci)
        return error_set(err, ENOMEM, "no memory for the PCI function of %s", dev->name);
    pci->dev = dev;
    pci->bus = bus;
    pci->legacy = config->legacy;
    pci->page_per_vq = config->page_per_vq;
    pthread_mutex_init(&pci->interrupt_lock, NULL);
    shared_memory_init(&pci->shared, pci_bus_platform(bus), dev);
    ret = pci_describe(pci, vectors, err);
    if (ret)
        goto fail_free;
    ret = virtio_pci_common_init(&pci->common, dev, vectors, err);
    if (ret)
        goto fail_msix;
    ret = init_calls(pci, err);
    if (ret)
        goto fail_common;
    ret = init_notifications(pci, err);
    if (ret)
        goto fail_calls;
    ret = pci_bus_add(bus, config->slot, &pci->function, err);
    if (ret)
        goto fail_notifications;
    virtio_device_attach(dev, &pci_transport_ops, pci);
    *out = pci;
    return 0;

fail_notifications:
    destroy_notifications(pci);
fail_calls:
    free(pci->calls);
fail_common:
    virtio_pci_common_destroy(&pci->common);
fail_msix:
    msix_destroy(&pci->msix);
fail_free:
    shared_memory_destroy(&pci->shared);
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
    pci_reset(&pci->function);
    pci_function_reset(&pci->function);
}

void virtio_pci_destroy(struct virtio_pci *pci)
{
    if (!pci)
        return;
    virtio_device_reset(pci->dev);
    virtio_device_detach(pci->dev);
    pci_bus_remove(pci->bus, &pci->function);
    destroy_notifications(pci);
    virtio_pci_common_destroy(&pci->common);
    msix_destroy(&pci->msix);
    free(pci->calls);
    shared_memory_destroy(&pci->shared);
    pthread_mutex_destroy(&pci->interrupt_lock);
    free(pci);
}
