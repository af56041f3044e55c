/*
 * What --timing says of a viewer: how long damage took to the screen, and what was copied for it.
 * Compiled into each module that has one. One thread's.
 */
#ifndef DEVICES_DISPLAY_COMMON_TIMING_H
#define DEVICES_DISPLAY_COMMON_TIMING_H

#include "devices/display/display.h"

struct display_timing {
    uint64_t shown;           /* frames */
    uint64_t dropped;         /* frames of the guest's that a later one overtook */
    uint64_t damaged, copied; /* bytes: of the rectangles the guest named, and that we moved */
    uint64_t min_ns, max_ns, total_ns;
    uint64_t since_ns; /* the oldest damage that is not being drawn; 0: there is none */
};

/* The guest damaged this. */
void display_timing_damage(struct display_timing *timing, const struct display_rect *rect);

/* All damage of before is being drawn: since when it waits, for display_timing_shown. */
uint64_t display_timing_draw(struct display_timing *timing);

/* It is on the screen. */
void display_timing_shown(struct display_timing *timing, uint64_t since_ns);

void display_timing_print(const struct display_timing *timing, const char *viewer, unsigned output,
                          FILE *out);

#endif
