/*
 * Pixels of a picture, for viewers that need a copy: compiled into each module that has one.
 */
#ifndef DEVICES_DISPLAY_COMMON_PIXELS_H
#define DEVICES_DISPLAY_COMMON_PIXELS_H

#include "devices/display/display.h"

/* Bring `rect`, which is within the picture, to `out` as DRM_FORMAT_XRGB8888 (the X byte is
 * anything), `stride` bytes a row. -EINVAL for a format that is none of the eight of 32 bits, and
 * what the picture's own `read` says. On the display's loop. */
int display_pixels_read(const struct display_picture *picture, const struct display_rect *rect,
                        void *out, size_t stride);

/* The pointer's pixels as others want them: alpha not multiplied in. `out` has room for them. */
void display_cursor_straight(const struct display_cursor *cursor, uint32_t *out);

#endif
