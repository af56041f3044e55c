/*
 * The viewer with windows, on SDL2. All of SDL is called on the display's loop.
 *
 *   sdl.c       opening it; the windowing system's events, as they come
 *   window.c    a window for each output, and when it is drawn
 *   software.c  drawing with the CPU: one copy of what is damaged, into the window's own memory
 *   gl.c        drawing with OpenGL, and contexts for the GPU's renderer that share textures
 *   pointer.c   the pointer: its shape, its grab, where it is
 *   input.c     what is typed and pointed, as Linux' events
 *   keys.c      scancodes
 */
#ifndef DEVICES_DISPLAY_SDL_SDL_H
#define DEVICES_DISPLAY_SDL_SDL_H

#include "devices/display/common/damage.h"
#include "devices/display/common/timing.h"
#include "devices/display/display.h"
#include "devices/display/display_gl.h"
#include "devices/display/viewer_kinds.h"

#include <SDL.h>
#include <linux/input-event-codes.h>

#define SDL_TOUCH_SLOTS 10

struct sdl_viewer;

struct sdl_window {
    struct sdl_viewer *owner;
    unsigned output;
    SDL_Window *window; /* NULL: the output never showed anything */
    bool placed;        /* on the screen; from then on it is where its user puts it */

    struct display_picture picture; /* width 0: the output is off, and the window hidden */
    struct display_damage_list damage;
    bool stale; /* the window's size or scale is another: all of it is to be drawn */
    struct display_timing timing;

    /* Where the picture is, in pixels of the window. */
    SDL_Rect area;
    SDL_Surface *shadow; /* software, scaled: the picture in the window's format */
    unsigned texture;    /* GL: of pictures that are pixels */
    unsigned pointer_texture;

    struct loop_timer resized; /* its user has done so, and may go on */

    const struct display_cursor *cursor; /* the GPU's */
    SDL_Surface *image;                  /* the same for SDL, its alpha not multiplied in */
    SDL_Cursor *shape;                   /* and this of it */
    bool cursor_was_set;
    int32_t cursor_x, cursor_y;
    struct display_rect cursor_drawn; /* width 0: it is not in the picture */
};

struct sdl_viewer {
    struct display_viewer viewer;
    const struct display_sdl_options *options;
    struct loop *loop;
    struct loop_fd connection;   /* to X; -1: there is none to wait for */
    struct loop_timer look;      /* for events, where and when they cannot be waited for */
    struct loop_timer frame;     /* draw what is damaged */
    uint64_t frame_ns, drawn_ns; /* the least between two frames; when the last was */
    struct sdl_window windows[DISPLAY_OUTPUTS_MAX];
    bool smooth; /* scaling: linear, else the nearest pixel */

    struct sdl_window *grab;            /* that has pointer and keyboard */
    uint8_t pressed[(KEY_CNT + 7) / 8]; /* keys and buttons that the guest has down */
    enum display_input_kind pointer;    /* the kind that the buttons were sent to */
    unsigned pointed;                   /* and of which output */
    SDL_FingerID fingers[SDL_TOUCH_SLOTS];
    bool touching[SDL_TOUCH_SLOTS];

    SDL_GLContext context;      /* of all windows; NULL: drawn by software */
    unsigned program, vertices; /* GL objects */
    int part, opaque;           /* places in the program: what of a texture is shown, and how */
    struct display_gl gl;
};

/* --- window.c --------------------------------------------------------------------------------- */

/* Make it, hidden; its size is the picture's, as far as the screen has room. */
int sdl_window_create(struct sdl_window *w, uint32_t width, uint32_t height, struct error *err);
void sdl_window_destroy(struct sdl_window *w);
void sdl_window_show(struct sdl_window *w, const struct display_picture *picture);
void sdl_window_damage(struct sdl_window *w, const struct display_rect *rect);
void sdl_window_event(struct sdl_window *w, const SDL_WindowEvent *event);
void sdl_window_title(struct sdl_window *w);
void sdl_window_full_screen(struct sdl_window *w);

/* All of it, soon: its size, scale or filter is another. */
void sdl_window_redraw(struct sdl_window *w);

/* The window with this id of SDL's, or NULL. */
struct sdl_window *sdl_window_find(struct sdl_viewer *v, uint32_t id);

/* Draw all that is damaged, now. */
void sdl_draw_frame(struct sdl_viewer *v);

/* --- software.c, gl.c ------------------------------------------------------------------------- */

/* Bring what is damaged, or all of a stale window, to the screen. */
void sdl_software_draw(struct sdl_window *w);
void sdl_software_release(struct sdl_window *w);

void sdl_gl_attributes(void); /* before a window is made */
int sdl_gl_open(struct sdl_viewer *v, struct error *err);
void sdl_gl_draw(struct sdl_window *w);
void sdl_gl_release(struct sdl_window *w);
void sdl_gl_close(struct sdl_viewer *v);

/* --- pointer.c -------------------------------------------------------------------------------- */

void sdl_pointer_grab(struct sdl_window *w, bool on);
void sdl_pointer_set(struct sdl_window *w, const struct display_cursor *cursor);
void sdl_pointer_move(struct sdl_window *w, int32_t x, int32_t y);
void sdl_pointer_apply(struct sdl_window *w); /* its shape, when it is over the window */

/* The guest's pointer, where nobody else draws it: a mouse is grabbed. Else of no size. */
struct display_rect sdl_pointer_drawn(const struct sdl_window *w);

/* --- input.c ---------------------------------------------------------------------------------- */

void sdl_input_event(struct sdl_viewer *v, const SDL_Event *event);
void sdl_input_release(struct sdl_viewer *v); /* all keys and buttons that are down */

/* The kind of device that the pointer is for: a tablet where there is one, else a mouse; 0: none.
 */
enum display_input_kind sdl_input_pointer(const struct sdl_viewer *v);

#endif
