#include "tests/driver/fake_renderer.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>

struct fake_renderer fake_renderer;

#define F fake_renderer

static int create(const struct gpu_renderer_options *options,
                  const struct gpu_renderer_events *events, struct loop *loop,
                  const struct display_gl *gl, struct gpu_renderer **out, struct error *err)
{
    (void)loop;
    (void)gl;
    if (F.result)
        return error_set(err, -F.result, "the fake renderer cannot");
    F.options = *options;
    F.events = *events;
    F.exists = true;
    *out = (struct gpu_renderer *)&F;
    return 0;
}

static void reset(struct gpu_renderer *r)
{
    (void)r;
    memset(F.contexts, 0, sizeof(F.contexts));
    F.fence_count = 0;
    F.resets++;
}

static void destroy(struct gpu_renderer *r)
{
    (void)r;
    F.exists = false;
}

static unsigned capset_count(const struct gpu_renderer *r)
{
    (void)r;
    return 1;
}

static void capset_info(const struct gpu_renderer *r, unsigned index, uint32_t *id,
                        uint32_t *version, uint32_t *size)
{
    (void)r;
    (void)index;
    *id = 4;
    *version = 1;
    *size = FAKE_RENDERER_CAPSET;
}

static int capset(const struct gpu_renderer *r, uint32_t id, uint32_t version, void *out,
                  uint32_t size)
{
    (void)r;
    (void)id;
    (void)version;
    for (uint32_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)i;
    return F.result;
}

static bool has_context(uint32_t context)
{
    return context < FAKE_RENDERER_CONTEXTS && F.contexts[context];
}

static int context_create(struct gpu_renderer *r, uint32_t context, uint32_t wanted,
                          const char *name)
{
    (void)r;
    if (F.result || context >= FAKE_RENDERER_CONTEXTS || F.contexts[context])
        return F.result ? F.result : -EEXIST;
    F.contexts[context] = true;
    F.capset = wanted;
    snprintf(F.name, sizeof(F.name), "%s", name);
    return 0;
}

static int context_destroy(struct gpu_renderer *r, uint32_t context)
{
    (void)r;
    if (!has_context(context))
        return -ENOENT;
    F.contexts[context] = false;
    return 0;
}

static int context_attach(struct gpu_renderer *r, uint32_t context, uint32_t resource)
{
    (void)r;
    if (!has_context(context))
        return -ENOENT;
    F.attached = resource;
    return F.result;
}

static int context_detach(struct gpu_renderer *r, uint32_t context, uint32_t resource)
{
    (void)r;
    (void)resource;
    if (!has_context(context))
        return -ENOENT;
    F.attached = 0;
    return F.result;
}

static int resource_create(struct gpu_renderer *r, uint32_t resource,
                           const struct gpu_renderer_texture *texture)
{
    (void)r;
    (void)resource;
    F.texture = *texture;
    F.resources += !F.result;
    return F.result;
}

/* Look at all of it: a checker of memory sees what is wrong. */
static void look_at(const struct iovec *iov, unsigned count)
{
    F.backing_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        (void)*(const volatile uint8_t *)iov[i].iov_base;
        F.backing_bytes += iov[i].iov_len;
    }
}

static int blob_create(struct gpu_renderer *r, uint32_t resource,
                       const struct gpu_renderer_blob *blob, const struct iovec *iov,
                       unsigned iov_count)
{
    (void)r;
    (void)resource;
    F.blob = *blob;
    look_at(iov, iov_count);
    F.resources += !F.result;
    return F.result;
}

static void resource_unref(struct gpu_renderer *r, uint32_t resource)
{
    (void)r;
    (void)resource;
    F.resources--;
}

static int attach_backing(struct gpu_renderer *r, uint32_t resource, struct iovec *iov,
                          unsigned iov_count)
{
    (void)r;
    (void)resource;
    look_at(iov, iov_count);
    F.backed += !F.result;
    return F.result;
}

static void detach_backing(struct gpu_renderer *r, uint32_t resource)
{
    (void)r;
    (void)resource;
    F.backed--;
}

static int transfer(struct gpu_renderer *r, bool to_host, const struct gpu_renderer_transfer *t)
{
    (void)r;
    if (t->context && !has_context(t->context))
        return -ENOENT;
    F.transfer = *t;
    F.to_host = to_host;
    return F.result;
}

static int submit(struct gpu_renderer *r, uint32_t context, void *commands, size_t bytes)
{
    (void)r;
    if (!has_context(context))
        return -ENOENT;
    memcpy(F.commands, commands, MIN(bytes, sizeof(F.commands)));
    F.command_bytes = bytes;
    return F.result;
}

static int fence(struct gpu_renderer *r, uint32_t context, int ring, uint64_t number)
{
    (void)r;
    if (F.fence_count == FAKE_RENDERER_FENCES || F.result || (ring >= 0 && !has_context(context)))
        return -ENOENT;
    F.fences[F.fence_count++] = (struct fake_fence){context, ring, number};
    return 0;
}

void fake_renderer_done(unsigned index)
{
    const struct fake_fence *f = &F.fences[index];

    F.events.fence_done(F.events.opaque, f->context, f->ring, f->fence);
}

static int picture(struct gpu_renderer *r, uint32_t resource, struct gpu_renderer_picture *out)
{
    (void)r;
    (void)resource;
    out->width = F.width;
    out->height = F.height;
    return F.result;
}

/* A pixel is its place: y << 16 | x. */
static int read_pixels(struct gpu_renderer *r, uint32_t resource, const struct display_rect *rect,
                       void *out, size_t stride)
{
    (void)r;
    (void)resource;
    for (uint32_t y = 0; y < rect->height; y++)
        for (uint32_t x = 0; x < rect->width; x++)
            store_le32((uint8_t *)out + y * stride + x * 4, (rect->y + y) << 16 | (rect->x + x));
    return F.result;
}

static int map(struct gpu_renderer *r, uint32_t resource, struct gpu_renderer_mapping *out)
{
    (void)r;
    (void)resource;
    *out = (struct gpu_renderer_mapping){
        .memory = F.memory, .size = F.memory_size, .map_info = 3, .fd = -1};
    F.mapped += !F.result;
    return F.result;
}

static void unmap(struct gpu_renderer *r, uint32_t resource)
{
    (void)r;
    (void)resource;
    F.mapped--;
}

const struct gpu_renderer_module fake_renderer_module = {
    .create = create,
    .destroy = destroy,
    .reset = reset,
    .capset_count = capset_count,
    .capset_info = capset_info,
    .capset = capset,
    .context_create = context_create,
    .context_destroy = context_destroy,
    .context_attach = context_attach,
    .context_detach = context_detach,
    .resource_create = resource_create,
    .blob_create = blob_create,
    .resource_unref = resource_unref,
    .attach_backing = attach_backing,
    .detach_backing = detach_backing,
    .transfer = transfer,
    .submit = submit,
    .fence = fence,
    .picture = picture,
    .read = read_pixels,
    .map = map,
    .unmap = unmap,
};
