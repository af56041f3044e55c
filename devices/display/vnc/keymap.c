#include "devices/display/vnc/keymap.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/input-event-codes.h>
#include <stdlib.h>
#include <xkbcommon/xkbcommon-keysyms.h>
#include <xkbcommon/xkbcommon.h>

#define XKB_EVDEV_OFFSET 8 /* from Linux' codes to those of XKB's evdev keyboards */
#define LEVELS           4 /* plain, shift, AltGr, both */

struct entry {
    xkb_keysym_t keysym;
    struct keymap_key key;
};

struct keymap {
    struct entry *entries;
    size_t count, capacity;
};

/* Keys of which a layout has several: the one that a PC has. */
static const struct entry fixed[] = {
    {XKB_KEY_ISO_Level3_Shift, {.code = KEY_RIGHTALT}},
    {XKB_KEY_Mode_switch, {.code = KEY_RIGHTALT}},
    {XKB_KEY_Meta_L, {.code = KEY_LEFTMETA}},
    {XKB_KEY_Meta_R, {.code = KEY_RIGHTMETA}},
    {XKB_KEY_Super_L, {.code = KEY_LEFTMETA}},
    {XKB_KEY_Super_R, {.code = KEY_RIGHTMETA}},
    {XKB_KEY_Alt_R, {.code = KEY_RIGHTALT}},
    {XKB_KEY_Sys_Req, {.code = KEY_SYSRQ}},
    {XKB_KEY_Break, {.code = KEY_PAUSE}},
    {XKB_KEY_ISO_Left_Tab, {.code = KEY_TAB}},
    {XKB_KEY_KP_Decimal, {.code = KEY_KPDOT}},
};

static bool is_keypad(xkb_keysym_t keysym)
{
    return keysym >= XKB_KEY_KP_Space && keysym <= XKB_KEY_KP_Equal;
}

static void add(struct keymap *k, xkb_keysym_t keysym, struct keymap_key key)
{
    struct entry *grown;

    for (size_t i = 0; i < k->count; i++)
        if (k->entries[i].keysym == keysym)
            return;
    if (k->count == k->capacity) {
        grown = realloc(k->entries, (k->capacity + 256) * sizeof(*grown));
        if (!grown)
            return;
        k->entries = grown;
        k->capacity += 256;
    }
    k->entries[k->count++] = (struct entry){keysym, key};
}

static void add_key(struct keymap *k, struct xkb_keymap *xkb, xkb_keycode_t code, unsigned level)
{
    const xkb_keysym_t *keysyms;
    int count = xkb_keymap_key_get_syms_by_level(xkb, code, 0, level, &keysyms);

    for (int i = 0; i < count; i++) {
        struct keymap_key key = {.code = (uint16_t)(code - XKB_EVDEV_OFFSET)};

        key.character = xkb_keysym_to_utf32(keysyms[i]) >= ' ' && !is_keypad(keysyms[i]);
        key.letter = xkb_keysym_to_lower(keysyms[i]) != xkb_keysym_to_upper(keysyms[i]);
        key.shift = key.character && level & 1;
        key.alt_gr = key.character && level & 2;
        add(k, keysyms[i], key);
    }
}

/* The plainest way comes first, and of keys the ones with the lowest codes, which all keyboards
 * have. */
static void fill(struct keymap *k, struct xkb_keymap *xkb)
{
    xkb_keycode_t last = MIN(xkb_keymap_max_keycode(xkb), KEY_MAX + XKB_EVDEV_OFFSET);

    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        add(k, fixed[i].keysym, fixed[i].key);
    for (unsigned level = 0; level < LEVELS; level++)
        for (xkb_keycode_t code = XKB_EVDEV_OFFSET + 1; code <= last; code++)
            add_key(k, xkb, code, level);
}

int keymap_create(const char *layout, struct keymap **out, struct error *err)
{
    struct xkb_rule_names names = {.rules = "evdev", .model = "pc105", .layout = layout};
    struct xkb_context *context = xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
    struct xkb_keymap *xkb = NULL;
    struct keymap *k = calloc(1, sizeof(*k));

    if (context) {
        xkb_context_set_log_level(context, XKB_LOG_LEVEL_CRITICAL);
        xkb = xkb_keymap_new_from_names(context, &names, XKB_KEYMAP_COMPILE_NO_FLAGS);
    }
    if (k && xkb)
        fill(k, xkb);
    xkb_keymap_unref(xkb);
    xkb_context_unref(context);
    if (!xkb || !k || !k->count) {
        keymap_destroy(k);
        return error_set(err, EINVAL, "layout: there is no '%s' (package xkb-data has them)",
                         layout);
    }
    *out = k;
    return 0;
}

void keymap_destroy(struct keymap *k)
{
    if (k)
        free(k->entries);
    free(k);
}

static bool find(const struct keymap *k, xkb_keysym_t keysym, struct keymap_key *out)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->entries[i].keysym == keysym) {
            *out = k->entries[i].key;
            return true;
        }
    return false;
}

/* Characters have a keysym of Unicode's besides the one of old. */
bool keymap_find(const struct keymap *k, uint32_t keysym, struct keymap_key *out)
{
    uint32_t character = xkb_keysym_to_utf32(keysym);

    return find(k, keysym, out) || (character && find(k, xkb_utf32_to_keysym(character), out));
}
