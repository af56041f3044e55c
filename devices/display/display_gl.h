/*
 * GL shared between the GPU's renderer and the viewer that shows its textures. All on the display's
 * loop.
 */
#ifndef DEVICES_DISPLAY_DISPLAY_GL_H
#define DEVICES_DISPLAY_DISPLAY_GL_H

struct display_viewer;

struct display_gl {
    struct display_viewer *viewer;

    /* A context that shares objects with the viewer's, of at least this version of GL; NULL when
     * there can be none. */
    void *(*create_context)(struct display_viewer *viewer, int major, int minor);
    void (*destroy_context)(struct display_viewer *viewer, void *context);
    int (*make_current)(struct display_viewer *viewer, void *context); /* 0 or -1; NULL: none */
};

#endif
