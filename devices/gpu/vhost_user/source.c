#include "devices/gpu/vhost_user/source.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/loop_event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_AT_ONCE 64 /* then others on the loop have their turn */

/* --- messages --------------------------------------------------------------------------------- */

static void take_dmabuf(struct gpu_source *source, const struct vhost_user_gpu_message *m)
{
    struct vhost_user_gpu_dmabuf_scanout2 scanout = m->payload.dmabuf_scanout2;
    uint64_t modifier = m->header.request == VHOST_USER_GPU_DMABUF_SCANOUT2 ? scanout.modifier : 0;

    gpu_source_dmabuf_scanout(source, &scanout.dmabuf, modifier, gpu_receiver_take_fd(&source->in));
}

/* 1: dealt with, but for pixels that follow; -errno. */
static int take_message(struct gpu_source *source)
{
    const struct vhost_user_gpu_message *m = &source->in.message;

    switch (m->header.request) {
    case VHOST_USER_GPU_GET_PROTOCOL_FEATURES:
        gpu_source_answer_features(source);
        return 1;
    case VHOST_USER_GPU_SET_PROTOCOL_FEATURES: /* it uses what it likes of what was offered */
        return 1;
    case VHOST_USER_GPU_GET_DISPLAY_INFO:
        gpu_source_answer_display_info(source);
        return 1;
    case VHOST_USER_GPU_GET_EDID:
        gpu_source_answer_edid(source, m->payload.edid_request.scanout_id);
        return 1;
    case VHOST_USER_GPU_CURSOR_POS:
    case VHOST_USER_GPU_CURSOR_POS_HIDE:
    case VHOST_USER_GPU_CURSOR_UPDATE:
        gpu_source_cursor(source, m);
        return 1;
    case VHOST_USER_GPU_SCANOUT:
        gpu_source_scanout(source, &m->payload.scanout);
        return 1;
    case VHOST_USER_GPU_UPDATE:
        return gpu_source_update_begin(source, m);
    case VHOST_USER_GPU_DMABUF_SCANOUT:
    case VHOST_USER_GPU_DMABUF_SCANOUT2:
        take_dmabuf(source, m);
        return 1;
    case VHOST_USER_GPU_DMABUF_UPDATE:
        gpu_source_dmabuf_update(source, &m->payload.update);
        gpu_source_answer_update(source);
        return 1;
    default:
        return -EPROTO;
    }
}

/* One message, or what there is of it: 1 when it is done, 0 when its rest has to be waited for. */
static int serve_one(struct gpu_source *source)
{
    struct gpu_source_update *update = &source->update;
    bool pixels = update->done < update->size;
    int ret = gpu_send(source->socket.fd, &source->answer);

    if (ret == 1 && !pixels) {
        ret = gpu_receive(source->socket.fd, &source->in, false);
        if (ret == 1)
            ret = take_message(source);
        pixels = ret == 1 && source->in.message.header.request == VHOST_USER_GPU_UPDATE;
    }
    if (ret == 1 && pixels)
        ret = gpu_source_update_receive(source);
    if (ret == 1)
        gpu_receiver_next(&source->in);
    return ret;
}

/* --- the socket ------------------------------------------------------------------------------- */

static void close_socket(struct gpu_source *source)
{
    loop_fd_close(source->loop, &source->socket);
    gpu_receiver_next(&source->in);
    source->answer.length = source->answer.sent = 0;
    source->update = (struct gpu_source_update){0};
    for (unsigned i = 0; i < source->output_count; i++)
        gpu_source_blank(&source->outputs[i]);
}

static void socket_ready(struct loop_fd *self, uint32_t events)
{
    struct gpu_source *source = container_of(self, struct gpu_source, socket);
    uint32_t wanted;
    int ret = 1;

    (void)events;
    for (int i = 0; i < MESSAGES_AT_ONCE && ret == 1; i++)
        ret = serve_one(source);
    if (ret < 0) {
        if (ret == -EPROTO)
            log_warn("gpu", "%s: it is not shown any more: request %u of %u bytes makes no sense",
                     source->name, source->in.message.header.request,
                     source->in.message.header.size);
        close_socket(source);
        return;
    }
    /* Nothing more is heard until it has taken its answer. */
    wanted = source->answer.sent < source->answer.length ? EPOLLOUT : EPOLLIN;
    if (wanted != self->events)
        loop_fd_set_events(source->loop, self, wanted);
}

static void take_socket(struct loop_task *task)
{
    struct gpu_source *source = container_of(task, struct gpu_source, next_task);
    int fd = atomic_exchange(&source->next_socket, -1);

    if (fd < 0)
        return;
    close_socket(source);
    source->socket = (struct loop_fd){fd, EPOLLIN, socket_ready};
    if (loop_fd_add(source->loop, &source->socket, NULL)) {
        close(fd);
        source->socket.fd = -1;
    }
}

/* For each connection a socket, of which the loop takes our end. Only theirs may block. */
static int make_socket(struct vhost_user_front_part *part, struct error *err)
{
    struct gpu_source *source = gpu_source_of(part);
    int pair[2], before;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "cannot make a socket for pictures");
    before = atomic_exchange(&source->next_socket, pair[0]);
    if (before >= 0)
        close(before);
    loop_post(source->loop, &source->next_task);
    return pair[1];
}

/* --- the driver, and viewers ------------------------------------------------------------------ */

static void reset_on_loop(struct loop_task *task)
{
    struct gpu_source *source = container_of(task, struct gpu_source, reset_task);

    for (unsigned i = 0; i < source->output_count; i++)
        gpu_source_blank(&source->outputs[i]);
}

static void reset(struct vhost_user_front_part *part)
{
    struct gpu_source *source = gpu_source_of(part);

    atomic_store(&source->events_read, 0);
    loop_post(source->loop, &source->reset_task);
}

static void resize(void *opaque, unsigned index, uint32_t width, uint32_t height, uint32_t width_mm,
                   uint32_t height_mm)
{
    struct gpu_source *source = opaque;
    struct gpu_output *wanted = &source->outputs[index].wanted;

    if (wanted->width == width && wanted->height == height && wanted->width_mm == width_mm &&
        wanted->height_mm == height_mm)
        return;
    wanted->width = width;
    wanted->height = height;
    wanted->width_mm = width_mm;
    wanted->height_mm = height_mm;
    gpu_source_tell_display(source);
}

static void refresh(void *opaque)
{
    struct gpu_source *source = opaque;

    for (unsigned i = 0; i < source->output_count; i++)
        gpu_source_dmabuf_refresh(&source->outputs[i]);
}

struct resize_call {
    struct gpu_source *source;
    const char *argument;
    struct error *err;
    int ret;
};

static void resize_on_loop(void *arg)
{
    struct resize_call *call = arg;
    struct gpu_resize to;

    call->ret = gpu_output_parse_resize(call->argument, call->source->output_count, &to, call->err);
    if (!call->ret)
        resize(call->source, to.output, to.width, to.height, 0, 0);
}

/* The screens are ours, whoever draws on them. */
static int command(struct vhost_user_front_part *part, const char *name, const char *argument,
                   struct error *err)
{
    struct resize_call call = {gpu_source_of(part), argument, err, 0};

    if (strcmp(name, "resize") != 0)
        return -ENOENT;
    loop_call(call.source->loop, resize_on_loop, &call);
    return call.ret;
}

/* The viewers go: pictures of theirs do, too. */
static void end(void *opaque)
{
    close_socket(opaque);
}

static const struct display_source_ops source_ops = {
    .resize = resize,
    .end = end,
    .refresh = refresh,
};

/* A picture that was shared is gone; what is in its place is black. */
static void buffer_lost(struct loop_fd *self, uint32_t events)
{
    struct gpu_source *source = container_of(self, struct gpu_source, lost);

    (void)events;
    if (!loop_event_take(self->fd))
        return;
    log_warn("gpu", "%s: it is not shown any more: it took a picture away", source->name);
    close_socket(source);
}

/* --- life ------------------------------------------------------------------------------------- */

struct call {
    struct gpu_source *source;
    struct error *err;
    int ret;
};

static void attach(void *arg)
{
    struct call *call = arg;
    struct gpu_source *source = call->source;

    call->ret = loop_event_open(source->loop, &source->lost, buffer_lost, call->err);
    if (!call->ret)
        call->ret = display_attach_source(source->display, source->output_count, &source_ops,
                                          source, call->err);
    if (call->ret)
        loop_fd_close(source->loop, &source->lost);
}

static void detach(void *arg)
{
    struct gpu_source *source = arg;
    int fd = atomic_exchange(&source->next_socket, -1);

    if (fd >= 0)
        close(fd);
    loop_task_cancel(source->loop, &source->next_task);
    loop_task_cancel(source->loop, &source->reset_task);
    close_socket(source);
    display_detach_source(source->display);
    loop_fd_close(source->loop, &source->lost);
}

static void init_outputs(struct gpu_source *source, const struct gpu_output *sizes)
{
    for (unsigned i = 0; i < source->output_count; i++) {
        struct gpu_source_output *output = &source->outputs[i];

        output->source = source;
        output->wanted = sizes[i];
        output->dmabuf.fd = -1;
        output->cursor_hidden = true;
    }
}

static void destroy(struct vhost_user_front_part *part)
{
    struct gpu_source *source = gpu_source_of(part);

    loop_call(source->loop, detach, source);
    free(source);
}

static const struct vhost_user_front_part_ops part_ops = {
    .socket = make_socket,
    .config_read = gpu_source_config_read,
    .config_write = gpu_source_config_write,
    .command = command,
    .reset = reset,
    .destroy = destroy,
};

static struct gpu_source *allocate(struct display *display, const char *name, unsigned count)
{
    struct gpu_source *source = calloc(1, sizeof(*source) + count * sizeof(source->outputs[0]));

    if (!source)
        return NULL;
    source->part.ops = &part_ops;
    source->display = display;
    source->loop = display_loop(display);
    source->name = name;
    source->output_count = count;
    atomic_init(&source->next_socket, -1);
    source->next_task.run = take_socket;
    source->reset_task.run = reset_on_loop;
    source->socket.fd = source->lost.fd = -1;
    gpu_receiver_init(&source->in);
    return source;
}

int gpu_source_create(struct display *display, const char *name, const char *outputs,
                      struct vhost_user_front_part **out, struct error *err)
{
    struct gpu_output sizes[DISPLAY_OUTPUTS_MAX];
    struct gpu_source *source;
    struct call call = {.err = err};
    unsigned count;
    int ret = gpu_outputs_parse(outputs, sizes, &count, err);

    if (ret)
        return ret;
    call.source = source = allocate(display, name, count);
    if (!source)
        return error_set(err, ENOMEM, "no memory for a display");
    init_outputs(source, sizes);
    loop_call(source->loop, attach, &call);
    if (call.ret) {
        free(source);
        return call.ret;
    }
    *out = &source->part;
    return 0;
}
