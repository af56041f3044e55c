/*
 * The device as its driver sees it: status, features, configuration, queue registers; with a back
 * end that only remembers what it was asked. Rows of tests/CONFORMANCE.md are in the names.
 */
#include "base/bytes.h"
#include "virtio/device.h"
#include "virtio/device_legacy.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#define QUEUES 3

enum {
    ACKNOWLEDGE = VIRTIO_STATUS_ACKNOWLEDGE,
    DRIVER = VIRTIO_STATUS_DRIVER,
    FEATURES_OK = VIRTIO_STATUS_FEATURES_OK,
    DRIVER_OK = VIRTIO_STATUS_DRIVER_OK,
    NEEDS_RESET = VIRTIO_STATUS_NEEDS_RESET,
    FAILED = VIRTIO_STATUS_FAILED,
    SET_UP = ACKNOWLEDGE | DRIVER | FEATURES_OK,
    LIVE = SET_UP | DRIVER_OK,
};

enum { TOY_BASIC = 1, TOY_BETTER = 2, TOY_BEST = 3, TOY_ODD = 64 };

static const struct virtio_feature_name toy_features[] = {
    {"best", TOY_BEST, TOY_BETTER, "better than better"},
    {"better", TOY_BETTER, TOY_BASIC, "better than basic"},
    {"basic", TOY_BASIC, -1, "basic"},
    {"odd", TOY_ODD, -1, "in the third word"},
};

struct fixture {
    struct virtio_backend backend;
    struct virtio_device dev;

    /* what the back end was asked */
    bool running[QUEUES];
    struct virtqueue_setup started[QUEUES];
    struct virtqueue_position started_at; /* the last one */
    unsigned resets, feature_sets, config_reads, destroyed;
    struct virtio_features negotiated;

    /* how it behaves */
    bool refuse_features, refuse_start;
    uint8_t config[16];
    uint8_t status_during_stop, status_during_reset;
    struct virtqueue_position stand; /* where queues are when they stop */

    /* what the transport was told */
    atomic_uint queue_interrupts, config_interrupts;
};

static struct fixture *fixture_of(struct virtio_backend *b)
{
    return container_of(b, struct fixture, backend);
}

static void toy_get_features(struct virtio_backend *b, struct virtio_features *out)
{
    (void)b;
    *out = (struct virtio_features){0};
    for (size_t i = 0; i < ARRAY_SIZE(toy_features); i++)
        features_set(out, toy_features[i].bit, true);
}

static int toy_set_features(struct virtio_backend *b, const struct virtio_features *negotiated)
{
    struct fixture *f = fixture_of(b);

    f->feature_sets++;
    f->negotiated = *negotiated;
    return f->refuse_features ? -EINVAL : 0;
}

static void toy_config_read(struct virtio_backend *b, uint32_t offset, void *data, uint32_t len)
{
    struct fixture *f = fixture_of(b);

    f->config_reads++;
    memset(data, 0, len);
    if (offset < sizeof(f->config))
        memcpy(data, f->config + offset, MIN(len, sizeof(f->config) - offset));
}

static void toy_config_write(struct virtio_backend *b, uint32_t offset, const void *data,
                             uint32_t len)
{
    struct fixture *f = fixture_of(b);

    if (offset == 8 && len == 1)
        memcpy(&f->config[8], data, 1);
}

static int toy_queue_start(struct virtio_backend *b, const struct virtqueue_setup *setup,
                           struct virtqueue_position position, int kick_fd, struct error *err)
{
    struct fixture *f = fixture_of(b);

    f->started_at = position;
    assert_int_equal(kick_fd, f->dev.queues[setup->index].kick_fd);
    assert_false(f->running[setup->index]);
    if (f->refuse_start)
        return error_set(err, EINVAL, "DRV-QCFG-06: not in guest memory");
    f->running[setup->index] = true;
    f->started[setup->index] = *setup;
    return 0;
}

static struct virtqueue_position toy_queue_stop(struct virtio_backend *b, uint16_t index)
{
    struct fixture *f = fixture_of(b);

    assert_true(f->running[index]);
    f->running[index] = false;
    f->status_during_stop = virtio_device_status(&f->dev);
    return f->stand;
}

static void toy_reset(struct virtio_backend *b)
{
    struct fixture *f = fixture_of(b);

    for (int i = 0; i < QUEUES; i++)
        assert_false(f->running[i]);
    f->resets++;
    f->status_during_reset = virtio_device_status(&f->dev);
    f->config[8] = 0;
}

static void toy_destroy(struct virtio_backend *b)
{
    fixture_of(b)->destroyed++;
}

static const struct virtio_backend_ops toy_ops = {
    .name = "toy",
    .features = toy_get_features,
    .set_features = toy_set_features,
    .config_read = toy_config_read,
    .config_write = toy_config_write,
    .queue_start = toy_queue_start,
    .queue_stop = toy_queue_stop,
    .reset = toy_reset,
    .destroy = toy_destroy,
};

static void notify_queue(void *transport, uint16_t index)
{
    struct fixture *f = transport;

    atomic_fetch_add(&f->queue_interrupts, index + 1u);
}

static void notify_config(void *transport)
{
    struct fixture *f = transport;

    atomic_fetch_add(&f->config_interrupts, 1);
}

static const struct virtio_transport_ops toy_transport = {
    .notify_queue = notify_queue,
    .notify_config = notify_config,
};

static const struct virtio_features no_features;

static int init(struct fixture *f, const struct virtio_features *masked)
{
    f->backend.ops = &toy_ops;
    f->backend.feature_names = toy_features;
    f->backend.feature_count = ARRAY_SIZE(toy_features);
    return virtio_device_init(&f->dev, VIRTIO_ID_ENTROPY, "toy0", &f->backend, QUEUES, 128,
                              &no_features, masked, NULL);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    store_le64(f->config, 0x1122334455667788);
    assert_int_equal(init(f, &(struct virtio_features){0}), 0);
    virtio_device_attach(&f->dev, &toy_transport, f);
    f->resets = 0;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    virtio_device_destroy(&f->dev);
    assert_int_equal(f->destroyed, 1);
    free(f);
    return 0;
}

/* Write a status; returns what can be read back. */
static uint8_t set(struct fixture *f, uint8_t status)
{
    virtio_device_set_status(&f->dev, status);
    return virtio_device_status(&f->dev);
}

static void accept(struct fixture *f, uint64_t bits)
{
    virtio_device_set_driver_features(&f->dev, 0, (uint32_t)bits);
    virtio_device_set_driver_features(&f->dev, 1, (uint32_t)(bits >> 32));
}

/* By the book up to FEATURES_OK. */
static void negotiate(struct fixture *f)
{
    set(f, 0);
    set(f, ACKNOWLEDGE);
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, SET_UP), SET_UP);
}

static void program_queue(struct fixture *f, uint16_t index)
{
    for (int which = VIRTIO_QUEUE_DESC; which <= VIRTIO_QUEUE_DEVICE; which++) {
        virtio_device_set_queue_address(&f->dev, index, which, false, 0x1000u * (unsigned)which);
        virtio_device_set_queue_address(&f->dev, index, which, true, 1);
    }
    virtio_device_set_queue_size(&f->dev, index, 64);
    virtio_device_set_queue_enabled(&f->dev, index, true);
}

static void go_live(struct fixture *f)
{
    negotiate(f);
    program_queue(f, 0);
    program_queue(f, 2);
    assert_int_equal(set(f, LIVE), LIVE);
}

static bool kicked(struct fixture *f, uint16_t index)
{
    struct pollfd p = {f->dev.queues[index].kick_fd, POLLIN, 0};

    return poll(&p, 1, 0) == 1;
}

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

static void needs_reset(struct fixture *f)
{
    f->backend.events.needs_reset(f->backend.events.opaque);
}

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

/* --- features --------------------------------------------------------------------------------- */

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

/* --- configuration ---------------------------------------------------------------------------- */

static uint32_t config32(struct fixture *f, uint32_t offset)
{
    uint8_t bytes[4];

    virtio_device_config_read(&f->dev, offset, bytes, 4);
    return load_le32(bytes);
}

/* CFG-02 */
static void cfg_01_06_reads(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(config32(f, 0), 0x55667788); /* before any status */
    assert_int_equal(config32(f, 4), 0x11223344);
    assert_int_equal(config32(f, 12), 0);
    assert_int_equal(config32(f, 252), 0);
    assert_int_equal(config32(f, 254), 0); /* behind the copy */
    assert_int_equal(config32(f, 0x10000), 0);
    assert_int_equal(config32(f, UINT32_MAX), 0);
}

/* A change between two reads of one field is never shown with the same generation around it. */
static void cfg_03_generation_moves_with_what_is_shown(void **state)
{
    struct fixture *f = *state;
    uint32_t before = virtio_device_config_generation(&f->dev);

    assert_int_equal(config32(f, 0), 0x55667788);
    store_le64(f->config, 0x0102030405060708); /* not announced yet: the old value is complete */
    assert_int_equal(config32(f, 4), 0x11223344);
    assert_int_equal(virtio_device_config_generation(&f->dev), before);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(config32(f, 4), 0x01020304);
    assert_int_equal(virtio_device_config_generation(&f->dev), before + 1);
    assert_int_equal(virtio_device_config_generation(&f->dev), before + 1);
}

/* 8 bits are enough for a transport: many changes nobody saw are one. */
static void pcic_09_unseen_changes_count_once(void **state)
{
    struct fixture *f = *state;
    uint32_t before = virtio_device_config_generation(&f->dev);

    for (int i = 0; i < 256; i++) {
        f->config[0]++;
        f->backend.events.config_changed(f->backend.events.opaque);
    }
    f->config[0]++;
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(virtio_device_config_generation(&f->dev), before + 1);
}

static void cfg_04_changes_are_told(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(f->config_interrupts, 1);
}

static void cfg_07_writes(void **state)
{
    struct fixture *f = *state;
    uint32_t generation;

    go_live(f);
    generation = virtio_device_config_generation(&f->dev);
    virtio_device_config_write(&f->dev, 8, "\x2a", 1);
    assert_int_equal(config32(f, 8), 0x2a);
    generation = virtio_device_config_generation(&f->dev);
    virtio_device_config_write(&f->dev, 0, "\x2a", 1); /* read-only */
    assert_int_equal(config32(f, 0), 0x55667788);
    assert_int_equal(virtio_device_config_generation(&f->dev), generation);
    set(f, 0);
    assert_int_equal(config32(f, 8), 0); /* reset put it back */
}

static void cfg_03_unchanged_configuration_is_read_once(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 16; i += 4)
        config32(f, i);
    virtio_device_config_generation(&f->dev);
    assert_int_equal(f->config_reads, 1);
}

/* --- queue registers -------------------------------------------------------------------------- */

static void pcic_15_absent_queues(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    assert_int_equal(virtio_device_queue_size_max(&f->dev, QUEUES), 0);
    assert_int_equal(virtio_device_queue_size(&f->dev, 0xffff), 0);
    virtio_device_set_queue_size(&f->dev, QUEUES, 5);
    virtio_device_set_queue_address(&f->dev, QUEUES, VIRTIO_QUEUE_DESC, false, 5);
    assert_int_equal(virtio_device_queue_address(&f->dev, QUEUES, VIRTIO_QUEUE_DESC), 0);
    virtio_device_set_queue_enabled(&f->dev, QUEUES, true); /* DRV-QCFG-14 */
    assert_false(virtio_device_queue_enabled(&f->dev, QUEUES));
    virtio_device_kick(&f->dev, QUEUES); /* DRV-NTF-07 */
}

static void pci_10_addresses_in_halves(void **state)
{
    struct fixture *f = *state;

    virtio_device_set_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER, true, 0x11223344);
    virtio_device_set_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER, false, 0xaabbccdd);
    virtio_device_set_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER, true, 0x55667788);
    assert_int_equal(virtio_device_queue_address(&f->dev, 1, VIRTIO_QUEUE_DRIVER),
                     0x55667788aabbccdd);
    assert_int_equal(virtio_device_queue_address(&f->dev, 1, VIRTIO_QUEUE_DESC), 0);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DRIVER), 0);
}

static void drv_qcfg_07_08_no_changes_while_enabled(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    program_queue(f, 0);
    virtio_device_set_queue_size(&f->dev, 0, 32);
    virtio_device_set_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC, false, 0x5000);
    assert_int_equal(virtio_device_queue_size(&f->dev, 0), 64);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0x100000000);
}

static void drv_init_14_queues_are_enabled_in_time(void **state)
{
    struct fixture *f = *state;

    set(f, ACKNOWLEDGE | DRIVER);
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_false(virtio_device_queue_enabled(&f->dev, 0));
    go_live(f);
    virtio_device_set_queue_enabled(&f->dev, 1, true);
    assert_false(virtio_device_queue_enabled(&f->dev, 1));
    virtio_device_set_queue_enabled(&f->dev, 0, true); /* is enabled: no news */
    assert_true(virtio_device_queue_enabled(&f->dev, 0));
}

static void mmio_13_disabling_stops_a_queue(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    virtio_device_set_queue_enabled(&f->dev, 0, false);
    assert_false(f->running[0]);
    assert_true(f->running[2]);
    assert_false(virtio_device_queue_enabled(&f->dev, 0));
    virtio_device_set_queue_enabled(&f->dev, 0, false);
    set(f, 0);
}

/* DRV-NTF-07 */
static void drv_init_11_and_ntf_07_kicks(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    program_queue(f, 0);
    virtio_device_kick(&f->dev, 0);
    assert_false(kicked(f, 0));
    set(f, LIVE);
    virtio_device_kick(&f->dev, 0);
    virtio_device_kick(&f->dev, 1);
    assert_true(kicked(f, 0));
    assert_false(kicked(f, 1));
}

/* --- queue reset ------------------------------------------------------------------------------ */

/* A device that also offers what is offered on request, live with these features besides VERSION_1.
 */
static void go_live_with(struct fixture *f, uint64_t bits)
{
    const struct virtio_features wanted = {{UINT32_MAX, UINT32_MAX}}, masked = {0};

    virtio_device_destroy(&f->dev);
    f->destroyed = 0;
    f->backend.feature_names = toy_features;
    assert_int_equal(virtio_device_init(&f->dev, VIRTIO_ID_ENTROPY, "toy0", &f->backend, QUEUES,
                                        100, &wanted, &masked, NULL),
                     0);
    virtio_device_attach(&f->dev, &toy_transport, f);
    set(f, ACKNOWLEDGE | DRIVER);
    accept(f, bits | BIT(VIRTIO_F_VERSION_1));
    assert_int_equal(set(f, SET_UP), SET_UP);
    program_queue(f, 0);
    program_queue(f, 2);
    assert_int_equal(set(f, LIVE), LIVE);
    assert_int_equal(f->started_at.avail, bits & BIT(VIRTIO_F_RING_PACKED) ? 0x8000 : 0);
}

/* QRST-01, QRST-02, QRST-03, QRST-04: stopped, registers as after a device reset, and back with
 * another size at another place, from its beginning. */
static void qrst_01_04_reset_of_one_queue(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, BIT(VIRTIO_F_RING_RESET));
    f->stand = (struct virtqueue_position){9, 9};
    assert_true(virtio_device_reset_queue(&f->dev, 0));
    assert_false(f->running[0]);
    assert_true(f->running[2]);
    assert_false(virtio_device_queue_enabled(&f->dev, 0));
    assert_int_equal(virtio_device_queue_size(&f->dev, 0), 64);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0);
    virtio_device_kick(&f->dev, 0); /* DRV-NTF-07 */

    virtio_device_set_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC, false, 0x5000);
    virtio_device_set_queue_size(&f->dev, 0, 16);
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_true(f->running[0]);
    assert_int_equal(f->started[0].size, 16);
    assert_int_equal(f->started[0].desc.value, 0x5000);
    assert_int_equal(f->started_at.avail, 0);
    assert_int_equal(virtio_device_status(&f->dev), LIVE);
}

static void drv_qcfg_12_14_reset_refused(void **state)
{
    struct fixture *f = *state;

    go_live(f); /* RING_RESET is offered, and was not accepted */
    assert_false(virtio_device_reset_queue(&f->dev, 0));
    assert_true(f->running[0]);
    go_live_with(f, BIT(VIRTIO_F_RING_RESET));
    assert_false(virtio_device_reset_queue(&f->dev, QUEUES));
}

static void drv_qcfg_07_13_enabled_without_addresses(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, BIT(VIRTIO_F_RING_RESET));
    assert_true(virtio_device_reset_queue(&f->dev, 0));
    virtio_device_set_queue_enabled(&f->dev, 0, true);
    assert_false(f->running[0]);
    assert_int_equal(virtio_device_status(&f->dev), LIVE | NEEDS_RESET);
    assert_int_equal(f->config_interrupts, 1);
    assert_int_equal(set(f, 0), 0);
}

/* PCIC-12, PACK-01: 100 entries are for packed rings alone */
static void pcic_12_sizes_of_packed_rings(void **state)
{
    struct fixture *f = *state;

    go_live_with(f, 0);
    assert_int_equal(virtio_device_queue_size_max(&f->dev, 1), 64);
    assert_int_equal(virtio_device_queue_size(&f->dev, 1), 64);
    go_live_with(f, BIT(VIRTIO_F_RING_PACKED));
    assert_int_equal(virtio_device_queue_size_max(&f->dev, 1), 100);
    assert_int_equal(virtio_device_queue_size(&f->dev, 1), 100);
    set(f, 0);
    assert_int_equal(virtio_device_queue_size(&f->dev, 1), 64);
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

/* --- suspend ---------------------------------------------------------------------------------- */

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

/* --- legacy drivers --------------------------------------------------------------------------- */

static void place(struct fixture *f, uint16_t index, uint64_t address)
{
    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    virtio_device_set_legacy_queue(&f->dev, index, address);
}

/* STAT-10, FEAT-10: no FEATURES_OK, the queue is live from its address on, kicks are served. */
static void stat_10_queues_before_driver_ok(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER), ACKNOWLEDGE | DRIVER);
    virtio_device_set_driver_features(&f->dev, 0, (uint32_t)BIT(TOY_BASIC));
    assert_int_equal(f->feature_sets, 0);
    place(f, 1, 0x3000);
    assert_true(f->running[1]);
    assert_int_equal(f->feature_sets, 1);
    assert_int_equal(f->negotiated.word[0], BIT(TOY_BASIC));
    assert_int_equal(f->negotiated.word[1], 0);
    eventfd_read(f->dev.queues[1].kick_fd, &(eventfd_t){0});
    virtio_device_kick(&f->dev, 1);
    assert_true(kicked(f, 1));
    virtio_device_kick(&f->dev, 0); /* DRV-NTF-07 */
    assert_false(kicked(f, 0));
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK),
                     ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_true(f->running[1]);
    assert_int_equal(f->feature_sets, 1);
}

/* RING-13, MMIOL-07, ERR-06: 2.7.2 with 128 entries */
static void ring_13_one_block(void **state)
{
    struct fixture *f = *state;
    const struct virtqueue_setup *setup = &f->started[0];

    place(f, 0, 0x10000);
    assert_int_equal(setup->size, 128);
    assert_int_equal(setup->desc.value, 0x10000);
    assert_int_equal(setup->driver.value, 0x10000 + 16 * 128);
    assert_int_equal(setup->device.value, 0x11000);
    virtio_device_set_legacy_queue(&f->dev, 0, 0x20000); /* DRV-QCFG-08: in use */
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0x10000);
    virtio_device_set_legacy_queue(&f->dev, 0, 0);
    assert_false(f->running[0]);
    assert_int_equal(virtio_device_queue_address(&f->dev, 0, VIRTIO_QUEUE_DESC), 0);

    virtio_device_set_legacy_alignment(&f->dev, 0, 64);
    virtio_device_set_legacy_alignment(&f->dev, 0, 65); /* DRV-MMIO-09 */
    virtio_device_set_legacy_queue(&f->dev, 0, 0x20000);
    assert_int_equal(setup->device.value, 0x20000 + 16 * 128 + 6 + 2 * 128 + 58);
    virtio_device_set_legacy_queue(&f->dev, QUEUES, 0x20000); /* DRV-QCFG-14 */
}

/* FEAT-13, FEAT-14, FEAT-03: ANY_LAYOUT is offered, to legacy drivers alone */
static void feat_13_any_layout(void **state)
{
    struct fixture *f = *state;
    uint32_t legacy = virtio_device_legacy_features(&f->dev);

    assert_int_equal(legacy & BIT(VIRTIO_F_ANY_LAYOUT), BIT(VIRTIO_F_ANY_LAYOUT));
    assert_int_equal(legacy & BIT(VIRTIO_F_NOTIFY_ON_EMPTY), 0);
    assert_int_equal(legacy & BIT(30), 0);
    assert_int_equal(virtio_device_features(&f->dev, 0) & BIT(VIRTIO_F_ANY_LAYOUT), 0);
    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    virtio_device_set_driver_features(&f->dev, 0, legacy);
    set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_true(features_has(&f->negotiated, VIRTIO_F_ANY_LAYOUT));
    assert_true(features_has(&f->negotiated, TOY_BEST));
}

/* DRV-INIT-05, -06, -07: there is no way to refuse; what cannot be is left out. */
static void drv_init_05_07_legacy_choices(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    set(f, ACKNOWLEDGE | DRIVER);
    virtio_device_set_driver_features(
        &f->dev, 0, (uint32_t)(BIT(20) | BIT(TOY_BEST) | BIT(VIRTIO_F_EVENT_IDX)));
    virtio_device_set_driver_features(&f->dev, 1, 1); /* PCIL-05: they have 32 bits */
    assert_int_equal(set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK), ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_int_equal(f->negotiated.word[0], BIT(VIRTIO_F_EVENT_IDX));
    assert_int_equal(f->negotiated.word[1], 0);
    virtio_device_set_driver_features(&f->dev, 0, 0);
    assert_int_equal(virtio_device_driver_features(&f->dev, 0), BIT(VIRTIO_F_EVENT_IDX));
}

/* FEAT-09: after a reset the driver may be of another age, and the back end hears of it again. */
static void feat_09_reset_forgets_the_interface(void **state)
{
    struct fixture *f = *state;

    place(f, 0, 0x10000);
    assert_false(virtio_device_speak(&f->dev, VIRTIO_MODERN)); /* DRV-PCI-09 */
    set(f, 0);
    assert_false(f->running[0]);
    assert_true(virtio_device_speak(&f->dev, VIRTIO_MODERN));
    go_live(f);
    assert_int_equal(f->feature_sets, 2);
    set(f, 0);
    place(f, 0, 0x10000);
    assert_int_equal(f->feature_sets, 3);
}

/* DRV-PCI-09, DRV-INIT-05: two vCPUs use both interfaces at once, and one of them resets the device
 * between the other's leave to speak and what it then says. */
static void drv_pci_09_both_interfaces_at_once(void **state)
{
    struct fixture *f = *state;

    virtio_device_set_driver_features(&f->dev, 1, UINT32_MAX); /* a modern one's, still */
    set(f, ACKNOWLEDGE | DRIVER);
    place(f, 0, 0x10000);
    assert_true(f->running[0]);
    assert_int_equal(f->negotiated.word[1], 0);
    set(f, 0);
    assert_true(virtio_device_speak(&f->dev, VIRTIO_MODERN));
    set(f, ACKNOWLEDGE | DRIVER);
    virtio_device_set_legacy_queue(&f->dev, 0, 0x10000); /* a legacy one's, still */
    assert_false(f->running[0]);
    assert_int_equal(f->feature_sets, 1);
    go_live(f);
}

/* STAT-09, CFG-11: configuration at any time */
static void stat_09_configuration_before_features(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    virtio_device_config_write(&f->dev, 8, "\x2a", 1);
    assert_int_equal(config32(f, 8), 0x2a);
}

/* STAT-03, STAT-04, RING-17: on the legacy interface, too; and a reset brings the device back. */
static void stat_03_legacy_queue_that_cannot_start(void **state)
{
    struct fixture *f = *state;

    assert_true(virtio_device_speak(&f->dev, VIRTIO_LEGACY));
    set(f, ACKNOWLEDGE | DRIVER);
    f->refuse_start = true;
    place(f, 0, 0x10000);
    assert_int_equal(virtio_device_status(&f->dev), ACKNOWLEDGE | DRIVER | NEEDS_RESET);
    assert_int_equal(set(f, 0), 0);
    f->refuse_start = false;
    place(f, 0, 0x10000);
    assert_true(f->running[0]);
    set(f, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    needs_reset(f);
    assert_int_equal(f->config_interrupts, 1);
    assert_int_equal(set(f, 0), 0);

    f->refuse_features = true;
    place(f, 0, 0x10000);
    assert_false(f->running[0]);
}

static void types_with_a_past(void **state)
{
    (void)state;
    assert_true(virtio_device_type_has_legacy(VIRTIO_ID_NET));
    assert_true(virtio_device_type_has_legacy(VIRTIO_ID_9P));
    assert_false(virtio_device_type_has_legacy(VIRTIO_ID_INPUT));
    assert_false(virtio_device_type_has_legacy(VIRTIO_ID_GPU));
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        T(feat_02_04_what_is_offered),
        T(feat_06_masked_features_take_dependents_along),
        T(feat_08_a_valid_choice),
        T(drv_init_05_not_offered),
        T(drv_init_06_prerequisite),
        T(drv_init_08_version_1),
        T(drv_init_10_sr_iov),
        T(feat_07_nothing_reserved),
        T(feat_05_recommendations_refused),
        T(feat_08_back_end_refuses),
        T(drv_init_07_no_change_after_features_ok),
        T(cfg_01_06_reads),
        T(cfg_03_generation_moves_with_what_is_shown),
        T(pcic_09_unseen_changes_count_once),
        T(cfg_04_changes_are_told),
        T(cfg_07_writes),
        T(cfg_03_unchanged_configuration_is_read_once),
        T(pcic_15_absent_queues),
        T(pci_10_addresses_in_halves),
        T(drv_qcfg_07_08_no_changes_while_enabled),
        T(drv_init_14_queues_are_enabled_in_time),
        T(mmio_13_disabling_stops_a_queue),
        T(drv_init_11_and_ntf_07_kicks),
        T(qrst_01_04_reset_of_one_queue),
        T(drv_qcfg_12_14_reset_refused),
        T(drv_qcfg_07_13_enabled_without_addresses),
        T(pcic_12_sizes_of_packed_rings),
        T(stat_13_18_suspend_and_resume),
        T(stat_12_suspend_too_early),
        T(stat_15_16_nothing_moves_while_suspended),
        T(stat_17_changes_are_told_after_resume),
        T(stat_10_queues_before_driver_ok),
        T(ring_13_one_block),
        T(feat_13_any_layout),
        T(drv_init_05_07_legacy_choices),
        T(feat_09_reset_forgets_the_interface),
        T(drv_pci_09_both_interfaces_at_once),
        T(stat_09_configuration_before_features),
        T(stat_03_legacy_queue_that_cannot_start),
        T(types_with_a_past),
        T(feat_15_what_a_transport_lacks),
        T(init_refuses_bad_queues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
