/*
 * Tables of keys that lack none, and the list of damage: parts of viewers by themselves.
 */
#include "base/bytes.h"
#include "devices/display/common/damage.h"
#include "devices/display/sdl/keys.h"
#include "devices/display/vnc/keymap.h"

#include <SDL.h>
#include <errno.h>
#include <linux/input-event-codes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <xkbcommon/xkbcommon-keysyms.h>

#include <cmocka.h>

/* --- SDL -------------------------------------------------------------------------------------- */

/* What SDL has a name for and Linux no key: calculators, mainframes, telephones. */
static bool linux_lacks(int scancode)
{
    static const int lacking[] = {
        SDL_SCANCODE_PRIOR,
        SDL_SCANCODE_SEPARATOR,
        SDL_SCANCODE_OUT,
        SDL_SCANCODE_OPER,
        SDL_SCANCODE_CLEARAGAIN,
        SDL_SCANCODE_CRSEL,
        SDL_SCANCODE_EXSEL,
        SDL_SCANCODE_THOUSANDSSEPARATOR,
        SDL_SCANCODE_DECIMALSEPARATOR,
        SDL_SCANCODE_KP_00,
        SDL_SCANCODE_KP_000,
        SDL_SCANCODE_CURRENCYUNIT,
        SDL_SCANCODE_ENDCALL,
        SDL_SCANCODE_SOFTLEFT,
        SDL_SCANCODE_SOFTRIGHT,
        SDL_SCANCODE_CURRENCYSUBUNIT,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(lacking); i++)
        if (lacking[i] == scancode)
            return true;
    return scancode >= SDL_SCANCODE_KP_LEFTBRACE && scancode <= SDL_SCANCODE_KP_HEXADECIMAL &&
           scancode != SDL_SCANCODE_KP_PLUSMINUS;
}

static void test_every_scancode_has_its_key(void **state)
{
    unsigned keys = 0;

    (void)state;
    for (int code = 1; code < SDL_NUM_SCANCODES; code++) {
        bool named = SDL_GetScancodeName((SDL_Scancode)code)[0] != '\0';

        if (!named)
            continue;
        if (!!sdl_key_code(code) == linux_lacks(code))
            fail_msg("scancode %d, '%s'", code, SDL_GetScancodeName((SDL_Scancode)code));
        keys += sdl_key_code(code) != 0;
    }
    assert_true(keys > 150);
}

/* The mistakes that are easy to make. */
static void test_scancodes_by_name(void **state)
{
    static const struct {
        SDL_Scancode scancode;
        uint16_t code;
    } some[] = {
        {SDL_SCANCODE_A, KEY_A},
        {SDL_SCANCODE_0, KEY_0},
        {SDL_SCANCODE_RETURN, KEY_ENTER},
        {SDL_SCANCODE_NONUSBACKSLASH, KEY_102ND},
        {SDL_SCANCODE_PRINTSCREEN, KEY_SYSRQ},
        {SDL_SCANCODE_LGUI, KEY_LEFTMETA},
        {SDL_SCANCODE_RALT, KEY_RIGHTALT},
        {SDL_SCANCODE_KP_ENTER, KEY_KPENTER},
        {SDL_SCANCODE_APPLICATION, KEY_COMPOSE},
        {SDL_SCANCODE_F24, KEY_F24},
        {SDL_SCANCODE_INTERNATIONAL1, KEY_RO},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
        assert_int_equal(sdl_key_code(some[i].scancode), some[i].code);
    assert_int_equal(sdl_key_code(-1), 0);
    assert_int_equal(sdl_key_code(SDL_NUM_SCANCODES), 0);
}

/* --- VNC -------------------------------------------------------------------------------------- */

static struct keymap *open_layout(const char *layout)
{
    struct error err = ERROR_INIT;
    struct keymap *keymap = NULL;

    if (keymap_create(layout, &keymap, &err))
        fail_msg("%s", err.text);
    return keymap;
}

static void assert_key(const struct keymap *keymap, uint32_t keysym, uint16_t code, bool shift,
                       bool alt_gr)
{
    struct keymap_key key;

    if (!keymap_find(keymap, keysym, &key))
        fail_msg("no key for keysym %#x", keysym);
    assert_int_equal(key.code, code);
    assert_int_equal(key.shift, shift);
    assert_int_equal(key.alt_gr, alt_gr);
}

static void test_us_layout_has_all_of_ascii(void **state)
{
    struct keymap *keymap = open_layout("us");
    struct keymap_key key;

    (void)state;
    for (uint32_t character = ' '; character < 0x7f; character++) {
        assert_true(keymap_find(keymap, character, &key));
        assert_int_equal(key.letter, (character | 0x20) >= 'a' && (character | 0x20) <= 'z');
        assert_false(key.alt_gr);
        if (key.letter)
            assert_int_equal(key.shift, character < 'a');
    }
    assert_key(keymap, '@', KEY_2, true, false);
    assert_key(keymap, '2', KEY_2, false, false);
    assert_key(keymap, 0x01000040, KEY_2, true, false); /* '@' as Unicode */
    keymap_destroy(keymap);
}

/* What is no character has no modifiers. */
static void test_keys_that_write_nothing(void **state)
{
    static const struct {
        uint32_t keysym;
        uint16_t code;
    } some[] = {
        {XKB_KEY_Return, KEY_ENTER},
        {XKB_KEY_Escape, KEY_ESC},
        {XKB_KEY_BackSpace, KEY_BACKSPACE},
        {XKB_KEY_Tab, KEY_TAB},
        {XKB_KEY_ISO_Left_Tab, KEY_TAB},
        {XKB_KEY_Delete, KEY_DELETE},
        {XKB_KEY_Home, KEY_HOME},
        {XKB_KEY_Prior, KEY_PAGEUP},
        {XKB_KEY_Up, KEY_UP},
        {XKB_KEY_F1, KEY_F1},
        {XKB_KEY_F12, KEY_F12},
        {XKB_KEY_Shift_L, KEY_LEFTSHIFT},
        {XKB_KEY_Shift_R, KEY_RIGHTSHIFT},
        {XKB_KEY_Control_L, KEY_LEFTCTRL},
        {XKB_KEY_Alt_L, KEY_LEFTALT},
        {XKB_KEY_Alt_R, KEY_RIGHTALT},
        {XKB_KEY_Super_L, KEY_LEFTMETA},
        {XKB_KEY_ISO_Level3_Shift, KEY_RIGHTALT},
        {XKB_KEY_Caps_Lock, KEY_CAPSLOCK},
        {XKB_KEY_Num_Lock, KEY_NUMLOCK},
        {XKB_KEY_Scroll_Lock, KEY_SCROLLLOCK},
        {XKB_KEY_Print, KEY_SYSRQ},
        {XKB_KEY_Pause, KEY_PAUSE},
        {XKB_KEY_Menu, KEY_COMPOSE},
        {XKB_KEY_KP_Enter, KEY_KPENTER},
        {XKB_KEY_KP_Add, KEY_KPPLUS},
        {XKB_KEY_KP_7, KEY_KP7},
        {XKB_KEY_KP_Home, KEY_KP7},
        {XKB_KEY_KP_Decimal, KEY_KPDOT},
    };
    struct keymap *keymap = open_layout("us");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
        assert_key(keymap, some[i].keysym, some[i].code, false, false);
    keymap_destroy(keymap);
}

static void test_other_layouts(void **state)
{
    struct keymap *german = open_layout("de"), *french = open_layout("fr"), *none = NULL;
    struct error err = ERROR_INIT;

    (void)state;
    assert_key(german, 'z', KEY_Y, false, false);
    assert_key(german, '@', KEY_Q, false, true);
    assert_key(german, XKB_KEY_udiaeresis, KEY_LEFTBRACE, false, false);
    assert_key(french, 'a', KEY_Q, false, false);
    assert_key(french, '1', KEY_1, true, false);
    keymap_destroy(german);
    keymap_destroy(french);
    assert_int_equal(keymap_create("nowhere", &none, &err), -EINVAL);
    assert_string_equal(err.text, "layout: there is no 'nowhere' (package xkb-data has them)");
}

/* --- damage ----------------------------------------------------------------------------------- */

static void test_damage_keeps_what_no_other_holds(void **state)
{
    struct display_damage_list list = {0};

    (void)state;
    display_damage_add(&list, &(struct display_rect){10, 10, 20, 20});
    display_damage_add(&list, &(struct display_rect){15, 15, 5, 5});
    display_damage_add(&list, &(struct display_rect){0, 0, 0, 5});
    assert_int_equal(list.count, 1);
    display_damage_add(&list, &(struct display_rect){100, 10, 1, 1});
    assert_int_equal(display_damage_pixels(&list), 401);
    display_damage_add(&list, &(struct display_rect){5, 5, 200, 200});
    assert_int_equal(list.count, 1);
    assert_int_equal(display_damage_pixels(&list), 40000);
}

/* Too many for the list: one that holds all. */
static void test_much_damage_is_one(void **state)
{
    struct display_damage_list list = {0};

    (void)state;
    for (uint32_t i = 0; i < DISPLAY_DAMAGE_MAX; i++)
        display_damage_add(&list, &(struct display_rect){3 * i, 2 * i, 1, 1});
    assert_int_equal(list.count, DISPLAY_DAMAGE_MAX);
    display_damage_add(&list, &(struct display_rect){500, 400, 7, 9});
    assert_int_equal(list.count, 1);
    assert_int_equal(list.rects[0].x, 0);
    assert_int_equal(list.rects[0].width, 507);
    assert_int_equal(list.rects[0].height, 409);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scancode_has_its_key),
        cmocka_unit_test(test_scancodes_by_name),
        cmocka_unit_test(test_us_layout_has_all_of_ascii),
        cmocka_unit_test(test_keys_that_write_nothing),
        cmocka_unit_test(test_other_layouts),
        cmocka_unit_test(test_damage_keeps_what_no_other_holds),
        cmocka_unit_test(test_much_damage_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
