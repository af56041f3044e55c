#include "devices/gpu/vhost_user/viewer.h"

#include "base/bytes.h"
#include "devices/display/common/pixels.h"

#include <libdrm/drm_fourcc.h>
#include <stdlib.h>

#define PIXEL        4 /* bytes */
#define ROWS_AT_ONCE 64

_Static_assert(GPU_VIEWER_BOUNCE >= DISPLAY_SIZE_MAX * PIXEL, "a row fits");

/* Sent as it lies in memory: alpha means nothing to either. */
static bool is_direct(const struct display_picture *picture)
{
    return picture->kind == DISPLAY_PIXELS &&
           (picture->fourcc == DRM_FORMAT_XRGB8888 || picture->fourcc == DRM_FORMAT_ARGB8888);
}

static bool covers(const struct display_picture *picture, const struct display_rect *rect)
{
    return rect->x + rect->width <= picture->width && rect->y + rect->height <= picture->height;
}

void gpu_viewer_change_picture(struct gpu_viewer *v, struct gpu_viewer_output *output,
                               const struct display_picture *picture)
{
    output->shown = picture;
    if (picture)
        output->picture = *picture;
    if (v->update.output == output && (!picture || !covers(picture, &v->update.rect)))
        v->update.output = NULL;
}

void gpu_viewer_begin_update(struct gpu_viewer *v, struct gpu_viewer_output *output)
{
    struct display_rect rect = output->damage;
    uint64_t size = (uint64_t)rect.width * rect.height * PIXEL;

    gpu_sender_begin(&v->out, VHOST_USER_GPU_UPDATE, sizeof(struct vhost_user_gpu_update), size);
    v->out.message.payload.update = (struct vhost_user_gpu_update){
        (uint32_t)(output - v->outputs), rect.x, rect.y, rect.width, rect.height};
    v->update.output = output;
    v->update.rect = rect;
    v->update.done = 0;
    v->update.size = size;
    output->damage.width = 0;
}

/* Rows of the picture itself, from where we are. */
static size_t direct_rows(const struct gpu_viewer_update *u, struct iovec *iov)
{
    const struct display_picture *picture = &u->output->picture;
    uint64_t row_bytes = (uint64_t)u->rect.width * PIXEL, at = u->done, left;
    size_t count = 0;

    for (; count < ROWS_AT_ONCE && at < u->size; at += left) {
        const uint8_t *row =
            picture->pixels + (u->rect.y + at / row_bytes) * picture->stride + u->rect.x * PIXEL;

        left = row_bytes - at % row_bytes;
        iov[count++] = (struct iovec){(uint8_t *)(uintptr_t)row + at % row_bytes, left};
    }
    return count;
}

/* As many rows as the bounce buffer holds, from the one that we are in; black where they cannot be
 * had. */
static size_t bounced_rows(const struct gpu_viewer_update *u, struct iovec *iov)
{
    uint64_t row_bytes = (uint64_t)u->rect.width * PIXEL;
    uint32_t row = (uint32_t)(u->done / row_bytes);
    struct display_rect rect = {
        u->rect.x, u->rect.y + row, u->rect.width,
        (uint32_t)MIN(GPU_VIEWER_BOUNCE / row_bytes, (uint64_t)u->rect.height - row)};

    if (!u->output || display_pixels_read(&u->output->picture, &rect, u->bounce, row_bytes) != 0)
        memset(u->bounce, 0, rect.height * row_bytes);
    iov[0] = (struct iovec){u->bounce + u->done % row_bytes,
                            rect.height * row_bytes - u->done % row_bytes};
    return 1;
}

int gpu_viewer_send_pixels(struct gpu_viewer *v)
{
    struct gpu_viewer_update *u = &v->update;
    struct iovec iov[ROWS_AT_ONCE];

    while (u->done < u->size) {
        bool direct = u->output && is_direct(&u->output->picture);
        size_t count = direct ? direct_rows(u, iov) : bounced_rows(u, iov);
        ssize_t sent = gpu_send_bytes(v->socket.fd, iov, count, -1);

        if (sent <= 0)
            return (int)sent;
        u->done += (uint64_t)sent;
    }
    u->output = NULL;
    return 1;
}
