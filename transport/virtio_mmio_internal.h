/*
 * Between the files of virtio-mmio. Private to transport/virtio_mmio*.c.
 *
 *   virtio_mmio.c          registers that both versions have; the page itself
 *   virtio_mmio_modern.c   registers of version 2 alone (specification 4.2.2)
 *   virtio_mmio_legacy.c   registers of version 1 alone (4.2.4)
 */
#ifndef TRANSPORT_VIRTIO_MMIO_INTERNAL_H
#define TRANSPORT_VIRTIO_MMIO_INTERNAL_H

#include "transport/doorbell.h"
#include "transport/shared_memory.h"
#include "transport/virtio_mmio.h"

#include <stdatomic.h>
#include <stdbool.h>

struct virtio_mmio {
    struct virtio_device *dev;
    struct platform *platform;
    struct virtio_mmio_config config;
    int irq_fd; /* each signal is an edge on the line */
    atomic_uint device_features_sel, driver_features_sel, queue_sel;
    atomic_bool device_features_selected, driver_features_selected; /* written since power-on */
    atomic_uint interrupt_status;
    atomic_int foreign_queues; /* whose interrupts do not pass through this program */
    struct doorbells doorbells;
    struct shared_memory shared;

    atomic_uint shm_sel;         /* version 2 */
    atomic_uint guest_page_size; /* version 1; outlives the driver's resets */
};

/* An access broke a rule: `what` says how, `number` is the register's offset or the value. */
void mmio_complain(const struct virtio_mmio *mmio, const char *rule, const char *what,
                   uint64_t number);

/* The complaints about registers there are not. Reads return what the driver gets: 0. */
uint32_t mmio_read_write_only(const struct virtio_mmio *mmio, uint64_t offset);
uint32_t mmio_read_undefined(const struct virtio_mmio *mmio, uint64_t offset);
void mmio_write_read_only(const struct virtio_mmio *mmio, uint64_t offset);
void mmio_write_undefined(const struct virtio_mmio *mmio, uint64_t offset);

/* QueueSel as an index; a number too big for one names no queue. */
uint16_t mmio_selected_queue(struct virtio_mmio *mmio);

/* Aligned accesses to registers that only one version has, undefined ones included. */
uint32_t mmio_modern_read(struct virtio_mmio *mmio, uint64_t offset);
void mmio_modern_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value);
uint32_t mmio_legacy_read(struct virtio_mmio *mmio, uint64_t offset);
void mmio_legacy_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value);

#endif
