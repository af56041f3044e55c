/*
 * The vhost-user server's protocol features: the test is a front end.
 */
#include "tests/unit/vhost_user_server_fixture.h"

#define FEATURE(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

#define BLK_F_FLUSH      9
#define BLK_F_CONFIG_WCE 11
#define WRITEBACK        32 /* in the configuration */

static int setup_with_cache(void **state)
{
    return setup_as(state, VIRTIO_ID_BLOCK, 1 << BLK_F_FLUSH | 1 << BLK_F_CONFIG_WCE);
}

#define NET_F_MTU 3

static int setup_as_net(void **state)
{
    return setup_as(state, VIRTIO_ID_NET, 1 << NET_F_MTU);
}

/* --- agreeing --------------------------------------------------------------------------------- */

static void offers(void **state)
{
    struct fixture *f = *state;
    const uint64_t wanted = FEATURE(MQ) | FEATURE(REPLY_ACK) | FEATURE(BACKEND_REQ) |
                            FEATURE(CONFIG) | FEATURE(RESET_DEVICE) |
                            FEATURE(INBAND_NOTIFICATIONS) | FEATURE(CONFIGURE_MEM_SLOTS) |
                            FEATURE(STATUS) | FEATURE(DEVICE_STATE) | FEATURE(GPA_ADDRESSES);
    const uint64_t never = FEATURE(SHMEM) | FEATURE(HOST_NOTIFIER) | FEATURE(BACKEND_SEND_FD) |
                           FEATURE(MTU); /* of a disk */
    uint64_t offered = ask(f, VHOST_USER_GET_PROTOCOL_FEATURES);

    assert_int_equal(offered & wanted, wanted);
    assert_int_equal(offered & never, 0);
}

static void refuses_what_does_not_go_together(void **state)
{
    struct fixture *f = *state;
    uint64_t chosen = FEATURE(REPLY_ACK);

    send_message(f, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &chosen, sizeof(chosen), -1);
    assert_int_equal(
        tell_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, chosen | FEATURE(INBAND_NOTIFICATIONS)), 1);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, chosen | FEATURE(SHMEM)), 1);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, chosen), 0);
}

/* What was not agreed on is refused; whoever would wait for an answer is dropped. */
static void refuses_what_was_not_agreed_on(void **state)
{
    struct fixture *f = *state;
    uint64_t chosen = FEATURE(REPLY_ACK);

    send_message(f, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &chosen, sizeof(chosen), -1);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_STATUS, 1), 1);
    assert_int_equal(tell(f, VHOST_USER_RESET_DEVICE, "", 0), 1);
    assert_int_equal(tell_u64(f, VHOST_USER_NET_SET_MTU, 1500), 1);
    assert_int_equal(tell_state(f, VHOST_USER_VRING_KICK, 0, 0), 1);
    send_message(f, VHOST_USER_GET_QUEUE_NUM, 0, "", 0, -1);
    assert_dropped(f);
}

static void every_request_is_acknowledged(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    assert_int_equal(tell(f, VHOST_USER_SET_OWNER, "", 0), 0);
    assert_int_equal(tell(f, VHOST_USER_SET_OWNER, "", 0), 0);
    assert_int_equal(tell(f, VHOST_USER_RESET_OWNER, "", 0), 0);
    assert_int_equal(tell_u64(f, VHOST_USER_SEND_RARP, 0), 1);
}

/* --- status, reset, MTU ----------------------------------------------------------------------- */

static void status(void **state)
{
    struct fixture *f = *state;
    uint64_t protocol = ask(f, VHOST_USER_GET_PROTOCOL_FEATURES);

    send_message(f, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), -1);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_FEATURES, UINT64_C(1) << 60), 1);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_STATUS, 0xb), 0);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 3); /* no FEATURES_OK */
    negotiate(f);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_STATUS, 0xb), 0);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 0xb);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_STATUS, 0), 0);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 0);
}

/* All rings are stopped and disabled, and at their beginning. */
static void reset_disables(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_vring_address address;
    uint64_t queue = 0;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(tell(f, VHOST_USER_RESET_DEVICE, "", 0), 0);
    negotiate(f);
    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    address = addresses(f);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, QUEUE_SIZE), 0);
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_CALL, &queue, 8, f->call), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_KICK, &queue, 8, f->kick), 0);
    assert_rests(f, 2);
}

static void mtu(void **state)
{
    struct fixture *f = *state;

    assert_true(ask(f, VHOST_USER_GET_PROTOCOL_FEATURES) & FEATURE(MTU));
    negotiate(f);
    assert_int_equal(tell_u64(f, VHOST_USER_NET_SET_MTU, 1500), 0);
    assert_int_equal(tell_u64(f, VHOST_USER_NET_SET_MTU, 67), 1);
    assert_int_equal(tell_u64(f, VHOST_USER_NET_SET_MTU, 65536), 1);
}

/* --- addresses and enabling ------------------------------------------------------------------- */

static void guest_addresses(void **state)
{
    struct fixture *f = *state;
    uint64_t protocol = ask(f, VHOST_USER_GET_PROTOCOL_FEATURES);
    struct vhost_user_vring_address address;

    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, protocol), 0);
    assert_int_equal(give_memory(f), 0);
    start_queue_at(f, 0, RING_AT);
    read_sector(f, 1);
    address = (struct vhost_user_vring_address){.descriptor = USER_AT};
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 1);
}

/* Who does not negotiate protocol features has its rings enabled from the beginning. */
static void no_protocol_features(void **state)
{
    struct fixture *f = *state;
    uint64_t features = UINT64_C(1) << VIRTIO_F_VERSION_1, queue = 0;
    struct vhost_user_vring_state size = {0, QUEUE_SIZE};
    struct vhost_user_memory table = {.count = 1};
    struct vhost_user_vring_address address;

    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    address = addresses(f);
    table.regions[0] = (struct vhost_user_region){GUEST_AT, MEMORY, USER_AT, 0};
    send_message(f, VHOST_USER_SET_FEATURES, 0, &features, 8, -1);
    send_message(f, VHOST_USER_SET_MEM_TABLE, 0, &table, 8 + sizeof(table.regions[0]),
                 f->memory_fd);
    send_message(f, VHOST_USER_SET_VRING_NUM, 0, &size, sizeof(size), -1);
    send_message(f, VHOST_USER_SET_VRING_ADDR, 0, &address, sizeof(address), -1);
    send_message(f, VHOST_USER_SET_VRING_CALL, 0, &queue, 8, f->call);
    send_message(f, VHOST_USER_SET_VRING_KICK, 0, &queue, 8, f->kick);
    read_sector(f, 3);
}

/* --- in-band notifications and the server's own requests -------------------------------------- */

static void give_channel(struct fixture *f)
{
    int pair[2];

    if (f->channel >= 0)
        close(f->channel);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->channel = pair[0];
    assert_int_equal(tell_fd(f, VHOST_USER_SET_BACKEND_REQ_FD, "", 0, pair[1]), 0);
    close(pair[1]);
}

static struct vhost_user_message hear(struct fixture *f)
{
    struct vhost_user_message message;

    assert_int_equal(vhost_user_receive(f->channel, &message, NULL), 1);
    assert_int_equal(vhost_user_check(&message, true, NULL), 0);
    return message;
}

static void acknowledge(struct fixture *f, struct vhost_user_message message)
{
    assert_true(message.header.flags & VHOST_USER_FLAG_NEED_REPLY);
    message.header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    message.header.size = 8;
    message.payload.u64 = 0;
    assert_int_equal(vhost_user_send(f->channel, &message, NULL), 0);
}

static bool says_something(struct fixture *f)
{
    struct pollfd ready = {.fd = f->channel, .events = POLLIN};

    return poll(&ready, 1, 50) == 1;
}

static void begin_inband(struct fixture *f)
{
    uint64_t none = VHOST_USER_VRING_NOFD;

    begin(f);
    give_channel(f);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_VRING_CALL, none), 0);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_VRING_ERR, none), 0);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_VRING_KICK, none), 0);
}

static void request_inband(struct fixture *f)
{
    add_read(f, 0, 0);
    ring_publish(&f->ring);
    assert_int_equal(tell_state(f, VHOST_USER_VRING_KICK, 0, 0), 0);
}

static void inband(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_message call;
    struct ring_used used;

    begin_inband(f);
    request_inband(f);
    call = hear(f);
    assert_int_equal(call.header.request, VHOST_USER_BACKEND_VRING_CALL);
    assert_int_equal(call.payload.state.index, 0);
    assert_true(ring_collect(&f->ring, &used));
    request_inband(f);
    assert_false(says_something(f)); /* not before this one was heard */
    acknowledge(f, call);
    assert_int_equal(hear(f).header.request, VHOST_USER_BACKEND_VRING_CALL);
    assert_true(ring_collect(&f->ring, &used));
    assert_int_equal(tell_state(f, VHOST_USER_VRING_KICK, 1, 0), 1); /* it does not run */
}

static void inband_error(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_message message;

    begin_inband(f);
    ring_set_avail_idx(&f->ring, 1000);
    assert_int_equal(tell_state(f, VHOST_USER_VRING_KICK, 0, 0), 0);
    message = hear(f);
    while (message.header.request != VHOST_USER_BACKEND_VRING_ERR) {
        assert_int_equal(message.header.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
        acknowledge(f, message);
        message = hear(f);
    }
    assert_int_equal(message.payload.state.index, 0);
}

/* Descriptors come back into use when they are given again. */
static void inband_and_back(void **state)
{
    struct fixture *f = *state;
    uint64_t queue = 0;

    begin_inband(f);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_CALL, &queue, 8, f->call), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_KICK, &queue, 8, f->kick), 0);
    read_sector(f, 4);
    assert_false(says_something(f));
}

/* A record that another process may have begun: of buffers it used perhaps nobody was told. */
static void inband_taken_over(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_inflight wanted = {.queue_count = QUEUES, .queue_size = QUEUE_SIZE};
    struct vhost_user_message record;

    begin_inband(f);
    send_message(f, VHOST_USER_GET_INFLIGHT_FD, 0, &wanted, sizeof(wanted), -1);
    record = receive(f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tell_fd(f, VHOST_USER_SET_INFLIGHT_FD, &record.payload.inflight,
                                 sizeof(wanted), record.fds[0]),
                         0);
    assert_int_equal(hear(f).header.request, VHOST_USER_BACKEND_VRING_CALL);
    vhost_user_close_fds(&record);
}

static void config_changes(void **state)
{
    struct fixture *f = *state;
    const struct virtio_device_events *events = &f->backend->events;
    struct vhost_user_message message;

    begin(f);
    give_channel(f);
    for (int i = 0; i < 100; i++)
        events->config_changed(events->opaque);
    message = hear(f);
    assert_int_equal(message.header.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    assert_false(says_something(f)); /* the next when this was heard: none is kept waiting */
    acknowledge(f, message);
    read_sector(f, 1);
}

/* Nonsense on that channel is the end of it, and of nothing else. */
static void wrong_acknowledgement(void **state)
{
    struct fixture *f = *state;
    const struct virtio_device_events *events = &f->backend->events;
    struct vhost_user_message message;

    begin(f);
    give_channel(f);
    events->config_changed(events->opaque);
    message = hear(f);
    message.header.request = VHOST_USER_BACKEND_SHMEM_MAP;
    acknowledge(f, message);
    assert_int_equal(vhost_user_receive(f->channel, &message, NULL), 0);
    read_sector(f, 1);
    give_channel(f); /* a new one is good again */
    events->config_changed(events->opaque);
    assert_int_equal(hear(f).header.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
}

/* --- state ------------------------------------------------------------------------------------ */

static uint64_t transfer(struct fixture *f, uint32_t direction, uint32_t phase, int fd)
{
    const struct vhost_user_device_state wanted = {direction, phase};

    send_message(f, VHOST_USER_SET_DEVICE_STATE_FD, 0, &wanted, sizeof(wanted), fd);
    return receive(f).payload.u64;
}

static ssize_t save(struct fixture *f, char *bytes, size_t room)
{
    ssize_t length;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(transfer(f, VHOST_USER_STATE_SAVE, 0, ends[1]), VHOST_USER_STATE_NOFD);
    close(ends[1]);
    length = read(ends[0], bytes, room);
    assert_int_equal(read(ends[0], bytes + length, 1), 0); /* the end */
    close(ends[0]);
    assert_int_equal(ask(f, VHOST_USER_CHECK_DEVICE_STATE), 0);
    return length;
}

/* What CHECK_DEVICE_STATE says. */
static uint64_t load(struct fixture *f, const char *bytes, size_t length, bool ends_there)
{
    uint64_t result;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(transfer(f, VHOST_USER_STATE_LOAD, 0, ends[0]), VHOST_USER_STATE_NOFD);
    assert_int_equal(fcntl(ends[0], F_SETFL, 0), 0); /* whoever reads waits: it is our file, too */
    close(ends[0]);
    assert_int_equal(write(ends[1], bytes, length), length);
    if (ends_there)
        close(ends[1]);
    result = ask(f, VHOST_USER_CHECK_DEVICE_STATE);
    if (!ends_there)
        close(ends[1]);
    return result;
}

static uint8_t writeback(struct fixture *f)
{
    struct vhost_user_config config = {.offset = WRITEBACK, .size = 1};

    send_message(f, VHOST_USER_GET_CONFIG, 0, &config, VHOST_USER_CONFIG_HEADER + 1, -1);
    return receive(f).payload.config.bytes[0];
}

static void device_state(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_config config = {.offset = WRITEBACK, .size = 1};
    char bytes[64];
    ssize_t length;

    negotiate(f);
    assert_int_equal(writeback(f), 1);
    assert_int_equal(tell(f, VHOST_USER_SET_CONFIG, &config, VHOST_USER_CONFIG_HEADER + 1), 0);
    assert_int_equal(writeback(f), 0);
    length = save(f, bytes, sizeof(bytes));
    assert_int_equal(tell(f, VHOST_USER_RESET_DEVICE, "", 0), 0);
    negotiate(f);
    assert_int_equal(writeback(f), 1);
    assert_int_equal(load(f, bytes, (size_t)length, true), 0);
    assert_int_equal(writeback(f), 0);
}

static void state_that_is_none(void **state)
{
    struct fixture *f = *state;
    char bytes[64] = {0}, large[30000] = {0};
    ssize_t length;

    negotiate(f);
    length = save(f, bytes, sizeof(bytes));
    assert_int_equal(load(f, bytes, (size_t)length - 1, true), 1);
    assert_int_equal(load(f, bytes, (size_t)length + 1, true), 1);
    assert_int_equal(load(f, bytes, (size_t)length, false), 1); /* its end does not come */
    assert_int_equal(load(f, large, sizeof(large), true), 1);
    bytes[2] ^= 1; /* of another type */
    assert_int_equal(load(f, bytes, (size_t)length, true), 1);
    bytes[2] ^= 1;
    bytes[8] = 7; /* no cache mode */
    assert_int_equal(load(f, bytes, (size_t)length, true), 1);
    assert_int_equal(ask(f, VHOST_USER_CHECK_DEVICE_STATE), 1); /* of nothing */
    assert_int_equal(writeback(f), 1);
}

static void state_at_the_wrong_time(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_vring_state queue = {0, 0};
    uint64_t failed = VHOST_USER_STATE_NOFD | 1;
    int ends[2], file = memfd_create("file", MFD_CLOEXEC);

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    begin(f);
    assert_int_equal(transfer(f, VHOST_USER_STATE_SAVE, 0, ends[1]), failed); /* it runs */
    send_message(f, VHOST_USER_GET_VRING_BASE, 0, &queue, sizeof(queue), -1);
    receive(f);
    assert_int_equal(transfer(f, VHOST_USER_STATE_SAVE, 1, ends[1]), failed); /* no such phase */
    assert_int_equal(transfer(f, 2, 0, ends[1]), failed);                     /* or direction */
    assert_int_equal(transfer(f, VHOST_USER_STATE_SAVE, 0, file), failed);
    assert_int_equal(transfer(f, VHOST_USER_STATE_SAVE, 0, ends[0]), failed); /* the wrong end */
    assert_int_equal(ask(f, VHOST_USER_CHECK_DEVICE_STATE), 1);
    assert_int_equal(transfer(f, VHOST_USER_STATE_SAVE, 0, ends[1]), VHOST_USER_STATE_NOFD);
    close(ends[0]);
    close(ends[1]);
    close(file);
}

/* --- hostile ---------------------------------------------------------------------------------- */

static void too_many_descriptors(void **state)
{
    struct fixture *f = *state;
    char control[CMSG_SPACE(20 * sizeof(int))] = {0};
    struct vhost_user_header header = {VHOST_USER_SET_OWNER, VHOST_USER_VERSION, 0};
    struct iovec iov = {&header, sizeof(header)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    int *fds;

    *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(20 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    fds = (int *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
    for (int i = 0; i < 20; i++)
        fds[i] = f->kick;
    assert_int_equal(sendmsg(f->socket, &msg, 0), sizeof(header));
    assert_dropped(f);
}

static uint64_t give(struct fixture *f, int fd)
{
    const struct vhost_user_single_region one = {.region = {GUEST_AT, 4096, USER_AT, 0}};

    return tell_fd(f, VHOST_USER_ADD_MEM_REG, &one, sizeof(one), fd);
}

static void memory_that_is_none(void **state)
{
    struct fixture *f = *state;
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC), folder = open("/", O_RDONLY | O_CLOEXEC);

    negotiate(f);
    assert_int_equal(give(f, f->kick), 1);
    assert_int_equal(give(f, zero), 1);
    assert_int_equal(give(f, folder), 1);
    assert_int_equal(give_memory(f), 0);
    close(zero);
    close(folder);
}

/* Memory that shrinks under a running queue would be a SIGBUS. */
static void memory_shrinks(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(ftruncate(f->memory_fd, 0), 0);
    eventfd_write(f->kick, 1);
    assert_dropped(f);
}

#define TEST_WITH_CACHE(name) cmocka_unit_test_setup_teardown(name, setup_with_cache, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(offers),
        TEST(refuses_what_does_not_go_together),
        TEST(refuses_what_was_not_agreed_on),
        TEST(every_request_is_acknowledged),
        TEST(status),
        TEST(reset_disables),
        cmocka_unit_test_setup_teardown(mtu, setup_as_net, teardown),
        TEST(guest_addresses),
        TEST(no_protocol_features),
        TEST(inband),
        TEST(inband_error),
        TEST(inband_and_back),
        TEST(inband_taken_over),
        TEST(config_changes),
        TEST(wrong_acknowledgement),
        TEST_WITH_CACHE(device_state),
        TEST_WITH_CACHE(state_that_is_none),
        TEST(state_at_the_wrong_time),
        TEST(too_many_descriptors),
        TEST(memory_that_is_none),
        TEST(memory_shrinks),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
