/*
 * A virtio device whose back end does nothing but remember: for tests of transports.
 *
 * It has 16 bytes of configuration: byte i reads as 0xa0 + i until it is written; all of it is
 * writable. It offers the type's bits 0, 5 and 66 (so that three feature words count), and starts
 * every queue it is told to start.
 */
#ifndef TESTS_DRIVER_TOY_DEVICE_H
#define TESTS_DRIVER_TOY_DEVICE_H

#include "base/error.h"
#include "guest/memory.h"
#include "virtio/backend.h"
#include "virtio/device.h"

#include <stdbool.h>
#include <stdint.h>

#define TOY_CONFIG_SIZE 16
#define TOY_QUEUES_MAX  64
#define TOY_QUEUE_SIZE  256

#define TOY_SHARED_ID   7
#define TOY_SHARED_SIZE 16384

struct toy_backend {
    struct virtio_backend backend;
    uint8_t config[TOY_CONFIG_SIZE];
    struct virtio_features negotiated;
    struct virtqueue_setup setups[TOY_QUEUES_MAX]; /* of the last start */
    bool running[TOY_QUEUES_MAX];
    unsigned starts, stops, resets, feature_sets;
};

struct toy_device {
    struct virtio_device dev;
    struct toy_backend *backend; /* owned by dev */
    struct guest_memory memory;  /* 1 MiB at 0 */
    struct virtio_shared_region shared;
    uint8_t *shared_memory; /* TOY_SHARED_SIZE bytes, nothing of it mapped at first */
};

int toy_device_init(struct toy_device *toy, uint16_t id, uint16_t queues, struct error *err);

/* The same, also offering what is offered on request, and with another queue size. */
int toy_device_init_with(struct toy_device *toy, uint16_t id, uint16_t queues, uint16_t queue_size,
                         const struct virtio_features *wanted, struct error *err);

/* Give it a shared memory region; before it gets a transport. */
void toy_share_memory(struct toy_device *toy);

/* What the back end does: show a part of `shared_memory` at its place in the region, or no more. */
int toy_map(struct toy_device *toy, uint64_t offset, uint64_t length, bool writable,
            struct error *err);
void toy_unmap(struct toy_device *toy, uint64_t offset, uint64_t length);

/* What the back end does: have the driver notify a queue at a page of memory, or (NULL) no more. */
int toy_notify_page(struct toy_device *toy, uint16_t index, void *page, struct error *err);

void toy_device_destroy(struct toy_device *toy);

/* Notifications the queue's eventfd got since the last call. */
uint64_t toy_take_kicks(struct toy_device *toy, uint16_t index);

/* What a back end tells its device. */
void toy_used(struct toy_device *toy, uint16_t index);
void toy_config_changed(struct toy_device *toy);
void toy_needs_reset(struct toy_device *toy);

#endif
