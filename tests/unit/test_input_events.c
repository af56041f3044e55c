/*
 * virtio-input: events on their way to the driver, with enough buffers and without, across resets.
 */
#include "input_fixture.h"

/* --- groups ----------------------------------------------------------------------------------- */

/* INP-06: evdev's events, in order, each in a buffer of its own. */
static void keys_reach_the_driver(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    expect_nothing(f);
    press(f, KEY_A, 1);
    expect_key(f, KEY_A, 1);
    press(f, KEY_A, 0);
    expect_key(f, KEY_A, 0);
    expect_nothing(f);
}

/* The driver's side repeats keys; what the device does not have is left out, and a group of nothing
 * else as well. */
static void some_events_are_left_out(void **state)
{
    const struct display_event mixed[] = {{EV_KEY, KEY_A, 1}, {EV_KEY, BTN_LEFT, 1},
                                          {EV_REL, REL_X, 1}, {EV_KEY, 0xffff, 1},
                                          {0xffff, 0, 1},     {EV_SYN, 0, 0}};
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    display_input(f->display, DISPLAY_KEYS, 0, mixed, ARRAY_SIZE(mixed));
    expect_key(f, KEY_A, 1);
    press(f, KEY_A, 2);
    expect_nothing(f);
}

/* A notch of a wheel comes with its finer axis, unless who looks said it. */
static void wheels_have_both_axes(void **state)
{
    const struct display_event coarse[] = {{EV_REL, REL_WHEEL, -2}, {EV_SYN, 0, 0}};
    const struct display_event both[] = {
        {EV_REL, REL_HWHEEL_HI_RES, 30}, {EV_REL, REL_HWHEEL, 1}, {EV_SYN, 0, 0}};
    struct fixture *f = *state;

    create_kind(f, INPUT_TABLET);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    display_input(f->display, DISPLAY_ABSOLUTE, 3, coarse, ARRAY_SIZE(coarse));
    expect(f, EV_REL, REL_WHEEL_HI_RES, -240);
    expect(f, EV_REL, REL_WHEEL, -2);
    expect_end(f);
    display_input(f->display, DISPLAY_ABSOLUTE, 3, both, ARRAY_SIZE(both));
    expect(f, EV_REL, REL_HWHEEL_HI_RES, 30);
    expect(f, EV_REL, REL_HWHEEL, 1);
    expect_end(f);
    expect_nothing(f);
}

/* Events of one output reach its device only. */
static void output_of_a_tablet(void **state)
{
    const struct display_event there[] = {{EV_ABS, ABS_X, 7}, {EV_SYN, 0, 0}};
    struct fixture *f = *state;

    f->options.output = (char[]){"1"};
    create_kind(f, INPUT_TABLET);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    display_input(f->display, DISPLAY_ABSOLUTE, 0, there, ARRAY_SIZE(there));
    expect_nothing(f);
    display_input(f->display, DISPLAY_ABSOLUTE, 1, there, ARRAY_SIZE(there));
    expect(f, EV_ABS, ABS_X, 7);
    expect_end(f);
}

/* --- too few buffers -------------------------------------------------------------------------- */

/* INP-07: no part of a group, but all of it once there is room. */
static void group_waits_for_buffers(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, 1);
    press(f, KEY_A, 1);
    press(f, KEY_B, 1);
    expect_nothing(f);
    offer(f, 1);
    expect_key(f, KEY_A, 1);
    expect_nothing(f);
    offer(f, 1);
    expect_nothing(f);
    offer(f, 5);
    expect_key(f, KEY_B, 1);
    press(f, KEY_C, 1);
    expect_key(f, KEY_C, 1);
    assert_false(f->needs_reset);
}

/* DRV-INP-02: a buffer that is too short is used without an event; the group goes on in others. */
static void short_buffers(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer_of(f, 1, 7);
    offer(f, 1);
    press(f, KEY_A, 1);
    expect_nothing(f);
    offer_of(f, 1, 1);
    offer_of(f, 3, 20);
    expect_key(f, KEY_A, 1);
    press(f, KEY_A, 0);
    expect_key(f, KEY_A, 0);
    assert_false(f->needs_reset);
}

/* INP-07: a group that the whole queue has no room for comes in parts. */
static void group_longer_than_the_queue(void **state)
{
    struct display_event events[21];
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, QUEUE_SIZE - 1);
    for (unsigned i = 0; i < 20; i++)
        events[i] = (struct display_event){EV_KEY, (uint16_t)(KEY_ESC + i), 1};
    events[20] = (struct display_event){EV_SYN, SYN_REPORT, 0};
    display_input(f->display, DISPLAY_KEYS, 0, events, ARRAY_SIZE(events));
    expect_nothing(f);
    offer(f, 1);
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        expect(f, EV_KEY, KEY_ESC + i, 1);
    expect_nothing(f);
    offer(f, QUEUE_SIZE);
    for (unsigned i = QUEUE_SIZE; i < 20; i++)
        expect(f, EV_KEY, KEY_ESC + i, 1);
    expect_end(f);
    expect_nothing(f);
}

/* Everything the driver gets, until there is no more: for each key, whether it is down. */
static void drain(struct fixture *f, bool down[KEY_CNT], unsigned *events)
{
    struct display_event event;
    bool ended = true;
    unsigned got;

    do {
        for (got = 0; take(f, &event); got++) {
            ended = event.type == EV_SYN;
            if (event.type == EV_KEY)
                down[event.code] = event.value;
        }
        offer(f, got);
        *events += got;
    } while (got);
    assert_true(ended);
}

/* INP-07: a driver that takes nothing for long loses the oldest groups. No key stays down that was
 * released meanwhile, and one that is held is down. */
static void nothing_stays_down(void **state)
{
    bool down[KEY_CNT] = {false};
    struct fixture *f = *state;
    unsigned events = 0;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, 4);
    press(f, KEY_A, 1);
    press(f, KEY_LEFTSHIFT, 1); /* the driver knows of both */
    press(f, KEY_A, 0);
    press(f, KEY_B, 1); /* it is held all the time */
    for (int i = 0; i < 2000; i++)
        press(f, KEY_C, i % 2 == 0);
    press(f, KEY_LEFTSHIFT, 0);
    drain(f, down, &events);
    assert_in_range(events, 900, 1200); /* of 4000 */
    for (unsigned code = 0; code < KEY_CNT; code++)
        assert_int_equal(down[code], code == KEY_B);
    press(f, KEY_B, 0);
    drain(f, down, &events);
    assert_false(down[KEY_B]);
}

/* INP-07: what makes up for lost groups comes in groups, too, as many events as there are buffers.
 */
static void repair_is_whole(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, 4);
    press(f, KEY_A, 1);
    press(f, KEY_B, 1);
    for (int i = 0; i < 600; i++)
        press(f, KEY_C, i % 2 == 0);
    press(f, KEY_A, 0);
    press(f, KEY_B, 0);
    for (int i = 0; i < 600; i++)
        press(f, KEY_C, i % 2 == 0);
    expect_key(f, KEY_A, 1);
    expect_key(f, KEY_B, 1);
    offer(f, 1);
    expect_nothing(f);
    offer(f, 1);
    expect_key(f, KEY_A, 0);
    offer(f, 2);
    expect_key(f, KEY_B, 0);
    expect_nothing(f);
}

/* A queue of one: an event at a time, also of what makes up for lost groups. */
static void queue_of_one(void **state)
{
    struct display_event event;
    bool down = false;
    struct fixture *f = *state;

    f->queue_size = 1;
    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, 1);
    press(f, KEY_A, 1);
    for (int i = 0; i < 1200; i++)
        press(f, KEY_B, i % 2 == 0);
    press(f, KEY_A, 0);
    while (take(f, &event)) {
        if (event.type == EV_KEY && event.code == KEY_A)
            down = event.value;
        offer(f, 1);
    }
    assert_false(down);
    assert_false(f->needs_reset);
}

static void touch(struct fixture *f, int slot, int id)
{
    const struct display_event events[] = {
        {EV_ABS, ABS_MT_SLOT, slot}, {EV_ABS, ABS_MT_TRACKING_ID, id}, {EV_SYN, 0, 0}};

    display_input(f->display, DISPLAY_TOUCH, 0, events, ARRAY_SIZE(events));
}

/* The same of fingers: what leads to where they are comes before what happened since. */
static void no_finger_stays(void **state)
{
    int32_t ids[10], slot = 0;
    struct display_event event;
    struct fixture *f = *state;
    unsigned got;

    memset(ids, -1, sizeof(ids));
    create_kind(f, INPUT_MULTITOUCH);
    driver_start(f);
    offer(f, 6);
    touch(f, 0, 1);
    touch(f, 1, 2);
    touch(f, 0, -1);
    touch(f, 5, 3);
    for (int i = 0; i < 1000; i++)
        touch(f, 3, i % 2 ? -1 : i);
    touch(f, 1, -1);
    do {
        for (got = 0; take(f, &event); got++) {
            if (event.code == ABS_MT_SLOT && event.type == EV_ABS)
                slot = event.value;
            else if (event.type == EV_ABS)
                ids[slot] = event.value;
        }
        offer(f, got);
    } while (got);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ids[i], i == 5 ? 3 : -1);
}

/* --- drivers that come and go ----------------------------------------------------------------- */

/* Before the driver has given a buffer, nobody is told of the device, and nothing is kept for it;
 * the same after a reset. */
static void events_before_the_driver(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    press(f, KEY_A, 1);
    assert_int_equal(display_inputs(f->display), 0);
    driver_start(f);
    press(f, KEY_B, 1);
    assert_int_equal(display_inputs(f->display), 0);
    offer(f, QUEUE_SIZE);
    assert_int_equal(display_inputs(f->display), DISPLAY_KEYS);
    expect_nothing(f);
    press(f, KEY_C, 1);
    expect_key(f, KEY_C, 1);
    driver_reset(f);
    assert_int_equal(display_inputs(f->display), 0);
    press(f, KEY_D, 1);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    expect_nothing(f);
    press(f, KEY_E, 1);
    expect_key(f, KEY_E, 1);
}

/* What waited for the driver before is not for the next one. */
static void reset_with_events_waiting(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, 1);
    press(f, KEY_A, 1);
    driver_reset(f);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    expect_nothing(f);
}

/* Without a reset (a suspension), it waits. */
static void queues_stop_for_a_while(void **state)
{
    struct fixture *f = *state;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    press(f, KEY_A, 1);
    expect_key(f, KEY_A, 1);
    stop_queues(f);
    press(f, KEY_A, 0);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    expect_key(f, KEY_A, 0);
}

/* Another back end goes on: keys that the driver believes to be down come up there. */
static void state_moves(void **state)
{
    struct fixture *f = *state;
    struct virtio_state saved;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    press(f, KEY_LEFTSHIFT, 1);
    press(f, KEY_A, 1);
    press(f, KEY_A, 0);
    selected(f, VIRTIO_INPUT_CFG_ID_NAME, 0);
    stop_queues(f);
    assert_true(f->backend->saves);
    assert_int_equal(f->backend->ops->save(f->backend, &saved, NULL), 0);
    f->backend->ops->destroy(f->backend);
    create_kind(f, INPUT_KEYBOARD);
    assert_int_equal(f->backend->ops->load(f->backend, &saved, NULL), 0);
    free(saved.bytes);
    assert_int_equal(config_read(f).select, VIRTIO_INPUT_CFG_ID_NAME);
    driver_start(f);
    offer(f, QUEUE_SIZE);
    expect_key(f, KEY_LEFTSHIFT, 0);
    expect_nothing(f);
}

/* Nothing costs anything while nothing happens: the driver need not tell of its buffers. */
static void no_kicks_without_events(void **state)
{
    struct fixture *f = *state;
    eventfd_t count;

    create_kind(f, INPUT_KEYBOARD);
    driver_start(f);
    offer(f, 4);
    press(f, KEY_A, 1);
    expect_key(f, KEY_A, 1);
    while (eventfd_read(f->rings[EVENTQ].kick, &count) == 0)
        ;
    offer(f, 2);
    assert_int_equal(eventfd_read(f->rings[EVENTQ].kick, &count), -1); /* it was not signalled */
    press(f, KEY_A, 0);
    expect_key(f, KEY_A, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(keys_reach_the_driver),
        BOTH(some_events_are_left_out),
        BOTH(wheels_have_both_axes),
        BOTH(output_of_a_tablet),
        BOTH(group_waits_for_buffers),
        BOTH(short_buffers),
        BOTH(group_longer_than_the_queue),
        BOTH(nothing_stays_down),
        BOTH(repair_is_whole),
        BOTH(queue_of_one),
        BOTH(no_finger_stays),
        BOTH(events_before_the_driver),
        BOTH(reset_with_events_waiting),
        BOTH(queues_stop_for_a_while),
        BOTH(state_moves),
        BOTH(no_kicks_without_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
