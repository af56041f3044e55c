/*
 * Drawing with the CPU. At its own size, what is damaged of a picture is copied once, right into
 * the memory that the window system shows; at another, by way of a copy that is then stretched.
 */
#include "devices/display/sdl/sdl.h"

#include "base/log.h"
#include "devices/display/common/pixels.h"

/* What display_pixels_read writes. */
static bool takes_pixels(const SDL_Surface *surface)
{
    return surface->format->format == SDL_PIXELFORMAT_XRGB8888 ||
           surface->format->format == SDL_PIXELFORMAT_ARGB8888;
}

static void copy_damage(struct sdl_window *w, SDL_Surface *to, int x, int y)
{
    for (unsigned i = 0; i < w->damage.count; i++) {
        const struct display_rect *r = &w->damage.rects[i];
        uint8_t *out = (uint8_t *)to->pixels + (size_t)to->pitch * (r->y + (unsigned)y) +
                       4 * ((size_t)r->x + (unsigned)x);

        if (display_pixels_read(&w->picture, r, out, (size_t)to->pitch))
            log_limited(LOG_WARN, "sdl", "output %u: its picture cannot be read", w->output);
    }
    w->timing.copied += 4 * display_damage_pixels(&w->damage);
}

/* Blend the guest's pointer over a picture that is in `to` at x, y. */
static void draw_pointer(const struct sdl_window *w, SDL_Surface *to, int x, int y)
{
    const struct display_cursor *c = w->cursor;
    SDL_Rect at;

    if (!w->cursor_drawn.width || !w->image)
        return;
    at = (SDL_Rect){.x = x + w->cursor_x - (int)c->hot_x, .y = y + w->cursor_y - (int)c->hot_y};
    SDL_SetClipRect(to, &(SDL_Rect){x, y, (int)w->picture.width, (int)w->picture.height});
    SDL_BlitSurface(w->image, NULL, to, &at);
    SDL_SetClipRect(to, NULL);
}

/* Its place of before and of now are copied anew, so that it is never blended over itself. */
static void damage_pointer(struct sdl_window *w)
{
    struct display_rect now = sdl_pointer_drawn(w);

    display_damage_add(&w->damage, &w->cursor_drawn);
    display_damage_add(&w->damage, &now);
    w->cursor_drawn = now;
}

/* To the screen: the rectangles that were copied to the window, or all of it. */
static void update(struct sdl_window *w, bool all)
{
    SDL_Rect rects[DISPLAY_DAMAGE_MAX];

    for (unsigned i = 0; i < w->damage.count; i++) {
        const struct display_rect *r = &w->damage.rects[i];

        rects[i] =
            (SDL_Rect){(int)r->x + w->area.x, (int)r->y + w->area.y, (int)r->width, (int)r->height};
    }
    if (all)
        SDL_UpdateWindowSurface(w->window);
    else
        SDL_UpdateWindowSurfaceRects(w->window, rects, (int)w->damage.count);
}

static bool has_shadow(struct sdl_window *w)
{
    if (w->shadow &&
        (w->shadow->w != (int)w->picture.width || w->shadow->h != (int)w->picture.height)) {
        SDL_FreeSurface(w->shadow);
        w->shadow = NULL;
    }
    if (w->shadow)
        return true;
    w->damage.count = 0;
    display_damage_add(&w->damage,
                       &(struct display_rect){0, 0, w->picture.width, w->picture.height});
    w->shadow = SDL_CreateRGBSurfaceWithFormat(0, (int)w->picture.width, (int)w->picture.height, 32,
                                               SDL_PIXELFORMAT_XRGB8888);
    return w->shadow;
}

static void draw_scaled(struct sdl_window *w, SDL_Surface *surface)
{
    SDL_Rect area = w->area;

    if (!has_shadow(w))
        return;
    copy_damage(w, w->shadow, 0, 0);
    draw_pointer(w, w->shadow, 0, 0);
    if (!w->owner->smooth || SDL_SoftStretchLinear(w->shadow, NULL, surface, &area))
        SDL_BlitScaled(w->shadow, NULL, surface, &area);
    update(w, true);
}

void sdl_software_draw(struct sdl_window *w)
{
    SDL_Surface *surface = SDL_GetWindowSurface(w->window);

    if (!surface)
        return;
    damage_pointer(w);
    if (w->stale)
        SDL_FillRect(surface, NULL, 0);
    if (w->area.w == (int)w->picture.width && w->area.h == (int)w->picture.height &&
        takes_pixels(surface)) {
        copy_damage(w, surface, w->area.x, w->area.y);
        draw_pointer(w, surface, w->area.x, w->area.y);
        update(w, w->stale);
        sdl_software_release(w);
    } else {
        draw_scaled(w, surface);
    }
}

void sdl_software_release(struct sdl_window *w)
{
    SDL_FreeSurface(w->shadow);
    w->shadow = NULL;
}
