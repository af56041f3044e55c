#include "devices/gpu/vhost_user/source.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <sys/mman.h>

#define PIXEL         4  /* bytes */
#define ROWS_AT_ONCE  64 /* of a system call */
#define CALLS_AT_ONCE 64

struct gpu_source_output *gpu_source_output(struct gpu_source *source, uint32_t id)
{
    if (id < source->output_count)
        return &source->outputs[id];
    log_limited(LOG_WARN, "gpu", "%s: it shows something on output %u, which there is not",
                source->name, id);
    return NULL;
}

/* --- pictures --------------------------------------------------------------------------------- */

static void release_pixels(struct gpu_source_output *output)
{
    if (output->pixels)
        munmap(output->pixels, output->pixels_size);
    output->source->pixels_size -= output->pixels_size;
    output->pixels = NULL;
    output->pixels_size = 0;
}

static void show(struct gpu_source_output *output, const struct display_picture *picture)
{
    struct gpu_source *source = output->source;

    output->shown = picture;
    display_show(source->display, (unsigned)(output - source->outputs), picture);
}

/* Pages that nothing was drawn to cost nothing. */
static bool allocate(struct gpu_source_output *output, size_t size)
{
    struct gpu_source *source = output->source;
    void *pixels = MAP_FAILED;

    release_pixels(output);
    if (size <= GPU_SOURCE_PIXELS_MAX - source->pixels_size)
        pixels = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pixels == MAP_FAILED) {
        log_limited(LOG_WARN, "gpu", "%s: there is no memory for its picture of %zu bytes",
                    source->name, size);
        return false;
    }
    output->pixels = pixels;
    output->pixels_size = size;
    source->pixels_size += size;
    return true;
}

bool gpu_source_show_pixels(struct gpu_source_output *output, uint32_t width, uint32_t height,
                            uint32_t fourcc)
{
    size_t size = (size_t)width * height * PIXEL;

    if (size != output->pixels_size || !output->pixels) {
        show(output, NULL);
        if (!allocate(output, size))
            return false;
    }
    output->picture = (struct display_picture){
        .kind = DISPLAY_PIXELS,
        .width = width,
        .height = height,
        .pixels = output->pixels,
        .stride = width * PIXEL,
        .fourcc = fourcc,
    };
    show(output, &output->picture);
    return true;
}

static void drop_update(struct gpu_source_output *output)
{
    struct gpu_source_update *update = &output->source->update;

    if (update->output == output)
        update->output = NULL;
}

static void show_nothing(struct gpu_source_output *output)
{
    drop_update(output);
    show(output, NULL);
    release_pixels(output);
    gpu_source_dmabuf_release(output);
}

void gpu_source_scanout(struct gpu_source *source, const struct vhost_user_gpu_scanout *scanout)
{
    struct gpu_source_output *output = gpu_source_output(source, scanout->scanout_id);
    const struct display_picture *now;

    if (!output)
        return;
    now = &output->picture;
    if (!scanout->width || !scanout->height || scanout->width > DISPLAY_SIZE_MAX ||
        scanout->height > DISPLAY_SIZE_MAX) {
        show_nothing(output);
        return;
    }
    if (output->shown && output->dmabuf.fd < 0 && now->width == scanout->width &&
        now->height == scanout->height)
        return; /* it only shows other memory there, of which updates follow */
    if (output->dmabuf.fd >= 0)
        show_nothing(output);
    gpu_source_show_pixels(output, scanout->width, scanout->height, DRM_FORMAT_XRGB8888);
}

/* --- updates ---------------------------------------------------------------------------------- */

static bool fits(const struct gpu_source_output *output, const struct vhost_user_gpu_update *u)
{
    const struct display_picture *picture = &output->picture;

    return output->shown && output->dmabuf.fd < 0 && u->x <= picture->width &&
           u->width <= picture->width - u->x && u->y <= picture->height &&
           u->height <= picture->height - u->y;
}

int gpu_source_update_begin(struct gpu_source *source, const struct vhost_user_gpu_message *m)
{
    const struct vhost_user_gpu_update *u = &m->payload.update;
    struct gpu_source_output *output = gpu_source_output(source, u->scanout_id);

    source->update = (struct gpu_source_update){
        .rect = {u->x, u->y, u->width, u->height},
        .size = m->header.size - sizeof(*u),
    };
    if (u->width > DISPLAY_SIZE_MAX || u->height > DISPLAY_SIZE_MAX ||
        source->update.size != (uint64_t)u->width * u->height * PIXEL)
        return -EPROTO;
    if (output && fits(output, u))
        source->update.output = output;
    else
        log_limited(LOG_INFO, "gpu", "%s: pixels outside of its picture are dropped", source->name);
    return 1;
}

/* Where the next bytes go. */
static size_t targets(const struct gpu_source_update *update, struct iovec *iov, uint8_t *nowhere,
                      size_t nowhere_size)
{
    const struct display_picture *picture;
    uint64_t row_bytes = (uint64_t)update->rect.width * PIXEL, at = update->done, left;
    size_t count = 0;

    if (!update->output) {
        iov[0] = (struct iovec){nowhere, MIN(nowhere_size, update->size - update->done)};
        return 1;
    }
    picture = &update->output->picture;
    for (; count < ROWS_AT_ONCE && at < update->size; at += left) {
        uint64_t row = update->rect.y + at / row_bytes;
        uint64_t column = update->rect.x * (uint64_t)PIXEL + at % row_bytes;

        left = row_bytes - at % row_bytes;
        iov[count++] = (struct iovec){
            (uint8_t *)update->output->pixels + row * picture->stride + column,
            left,
        };
    }
    return count;
}

int gpu_source_update_receive(struct gpu_source *source)
{
    struct gpu_source_update *update = &source->update;
    struct iovec iov[ROWS_AT_ONCE];
    uint8_t nowhere[4096];

    for (int calls = 0; update->done < update->size; calls++) {
        size_t count = targets(update, iov, nowhere, sizeof(nowhere));
        ssize_t got = 0;

        if (calls < CALLS_AT_ONCE)
            got = gpu_receive_bytes(source->socket.fd, iov, count, &source->in.fd);
        if (got <= 0)
            return (int)got;
        update->done += (uint64_t)got;
    }
    if (update->output)
        display_damage(source->display, (unsigned)(update->output - source->outputs),
                       &update->rect);
    update->output = NULL;
    return 1;
}

/* --- pointers --------------------------------------------------------------------------------- */

static void show_cursor(struct gpu_source_output *output, bool on)
{
    const struct display_cursor cursor = {
        .width = VHOST_USER_GPU_CURSOR_SIZE,
        .height = VHOST_USER_GPU_CURSOR_SIZE,
        .hot_x = output->hot_x,
        .hot_y = output->hot_y,
        .pixels = output->cursor,
    };
    struct gpu_source *source = output->source;

    output->cursor_hidden = !on;
    display_set_cursor(source->display, (unsigned)(output - source->outputs), on ? &cursor : NULL);
}

static void take_image(struct gpu_source_output *output,
                       const struct vhost_user_gpu_cursor_update *update)
{
    memcpy(output->cursor, update->pixels, sizeof(output->cursor));
    output->hot_x = MIN(update->hot_x, VHOST_USER_GPU_CURSOR_SIZE - 1);
    output->hot_y = MIN(update->hot_y, VHOST_USER_GPU_CURSOR_SIZE - 1);
    output->has_cursor = true;
    show_cursor(output, true);
}

void gpu_source_cursor(struct gpu_source *source, const struct vhost_user_gpu_message *message)
{
    const struct vhost_user_gpu_cursor_pos *pos = &message->payload.cursor_pos;
    struct gpu_source_output *output = gpu_source_output(source, pos->scanout_id);
    uint32_t request = message->header.request;

    if (!output)
        return;
    if (request == VHOST_USER_GPU_CURSOR_UPDATE)
        take_image(output, &message->payload.cursor_update);
    else if (request == VHOST_USER_GPU_CURSOR_POS_HIDE && !output->cursor_hidden)
        show_cursor(output, false);
    else if (request == VHOST_USER_GPU_CURSOR_POS && output->has_cursor && output->cursor_hidden)
        show_cursor(output, true);
    display_move_cursor(source->display, pos->scanout_id, (int32_t)pos->x, (int32_t)pos->y);
}

void gpu_source_blank(struct gpu_source_output *output)
{
    show_nothing(output);
    output->has_cursor = false;
    show_cursor(output, false);
}
