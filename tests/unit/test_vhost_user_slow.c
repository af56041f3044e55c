/*
 * A vhost-user peer that answers each request just in time: the driver's vCPU, which waits for them
 * with the device's lock held, waits no longer than for one that does not answer at all.
 */
#include "tests/unit/vhost_user_fixture.h"

#define LIMIT_NS (UINT64_C(1000000) * (VHOST_USER_PATIENCE_MS + 1900))

static bool after_1_second(struct vhost_peer *peer, struct vhost_user_message *answer)
{
    (void)peer;
    (void)answer;
    usleep(1000000);
    return true;
}

/* Two of these, but no third, fit into the time for one, with what LIMIT_NS adds for a busy host.
 */
static bool after_2_4_seconds(struct vhost_peer *peer, struct vhost_user_message *answer)
{
    (void)peer;
    (void)answer;
    usleep(2400000);
    return true;
}

static void from_now_on(struct front *f,
                        bool (*late)(struct vhost_peer *peer, struct vhost_user_message *answer))
{
    pthread_mutex_lock(&f->peer.lock);
    f->peer.meddle = late;
    pthread_mutex_unlock(&f->peer.lock);
}

/* Features and the queue take more than five requests; then the device needs a reset. */
static void starts(void **state)
{
    struct front *f = *state;
    uint64_t began;

    front_connect(f);
    from_now_on(f, after_1_second);
    began = loop_now_ns();
    front_drive(f);
    assert_true(loop_now_ns() - began < LIMIT_NS);
    front_wait(f, front_needs_reset);
}

/* Two requests stop the queue, and one resets the device. Requests of before count no more. */
static void resets(void **state)
{
    struct front *f = *state;
    uint64_t began;

    front_connect(f);
    front_drive(f);
    from_now_on(f, after_2_4_seconds);
    began = loop_now_ns();
    virtio_device_set_status(&f->dev, 0);
    assert_true(loop_now_ns() - began < LIMIT_NS);
    assert_int_equal(virtio_device_status(&f->dev), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(starts),
        FRONT_TEST(resets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
