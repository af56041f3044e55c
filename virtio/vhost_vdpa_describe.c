/*
 * What a vDPA device says it is.
 */
#include "virtio/vhost_vdpa_internal.h"

#include "base/bytes.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>

static int check_type(struct vhost_vdpa *v, struct error *err)
{
    uint32_t type = 0;
    int ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_DEVICE_ID, &type, err);

    if (!ret && type != v->options.type)
        ret = error_set(err, ENODEV, "%s: it is a device of type %u, not %u", v->path, type,
                        v->options.type);
    return ret;
}

static int ask_features(struct vhost_vdpa *v, struct error *err)
{
    int ret = vhost_fd_get_features(&v->fd, &v->offered, err);

    if (ret)
        return ret;
    if (!features_has(&v->offered, VIRTIO_F_VERSION_1))
        return error_set(err, ENOTSUP, "%s: it serves legacy drivers only", v->path);
    if (!vhost_fd_has(&v->fd, VHOST_BACKEND_F_IOTLB_MSG_V2))
        return error_set(err, ENOTSUP, "%s: the kernel cannot be told of memory (IOTLB_MSG_V2)",
                         v->path);
    return 0;
}

/* Each queue's, where the kernel says so (Linux 6.10), else that of all. */
static void ask_queue_size(struct vhost_vdpa *v, uint16_t index)
{
    struct vhost_vring_state state = {.index = index};

    if (VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_VRING_SIZE, &state, NULL) < 0 || state.num == 0)
        state.num = v->queue_size_max;
    v->queues[index].size_max = (uint16_t)MIN(state.num, (unsigned)v->queue_size_max);
}

static int ask_queues(struct vhost_vdpa *v, struct error *err)
{
    uint32_t count = 0;
    int ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_VQS_COUNT, &count, err);

    if (!ret)
        ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_VRING_NUM, &v->queue_size_max, err);
    if (ret)
        return ret;
    if (!count || count > VIRTIO_QUEUES_MAX || !v->queue_size_max)
        return error_set(err, ENOTSUP, "%s: it has %u queues of at most %u entries", v->path, count,
                         v->queue_size_max);
    v->queues = calloc(count, sizeof(*v->queues));
    if (!v->queues)
        return error_set(err, ENOMEM, "no memory for %u queues", count);
    v->queue_count = (uint16_t)count;
    v->queue_size_max = MIN(v->queue_size_max, (uint16_t)VIRTQUEUE_SIZE_MAX);
    for (uint16_t i = 0; i < v->queue_count; i++)
        ask_queue_size(v, i);
    return vhost_vdpa_queues_create(v, err);
}

/* One group and one address space, unless it knows of more. */
static int ask_groups(struct vhost_vdpa *v, struct error *err)
{
    int ret;

    v->group_count = v->address_spaces = 1;
    if (!vhost_fd_has(&v->fd, VHOST_BACKEND_F_IOTLB_ASID))
        return 0;
    ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_GROUP_NUM, &v->group_count, err);
    if (!ret)
        ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_AS_NUM, &v->address_spaces, err);
    if (!ret && v->group_count > v->queue_count)
        ret = error_set(err, ENOTSUP, "%s: it has %u groups of %u queues", v->path, v->group_count,
                        v->queue_count);
    return ret;
}

int vhost_vdpa_describe(struct vhost_vdpa *v, struct error *err)
{
    int ret = check_type(v, err);

    if (!ret)
        ret = ask_features(v, err);
    if (!ret)
        ret = ask_queues(v, err);
    if (!ret)
        ret = ask_groups(v, err);
    if (!ret)
        ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_CONFIG_SIZE, &v->config_size, err);
    return ret;
}
