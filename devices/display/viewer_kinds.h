/*
 * What the options of the viewers fill: read by their modules.
 */
#ifndef DEVICES_DISPLAY_VIEWER_KINDS_H
#define DEVICES_DISPLAY_VIEWER_KINDS_H

#include <stdbool.h>
#include <stdint.h>

struct display_png_options {
    char *path;  /* of output 0; the others' are PATH-1.png and so on */
    bool cursor; /* draw it */
};

struct display_sdl_options {
    bool gl;          /* draw with OpenGL, and show textures without a copy */
    bool full_screen; /* start so */
    bool resize;      /* the guest follows the window's size */
};

enum display_vnc_shared { VNC_SHARED_ASK, VNC_SHARED_ALWAYS, VNC_SHARED_NEVER };

struct display_vnc_options {
    char *where;         /* ":N", "ADDRESS:N", "unix:PATH" */
    char *password_file; /* its first line; NULL: nobody is asked */
    char *layout;        /* XKB's name of the guest's keyboard layout */
    uint64_t clients;    /* of one output, at most */
    int shared;          /* enum display_vnc_shared */
};

#endif
