/*
 * What clients type and point: made into events on the server's thread, sent by the display's loop.
 */
#include "devices/display/vnc/vnc.h"

#include "base/bytes.h"

#define EVENTS 12

/* By their numbers: bits 1 << 0 and so on of what clients say. */
static const uint16_t button_codes[] = {BTN_LEFT, BTN_MIDDLE, BTN_RIGHT};

struct events {
    struct vnc_screen *screen;
    bool pointer; /* for a tablet or a mouse, else a keyboard */
    int x, y, by_x, by_y, wheel, wheel_across;
    bool moved;
    struct display_event keys[EVENTS];
    size_t count;
};

static void add(struct events *e, uint16_t code, bool down)
{
    e->keys[e->count++] = (struct display_event){EV_KEY, code, down};
}

/* --- on the display's loop -------------------------------------------------------------------- */

static void send_keys(struct events *e)
{
    for (size_t i = 0; i < e->count; i++) {
        struct display_event events[2] = {e->keys[i], {EV_SYN, SYN_REPORT, 0}};

        display_input(e->screen->owner->viewer.display, DISPLAY_KEYS, e->screen->output, events, 2);
    }
}

static int32_t absolute(int at, uint32_t size)
{
    int64_t last = size > 1 ? (int64_t)size - 1 : 1;

    return (int32_t)(MIN(MAX(at, 0), last) * DISPLAY_ABSOLUTE_MAX / last);
}

static void send_pointer(struct events *e)
{
    struct display *display = e->screen->owner->viewer.display;
    const struct display_picture *picture = &e->screen->source.picture;
    bool tablet = display_inputs(display) & DISPLAY_ABSOLUTE;
    struct display_event out[EVENTS + 5];
    size_t n = 0;

    if (e->moved && tablet) {
        out[n++] = (struct display_event){EV_ABS, ABS_X, absolute(e->x, picture->width)};
        out[n++] = (struct display_event){EV_ABS, ABS_Y, absolute(e->y, picture->height)};
    } else if (e->by_x || e->by_y) {
        out[n++] = (struct display_event){EV_REL, REL_X, e->by_x};
        out[n++] = (struct display_event){EV_REL, REL_Y, e->by_y};
    }
    for (size_t i = 0; i < e->count; i++)
        out[n++] = e->keys[i];
    if (e->wheel)
        out[n++] = (struct display_event){EV_REL, REL_WHEEL, e->wheel};
    if (e->wheel_across)
        out[n++] = (struct display_event){EV_REL, REL_HWHEEL, e->wheel_across};
    out[n++] = (struct display_event){EV_SYN, SYN_REPORT, 0};
    if (n > 1)
        display_input(display, tablet ? DISPLAY_ABSOLUTE : DISPLAY_RELATIVE, e->screen->output, out,
                      n);
}

static void send_events(void *arg)
{
    struct events *e = arg;

    if (e->pointer)
        send_pointer(e);
    else
        send_keys(e);
}

/* --- keys ------------------------------------------------------------------------------------- */

static bool is_pressed(const struct vnc_client *c, uint16_t code)
{
    return c->pressed[code / 8] & 1 << code % 8;
}

static void set_pressed(struct vnc_client *c, uint16_t code, bool down)
{
    if (is_pressed(c, code) != down)
        c->pressed[code / 8] ^= (uint8_t)(1 << code % 8);
}

/* Have a modifier be as a character needs it, for as long as its key goes down: a client whose
 * layout is another, or that sends no modifiers at all. Returns whether it was changed. */
static bool borrow(struct events *e, const struct vnc_client *c, uint16_t left, uint16_t right,
                   bool wanted)
{
    bool held = is_pressed(c, left) || is_pressed(c, right);

    if (held == wanted)
        return false;
    if (wanted)
        add(e, left, true);
    if (!wanted && is_pressed(c, left))
        add(e, left, false);
    if (!wanted && right != left && is_pressed(c, right))
        add(e, right, false);
    return true;
}

static void give_back(struct events *e, const struct vnc_client *c, uint16_t left, uint16_t right)
{
    if (is_pressed(c, left) || is_pressed(c, right)) {
        if (is_pressed(c, left))
            add(e, left, true);
        if (right != left && is_pressed(c, right))
            add(e, right, true);
    } else {
        add(e, left, false);
    }
}

/* With Ctrl or Alt held it is the key that counts, not what it would write. */
static bool is_shortcut(const struct vnc_client *c)
{
    return is_pressed(c, KEY_LEFTCTRL) || is_pressed(c, KEY_RIGHTCTRL) ||
           is_pressed(c, KEY_LEFTALT) || is_pressed(c, KEY_LEFTMETA);
}

static void press(struct events *e, struct vnc_client *c, const struct keymap_key *key)
{
    bool caps = key->letter && atomic_load(&e->screen->owner->lights) & 1 << LED_CAPSL;
    bool matters = key->character && key->code != KEY_SPACE && !is_shortcut(c);
    bool shift = matters && borrow(e, c, KEY_LEFTSHIFT, KEY_RIGHTSHIFT, key->shift != caps);
    bool alt_gr = matters && borrow(e, c, KEY_RIGHTALT, KEY_RIGHTALT, key->alt_gr);

    add(e, key->code, true);
    if (alt_gr)
        give_back(e, c, KEY_RIGHTALT, KEY_RIGHTALT);
    if (shift)
        give_back(e, c, KEY_LEFTSHIFT, KEY_RIGHTSHIFT);
}

/* Clients repeat held keys by further presses: the guest does that itself. */
void vnc_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
    struct vnc_client *c = cl->clientData;
    struct events e = {.screen = c->screen};
    struct keymap_key key;

    if (!keymap_find(c->screen->owner->keymap, keysym, &key) ||
        is_pressed(c, key.code) == (bool)down)
        return;
    if (down)
        press(&e, c, &key);
    else
        add(&e, key.code, false);
    set_pressed(c, key.code, down);
    handoff_run(&c->screen->owner->display, send_events, &e);
}

/* --- pointer ---------------------------------------------------------------------------------- */

void vnc_pointer(int buttons, int x, int y, rfbClientPtr cl)
{
    struct vnc_client *c = cl->clientData;
    int came = buttons & ~c->buttons, changed = buttons ^ c->buttons;
    struct events e = {.screen = c->screen, .pointer = true, .x = x, .y = y};

    e.moved = !c->placed || x != c->x || y != c->y;
    e.by_x = c->placed ? x - c->x : 0;
    e.by_y = c->placed ? y - c->y : 0;
    for (unsigned i = 0; i < ARRAY_SIZE(button_codes); i++)
        if (changed & 1 << i)
            add(&e, button_codes[i], buttons & 1 << i);
    e.wheel = !!(came & 1 << 3) - !!(came & 1 << 4);
    e.wheel_across = !!(came & 1 << 6) - !!(came & 1 << 5);
    c->buttons = buttons;
    c->x = x;
    c->y = y;
    c->placed = true;
    handoff_run(&c->screen->owner->display, send_events, &e);
}

void vnc_release(struct vnc_client *c)
{
    for (unsigned code = 0; code < KEY_CNT; code++) {
        struct events e = {.screen = c->screen};

        if (!is_pressed(c, (uint16_t)code))
            continue;
        add(&e, (uint16_t)code, false);
        set_pressed(c, (uint16_t)code, false);
        handoff_run(&c->screen->owner->display, send_events, &e);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(button_codes); i++) {
        struct events e = {.screen = c->screen, .pointer = true};

        if (!(c->buttons & 1 << i))
            continue;
        add(&e, button_codes[i], false);
        handoff_run(&c->screen->owner->display, send_events, &e);
    }
    c->buttons = 0;
}
