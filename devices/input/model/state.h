/*
 * Where the events of an input device lead to: which keys are down, where axes and fingers are. Two
 * of these tell which events would lead from one to the other.
 */
#ifndef DEVICES_INPUT_MODEL_STATE_H
#define DEVICES_INPUT_MODEL_STATE_H

#include "devices/display/display.h"

#include <linux/input.h>

#define INPUT_STATE_SLOTS 32 /* fingers that are kept track of */
#define INPUT_TOUCH_AXES  (ABS_MT_TOOL_Y - ABS_MT_TOUCH_MAJOR + 1)

struct input_state {
    uint8_t keys[KEY_CNT / 8];
    uint32_t switches;
    int32_t axes[ABS_MT_SLOT];
    int32_t slot; /* that events of fingers are about */
    int32_t touches[INPUT_STATE_SLOTS][INPUT_TOUCH_AXES];
};

/* At most so many events lead from one to another. */
#define INPUT_DIFFERENCE_MAX \
    (KEY_CNT + SW_CNT + ABS_MT_SLOT + INPUT_STATE_SLOTS * (INPUT_TOUCH_AXES + 1) + 1)

/* Nothing is down, axes are at 0, no finger touches. */
void input_state_init(struct input_state *state);

/* What is no state (motion, scan codes) changes nothing. */
void input_state_apply(struct input_state *state, const struct display_event *event);

/* The events that lead from one to the other, without SYN_REPORT; how many. */
size_t input_state_difference(const struct input_state *from, const struct input_state *to,
                              struct display_event out[INPUT_DIFFERENCE_MAX]);

#endif
