#include "devices/gpu/vhost_user/source.h"

#include "base/bytes.h"
#include "devices/gpu/gpu.h"

/* 5.7.4: fields of the front end's own; the rest is the back end's. */
void gpu_source_config_read(struct vhost_user_front_part *part, uint32_t offset, void *data,
                            uint32_t len)
{
    struct gpu_source *source = gpu_source_of(part);
    uint8_t own[GPU_CONFIG_NUM_SCANOUTS + sizeof(uint32_t)] = {0}; /* they are the first */

    store_le32(own + GPU_CONFIG_EVENTS_READ, atomic_load(&source->events_read));
    store_le32(own + GPU_CONFIG_NUM_SCANOUTS, source->output_count);
    if (offset < sizeof(own))
        memcpy(data, own + offset, MIN(len, sizeof(own) - offset));
}

/* Drivers write the field at once. */
void gpu_source_config_write(struct vhost_user_front_part *part, uint32_t offset, const void *data,
                             uint32_t len)
{
    if (offset == GPU_CONFIG_EVENTS_CLEAR && len == sizeof(uint32_t))
        atomic_fetch_and(&gpu_source_of(part)->events_read, ~load_le32(data));
}

void gpu_source_tell_display(struct gpu_source *source)
{
    struct virtio_backend *backend = source->part.backend;

    atomic_fetch_or(&source->events_read, VIRTIO_GPU_EVENT_DISPLAY);
    if (backend && backend->events.config_changed)
        backend->events.config_changed(backend->events.opaque);
}
