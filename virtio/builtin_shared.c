/* Shared memory regions of models (specification 2.10). */
#include "virtio/builtin_internal.h"

#include <errno.h>
#include <inttypes.h>

int virtio_builtin_add_shared(struct virtio_builtin *b, uint8_t id, uint64_t length,
                              struct error *err)
{
    size_t count = b->backend.shared_count;

    if (count == ARRAY_SIZE(b->shared))
        return error_set(err, ENOSPC, "more than %zu regions of shared memory", count);
    if (!length || length % (4 * KIB))
        return error_set(err, EINVAL,
                         "shared memory of %" PRIu64 " bytes is not a multiple of 4 KiB", length);
    b->shared[count] = (struct virtio_shared_region){.id = id, .length = length};
    b->backend.shared = b->shared;
    b->backend.shared_count = count + 1;
    return 0;
}

int virtio_builtin_shared_map(struct virtio_builtin *b, const struct virtio_shared_mapping *mapping,
                              struct error *err)
{
    const struct virtio_device_events *events = &b->backend.events;

    if (!events->shared_map)
        return error_set(err, ENOTSUP, "nobody can be shown shared memory");
    return events->shared_map(events->opaque, mapping, err);
}

void virtio_builtin_shared_unmap(struct virtio_builtin *b, uint8_t id, uint64_t offset,
                                 uint64_t length)
{
    const struct virtio_device_events *events = &b->backend.events;

    if (events->shared_unmap)
        events->shared_unmap(events->opaque, id, offset, length);
}

void builtin_shared_clear(struct virtio_builtin *b)
{
    for (size_t i = 0; i < b->backend.shared_count; i++)
        virtio_builtin_shared_unmap(b, b->shared[i].id, 0, b->shared[i].length);
}
