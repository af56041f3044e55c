#include "devices/display/vnc/vnc.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/display/viewer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

static bool is_open; /* the library has a mutex that it makes anew for each server */

static struct vnc_viewer *vnc_of(struct display_viewer *viewer)
{
    return (struct vnc_viewer *)viewer;
}

/* --- what the display tells ------------------------------------------------------------------- */

static void tell(struct vnc_screen *s)
{
    loop_post(s->owner->loop, &s->changed);
}

static void vnc_show(struct display_viewer *viewer, unsigned output,
                     const struct display_picture *picture)
{
    struct vnc_screen *s = &vnc_of(viewer)->screens[output];
    struct vnc_source *source = &s->source;

    if (!picture && !source->picture.width)
        return;
    source->picture = picture ? *picture : (struct display_picture){0};
    source->resized = true;
    source->damage.count = 0;
    if (picture) {
        struct display_rect all = {0, 0, picture->width, picture->height};

        display_damage_add(&source->damage, &all);
        if (atomic_load(&s->clients))
            display_timing_damage(&source->timing, &all);
    }
    tell(s);
}

/* Without clients nobody is told: the first one gets all of the picture. */
static void vnc_damage(struct display_viewer *viewer, unsigned output,
                       const struct display_rect *rect)
{
    struct vnc_screen *s = &vnc_of(viewer)->screens[output];

    if (!s->source.picture.width)
        return;
    display_damage_add(&s->source.damage, rect);
    if (!atomic_load(&s->clients))
        return;
    display_timing_damage(&s->source.timing, rect);
    tell(s);
}

static void vnc_set_cursor(struct display_viewer *viewer, unsigned output,
                           const struct display_cursor *cursor)
{
    struct vnc_screen *s = &vnc_of(viewer)->screens[output];

    s->source.cursor = cursor;
    s->source.cursor_changed = true;
    tell(s);
}

/* With a tablet the pointer is where the client has its own. */
static void vnc_move_cursor(struct display_viewer *viewer, unsigned output, int32_t x, int32_t y)
{
    struct vnc_screen *s = &vnc_of(viewer)->screens[output];

    s->source.cursor_x = x;
    s->source.cursor_y = y;
    if (display_inputs(viewer->display) & DISPLAY_ABSOLUTE)
        return;
    s->source.cursor_moved = true;
    tell(s);
}

static void vnc_set_lights(struct display_viewer *viewer, uint32_t lights)
{
    struct vnc_viewer *v = vnc_of(viewer);

    atomic_store(&v->lights, lights);
    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        tell(&v->screens[i]);
}

static void vnc_outputs_changed(struct display_viewer *viewer)
{
    struct vnc_viewer *v = vnc_of(viewer);

    atomic_store(&v->outputs, display_outputs(viewer->display));
    loop_post(v->loop, &v->outputs_changed);
}

static void vnc_print_timing(struct display_viewer *viewer, FILE *out)
{
    struct vnc_viewer *v = vnc_of(viewer);

    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        if (v->screens[i].source.picture.width || v->screens[i].source.timing.shown)
            display_timing_print(&v->screens[i].source.timing, "vnc", i, out);
}

static void vnc_destroy(struct display_viewer *viewer)
{
    struct vnc_viewer *v = vnc_of(viewer);

    handoff_close(&v->display);
    vnc_patience_close(&v->patience);
    if (v->runs)
        loop_join_thread(v->loop);
    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++)
        vnc_screen_close(&v->screens[i]);
    handoff_destroy(&v->display);
    vnc_patience_destroy(&v->patience);
    loop_destroy(v->loop);
    keymap_destroy(v->keymap);
    free(v);
    is_open = false;
}

static const struct display_viewer_ops vnc_ops = {
    .kinds = 1 << DISPLAY_TEXTURE, /* by its `read` */
    .show = vnc_show,
    .damage = vnc_damage,
    .set_cursor = vnc_set_cursor,
    .move_cursor = vnc_move_cursor,
    .set_lights = vnc_set_lights,
    .outputs_changed = vnc_outputs_changed,
    .print_timing = vnc_print_timing,
    .destroy = vnc_destroy,
};

/* --- on the server's loop --------------------------------------------------------------------- */

static void screen_changed(struct loop_task *task)
{
    vnc_screen_schedule(container_of(task, struct vnc_screen, changed));
}

/* There is a server for each output from when there is such an output. */
static void open_outputs(struct loop_task *task)
{
    struct vnc_viewer *v = container_of(task, struct vnc_viewer, outputs_changed);
    struct error err = ERROR_INIT;

    for (unsigned i = 0; i < atomic_load(&v->outputs); i++)
        if (!v->screens[i].rfb && vnc_screen_open(&v->screens[i], &err))
            log_error("vnc", "output %u: %s", i, err.text);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int vnc_check(const void *options, struct error *err)
{
    const struct display_vnc_options *o = options;
    char password[VNC_PASSWORD_MAX + 1];
    struct keymap *keymap = NULL;
    struct vnc_where where;
    int ret = vnc_where_parse(o->where, &where, err);

    if (!ret)
        ret = vnc_where_check(&where, err);
    if (!ret && o->password_file)
        ret = vnc_read_password(o->password_file, password, err);
    if (!ret)
        ret = keymap_create(o->layout, &keymap, err);
    keymap_destroy(keymap);
    return ret;
}

static void say(const char *format, ...)
{
    char line[256];
    va_list args;

    if (LOG_DEBUG > log_threshold)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    line[strcspn(line, "\n")] = '\0';
    log_limited(LOG_DEBUG, "vnc", "%s", line);
}

static void init(struct vnc_viewer *v, struct display *display, const void *options)
{
    v->viewer = (struct display_viewer){.ops = &vnc_ops, .display = display};
    v->options = options;
    v->passwords[0] = v->password;
    v->outputs_changed.run = open_outputs;
    for (unsigned i = 0; i < DISPLAY_OUTPUTS_MAX; i++) {
        v->screens[i].owner = v;
        v->screens[i].output = i;
        v->screens[i].changed.run = screen_changed;
    }
    handoff_open(&v->display, display_loop(display));
    vnc_patience_open(&v->patience, display_loop(display));
    rfbLog = rfbErr = say;
}

static int start(struct vnc_viewer *v, struct error *err)
{
    unsigned outputs = MAX(display_outputs(v->viewer.display), 1U);
    int ret = keymap_create(v->options->layout, &v->keymap, err);

    if (!ret && v->options->password_file)
        ret = vnc_read_password(v->options->password_file, v->password, err);
    for (unsigned i = 0; i < outputs && !ret; i++)
        ret = vnc_screen_open(&v->screens[i], err);
    if (!ret)
        ret = loop_start_thread(v->loop, "vnc", err);
    v->runs = !ret;
    return ret;
}

static int vnc_open(struct display *display, const void *options, struct error *err)
{
    struct vnc_viewer *v;
    int ret;

    if (is_open)
        return error_set(err, EBUSY, "there is a VNC server already: it is one for all outputs");
    v = calloc(1, sizeof(*v));
    if (!v)
        return error_set(err, ENOMEM, "no memory for a VNC server");
    ret = loop_create(&v->loop, err);
    if (ret) {
        free(v);
        return ret;
    }
    is_open = true;
    init(v, display, options);
    ret = start(v, err);
    if (ret)
        vnc_destroy(&v->viewer);
    else
        display_attach_viewer(display, &v->viewer);
    return ret;
}

extern const struct display_viewer_module vireo_module_vnc;
const struct display_viewer_module vireo_module_vnc = {.check = vnc_check, .open = vnc_open};
