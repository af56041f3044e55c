/*
 * Suspend and resume (specification 3.4, VIRTIO_F_SUSPEND): a device that keeps all it knows and
 * does nothing.
 *
 * Queues stop where they stand, after what is in flight was completed (STAT-14), and go on there.
 */
#include "virtio/device_internal.h"

#include <errno.h>

int device_suspend(struct virtio_device *dev)
{
    if (!device_negotiated(dev, VIRTIO_F_SUSPEND)) {
        device_complain(dev, "DRV-INIT-16", "SUSPEND written without VIRTIO_F_SUSPEND");
        return -EINVAL;
    }
    device_stop_queues(dev);
    atomic_fetch_and(&dev->status, ~(unsigned)VIRTIO_STATUS_DRIVER_OK); /* STAT-13 */
    return 0;
}

void device_resume(struct virtio_device *dev)
{
    atomic_fetch_and(&dev->status, ~(unsigned)VIRTIO_STATUS_SUSPEND); /* STAT-18 */
    atomic_fetch_or(&dev->status, VIRTIO_STATUS_DRIVER_OK);
    device_start_queues(dev);
    if (atomic_exchange(&dev->config_held, false)) /* STAT-17 */
        dev->transport_ops->notify_config(dev->transport);
}
