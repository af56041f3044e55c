/*
 * Having the kernel mark what it writes to guest memory in a log of dirty pages.
 */
#include "virtio/vhost_kernel_internal.h"

#include "guest/dirty_log.h"

#include <errno.h>

static int tell_log(struct vhost_kernel *v, struct error *err)
{
    uint64_t base = (uintptr_t)v->log->bits;
    int ret = 0;

    for (size_t i = 0; i < v->device_count && !ret; i++)
        ret = VHOST_FD_REQUEST(&v->devices[i].fd, VHOST_SET_LOG_BASE, &base, err);
    return ret;
}

/* Tell the kernel, in the middle of its work. */
static int switch_log(struct vhost_kernel *v, struct error *err)
{
    int ret = v->log ? tell_log(v, err) : 0;

    if (!ret && v->settled)
        ret = vhost_kernel_tell_features(v, err);
    for (uint16_t i = 0; i < v->options.queue_count && !ret; i++)
        if (v->queues[i].started)
            ret = vhost_kernel_tell_ring(&v->queues[i], err);
    return ret;
}

int vhost_kernel_dirty_log(struct virtio_backend *backend, struct dirty_log *log, struct error *err)
{
    struct vhost_kernel *v = vhost_kernel_of(backend);
    int ret;

    if (log && !v->logs)
        return error_set(err, ENOTSUP, "%s: this kernel's %s cannot tell what it writes",
                         backend->name, v->options.type->node);
    v->log = log;
    ret = switch_log(v, err);
    if (ret && log)
        v->log = NULL;
    return ret;
}
