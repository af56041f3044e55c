#include "devices/gpu/vhost_user/viewer.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static struct gpu_viewer *viewer_of(struct display_viewer *viewer)
{
    return container_of(viewer, struct gpu_viewer, viewer);
}

/* --- what the display says -------------------------------------------------------------------- */

/* A picture of the same size only means that all of it has changed. */
static void show(struct display_viewer *viewer, unsigned index,
                 const struct display_picture *picture)
{
    struct gpu_viewer *v = viewer_of(viewer);
    struct gpu_viewer_output *output = &v->outputs[index];
    uint32_t width = picture ? picture->width : 0, height = picture ? picture->height : 0;
    bool was_shared = output->shown && output->picture.kind == DISPLAY_DMABUF;
    bool shared = picture && picture->kind == DISPLAY_DMABUF;

    output->scanout_due |=
        shared || was_shared || width != output->width || height != output->height;
    gpu_viewer_change_picture(v, output, picture);
    output->width = width;
    output->height = height;
    output->damage = (struct display_rect){0, 0, width, height};
    gpu_viewer_say(v);
}

static struct display_rect hull(const struct display_rect *a, const struct display_rect *b)
{
    uint32_t right = MAX(a->x + a->width, b->x + b->width);
    uint32_t bottom = MAX(a->y + a->height, b->y + b->height);
    struct display_rect out = {.x = MIN(a->x, b->x), .y = MIN(a->y, b->y)};

    if (!a->width)
        return *b;
    out.width = right - out.x;
    out.height = bottom - out.y;
    return out;
}

static void damage(struct display_viewer *viewer, unsigned index, const struct display_rect *rect)
{
    struct gpu_viewer *v = viewer_of(viewer);
    struct gpu_viewer_output *output = &v->outputs[index];

    output->damage = hull(&output->damage, rect);
    gpu_viewer_say(v);
}

/* Whatever its size, the protocol has one. */
static void copy_image(struct gpu_viewer_output *output, const struct display_cursor *cursor)
{
    uint32_t width = MIN(cursor->width, VHOST_USER_GPU_CURSOR_SIZE);

    memset(output->cursor, 0, sizeof(output->cursor));
    for (uint32_t y = 0; y < MIN(cursor->height, VHOST_USER_GPU_CURSOR_SIZE); y++)
        memcpy(output->cursor + y * VHOST_USER_GPU_CURSOR_SIZE, cursor->pixels + y * cursor->width,
               width * sizeof(uint32_t));
    output->hot_x = cursor->hot_x;
    output->hot_y = cursor->hot_y;
}

static void set_cursor(struct display_viewer *viewer, unsigned index,
                       const struct display_cursor *cursor)
{
    struct gpu_viewer *v = viewer_of(viewer);
    struct gpu_viewer_output *output = &v->outputs[index];

    if (!cursor && !output->cursor_shown)
        return;
    if (cursor)
        copy_image(output, cursor);
    output->cursor_shown = cursor;
    output->cursor_due = true;
    gpu_viewer_say(v);
}

static void move_cursor(struct display_viewer *viewer, unsigned index, int32_t x, int32_t y)
{
    struct gpu_viewer *v = viewer_of(viewer);
    struct gpu_viewer_output *output = &v->outputs[index];

    output->x = x;
    output->y = y;
    output->position_due = output->cursor_shown;
    gpu_viewer_say(v);
}

static bool ask(struct display_viewer *viewer)
{
    struct gpu_viewer *v = viewer_of(viewer);

    if (v->ended)
        return false;
    v->asked_by_gpu = true;
    gpu_viewer_ask(v);
    gpu_viewer_say(v);
    return true;
}

static void destroy(struct display_viewer *viewer)
{
    struct gpu_viewer *v = viewer_of(viewer);

    loop_task_cancel(v->loop, &v->gone);
    loop_fd_close(v->loop, &v->socket);
    gpu_receiver_next(&v->in);
    if (v->out.fd >= 0)
        close(v->out.fd);
    if (v->asked_by_gpu)
        display_answered(v->viewer.display);
    free(v->update.bounce);
    free(v);
}

static const struct display_viewer_ops viewer_ops = {
    .kinds = 1 << DISPLAY_DMABUF,
    .show = show,
    .damage = damage,
    .set_cursor = set_cursor,
    .move_cursor = move_cursor,
    .ask = ask,
    .destroy = destroy,
};

/* --- the socket ------------------------------------------------------------------------------- */

static void socket_ready(struct loop_fd *self, uint32_t events)
{
    struct gpu_viewer *v = container_of(self, struct gpu_viewer, socket);
    int ret = v->ended ? 0 : gpu_viewer_hear(v);

    (void)events;
    if (ret < 0 && !v->ended) {
        if (ret == -EPROTO)
            log_warn("gpu", "%s: it is not shown any more: the front end makes no sense",
                     display_title(v->viewer.display));
        v->ended = true;
        loop_post(v->loop, &v->gone);
    }
    if (v->ended) /* no more of this, until the task has run */
        loop_fd_set_events(v->loop, self, 0);
    else
        gpu_viewer_say(v);
}

/* Not from where the display calls its viewers. */
static void front_end_gone(struct loop_task *task)
{
    struct gpu_viewer *v = container_of(task, struct gpu_viewer, gone);

    display_detach_viewer(v->viewer.display, &v->viewer);
}

int gpu_viewer_attach(struct display *display, int socket, struct error *err)
{
    struct gpu_viewer *v = calloc(1, sizeof(*v));
    uint8_t *bounce = malloc(GPU_VIEWER_BOUNCE);

    if (!v || !bounce) {
        free(v);
        free(bounce);
        close(socket);
        return error_set(err, ENOMEM, "no memory for a front end's display");
    }
    v->viewer.ops = &viewer_ops;
    v->loop = display_loop(display);
    v->socket = (struct loop_fd){socket, EPOLLIN, socket_ready};
    v->gone.run = front_end_gone;
    v->update.bounce = bounce;
    v->out.fd = -1;
    v->due = GPU_REQUEST(GET_PROTOCOL_FEATURES);
    gpu_receiver_init(&v->in);
    if (loop_fd_add(v->loop, &v->socket, err)) {
        v->viewer.display = display;
        destroy(&v->viewer);
        return err ? -err->code : -EIO;
    }
    display_attach_viewer(display, &v->viewer);
    gpu_viewer_say(v);
    return 0;
}
