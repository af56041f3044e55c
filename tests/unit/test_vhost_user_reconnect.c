/*
 * A vhost-user peer that dies and comes back, as the front end sees it: what the next one is told,
 * and when the device cannot go on. The peers connect to us (server=on).
 */
#include "tests/unit/vhost_user_fixture.h"

#include "base/log.h"
#include "guest/dirty_log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PROTOCOL_BIT(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)
#define INTERVAL_S         1

/* Rings of queue 0, as front_drive has them: offsets of avail.idx and used.idx. */
#define AVAIL_IDX (FRONT_RINGS + 0x1000 + 2)
#define USED_IDX  (FRONT_RINGS + 0x2000 + 2)

struct returns {
    struct front *front;
    char path[64];
    struct vhost_peer next;
    int record; /* memory of the first peer's record of requests in flight */
    struct vhost_user_process process;
    atomic_uint deaths; /* of the processes that it started */
};

static int setup(void **state)
{
    struct returns *r = calloc(1, sizeof(*r));
    void *front;

    front_setup(&front);
    r->front = front;
    snprintf(r->path, sizeof(r->path), "/tmp/vireo-reconnect-%d", getpid());
    r->record = memfd_create("record", 0);
    assert_int_equal(ftruncate(r->record, 4096), 0);
    r->front->options.path = r->path;
    r->front->options.server = true;
    r->front->options.reconnect_s = INTERVAL_S;
    r->front->peer.connects_to = r->path;
    r->front->peer.inflight_fd = r->record;
    r->front->peer.protocol_features |= PROTOCOL_BIT(INFLIGHT_SHMFD);
    vhost_peer_init(&r->next);
    r->next.connects_to = r->path;
    r->next.protocol_features = r->front->peer.protocol_features;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct returns *r = *state;
    void *front = r->front;

    front_teardown(&front);
    vhost_peer_stop(&r->next);
    close(r->record);
    assert_int_equal(access(r->path, F_OK), -1);
    free(r);
    return 0;
}

static void set_index(struct returns *r, uint64_t at, uint16_t value)
{
    uint16_t *index = guest_memory_map(&r->front->memory, GPA(at), sizeof(*index));

    __atomic_store_n(index, htole16(value), __ATOMIC_SEQ_CST);
}

static void begin(struct returns *r)
{
    front_connect(r->front);
    front_drive(r->front);
    assert_false(front_needs_reset(r->front));
}

static void die(struct returns *r)
{
    vhost_peer_stop(&r->front->peer);
    atomic_store(&r->front->interrupts, 0);
}

static void come_back(struct returns *r)
{
    assert_int_equal(vhost_peer_start(&r->next), -1);
}

static bool same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino;
}

/* All that the driver chose, the record, and the queue where it was used up to. */
static void goes_on(void **state)
{
    struct returns *r = *state;
    struct vhost_user_message told;

    begin(r);
    set_index(r, AVAIL_IDX, 7);
    set_index(r, USED_IDX, 5);
    die(r);
    come_back(r);
    front_wait(r->front, front_interrupted); /* used buffers may not have been announced */
    assert_false(front_needs_reset(r->front));
    told = vhost_peer_told(&r->next, VHOST_USER_SET_FEATURES);
    assert_true(told.payload.u64 >> VIRTIO_F_VERSION_1 & 1);
    told = vhost_peer_told(&r->next, VHOST_USER_SET_INFLIGHT_FD);
    assert_true(same_file(told.fds[0], r->record));
    assert_int_equal(told.payload.inflight.queue_count, FRONT_QUEUES);
    assert_int_equal(vhost_peer_count(&r->next, VHOST_USER_GET_INFLIGHT_FD), 0);
    assert_int_equal(vhost_peer_told(&r->next, VHOST_USER_SET_VRING_BASE).payload.state.num, 5);
    assert_int_equal(vhost_peer_told(&r->next, VHOST_USER_SET_VRING_ENABLE).payload.state.num, 1);
    assert_int_equal(vhost_peer_count(&r->next, VHOST_USER_SET_VRING_ENABLE), 1); /* queue 0 */
    told = vhost_peer_told(&r->next, VHOST_USER_SET_VRING_KICK);
    assert_int_equal(eventfd_read(told.fds[0], &(eventfd_t){0}), 0); /* and was kicked */
}

static void offers_less(void **state)
{
    struct returns *r = *state;

    r->front->peer.features |= UINT64_C(1) << VIRTIO_F_EVENT_IDX;
    begin(r);
    die(r);
    assert_false(front_needs_reset(r->front));
    come_back(r);
    front_wait(r->front, front_needs_reset);
}

/* The driver has seen how much there is. */
static void has_other_shared_memory(void **state)
{
    struct returns *r = *state;

    r->front->peer.shmem.count = r->next.shmem.count = 1;
    r->front->peer.shmem.sizes[0] = 4 * MIB;
    r->next.shmem.sizes[0] = 8 * MIB;
    begin(r);
    die(r);
    come_back(r);
    front_wait(r->front, front_needs_reset);
}

/* With requests in flight of which the next one cannot know: the device cannot go on. */
static void assert_given_up(struct returns *r)
{
    begin(r);
    set_index(r, AVAIL_IDX, 7);
    set_index(r, USED_IDX, 5);
    die(r);
    come_back(r);
    front_wait(r->front, front_needs_reset);
}

static void keeps_no_record(void **state)
{
    struct returns *r = *state;

    r->front->peer.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    assert_given_up(r);
}

static void ignores_the_record(void **state)
{
    struct returns *r = *state;

    r->next.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    assert_given_up(r);
}

/* With relay=on what is in flight is noted by the peers, or by us: not by turns. */
static void ignores_the_record_with_relay(void **state)
{
    struct returns *r = *state;

    r->front->options.relay = true;
    r->next.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    begin(r);
    die(r);
    come_back(r);
    front_wait(r->front, front_needs_reset);
    assert_int_equal(vhost_peer_count(&r->next, VHOST_USER_SET_VRING_ENABLE), 0);
}

/* How far the ring goes that relay=on makes for queue 0 of a peer. */
static uint16_t relayed_index(struct vhost_peer *peer)
{
    const struct vhost_user_message told = vhost_peer_told(peer, VHOST_USER_ADD_MEM_REG);
    uint16_t index = 0;

    assert_int_equal(pread(told.fds[0], &index, sizeof(index), 2), sizeof(index));
    return le16toh(index);
}

/* The driver suspends the device, and resumes it, while there is no peer. */
static void suspended_with_relay(void **state)
{
    struct returns *r = *state;
    struct virtio_backend *backend;
    const struct virtqueue_setup setup = {.size = 64,
                                          .desc = GPA(FRONT_RINGS),
                                          .driver = GPA(FRONT_RINGS + 0x1000),
                                          .device = GPA(FRONT_RINGS + 0x2000)};
    struct virtqueue_position position;

    r->front->options.relay = true;
    r->front->peer.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    r->next.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    front_connect(r->front);
    backend = r->front->dev.backend;
    set_index(r, AVAIL_IDX, 1);
    front_drive(r->front);
    die(r);
    position = backend->ops->queue_stop(backend, 0);
    assert_int_equal(position.avail, 1);
    assert_int_equal(position.used, 0);
    assert_int_equal(
        backend->ops->queue_start(backend, &setup, position, r->front->dev.queues[0].kick_fd, NULL),
        0);
    come_back(r);
    front_wait(r->front, front_interrupted);
    assert_false(front_needs_reset(r->front));
    assert_int_equal(relayed_index(&r->next), 1);
}

/* In the middle of a migration: it would go on with pages missing. */
static void cannot_log(void **state, bool features)
{
    struct returns *r = *state;
    struct dirty_log log;

    r->front->peer.features |= UINT64_C(1) << VHOST_F_LOG_ALL;
    r->front->peer.protocol_features |= PROTOCOL_BIT(LOG_SHMFD);
    r->next.features = features ? r->front->peer.features : r->next.features;
    r->next.protocol_features |= features ? 0 : PROTOCOL_BIT(LOG_SHMFD);
    begin(r);
    assert_int_equal(dirty_log_create(&log, &r->front->memory, NULL), 0);
    assert_int_equal(virtio_device_dirty_log(&r->front->dev, &log, NULL), 0);
    die(r);
    come_back(r);
    front_wait(r->front, front_needs_reset);
    assert_int_equal(vhost_peer_count(&r->next, VHOST_USER_SET_LOG_BASE), 0);
    virtio_device_dirty_log(&r->front->dev, NULL, NULL);
    dirty_log_destroy(&log);
}

static void knows_no_log_feature(void **state)
{
    cannot_log(state, false);
}

static void takes_no_log(void **state)
{
    cannot_log(state, true);
}

/* None was. What the driver adds while nobody is there is all new. */
static void needs_no_record(void **state)
{
    struct returns *r = *state;

    r->front->peer.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    r->next.protocol_features &= ~PROTOCOL_BIT(INFLIGHT_SHMFD);
    begin(r);
    set_index(r, AVAIL_IDX, 7);
    set_index(r, USED_IDX, 7);
    die(r);
    usleep(200000); /* until that was noticed */
    set_index(r, AVAIL_IDX, 9);
    come_back(r);
    front_wait(r->front, front_interrupted);
    assert_false(front_needs_reset(r->front));
    assert_int_equal(vhost_peer_told(&r->next, VHOST_USER_SET_VRING_BASE).payload.state.num, 7);
}

/* Without a peer the driver can read the configuration, reset the device and set it up anew: the
 * next one is told of its last life only. */
static void driver_goes_on_meanwhile(void **state)
{
    struct returns *r = *state;
    uint8_t before[8], after[8];

    begin(r);
    virtio_device_config_read(&r->front->dev, 0, before, sizeof(before));
    set_index(r, AVAIL_IDX, 7);
    set_index(r, USED_IDX, 5);
    die(r);
    usleep(200000);
    virtio_device_set_status(&r->front->dev, 0);
    set_index(r, AVAIL_IDX, 0);
    set_index(r, USED_IDX, 0);
    front_drive(r->front);
    virtio_device_config_read(&r->front->dev, 0, after, sizeof(after));
    assert_memory_equal(before, after, sizeof(before));
    assert_false(front_needs_reset(r->front));
    r->next.inflight_fd = r->record;
    come_back(r);
    front_wait(r->front, front_interrupted);
    assert_int_equal(vhost_peer_told(&r->next, VHOST_USER_SET_VRING_BASE).payload.state.num, 0);
    assert_int_equal(vhost_peer_count(&r->next, VHOST_USER_GET_INFLIGHT_FD), 1); /* a new one */
}

static void nothing(void *arg)
{
    (void)arg;
}

/* It comes back and does not answer: a bounded wait, during which the loop serves others. */
static void silent_when_back(void **state)
{
    struct returns *r = *state;
    uint64_t longest = 0;

    begin(r);
    die(r);
    r->next.fault = PEER_SILENT;
    r->next.fault_at = VHOST_USER_SET_MEM_TABLE;
    r->next.protocol_features &= ~PROTOCOL_BIT(CONFIGURE_MEM_SLOTS);
    come_back(r);
    for (int i = 0; i < 1000 && !front_needs_reset(r->front); i++) {
        uint64_t start = loop_now_ns();

        loop_call(r->front->loop, nothing, NULL);
        longest = MAX(longest, loop_now_ns() - start);
        usleep(10000);
    }
    assert_true(front_needs_reset(r->front));
    assert_true(longest < UINT64_C(2000000000));
}

/* A reset of a device that was given up finds the next peer. */
static void reset_after_giving_up(void **state)
{
    struct returns *r = *state;

    begin(r);
    r->front->peer.fault = PEER_VERSION;
    r->front->peer.fault_at = VHOST_USER_GET_CONFIG;
    virtio_device_config_read(&r->front->dev, 0, (uint8_t[4]){0}, 4);
    r->front->dev.backend->ops->config_read(r->front->dev.backend, 0, (uint8_t[4]){0}, 4);
    front_wait(r->front, front_needs_reset);
    die(r);
    r->next.inflight_fd = r->record;
    come_back(r);
    virtio_device_set_status(&r->front->dev, 0);
    front_drive(r->front);
    for (int i = 0; i < 500 && !vhost_peer_count(&r->next, VHOST_USER_SET_VRING_ENABLE); i++)
        usleep(10000);
    assert_int_equal(vhost_peer_count(&r->next, VHOST_USER_SET_VRING_ENABLE), 1);
    assert_false(front_needs_reset(r->front));
}

/* The first one, and `next`, by turns. */
static struct vhost_peer *peer_after(struct returns *r, unsigned deaths)
{
    return deaths % 2 ? &r->next : &r->front->peer;
}

static int start_another(void *opaque, struct error *err)
{
    struct returns *r = opaque;
    unsigned deaths = atomic_load(&r->deaths);
    struct vhost_peer *peer = peer_after(r, deaths);

    (void)err;
    if (!deaths)
        return r->front->options.fd;
    vhost_peer_init(peer);
    peer->protocol_features |= PROTOCOL_BIT(INFLIGHT_SHMFD);
    return vhost_peer_start(peer);
}

/* Each of them can do all, and dies at once: there is more and more time between them. */
static void none_lasts(void **state)
{
    struct returns *r = *state;
    uint64_t death = 0;

    r->process = (struct vhost_user_process){.connect = start_another, .opaque = r};
    r->front->options.process = &r->process;
    r->front->options.path = NULL;
    r->front->options.server = false;
    r->front->peer.connects_to = NULL;
    begin(r);
    for (unsigned deaths = 1; deaths <= 16; deaths++) {
        atomic_store(&r->front->interrupts, 0);
        atomic_store(&r->deaths, deaths);
        death = loop_now_ns();
        vhost_peer_stop(peer_after(r, deaths - 1));
        front_wait(r->front, front_interrupted);
    }
    assert_true(loop_now_ns() - death >= UINT64_C(100000000));
    assert_false(front_needs_reset(r->front));
}

/* The machine ends while nobody serves the device. */
static void ends_meanwhile(void **state)
{
    struct returns *r = *state;

    begin(r);
    die(r);
    usleep(50000);
    r->next.fault = PEER_SILENT;
    r->next.fault_at = VHOST_USER_GET_FEATURES;
    come_back(r);
    usleep(50000); /* in the middle of an attempt */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(goes_on),
        TEST(offers_less),
        TEST(has_other_shared_memory),
        TEST(keeps_no_record),
        TEST(ignores_the_record),
        TEST(ignores_the_record_with_relay),
        TEST(suspended_with_relay),
        TEST(knows_no_log_feature),
        TEST(takes_no_log),
        TEST(needs_no_record),
        TEST(driver_goes_on_meanwhile),
        TEST(silent_when_back),
        TEST(reset_after_giving_up),
        TEST(none_lasts),
        TEST(ends_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
