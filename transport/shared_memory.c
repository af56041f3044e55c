#include "transport/shared_memory.h"

#include "base/guarded_copy.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

uint64_t shared_memory_size(const struct virtio_device *dev)
{
    uint64_t size = 0;

    for (size_t i = 0; i < dev->shared_count; i++)
        size += dev->shared[i].length;
    return size;
}

bool shared_memory_find(const struct virtio_device *dev, uint32_t id, uint64_t *offset,
                        uint64_t *length)
{
    *offset = 0;
    for (size_t i = 0; i < dev->shared_count; i++) {
        *length = dev->shared[i].length;
        if (dev->shared[i].id == id)
            return true;
        *offset += *length;
    }
    return false;
}

/* The region an access is in, and where; NULL when it is not all in one. */
static const struct virtio_shared_region *shared_memory_at(const struct virtio_device *dev,
                                                           uint64_t *offset, unsigned size)
{
    for (size_t i = 0; i < dev->shared_count; i++) {
        const struct virtio_shared_region *region = &dev->shared[i];

        if (*offset < region->length)
            return size <= region->length - *offset ? region : NULL;
        *offset -= region->length;
    }
    return NULL;
}

/* What is not mapped reads as nothing would. A file that lost a part under us is the end. */
static bool copy(const struct virtio_device *dev, const struct virtio_shared_region *region,
                 void *to, const void *from, unsigned size)
{
    const struct virtio_device_events *events = &dev->backend->events;
    int ret;

    if (!region->guarded) {
        memcpy(to, from, size);
        return true;
    }
    ret = guarded_copy(to, from, size);
    if (ret == -EIO) {
        log_limited(LOG_WARN, "virtio", "%s: shared memory %u: its file was truncated", dev->name,
                    region->id);
        events->needs_reset(events->opaque);
    }
    return ret == 0;
}

void shared_memory_read(const struct virtio_device *dev, uint64_t offset, void *data, unsigned size)
{
    const struct virtio_shared_region *region = shared_memory_at(dev, &offset, size);

    if (!region || !copy(dev, region, data, (const char *)region->memory + offset, size))
        memset(data, 0xff, size);
}

void shared_memory_write(const struct virtio_device *dev, uint64_t offset, const void *data,
                         unsigned size)
{
    const struct virtio_shared_region *region = shared_memory_at(dev, &offset, size);

    if (region)
        (void)copy(dev, region, (char *)region->memory + offset, data, size);
}
