#include "devices/gpu/vhost_user/viewer.h"

#include "base/bytes.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint32_t index_of(const struct gpu_viewer *v, const struct gpu_viewer_output *output)
{
    return (uint32_t)(output - v->outputs);
}

/* --- questions -------------------------------------------------------------------------------- */

static void ask(struct gpu_viewer *v, enum vhost_user_gpu_request request, size_t size)
{
    gpu_sender_begin(&v->out, request, size, 0);
    v->due &= ~(UINT32_C(1) << request);
    v->awaited |= UINT32_C(1) << request;
}

/* Each once at a time. */
static bool say_question(struct gpu_viewer *v)
{
    uint32_t due = v->due & ~v->awaited;

    if (due & GPU_REQUEST(GET_PROTOCOL_FEATURES)) {
        ask(v, VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 0);
    } else if (due & GPU_REQUEST(SET_PROTOCOL_FEATURES)) {
        ask(v, VHOST_USER_GPU_SET_PROTOCOL_FEATURES, sizeof(uint64_t));
        v->awaited &= ~GPU_REQUEST(SET_PROTOCOL_FEATURES); /* it is no question */
        v->out.message.payload.u64 = v->features;
    } else if (due & GPU_REQUEST(GET_DISPLAY_INFO)) {
        ask(v, VHOST_USER_GPU_GET_DISPLAY_INFO, 0);
    } else if (due & GPU_REQUEST(GET_EDID)) {
        ask(v, VHOST_USER_GPU_GET_EDID, sizeof(struct vhost_user_gpu_edid_request));
        v->out.message.payload.edid_request.scanout_id = v->edid_output;
    } else {
        return false;
    }
    return true;
}

/* --- pictures --------------------------------------------------------------------------------- */

static bool is_shared(const struct gpu_viewer_output *output)
{
    return output->shown && output->picture.kind == DISPLAY_DMABUF;
}

static void say_scanout(struct gpu_viewer *v, struct gpu_viewer_output *output)
{
    gpu_sender_begin(&v->out, VHOST_USER_GPU_SCANOUT, sizeof(struct vhost_user_gpu_scanout), 0);
    v->out.message.payload.scanout =
        (struct vhost_user_gpu_scanout){index_of(v, output), output->width, output->height};
}

/* The picture may be gone before the message is. */
static void say_dmabuf_scanout(struct gpu_viewer *v, const struct gpu_viewer_output *output)
{
    const struct display_picture *p = &output->picture;
    bool modifier = v->features & BIT(VHOST_USER_GPU_PROTOCOL_F_DMABUF2);

    if (modifier)
        gpu_sender_begin(&v->out, VHOST_USER_GPU_DMABUF_SCANOUT2,
                         sizeof(struct vhost_user_gpu_dmabuf_scanout2), 0);
    else
        gpu_sender_begin(&v->out, VHOST_USER_GPU_DMABUF_SCANOUT,
                         sizeof(struct vhost_user_gpu_dmabuf_scanout), 0);
    v->out.message.payload.dmabuf_scanout2 = (struct vhost_user_gpu_dmabuf_scanout2){
        {index_of(v, output), p->x, p->y, p->width, p->height, p->dmabuf.width, p->dmabuf.height,
         p->dmabuf.stride, p->dmabuf.bottom_up, (int32_t)p->fourcc},
        p->dmabuf.modifier,
    };
    v->out.fd = fcntl(p->dmabuf.fd, F_DUPFD_CLOEXEC, 0);
}

static void say_dmabuf_update(struct gpu_viewer *v, struct gpu_viewer_output *output)
{
    const struct display_rect *rect = &output->damage;

    gpu_sender_begin(&v->out, VHOST_USER_GPU_DMABUF_UPDATE, sizeof(struct vhost_user_gpu_update),
                     0);
    v->out.message.payload.update = (struct vhost_user_gpu_update){
        index_of(v, output), rect->x, rect->y, rect->width, rect->height};
    v->awaited |= GPU_REQUEST(DMABUF_UPDATE);
    output->damage.width = 0;
}

static bool say_picture(struct gpu_viewer *v, struct gpu_viewer_output *output)
{
    if (output->scanout_due) {
        output->scanout_due = false;
        if (is_shared(output))
            say_dmabuf_scanout(v, output);
        else
            say_scanout(v, output);
        return true;
    }
    if (!output->shown || !output->damage.width)
        return false;
    if (!is_shared(output))
        gpu_viewer_begin_update(v, output);
    else if (v->awaited & GPU_REQUEST(DMABUF_UPDATE))
        return false;
    else
        say_dmabuf_update(v, output);
    return true;
}

/* --- pointers --------------------------------------------------------------------------------- */

static bool say_cursor(struct gpu_viewer *v, struct gpu_viewer_output *output)
{
    const struct vhost_user_gpu_cursor_pos pos = {index_of(v, output), (uint32_t)output->x,
                                                  (uint32_t)output->y};
    struct vhost_user_gpu_cursor_update *update = &v->out.message.payload.cursor_update;

    if (!output->cursor_due && !output->position_due)
        return false;
    if (output->cursor_due && output->cursor_shown) {
        gpu_sender_begin(&v->out, VHOST_USER_GPU_CURSOR_UPDATE, sizeof(*update), 0);
        update->hot_x = output->hot_x;
        update->hot_y = output->hot_y;
        memcpy(update->pixels, output->cursor, sizeof(update->pixels));
    } else {
        gpu_sender_begin(&v->out,
                         output->cursor_shown ? VHOST_USER_GPU_CURSOR_POS
                                              : VHOST_USER_GPU_CURSOR_POS_HIDE,
                         sizeof(pos), 0);
    }
    v->out.message.payload.cursor_pos = pos; /* all three begin with it */
    output->cursor_due = output->position_due = false;
    return true;
}

/* --- whatever is next ------------------------------------------------------------------------- */

/* Pointers first: they are small, and what people look at. */
static bool say_next(struct gpu_viewer *v)
{
    if (say_question(v))
        return true;
    for (unsigned i = 0; i < gpu_viewer_outputs(v); i++)
        if (say_cursor(v, &v->outputs[i]))
            return true;
    for (unsigned i = 0; i < gpu_viewer_outputs(v); i++)
        if (say_picture(v, &v->outputs[i]))
            return true;
    return false;
}

/* 1: all that was begun is sent; 0: not yet; -errno. */
static int finish(struct gpu_viewer *v)
{
    int ret = gpu_send(v->socket.fd, &v->out);

    if (ret == 1 && v->out.fd >= 0) {
        close(v->out.fd);
        v->out.fd = -1;
    }
    return ret == 1 ? gpu_viewer_send_pixels(v) : ret;
}

void gpu_viewer_say(struct gpu_viewer *v)
{
    uint32_t wanted;
    int ret = 1;

    while (!v->ended && (ret = finish(v)) == 1 && say_next(v))
        continue;
    if (v->ended)
        return;
    if (ret < 0) {
        v->ended = true;
        loop_post(v->loop, &v->gone);
        return;
    }
    wanted = ret == 1 ? EPOLLIN : EPOLLIN | EPOLLOUT;
    if (wanted != v->socket.events)
        loop_fd_set_events(v->loop, &v->socket, wanted);
}
