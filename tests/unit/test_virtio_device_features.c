/*
 * Features: what is offered, and which choices of a driver are taken.
 * Rows of tests/CONFORMANCE.md are in the names.
 */
#include "tests/unit/device_fixture.h"

/* FEAT-12: no SR_IOV either */
static void feat_02_04_what_is_offered(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(virtio_device_features(&f->dev, 0), BIT(1) | BIT(2) | BIT(3) |
                                                             BIT(VIRTIO_F_INDIRECT_DESC) |
                                                             BIT(VIRTIO_F_EVENT_IDX));
    assert_int_equal(virtio_device_features(&f->dev, 1),
                     BIT(VIRTIO_F_VERSION_1 - 32) | BIT(VIRTIO_F_RING_RESET - 32));
    assert_int_equal(virtio_device_features(&f->dev, 2), 1); /* FEAT-16 */
    assert_int_equal(virtio_device_features(&f->dev, 3), 0);
    assert_int_equal(virtio_device_features(&f->dev, 4), 0);
    assert_int_equal(virtio_device_features(&f->dev, UINT32_MAX), 0);
}

static void feat_06_masked_features_take_dependents_along(void **state)
{
    struct fixture g = {0};
    struct virtio_features masked = {{BIT(TOY_BASIC) | BIT(VIRTIO_F_EVENT_IDX), UINT32_MAX}};

    (void)state;
    assert_int_equal(init(&g, &masked), 0);
    assert_int_equal(virtio_device_features(&g.dev, 0), BIT(VIRTIO_F_INDIRECT_DESC));
    assert_int_equal(virtio_device_features(&g.dev, 1), BIT(VIRTIO_F_VERSION_1 - 32));
    virtio_device_destroy(&g.dev);
    assert_int_equal(g.destroyed, 1);
}

/* STAT-08, FEAT-16 */
static void feat_08_a_valid_choice(void **state)
{
    struct fixture *f = *state;

    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1) | BIT(TOY_BASIC) | BIT(TOY_BETTER));
    virtio_device_set_driver_features(&f->dev, 2, 1);
    assert_int_equal(set(f, SET_UP), SET_UP);
    assert_int_equal(f->negotiated.word[0], BIT(TOY_BASIC) | BIT(TOY_BETTER));
    assert_int_equal(f->negotiated.word[2], 1);
    assert_int_equal(virtio_device_driver_features(&f->dev, 0), BIT(TOY_BASIC) | BIT(TOY_BETTER));
    assert_int_equal(virtio_device_driver_features(&f->dev, 9), 0);
}

/* STAT-08: FEATURES_OK reads back clear, the back end hears of nothing, and the driver may try
 * again. */
static void check_refused(struct fixture *f, uint64_t bits)
{
    set(f, 0);
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, bits);
    assert_int_equal(set(f, SET_UP), ACKNOWLEDGE | DRIVER);
    assert_int_equal(f->feature_sets, 0);
}

/* STAT-08 */
static void drv_init_05_not_offered(void **state)
{
    check_refused(*state, BIT(VIRTIO_F_VERSION_1) | BIT(TOY_BASIC) | BIT(20));
    check_refused(*state, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED));
}

static void drv_init_06_prerequisite(void **state)
{
    check_refused(*state, BIT(VIRTIO_F_VERSION_1) | BIT(TOY_BETTER));
    check_refused(*state, BIT(VIRTIO_F_VERSION_1) | BIT(TOY_BASIC) | BIT(TOY_BEST));
}

/* FEAT-12, DRV-INIT-10: there is no SR-IOV capability. */
static void drv_init_10_sr_iov(void **state)
{
    check_refused(*state, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_SR_IOV));
}

/* FEAT-05 */
static void drv_init_08_version_1(void **state)
{
    check_refused(*state, BIT(TOY_BASIC));
    check_refused(*state, 0);
}

static void feat_08_back_end_refuses(void **state)
{
    struct fixture *f = *state;

    f->refuse_features = true;
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, SET_UP), ACKNOWLEDGE | DRIVER);
    f->refuse_features = false;
    assert_int_equal(set(f, SET_UP), SET_UP);
}

static void drv_init_07_no_change_after_features_ok(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    accept(f, BIT(VIRTIO_F_VERSION_1) | BIT(TOY_BASIC));
    assert_int_equal(virtio_device_driver_features(&f->dev, 0), 0);
}

/* FEAT-01, FEAT-03, FEAT-07, FEAT-12, FEAT-15: with all that can be asked for. */
static void feat_07_nothing_reserved(void **state)
{
    struct fixture *f = *state;
    static const unsigned never[] = {VIRTIO_F_NOTIFY_ON_EMPTY,
                                     25,
                                     26,
                                     VIRTIO_F_ANY_LAYOUT,
                                     30,
                                     31,
                                     VIRTIO_F_SR_IOV,
                                     VIRTIO_F_ADMIN_VQ,
                                     42,
                                     44,
                                     45,
                                     46,
                                     47,
                                     48,
                                     49};

    go_live_with(f, 0);
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        assert_false(features_has(&f->dev.offered, never[i]));
}

/* FEAT-05, DRV-INIT-09: a driver that takes none of RING_PACKED, ACCESS_PLATFORM and so on is told
 * off, and served. */
static void feat_05_recommendations_refused(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, 0);
    assert_true(features_has(&f->dev.offered, VIRTIO_F_ACCESS_PLATFORM));
    assert_true(features_has(&f->dev.offered, VIRTIO_F_ORDER_PLATFORM));
    assert_int_equal(virtio_device_status(&f->dev), LIVE);
    assert_true(f->running[0]);
}

/* DRV-INIT-12: logged, and carried out all the same; FEAT-15: a transport may lack registers. */
static void feat_15_what_a_transport_lacks(void **state)
{
    static const struct virtio_transport_ops lacking = {
        .notify_queue = notify_queue,
        .notify_config = notify_config,
        .lacks.word = {[0] = BIT(TOY_BETTER), [2] = 1},
    };
    struct fixture *f = *state;

    virtio_device_config_write(&f->dev, 8, "\x2a", 1);
    assert_int_equal(config32(f, 8), 0x2a);
    virtio_device_attach(&f->dev, &lacking, f);
    assert_int_equal(virtio_device_features(&f->dev, 0) & 0xff, BIT(TOY_BASIC)); /* FEAT-06 */
    assert_int_equal(virtio_device_features(&f->dev, 2), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(feat_02_04_what_is_offered),
        T(feat_06_masked_features_take_dependents_along),
        T(feat_08_a_valid_choice),
        T(drv_init_05_not_offered),
        T(drv_init_06_prerequisite),
        T(drv_init_10_sr_iov),
        T(drv_init_08_version_1),
        T(feat_08_back_end_refuses),
        T(drv_init_07_no_change_after_features_ok),
        T(feat_07_nothing_reserved),
        T(feat_05_recommendations_refused),
        T(feat_15_what_a_transport_lacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
