/* Requests with a fence, which wait for the renderer (GPU-06, GPU-07). */
#include "devices/gpu/model/render.h"

#include "base/bytes.h"
#include "devices/gpu/model/state.h"

#include <stdlib.h>

static bool has_ring(const struct gpu *gpu, const struct virtio_gpu_ctrl_hdr *asked)
{
    return gpu_has(gpu, GPU_F_CONTEXT_INIT) &&
           le32toh(asked->flags) & VIRTIO_GPU_FLAG_INFO_RING_IDX;
}

bool gpu_fence_hold(struct gpu *gpu, struct virtqueue *queue, struct virtqueue_buffer *buffer,
                    const struct virtio_gpu_ctrl_hdr *asked, uint32_t written)
{
    struct gpu_render *render = gpu->render;
    struct gpu_held *held, **at;

    if (!gpu_renderer_of(gpu) || !(le32toh(asked->flags) & VIRTIO_GPU_FLAG_FENCE))
        return false;
    held = malloc(sizeof(*held));
    if (!held)
        return false;
    *held = (struct gpu_held){
        .queue = queue,
        .buffer = buffer,
        .written = written,
        .context = has_ring(gpu, asked) ? le32toh(asked->ctx_id) : 0,
        .ring = has_ring(gpu, asked) ? asked->ring_idx : -1,
        .fence = ++render->last_fence,
    };
    if (render->module->fence(render->renderer, held->context, held->ring, held->fence)) {
        free(held); /* no such context, or no memory: nothing to wait for */
        return false;
    }
    for (at = &render->held; *at; at = &(*at)->next)
        ;
    *at = held;
    return true;
}

/* Push it, and take it out of the list. */
static void release(struct gpu_held **at)
{
    struct gpu_held *held = *at;

    virtqueue_push(held->queue, held->buffer, held->written);
    *at = held->next;
    free(held);
}

void gpu_fence_done(void *opaque, uint32_t context, int ring, uint64_t fence)
{
    struct gpu *gpu = opaque;
    struct gpu_held **at = &gpu->render->held;
    struct virtqueue *queue = NULL;

    while (*at && (*at)->fence <= fence) {
        if ((*at)->ring != ring || (*at)->context != context) {
            at = &(*at)->next;
            continue;
        }
        queue = (*at)->queue;
        release(at);
    }
    if (queue)
        virtqueue_publish(queue);
}

void gpu_fence_drain(struct gpu *gpu, const struct virtqueue *queue)
{
    struct gpu_held **at = gpu->render ? &gpu->render->held : NULL;

    while (at && *at) {
        if ((*at)->queue == queue)
            release(at);
        else
            at = &(*at)->next;
    }
}
