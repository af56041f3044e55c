/*
 * virtio-input: what its configuration says of each kind, what the driver says, and options.
 */
#include "input_fixture.h"

#include "build_directory.h"

/* INP-01, INP-02 */
static void type_and_layout(void **state)
{
    struct fixture *f = *state;
    struct virtio_features features;

    create_kind(f, INPUT_KEYBOARD);
    assert_int_equal(input_model.id, 18);
    assert_int_equal(vireo_module_input.id, 18);
    assert_int_equal(input_model.virtqueue_count(&f->options, 1), 2);
    assert_int_equal(input_model.config_size, sizeof(struct virtio_input_config));
    f->backend->ops->features(f->backend, &features);
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        assert_int_equal(features.word[i], 0);
}

/* INP-02, INP-05, DRV-INP-01: nothing is selected at first and after a reset; only two bytes can be
 * written. */
static void selection(void **state)
{
    struct fixture *f = *state;
    struct virtio_input_config c;

    create_kind(f, INPUT_KEYBOARD);
    c = config_read(f);
    assert_int_equal(c.select | c.subsel | c.size, 0);
    for (uint32_t offset = 2; offset < sizeof(c); offset++)
        config_write(f, offset, 0xff);
    assert_int_equal(config_read(f).size, 0);
    c = selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0);
    assert_int_equal(c.select, VIRTIO_INPUT_CFG_ID_NAME);
    assert_true(c.size > 0);
    for (size_t i = 0; i < sizeof(c.reserved); i++)
        assert_int_equal(c.reserved[i], 0);
    /* At once after either write. */
    config_write(f, 1, 1);
    assert_int_equal(config_read(f).size, 0);
    config_write(f, 0, VIRTIO_INPUT_CFG_EV_BITS);
    assert_true(config_read(f).size > 0);
    /* QEMU writes all of it. */
    c = (struct virtio_input_config){.select = VIRTIO_INPUT_CFG_ID_NAME, .size = 99};
    f->backend->ops->config_write(f->backend, 0, &c, sizeof(c));
    assert_true(config_read(f).size > 0 && config_read(f).size < 99);
    driver_reset(f);
    c = config_read(f);
    assert_int_equal(c.select | c.subsel | c.size, 0);
}

/* INP-05: every pair that there is no answer for; nothing of an answer before is left. */
static void unset_selections(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zero[128];

    create_kind(f, INPUT_KEYBOARD);
    for (unsigned select = 0; select < 256; select++)
        for (unsigned subsel = 0; subsel < 256; subsel++) {
            bool known =
                ((select == VIRTIO_INPUT_CFG_ID_NAME || select == VIRTIO_INPUT_CFG_ID_DEVIDS) &&
                 subsel == 0) ||
                (select == VIRTIO_INPUT_CFG_EV_BITS &&
                 (subsel == EV_KEY || subsel == EV_LED || subsel == EV_REP));
            struct virtio_input_config c = selected(f, (uint8_t)select, (uint8_t)subsel);

            assert_int_equal(c.size != 0, known);
            assert_memory_equal(c.u.bitmap + c.size, zero, 128u - c.size);
        }
}

/* INP-03, INP-04: without their end; the serial number only where there is one. */
static void texts_and_ids(void **state)
{
    struct fixture *f = *state;
    struct virtio_input_config c;
    char name[129];

    memset(name, 'n', 128);
    name[128] = '\0';
    f->options.name = name;
    f->options.serial = (char[]){"s1"};
    create_kind(f, INPUT_MOUSE);
    c = selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0);
    assert_int_equal(c.size, 128);
    assert_memory_equal(c.u.string, name, 128);
    c = selected(f, VIRTIO_INPUT_CFG_ID_SERIAL, 0);
    assert_int_equal(c.size, 2);
    assert_memory_equal(c.u.string, "s1\0", 3);
    c = selected(f, VIRTIO_INPUT_CFG_ID_DEVIDS, 0);
    assert_int_equal(c.size, sizeof(struct virtio_input_devids));
    assert_int_equal(le16toh(c.u.ids.bustype), BUS_VIRTUAL);
}

/* INP-03, INP-08: all keys; lights; the driver's side repeats keys (EV_REP). */
static void keyboard(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    for (unsigned code = KEY_ESC; code <= KEY_MICMUTE; code++)
        if (code != 84 && (code < 195 || code > 199)) /* no names */
            assert_true(has_code(f, EV_KEY, code));
    assert_true(has_code(f, EV_KEY, KEY_OK));
    assert_true(has_code(f, EV_KEY, KEY_BRIGHTNESS_MAX));
    assert_false(has_code(f, EV_KEY, KEY_RESERVED));
    for (unsigned code = BTN_MISC; code < KEY_OK; code++)
        assert_false(has_code(f, EV_KEY, code));
    assert_true(has_code(f, EV_LED, LED_NUML) && has_code(f, EV_LED, LED_CAPSL) &&
                has_code(f, EV_LED, LED_SCROLLL));
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_REP).size, 1);
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_LED).size, 1);
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_REL).size, 0);
}

/* INP-03, INP-08 */
static void mouse(void **state)
{
    static const unsigned axes[] = {
        REL_X, REL_Y, REL_WHEEL, REL_HWHEEL, REL_WHEEL_HI_RES, REL_HWHEEL_HI_RES};
    struct fixture *f = *state;

    create_kind(f, INPUT_MOUSE);
    for (size_t i = 0; i < ARRAY_SIZE(axes); i++)
        assert_true(has_code(f, EV_REL, axes[i]));
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_REL).size, 2);
    assert_true(has_code(f, EV_KEY, BTN_LEFT) && has_code(f, EV_KEY, BTN_TASK));
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_KEY).size, BTN_TASK / 8 + 1);
    assert_false(has_code(f, EV_KEY, KEY_A));
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_PROP_BITS, 0).size, 0);
}

static void axis_is(struct fixture *f, uint8_t axis, uint32_t max)
{
    struct virtio_input_config c = selected(f, VIRTIO_INPUT_CFG_ABS_INFO, axis);

    assert_int_equal(c.size, 20);
    assert_int_equal(c.size, sizeof(struct virtio_input_absinfo));
    assert_int_equal(le32toh(c.u.abs.min), 0);
    assert_int_equal(le32toh(c.u.abs.max), max);
    assert_int_equal(c.u.abs.fuzz | c.u.abs.flat | c.u.abs.res, 0);
}

/* INP-04 */
static void tablet(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_TABLET);
    axis_is(f, ABS_X, 32767);
    axis_is(f, ABS_Y, 32767);
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_ABS_INFO, ABS_Z).size, 0);
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_ABS_INFO, 0xff).size, 0);
    assert_int_equal(selected(f, VIRTIO_INPUT_CFG_EV_BITS, EV_ABS).size, 1);
    assert_true(has_code(f, EV_KEY, BTN_LEFT) && has_code(f, EV_REL, REL_WHEEL));
}

/* INP-03, INP-04 */
static void multitouch(void **state)
{
    struct fixture *f = *state;
    struct virtio_input_config c;

    create_kind(f, INPUT_MULTITOUCH);
    axis_is(f, ABS_MT_SLOT, 9);
    axis_is(f, ABS_MT_TRACKING_ID, 65535);
    axis_is(f, ABS_MT_POSITION_X, 32767);
    axis_is(f, ABS_MT_POSITION_Y, 32767);
    assert_true(has_code(f, EV_KEY, BTN_TOUCH));
    c = selected(f, VIRTIO_INPUT_CFG_PROP_BITS, 0);
    assert_int_equal(c.size, 1);
    assert_int_equal(c.u.bitmap[0], 1 << INPUT_PROP_DIRECT);
}

/* --- status queue ----------------------------------------------------------------------------- */

static uint32_t lights;

static void set_lights(struct display_viewer *viewer, uint32_t on)
{
    (void)viewer;
    lights = on;
}

static void no_destroy(struct display_viewer *viewer)
{
    (void)viewer;
}

/* INP-06, DRV-INP-02: lights reach who looks; other events, and what is too short, are used and
 * ignored; a reset switches lights off. */
static void lights_are_shown(void **state)
{
    static const struct display_viewer_ops ops = {.set_lights = set_lights, .destroy = no_destroy};
    static struct display_viewer viewer;
    struct fixture *f = *state;

    viewer = (struct display_viewer){.ops = &ops};
    create_kind(f, INPUT_KEYBOARD);
    display_attach_viewer(f->display, &viewer);
    lights = 0;
    driver_start(f);
    offer(f, 1);
    say(f, EV_LED, LED_CAPSL, 1);
    assert_int_equal(lights, 1 << LED_CAPSL);
    say(f, EV_LED, LED_NUML, 1);
    say(f, EV_LED, LED_KANA, 1); /* it has none */
    say(f, EV_LED, 0xffff, 1);
    say(f, EV_REP, REP_DELAY, 1);
    say(f, 0xffff, 0xffff, -1);
    say_bytes(f, EV_LED, LED_SCROLLL, 1, 7);
    assert_int_equal(lights, 1 << LED_CAPSL | 1 << LED_NUML);
    say(f, EV_LED, LED_CAPSL, 0);
    assert_int_equal(lights, 1 << LED_NUML);
    assert_false(f->needs_reset);
    driver_reset(f);
    assert_int_equal(lights, 0);
}

/* --- options ---------------------------------------------------------------------------------- */

static void refused(struct fixture *f, struct input_options options, const char *why)
{
    struct error err = ERROR_INIT;

    f->options = options;
    assert_true(create(f, &err) < 0);
    if (!strstr(err.text, why))
        fail_msg("'%s' instead of '%s'", err.text, why);
}

static void options_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    struct display *d = f->display;
    char text[] = "/dev/null", empty[] = "", many[130], number[] = "16";

    memset(many, 'x', 129);
    many[129] = '\0';
    refused(f, (struct input_options){.grab = true, .display = d}, "kind: must be");
    refused(f, (struct input_options){.grab = true, .kind = INPUT_MOUSE}, "no display");
    refused(f, (struct input_options){.grab = true, .evdev = text, .script = text},
            "script: there");
    refused(f, (struct input_options){.grab = true, .evdev = text, .kind = INPUT_MOUSE}, "kind: ");
    refused(f, (struct input_options){.display = d, .kind = INPUT_MOUSE}, "grab: goes with evdev=");
    refused(f, (struct input_options){.grab = true, .evdev = text}, "is no event device");
    refused(f, (struct input_options){.grab = true, .script = text}, "the script does nothing");
    refused(f, (struct input_options){.grab = true, .script = many}, "cannot open xxx");
    refused(f,
            (struct input_options){.grab = true, .display = d, .kind = INPUT_MOUSE, .name = many},
            "name: must have 1 to 128 bytes");
    refused(
        f, (struct input_options){.grab = true, .display = d, .kind = INPUT_MOUSE, .serial = empty},
        "serial: must");
    refused(
        f,
        (struct input_options){.grab = true, .display = d, .kind = INPUT_MOUSE, .output = number},
        "output: goes with");
    refused(
        f,
        (struct input_options){.grab = true, .display = d, .kind = INPUT_TABLET, .output = number},
        "output");
}

/* As everybody else makes one: the code is in the module. */
static void module_is_loaded(void **state)
{
    struct fixture *f = *state;
    struct virtio_input_config c;

    build_directory();
    f->options.kind = INPUT_TABLET;
    assert_int_equal(virtio_builtin_create(&input_model, &f->options, &f->memory, f->loop, QUEUES,
                                           QUEUE_SIZE, &f->backend, NULL),
                     0);
    assert_int_equal(*input_model.display(&f->options) == f->display, true);
    c = selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0);
    assert_int_equal(c.size, strlen("Vireo tablet"));
    assert_memory_equal(c.u.string, "Vireo tablet", c.size);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(type_and_layout),
        T(selection),
        T(unset_selections),
        T(texts_and_ids),
        T(keyboard),
        T(mouse),
        T(tablet),
        T(multitouch),
        BOTH(lights_are_shown),
        T(options_that_do_not_fit),
        T(module_is_loaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
