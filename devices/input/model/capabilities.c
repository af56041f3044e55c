#include "devices/input/model/capabilities.h"

#include "base/bytes.h"
#include "devices/display/display.h"

#include <libevdev/libevdev.h>

/* Bits that a type's bitmap has. */
static unsigned code_count(unsigned type)
{
    int last = libevdev_event_type_get_max(type);

    return last < 0 || type == EV_SYN ? 0 : MIN((unsigned)last + 1, (unsigned)KEY_CNT);
}

bool input_has(const struct input_capabilities *c, unsigned type, unsigned code)
{
    return type < EV_CNT && code < KEY_CNT && c->codes[type][code / 8] & 1u << code % 8;
}

void input_add(struct input_capabilities *c, unsigned type, unsigned code)
{
    if (type < EV_CNT && code < code_count(type))
        c->codes[type][code / 8] |= (uint8_t)(1u << code % 8);
}

/* --- kinds ------------------------------------------------------------------------------------ */

bool input_is_key(unsigned code)
{
    const char *name = libevdev_event_code_get_name(EV_KEY, code);

    return name && code != KEY_RESERVED && code != KEY_MAX && strncmp(name, "KEY_", 4) == 0;
}

static void add_range(struct input_capabilities *c, unsigned type, unsigned first, unsigned last)
{
    for (unsigned code = first; code <= last; code++)
        input_add(c, type, code);
}

static void add_axis(struct input_capabilities *c, unsigned axis, int32_t max)
{
    input_add(c, EV_ABS, axis);
    c->axes[axis] = (struct input_absinfo){.maximum = max};
}

static void add_wheels(struct input_capabilities *c)
{
    input_add(c, EV_REL, REL_WHEEL);
    input_add(c, EV_REL, REL_HWHEEL);
    input_add(c, EV_REL, REL_WHEEL_HI_RES);
    input_add(c, EV_REL, REL_HWHEEL_HI_RES);
}

/* With EV_REP it is the driver's side that repeats keys that are held down. */
static void add_keyboard(struct input_capabilities *c)
{
    for (unsigned code = 0; code < KEY_CNT; code++)
        if (input_is_key(code))
            input_add(c, EV_KEY, code);
    add_range(c, EV_LED, LED_NUML, LED_SCROLLL);
    add_range(c, EV_REP, REP_DELAY, REP_PERIOD);
}

static void add_mouse(struct input_capabilities *c)
{
    add_range(c, EV_KEY, BTN_LEFT, BTN_TASK);
    input_add(c, EV_REL, REL_X);
    input_add(c, EV_REL, REL_Y);
    add_wheels(c);
}

static void add_tablet(struct input_capabilities *c)
{
    add_range(c, EV_KEY, BTN_LEFT, BTN_TASK);
    add_wheels(c);
    add_axis(c, ABS_X, DISPLAY_ABSOLUTE_MAX);
    add_axis(c, ABS_Y, DISPLAY_ABSOLUTE_MAX);
}

static void add_multitouch(struct input_capabilities *c)
{
    input_add(c, EV_KEY, BTN_TOUCH);
    add_axis(c, ABS_MT_SLOT, INPUT_SLOTS - 1);
    add_axis(c, ABS_MT_TRACKING_ID, UINT16_MAX);
    add_axis(c, ABS_MT_POSITION_X, DISPLAY_ABSOLUTE_MAX);
    add_axis(c, ABS_MT_POSITION_Y, DISPLAY_ABSOLUTE_MAX);
    c->properties[INPUT_PROP_DIRECT / 8] |= 1u << INPUT_PROP_DIRECT % 8;
}

void input_add_kinds(struct input_capabilities *c, unsigned kinds)
{
    if (kinds & DISPLAY_KEYS)
        add_keyboard(c);
    if (kinds & DISPLAY_RELATIVE)
        add_mouse(c);
    if (kinds & DISPLAY_ABSOLUTE)
        add_tablet(c);
    if (kinds & DISPLAY_TOUCH)
        add_multitouch(c);
}

/* --- configuration ---------------------------------------------------------------------------- */

/* Up to the last byte that is not 0 (INP-08). */
static size_t answer_bits(uint8_t *out, const uint8_t *bits, size_t size)
{
    while (size && !bits[size - 1])
        size--;
    memcpy(out, bits, size);
    return size;
}

/* Without its end (INP-04). */
static size_t answer_text(uint8_t *out, const char *text)
{
    size_t length = strlen(text);

    memcpy(out, text, length);
    return length;
}

static size_t answer_ids(uint8_t *out, const struct input_id *ids)
{
    store_le16(out, ids->bustype);
    store_le16(out + 2, ids->vendor);
    store_le16(out + 4, ids->product);
    store_le16(out + 6, ids->version);
    return 8;
}

static size_t answer_axis(uint8_t *out, const struct input_absinfo *axis)
{
    store_le32(out, (uint32_t)axis->minimum);
    store_le32(out + 4, (uint32_t)axis->maximum);
    store_le32(out + 8, (uint32_t)axis->fuzz);
    store_le32(out + 12, (uint32_t)axis->flat);
    store_le32(out + 16, (uint32_t)axis->resolution);
    return 20;
}

static size_t answer(const struct input_capabilities *c, uint8_t select, uint8_t subsel,
                     uint8_t *out)
{
    switch (select) {
    case INPUT_SELECT_ID_NAME:
        return subsel ? 0 : answer_text(out, c->name);
    case INPUT_SELECT_ID_SERIAL:
        return subsel ? 0 : answer_text(out, c->serial);
    case INPUT_SELECT_ID_DEVIDS:
        return subsel ? 0 : answer_ids(out, &c->ids);
    case INPUT_SELECT_PROP_BITS:
        return subsel ? 0 : answer_bits(out, c->properties, sizeof(c->properties));
    case INPUT_SELECT_EV_BITS:
        return subsel >= EV_CNT ? 0 : answer_bits(out, c->codes[subsel], sizeof(c->codes[0]));
    case INPUT_SELECT_ABS_INFO:
        return input_has(c, EV_ABS, subsel) ? answer_axis(out, &c->axes[subsel]) : 0;
    default:
        return 0;
    }
}

void input_config_fill(const struct input_capabilities *c, uint8_t select, uint8_t subsel,
                       uint8_t out[INPUT_CONFIG_BYTES])
{
    memset(out, 0, INPUT_CONFIG_BYTES);
    out[INPUT_CONFIG_SELECT] = select;
    out[INPUT_CONFIG_SUBSEL] = subsel;
    out[INPUT_CONFIG_SIZE] = (uint8_t)answer(c, select, subsel, out + INPUT_CONFIG_ANSWER);
}
