/*
 * Buffers that the back end shares. Viewers that know dmabufs are given them as they are; for
 * others what changes is copied out of a mapping, which only buffers allow whose pixels are in rows
 * (DRM_FORMAT_MOD_LINEAR).
 */
#include "devices/gpu/vhost_user/source.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <linux/dma-buf.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PIXEL      4 /* bytes */
#define STRIDE_MAX (2 * PIXEL * DISPLAY_SIZE_MAX)
#define BOTTOM_UP  1 /* in fd_flags */

void gpu_source_dmabuf_release(struct gpu_source_output *output)
{
    struct gpu_source_dmabuf *dmabuf = &output->dmabuf;

    if (dmabuf->mapped)
        guarded_map_destroy(&dmabuf->map);
    if (dmabuf->fd >= 0)
        close(dmabuf->fd);
    *dmabuf = (struct gpu_source_dmabuf){.fd = -1};
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_known(uint32_t fourcc)
{
    static const uint32_t known[] = {DRM_FORMAT_XRGB8888, DRM_FORMAT_ARGB8888, DRM_FORMAT_XBGR8888,
                                     DRM_FORMAT_ABGR8888, DRM_FORMAT_RGBX8888, DRM_FORMAT_RGBA8888,
                                     DRM_FORMAT_BGRX8888, DRM_FORMAT_BGRA8888};

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i] == fourcc)
            return true;
    return false;
}

/* Whoever reads a file of FUSE waits for a process, which may be the back end. */
static bool is_of_a_process(int fd)
{
    struct statfs status;

    return fstatfs(fd, &status) < 0 || status.f_type == FUSE_SUPER_MAGIC;
}

/* Once: what cannot be read is said, and nothing is shown in its place. */
static bool map(struct gpu_source_output *output)
{
    struct gpu_source_dmabuf *dmabuf = &output->dmabuf;
    const struct vhost_user_gpu_dmabuf_scanout *layout = &dmabuf->layout;
    struct gpu_source *source = output->source;
    struct error err = ERROR_INIT;
    int ret = 0;

    if (dmabuf->tried)
        return dmabuf->mapped;
    dmabuf->tried = true;
    if (dmabuf->modifier != DRM_FORMAT_MOD_LINEAR && dmabuf->modifier != DRM_FORMAT_MOD_INVALID)
        ret = error_set(&err, ENOTSUP, "its pixels are not in rows (modifier 0x%llx)",
                        (unsigned long long)dmabuf->modifier);
    else if (!is_known((uint32_t)layout->fd_drm_fourcc))
        ret = error_set(&err, ENOTSUP, "its pixels are of format 0x%x",
                        (uint32_t)layout->fd_drm_fourcc);
    else if (is_of_a_process(dmabuf->fd))
        ret = error_set(&err, EINVAL, "another process provides it");
    else
        ret = guarded_map_create_to_read(&dmabuf->map, dmabuf->fd,
                                         (uint64_t)layout->fd_stride * layout->fd_height,
                                         source->lost.fd, &err);
    dmabuf->mapped = !ret;
    if (ret)
        log_limited(LOG_WARN, "gpu",
                    "%s: a picture that it shares can neither be shown by a viewer nor read: %s",
                    source->name, err.text);
    return dmabuf->mapped;
}

/* Not every buffer is the kernel's, and of those not every one has caches to care for. */
static void synchronize(int fd, uint64_t flags)
{
    struct dma_buf_sync sync = {.flags = flags | DMA_BUF_SYNC_READ};

    (void)ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync);
}

/* `rect` is within the picture; `out` is its first pixel's. */
static void copy(const struct gpu_source_dmabuf *dmabuf, const struct display_rect *rect,
                 uint8_t *out, size_t stride)
{
    const struct vhost_user_gpu_dmabuf_scanout *layout = &dmabuf->layout;

    synchronize(dmabuf->fd, DMA_BUF_SYNC_START);
    for (uint32_t i = 0; i < rect->height; i++) {
        uint32_t row = layout->y + rect->y + i;

        if (layout->fd_flags & BOTTOM_UP)
            row = layout->fd_height - 1 - row;
        memcpy(out + i * stride,
               (uint8_t *)dmabuf->map.base + (size_t)row * layout->fd_stride +
                   (size_t)(layout->x + rect->x) * PIXEL,
               (size_t)rect->width * PIXEL);
    }
    synchronize(dmabuf->fd, DMA_BUF_SYNC_END);
}

/* display_picture.read: only buffers of the format that it promises. */
static int read_picture(void *opaque, const struct display_rect *rect, void *out, size_t stride)
{
    struct gpu_source_output *output = opaque;
    uint32_t fourcc = (uint32_t)output->dmabuf.layout.fd_drm_fourcc;

    if ((fourcc != DRM_FORMAT_XRGB8888 && fourcc != DRM_FORMAT_ARGB8888) || !map(output))
        return -ENOTSUP;
    copy(&output->dmabuf, rect, out, stride);
    return 0;
}

/* --- showing ---------------------------------------------------------------------------------- */

static void show_shared(struct gpu_source_output *output)
{
    const struct gpu_source_dmabuf *dmabuf = &output->dmabuf;
    const struct vhost_user_gpu_dmabuf_scanout *layout = &dmabuf->layout;

    output->picture = (struct display_picture){
        .kind = DISPLAY_DMABUF,
        .width = layout->width,
        .height = layout->height,
        .x = layout->x,
        .y = layout->y,
        .fourcc = (uint32_t)layout->fd_drm_fourcc,
        .dmabuf = {.fd = dmabuf->fd,
                   .width = layout->fd_width,
                   .height = layout->fd_height,
                   .stride = layout->fd_stride,
                   .modifier = dmabuf->modifier,
                   .bottom_up = layout->fd_flags & BOTTOM_UP},
        .read = read_picture,
        .opaque = output,
    };
    output->shown = true;
    display_show(output->source->display, (unsigned)(output - output->source->outputs),
                 &output->picture);
}

static void show_copy(struct gpu_source_output *output)
{
    const struct vhost_user_gpu_dmabuf_scanout *layout = &output->dmabuf.layout;
    const struct display_rect all = {0, 0, layout->width, layout->height};

    if (map(output) && gpu_source_show_pixels(output, layout->width, layout->height,
                                              (uint32_t)layout->fd_drm_fourcc))
        gpu_source_dmabuf_update(output->source, &(struct vhost_user_gpu_update){
                                                     (uint32_t)(output - output->source->outputs),
                                                     all.x, all.y, all.width, all.height});
}

static void show(struct gpu_source_output *output)
{
    if (display_knows(output->source->display, DISPLAY_DMABUF))
        show_shared(output);
    else
        show_copy(output);
}

void gpu_source_dmabuf_refresh(struct gpu_source_output *output)
{
    if (output->dmabuf.fd >= 0)
        show(output);
}

static bool is_sound(const struct vhost_user_gpu_dmabuf_scanout *l)
{
    return l->fd_width <= DISPLAY_SIZE_MAX && l->fd_height <= DISPLAY_SIZE_MAX &&
           l->fd_stride >= l->fd_width * PIXEL && l->fd_stride <= STRIDE_MAX &&
           l->x <= l->fd_width && l->width <= l->fd_width - l->x && l->y <= l->fd_height &&
           l->height <= l->fd_height - l->y;
}

void gpu_source_dmabuf_scanout(struct gpu_source *source,
                               const struct vhost_user_gpu_dmabuf_scanout *layout,
                               uint64_t modifier, int fd)
{
    struct gpu_source_output *output = gpu_source_output(source, layout->scanout_id);
    const struct vhost_user_gpu_scanout off = {.scanout_id = layout->scanout_id};

    if (output)
        gpu_source_scanout(source, &off);
    if (!output || fd < 0 || !layout->width || !layout->height || !is_sound(layout)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    output->dmabuf = (struct gpu_source_dmabuf){.fd = fd, .layout = *layout, .modifier = modifier};
    show(output);
}

void gpu_source_dmabuf_update(struct gpu_source *source, const struct vhost_user_gpu_update *u)
{
    struct gpu_source_output *output = gpu_source_output(source, u->scanout_id);
    struct display_rect rect = {u->x, u->y, u->width, u->height};
    const struct display_picture *picture;

    if (!output || output->dmabuf.fd < 0 || !output->shown)
        return;
    picture = &output->picture;
    rect.x = MIN(rect.x, picture->width);
    rect.y = MIN(rect.y, picture->height);
    rect.width = MIN(rect.width, picture->width - rect.x);
    rect.height = MIN(rect.height, picture->height - rect.y);
    if (picture->kind == DISPLAY_PIXELS)
        copy(&output->dmabuf, &rect,
             (uint8_t *)output->pixels + (size_t)rect.y * picture->stride + (size_t)rect.x * PIXEL,
             picture->stride);
    display_damage(source->display, u->scanout_id, &rect);
}
