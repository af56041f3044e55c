/*
 * Whether a viewer will be able to put a file or a socket where the user wants it.
 */
#ifndef DEVICES_DISPLAY_COMMON_PLACE_H
#define DEVICES_DISPLAY_COMMON_PLACE_H

/* 0: a name can be made in the directory of `path`; or a negative errno. Leaves nothing there.
 * [any] */
int display_place_check(const char *path);

#endif
