/*
 * Pictures to PNG files.
 */
#ifndef DEVICES_DISPLAY_PNG_WRITE_H
#define DEVICES_DISPLAY_PNG_WRITE_H

#include "base/error.h"
#include "devices/display/display.h"

/* A pointer to draw into a picture: its upper left corner is at x, y of it. */
struct png_pointer {
    const struct display_cursor *cursor; /* NULL: none */
    int64_t x, y;
};

/*
 * Write the picture to `path`, 8 bits of red, green and blue a pixel. Whoever opens `path` finds
 * the file of before or all of this one: it is made beside it and renamed.
 */
int png_write_picture(const char *path, const struct display_picture *picture,
                      const struct png_pointer *pointer, struct error *err);

#endif
