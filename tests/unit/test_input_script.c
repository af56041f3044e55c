/*
 * virtio-input: scripts, read and played.
 */
#include "input_fixture.h"

#include "devices/input/model/script.h"

#include <stdio.h>

#define MS UINT64_C(1000000)

/* --- reading ---------------------------------------------------------------------------------- */

static struct input_script script;
static size_t at;

static void parse(const char *text, unsigned kinds)
{
    struct error err = ERROR_INIT;

    input_script_free(&script);
    at = 0;
    if (input_script_parse(&script, text, kinds, &err))
        fail_msg("%s: %s", text, err.text);
}

static void next(uint64_t delay_ns, unsigned type, unsigned code, int32_t value)
{
    assert_true(at < script.count);
    assert_int_equal(script.events[at].event.type, type);
    assert_int_equal(script.events[at].event.code, code);
    assert_int_equal(script.events[at].event.value, value);
    assert_int_equal(script.events[at].delay_ns, delay_ns);
    at++;
}

static void next_end(void)
{
    next(0, EV_SYN, SYN_REPORT, 0);
}

static void next_key(uint64_t delay_ns, unsigned code, int32_t value)
{
    next(delay_ns, EV_KEY, code, value);
    next_end();
}

static void at_end(void)
{
    assert_int_equal(at, script.count);
}

static void keys(void **state)
{
    (void)state;
    parse("key A\n\n # nothing\n+250ms\tkey KEY_B down # and a comment\r\nkey B up\n", 0);
    assert_int_equal(script.kinds, DISPLAY_KEYS);
    next_key(0, KEY_A, 1);
    next_key(10 * MS, KEY_A, 0);
    next_key(260 * MS, KEY_B, 1);
    next_key(0, KEY_B, 0);
    at_end();
    parse("pace 1.5ms\nkey LEFTCTRL+LEFTALT+DELETE", 0);
    next_key(0, KEY_LEFTCTRL, 1);
    next_key(0, KEY_LEFTALT, 1);
    next_key(0, KEY_DELETE, 1);
    next_key(1500000, KEY_DELETE, 0);
    next_key(0, KEY_LEFTALT, 0);
    next_key(0, KEY_LEFTCTRL, 0);
    at_end();
}

static void text(void **state)
{
    (void)state;
    parse("pace 0ms\ntype \"a# \\\"\\n\\\\\\t\"", 0);
    next_key(0, KEY_A, 1);
    next_key(0, KEY_A, 0);
    next_key(0, KEY_LEFTSHIFT, 1);
    next_key(0, KEY_3, 1);
    next_key(0, KEY_3, 0);
    next_key(0, KEY_LEFTSHIFT, 0);
    next_key(0, KEY_SPACE, 1);
    next_key(0, KEY_SPACE, 0);
    next_key(0, KEY_LEFTSHIFT, 1);
    next_key(0, KEY_APOSTROPHE, 1);
    next_key(0, KEY_APOSTROPHE, 0);
    next_key(0, KEY_LEFTSHIFT, 0);
    next_key(0, KEY_ENTER, 1);
    next_key(0, KEY_ENTER, 0);
    next_key(0, KEY_BACKSLASH, 1);
    next_key(0, KEY_BACKSLASH, 0);
    next_key(0, KEY_TAB, 1);
    next_key(0, KEY_TAB, 0);
    at_end();
}

/* Every character that can be printed has a key, and no two have the same one. */
static void every_character(void **state)
{
    bool seen[2][KEY_CNT] = {{false}};

    (void)state;
    for (char c = ' '; c <= '~'; c++) {
        char line[] = {'t', 'y', 'p', 'e', ' ', '"', '\\', c, '"', 0, 0};
        bool shift;
        unsigned code;

        if (c != '"' && c != '\\')
            memmove(line + 6, line + 7, 4);
        parse(line, 0);
        shift = script.events[0].event.code == KEY_LEFTSHIFT;
        code = script.events[shift ? 2 : 0].event.code;
        assert_int_equal(script.count, shift ? 8 : 4);
        assert_false(seen[shift][code]);
        seen[shift][code] = true;
    }
}

static void mouse(void **state)
{
    (void)state;
    parse("rel 10 -5\nrel 0 3\nbutton left down\n+1s button left up\nwheel -1\nhwheel 2", 0);
    assert_int_equal(script.kinds, DISPLAY_RELATIVE);
    next(0, EV_REL, REL_X, 10);
    next(0, EV_REL, REL_Y, -5);
    next_end();
    next(0, EV_REL, REL_Y, 3);
    next_end();
    next_key(0, BTN_LEFT, 1);
    next_key(1000 * MS, BTN_LEFT, 0);
    next(0, EV_REL, REL_WHEEL, -1);
    next(0, EV_REL, REL_WHEEL_HI_RES, -120);
    next_end();
    next(0, EV_REL, REL_HWHEEL, 2);
    next(0, EV_REL, REL_HWHEEL_HI_RES, 240);
    next_end();
    at_end();
}

static void tablet(void **state)
{
    (void)state;
    parse("wait 2ms\nmove 100 50%\nbutton middle", 0);
    assert_int_equal(script.kinds, DISPLAY_ABSOLUTE);
    next(2 * MS, EV_ABS, ABS_X, 100);
    next(0, EV_ABS, ABS_Y, 16383);
    next_end();
    next_key(0, BTN_MIDDLE, 1);
    next_key(10 * MS, BTN_MIDDLE, 0);
    at_end();
}

static void next_place(int x, int y)
{
    next(0, EV_ABS, ABS_MT_POSITION_X, x);
    next(0, EV_ABS, ABS_MT_POSITION_Y, y);
    next_end();
}

/* Protocol B: BTN_TOUCH from the first finger to the last. */
static void touches(void **state)
{
    (void)state;
    parse("touch 0 down 10 20\ntouch 9 down 100% 0\ntouch 0 move 11 21\ntouch 0 up\ntouch 9 up", 0);
    assert_int_equal(script.kinds, DISPLAY_TOUCH);
    next(0, EV_ABS, ABS_MT_SLOT, 0);
    next(0, EV_ABS, ABS_MT_TRACKING_ID, 0);
    next(0, EV_KEY, BTN_TOUCH, 1);
    next_place(10, 20);
    next(0, EV_ABS, ABS_MT_SLOT, 9);
    next(0, EV_ABS, ABS_MT_TRACKING_ID, 1);
    next_place(32767, 0);
    next(0, EV_ABS, ABS_MT_SLOT, 0);
    next_place(11, 21);
    next(0, EV_ABS, ABS_MT_SLOT, 0);
    next(0, EV_ABS, ABS_MT_TRACKING_ID, -1);
    next_end();
    next(0, EV_ABS, ABS_MT_SLOT, 9);
    next(0, EV_ABS, ABS_MT_TRACKING_ID, -1);
    next(0, EV_KEY, BTN_TOUCH, 0);
    next_end();
    at_end();
}

/* A device has all that its script uses, or what kind= says. */
static void kinds_of_scripts(void **state)
{
    (void)state;
    parse("button left", 0);
    assert_int_equal(script.kinds, DISPLAY_RELATIVE);
    parse("key A\nbutton left\nmove 0 0", 0);
    assert_int_equal(script.kinds, DISPLAY_KEYS | DISPLAY_ABSOLUTE);
    parse("button left", DISPLAY_ABSOLUTE);
    assert_int_equal(script.kinds, DISPLAY_ABSOLUTE);
    parse("# nothing yet", DISPLAY_TOUCH);
    assert_int_equal(script.kinds, DISPLAY_TOUCH);
    input_script_free(&script);
}

static const struct {
    const char *text;
    unsigned kinds;
    const char *why;
} mistaken[] = {
    {"", 0, "the script does nothing"},
    {"wait 1s", 0, "the script does nothing"},
    {"key A\n\nkye B", 0, "line 3: unknown statement 'kye' (key, type, "},
    {"key", 0, "line 1: must be: key NAME"},
    {"key A down now", 0, "line 1: must be: key NAME"},
    {"key A press", 0, "line 1: 'press': must be down or up"},
    {"key NOSUCH", 0, "line 1: there is no key KEY_NOSUCH"},
    {"key BTN_LEFT", 0, "line 1: there is no key KEY_BTN_LEFT"},
    {"key RESERVED", 0, "line 1: there is no key KEY_RESERVED"},
    {"key MAX", 0, "line 1: there is no key KEY_MAX"},
    {"key A++B", 0, "line 1: there is no key KEY_ "},
    {"key A+B+C+D+E+F+G+H+I", 0, "line 1: more than 8 keys"},
    {"+5 key A", 0, "line 1: '5' is no time"},
    {"+-5s key A", 0, "line 1: '-5s' is no time"},
    {"+infs key A", 0, "line 1: 'infs' is no time"},
    {"+2h key A", 0, "line 1: '2h' is no time"},
    {"+1e9s key A", 0, "line 1: the time '1e9s' is longer than an hour"},
    {"+5s", 0, "line 1: a statement is missing behind '+5s'"},
    {"wait", 0, "line 1: must be: wait TIME"},
    {"pace 1", 0, "line 1: '1' is no time"},
    {"type hello", 0, "line 1: the text must be in quotes"},
    {"type \"hello", 0, "line 1: the text in quotes has no end"},
    {"type \"hello\\\"", 0, "line 1: the text in quotes has no end"},
    {"type \"a\"b", 0, "line 1: a space is missing"},
    {"type \"\\x\"", 0, "line 1: unknown escape '\\x'"},
    {"type \"\xc3\xa9\"", 0, "line 1: a US keyboard has no key for byte 0xc3"},
    {"1 2 3 4 5 6 7 8 9", 0, "line 1: too many words"},
    {"move 1", 0, "line 1: must be: move X Y"},
    {"move 32768 0", 0, "line 1: '32768' is no number from 0 to 32767"},
    {"move -1 0", 0, "line 1: '-1' is no number"},
    {"move 101% 0", 0, "line 1: '101' is no number from 0 to 100"},
    {"move 5x 0", 0, "line 1: '5x' is no number"},
    {"rel 1 99999999999999999999", 0, "line 1: '99999999999999999999' is no number"},
    {"button bottom", 0, "line 1: there is no button 'bottom'"},
    {"touch 10 down 1 1", 0, "line 1: '10' is no number from 0 to 9"},
    {"touch 0 up", 0, "line 1: finger 0 is not down"},
    {"touch 0 move 1 1", 0, "line 1: finger 0 is not down"},
    {"touch 0 down 1 1\ntouch 0 down 1 1", 0, "line 2: finger 0 is down already"},
    {"touch 0 down 1", 0, "line 1: touch N down takes two places"},
    {"touch 0 down 1 1\ntouch 0 up 1 1", 0, "line 2: touch N up takes nothing more"},
    {"touch 0 press 1 1", 0, "line 1: 'press': must be down, move or up"},
    {"rel 1 1\nmove 1 1", 0, "line 2: 'move' is not for the same device"},
    {"button left\ntouch 0 down 1 1", 0, "line 2: 'touch' is not for the same device"},
    {"touch 0 down 1 1\nwheel 1", 0, "line 2: 'wheel' is not for the same device"},
    {"key A\nmove 1 1", DISPLAY_KEYS, "line 2: 'move' is not for a device of this kind="},
    {"button left", DISPLAY_KEYS, "line 1: 'button' is not for a device of this kind="},
};

/* Each names the line and the reason. */
static void mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(mistaken); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(input_script_parse(&script, mistaken[i].text, mistaken[i].kinds, &err),
                         -EINVAL);
        if (strncmp(err.text, mistaken[i].why, strlen(mistaken[i].why)) != 0)
            fail_msg("%s: '%s' instead of '%s'", mistaken[i].text, err.text, mistaken[i].why);
        assert_int_equal(script.count, 0);
    }
}

static void write_file(char path[32], const void *bytes, size_t length)
{
    int fd;

    strcpy(path, "/tmp/vireo-input-XXXXXX");
    fd = mkstemp(path);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

static void files(void **state)
{
    char path[32], *big = calloc(1, INPUT_SCRIPT_MAX + 2), expected[80];
    struct error err = ERROR_INIT;

    (void)state;
    memset(big, '\n', INPUT_SCRIPT_MAX + 1);
    write_file(path, big, INPUT_SCRIPT_MAX + 1);
    assert_int_equal(input_script_load(&script, path, 0, &err), -EFBIG);
    unlink(path);
    free(big);
    write_file(path, "key A\0key B", 11);
    assert_int_equal(input_script_load(&script, path, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "it is no text"));
    unlink(path);
    write_file(path, "key A\nkey", 9);
    assert_int_equal(input_script_load(&script, path, 0, &err), -EINVAL);
    snprintf(expected, sizeof(expected), "script: %s: line 2: must be: ", path);
    assert_memory_equal(err.text, expected, strlen(expected));
    unlink(path);
    assert_int_equal(input_script_load(&script, path, 0, &err), -ENOENT);
    assert_int_equal(input_script_load(&script, "/tmp", 0, &err), -EISDIR);
}

/* --- playing ---------------------------------------------------------------------------------- */

static void create_script(struct fixture *f, const char *lines)
{
    static char path[32];

    write_file(path, lines, strlen(lines));
    f->options.script = path;
    assert_int_equal(create(f, NULL), 0);
    unlink(path); /* it was read */
}

/* What the driver has by now. */
static unsigned count_events(struct fixture *f)
{
    struct display_event event;
    unsigned count = 0;

    while (take(f, &event))
        count++;
    return count;
}

/* Time begins when the driver is ready, and events are not early. */
static void begins_with_the_driver(void **state)
{
    struct fixture *f = *state;
    uint64_t begin;

    create_script(f, "key A down\n+60ms key A up\n");
    run_for(f, 80);
    driver_start(f);
    run_for(f, 80);
    expect_nothing(f);
    begin = loop_now_ns();
    offer(f, QUEUE_SIZE);
    expect_key(f, KEY_A, 1);
    assert_int_equal(count_events(f), 0);
    while (!count_events(f))
        run_for(f, 1);
    assert_in_range(loop_now_ns() - begin, 60 * MS, 10000 * MS);
    run_for(f, 20);
    expect_nothing(f);
}

/* Each driver sees it from the beginning, whatever the one before has seen. */
static void begins_again_with_the_next_driver(void **state)
{
    struct fixture *f = *state;

    create_script(f, "key A down\n+30s key A up\n");
    for (int i = 0; i < 3; i++) {
        driver_start(f);
        offer(f, QUEUE_SIZE);
        expect_key(f, KEY_A, 1);
        expect_nothing(f);
        driver_reset(f);
        run_for(f, 1);
    }
}

/* INP-07: a slow driver gets all of it, later: far more than what may wait elsewhere. */
static void no_event_is_lost(void **state)
{
    struct display_event event;
    struct fixture *f = *state;
    char lines[20000] = "pace 0ms\n";
    unsigned keys_seen = 0;

    for (int i = 0; i < 1000; i++)
        strcat(lines, i % 2 ? "key B\n" : "key A\n");
    create_script(f, lines);
    driver_start(f);
    offer(f, 5);
    while (keys_seen < 2000) {
        unsigned got = 0;

        for (; take(f, &event); got++)
            if (event.type == EV_KEY) {
                assert_int_equal(event.code, keys_seen / 2 % 2 ? KEY_B : KEY_A);
                assert_int_equal(event.value, keys_seen % 2 == 0);
                keys_seen++;
            }
        assert_true(got > 0);
        offer(f, got);
    }
    expect_nothing(f);
}

/* What it was late with moves the rest: times between events stay. */
static void times_stay(void **state)
{
    struct fixture *f = *state;
    uint64_t begin;

    create_script(f, "key A down\nkey B down\n+50ms key C down\n");
    driver_start(f);
    offer(f, 2);
    expect_key(f, KEY_A, 1);
    run_for(f, 100);
    begin = loop_now_ns();
    offer(f, 10);
    expect_key(f, KEY_B, 1);
    while (!count_events(f))
        run_for(f, 1);
    assert_in_range(loop_now_ns() - begin, 50 * MS, 10000 * MS);
}

/* A device has what its script uses, with the whole of a keyboard. */
static void capabilities(void **state)
{
    struct fixture *f = *state;

    create_script(f, "key A\nmove 1 1\n");
    assert_true(has_code(f, EV_KEY, KEY_Z) && has_code(f, EV_KEY, BTN_LEFT) &&
                has_code(f, EV_ABS, ABS_X) && !has_code(f, EV_REL, REL_X));
    assert_memory_equal(selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0).u.string, "Vireo keyboard tablet",
                        21);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(text),
        cmocka_unit_test(every_character),
        cmocka_unit_test(mouse),
        cmocka_unit_test(tablet),
        cmocka_unit_test(touches),
        cmocka_unit_test(kinds_of_scripts),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(files),
        T(begins_with_the_driver),
        T(begins_again_with_the_next_driver),
        BOTH(no_event_is_lost),
        T(times_stay),
        T(capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
