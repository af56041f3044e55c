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

/* The bytes an access touches, or NULL when they are not all in one region. */
static void *shared_memory_at(const struct virtio_device *dev, uint64_t offset, unsigned size)
{
    for (size_t i = 0; i < dev->shared_count; i++) {
        const struct virtio_shared_region *region = &dev->shared[i];

        if (offset < region->length)
            return size <= region->length - offset ? (char *)region->memory + offset : NULL;
        offset -= region->length;
    }
    return NULL;
}

void shared_memory_read(const struct virtio_device *dev, uint64_t offset, void *data, unsigned size)
{
    const void *memory = shared_memory_at(dev, offset, size);

    if (memory)
        memcpy(data, memory, size);
    else
        memset(data, 0xff, size);
}

void shared_memory_write(const struct virtio_device *dev, uint64_t offset, const void *data,
                         unsigned size)
{
    void *memory = shared_memory_at(dev, offset, size);

    if (memory)
        memcpy(memory, data, size);
}
