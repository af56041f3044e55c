/*
 * Fed by who looks at the machine's display.
 */
#include "devices/input/model/model.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

struct display_feed {
    struct input *input;
    struct display_sink sink; /* attached while the driver is ready */
    uint32_t lights;
};

/* Today's guests look at nothing but the finer axis, where there is one. */
static void add_fine_wheel(struct input *in, const struct display_event *events, size_t count,
                           unsigned coarse, unsigned fine)
{
    int32_t notches = 0;

    for (size_t i = 0; i < count; i++) {
        if (events[i].type == EV_REL && events[i].code == fine)
            return;
        if (events[i].type == EV_REL && events[i].code == coarse)
            notches = events[i].value;
    }
    if (notches)
        input_event(in, EV_REL, fine, notches * INPUT_WHEEL_NOTCH);
}

static void take_events(struct display_sink *sink, const struct display_event *events, size_t count)
{
    struct input *in = container_of(sink, struct display_feed, sink)->input;

    add_fine_wheel(in, events, count, REL_WHEEL, REL_WHEEL_HI_RES);
    add_fine_wheel(in, events, count, REL_HWHEEL, REL_HWHEEL_HI_RES);
    for (size_t i = 0; i < count; i++)
        input_event(in, events[i].type, events[i].code, events[i].value);
    input_flush(in);
}

static void set_lights(struct input *in, uint32_t lights)
{
    struct display_feed *feed = in->feed;

    if (lights == feed->lights)
        return;
    feed->lights = lights;
    display_set_lights(in->options->display, lights);
}

static void take_status(struct input *in, const struct display_event *event)
{
    const struct display_feed *feed = in->feed;
    uint32_t light = 1u << event->code;

    if (event->type == EV_LED)
        set_lights(in, event->value ? feed->lights | light : feed->lights & ~light);
}

/* Only now: who looks should not talk to a tablet that the guest does not know. */
static void driver_ready(struct input *in)
{
    display_attach_sink(in->options->display, &((struct display_feed *)in->feed)->sink);
}

static void driver_gone(struct input *in)
{
    display_detach_sink(in->options->display, &((struct display_feed *)in->feed)->sink);
    set_lights(in, 0);
}

static void feed_destroy(struct input *in)
{
    if (in->ready)
        driver_gone(in);
    free(in->feed);
}

static const struct input_source source_display = {
    .ready = driver_ready,
    .gone = driver_gone,
    .status = take_status,
    .destroy = feed_destroy,
};

static int take_output(const char *text, unsigned *out, struct error *err)
{
    uint64_t output = DISPLAY_OUTPUT_ANY;
    int ret =
        text ? option_parse_uint("output", text, 0, DISPLAY_OUTPUTS_MAX - 1, &output, err) : 0;

    *out = (unsigned)output;
    return ret;
}

int input_source_display(struct input *in, struct error *err)
{
    struct display_feed *feed = calloc(1, sizeof(*feed));
    unsigned kinds = input_kinds_of(in->options);

    if (!feed)
        return error_set(err, ENOMEM, "no memory for an input device");
    feed->input = in;
    feed->sink = (struct display_sink){.kinds = kinds, .events = take_events};
    in->feed = feed;
    in->source = &source_display;
    input_add_kinds(&in->capabilities, kinds);
    input_name_kinds(in, kinds);
    return take_output(in->options->output, &feed->sink.output, err);
}
