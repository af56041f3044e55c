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

/* A rectangle without pixels is nothing. One within another is left out, be it the new one or one
 * of the list. Where there would be too many, one that holds them all takes their place. */
void display_damage_add(struct display_damage_list *damage, const struct display_rect *rect);

/* Pixels of the rectangles' sizes. */
uint64_t display_damage_pixels(const struct display_damage_list *damage);

#endif
