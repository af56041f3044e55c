#include "devices/display/display.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct display_output {
    struct display_picture picture;
    bool shown;
    struct display_cursor cursor;
    bool has_cursor;
    int32_t cursor_x, cursor_y;
};

struct display {
    struct loop *loop;
    char *title;
    struct display_viewer *viewers;
    struct display_sink *sinks;
    const struct display_source_ops *source; /* NULL: there is no GPU */
    void *source_opaque;
    unsigned output_count;
    struct display_output outputs[DISPLAY_OUTPUTS_MAX];
    unsigned asked; /* viewers that have yet to answer display_ask */
    uint32_t lights;
    void (*closed)(void *opaque);
    void *closed_opaque;
};

int display_create(struct loop *loop, const char *title, struct display **out, struct error *err)
{
    struct display *d = calloc(1, sizeof(*d));

    if (!d || !(d->title = strdup(title))) {
        free(d);
        return error_set(err, ENOMEM, "no memory for a display");
    }
    d->loop = loop;
    *out = d;
    return 0;
}

void display_end(struct display *d)
{
    if (d->source && d->source->end)
        d->source->end(d->source_opaque);
    while (d->viewers)
        display_detach_viewer(d, d->viewers);
}

void display_destroy(struct display *d)
{
    if (!d)
        return;
    display_end(d);
    free(d->title);
    free(d);
}

struct loop *display_loop(const struct display *d)
{
    return d->loop;
}

const char *display_title(const struct display *d)
{
    return d->title;
}

/* --- GPU to viewers --------------------------------------------------------------------------- */

static void show_to(struct display_viewer *viewer, unsigned output, const struct display_output *o)
{
    if (viewer->ops->show)
        viewer->ops->show(viewer, output, o->shown ? &o->picture : NULL);
}

static void cursor_to(struct display_viewer *viewer, unsigned output,
                      const struct display_output *o)
{
    if (viewer->ops->set_cursor)
        viewer->ops->set_cursor(viewer, output, o->has_cursor ? &o->cursor : NULL);
}

void display_show(struct display *d, unsigned output, const struct display_picture *picture)
{
    struct display_output *o = &d->outputs[output];

    o->shown = picture;
    if (picture)
        o->picture = *picture;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        show_to(v, output, o);
}

void display_damage(struct display *d, unsigned output, const struct display_rect *rect)
{
    const struct display_output *o = &d->outputs[output];
    struct display_rect cut = *rect;

    if (!o->shown || cut.x >= o->picture.width || cut.y >= o->picture.height)
        return;
    cut.width = MIN(cut.width, o->picture.width - cut.x);
    cut.height = MIN(cut.height, o->picture.height - cut.y);
    if (!cut.width || !cut.height)
        return;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->damage)
            v->ops->damage(v, output, &cut);
}

void display_set_cursor(struct display *d, unsigned output, const struct display_cursor *cursor)
{
    struct display_output *o = &d->outputs[output];

    o->has_cursor = cursor;
    if (cursor)
        o->cursor = *cursor;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        cursor_to(v, output, o);
}

void display_move_cursor(struct display *d, unsigned output, int32_t x, int32_t y)
{
    struct display_output *o = &d->outputs[output];

    o->cursor_x = x;
    o->cursor_y = y;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->move_cursor)
            v->ops->move_cursor(v, output, x, y);
}

bool display_is_watched(const struct display *d)
{
    return d->viewers;
}

bool display_ask(struct display *d)
{
    if (d->asked)
        return true;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        d->asked += v->ops->ask && v->ops->ask(v);
    return d->asked;
}

bool display_knows(const struct display *d, enum display_picture_kind kind)
{
    for (const struct display_viewer *v = d->viewers; v; v = v->next)
        if (kind != DISPLAY_PIXELS && !(v->ops->kinds & 1u << kind))
            return false;
    return true;
}

const struct display_gl *display_gl(const struct display *d)
{
    const struct display_gl *gl = NULL;

    for (struct display_viewer *v = d->viewers; v && !gl; v = v->next)
        gl = v->ops->gl ? v->ops->gl(v) : NULL;
    return gl;
}

static void tell_outputs(struct display *d)
{
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->outputs_changed)
            v->ops->outputs_changed(v);
}

int display_attach_source(struct display *d, unsigned outputs, const struct display_source_ops *ops,
                          void *opaque, struct error *err)
{
    if (d->source)
        return error_set(err, EBUSY, "the display has a GPU already");
    d->source = ops;
    d->source_opaque = opaque;
    d->output_count = outputs;
    tell_outputs(d);
    return 0;
}

void display_detach_source(struct display *d)
{
    for (unsigned i = 0; i < d->output_count; i++) {
        display_show(d, i, NULL);
        display_set_cursor(d, i, NULL);
    }
    d->source = NULL;
    d->output_count = 0;
    tell_outputs(d);
}

/* --- viewers ---------------------------------------------------------------------------------- */

void display_attach_viewer(struct display *d, struct display_viewer *viewer)
{
    viewer->display = d;
    viewer->next = d->viewers;
    d->viewers = viewer;
    for (unsigned i = 0; i < d->output_count; i++) {
        const struct display_output *o = &d->outputs[i];

        show_to(viewer, i, o);
        cursor_to(viewer, i, o);
        if (o->has_cursor && viewer->ops->move_cursor)
            viewer->ops->move_cursor(viewer, i, o->cursor_x, o->cursor_y);
    }
    if (viewer->ops->set_lights)
        viewer->ops->set_lights(viewer, d->lights);
    if (d->source && d->source->refresh)
        d->source->refresh(d->source_opaque);
}

void display_detach_viewer(struct display *d, struct display_viewer *viewer)
{
    struct display_viewer **at = &d->viewers;

    while (*at != viewer)
        at = &(*at)->next;
    *at = viewer->next;
    viewer->ops->destroy(viewer);
}

unsigned display_outputs(const struct display *d)
{
    return d->output_count;
}

const struct display_picture *display_picture(const struct display *d, unsigned output)
{
    const struct display_output *o = &d->outputs[output];

    return output < d->output_count && o->shown ? &o->picture : NULL;
}

void display_resize(struct display *d, unsigned output, uint32_t width, uint32_t height,
                    uint32_t width_mm, uint32_t height_mm)
{
    if (d->source && d->source->resize && output < d->output_count)
        d->source->resize(d->source_opaque, output, MIN(width, (uint32_t)DISPLAY_SIZE_MAX),
                          MIN(height, (uint32_t)DISPLAY_SIZE_MAX), width_mm, height_mm);
}

void display_answered(struct display *d)
{
    if (--d->asked == 0 && d->source && d->source->answered)
        d->source->answered(d->source_opaque);
}

void display_on_close(struct display *d, void (*closed)(void *opaque), void *opaque)
{
    d->closed = closed;
    d->closed_opaque = opaque;
}

void display_close(struct display *d)
{
    if (d->closed)
        d->closed(d->closed_opaque);
}

void display_save(struct display *d)
{
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->save)
            v->ops->save(v);
}

void display_print_timing(struct display *d, FILE *out)
{
    if (d->source && d->source->print_timing)
        d->source->print_timing(d->source_opaque, out);
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->print_timing)
            v->ops->print_timing(v, out);
}

/* --- input ------------------------------------------------------------------------------------ */

static void tell_inputs(struct display *d)
{
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->inputs_changed)
            v->ops->inputs_changed(v);
}

void display_attach_sink(struct display *d, struct display_sink *sink)
{
    struct display_sink **at = &d->sinks;

    while (*at)
        at = &(*at)->next;
    sink->next = NULL;
    *at = sink;
    tell_inputs(d);
}

void display_detach_sink(struct display *d, struct display_sink *sink)
{
    struct display_sink **at = &d->sinks;

    while (*at != sink)
        at = &(*at)->next;
    *at = sink->next;
    tell_inputs(d);
}

unsigned display_inputs(const struct display *d)
{
    unsigned kinds = 0;

    for (const struct display_sink *s = d->sinks; s; s = s->next)
        kinds |= s->kinds;
    return kinds;
}

void display_input(struct display *d, enum display_input_kind kind, unsigned output,
                   const struct display_event *events, size_t count)
{
    bool anywhere = kind == DISPLAY_KEYS || kind == DISPLAY_RELATIVE;

    for (struct display_sink *s = d->sinks; s; s = s->next) {
        if (!(s->kinds & kind) ||
            (!anywhere && s->output != DISPLAY_OUTPUT_ANY && s->output != output))
            continue;
        s->events(s, events, count);
        return;
    }
}

void display_set_lights(struct display *d, uint32_t lights)
{
    d->lights = lights;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->ops->set_lights)
            v->ops->set_lights(v, lights);
}
