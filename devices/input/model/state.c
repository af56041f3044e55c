#include "devices/input/model/state.h"

#include "base/bytes.h"

#define TRACKING (ABS_MT_TRACKING_ID - ABS_MT_TOUCH_MAJOR)

void input_state_init(struct input_state *state)
{
    *state = (struct input_state){0};
    for (int slot = 0; slot < INPUT_STATE_SLOTS; slot++)
        state->touches[slot][TRACKING] = -1;
}

static void apply_axis(struct input_state *state, unsigned axis, int32_t value)
{
    if (axis < ABS_MT_SLOT)
        state->axes[axis] = value;
    else if (axis == ABS_MT_SLOT)
        state->slot = value;
    else if (axis <= ABS_MT_TOOL_Y && state->slot >= 0 && state->slot < INPUT_STATE_SLOTS)
        state->touches[state->slot][axis - ABS_MT_TOUCH_MAJOR] = value;
}

void input_state_apply(struct input_state *state, const struct display_event *event)
{
    unsigned code = event->code;

    if (event->type == EV_ABS)
        apply_axis(state, code, event->value);
    else if (event->type == EV_KEY && code < KEY_CNT && event->value)
        state->keys[code / 8] |= (uint8_t)(1u << code % 8);
    else if (event->type == EV_KEY && code < KEY_CNT)
        state->keys[code / 8] &= (uint8_t) ~(1u << code % 8);
    else if (event->type == EV_SW && code < SW_CNT)
        state->switches = (state->switches & ~(1u << code)) | (event->value ? 1u << code : 0);
}

struct difference {
    struct display_event *out;
    size_t count;
};

static void add(struct difference *d, unsigned type, unsigned code, int32_t value)
{
    d->out[d->count++] = (struct display_event){(uint16_t)type, (uint16_t)code, value};
}

static void add_keys(struct difference *d, const uint8_t *from, const uint8_t *to)
{
    for (unsigned code = 0; code < KEY_CNT; code++)
        if ((from[code / 8] ^ to[code / 8]) & 1u << code % 8)
            add(d, EV_KEY, code, to[code / 8] >> code % 8 & 1);
}

/* `slot` is the one that the driver's side thinks events are about. */
static void add_touch(struct difference *d, int32_t *slot, int32_t this, const int32_t *from,
                      const int32_t *to)
{
    for (unsigned axis = 0; axis < INPUT_TOUCH_AXES; axis++) {
        if (from[axis] == to[axis])
            continue;
        if (*slot != this)
            add(d, EV_ABS, ABS_MT_SLOT, *slot = this);
        add(d, EV_ABS, ABS_MT_TOUCH_MAJOR + axis, to[axis]);
    }
}

size_t input_state_difference(const struct input_state *from, const struct input_state *to,
                              struct display_event out[INPUT_DIFFERENCE_MAX])
{
    struct difference d = {out, 0};
    int32_t slot = from->slot;

    for (int32_t i = 0; i < INPUT_STATE_SLOTS; i++)
        add_touch(&d, &slot, i, from->touches[i], to->touches[i]);
    if (slot != to->slot)
        add(&d, EV_ABS, ABS_MT_SLOT, to->slot);
    add_keys(&d, from->keys, to->keys);
    for (unsigned code = 0; code < SW_CNT; code++)
        if ((from->switches ^ to->switches) & 1u << code)
            add(&d, EV_SW, code, to->switches >> code & 1);
    for (unsigned axis = 0; axis < ABS_MT_SLOT; axis++)
        if (from->axes[axis] != to->axes[axis])
            add(&d, EV_ABS, axis, to->axes[axis]);
    return d.count;
}
