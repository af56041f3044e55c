/*
 * Between the files of virtio-pci. Private to transport/virtio_pci*.c.
 *
 *   virtio_pci.c           interrupts, accesses to BARs, life and death
 *   virtio_pci_describe.c  identity, BARs and capabilities
 *   virtio_pci_common.c    the common configuration structure (virtio_pci_common.h)
 *   virtio_pci_window.c    BAR accesses by way of configuration space
 *   virtio_pci_legacy.c    the I/O BAR of transitional devices
 */
#ifndef TRANSPORT_VIRTIO_PCI_INTERNAL_H
#define TRANSPORT_VIRTIO_PCI_INTERNAL_H

#include "base/bytes.h"
#include "transport/doorbell.h"
#include "transport/msix.h"
#include "transport/notify_pages.h"
#include "transport/pci_function.h"
#include "transport/shared_memory.h"
#include "transport/virtio_pci.h"
#include "transport/virtio_pci_common.h"

#include <pthread.h>
#include <stdatomic.h>

/* 4.1.4: struct virtio_pci_cap, and what some types append to it. */
enum virtio_pci_cap_field {
    CAP_LEN = 2,
    CAP_CFG_TYPE = 3,
    CAP_BAR = 4,
    CAP_ID = 5,
    CAP_OFFSET = 8,
    CAP_LENGTH = 12,
    CAP_SIZE = 16,
    CAP_NOTIFY_OFF_MULTIPLIER = 16,
    CAP_PCI_CFG_DATA = 16,
    CAP_EXTENDED_SIZE = 20,
    CAP_OFFSET_HIGH = 16,
    CAP_LENGTH_HIGH = 20,
    CAP_SHARED_MEMORY_SIZE = 24,
};

/* BARs: the modern structures are in BAR 0, or in BAR 1 when that is the legacy interface's. */
#define BAR_LEGACY        0
#define BAR_SHARED_MEMORY 4

/* Within the BAR of the modern structures. With page_per_vq, notifications are behind the rest. */
#define REGION_SIZE   0x1000
#define COMMON_OFFSET 0x0000
#define ISR_OFFSET    0x1000
#define NOTIFY_OFFSET 0x2000
#define DEVICE_OFFSET 0x3000
#define MSIX_OFFSET   0x4000

#define ISR_SIZE          1
#define NOTIFY_MULTIPLIER 4 /* without page_per_vq */

struct virtio_pci {
    struct pci_function function;
    struct pci_bus *bus;
    struct virtio_device *dev;
    struct virtio_pci_common common;
    struct msix msix;
    struct msix_call *calls; /* of each queue */
    struct doorbells doorbells;
    bool page_per_vq;                 /* queues have pages, at the BAR's end... */
    struct notify_pages notify_pages; /* ...which may be memory */
    uint32_t notify_offset, notify_multiplier;
    struct shared_memory shared;
    unsigned modern_bar;
    uint32_t pba_offset;
    unsigned window; /* offset of the PCI_CFG capability */

    bool legacy; /* the rest is there for transitional devices */
    struct doorbells legacy_doorbells;
    atomic_uint legacy_queue_select;

    /* Orders changes of the ISR with the level of the pin that follows from them. */
    pthread_mutex_t interrupt_lock;
    unsigned isr;
};

static inline struct virtio_pci *pci_of(struct pci_function *function)
{
    return container_of(function, struct virtio_pci, function);
}

static inline uint32_t pci_notify_length(const struct virtio_pci *pci)
{
    return pci->notify_multiplier * MAX(pci->dev->queue_count, 1u);
}

/* virtio_pci.c */
extern const struct pci_function_ops virtio_pci_function_ops;
uint8_t pci_take_isr(struct virtio_pci *pci); /* PCII-02: read to clear */
void pci_device_was_reset(struct virtio_pci *pci);
void pci_bar_read(struct pci_function *function, unsigned bar, uint64_t offset, void *data,
                  unsigned size);
void pci_bar_write(struct pci_function *function, unsigned bar, uint64_t offset, const void *data,
                   unsigned size);

/* virtio_pci_describe.c: fill in the function, `vectors` of MSI-X included. */
int pci_describe(struct virtio_pci *pci, uint16_t vectors, struct error *err);

/* virtio_pci_window.c: what of pci_function_ops.config_read and config_written is the PCI_CFG
 * window's. `pci_window_written` returns whether the write was. */
void pci_window_read(struct virtio_pci *pci, uint32_t offset, unsigned size);
bool pci_window_written(struct virtio_pci *pci, uint32_t offset, unsigned size);

/* virtio_pci_legacy.c: accesses to the I/O BAR. */
#define LEGACY_BAR_SIZE      256
#define LEGACY_NOTIFY_OFFSET 16
void pci_legacy_read(struct virtio_pci *pci, uint32_t offset, void *data, unsigned size);
void pci_legacy_write(struct virtio_pci *pci, uint32_t offset, const void *data, unsigned size);

#endif
