#include "virtio/call.h"

#include "base/bytes.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

bool virtio_call_take(int fd)
{
    eventfd_t count;
    const struct iovec iov = {&count, sizeof(count)};

    return preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == (ssize_t)sizeof(count);
}

static void call_ready(struct loop_fd *self, uint32_t events)
{
    struct virtio_call *call = container_of(self, struct virtio_call, watch);
    const struct virtio_device_events *device = &call->backend->events;

    (void)events;
    if (virtio_call_take(self->fd))
        device->notify_queue(device->opaque, call->index);
}

int virtio_call_create(struct virtio_call *call, struct virtio_backend *backend, uint16_t index,
                       struct loop *loop, struct error *err)
{
    int ret;

    *call = (struct virtio_call){
        .watch = {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), EPOLLIN, call_ready},
        .backend = backend,
        .index = index,
        .connected = -1,
    };
    if (call->watch.fd < 0)
        return error_errno(err, errno, "cannot make an eventfd");
    ret = loop_fd_add(loop, &call->watch, err);
    if (ret) {
        close(call->watch.fd);
        call->watch.fd = -1;
    }
    return ret;
}

void virtio_call_destroy(struct virtio_call *call, struct loop *loop)
{
    if (call->watch.fd < 0)
        return;
    virtio_call_disconnect(call);
    loop_fd_remove(loop, &call->watch);
    close(call->watch.fd);
    call->watch.fd = -1;
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
    virtio_call_take(call->watch.fd);
}
