/*
 * Opening windows, and the window system's events, which come by the loop: the connection to an X
 * server is watched, so nothing runs while nothing happens. Where there is no such descriptor to be
 * had (Wayland, no screen at all) a timer looks for them.
 */
#include "devices/display/sdl/sdl.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/display/viewer.h"

#include <SDL_syswm.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define LOOK_NS    UINT64_C(10000000)  /* between looks for events that cannot be waited for */
#define GLANCE_NS  UINT64_C(500000000) /* and for those that came in while we wrote to X */
#define EVENTS_MAX 256                 /* in one turn of the loop */

static struct sdl_viewer *sdl_of(struct display_viewer *viewer)
{
    return (struct sdl_viewer *)viewer;
}

/* --- events ----------------------------------------------------------------------------------- */

static void handle(struct sdl_viewer *v, const SDL_Event *event)
{
    struct sdl_window *w;

    if (event->type != SDL_WINDOWEVENT) {
        sdl_input_event(v, event);
        return;
    }
    w = sdl_window_find(v, event->window.windowID);
    if (w)
        sdl_window_event(w, &event->window);
}

static void look(struct sdl_viewer *v)
{
    SDL_Event event;

    for (int i = 0; i < EVENTS_MAX && SDL_PollEvent(&event); i++)
        handle(v, &event);
    loop_timer_set(v->loop, &v->look, v->connection.fd < 0 ? LOOK_NS : GLANCE_NS);
}

static void connection_ready(struct loop_fd *fd, uint32_t events)
{
    struct sdl_viewer *v = container_of(fd, struct sdl_viewer, connection);

    if (events & (EPOLLERR | EPOLLHUP)) {
        loop_fd_remove(v->loop, fd);
        fd->fd = -1;
    }
    look(v);
}

static void look_expired(struct loop_timer *timer)
{
    look(container_of(timer, struct sdl_viewer, look));
}

/* Writing to X may bring events in that the connection then does not tell of. */
static void frame_expired(struct loop_timer *timer)
{
    struct sdl_viewer *v = container_of(timer, struct sdl_viewer, frame);

    sdl_draw_frame(v);
    look(v);
}

/* The descriptor of the connection to X, SDL's to close, or -1. */
static int connection_of(SDL_Window *window)
{
    SDL_SysWMinfo info;

    SDL_VERSION(&info.version);
#ifdef SDL_VIDEO_DRIVER_X11
    if (SDL_GetWindowWMInfo(window, &info) && info.subsystem == SDL_SYSWM_X11)
        return ConnectionNumber(info.info.x11.display);
#endif
    return -1;
}

/* --- what the display tells ------------------------------------------------------------------- */

static void sdl_show(struct display_viewer *viewer, unsigned output,
                     const struct display_picture *picture)
{
    struct sdl_viewer *v = sdl_of(viewer);

    sdl_window_show(&v->windows[output], picture);
    loop_timer_set(v->loop, &v->look, 1);
}

static void sdl_damage(struct display_viewer *viewer, unsigned output,
                       const struct display_rect *rect)
{
    struct sdl_window *w = &sdl_of(viewer)->windows[output];

    if (!w->picture.width)
        return;
    display_timing_damage(&w->timing, rect);
    sdl_window_damage(w, rect);
}

static void sdl_set_cursor(struct display_viewer *viewer, unsigned output,
                           const struct display_cursor *cursor)
{
    sdl_pointer_set(&sdl_of(viewer)->windows[output], cursor);
}

static void sdl_move_cursor(struct display_viewer *viewer, unsigned output, int32_t x, int32_t y)
{
    sdl_pointer_move(&sdl_of(viewer)->windows[output], x, y);
}

/* A grab for a mouse that is gone would be one of nothing. */
static void sdl_inputs_changed(struct display_viewer *viewer)
{
    struct sdl_viewer *v = sdl_of(viewer);

    if (v->grab)
        sdl_pointer_grab(v->grab, false);
}

static void sdl_outputs_changed(struct display_viewer *viewer)
{
    struct sdl_viewer *v = sdl_of(viewer);

    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        if (v->windows[i].window)
            sdl_window_title(&v->windows[i]);
}

static const struct display_gl *sdl_gl(struct display_viewer *viewer)
{
    struct sdl_viewer *v = sdl_of(viewer);

    return v->context ? &v->gl : NULL;
}

static void sdl_print_timing(struct display_viewer *viewer, FILE *out)
{
    struct sdl_viewer *v = sdl_of(viewer);

    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        if (v->windows[i].window)
            display_timing_print(&v->windows[i].timing, "sdl", i, out);
}

static void sdl_destroy(struct display_viewer *viewer)
{
    struct sdl_viewer *v = sdl_of(viewer);

    loop_timer_cancel(v->loop, &v->look);
    loop_timer_cancel(v->loop, &v->frame);
    if (v->connection.fd >= 0)
        loop_fd_remove(v->loop, &v->connection);
    for (unsigned i = DISPLAY_OUTPUTS_MAX; i-- > 1;)
        sdl_window_destroy(&v->windows[i]);
    if (v->context)
        sdl_gl_close(v);
    sdl_window_destroy(&v->windows[0]);
    SDL_QuitSubSystem(SDL_INIT_VIDEO);
    free(v);
}

static const struct display_viewer_ops sdl_ops = {
    .kinds = 1 << DISPLAY_TEXTURE, /* without gl=on by its `read` */
    .show = sdl_show,
    .damage = sdl_damage,
    .set_cursor = sdl_set_cursor,
    .move_cursor = sdl_move_cursor,
    .inputs_changed = sdl_inputs_changed,
    .outputs_changed = sdl_outputs_changed,
    .gl = sdl_gl,
    .print_timing = sdl_print_timing,
    .destroy = sdl_destroy,
};

/* --- opening ---------------------------------------------------------------------------------- */

/* The machine has signals and a screen saver's peace of its own. */
static int start_sdl(struct error *err)
{
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_QUIT_ON_LAST_WINDOW_CLOSE, "0");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0");
    SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0"); /* its copy would be one more */
    SDL_SetHint(SDL_HINT_MOUSE_FOCUS_CLICKTHROUGH, "1");
    SDL_SetHint(SDL_HINT_GRAB_KEYBOARD, "1");
    if (SDL_InitSubSystem(SDL_INIT_VIDEO))
        return error_set(err, ENODEV, "there is no screen to show windows on: %s", SDL_GetError());
    SDL_StopTextInput(); /* keys are wanted, not what an input method makes of them */
    return 0;
}

static void set_frame_time(struct sdl_viewer *v)
{
    SDL_DisplayMode mode = {0};
    int rate = SDL_GetCurrentDisplayMode(0, &mode) ? 0 : mode.refresh_rate;

    v->frame_ns = UINT64_C(1000000000) / (uint64_t)(rate >= 20 && rate <= 500 ? rate : 60);
}

/* The first window is there from the start: what there is to wait for, and GL, belong to it. */
static int open_first(struct sdl_viewer *v, struct error *err)
{
    int ret;

    if (v->options->gl)
        sdl_gl_attributes();
    ret = sdl_window_create(&v->windows[0], 640, 480, err);
    if (!ret && v->options->gl)
        ret = sdl_gl_open(v, err);
    if (ret)
        return ret;
    v->connection = (struct loop_fd){
        .fd = connection_of(v->windows[0].window), .events = EPOLLIN, .ready = connection_ready};
    if (v->connection.fd >= 0 && loop_fd_add(v->loop, &v->connection, NULL))
        v->connection.fd = -1;
    set_frame_time(v);
    look(v);
    return 0;
}

static int sdl_open(struct display *display, const void *options, struct error *err)
{
    struct sdl_viewer *v = calloc(1, sizeof(*v));
    int ret = v ? start_sdl(err) : error_set(err, ENOMEM, "no memory for windows");

    if (ret) {
        free(v);
        return ret;
    }
    *v = (struct sdl_viewer){
        .viewer = {.ops = &sdl_ops, .display = display},
        .options = options,
        .loop = display_loop(display),
        .connection.fd = -1,
        .look.expired = look_expired,
        .frame.expired = frame_expired,
        .smooth = true,
    };
    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++) {
        v->windows[i].owner = v;
        v->windows[i].output = i;
    }
    ret = open_first(v, err);
    if (ret) {
        sdl_destroy(&v->viewer);
        return ret;
    }
    display_attach_viewer(display, &v->viewer);
    return 0;
}

extern const struct display_viewer_module vireo_module_sdl;
const struct display_viewer_module vireo_module_sdl = {.open = sdl_open};
