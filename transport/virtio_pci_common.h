/*
 * The common configuration structure of virtio over PCI (specification 4.1.4.3).
 *
 * Selectors and vectors are atomics: vCPUs may access the structure at the same time, and device
 * loops read vectors when they notify.
 */
#ifndef TRANSPORT_VIRTIO_PCI_COMMON_H
#define TRANSPORT_VIRTIO_PCI_COMMON_H

#include "base/error.h"
#include "virtio/device.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_PCI_COMMON_SIZE 0x40
#define VIRTIO_PCI_NO_VECTOR   0xffff /* 4.1.5.1.2: the event is not mapped to a vector */

struct virtio_pci_common {
    struct virtio_device *dev;
    uint16_t vectors; /* MSI-X vectors there are */
    atomic_uint device_feature_select, driver_feature_select, queue_select;
    atomic_uint config_vector;
    atomic_uint *queue_vectors;

    /* A queue's vector was written. Any thread. NULL: nobody wants to know. */
    void (*queue_vector_set)(struct virtio_pci_common *common, uint16_t queue);
};

int virtio_pci_common_init(struct virtio_pci_common *common, struct virtio_device *dev,
                           uint16_t vectors, struct error *err);
void virtio_pci_common_destroy(struct virtio_pci_common *common);

/* NTF-04: what stands for a queue in notifications with NOTIF_CONFIG_DATA. Any word would do; this
 * one is no index, so that a driver that takes one for the other is found out. */
static inline uint16_t virtio_pci_notif_config_data(uint16_t index)
{
    return (uint16_t)(0x8000 | index);
}

/* Vectors that events are mapped to (4.1.5.1.2). What cannot be mapped reads back as NO_VECTOR
 * (PCII-07), and so does the vector of a queue there is not. */
uint16_t virtio_pci_config_vector(struct virtio_pci_common *common);
uint16_t virtio_pci_queue_vector(struct virtio_pci_common *common, uint16_t queue);
void virtio_pci_set_config_vector(struct virtio_pci_common *common, uint16_t vector);
void virtio_pci_set_queue_vector(struct virtio_pci_common *common, uint16_t queue, uint16_t vector);

/* All events unmapped (PCII-08), selectors 0. */
void virtio_pci_common_reset(struct virtio_pci_common *common);

/* Accesses of a field's own width (64-bit fields also by halves); others read as 0 and write
 * nothing (DRV-CFG-03). A write returns true when it reset the device (4.1.4.3.1). */
void virtio_pci_common_read(struct virtio_pci_common *common, uint32_t offset, void *data,
                            unsigned size);
bool virtio_pci_common_write(struct virtio_pci_common *common, uint32_t offset, const void *data,
                             unsigned size);

#endif
