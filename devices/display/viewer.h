/*
 * The kinds of viewers that a user can name: --display KIND[=WHERE][,KEY=VALUE...].
 *
 * A kind is a table in viewer_kinds.c, with its options, and a module vireo-KIND.so with its code.
 * Another one (say, a Wayland client of its own) is one file in a directory, a table and a line in
 * display_viewer_kinds.
 */
#ifndef DEVICES_DISPLAY_VIEWER_H
#define DEVICES_DISPLAY_VIEWER_H

#include "base/error.h"
#include "base/option.h"
#include "devices/display/display.h"

#include <stdbool.h>
#include <stddef.h>

#define DISPLAY_VIEWER_KINDS_MAX 8

struct display_viewer_kind {
    const char *name;      /* "sdl": of the module, too */
    const char *help;      /* one line */
    const char *first_key; /* what WHERE is; NULL: there is none */
    bool for_people;       /* who want to type and to point as well */

    const struct option_spec *options; /* fill a structure of options_size bytes */
    size_t option_count, options_size;
};

/* NULL-terminated. (viewer_kinds.c; what their options fill is in viewer_kinds.h.) */
extern const struct display_viewer_kind *const display_viewer_kinds[];

/* The table of a module, `vireo_module_KIND`. */
struct display_viewer_module {
    /* Refuse what `open` would, as far as that can be seen without starting or leaving anything;
     * NULL: nothing can. */
    int (*check)(const void *options, struct error *err);

    /* Open it and attach it to the display (display_attach_viewer). `options` is filled from the
     * kind's table and lives as long as the viewer. On the display's loop. */
    int (*open)(struct display *display, const void *options, struct error *err);
};

/* A viewer as the user named it, its options checked by their table. */
struct display_viewer_setup;
int display_viewer_take(const struct display_viewer_kind *kind, struct option_list *options,
                        struct display_viewer_setup **out, struct error *err);

/* Load its module, and refuse what cannot be opened, as far as that can be seen without starting
 * anything. Once. */
int display_viewer_load(struct display_viewer_setup *setup, struct error *err);

/* When it is loaded. On the display's loop, once. */
int display_viewer_open(struct display_viewer_setup *setup, struct display *display,
                        struct error *err);

/* When the display is destroyed; NULL is nothing. */
void display_viewer_release(struct display_viewer_setup *setup);

#endif
