/*
 * Fed by a script, which begins when the driver is ready, each time anew. It waits for a driver
 * that is slow: no event of a script is lost, it comes later.
 */
#include "devices/input/model/model.h"
#include "devices/input/model/script.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

struct script_feed {
    struct input *input;
    struct input_script script;
    size_t next;
    uint64_t at_ns; /* when the event before the next one was due */
    bool blocked;   /* by events that the driver has not taken */
    struct loop_timer timer;
};

/* When the next event is due: true, or the timer is set. */
static bool is_due(struct script_feed *feed)
{
    uint64_t due = feed->at_ns + feed->script.events[feed->next].delay_ns, now = loop_now_ns();

    if (now < due) {
        loop_timer_set(virtio_builtin_loop(feed->input->builtin), &feed->timer, due - now);
        return false;
    }
    feed->at_ns = due;
    return true;
}

/* A group at a time, as long as the driver takes them. */
static void play(struct script_feed *feed)
{
    struct input *in = feed->input;

    while (feed->next < feed->script.count) {
        const struct display_event *event = &feed->script.events[feed->next].event;

        feed->blocked = input_pending(in);
        if (feed->blocked || !is_due(feed))
            return;
        feed->next++;
        input_event(in, event->type, event->code, event->value);
        input_flush(in);
    }
}

static void timer_expired(struct loop_timer *timer)
{
    play(container_of(timer, struct script_feed, timer));
}

static void driver_ready(struct input *in)
{
    struct script_feed *feed = in->feed;

    feed->next = 0;
    feed->at_ns = loop_now_ns();
    play(feed);
}

static void driver_gone(struct input *in)
{
    struct script_feed *feed = in->feed;

    loop_timer_cancel(virtio_builtin_loop(in->builtin), &feed->timer);
    feed->next = feed->script.count;
    feed->blocked = false;
}

/* What was due meanwhile keeps its distance to what follows. */
static void driver_caught_up(struct input *in)
{
    struct script_feed *feed = in->feed;

    if (!feed->blocked)
        return;
    feed->at_ns = loop_now_ns();
    play(feed);
}

static void feed_destroy(struct input *in)
{
    struct script_feed *feed = in->feed;

    loop_timer_cancel(virtio_builtin_loop(in->builtin), &feed->timer);
    input_script_free(&feed->script);
    free(feed);
}

static const struct input_source source_script = {
    .ready = driver_ready,
    .gone = driver_gone,
    .drained = driver_caught_up,
    .destroy = feed_destroy,
};

int input_source_script(struct input *in, struct error *err)
{
    struct script_feed *feed = calloc(1, sizeof(*feed));
    int ret;

    if (!feed)
        return error_set(err, ENOMEM, "no memory for an input device");
    feed->input = in;
    feed->timer.expired = timer_expired;
    in->feed = feed;
    in->source = &source_script;
    ret = input_script_load(&feed->script, in->options->script, input_kinds_of(in->options), err);
    if (ret)
        return ret;
    input_add_kinds(&in->capabilities, feed->script.kinds);
    input_name_kinds(in, feed->script.kinds);
    return 0;
}
