/*
 * Memory in the place of a queue's notification register: what a driver writes there reaches
 * whoever looks at that memory, hardware or a process that polls, and nobody leaves the guest for
 * it.
 *
 * That takes a layout in which each queue is notified at a page of its own (4.1.4.4 with a
 * multiplier of 4096). A page that a back end gives for a queue becomes memory of the guest
 * (platform_ops.memory_map) wherever the registers are decoded, and moves with them. Notifications
 * that are trapped all the same, through the PCI_CFG window or because the platform has no place
 * for the page at its new address, are written into it here.
 *
 * Any thread. Under `lock` none is taken but the platform's.
 */
#ifndef TRANSPORT_NOTIFY_PAGES_H
#define TRANSPORT_NOTIFY_PAGES_H

#include "base/error.h"
#include "base/platform.h"
#include "virtio/device.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_PAGE 4096

struct notify_page {
    void *memory; /* its owner's, page aligned; NULL: the queue has a register */
    bool guest;   /* it is memory of the guest; else notifications are trapped */
};

struct notify_pages {
    struct platform *platform;
    const struct virtio_device *dev;

    pthread_mutex_t lock;
    bool placed;               /* the registers are decoded */
    uint64_t address;          /* of queue 0's */
    struct notify_page *pages; /* of each queue */
};

/* `dev`, which has its queues already, and `platform` are borrowed. -ENOMEM. */
int notify_pages_init(struct notify_pages *pages, struct platform *platform,
                      const struct virtio_device *dev, struct error *err);
void notify_pages_destroy(struct notify_pages *pages);

/* The registers are decoded at `address` from now on; they are decoded nowhere. Between range_add
 * and range_remove of their addresses. */
void notify_pages_place(struct notify_pages *pages, uint64_t address);
void notify_pages_unplace(struct notify_pages *pages);

/* See virtio_device_events.queue_notify_page. After an error the queue has a register. */
int notify_pages_set(struct notify_pages *pages, uint16_t index, void *memory, struct error *err);

/* A notification that was trapped: `size` bytes, little-endian. False, and nothing was done, when
 * the queue has a register. */
bool notify_pages_write(struct notify_pages *pages, uint16_t index, const void *data,
                        unsigned size);

#endif
