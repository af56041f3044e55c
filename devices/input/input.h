/*
 * virtio-input (specification 5.8): a keyboard, mouse, tablet or touch screen of the guest's.
 *
 * What it is fed by is one of three: whoever looks at the machine's display (display/display.h), an
 * input device of the host's (evdev=), or a file of timed events (script=). Its code is in the
 * module "input" (devices/input/model/).
 */
#ifndef DEVICES_INPUT_INPUT_H
#define DEVICES_INPUT_INPUT_H

#include "virtio/builtin.h"

/* INPUT_AUTO: as evdev= is, or all that script= uses. */
enum input_kind { INPUT_AUTO, INPUT_KEYBOARD, INPUT_MOUSE, INPUT_TABLET, INPUT_MULTITOUCH };

struct input_options {
    int kind;     /* enum input_kind */
    char *evdev;  /* path; NULL: none */
    bool grab;    /* of evdev: nobody else gets its events */
    char *script; /* path; NULL: none */
    char *name, *serial;
    char *output; /* number of the display's; NULL: any */
    struct display *display;
};

/* Whether it is fed by who looks at the display: not in a process without one. */
static inline bool input_is_fed_by_display(const struct input_options *options)
{
    return !options->evdev && !options->script;
}

extern const struct virtio_model input_model;

#endif
