/*
 * A window: it is there while its output shows something, follows the guest's size, and asks the
 * guest to follow its own when its user has changed it.
 */
#include "devices/display/sdl/sdl.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>

#define SETTLE_NS     UINT64_C(200000000) /* a user who drags a window's edge is waited for */
#define MM_OF_AN_INCH 25.4f

struct sdl_window *sdl_window_find(struct sdl_viewer *v, uint32_t id)
{
    SDL_Window *window = SDL_GetWindowFromID(id);

    for (unsigned i = 0; window && i < DISPLAY_OUTPUTS_MAX; i++)
        if (v->windows[i].window == window)
            return &v->windows[i];
    return NULL;
}

static bool is_full_screen(const struct sdl_window *w)
{
    return SDL_GetWindowFlags(w->window) & SDL_WINDOW_FULLSCREEN_DESKTOP;
}

/* As large as the picture, but no larger than the screen has room for, at the picture's aspect. */
static SDL_Rect fitting_size(uint32_t width, uint32_t height)
{
    SDL_Rect room = {0}, size = {.w = (int)width, .h = (int)height};

    if (SDL_GetDisplayUsableBounds(0, &room) || !room.w || !room.h)
        return size;
    if (size.w > room.w)
        size = (SDL_Rect){.w = room.w, .h = MAX(1, (int)((int64_t)height * room.w / width))};
    if (size.h > room.h)
        size = (SDL_Rect){.w = MAX(1, (int)((int64_t)width * room.h / height)), .h = room.h};
    return size;
}

void sdl_window_title(struct sdl_window *w)
{
    const char *name = display_title(w->owner->viewer.display);
    char number[16] = "", title[256];

    if (display_outputs(w->owner->viewer.display) > 1)
        snprintf(number, sizeof(number), " (%u)", w->output + 1);
    snprintf(title, sizeof(title), "%s%s%s", name, number,
             w->owner->grab == w ? " - Ctrl-Alt-G releases the pointer" : "");
    SDL_SetWindowTitle(w->window, title);
}

/* The user dragged it to another size, a while ago: would the guest follow? */
static void ask_guest(struct loop_timer *timer)
{
    struct sdl_window *w = container_of(timer, struct sdl_window, resized);
    float across = 0, down = 0;
    int width, height;
    bool known;

    SDL_GetWindowSizeInPixels(w->window, &width, &height);
    if (!w->picture.width || width <= 0 || height <= 0 ||
        ((uint32_t)width == w->picture.width && (uint32_t)height == w->picture.height))
        return;
    known = !SDL_GetDisplayDPI(SDL_GetWindowDisplayIndex(w->window), NULL, &across, &down) &&
            across > 0 && down > 0;
    display_resize(w->owner->viewer.display, w->output, (uint32_t)width, (uint32_t)height,
                   known ? (uint32_t)((float)width * MM_OF_AN_INCH / across) : 0,
                   known ? (uint32_t)((float)height * MM_OF_AN_INCH / down) : 0);
}

int sdl_window_create(struct sdl_window *w, uint32_t width, uint32_t height, struct error *err)
{
    const struct display_sdl_options *o = w->owner->options;
    SDL_Rect size = fitting_size(width, height);
    uint32_t flags = SDL_WINDOW_HIDDEN | SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI |
                     (o->gl ? SDL_WINDOW_OPENGL : 0) |
                     (o->full_screen ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);

    w->window = SDL_CreateWindow("", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, size.w,
                                 size.h, flags);
    if (!w->window)
        return error_set(err, EIO, "cannot make a window: %s", SDL_GetError());
    w->resized.expired = ask_guest;
    sdl_window_title(w);
    return 0;
}

void sdl_window_destroy(struct sdl_window *w)
{
    sdl_pointer_set(w, NULL);
    if (!w->window)
        return;
    loop_timer_cancel(w->owner->loop, &w->resized);
    if (w->owner->context)
        sdl_gl_release(w);
    else
        sdl_software_release(w);
    SDL_DestroyWindow(w->window);
    w->window = NULL;
}

/* --- what it shows ---------------------------------------------------------------------------- */

static void schedule(struct sdl_viewer *v)
{
    uint64_t next = v->drawn_ns + v->frame_ns, now = loop_now_ns();

    if (!v->frame.deadline_ns)
        loop_timer_set(v->loop, &v->frame, next > now ? next - now : 1);
}

void sdl_window_redraw(struct sdl_window *w)
{
    w->stale = true;
    schedule(w->owner);
}

void sdl_window_damage(struct sdl_window *w, const struct display_rect *rect)
{
    display_damage_add(&w->damage, rect);
    schedule(w->owner);
}

static void hide(struct sdl_window *w)
{
    w->picture.width = 0;
    w->damage.count = 0;
    if (!w->window)
        return;
    loop_timer_cancel(w->owner->loop, &w->resized);
    if (w->owner->grab == w)
        sdl_pointer_grab(w, false);
    SDL_HideWindow(w->window);
}

/* The guest has chosen another size: the window follows, unless its user has chosen one for good.
 */
static void follow_guest(struct sdl_window *w, uint32_t width, uint32_t height)
{
    SDL_Rect size = fitting_size(width, height);

    if (SDL_GetWindowFlags(w->window) & (SDL_WINDOW_FULLSCREEN_DESKTOP | SDL_WINDOW_MAXIMIZED))
        return;
    SDL_SetWindowSize(w->window, size.w, size.h);
}

void sdl_window_show(struct sdl_window *w, const struct display_picture *picture)
{
    struct display_picture before = w->picture;
    struct error err = ERROR_INIT;

    if (!picture || !picture->width || !picture->height) {
        hide(w);
        return;
    }
    if (!w->window && sdl_window_create(w, picture->width, picture->height, &err)) {
        log_limited(LOG_ERROR, "sdl", "output %u: %s", w->output, err.text);
        return;
    }
    w->picture = *picture;
    w->cursor_drawn = (struct display_rect){0};
    if (picture->width != before.width || picture->height != before.height)
        follow_guest(w, picture->width, picture->height);
    if (!w->placed) /* it was made before its size was known */
        SDL_SetWindowPosition(w->window, SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED);
    w->placed = true;
    if (!before.width)
        SDL_ShowWindow(w->window);
    sdl_window_redraw(w);
    display_timing_damage(&w->timing,
                          &(struct display_rect){0, 0, picture->width, picture->height});
}

/* As large as fits, in the middle. */
static SDL_Rect fit(const struct sdl_window *w)
{
    SDL_Rect area = {0};
    int width, height;

    SDL_GetWindowSizeInPixels(w->window, &width, &height);
    area.w = width;
    area.h = (int)((int64_t)width * w->picture.height / w->picture.width);
    if (area.h > height) {
        area.h = height;
        area.w = (int)((int64_t)height * w->picture.width / w->picture.height);
    }
    area.w = MAX(area.w, 1);
    area.h = MAX(area.h, 1);
    area.x = (width - area.w) / 2;
    area.y = (height - area.h) / 2;
    return area;
}

static void draw_window(struct sdl_window *w)
{
    if (!w->picture.width || (!w->stale && !w->damage.count))
        return;
    w->area = fit(w);
    if (w->stale) {
        w->damage.count = 0;
        display_damage_add(&w->damage,
                           &(struct display_rect){0, 0, w->picture.width, w->picture.height});
    }
    if (w->owner->context)
        sdl_gl_draw(w);
    else
        sdl_software_draw(w);
    w->damage.count = 0;
    w->stale = false;
    display_timing_shown(&w->timing, display_timing_draw(&w->timing));
}

void sdl_draw_frame(struct sdl_viewer *v)
{
    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        draw_window(&v->windows[i]);
    v->drawn_ns = loop_now_ns();
}

/* --- what its user does with it --------------------------------------------------------------- */

void sdl_window_full_screen(struct sdl_window *w)
{
    SDL_SetWindowFullscreen(w->window, is_full_screen(w) ? 0 : SDL_WINDOW_FULLSCREEN_DESKTOP);
}

void sdl_window_event(struct sdl_window *w, const SDL_WindowEvent *event)
{
    struct sdl_viewer *v = w->owner;

    switch (event->event) {
    case SDL_WINDOWEVENT_EXPOSED:
    case SDL_WINDOWEVENT_SIZE_CHANGED:
        sdl_window_redraw(w);
        break;
    case SDL_WINDOWEVENT_RESIZED: /* not by us */
        if (v->options->resize)
            loop_timer_set(v->loop, &w->resized, SETTLE_NS);
        break;
    case SDL_WINDOWEVENT_ENTER:
        sdl_pointer_apply(w);
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        sdl_input_release(v);
        if (v->grab == w)
            sdl_pointer_grab(w, false);
        break;
    case SDL_WINDOWEVENT_CLOSE:
        display_close(v->viewer.display);
        break;
    }
}
