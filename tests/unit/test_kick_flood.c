/*
 * Kicks in numbers that no driver needs: DRV-NTF-08. The queue's eventfd counts them, so that they
 * are one wake-up for who serves it.
 */
#include "tests/driver/toy_device.h"

#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <cmocka.h>

static int setup(void **state)
{
    static const struct virtio_features wanted = {{0, BIT(VIRTIO_F_VERSION_1 - 32)}};
    struct toy_device *toy = calloc(1, sizeof(*toy));
    uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

    assert_int_equal(toy_device_init(toy, VIRTIO_ID_ENTROPY, 1, NULL), 0);
    virtio_device_set_status(&toy->dev, status);
    virtio_device_set_driver_features(&toy->dev, 1, wanted.word[1]);
    virtio_device_set_status(&toy->dev, status |= VIRTIO_STATUS_FEATURES_OK);
    virtio_device_set_queue_address(&toy->dev, 0, VIRTIO_QUEUE_DRIVER, false, 0x4000);
    virtio_device_set_queue_address(&toy->dev, 0, VIRTIO_QUEUE_DEVICE, false, 0x8000);
    virtio_device_set_queue_enabled(&toy->dev, 0, true);
    virtio_device_set_status(&toy->dev, status | VIRTIO_STATUS_DRIVER_OK);
    assert_true(toy->backend->running[0]);
    toy_take_kicks(toy, 0); /* a queue that starts is looked at unasked */
    *state = toy;
    return 0;
}

static int teardown(void **state)
{
    toy_device_destroy(*state);
    free(*state);
    return 0;
}

static void test_many_kicks_are_one_wakeup(void **state)
{
    struct toy_device *toy = *state;

    for (int i = 0; i < 100000; i++)
        virtio_device_kick(&toy->dev, 0);
    assert_int_equal(toy_take_kicks(toy, 0), 100000);
    assert_int_equal(toy_take_kicks(toy, 0), 0);
}

/* Nobody serves the queue for long: the counter is full, and a vCPU must not wait for that. */
static void test_a_full_counter_does_not_block(void **state)
{
    struct toy_device *toy = *state;

    assert_int_equal(eventfd_write(toy->dev.queues[0].kick_fd, UINT64_MAX - 1), 0);
    for (int i = 0; i < 3; i++)
        virtio_device_kick(&toy->dev, 0);
    assert_int_equal(toy_take_kicks(toy, 0), UINT64_MAX - 1);
    virtio_device_kick(&toy->dev, 0);
    assert_int_equal(toy_take_kicks(toy, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_kicks_are_one_wakeup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_counter_does_not_block, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
