#include "virtio/call.h"

#include "base/bytes.h"
#include "base/loop_event.h"

static void call_ready(struct loop_fd *self, uint32_t events)
{
    struct virtio_call *call = container_of(self, struct virtio_call, watch);
    const struct virtio_device_events *device = &call->backend->events;

    (void)events;
    if (loop_event_take(self->fd))
        device->notify_queue(device->opaque, call->index);
}

int virtio_call_create(struct virtio_call *call, struct virtio_backend *backend, uint16_t index,
                       struct loop *loop, struct error *err)
{
    *call = (struct virtio_call){.backend = backend, .index = index, .connected = -1};
    return loop_event_open(loop, &call->watch, call_ready, err);
}

void virtio_call_destroy(struct virtio_call *call, struct loop *loop)
{
    if (call->watch.fd >= 0)
        virtio_call_disconnect(call);
    loop_fd_close(loop, &call->watch);
}

/* Tell the transport. */
static int call_tell(struct virtio_call *call, int fd)
{
    const struct virtio_device_events *device = &call->backend->events;

    return device->queue_call_fd ? device->queue_call_fd(device->opaque, call->index, fd) : fd;
}

int virtio_call_connect(struct virtio_call *call)
{
    if (call->connected < 0)
        call->connected = call_tell(call, call->watch.fd);
    return call->connected;
}

void virtio_call_disconnect(struct virtio_call *call)
{
    if (call->connected >= 0)
        call_tell(call, -1);
    call->connected = -1;
}

void virtio_call_drain(struct virtio_call *call)
{
    loop_event_take(call->watch.fd);
}
