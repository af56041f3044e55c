/*
 * A vDPA device's status (specification 2.1, 3.1.1): it wants the same steps of us that the driver
 * takes with virtio_device.
 */
#include "virtio/vhost_vdpa_internal.h"

#include "base/bytes.h"
#include "virtio/device.h"

#include <errno.h>

static int set_status(struct vhost_vdpa *v, uint8_t status, struct error *err)
{
    int ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_SET_STATUS, &status, err);

    if (!ret)
        v->status = status;
    return ret;
}

static int add_status(struct vhost_vdpa *v, uint8_t bits, struct error *err)
{
    return set_status(v, v->status | bits, err);
}

/* The device may refuse a step: then the bit reads back clear. */
static int add_status_checked(struct vhost_vdpa *v, uint8_t bit, const char *name,
                              struct error *err)
{
    uint8_t status = 0;
    int ret = add_status(v, bit, err);

    if (!ret)
        ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_STATUS, &status, err);
    if (!ret && !(status & bit))
        ret = error_set(err, EINVAL, "%s: the device refuses %s", v->path, name);
    if (ret)
        v->status &= (uint8_t)~bit;
    return ret;
}

bool vhost_vdpa_needs_reset(struct vhost_vdpa *v)
{
    uint8_t status = 0;

    return VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_STATUS, &status, NULL) == 0 &&
           (status & VIRTIO_STATUS_NEEDS_RESET);
}

/* What the driver chose, without what is between it and its transport; and the translation of
 * addresses, which is between the device and us. */
static int tell_features(struct vhost_vdpa *v, struct error *err)
{
    struct virtio_features features = v->negotiated;

    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        features.word[i] &= v->offered.word[i];
    features_set(&features, VIRTIO_F_ACCESS_PLATFORM,
                 features_has(&v->offered, VIRTIO_F_ACCESS_PLATFORM));
    return vhost_fd_set_features(&v->fd, &features, err);
}

int vhost_vdpa_agree(struct vhost_vdpa *v, struct error *err)
{
    int ret = 0;

    if (v->status)
        vhost_vdpa_reset_device(v);
    ret = add_status(v, VIRTIO_STATUS_ACKNOWLEDGE, err);
    if (!ret)
        ret = add_status(v, VIRTIO_STATUS_DRIVER, err);
    if (!ret)
        ret = tell_features(v, err);
    if (!ret)
        ret = add_status_checked(v, VIRTIO_STATUS_FEATURES_OK, "these features", err);
    /* A reset may have made the device forget it. */
    if (!ret)
        ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_SET_CONFIG_CALL, &v->config_call.fd, err);
    return ret;
}

bool vhost_vdpa_runs(const struct vhost_vdpa *v)
{
    return v->status & VIRTIO_STATUS_DRIVER_OK;
}

int vhost_vdpa_run(struct vhost_vdpa *v, struct error *err)
{
    int ret;

    if (v->suspended)
        ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_RESUME, NULL, err);
    else
        ret = add_status_checked(v, VIRTIO_STATUS_DRIVER_OK, "to start (DRIVER_OK)", err);
    if (ret)
        return ret;
    v->suspended = false;
    vhost_vdpa_queues_kick(v);
    return 0;
}

void vhost_vdpa_pause(struct vhost_vdpa *v)
{
    struct error err = ERROR_INIT;

    if (!vhost_vdpa_runs(v) || v->suspended || !vhost_fd_has(&v->fd, VHOST_BACKEND_F_SUSPEND))
        return;
    if (VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_SUSPEND, NULL, &err))
        vhost_vdpa_complain(v, &err);
    else
        v->suspended = true;
}

/* When the device does not obey, it at least loses the guest's memory. */
void vhost_vdpa_reset_device(struct vhost_vdpa *v)
{
    struct error err = ERROR_INIT;

    if (v->status && set_status(v, 0, &err))
        vhost_vdpa_complain(v, &err);
    v->status = 0;
    v->suspended = false;
    for (uint16_t i = 0; i < v->queue_count; i++)
        v->queues[i].started = false;
    vhost_vdpa_unmap(v);
}
