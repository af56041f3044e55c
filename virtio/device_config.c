/*
 * Device configuration and its generation (specification 2.5, CFG-03).
 *
 * A driver reads a long field in pieces and takes them for one value if the generation did not
 * change meanwhile. So the pieces come from a copy, which is read anew only when the back end said
 * that something changed, and the generation counts the copies that differ. That makes it exact
 * whatever the back end's timing is, and a configuration that is read over a socket is read once.
 */
#include "base/bytes.h"
#include "virtio/device_internal.h"

#include <string.h>

void device_config_stale(struct virtio_device *dev)
{
    atomic_store(&dev->config_stale, true);
}

static void config_refresh(struct virtio_device *dev)
{
    struct virtio_backend *backend = dev->backend;
    uint8_t now[VIRTIO_CONFIG_COPY];

    if (!atomic_load_explicit(&dev->config_stale, memory_order_relaxed) || device_suspended(dev))
        return; /* STAT-15: what a suspended device shows stays */
    /* Cleared before reading: a change after this makes it stale again. */
    atomic_exchange(&dev->config_stale, false);
    backend->ops->config_read(backend, 0, now, sizeof(now));
    if (memcmp(now, dev->config, sizeof(now)) == 0)
        return;
    memcpy(dev->config, now, sizeof(now));
    dev->config_generation++;
}

uint32_t virtio_device_config_generation(struct virtio_device *dev)
{
    DEVICE_LOCK(dev);

    config_refresh(dev);
    return dev->config_generation;
}

void virtio_device_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
    DEVICE_LOCK(dev);

    config_refresh(dev);
    if (offset <= sizeof(dev->config) && len <= sizeof(dev->config) - offset)
        memcpy(data, dev->config + offset, len);
    else
        dev->backend->ops->config_read(dev->backend, offset, data, len);
}

void virtio_device_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                                uint32_t len)
{
    DEVICE_LOCK(dev);

    if (device_suspended(dev)) { /* STAT-16 */
        device_complain(dev, "DRV-INIT-17", "configuration written while suspended");
        return;
    }
    /* Carried out all the same: a console's emergency write may come at any time (5.3.5), and so
     * may a legacy driver's (STAT-09). */
    if (!dev->negotiated && dev->interface != VIRTIO_LEGACY && dev->id != VIRTIO_ID_CONSOLE)
        device_complain(dev, "DRV-INIT-12", "configuration written before FEATURES_OK");
    dev->backend->ops->config_write(dev->backend, offset, data, len);
    device_config_stale(dev);
}
