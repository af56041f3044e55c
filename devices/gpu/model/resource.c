/* Resources by id, and the host memory that is counted for them. */
#include "devices/gpu/model/resource.h"

#include "base/bytes.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#include <stdlib.h>

static struct gpu_resource **bucket(struct gpu *gpu, uint32_t id)
{
    return &gpu->resources.buckets[id % GPU_RESOURCE_BUCKETS];
}

struct gpu_resource *gpu_resource_find(struct gpu *gpu, uint32_t id)
{
    struct gpu_resource *resource = *bucket(gpu, id);

    while (resource && resource->id != id)
        resource = resource->next;
    return resource;
}

bool gpu_hostmem_take(struct gpu *gpu, uint64_t bytes)
{
    struct gpu_resources *r = &gpu->resources;

    if (bytes > r->hostmem_max - r->hostmem)
        return false;
    r->hostmem += bytes;
    return true;
}

void gpu_hostmem_give(struct gpu *gpu, uint64_t bytes)
{
    gpu->resources.hostmem -= bytes;
}

struct gpu_resource *gpu_resource_add(struct gpu *gpu, uint32_t id, enum gpu_resource_kind kind,
                                      uint64_t cost)
{
    struct gpu_resource *resource;
    uint64_t charge = cost + sizeof(*resource);

    if (gpu->resources.count == GPU_RESOURCES_MAX || charge < cost ||
        !gpu_hostmem_take(gpu, charge))
        return NULL;
    resource = calloc(1, sizeof(*resource));
    if (!resource) {
        gpu_hostmem_give(gpu, charge);
        return NULL;
    }
    *resource =
        (struct gpu_resource){.id = id, .kind = kind, .charge = charge, .next = *bucket(gpu, id)};
    *bucket(gpu, id) = resource;
    gpu->resources.count++;
    return resource;
}

void gpu_backing_release(struct gpu *gpu, struct gpu_backing *backing)
{
    gpu_hostmem_give(gpu, backing->count * sizeof(*backing->extents));
    free(backing->extents);
    *backing = (struct gpu_backing){NULL, 0, 0};
}

void gpu_resource_set_backing(struct gpu *gpu, struct gpu_resource *resource,
                              const struct gpu_backing *backing)
{
    gpu_backing_release(gpu, &resource->backing);
    if (backing)
        resource->backing = *backing;
}

void gpu_resource_remove(struct gpu *gpu, struct gpu_resource *resource)
{
    struct gpu_resource **at = bucket(gpu, resource->id);

    while (*at != resource)
        at = &(*at)->next;
    *at = resource->next;
    gpu->resources.count--;
    gpu_scanout_forget(gpu, resource);
    gpu_texture_unref(gpu, resource);
    gpu_resource_set_backing(gpu, resource, NULL);
    gpu_hostmem_give(gpu, resource->charge);
    free(resource->pixels);
    free(resource);
}

void gpu_resource_remove_all(struct gpu *gpu)
{
    for (unsigned i = 0; i < GPU_RESOURCE_BUCKETS && gpu->resources.count; i++)
        while (gpu->resources.buckets[i])
            gpu_resource_remove(gpu, gpu->resources.buckets[i]);
}
