/*
 * A built-in device without a transport, on a loop thread, with a driver's rings facing it: for
 * tests of device models.
 *
 *     backend_rig_init(&rig, &console_model, &options, 2);
 *     backend_rig_run(&rig, bits, count);          features, rings, queues; may come again...
 *     address = BACKEND_RIG_DATA(q);               ...for each queue, a MiB of guest memory
 *     backend_rig_add(&rig, q, elements, n); backend_rig_kick(&rig, q);
 *     used = backend_rig_collect(&rig, q);
 *     backend_rig_stop(&rig);                      ...after this: a driver's reset
 *     backend_rig_destroy(&rig);
 *
 * What the device logs is kept for backend_rig_logged.
 */
#ifndef TESTS_DRIVER_BACKEND_RIG_H
#define TESTS_DRIVER_BACKEND_RIG_H

#include "base/loop.h"
#include "tests/driver/ring.h"
#include "virtio/builtin.h"

#include <stdatomic.h>

#define BACKEND_RIG_QUEUES     10
#define BACKEND_RIG_QUEUE_SIZE 16
#define BACKEND_RIG_DATA(q)    (UINT64_C(0x1000000) + (uint64_t)(q)*BACKEND_RIG_DATA_SIZE)
#define BACKEND_RIG_DATA_SIZE  UINT64_C(0x100000)

struct backend_rig {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;
    uint16_t queue_count;
    bool running;
    struct ring rings[BACKEND_RIG_QUEUES];
    int kicks[BACKEND_RIG_QUEUES];
    int interrupts; /* eventfd, for all queues and the configuration */
    atomic_int config_changes;
    atomic_bool needs_reset;
    int log, saved_stderr; /* memfd; standard error meanwhile */
};

/* Make the device; 0 or the model's error. The loop thread runs, the model is started. After a
 * failure nothing is left to be destroyed. */
int backend_rig_init(struct backend_rig *rig, const struct virtio_model *model, const void *options,
                     uint16_t queue_count, struct error *err);
void backend_rig_destroy(struct backend_rig *rig); /* stops, too */

/* A virtio_device has got the back end and destroys it, before the rig is. */
void backend_rig_disown(struct backend_rig *rig);

/* The driver takes these feature bits (and INDIRECT_DESC) and starts all queues anew. */
void backend_rig_run(struct backend_rig *rig, const unsigned char *bits, size_t count);

/* Every queue must stop where it stood: nothing in flight. */
void backend_rig_stop(struct backend_rig *rig);

/* Host address of guest memory. */
void *backend_rig_host(struct backend_rig *rig, uint64_t address);

/* One buffer of elements that need no checking here; a failed test when the ring is full. */
void backend_rig_add(struct backend_rig *rig, uint16_t q, const struct ring_element *elements,
                     unsigned count);
void backend_rig_add_one(struct backend_rig *rig, uint16_t q, uint64_t address, uint32_t length,
                         bool writable);
void backend_rig_kick(struct backend_rig *rig, uint16_t q);

/* The next used buffer, waited for; a failed test after 10 seconds, or when the device is broken.
 */
struct ring_used backend_rig_collect(struct backend_rig *rig, uint16_t q);

/* Whatever the device was at by now is done; and then nothing was used. */
void backend_rig_assert_none(struct backend_rig *rig, uint16_t q);
void backend_rig_settle(struct backend_rig *rig);

/* Was this logged since the last call? Forgets what was logged. */
bool backend_rig_logged(struct backend_rig *rig, const char *text);

/* Wait until *value is at least `wanted`; a failed test after 10 seconds. */
void backend_rig_wait(atomic_int *value, int wanted);

#endif
