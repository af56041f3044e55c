#include "transport/shared_memory.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE (4 * KIB)

struct shared_mapping {
    uint64_t offset, length; /* in the window */
    uint8_t *memory;
    bool writable;
    bool guest; /* it is memory of the guest; else accesses are trapped */
};

/* --- regions ---------------------------------------------------------------------------------- */

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

/* Where in the window a part of a region is; false when the region has no such part. */
static bool find_part(const struct virtio_device *dev, uint8_t id, uint64_t offset, uint64_t length,
                      uint64_t *out)
{
    uint64_t base, size;

    if (!shared_memory_find(dev, id, &base, &size) || length > size || offset > size - length)
        return false;
    *out = base + offset;
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

void shared_memory_init(struct shared_memory *shared, struct platform *platform,
                        const struct virtio_device *dev)
{
    *shared = (struct shared_memory){.platform = platform, .dev = dev};
    pthread_mutex_init(&shared->lock, NULL);
}

void shared_memory_destroy(struct shared_memory *shared)
{
    shared_memory_unplace(shared);
    free(shared->mappings);
    pthread_mutex_destroy(&shared->lock);
}

/* --- place; under the lock -------------------------------------------------------------------- */

static void show(struct shared_memory *shared, struct shared_mapping *mapping)
{
    struct platform *platform = shared->platform;
    struct error err = ERROR_INIT;

    mapping->guest =
        platform->ops->memory_map(platform, shared->address + mapping->offset, mapping->memory,
                                  mapping->length, mapping->writable, &err) == 0;
    if (!mapping->guest)
        log_limited(LOG_WARN, "virtio", "%s: its shared memory is slow: %s", shared->dev->name,
                    err.text);
}

static void hide(struct shared_memory *shared, struct shared_mapping *mapping)
{
    struct platform *platform = shared->platform;

    if (mapping->guest)
        platform->ops->memory_unmap(platform, shared->address + mapping->offset);
    mapping->guest = false;
}

void shared_memory_place(struct shared_memory *shared, uint64_t address)
{
    pthread_mutex_lock(&shared->lock);
    shared->placed = true;
    shared->address = address;
    for (size_t i = 0; i < shared->count; i++)
        show(shared, &shared->mappings[i]);
    pthread_mutex_unlock(&shared->lock);
}

void shared_memory_unplace(struct shared_memory *shared)
{
    pthread_mutex_lock(&shared->lock);
    for (size_t i = 0; i < shared->count; i++)
        hide(shared, &shared->mappings[i]);
    shared->placed = false;
    pthread_mutex_unlock(&shared->lock);
}

/* --- mappings; under the lock ----------------------------------------------------------------- */

/* Index of the first mapping that ends behind `offset`. */
static size_t search(const struct shared_memory *shared, uint64_t offset)
{
    size_t low = 0, high = shared->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct shared_mapping *mapping = &shared->mappings[middle];

        if (mapping->offset + mapping->length <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room(struct shared_memory *shared, struct error *err)
{
    size_t capacity = MAX(shared->capacity * 2, (size_t)8);
    struct shared_mapping *grown;

    if (shared->count == SHARED_MAPPINGS_MAX)
        return error_set(err, ENOSPC, "more than %d mappings of shared memory",
                         SHARED_MAPPINGS_MAX);
    if (shared->count < shared->capacity)
        return 0;
    grown = realloc(shared->mappings, capacity * sizeof(*grown));
    if (!grown)
        return error_set(err, ENOMEM, "no memory for mappings of shared memory");
    shared->mappings = grown;
    shared->capacity = capacity;
    return 0;
}

static int insert(struct shared_memory *shared, const struct shared_mapping *mapping,
                  struct error *err)
{
    size_t at = search(shared, mapping->offset);
    int ret;

    if (at < shared->count && shared->mappings[at].offset < mapping->offset + mapping->length)
        return error_set(err, EEXIST, "shared memory is mapped there already");
    ret = make_room(shared, err);
    if (ret)
        return ret;
    memmove(&shared->mappings[at + 1], &shared->mappings[at],
            (shared->count - at) * sizeof(*mapping));
    shared->mappings[at] = *mapping;
    shared->count++;
    if (shared->placed)
        show(shared, &shared->mappings[at]);
    return 0;
}

int shared_memory_map(struct shared_memory *shared, const struct virtio_shared_mapping *wanted,
                      struct error *err)
{
    struct shared_mapping mapping = {
        .length = wanted->length, .memory = wanted->memory, .writable = wanted->writable};
    int ret;

    if (!wanted->length || (wanted->offset | wanted->length | (uintptr_t)wanted->memory) % PAGE ||
        !find_part(shared->dev, wanted->id, wanted->offset, wanted->length, &mapping.offset))
        return error_set(err, EINVAL, "no such part in shared memory %u", wanted->id);
    pthread_mutex_lock(&shared->lock);
    ret = insert(shared, &mapping, err);
    pthread_mutex_unlock(&shared->lock);
    return ret;
}

void shared_memory_unmap(struct shared_memory *shared, uint8_t id, uint64_t offset, uint64_t length)
{
    uint64_t start;
    size_t kept;

    if (!find_part(shared->dev, id, offset, length, &start))
        return;
    pthread_mutex_lock(&shared->lock);
    kept = search(shared, start);
    for (size_t i = kept; i < shared->count; i++) {
        struct shared_mapping *mapping = &shared->mappings[i];

        if (mapping->offset >= start && mapping->offset + mapping->length <= start + length)
            hide(shared, mapping);
        else
            shared->mappings[kept++] = *mapping;
    }
    shared->count = kept;
    pthread_mutex_unlock(&shared->lock);
}

/* --- trapped accesses ------------------------------------------------------------------------- */

/* The memory of an access; NULL when there is none. Under the lock. */
static uint8_t *memory_at(const struct shared_memory *shared, uint64_t offset, unsigned size,
                          bool write)
{
    size_t at = search(shared, offset);
    const struct shared_mapping *mapping;

    if (at == shared->count)
        return NULL;
    mapping = &shared->mappings[at];
    if (offset < mapping->offset || size > mapping->length - (offset - mapping->offset) ||
        (write && !mapping->writable))
        return NULL;
    return mapping->memory + (offset - mapping->offset);
}

void shared_memory_read(struct shared_memory *shared, uint64_t offset, void *data, unsigned size)
{
    const uint8_t *memory;

    memset(data, 0xff, size);
    pthread_mutex_lock(&shared->lock);
    memory = memory_at(shared, offset, size, false);
    if (memory)
        memcpy(data, memory, size);
    pthread_mutex_unlock(&shared->lock);
}

void shared_memory_write(struct shared_memory *shared, uint64_t offset, const void *data,
                         unsigned size)
{
    uint8_t *memory;

    pthread_mutex_lock(&shared->lock);
    memory = memory_at(shared, offset, size, true);
    if (memory)
        memcpy(memory, data, size);
    pthread_mutex_unlock(&shared->lock);
}
