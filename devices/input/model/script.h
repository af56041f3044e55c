/*
 * Scripts of input events: a text file, a statement a line, "#" begins a comment.
 *
 *     pace 20ms                      how long keys and buttons are held, and the gap behind it
 *     key LEFTCTRL+LEFTALT+F2        names as in linux/input-event-codes.h, without KEY_
 *     +500ms key A down              500 ms after the statement before it; up
 *     type "hello\n"                 on a US keyboard; \n \t \" \\
 *     rel 10 -5                      mouse: right and down, in its units
 *     button left                    middle right side extra forward back task; down, up
 *     wheel -1                       notches, down; hwheel: to the right
 *     move 100 50%                   tablet: 0 to 32767, or of the whole
 *     touch 0 down 10% 10%           touch screen: a finger, 0 to 9
 *     touch 0 move 100 200
 *     touch 0 up
 *     wait 1.5s                      us, ms, s
 */
#ifndef DEVICES_INPUT_MODEL_SCRIPT_H
#define DEVICES_INPUT_MODEL_SCRIPT_H

#include "base/error.h"
#include "devices/display/display.h"

#include <stddef.h>
#include <stdint.h>

#define INPUT_SCRIPT_MAX (1u << 20) /* bytes */

struct input_script_event {
    uint64_t delay_ns; /* after the event before it */
    struct display_event event;
};

struct input_script {
    struct input_script_event *events; /* in groups, each with its SYN_REPORT */
    size_t count, capacity;
    unsigned kinds; /* enum display_input_kind that it takes to play it */
};

/*
 * Read a script for a device of `kinds`; 0: of those that it uses, of which one at most is no
 * keyboard. `text` ends with a 0. -EINVAL: `err` says "line N: why".
 */
int input_script_parse(struct input_script *script, const char *text, unsigned kinds,
                       struct error *err);

/* The same of a file; `err` names it. */
int input_script_load(struct input_script *script, const char *path, unsigned kinds,
                      struct error *err);

void input_script_free(struct input_script *script);

#endif
