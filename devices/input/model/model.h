/*
 * One input device: what the files of the module share.
 *
 *   model.c           life, configuration, status queue
 *   events.c          the event queue, and what waits for it
 *   capabilities.c    what a device has, and how its configuration says so
 *   state.c           where events lead to
 *   source_*.c        who feeds it: the display, a device of the host's, a script
 *   script.c          scripts, read; script_words.c, their words
 *
 * All of it belongs to the device's loop, except where said otherwise.
 */
#ifndef DEVICES_INPUT_MODEL_MODEL_H
#define DEVICES_INPUT_MODEL_MODEL_H

#include "devices/input/input.h"
#include "devices/input/model/capabilities.h"
#include "devices/input/model/state.h"

#include <stdatomic.h>

/* 5.8.2 */
enum input_queue { INPUT_EVENTQ = 0, INPUT_STATUSQ = 1 };

#define INPUT_EVENT_SIZE   8    /* 5.8.6: type, code, value */
#define INPUT_PENDING_SIZE 1024 /* events that wait for buffers */

struct input;

/* Who feeds a device: it calls input_event and input_flush. All but destroy may be NULL. */
struct input_source {
    int (*start)(struct input *input, struct error *err); /* once, before the guest runs */
    void (*ready)(struct input *input);   /* the driver takes events from now on... */
    void (*gone)(struct input *input);    /* ...until it resets the device */
    void (*drained)(struct input *input); /* no event waits any more */

    /* The driver says something that the device can do: EV_LED and EV_SND (5.8.6). */
    void (*status)(struct input *input, const struct display_event *event);
    void (*destroy)(struct input *input);
};

struct input {
    struct virtio_builtin *builtin;
    const struct input_options *options;
    struct input_capabilities capabilities; /* constant once it is created */
    atomic_uint selected;                   /* select, and subsel from bit 8 on; any thread */

    const struct input_source *source;
    void *feed; /* the source's */

    bool ready;   /* the driver has given buffers since the last reset */
    bool waiting; /* for more of them: there will be a kick */
    struct virtqueue_buffer **buffers;

    /* A ring: whole groups, the rest is of one that is not complete yet. */
    struct display_event pending[INPUT_PENDING_SIZE];
    size_t pending_first, pending_count, pending_whole;

    struct input_state guest;  /* as the driver was told */
    bool missed;               /* it was not told all: first it has to learn of... */
    struct input_state target; /* ...this */
};

/* --- events.c --- */

/* An event; those up to and with the next SYN_REPORT are a group, which reaches the driver whole.
 * What the device does not have, repetitions of keys, lights, and all while there is no driver, is
 * dropped. */
void input_event(struct input *input, unsigned type, unsigned code, int32_t value);

/* Behind one or more groups: bring them to the driver, as far as it has buffers. */
void input_flush(struct input *input);

/* Whether the driver is still to take something. */
bool input_pending(const struct input *input);

int input_eventq_ready(struct input *input, struct virtqueue *queue);

/* Nothing waits any more, and the driver's side knows of nothing that is down. */
void input_events_reset(struct input *input);

/* --- sources: each sets capabilities, `source` and `feed` --- */

int input_source_display(struct input *input, struct error *err);
int input_source_evdev(struct input *input, struct error *err);
int input_source_script(struct input *input, struct error *err);

/* --- model.c, for sources --- */

/* kind= as enum display_input_kind; 0 for INPUT_AUTO. */
unsigned input_kinds_of(const struct input_options *options);

/* What the device is called by its kinds, unless the user says otherwise. */
void input_name_kinds(struct input *input, unsigned kinds);

#endif
