/*
 * What the vhost-user front end says to a sound peer, and hears from it: protocol feature by
 * protocol feature.
 */
#include "tests/unit/vhost_user_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FEATURE(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

static uint64_t told_u64(struct front *f, uint32_t request)
{
    return vhost_peer_told(&f->peer, request).payload.u64;
}

/* --- agreeing --- */

static void only_what_is_offered(void **state)
{
    struct front *f = *state;
    uint8_t byte;

    f->peer.protocol_features = FEATURE(MQ) | FEATURE(CONFIG);
    front_connect(f);
    front_drive(f);
    virtio_device_config_read(&f->dev, 0, &byte, 1); /* is answered, and so all before was heard */
    assert_int_equal(told_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES), FEATURE(MQ) | FEATURE(CONFIG));
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_SET_OWNER), 1);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_SET_VRING_ENABLE), 1);
}

/* What cannot be without another feature is not agreed on without it; and what nobody asked for,
 * or has no use, never. */
static void only_what_goes_together(void **state)
{
    struct front *f = *state;

    f->peer.protocol_features &= ~FEATURE(BACKEND_REQ);
    front_connect(f);
    assert_int_equal(told_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES) &
                         (FEATURE(SHMEM) | FEATURE(BACKEND_SEND_FD) | FEATURE(BACKEND_REQ) |
                          FEATURE(INBAND_NOTIFICATIONS) | FEATURE(HOST_NOTIFIER)),
                     0);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_GET_SHMEM_CONFIG), 0);
}

static void no_channel_for_inband(void **state)
{
    struct front *f = *state;
    struct error err = ERROR_INIT;

    f->peer.protocol_features &= ~FEATURE(REPLY_ACK);
    f->options.inband = true;
    assert_int_equal(front_try(f, &err), -ENOTSUP);
    assert_string_equal(err.text, "it takes no messages for notifications");
}

/* Devices of a type that always has as many queues need not say so. */
static void fixed_queues_without_mq(void **state)
{
    struct front *f = *state;

    f->peer.protocol_features &= ~FEATURE(MQ);
    f->options.id = VIRTIO_ID_CONSOLE;
    front_connect(f);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_GET_QUEUE_NUM), 0);
}

static void many_queues_without_mq(void **state)
{
    struct front *f = *state;
    struct error err = ERROR_INIT;

    f->peer.protocol_features &= ~FEATURE(MQ);
    assert_int_equal(front_try(f, &err), -ENOTSUP);
    assert_string_equal(err.text, "it serves 1 queues, not 2 (MQ)");
}

/* --- memory and addresses --- */

static void memory_in_one_table(void **state)
{
    struct front *f = *state;
    struct vhost_user_message table;

    f->peer.protocol_features &= ~FEATURE(CONFIGURE_MEM_SLOTS);
    front_connect(f);
    table = vhost_peer_told(&f->peer, VHOST_USER_SET_MEM_TABLE);
    assert_int_equal(table.payload.memory.count, 2);
    assert_int_equal(table.fd_count, 2);
    assert_int_equal(table.payload.memory.regions[1].guest_address, 16 * MIB);
}

static void memory_region_by_region(void **state)
{
    struct front *f = *state;
    struct vhost_user_message message;

    front_connect(f);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_SET_MEM_TABLE), 0);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_ADD_MEM_REG), 2);
    message = vhost_peer_told(&f->peer, VHOST_USER_ADD_MEM_REG);
    assert_int_equal(message.payload.single_region.region.guest_address, 16 * MIB);
    assert_int_equal(message.payload.single_region.region.size, FRONT_MEMORY);
    assert_int_equal(message.fd_count, 1);
}

static void too_few_slots(void **state)
{
    struct front *f = *state;
    struct error err = ERROR_INIT;

    f->peer.slots = 1;
    assert_int_equal(front_try(f, &err), -ENOTSUP);
    assert_string_equal(err.text, "it maps 1 regions of guest memory, there are 2");
}

static void addresses(void **state)
{
    struct front *f = *state;
    struct vhost_user_message message;

    front_connect(f);
    front_drive(f);
    message = vhost_peer_told(&f->peer, VHOST_USER_SET_VRING_ADDR);
    assert_int_equal(message.payload.address.descriptor, FRONT_RINGS);
    assert_int_equal(message.payload.address.used, FRONT_RINGS + 0x2000);
}

static void addresses_of_the_front_end(void **state)
{
    struct front *f = *state;
    struct vhost_user_message message;

    f->peer.protocol_features &= ~FEATURE(GPA_ADDRESSES);
    front_connect(f);
    front_drive(f);
    message = vhost_peer_told(&f->peer, VHOST_USER_SET_VRING_ADDR);
    assert_ptr_equal((void *)(uintptr_t)message.payload.address.available,
                     guest_memory_map(&f->memory, GPA(FRONT_RINGS + 0x1000), 1));
}

/* --- status, reset, MTU --- */

static void status(void **state)
{
    struct front *f = *state;

    front_connect(f);
    front_drive(f);
    assert_int_equal(told_u64(f, VHOST_USER_SET_STATUS),
                     VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
                         VIRTIO_STATUS_DRIVER_OK);
    virtio_device_set_status(&f->dev, 0);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_RESET_DEVICE), 1);
    assert_int_equal(virtio_device_status(&f->dev), 0);
    front_drive(f); /* and it begins anew */
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_SET_FEATURES), 2);
}

static void reset_by_status(void **state)
{
    struct front *f = *state;

    f->peer.protocol_features &= ~FEATURE(RESET_DEVICE);
    front_connect(f);
    front_drive(f);
    virtio_device_set_status(&f->dev, 0);
    assert_int_equal(told_u64(f, VHOST_USER_SET_STATUS), 0);
}

/* FEAT-08 */
static void refuses_features(void **state)
{
    struct front *f = *state;

    f->peer.status_never = VIRTIO_STATUS_FEATURES_OK;
    front_connect(f);
    front_advance(f, VIRTIO_STATUS_ACKNOWLEDGE);
    front_advance(f, VIRTIO_STATUS_DRIVER);
    virtio_device_set_driver_features(&f->dev, 1, 1);
    front_advance(f, VIRTIO_STATUS_FEATURES_OK);
    assert_false(virtio_device_status(&f->dev) & VIRTIO_STATUS_FEATURES_OK);
}

static void mtu(void **state)
{
    struct front *f = *state;

    f->options.id = VIRTIO_ID_NET;
    f->peer.features |= 1 << 3; /* VIRTIO_NET_F_MTU */
    store_le16(f->peer.config + 10, 9000);
    front_connect(f);
    front_drive(f);
    assert_int_equal(told_u64(f, VHOST_USER_NET_SET_MTU), 9000);
}

static void no_mtu_of_a_disk(void **state)
{
    struct front *f = *state;

    f->peer.features |= 1 << 3;
    front_connect(f);
    front_drive(f);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_NET_SET_MTU), 0);
}

/* --- what the peer says by itself --- */

static void config_changes(void **state)
{
    struct front *f = *state;
    uint8_t bytes[4];

    front_connect(f);
    front_drive(f);
    virtio_device_config_read(&f->dev, 0, bytes, sizeof(bytes));
    assert_int_equal(bytes[0], 0);
    pthread_mutex_lock(&f->peer.lock);
    f->peer.config[0] = 77;
    pthread_mutex_unlock(&f->peer.lock);
    assert_int_equal(vhost_peer_say(&f->peer, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, "", 0, -1), 0);
    assert_int_equal(atomic_load(&f->config_interrupts), 1);
    virtio_device_config_read(&f->dev, 0, bytes, sizeof(bytes));
    assert_int_equal(bytes[0], 77);
}

/* 2.1.2: it says so in its status, and that there is news. */
static void needs_reset(void **state)
{
    struct front *f = *state;

    front_connect(f);
    front_drive(f);
    pthread_mutex_lock(&f->peer.lock);
    f->peer.status_adds = VIRTIO_STATUS_NEEDS_RESET;
    pthread_mutex_unlock(&f->peer.lock);
    assert_int_equal(vhost_peer_say(&f->peer, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, "", 0, -1), 0);
    front_wait(f, front_needs_reset);
}

/* Not agreed on where queues are not notified at pages of their own. */
static void host_notifier_is_refused(void **state)
{
    struct front *f = *state;
    const struct vhost_user_area area = {0, 4096, 0};
    int fd = memfd_create("page", MFD_CLOEXEC);

    front_connect(f);
    front_drive(f);
    assert_false(told_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES) & FEATURE(HOST_NOTIFIER));
    assert_int_equal(vhost_peer_say(&f->peer, VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG, &area,
                                    sizeof(area), fd),
                     1);
    assert_int_equal(vhost_peer_say(&f->peer, 77, "", 0, -1), 1); /* and what there is not */
    assert_false(front_needs_reset(f));
    close(fd);
}

static bool was_kicked(struct front *f)
{
    return vhost_peer_count(&f->peer, VHOST_USER_VRING_KICK) > 0;
}

/* Notifications are messages both ways, and one is heard while the other waits to be answered. */
static void inband(void **state)
{
    struct front *f = *state;
    const struct vhost_user_vring_state queue = {0, 0}, none = {FRONT_QUEUES, 0};
    unsigned before;

    f->options.inband = f->peer.calls_before_kicked = true;
    front_connect(f);
    front_drive(f); /* kicks, since there may be buffers already */
    assert_int_equal(told_u64(f, VHOST_USER_SET_VRING_KICK), VHOST_USER_VRING_NOFD);
    assert_int_equal(told_u64(f, VHOST_USER_SET_VRING_CALL), VHOST_USER_VRING_NOFD);
    front_wait(f, was_kicked);
    front_wait(f, front_interrupted);
    pthread_mutex_lock(&f->peer.lock);
    f->peer.calls_before_kicked = false;
    pthread_mutex_unlock(&f->peer.lock);
    before = atomic_load(&f->interrupts);
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_VRING_CALL, &queue, sizeof(queue), -1), 0);
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_VRING_CALL, &none, sizeof(none), -1), 1);
    assert_true(atomic_load(&f->interrupts) > before);
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_VRING_ERR, &queue, sizeof(queue), -1), 0);
    front_wait(f, front_needs_reset);
    virtio_device_set_status(&f->dev, 0);
    front_drive(f);
    assert_false(front_needs_reset(f));
}

/* Both at once: the driver notifies, for which the peer's answer is waited, and the peer says
 * something, which is heard meanwhile. Then there is nothing left to hear. */
static struct {
    struct loop_task task;
    struct front *front;
    atomic_bool asked;
} both;

static void notify_and_linger(struct loop_task *task)
{
    (void)task;
    virtio_device_kick(&both.front->dev, 0);
    atomic_store(&both.asked, true);
    usleep(100000); /* for the peer's message; when it is late they are not at once */
}

static void inband_at_once(void **state)
{
    struct front *f = *state;
    const struct vhost_user_vring_state queue = {0, 0};

    f->options.inband = true;
    front_connect(f);
    front_drive(f);
    front_wait(f, was_kicked);
    both.task = (struct loop_task){.run = notify_and_linger};
    both.front = f;
    loop_post(f->loop, &both.task);
    while (!atomic_load(&both.asked))
        usleep(1000);
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_VRING_CALL, &queue, sizeof(queue), -1), 0);
    usleep(2 * 1000 * VHOST_USER_BRIEF_MS); /* as long as it would be waited for */
    assert_int_equal(
        vhost_peer_say(&f->peer, VHOST_USER_BACKEND_VRING_CALL, &queue, sizeof(queue), -1), 0);
    assert_int_equal(atomic_load(&f->interrupts), 2);
}

/* --- shared memory ---------------------------------------------------------------------------- */

#define SHARED_ID 3
#define SHARED    (64 * KIB)

static void share(struct front *f)
{
    f->peer.shmem.count = 1;
    f->peer.shmem.sizes[SHARED_ID] = SHARED;
    front_connect(f);
    front_drive(f);
}

static int64_t map(struct front *f, uint64_t at, uint64_t length, uint64_t flags, int fd)
{
    const struct vhost_user_mapping mapping = {
        .id = SHARED_ID, .fd_offset = 4096, .shm_offset = at, .length = length, .flags = flags};

    return vhost_peer_say(&f->peer, VHOST_USER_BACKEND_SHMEM_MAP, &mapping, sizeof(mapping), fd);
}

static int64_t unmap(struct front *f, uint64_t at, uint64_t length)
{
    const struct vhost_user_mapping mapping = {.id = SHARED_ID, .shm_offset = at, .length = length};

    return vhost_peer_say(&f->peer, VHOST_USER_BACKEND_SHMEM_UNMAP, &mapping, sizeof(mapping), -1);
}

static uint32_t read_shared(struct front *f, uint64_t offset)
{
    uint8_t bytes[4];

    shared_memory_read(&f->shared, offset, bytes, sizeof(bytes));
    return load_le32(bytes);
}

/* What a vCPU reaches without a trap: memory of the guest. */
static uint8_t *guest_memory_at(struct front *f, uint64_t offset, bool write)
{
    return fake_memory_at(&f->fake, FRONT_SHARED + offset, 4, write);
}

static int make_file(void)
{
    int fd = memfd_create("shared", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, 16384), 0);
    assert_int_equal(pwrite(fd, "abcd", 4, 4096), 4);
    return fd;
}

static void shared_memory(void **state)
{
    struct front *f = *state;
    int fd = make_file();
    char bytes[4];

    share(f);
    assert_int_equal(f->dev.shared_count, 1);
    assert_int_equal(f->dev.shared[0].id, SHARED_ID);
    assert_int_equal(read_shared(f, 8192), UINT32_MAX); /* nothing is there */
    shared_memory_write(&f->shared, 8192, "nope", 4);
    assert_int_equal(map(f, 8192, 8192, VHOST_USER_MAPPING_WRITABLE, fd), 0);
    assert_int_equal(read_shared(f, 8192), 0x64636261);
    shared_memory_write(&f->shared, 8192 + 100, "efgh", 4);
    assert_int_equal(pread(fd, bytes, 4, 4096 + 100), 4);
    assert_memory_equal(bytes, "efgh", 4);
    assert_memory_equal(guest_memory_at(f, 8192 + 100, true), "efgh", 4);
    assert_int_equal(unmap(f, 8192, 4096), 1); /* only as a whole */
    assert_int_equal(unmap(f, 8192, 8192), 0);
    assert_int_equal(read_shared(f, 8192), UINT32_MAX);
    assert_int_equal(unmap(f, 8192, 8192), 1);
    assert_null(guest_memory_at(f, 8192, false));
    assert_int_equal(map(f, 8192, 4096, 0, fd), 0); /* read-only */
    assert_memory_equal(guest_memory_at(f, 8192, false), "abcd", 4);
    assert_null(guest_memory_at(f, 8192, true));
    shared_memory_write(&f->shared, 8192, "XXXX", 4);
    assert_int_equal(read_shared(f, 8192), 0x64636261);
    virtio_device_set_status(&f->dev, 0);
    assert_int_equal(read_shared(f, 8192), UINT32_MAX); /* a reset is the end of it */
    assert_null(guest_memory_at(f, 8192, false));
    close(fd);
}

static void mappings_that_cannot_be(void **state)
{
    struct front *f = *state;
    int fd = make_file(), event = eventfd(0, 0);

    share(f);
    assert_int_equal(map(f, 0, 0, 1, fd), 1);
    assert_int_equal(map(f, 100, 4096, 1, fd), 1);
    assert_int_equal(map(f, 0, 100, 1, fd), 1);
    assert_int_equal(map(f, SHARED, 4096, 1, fd), 1);
    assert_int_equal(map(f, UINT64_MAX - 4095, 8192, 1, fd), 1);
    assert_int_equal(map(f, 0, UINT64_MAX - 4095, 1, fd), 1);
    assert_int_equal(map(f, 0, 4096, 2, fd), 1);    /* flags there are not */
    assert_int_equal(map(f, 0, 4096, 1, event), 1); /* not a file */
    assert_int_equal(map(f, 4096, 8192, 1, fd), 0);
    assert_int_equal(pwrite(fd, "efgh", 4, 8192), 4);
    assert_int_equal(map(f, 8192, 8192, 1, fd), 1); /* over another one, which stays */
    assert_int_equal(read_shared(f, 8192), 0x68676665);
    assert_int_equal(map(f, 12288, 4096, 1, fd), 0);
    assert_int_equal(read_shared(f, 0), UINT32_MAX);
    assert_int_equal(read_shared(f, 4096), 0x64636261);
    assert_false(front_needs_reset(f));
    close(event);
    close(fd);
}

/* An fd that shrinks under a mapping would be a SIGBUS. */
static void shared_memory_shrinks(void **state)
{
    struct front *f = *state;
    int fd = make_file();

    share(f);
    assert_int_equal(map(f, 0, 4096, VHOST_USER_MAPPING_WRITABLE, fd), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(read_shared(f, 0), 0);
    shared_memory_write(&f->shared, 0, "abcd", 4);
    front_wait(f, front_needs_reset);
    virtio_device_set_status(&f->dev, 0);
    assert_int_equal(ftruncate(fd, 16384), 0);
    assert_int_equal(pwrite(fd, "efgh", 4, 4096), 4);
    assert_int_equal(map(f, 4096, 4096, 0, fd), 0); /* it can be used again */
    assert_int_equal(read_shared(f, 4096), 0x68676665);
    assert_int_equal(read_shared(f, 0), UINT32_MAX);
    close(fd);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Nobody but vCPUs looks, which KVM has wait for what is gone. */
static void shared_memory_shrinks_unseen(void **state)
{
    struct front *f = *state;
    int fd = make_file();

    share(f);
    assert_int_equal(map(f, 0, 4096, VHOST_USER_MAPPING_WRITABLE, fd), 0);
    assert_int_equal(map(f, 16384, 16384, 0, fd), 0); /* more than there is */
    assert_int_equal(pwrite(fd, "efgh", 4, 8192), 4);
    assert_int_equal(unmap(f, 16384, 16384), 0); /* the file is watched still */
    for (int i = 0; i < 2; i++)                  /* what the loop has heard until now is over */
        loop_call(f->loop, nothing, NULL);
    assert_false(front_needs_reset(f));
    assert_int_equal(ftruncate(fd, 4096), 0);
    front_wait(f, front_needs_reset);
    assert_int_equal(load_le32(guest_memory_at(f, 0, true)), 0);
    close(fd);
}

/* --- state ------------------------------------------------------------------------------------ */

static void device_state(void **state)
{
    struct front *f = *state;
    struct virtio_backend *backend;
    struct virtio_state saved;

    front_connect(f);
    backend = f->dev.backend;
    assert_true(backend->saves);
    assert_int_equal(backend->ops->save(backend, &saved, NULL), 0);
    assert_int_equal(saved.length, 9);
    assert_memory_equal(saved.bytes, "the state", 9);
    saved.bytes[0] = 'T';
    assert_int_equal(backend->ops->load(backend, &saved, NULL), 0);
    pthread_mutex_lock(&f->peer.lock);
    assert_string_equal(f->peer.state, "The state");
    pthread_mutex_unlock(&f->peer.lock);
    free(saved.bytes);
}

static void device_state_that_cannot_be(void **state)
{
    struct front *f = *state;
    struct virtio_backend *backend;
    struct virtio_state saved;

    front_connect(f);
    backend = f->dev.backend;
    vhost_peer_do_wrong(&f->peer, VHOST_USER_SET_DEVICE_STATE_FD, PEER_REFUSES);
    assert_int_equal(backend->ops->save(backend, &saved, NULL), -ENOTSUP);
    vhost_peer_do_wrong(&f->peer, VHOST_USER_CHECK_DEVICE_STATE, PEER_REFUSES);
    assert_int_equal(backend->ops->save(backend, &saved, NULL), -EIO);
    vhost_peer_do_wrong(&f->peer, 0, PEER_SOUND);
    assert_int_equal(backend->ops->save(backend, &saved, NULL), 0); /* nothing was lost */
    free(saved.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(only_what_is_offered),
        FRONT_TEST(only_what_goes_together),
        FRONT_TEST(no_channel_for_inband),
        FRONT_TEST(fixed_queues_without_mq),
        FRONT_TEST(many_queues_without_mq),
        FRONT_TEST(memory_in_one_table),
        FRONT_TEST(memory_region_by_region),
        FRONT_TEST(too_few_slots),
        FRONT_TEST(addresses),
        FRONT_TEST(addresses_of_the_front_end),
        FRONT_TEST(status),
        FRONT_TEST(reset_by_status),
        FRONT_TEST(refuses_features),
        FRONT_TEST(mtu),
        FRONT_TEST(no_mtu_of_a_disk),
        FRONT_TEST(config_changes),
        FRONT_TEST(needs_reset),
        FRONT_TEST(host_notifier_is_refused),
        FRONT_TEST(inband),
        FRONT_TEST(inband_at_once),
        FRONT_TEST(shared_memory),
        FRONT_TEST(mappings_that_cannot_be),
        FRONT_TEST(shared_memory_shrinks),
        FRONT_TEST(shared_memory_shrinks_unseen),
        FRONT_TEST(device_state),
        FRONT_TEST(device_state_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
