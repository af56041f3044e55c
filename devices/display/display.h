/*
 * What a machine shows, and what is said to it: where GPUs, input devices and whoever looks meet.
 *
 *     a GPU          -- pictures, damage, cursors -->  display  -->  viewers: a window, a file...
 *     input devices  <-- keys, motion --               display  <--  viewers
 *     a GPU          <-- the size of a window --       display  <--  viewers
 *
 * One machine has one display, of up to DISPLAY_OUTPUTS_MAX outputs, which one GPU drives: the
 * `source`, be it a model of ours or what a GPU in another process sends. Input devices are
 * `sinks`.
 *
 * Thread: all on one loop (display_loop): every function and every callback here is called there,
 * or before it runs. So a viewer reads a picture's pixels while nobody changes them, without a copy
 * and without a lock. A viewer that may have to wait for somebody has a thread of its own, and
 * crosses over to the loop for whatever it wants of the display (vnc/handoff.h).
 *
 * It costs nothing while nothing changes: viewers are told of damage, they do not look for it.
 */
#ifndef DEVICES_DISPLAY_DISPLAY_H
#define DEVICES_DISPLAY_DISPLAY_H

#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define DISPLAY_OUTPUTS_MAX 16
#define DISPLAY_SIZE_MAX    16384 /* pixels, width or height */

struct display;

struct display_rect {
    uint32_t x, y, width, height;
};

/* --- pictures --------------------------------------------------------------------------------- */

/* A texture of the GL context that the GPU's renderer and a GL viewer share. */
struct display_texture {
    uint32_t id; /* GL_TEXTURE_2D */
    uint32_t width, height;
    bool bottom_up; /* its first row is the lowest */
};

/* A buffer of the kernel's that a GPU in another process draws into. */
struct display_dmabuf {
    int fd;                  /* the source's; a viewer that passes it on duplicates it */
    uint32_t width, height;  /* pixels, of the whole buffer */
    uint32_t stride, offset; /* bytes */
    uint64_t modifier;       /* DRM_FORMAT_MOD_... (drm_fourcc.h) */
    bool bottom_up;          /* its first row is the lowest */
};

enum display_picture_kind { DISPLAY_PIXELS, DISPLAY_TEXTURE, DISPLAY_DMABUF };

/*
 * What an output shows. The GPU's, and valid with all it points to until it shows something else on
 * that output. Every viewer is given it, whatever its kind: one that cannot draw a texture or a
 * dmabuf as it is calls `read` for what it needs (common/pixels.h).
 */
struct display_picture {
    enum display_picture_kind kind;
    uint32_t width, height; /* pixels, of what is shown */
    uint32_t x, y;          /* where that begins in a texture or dmabuf */

    /* DISPLAY_PIXELS: 4 bytes a pixel, the first row is the highest. */
    const uint8_t *pixels; /* of the upper left corner that is shown */
    uint32_t stride;       /* bytes */
    uint32_t fourcc;       /* DRM_FORMAT_... (drm_fourcc.h): of pixels and of dmabufs */

    struct display_texture texture; /* DISPLAY_TEXTURE */
    struct display_dmabuf dmabuf;   /* DISPLAY_DMABUF */

    /* Bring the pixels of `rect`, which is within what is shown, to `out`, as DRM_FORMAT_XRGB8888
     * and `stride` bytes a row; 0 or -errno. Of textures and dmabufs; it may be slow. */
    int (*read)(void *opaque, const struct display_rect *rect, void *out, size_t stride);
    void *opaque;
};

/* The pointer's image: DRM_FORMAT_ARGB8888, no gaps between rows; alpha is multiplied in, as in the
 * cursor planes of Linux. */
struct display_cursor {
    uint32_t width, height;
    uint32_t hot_x, hot_y;
    const uint32_t *pixels;
};

/* --- what is said to the machine -------------------------------------------------------------- */

/* An event as Linux has them: EV_KEY, EV_REL, EV_ABS, EV_SYN... with their codes
 * (linux/input-event-codes.h). */
struct display_event {
    uint16_t type, code;
    int32_t value;
};

/* Of ABS_X, ABS_Y and the like: 0 is left and top of the output, this right and bottom. */
#define DISPLAY_ABSOLUTE_MAX 32767

/* What input devices take; what a machine has decides how a viewer grabs the pointer. */
enum display_input_kind {
    DISPLAY_KEYS = 1 << 0,     /* EV_KEY below BTN_MISC, and from KEY_OK on */
    DISPLAY_RELATIVE = 1 << 1, /* EV_REL, and the buttons of a mouse */
    DISPLAY_ABSOLUTE = 1 << 2, /* EV_ABS, and the buttons of a tablet */
    DISPLAY_TOUCH = 1 << 3,    /* slots of multitouch, and BTN_TOUCH */
};

/* --- the display itself ----------------------------------------------------------------------- */

/* `title` is the machine's name, for windows; copied. */
int display_create(struct loop *loop, const char *title, struct display **out, struct error *err);

/* While the loop still runs, and the guest does not any more: the GPU lets go of what it has of its
 * viewers (display_source_ops.end), then these are destroyed. */
void display_end(struct display *display);

/* GPU and input devices are detached by then; viewers that are left are destroyed, as by
 * display_end. NULL is nothing. */
void display_destroy(struct display *display);

struct loop *display_loop(const struct display *display);
const char *display_title(const struct display *display);

/* --- for a GPU -------------------------------------------------------------------------------- */

struct display_source_ops {
    /* Somebody would like this size, in pixels and, if known, in mm (else 0): the guest is told and
     * may follow. 0 by 0: nobody looks any more, the output is unplugged. */
    void (*resize)(void *opaque, unsigned output, uint32_t width, uint32_t height,
                   uint32_t width_mm, uint32_t height_mm);

    /* A viewer came, and was shown what there is: bring up to date what was not while nobody
     * looked. What display_knows says may be another than before. */
    void (*refresh)(void *opaque);

    /* What display_ask asked for is known, and `resize` has told of what is new. NULL: the source
     * never asks. */
    void (*answered)(void *opaque);

    /* The viewers go, and their GL: a renderer that has contexts of it has to go before. From now
     * on nothing is shown. NULL: there is nothing to let go of. */
    void (*end)(void *opaque);

    /* For --timing, at the end: what showing has cost. NULL: nothing to say. */
    void (*print_timing)(void *opaque, FILE *out);
};

/* -EBUSY when there is a source already. `outputs` at most DISPLAY_OUTPUTS_MAX. */
int display_attach_source(struct display *display, unsigned outputs,
                          const struct display_source_ops *ops, void *opaque, struct error *err);

/* Viewers are told that all outputs are off. */
void display_detach_source(struct display *display);

/* From now on the output shows this (copied; what it points to is not); NULL: nothing. All of it is
 * damaged. Returns once no viewer reads the picture of before any more. */
void display_show(struct display *display, unsigned output, const struct display_picture *picture);

/* What the output shows has changed within `rect`, which is cut to the picture. Viewers have read
 * it, or will before the next frame: pixels are then those of that time. */
void display_damage(struct display *display, unsigned output, const struct display_rect *rect);

/* The pointer's image, copied but for its pixels, which are valid until the next; NULL: there is
 * none. And where its hot spot is. Viewers, and libraries of theirs, add these up: they are told of
 * a hot spot within the image, and of no place further away from the picture than the largest one
 * is wide (a guest may say any). */
void display_set_cursor(struct display *display, unsigned output,
                        const struct display_cursor *cursor);
void display_move_cursor(struct display *display, unsigned output, int32_t x, int32_t y);

/* Whether there is a viewer. Without one pictures need not be kept up to date, until `refresh`. */
bool display_is_watched(const struct display *display);

/* The guest wants to know what outputs there are, and of which size. True: a viewer has to ask
 * somebody else first, and the guest waits until the source is told (display_source_ops.answered);
 * not from within this call. */
bool display_ask(struct display *display);

/* Whether pictures of this kind are of use to every viewer (display_viewer_ops.kinds); true when
 * there is none. Else the GPU shows pixels. */
bool display_knows(const struct display *display, enum display_picture_kind kind);

/* The GL of the viewer that shows textures; NULL: there is none (display_gl.h). */
struct display_gl;
const struct display_gl *display_gl(const struct display *display);

/* --- for an input device ---------------------------------------------------------------------- */

struct display_sink {
    unsigned kinds;  /* enum display_input_kind: of what it takes */
    unsigned output; /* the one that its absolute events are for, or: */
#define DISPLAY_OUTPUT_ANY UINT32_MAX

    /* Events of these kinds, up to and with a SYN_REPORT. */
    void (*events)(struct display_sink *sink, const struct display_event *events, size_t count);

    struct display_sink *next; /* the display's */
};

void display_attach_sink(struct display *display, struct display_sink *sink);
void display_detach_sink(struct display *display, struct display_sink *sink);

/* The guest wants these lights of the keyboard on: bits 1 << LED_NUML and so on. */
void display_set_lights(struct display *display, uint32_t lights);

/* --- for a viewer ----------------------------------------------------------------------------- */

struct display_viewer;

struct display_viewer_ops {
    /* Pictures that it takes besides pixels, bits 1 << enum display_picture_kind: it draws or
     * passes them on as they are, or has them read no more often than pixels would be copied for
     * it. */
    unsigned kinds;

    /* As display_show and the rest; NULL where it does not care. A picture is valid until the next
     * `show` of the output returns. */
    void (*show)(struct display_viewer *viewer, unsigned output,
                 const struct display_picture *picture);
    void (*damage)(struct display_viewer *viewer, unsigned output, const struct display_rect *rect);
    void (*set_cursor)(struct display_viewer *viewer, unsigned output,
                       const struct display_cursor *cursor);
    void (*move_cursor)(struct display_viewer *viewer, unsigned output, int32_t x, int32_t y);
    void (*set_lights)(struct display_viewer *viewer, uint32_t lights);

    /* What input devices there are has changed (display_inputs). */
    void (*inputs_changed)(struct display_viewer *viewer);

    /* A GPU came or went (display_outputs). */
    void (*outputs_changed)(struct display_viewer *viewer);

    /* See display_ask: false, or NULL, for those that tell of sizes by themselves. A viewer that
     * asks somebody calls display_resize with what it hears, then display_answered; at the latest
     * when it is destroyed. */
    bool (*ask)(struct display_viewer *viewer);

    const struct display_gl *(*gl)(struct display_viewer *viewer); /* NULL: it has none now */
    void (*save)(struct display_viewer *viewer); /* write what is shown, if it writes files */
    void (*print_timing)(struct display_viewer *viewer, FILE *out); /* for --timing, at the end */
    void (*destroy)(struct display_viewer *viewer);
};

/* Embedded at the front of a viewer's own structure. */
struct display_viewer {
    const struct display_viewer_ops *ops;
    struct display *display;
    struct display_viewer *next; /* the display's */
};

/* It is shown all that is shown now. From now on the display owns it: display_destroy, or
 * display_detach_viewer, destroys it. */
void display_attach_viewer(struct display *display, struct display_viewer *viewer);
void display_detach_viewer(struct display *display, struct display_viewer *viewer);

unsigned display_outputs(const struct display *display); /* 0: there is no GPU */

/* What the output shows, or NULL. */
const struct display_picture *display_picture(const struct display *display, unsigned output);

/* See display_source_ops. */
void display_resize(struct display *display, unsigned output, uint32_t width, uint32_t height,
                    uint32_t width_mm, uint32_t height_mm);

/* Once for each time that display_viewer_ops.ask returned true. */
void display_answered(struct display *display);

/* The kinds (enum display_input_kind) that some input device takes. */
unsigned display_inputs(const struct display *display);

/*
 * Events up to and with a SYN_REPORT, of one kind: they go to the first device of the kind, for
 * absolute and touch events the first of the output. Nobody takes them: they are dropped. Keys of a
 * viewer that loses the focus are its own to release.
 */
void display_input(struct display *display, enum display_input_kind kind, unsigned output,
                   const struct display_event *events, size_t count);

/* Its user closed a window: the machine is asked to power off, as by SIGTERM. */
void display_close(struct display *display);

/* --- for the machine -------------------------------------------------------------------------- */

/* What display_close calls. */
void display_on_close(struct display *display, void (*closed)(void *opaque), void *opaque);

/* Have those that write files do it now: at SIGUSR2, and before the machine ends. */
void display_save(struct display *display);

/* Have the GPU say what was copied, and every viewer how long frames took and how many were
 * dropped. */
void display_print_timing(struct display *display, FILE *out);

#endif
