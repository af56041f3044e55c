/*
 * What is typed and pointed at a window, as the events that Linux has for it.
 */
#include "devices/display/sdl/sdl.h"

#include "base/bytes.h"
#include "devices/display/sdl/keys.h"

static void send(struct sdl_viewer *v, enum display_input_kind kind, unsigned output,
                 struct display_event *events, size_t count)
{
    events[count++] = (struct display_event){EV_SYN, SYN_REPORT, 0};
    display_input(v->viewer.display, kind, output, events, count);
}

enum display_input_kind sdl_input_pointer(const struct sdl_viewer *v)
{
    unsigned inputs = display_inputs(v->viewer.display);

    if (v->grab && inputs & DISPLAY_RELATIVE)
        return DISPLAY_RELATIVE;
    return inputs & DISPLAY_ABSOLUTE ? DISPLAY_ABSOLUTE : 0;
}

/* --- keys and buttons ------------------------------------------------------------------------- */

static bool is_pressed(const struct sdl_viewer *v, uint16_t code)
{
    return v->pressed[code / 8] & 1 << code % 8;
}

static void press(struct sdl_viewer *v, enum display_input_kind kind, unsigned output,
                  uint16_t code, bool down)
{
    struct display_event events[2] = {{EV_KEY, code, down}};

    if (is_pressed(v, code) == down)
        return;
    v->pressed[code / 8] ^= (uint8_t)(1 << code % 8);
    send(v, kind, output, events, 1);
}

static bool is_button(uint16_t code)
{
    return code >= BTN_MISC && code < KEY_OK;
}

void sdl_input_release(struct sdl_viewer *v)
{
    for (unsigned code = 0; code < KEY_CNT; code++)
        if (is_pressed(v, (uint16_t)code))
            press(v, is_button((uint16_t)code) ? v->pointer : DISPLAY_KEYS, v->pointed,
                  (uint16_t)code, false);
}

/* Ctrl-Alt-something is ours. */
static bool shortcut(struct sdl_window *w, const SDL_KeyboardEvent *key)
{
    bool held = key->keysym.mod & KMOD_CTRL && key->keysym.mod & KMOD_ALT;

    if (!held || key->type != SDL_KEYDOWN || key->repeat)
        return false;
    switch (key->keysym.scancode) {
    case SDL_SCANCODE_F:
        sdl_window_full_screen(w);
        return true;
    case SDL_SCANCODE_G:
        sdl_pointer_grab(w, w->owner->grab != w);
        return true;
    case SDL_SCANCODE_S:
        w->owner->smooth = !w->owner->smooth;
        sdl_window_redraw(w);
        return true;
    default:
        return false;
    }
}

/* Whoever repeats held keys is the guest. */
static void key_event(struct sdl_window *w, const SDL_KeyboardEvent *key)
{
    uint16_t code = sdl_key_code(key->keysym.scancode);

    if (!shortcut(w, key) && code && !key->repeat)
        press(w->owner, DISPLAY_KEYS, w->output, code, key->type == SDL_KEYDOWN);
}

static uint16_t button_code(uint8_t button)
{
    static const uint16_t codes[] = {[SDL_BUTTON_LEFT] = BTN_LEFT,
                                     [SDL_BUTTON_MIDDLE] = BTN_MIDDLE,
                                     [SDL_BUTTON_RIGHT] = BTN_RIGHT,
                                     [SDL_BUTTON_X1] = BTN_SIDE,
                                     [SDL_BUTTON_X2] = BTN_EXTRA};

    return button < ARRAY_SIZE(codes) ? codes[button] : 0;
}

/* Without a tablet the first click takes the pointer, and is nothing more. */
static void button_event(struct sdl_window *w, const SDL_MouseButtonEvent *button)
{
    struct sdl_viewer *v = w->owner;
    enum display_input_kind pointer = sdl_input_pointer(v);
    uint16_t code = button_code(button->button);

    if (!pointer && button->type == SDL_MOUSEBUTTONDOWN &&
        display_inputs(v->viewer.display) & DISPLAY_RELATIVE)
        sdl_pointer_grab(w, true);
    if (!pointer || !code)
        return;
    v->pointer = pointer;
    v->pointed = w->output;
    press(v, pointer, w->output, code, button->type == SDL_MOUSEBUTTONDOWN);
}

/* --- motion ----------------------------------------------------------------------------------- */

/* `at` of `size` pixels, as a tablet says it. */
static int32_t absolute(int64_t at, int size)
{
    if (at <= 0 || size <= 1)
        return 0;
    return at >= size ? DISPLAY_ABSOLUTE_MAX : (int32_t)(at * DISPLAY_ABSOLUTE_MAX / (size - 1));
}

/* A place in the window, in SDL's units, to one in the picture. */
static void place(const struct sdl_window *w, double x, double y, int32_t *out_x, int32_t *out_y)
{
    int width, height, across, down;

    SDL_GetWindowSize(w->window, &width, &height);
    SDL_GetWindowSizeInPixels(w->window, &across, &down);
    *out_x = absolute((int64_t)(x * across / MAX(width, 1)) - w->area.x, w->area.w);
    *out_y = absolute((int64_t)(y * down / MAX(height, 1)) - w->area.y, w->area.h);
}

static void motion_event(struct sdl_window *w, const SDL_MouseMotionEvent *motion)
{
    struct sdl_viewer *v = w->owner;
    enum display_input_kind pointer = sdl_input_pointer(v);
    struct display_event events[3] = {{0}};

    if (pointer == DISPLAY_RELATIVE) {
        events[0] = (struct display_event){EV_REL, REL_X, motion->xrel};
        events[1] = (struct display_event){EV_REL, REL_Y, motion->yrel};
    } else {
        events[0] = (struct display_event){EV_ABS, ABS_X, 0};
        events[1] = (struct display_event){EV_ABS, ABS_Y, 0};
        place(w, motion->x, motion->y, &events[0].value, &events[1].value);
    }
    if (pointer)
        send(v, pointer, w->output, events, 2);
}

static void wheel_event(struct sdl_window *w, const SDL_MouseWheelEvent *wheel)
{
    enum display_input_kind pointer = sdl_input_pointer(w->owner);
    int sign = wheel->direction == SDL_MOUSEWHEEL_FLIPPED ? -1 : 1;
    struct display_event events[3] = {{0}};
    size_t count = 0;

    if (wheel->y)
        events[count++] = (struct display_event){EV_REL, REL_WHEEL, sign * wheel->y};
    if (wheel->x)
        events[count++] = (struct display_event){EV_REL, REL_HWHEEL, sign * wheel->x};
    if (pointer && count)
        send(w->owner, pointer, w->output, events, count);
}

/* --- touch ------------------------------------------------------------------------------------ */

/* The slot of a finger; a new one for one that comes; -1: there is none, or it is not known. */
static int finger_slot(struct sdl_viewer *v, SDL_FingerID finger, bool comes)
{
    for (int i = 0; i < SDL_TOUCH_SLOTS; i++)
        if (v->touching[i] && v->fingers[i] == finger)
            return i;
    for (int i = 0; comes && i < SDL_TOUCH_SLOTS; i++)
        if (!v->touching[i]) {
            v->touching[i] = true;
            v->fingers[i] = finger;
            return i;
        }
    return -1;
}

static bool touches(const struct sdl_viewer *v)
{
    bool any = false;

    for (int i = 0; i < SDL_TOUCH_SLOTS; i++)
        any |= v->touching[i];
    return any;
}

static void touch_event(struct sdl_window *w, const SDL_TouchFingerEvent *touch)
{
    struct sdl_viewer *v = w->owner;
    bool before = touches(v), lifts = touch->type == SDL_FINGERUP;
    int slot = finger_slot(v, touch->fingerId, touch->type == SDL_FINGERDOWN);
    struct display_event events[6];
    int32_t x, y, width, height;
    size_t count = 0;

    if (slot < 0)
        return;
    SDL_GetWindowSize(w->window, &width, &height);
    place(w, (double)touch->x * width, (double)touch->y * height, &x, &y);
    events[count++] = (struct display_event){EV_ABS, ABS_MT_SLOT, slot};
    if (touch->type != SDL_FINGERMOTION)
        events[count++] = (struct display_event){EV_ABS, ABS_MT_TRACKING_ID, lifts ? -1 : slot};
    if (!lifts) {
        events[count++] = (struct display_event){EV_ABS, ABS_MT_POSITION_X, x};
        events[count++] = (struct display_event){EV_ABS, ABS_MT_POSITION_Y, y};
    }
    v->touching[slot] = !lifts;
    if (touches(v) != before)
        events[count++] = (struct display_event){EV_KEY, BTN_TOUCH, !before};
    send(v, DISPLAY_TOUCH, w->output, events, count);
}

/* --- all of it -------------------------------------------------------------------------------- */

/* SDL makes up a mouse for who has no use for touch. */
static bool made_up(const struct sdl_viewer *v, uint32_t which)
{
    return which == SDL_TOUCH_MOUSEID && display_inputs(v->viewer.display) & DISPLAY_TOUCH;
}

void sdl_input_event(struct sdl_viewer *v, const SDL_Event *event)
{
    struct sdl_window *w =
        sdl_window_find(v, event->type == SDL_FINGERDOWN || event->type == SDL_FINGERMOTION ||
                                   event->type == SDL_FINGERUP
                               ? event->tfinger.windowID
                               : event->window.windowID);

    if (!w)
        return;
    switch (event->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        key_event(w, &event->key);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        if (!made_up(v, event->button.which))
            button_event(w, &event->button);
        break;
    case SDL_MOUSEMOTION:
        if (!made_up(v, event->motion.which))
            motion_event(w, &event->motion);
        break;
    case SDL_MOUSEWHEEL:
        wheel_event(w, &event->wheel);
        break;
    case SDL_FINGERDOWN:
    case SDL_FINGERMOTION:
    case SDL_FINGERUP:
        if (display_inputs(v->viewer.display) & DISPLAY_TOUCH)
            touch_event(w, &event->tfinger);
        break;
    }
}
