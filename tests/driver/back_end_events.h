/*
 * What a back end tells the device it serves (struct virtio_device_events), for tests that have
 * none: counted, and waited for.
 */
#ifndef TESTS_DRIVER_BACK_END_EVENTS_H
#define TESTS_DRIVER_BACK_END_EVENTS_H

#include "virtio/backend.h"

#include <stdatomic.h>
#include <stdbool.h>

struct back_end_events {
    int fd;                 /* an eventfd that is signalled with each of them */
    atomic_int queue;       /* that the last interrupt was for */
    atomic_int needs_reset; /* how often that was said */
};

/* Before the back end is used, and after its end. */
void back_end_events_init(struct back_end_events *events, struct virtio_backend *backend);
void back_end_events_destroy(struct back_end_events *events);

/* Wait for the next one at most `wait_ms`, and take it; false when none came. */
bool back_end_events_wait(struct back_end_events *events, int wait_ms);

#endif
