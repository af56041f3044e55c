/*
 * Suspend and resume.
 * Rows of tests/CONFORMANCE.md are in the names.
 */
#include "tests/unit/device_fixture.h"

#include <sys/eventfd.h>

enum { SUSPEND = VIRTIO_STATUS_SUSPEND, PAUSED = SET_UP | SUSPEND };

static void suspend(struct fixture *f)
{
    go_live_with(f, BIT(VIRTIO_F_SUSPEND));
    f->stand = (struct virtqueue_position){7, 5};
    assert_int_equal(set(f, LIVE | SUSPEND), PAUSED);
}

/* STAT-13, STAT-14, STAT-18 */
static void stat_13_18_suspend_and_resume(void **state)
{
    struct fixture *f = *state;

    suspend(f);
    assert_false(f->running[0] || f->running[2]);
    assert_int_equal(set(f, LIVE | SUSPEND), LIVE);
    assert_true(f->running[0] && f->running[2]);
    assert_int_equal(f->started_at.avail, 7);
    assert_int_equal(f->started_at.used, 5);
    assert_true(kicked(f, 0)); /* for what came in between */
    assert_int_equal(set(f, LIVE | SUSPEND), PAUSED);
    assert_int_equal(set(f, LIVE), LIVE);
    assert_int_equal(set(f, LIVE | SUSPEND), PAUSED);
    assert_int_equal(set(f, 0), 0);
    assert_false(f->running[0]);
}

/* STAT-12, DRV-INIT-16 */
static void stat_12_suspend_too_early(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, BIT(VIRTIO_F_SUSPEND));
    set(f, 0);
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_SUSPEND));
    assert_int_equal(set(f, SET_UP | SUSPEND), SET_UP);
    go_live(f); /* without the feature */
    assert_int_equal(set(f, LIVE | SUSPEND), LIVE);
    assert_true(f->running[0]);
}

/* STAT-15, STAT-16, DRV-INIT-17 */
static void stat_15_16_nothing_moves_while_suspended(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, BIT(VIRTIO_F_SUSPEND));
    assert_int_equal(config32(f, 0), 0x55667788);
    assert_int_equal(set(f, LIVE | SUSPEND), PAUSED);
    store_le32(f->config, 1);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(config32(f, 0), 0x55667788);
    virtio_device_config_write(&f->dev, 8, "\x2a", 1);
    assert_int_equal(f->config[8], 0);
    eventfd_read(f->dev.queues[0].kick_fd, &(eventfd_t){0});
    virtio_device_kick(&f->dev, 0);
    assert_false(kicked(f, 0));
    program_queue(f, 1);
    assert_false(virtio_device_queue_enabled(&f->dev, 1));
    assert_int_equal(set(f, SUSPEND), PAUSED); /* DRV-INIT-02 */
}

/* STAT-17 */
static void stat_17_changes_are_told_after_resume(void **state)
{
    struct fixture *f = *state;

    suspend(f);
    f->backend.events.config_changed(f->backend.events.opaque);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(f->config_interrupts, 0);
    set(f, LIVE);
    assert_int_equal(f->config_interrupts, 1);
    set(f, LIVE | SUSPEND);
    set(f, LIVE);
    assert_int_equal(f->config_interrupts, 1); /* once is enough */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(stat_13_18_suspend_and_resume),
        T(stat_12_suspend_too_early),
        T(stat_15_16_nothing_moves_while_suspended),
        T(stat_17_changes_are_told_after_resume),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
