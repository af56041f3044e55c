/*
 * The viewer of --screenshot: writes what each output shows to a file when it is asked to.
 *
 * A guest that powers off turns its outputs off first. So an output that is off is written as it
 * was last, of which a copy is kept then; one that never showed anything is not written.
 */
#include "base/log.h"
#include "devices/display/common/pixels.h"
#include "devices/display/common/place.h"
#include "devices/display/png/write.h"
#include "devices/display/viewer.h"
#include "devices/display/viewer_kinds.h"

#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct png_output {
    struct display_picture picture; /* pixels NULL and width 0: never shown */
    uint8_t *kept;                  /* the pixels of an output that is off */
    struct png_pointer pointer;
};

struct png_viewer {
    struct display_viewer viewer;
    const struct display_png_options *options;
    struct png_output outputs[DISPLAY_OUTPUTS_MAX];
};

/* Its pixels are about to go: keep a copy. */
static void keep(struct png_output *o)
{
    struct display_picture *p = &o->picture;
    struct display_rect all = {0, 0, p->width, p->height};
    uint32_t stride = 4 * p->width;

    if (!p->width || o->kept)
        return;
    o->kept = malloc((size_t)stride * p->height);
    if (!o->kept || display_pixels_read(p, &all, o->kept, stride)) {
        log_warn("png", "the last picture of an output that is off now is lost");
        free(o->kept);
        o->kept = NULL;
        p->width = 0;
        return;
    }
    *p = (struct display_picture){.width = p->width,
                                  .height = p->height,
                                  .stride = stride,
                                  .pixels = o->kept,
                                  .fourcc = DRM_FORMAT_XRGB8888};
}

static void png_show(struct display_viewer *viewer, unsigned output,
                     const struct display_picture *picture)
{
    struct png_output *o = &((struct png_viewer *)viewer)->outputs[output];

    if (!picture) {
        keep(o);
        return;
    }
    free(o->kept);
    o->kept = NULL;
    o->picture = *picture;
}

static void png_set_cursor(struct display_viewer *viewer, unsigned output,
                           const struct display_cursor *cursor)
{
    ((struct png_viewer *)viewer)->outputs[output].pointer.cursor = cursor;
}

static void png_move_cursor(struct display_viewer *viewer, unsigned output, int32_t x, int32_t y)
{
    struct png_pointer *pointer = &((struct png_viewer *)viewer)->outputs[output].pointer;

    pointer->x = x;
    pointer->y = y;
}

/* FILE.png, FILE-1.png, FILE-2.png... -ENAMETOOLONG */
static int path_of(const char *path, unsigned output, char out[PATH_MAX])
{
    const char *dot = strrchr(path, '.');
    size_t stem = dot && !strchr(dot, '/') ? (size_t)(dot - path) : strlen(path);
    int length = output ? snprintf(out, PATH_MAX, "%.*s-%u%s", (int)stem, path, output, path + stem)
                        : snprintf(out, PATH_MAX, "%s", path);

    return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int write_output(struct png_viewer *v, unsigned output, struct error *err)
{
    const struct png_output *o = &v->outputs[output];
    struct png_pointer pointer = {0};
    char path[PATH_MAX];

    if (path_of(v->options->path, output, path))
        return error_set(err, ENAMETOOLONG, "the path '%s' is too long", v->options->path);
    if (v->options->cursor && o->pointer.cursor)
        pointer = (struct png_pointer){
            .cursor = o->pointer.cursor,
            .x = o->pointer.x - (int64_t)o->pointer.cursor->hot_x,
            .y = o->pointer.y - (int64_t)o->pointer.cursor->hot_y,
        };
    return png_write_picture(path, &o->picture, &pointer, err);
}

static void png_save(struct display_viewer *viewer)
{
    struct png_viewer *v = (struct png_viewer *)viewer;
    struct error err = ERROR_INIT;

    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        if (v->outputs[i].picture.width && write_output(v, i, &err))
            log_error("png", "%s", err.text);
}

static void png_destroy(struct display_viewer *viewer)
{
    struct png_viewer *v = (struct png_viewer *)viewer;

    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        free(v->outputs[i].kept);
    free(v);
}

static const struct display_viewer_ops png_ops = {
    .kinds = 1 << DISPLAY_TEXTURE, /* by its `read` */
    .show = png_show,
    .set_cursor = png_set_cursor,
    .move_cursor = png_move_cursor,
    .save = png_save,
    .destroy = png_destroy,
};

/* A directory that is not there, or not ours to write, is a mistake to tell of now. */
static int png_check(const void *options, struct error *err)
{
    const char *path = ((const struct display_png_options *)options)->path;
    struct stat status;
    int ret = display_place_check(path);

    if (!ret && !stat(path, &status) && S_ISDIR(status.st_mode))
        ret = -EISDIR;
    return ret ? error_errno(err, -ret, "cannot write screenshots to '%s'", path) : 0;
}

static int png_open(struct display *display, const void *options, struct error *err)
{
    struct png_viewer *v = calloc(1, sizeof(*v));

    if (!v)
        return error_set(err, ENOMEM, "no memory for screenshots");
    v->viewer.ops = &png_ops;
    v->options = options;
    display_attach_viewer(display, &v->viewer);
    return 0;
}

extern const struct display_viewer_module vireo_module_png;
const struct display_viewer_module vireo_module_png = {.check = png_check, .open = png_open};
