#include "transport/shared_memory.h"

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

static bool shared_memory_access(const struct virtio_device *dev, uint64_t offset, void *data,
                                 unsigned size, bool write)
{
    const struct virtio_shared_region *region = shared_memory_at(dev, &offset, size);
    char *memory;

    if (!region)
        return false;
    if (region->access)
        return region->access(region, offset, data, size, write);
    if (!region->memory)
        return false;
    memory = (char *)region->memory + offset;
    memcpy(write ? memory : data, write ? data : memory, size);
    return true;
}

void shared_memory_read(const struct virtio_device *dev, uint64_t offset, void *data, unsigned size)
{
    if (!shared_memory_access(dev, offset, data, size, false))
        memset(data, 0xff, size);
}

void shared_memory_write(const struct virtio_device *dev, uint64_t offset, const void *data,
                         unsigned size)
{
    uint64_t copy;

    memcpy(&copy, data, size); /* 8 bytes at most */
    (void)shared_memory_access(dev, offset, &copy, size, true);
}
