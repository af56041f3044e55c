#include "tests/driver/back_end_events.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_notify_queue(void *opaque, uint16_t index)
{
    struct back_end_events *events = opaque;

    atomic_store(&events->queue, index);
    eventfd_write(events->fd, 1);
}

static void on_config_changed(void *opaque)
{
    struct back_end_events *events = opaque;

    eventfd_write(events->fd, 1);
}

static void on_needs_reset(void *opaque)
{
    struct back_end_events *events = opaque;

    atomic_fetch_add(&events->needs_reset, 1);
    eventfd_write(events->fd, 1);
}

void back_end_events_init(struct back_end_events *events, struct virtio_backend *backend)
{
    events->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_store(&events->queue, -1);
    atomic_store(&events->needs_reset, 0);
    backend->events = (struct virtio_device_events){.notify_queue = on_notify_queue,
                                                    .config_changed = on_config_changed,
                                                    .needs_reset = on_needs_reset,
                                                    .opaque = events};
}

void back_end_events_destroy(struct back_end_events *events)
{
    close(events->fd);
}

bool back_end_events_wait(struct back_end_events *events, int wait_ms)
{
    struct pollfd ready = {.fd = events->fd, .events = POLLIN};
    eventfd_t count;

    if (poll(&ready, 1, wait_ms) != 1)
        return false;
    eventfd_read(events->fd, &count);
    return true;
}
