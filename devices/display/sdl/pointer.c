/*
 * The pointer. With a tablet it is the host's, in the guest's shape; a mouse needs all motion, so a
 * click grabs it, and what the guest's pointer looks like is drawn into the picture.
 */
#include "devices/display/common/pixels.h"
#include "devices/display/sdl/sdl.h"

void sdl_pointer_grab(struct sdl_window *w, bool on)
{
    struct sdl_viewer *v = w->owner;
    struct sdl_window *before = v->grab;
    bool relative = on && display_inputs(v->viewer.display) & DISPLAY_RELATIVE;

    if (before == w && on)
        return;
    sdl_input_release(v);
    v->grab = on ? w : NULL;
    SDL_SetRelativeMouseMode(relative ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowMouseGrab(w->window, on ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowKeyboardGrab(w->window, on ? SDL_TRUE : SDL_FALSE);
    sdl_window_title(w);
    sdl_window_redraw(w);
    if (before && before != w) {
        sdl_window_title(before);
        sdl_window_redraw(before);
    }
}

/* A guest that takes its pointer away draws one of its own, or wants none. */
void sdl_pointer_apply(struct sdl_window *w)
{
    if (SDL_GetMouseFocus() != w->window)
        return;
    SDL_ShowCursor(w->shape || !w->cursor_was_set ? SDL_ENABLE : SDL_DISABLE);
    SDL_SetCursor(w->shape ? w->shape : SDL_GetDefaultCursor());
}

/* NULL: there is no memory. Rows of 32 bits a pixel have no gaps. */
static SDL_Surface *image_of(const struct display_cursor *c)
{
    SDL_Surface *image = SDL_CreateRGBSurfaceWithFormat(0, (int)c->width, (int)c->height, 32,
                                                        SDL_PIXELFORMAT_ARGB8888);

    if (image)
        display_cursor_straight(c, image->pixels);
    return image;
}

void sdl_pointer_set(struct sdl_window *w, const struct display_cursor *cursor)
{
    SDL_Cursor *before = w->shape;

    SDL_FreeSurface(w->image);
    w->cursor = cursor;
    w->cursor_was_set |= cursor != NULL;
    w->image = cursor ? image_of(cursor) : NULL;
    w->shape =
        w->image ? SDL_CreateColorCursor(w->image, (int)cursor->hot_x, (int)cursor->hot_y) : NULL;
    if (w->window) {
        sdl_pointer_apply(w);
        if (w->owner->grab == w)
            sdl_window_redraw(w);
    }
    if (before)
        SDL_FreeCursor(before);
}

void sdl_pointer_move(struct sdl_window *w, int32_t x, int32_t y)
{
    struct display_rect now;

    w->cursor_x = x;
    w->cursor_y = y;
    if (!w->window || !w->picture.width || w->owner->grab != w)
        return;
    now = sdl_pointer_drawn(w);
    sdl_window_damage(w, &w->cursor_drawn);
    sdl_window_damage(w, &now);
}

struct display_rect sdl_pointer_drawn(const struct sdl_window *w)
{
    const struct display_cursor *c = w->cursor;
    SDL_Rect picture = {.w = (int)w->picture.width, .h = (int)w->picture.height}, at, cut;

    if (!c || !SDL_GetRelativeMouseMode() || w->owner->grab != w)
        return (struct display_rect){0};
    at = (SDL_Rect){w->cursor_x - (int)c->hot_x, w->cursor_y - (int)c->hot_y, (int)c->width,
                    (int)c->height};
    if (!SDL_IntersectRect(&picture, &at, &cut))
        return (struct display_rect){0};
    return (struct display_rect){(uint32_t)cut.x, (uint32_t)cut.y, (uint32_t)cut.w,
                                 (uint32_t)cut.h};
}
