/*
 * The life of a device: status, what it reports, NEEDS_RESET.
 * Rows of tests/CONFORMANCE.md are in the names.
 */
#include "tests/unit/device_fixture.h"

#include <pthread.h>

/* --- status ----------------------------------------------------------------------------------- */

/* STAT-08 */
static void stat_01_initialisation_by_the_book(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(virtio_device_status(&f->dev), 0);
    assert_int_equal(set(f, ACKNOWLEDGE), ACKNOWLEDGE);
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER), ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, SET_UP), SET_UP);
    assert_int_equal(set(f, LIVE), LIVE);
    assert_int_equal(set(f, 0), 0);
}

static void stat_05_steps_in_one_write(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER), ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, LIVE), LIVE);
    assert_int_equal(set(f, 0), 0);
    /* The features are refused, and so is what comes after. */
    assert_int_equal(set(f, LIVE), ACKNOWLEDGE | DRIVER);
}

static void drv_init_01_order(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, DRIVER), 0);
    assert_int_equal(set(f, FEATURES_OK), 0);
    assert_int_equal(set(f, DRIVER_OK), 0);
    assert_int_equal(set(f, ACKNOWLEDGE), ACKNOWLEDGE);
    assert_int_equal(set(f, ACKNOWLEDGE | FEATURES_OK), ACKNOWLEDGE);
    assert_int_equal(f->feature_sets, 0);
}

static void drv_init_02_bits_are_not_cleared(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    assert_int_equal(set(f, DRIVER_OK), LIVE);
    assert_int_equal(set(f, SET_UP), LIVE);
    assert_int_equal(set(f, FAILED), LIVE);
    assert_true(f->running[0]);
}

static void drv_init_03_nothing_after_failed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, ACKNOWLEDGE), ACKNOWLEDGE);
    assert_int_equal(set(f, ACKNOWLEDGE | FAILED), ACKNOWLEDGE | FAILED);
    assert_int_equal(set(f, ACKNOWLEDGE | FAILED | DRIVER), ACKNOWLEDGE | FAILED);
    assert_int_equal(set(f, 0), 0);
    assert_int_equal(set(f, ACKNOWLEDGE), ACKNOWLEDGE);
}

static void drv_init_04_driver_ok_without_features_ok(void **state)
{
    struct fixture *f = *state;

    set(f, ACKNOWLEDGE | DRIVER);
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK), ACKNOWLEDGE | DRIVER);
}

/* STAT-12 */
static void drv_init_16_unknown_bits_are_not_shown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, ACKNOWLEDGE | 16 | 32), ACKNOWLEDGE);
    assert_int_equal(set(f, ACKNOWLEDGE | NEEDS_RESET), ACKNOWLEDGE);
}

/* STAT-11 */
static void stat_02_queues_start_at_driver_ok(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    program_queue(f, 2);
    assert_false(f->running[2]);
    set(f, LIVE);
    assert_true(f->running[2]);
    assert_false(f->running[0]);
    assert_true(kicked(f, 2)); /* buffers may be there already */
    assert_false(kicked(f, 0));
    assert_int_equal(f->started[2].size, 64);
    assert_int_equal(f->started[2].desc.value, 0x100000000);
    assert_int_equal(f->started[2].driver.value, 0x100001000);
    assert_int_equal(f->started[2].device.value, 0x100002000);
    set(f, LIVE); /* once more is no step */
}

static void stat_07_status_is_kept_until_reset_is_done(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    f->resets = 0;
    assert_int_equal(set(f, 0), 0);
    assert_int_equal(f->status_during_stop, LIVE);
    assert_int_equal(f->status_during_reset, LIVE);
    assert_int_equal(f->resets, 1);
    assert_false(f->running[0] || f->running[2]);
}

static void pcic_11_13_reset_puts_registers_back(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    set(f, 0);
    for (uint16_t i = 0; i < QUEUES; i++) {
        assert_false(virtio_device_queue_enabled(&f->dev, i));
        assert_int_equal(virtio_device_queue_size(&f->dev, i), 128);
        assert_int_equal(virtio_device_queue_address(&f->dev, i, VIRTIO_QUEUE_DESC), 0);
    }
    assert_int_equal(virtio_device_driver_features(&f->dev, 1), 0);
    go_live(f); /* FEAT-09 */
    assert_true(f->running[0]);
}

static void machine_reset_is_a_reset(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    virtio_device_reset(&f->dev);
    assert_int_equal(virtio_device_status(&f->dev), 0);
    assert_false(f->running[0]);
}

/* --- NEEDS_RESET ------------------------------------------------------------------------------ */

static void stat_03_04_needs_reset_is_told(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    needs_reset(f);
    assert_int_equal(virtio_device_status(&f->dev), LIVE | NEEDS_RESET);
    assert_int_equal(f->config_interrupts, 1);
    needs_reset(f);
    assert_int_equal(f->config_interrupts, 1);
    assert_int_equal(set(f, LIVE), LIVE | NEEDS_RESET); /* not the driver's to clear */
    assert_int_equal(set(f, LIVE | FAILED | NEEDS_RESET), LIVE | FAILED | NEEDS_RESET);
    assert_int_equal(set(f, 0), 0);
}

static void stat_04_needs_reset_before_driver_ok(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    needs_reset(f);
    assert_int_equal(virtio_device_status(&f->dev), SET_UP | NEEDS_RESET);
    assert_int_equal(f->config_interrupts, 0);
}

static void stat_06_needs_reset_after_reset_leaves_no_trace(void **state)
{
    struct fixture *f = *state;

    needs_reset(f);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(virtio_device_status(&f->dev), 0);
    assert_int_equal(f->config_interrupts, 0);
}

/* PCIC-16 */
static void ring_17_queue_that_cannot_start(void **state)
{
    struct fixture *f = *state;

    f->refuse_start = true;
    negotiate(f);
    program_queue(f, 1);
    assert_int_equal(set(f, LIVE), LIVE | NEEDS_RESET);
    assert_int_equal(f->config_interrupts, 1);
    assert_int_equal(set(f, 0), 0); /* and nothing is stopped that was not started */
}

static void drv_qcfg_03_size_above_the_maximum(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    virtio_device_set_queue_size(&f->dev, 0, 256);
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_int_equal(set(f, LIVE), LIVE | NEEDS_RESET);
    assert_false(f->running[0]);
}

static void queue_notification_goes_to_the_transport(void **state)
{
    struct fixture *f = *state;

    f->backend.events.notify_queue(f->backend.events.opaque, 2);
    assert_int_equal(f->queue_interrupts, 3);
}

/* Reports from one thread, initialisations and resets from another: no bit is lost, none stays. */
static void *initialise_again_and_again(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < 2000; i++) {
        set(f, ACKNOWLEDGE | DRIVER);
        accept(f, BIT(VIRTIO_F_VERSION_1));
        assert_int_equal(set(f, SET_UP) & ~NEEDS_RESET, SET_UP);
        program_queue(f, 0);
        assert_int_equal(set(f, LIVE) & ~NEEDS_RESET, LIVE);
        set(f, 0);
    }
    return NULL;
}

static void stat_03_reports_race_with_initialisation(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, initialise_again_and_again, f), 0);
    for (int i = 0; i < 20000; i++) {
        needs_reset(f);
        f->backend.events.config_changed(f->backend.events.opaque);
    }
    pthread_join(thread, NULL);
    set(f, 0);
    assert_int_equal(virtio_device_status(&f->dev), 0);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static void init_refuses_bad_queues(void **state)
{
    struct fixture g = {.backend = {.ops = &toy_ops}};
    struct virtio_features none = {0};
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(virtio_device_init(&g.dev, 4, "toy1", &g.backend, VIRTIO_QUEUES_MAX + 1, 128,
                                        &none, &none, &err),
                     -EINVAL);
    assert_int_equal(g.destroyed, 1);
    assert_int_equal(virtio_device_init(&g.dev, 4, "toy1", &g.backend, 1, 100, &none, &none, &err),
                     -EINVAL);
    assert_int_equal(g.destroyed, 2);
    assert_non_null(strstr(err.text, "toy1"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(stat_01_initialisation_by_the_book),
        T(stat_05_steps_in_one_write),
        T(drv_init_01_order),
        T(drv_init_02_bits_are_not_cleared),
        T(drv_init_03_nothing_after_failed),
        T(drv_init_04_driver_ok_without_features_ok),
        T(drv_init_16_unknown_bits_are_not_shown),
        T(stat_02_queues_start_at_driver_ok),
        T(stat_07_status_is_kept_until_reset_is_done),
        T(pcic_11_13_reset_puts_registers_back),
        T(machine_reset_is_a_reset),
        T(stat_03_04_needs_reset_is_told),
        T(stat_04_needs_reset_before_driver_ok),
        T(stat_06_needs_reset_after_reset_leaves_no_trace),
        T(ring_17_queue_that_cannot_start),
        T(drv_qcfg_03_size_above_the_maximum),
        T(queue_notification_goes_to_the_transport),
        T(stat_03_reports_race_with_initialisation),
        T(init_refuses_bad_queues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
