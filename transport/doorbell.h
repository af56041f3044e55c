/*
 * Doorbells: when a queue's notifications stop going through register handlers.
 *
 * An ioeventfd turns a driver's notification into an eventfd signal inside the kernel. Setting one
 * up costs far more than one notification that takes the long way through a register handler, and
 * many queues see only one notification in their life: the driver fills them once and then waits.
 * So a queue gets its ioeventfd when it is notified for the DOORBELL_KICKS-th time, and keeps it
 * until the registers move, a page takes the place of its notifications (notify_pages.h), or the
 * machine is reset.
 *
 * Locks: `lock` is a leaf; no call of a doorbell takes another lock but the platform's.
 */
#ifndef TRANSPORT_DOORBELL_H
#define TRANSPORT_DOORBELL_H

#include "base/error.h"
#include "base/platform.h"
#include "virtio/device.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define DOORBELL_KICKS 2

/* What notifications of a transport look like. */
struct doorbell_kind {
    enum address_space space;
    uint32_t stride; /* bytes between the addresses of two queues; 0: told apart by the value */
    unsigned length; /* bytes of a notification, 0: any */
};

struct doorbells {
    struct platform *platform;
    struct virtio_device *dev;
    struct doorbell_kind kind;

    pthread_mutex_t lock;
    bool placed;      /* the registers are decoded */
    uint64_t address; /* of queue 0's notification register */
    uint8_t *kicks;   /* of each queue, up to DOORBELL_KICKS */
    bool *armed;      /* each queue's ioeventfd is registered */
};

/* With a stride each queue has its own address and any write to it counts (4.1.4.4). Without, all
 * share one register and a queue is the value written there (4.2.2, 4.1.4.10): with
 * NOTIFICATION_DATA that is no value to wait for, and the queues do without ioeventfds. */
int doorbells_init(struct doorbells *bells, struct platform *platform, struct virtio_device *dev,
                   const struct doorbell_kind *kind, struct error *err);
void doorbells_destroy(struct doorbells *bells);

/* The registers are decoded at `address` from now on. Busy queues get their ioeventfds back. */
void doorbells_place(struct doorbells *bells, uint64_t address);

/* They are decoded nowhere. */
void doorbells_unplace(struct doorbells *bells);

/* A notification that came to a register handler: pass it on. An index without a queue is passed
 * on too, for virtio_device_kick to complain about. */
void doorbells_ring(struct doorbells *bells, uint16_t index);

/* Forget that a queue was busy, and remove its ioeventfd; the same of all (machine reset). */
void doorbells_quiet(struct doorbells *bells, uint16_t index);
void doorbells_reset(struct doorbells *bells);

#endif
