/*
 * Capability sets: what the library says of itself, read once.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#include <stdlib.h>

/* struct virgl_caps_v2, which Debian's headers lack: its word capability_bits, and of these the one
 * that lets a guest map buffers. */
#define CAPABILITY_BITS_OFFSET         392
#define CAPABILITY_BITS_BUFFER_STORAGE 31

int virgl_capset_needs(uint32_t id, const char *option, struct error *err)
{
    uint32_t version, size;

    virgl_renderer_get_cap_set(id, &version, &size);
    return size ? 0
                : error_set(err, ENOTSUP, "%s: the virglrenderer of this host is built without it",
                            option);
}

static int add(struct gpu_renderer *r, uint32_t id)
{
    struct virgl_capset *set = &r->capsets[r->capset_count];
    uint32_t version, size;

    virgl_renderer_get_cap_set(id, &version, &size);
    *set = (struct virgl_capset){.id = id, .version = version, .size = size};
    set->data = calloc(1, size);
    if (!set->data)
        return -ENOMEM;
    virgl_renderer_fill_caps(id, version, set->data);
    r->capset_count++;
    return 0;
}

/* Mesa maps buffers where the host has GL_ARB_buffer_storage; but they have to start at a page to
 * be mapped into a guest. */
static void hide_buffer_storage(const struct virgl_capset *set)
{
    uint8_t *bits = set->data + CAPABILITY_BITS_OFFSET;

    if (set->size >= CAPABILITY_BITS_OFFSET + 4)
        store_le32(bits, load_le32(bits) & ~(uint32_t)BIT(CAPABILITY_BITS_BUFFER_STORAGE));
}

int virgl_capsets_read(struct gpu_renderer *r, const struct gpu_renderer_options *options,
                       struct error *err)
{
    int ret = add(r, VIRGL_CAPSET_VIRGL);

    if (ret == 0)
        ret = add(r, VIRGL_CAPSET_VIRGL2);
    if (ret == 0 && options->venus)
        ret = add(r, VIRGL_CAPSET_VENUS);
    if (ret == 0 && options->drm)
        ret = add(r, VIRGL_CAPSET_DRM);
    if (ret < 0)
        return error_set(err, -ret, "cannot read virglrenderer's capabilities");
    if (!r->blobs)
        hide_buffer_storage(&r->capsets[1]);
    return 0;
}

void virgl_capsets_free(struct gpu_renderer *r)
{
    for (unsigned i = 0; i < r->capset_count; i++)
        free(r->capsets[i].data);
    r->capset_count = 0;
}

unsigned virgl_capset_count(const struct gpu_renderer *r)
{
    return r->capset_count;
}

void virgl_capset_info(const struct gpu_renderer *r, unsigned index, uint32_t *id,
                       uint32_t *version, uint32_t *size)
{
    *id = r->capsets[index].id;
    *version = r->capsets[index].version;
    *size = r->capsets[index].size;
}

const struct virgl_capset *virgl_capset_find(const struct gpu_renderer *r, uint32_t id)
{
    for (unsigned i = 0; i < r->capset_count; i++)
        if (r->capsets[i].id == id)
            return &r->capsets[i];
    return NULL;
}

int virgl_capset(const struct gpu_renderer *r, uint32_t id, uint32_t version, void *out,
                 uint32_t size)
{
    const struct virgl_capset *set = virgl_capset_find(r, id);

    if (!set || version > set->version || size < set->size)
        return -EINVAL;
    memcpy(out, set->data, set->size);
    return 0;
}
