/*
 * Guest memory that is mapped elsewhere from now on, as a front end may have it while pictures are
 * shown: what lives longer than a request is given up before, and found anew behind it.
 */
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

static void each_resource(struct gpu *gpu,
                          void (*run)(struct gpu *gpu, struct gpu_resource *resource))
{
    for (unsigned i = 0; i < GPU_RESOURCE_BUCKETS; i++)
        for (struct gpu_resource *r = gpu->resources.buckets[i]; r; r = r->next)
            run(gpu, r);
}

void gpu_memory_changes(void *model, bool done)
{
    struct gpu *gpu = model;

    if (!done)
        gpu_scanout_lose_memory(gpu);
    each_resource(gpu, done ? gpu_texture_find_memory : gpu_texture_lose_memory);
    if (done)
        gpu_scanout_find_memory(gpu);
}
