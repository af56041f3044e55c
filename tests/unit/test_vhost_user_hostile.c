/*
 * What a hostile vhost-user peer can do to the front end: nothing but that its device needs a
 * reset, after a bounded time.
 */
#include "tests/unit/vhost_user_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static void drive(struct front *f)
{
    front_connect(f);
    front_drive(f);
    assert_false(front_needs_reset(f));
}

/* It does wrong while the driver sets the device up: the driver sees a device that needs a reset,
 * and can go on talking to it. */
static void fault_at(struct front *f, uint32_t request, enum vhost_peer_fault fault)
{
    uint8_t bytes[4];

    front_connect(f);
    vhost_peer_do_wrong(&f->peer, request, fault);
    front_drive(f);
    front_wait(f, front_needs_reset);
    virtio_device_config_read(&f->dev, 0, bytes, sizeof(bytes));
    virtio_device_set_status(&f->dev, 0);
    assert_int_equal(virtio_device_status(&f->dev), 0);
}

#define FAULT(name, request, fault)                           \
    static void name(void **state)                            \
    {                                                         \
        fault_at(*state, VHOST_USER_##request, PEER_##fault); \
    }

FAULT(closes, SET_VRING_NUM, CLOSES)
FAULT(half_a_header, SET_VRING_ADDR, HALF)
FAULT(acknowledges_too_much, SET_VRING_KICK, TOO_LONG)
FAULT(acknowledges_too_little, SET_VRING_CALL, TOO_SHORT)
FAULT(huge, SET_VRING_BASE, HUGE)
FAULT(other, SET_VRING_ENABLE, OTHER)
FAULT(no_reply, SET_VRING_ERR, NO_REPLY)
FAULT(version, SET_FEATURES, VERSION)
FAULT(one_fd, SET_STATUS, ONE_FD)
FAULT(too_many_fds, SET_VRING_NUM, TOO_MANY_FDS)
FAULT(refuses, SET_VRING_ADDR, REFUSES)
FAULT(status_too_long, GET_STATUS, TOO_LONG)
FAULT(never_answers, SET_VRING_ENABLE, SILENT)

/* A queue that it refused is none of ours any more, and can be started again. */
static void refuses_with_relay(void **state)
{
    struct front *f = *state;

    f->options.relay = true;
    fault_at(f, VHOST_USER_SET_VRING_ADDR, PEER_REFUSES);
    vhost_peer_do_wrong(&f->peer, 0, PEER_SOUND);
    front_drive(f);
    assert_false(front_needs_reset(f));
    virtio_device_kick(&f->dev, 0);
}

/* --- its descriptors -------------------------------------------------------------------------- */

/* We read it while vCPUs wait: from a file that can keep readers waiting, never. */
static void record_that_blocks(void **state)
{
    struct front *f = *state;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    f->peer.protocol_features |= UINT64_C(1) << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD;
    f->peer.inflight_fd = ends[0];
    drive(f);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_GET_INFLIGHT_FD), 1);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_SET_INFLIGHT_FD), 0);
    close(ends[0]);
    close(ends[1]);
}

/* It fills the eventfd of a queue's notifications, and has writers wait. */
static void stop_up(struct front *f)
{
    int kick = vhost_peer_told(&f->peer, VHOST_USER_SET_VRING_KICK).fds[0];

    pthread_mutex_lock(&f->peer.lock); /* it closes descriptors that are replaced */
    (void)eventfd_read(kick, &(eventfd_t){0});
    assert_int_equal(fcntl(kick, F_SETFL, 0), 0);
    assert_int_equal(eventfd_write(kick, UINT64_MAX - 1), 0);
    pthread_mutex_unlock(&f->peer.lock);
    alarm(10); /* the test ends then */
}

/* Neither a vCPU that notifies waits for it, nor one that starts the queue. */
static void kick_that_blocks(void **state)
{
    struct front *f = *state;

    drive(f);
    stop_up(f);
    virtio_device_kick(&f->dev, 0);
    virtio_device_set_status(&f->dev, 0);
    front_drive(f);
    alarm(0);
    assert_false(front_needs_reset(f));
}

/* Nor the loop that passes notifications on. */
static void relayed_kick_that_blocks(void **state)
{
    struct front *f = *state;
    uint16_t *available = guest_memory_map(&f->memory, GPA(FRONT_RINGS + 0x1002), 2);

    f->options.relay = true;
    drive(f);
    stop_up(f);
    __atomic_store_n(available, htole16(1), __ATOMIC_SEQ_CST);
    virtio_device_kick(&f->dev, 0);
    virtio_device_set_status(&f->dev, 0); /* which takes the loop */
    alarm(0);
}

static void *write_slowly(void *arg)
{
    struct front *f = arg;
    bool goes_on = true;

    while (goes_on) {
        usleep(100000);
        pthread_mutex_lock(&f->peer.lock);
        goes_on = f->peer.state_fd < 0 || write(f->peer.state_fd, "x", 1) == 1;
        pthread_mutex_unlock(&f->peer.lock);
    }
    return NULL;
}

/* Its state comes byte by byte, and has no end. */
static void endless_state(void **state)
{
    struct front *f = *state;
    struct virtio_state saved;
    uint64_t began;
    pthread_t writer;

    signal(SIGPIPE, SIG_IGN);
    f->peer.keeps_pipe = true;
    front_connect(f);
    assert_int_equal(pthread_create(&writer, NULL, write_slowly, f), 0);
    began = loop_now_ns();
    alarm(30);
    assert_int_equal(f->dev.backend->ops->save(f->dev.backend, &saved, NULL), -ETIMEDOUT);
    alarm(0);
    assert_true(loop_now_ns() - began < UINT64_C(8000000000));
    pthread_join(writer, NULL);
}

/* So it does at the beginning: then there is no device, and a reason. */
static void refused(void **state, uint32_t request, enum vhost_peer_fault fault)
{
    struct front *f = *state;
    struct error err = ERROR_INIT;

    vhost_peer_do_wrong(&f->peer, request, fault);
    assert_true(front_try(f, &err) < 0);
    assert_true(strncmp(err.text, vhost_user_request_name(request, false),
                        strlen(vhost_user_request_name(request, false))) == 0);
}

static void features_too_long(void **state)
{
    refused(state, VHOST_USER_GET_FEATURES, PEER_TOO_LONG);
}

static void slots_with_descriptors(void **state)
{
    refused(state, VHOST_USER_GET_MAX_MEM_SLOTS, PEER_ONE_FD);
}

static void shared_memory_too_short(void **state)
{
    struct front *f = *state;

    f->peer.shmem.count = VHOST_USER_SHMEM_MAX + 1;
    refused(state, VHOST_USER_GET_SHMEM_CONFIG, PEER_SOUND);
}

static void shared_memory_too_large(void **state)
{
    struct front *f = *state;
    struct error err = ERROR_INIT;

    f->peer.shmem.count = 1;
    f->peer.shmem.sizes[0] = UINT64_MAX - 4095;
    assert_int_equal(front_try(f, &err), -ENOTSUP);
    assert_string_equal(err.text, "it has 0xfffffffffffff000 bytes of shared memory");
}

/* --- on the channel for its own requests ------------------------------------------------------ */

static int channel_of(struct front *f)
{
    int channel;

    pthread_mutex_lock(&f->peer.lock);
    channel = f->peer.channel;
    pthread_mutex_unlock(&f->peer.lock);
    return channel;
}

static void own_request(struct front *f, const struct vhost_user_message *message)
{
    drive(f);
    assert_int_equal(vhost_user_send(channel_of(f), message, NULL), 0);
    front_wait(f, front_needs_reset);
    virtio_device_set_status(&f->dev, 0);
}

static void own_request_of_wrong_size(void **state)
{
    const struct vhost_user_message message = {
        .header = {VHOST_USER_BACKEND_SHMEM_MAP, VHOST_USER_VERSION, 12}};

    own_request(*state, &message);
}

static void own_request_of_wrong_version(void **state)
{
    const struct vhost_user_message message = {
        .header = {VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, 0}};

    own_request(*state, &message);
}

static void own_request_with_descriptors(void **state)
{
    struct vhost_user_message message = {
        .header = {VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, 0},
        .fd_count = VHOST_USER_FDS_MAX};

    for (unsigned i = 0; i < VHOST_USER_FDS_MAX; i++)
        message.fds[i] = eventfd(0, EFD_CLOEXEC);
    own_request(*state, &message);
    vhost_user_close_fds(&message);
}

/* The loop that hears it serves other devices, too. */
static void half_an_own_request(void **state)
{
    struct front *f = *state;
    uint64_t began;

    drive(f);
    began = loop_now_ns();
    assert_int_equal(send(channel_of(f), "abc", 3, MSG_NOSIGNAL), 3);
    front_wait(f, front_needs_reset);
    assert_true(loop_now_ns() - began < UINT64_C(1000000000));
}

/* Requests that are sound, each in two pieces with a pause between them. */
static void own_requests_in_pieces(void **state)
{
    struct front *f = *state;
    const struct vhost_user_header header = {VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
                                             VHOST_USER_VERSION, 0};
    uint64_t began = loop_now_ns();

    f->peer.protocol_features &= ~(UINT64_C(1) << VHOST_USER_PROTOCOL_F_STATUS);
    drive(f);
    while (!front_needs_reset(f) && loop_now_ns() - began < UINT64_C(10000000000)) {
        (void)send(channel_of(f), &header, 4, MSG_NOSIGNAL);
        usleep(100000);
        (void)send(channel_of(f), (const char *)&header + 4, 8, MSG_NOSIGNAL);
    }
    assert_true(front_needs_reset(f));
}

static void closes_its_channel(void **state)
{
    struct front *f = *state;
    uint8_t bytes[4];

    drive(f);
    shutdown(channel_of(f), SHUT_RDWR);
    usleep(20000);
    virtio_device_config_read(&f->dev, 0, bytes, sizeof(bytes));
    assert_int_equal(bytes[3], 3);
    assert_false(front_needs_reset(f)); /* that alone is no harm */
}

/* Which this process can look at, and KVM cannot. */
static void maps_secret_memory(void **state)
{
    struct front *f = *state;
    const struct vhost_user_mapping mapping = {.length = 4 * KIB};
    int fd = (int)syscall(SYS_memfd_secret, 0);

    if (fd < 0)
        skip();
    assert_int_equal(ftruncate(fd, 4 * KIB), 0);
    f->peer.shmem.count = 1;
    f->peer.shmem.sizes[0] = 4 * KIB;
    drive(f);
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_SHMEM_MAP, &mapping, sizeof(mapping), fd), 1);
    close(fd);
}

/* Of a file of huge pages the kernel maps whole ones: over what is behind a short mapping. */
static void maps_a_part_of_a_huge_page(void **state)
{
    struct front *f = *state;
    struct vhost_user_mapping mapping = {
        .shm_offset = 4 * KIB, .length = 4 * KIB, .flags = VHOST_USER_MAPPING_WRITABLE};
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    int small = memfd_create("small", MFD_CLOEXEC);

    if (fd < 0)
        skip();
    assert_int_equal(ftruncate(fd, 2 * MIB), 0);
    assert_int_equal(ftruncate(small, 4 * KIB), 0);
    assert_int_equal(pwrite(small, "abcd", 4, 0), 4);
    f->peer.shmem.count = 1;
    f->peer.shmem.sizes[0] = 4 * MIB;
    drive(f);
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_SHMEM_MAP, &mapping, sizeof(mapping), small),
        0);
    mapping.shm_offset = 0;
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_SHMEM_MAP, &mapping, sizeof(mapping), fd), 1);
    /* What was there still is. */
    assert_memory_equal(fake_memory_at(&f->fake, FRONT_SHARED + 4 * KIB, 4, true), "abcd", 4);
    close(small);
    close(fd);
}

/* An answer to nothing. */
static void unasked(void **state)
{
    struct front *f = *state;
    const struct vhost_user_message message = {
        .header = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, 8}};

    drive(f);
    assert_int_equal(vhost_user_send(f->peer.socket, &message, NULL), 0);
    front_wait(f, front_needs_reset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(closes),
        FRONT_TEST(half_a_header),
        FRONT_TEST(acknowledges_too_much),
        FRONT_TEST(acknowledges_too_little),
        FRONT_TEST(huge),
        FRONT_TEST(other),
        FRONT_TEST(no_reply),
        FRONT_TEST(version),
        FRONT_TEST(one_fd),
        FRONT_TEST(too_many_fds),
        FRONT_TEST(refuses),
        FRONT_TEST(refuses_with_relay),
        FRONT_TEST(record_that_blocks),
        FRONT_TEST(endless_state),
        FRONT_TEST(kick_that_blocks),
        FRONT_TEST(relayed_kick_that_blocks),
        FRONT_TEST(status_too_long),
        FRONT_TEST(never_answers),
        FRONT_TEST(features_too_long),
        FRONT_TEST(slots_with_descriptors),
        FRONT_TEST(shared_memory_too_short),
        FRONT_TEST(shared_memory_too_large),
        FRONT_TEST(own_request_of_wrong_size),
        FRONT_TEST(own_request_of_wrong_version),
        FRONT_TEST(own_request_with_descriptors),
        FRONT_TEST(half_an_own_request),
        FRONT_TEST(own_requests_in_pieces),
        FRONT_TEST(closes_its_channel),
        FRONT_TEST(maps_secret_memory),
        FRONT_TEST(maps_a_part_of_a_huge_page),
        FRONT_TEST(unasked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
