/*
 * What of a picture has changed since it was last looked at: a short list of rectangles. Compiled
 * into each module that has one.
 */
#ifndef DEVICES_DISPLAY_COMMON_DAMAGE_H
#define DEVICES_DISPLAY_COMMON_DAMAGE_H

#include "devices/display/display.h"

#define DISPLAY_DAMAGE_MAX 32

struct display_damage_list {
    struct display_rect rects[DISPLAY_DAMAGE_MAX];
    unsigned count; /* 0: nothing */
};

/* Of no size is nothing. One that others hold is left out, and those that it holds; of too many
 * becomes one that holds all. */
void display_damage_add(struct display_damage_list *damage, const struct display_rect *rect);

/* Pixels of the rectangles' sizes. */
uint64_t display_damage_pixels(const struct display_damage_list *damage);

#endif
