/*
 * For tests of the vhost-user server: a real disk behind it; the test is the front end and the
 * driver.
 */
#ifndef TESTS_UNIT_VHOST_USER_SERVER_FIXTURE_H
#define TESTS_UNIT_VHOST_USER_SERVER_FIXTURE_H

#include "base/bytes.h"
#include "devices/blk/blk.h"
#include "tests/driver/ring.h"
#include "transport/vhost_user_server.h"
#include "virtio/device.h"
#include "virtio/vhost_user_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY     (4 * MIB)
#define GUEST_AT   UINT64_C(0x40000000) /* where the guest sees the memory */
#define RING_AT    GUEST_AT
#define DATA_AT    (GUEST_AT + 2 * MIB)
#define USER_AT    UINT64_C(0x7f0000000000) /* where the front end says that it has it */
#define QUEUE_SIZE 64
#define QUEUES     2
#define SECTORS    64

struct fixture {
    int memory_fd, image_fd, kick, call, error;
    uint8_t *host;
    struct guest_memory guest; /* the test's view */
    struct ring ring;
    struct guest_memory served; /* the server's */
    struct blk_options options;
    struct virtio_backend *backend;
    struct loop *loop;
    struct vhost_user_server *server;
    int socket;
    int channel; /* for the server's own requests; -1: none was given */
    atomic_int ended;
};

static inline void on_ended(void *opaque)
{
    struct fixture *f = opaque;

    atomic_fetch_add(&f->ended, 1);
}

static inline struct virtio_features offered(void)
{
    struct virtio_features features = {0};

    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, true);
    return features;
}

/* `more`: features that are offered besides. */
static inline int setup_as(void **state, uint16_t id, uint64_t more)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct vhost_user_server_config config;
    uint8_t sector[512];
    int pair[2];

    f->image_fd = memfd_create("image", 0);
    for (int i = 0; i < SECTORS; i++) {
        memset(sector, i + 1, sizeof(sector));
        assert_int_equal(pwrite(f->image_fd, sector, 512, i * 512), 512);
    }
    f->memory_fd = memfd_create("memory", 0);
    assert_int_equal(ftruncate(f->memory_fd, MEMORY), 0);
    f->host = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory_fd, 0);
    guest_memory_init(&f->guest);
    assert_int_equal(guest_memory_add_external(&f->guest, GUEST_AT, MEMORY, f->host, NULL), 0);
    guest_memory_init(&f->served);
    f->kick = eventfd(0, EFD_NONBLOCK);
    f->call = eventfd(0, EFD_NONBLOCK);
    f->error = eventfd(0, EFD_NONBLOCK);
    assert_true(asprintf(&f->options.path, "/proc/self/fd/%d", f->image_fd) > 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    assert_int_equal(virtio_builtin_create(&blk_model, &f->options, &f->served, f->loop, QUEUES,
                                           QUEUE_SIZE, &f->backend, NULL),
                     0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    f->socket = pair[0];
    f->channel = -1;
    config = (struct vhost_user_server_config){
        .backend = f->backend,
        .id = id,
        .offered = offered(),
        .memory = &f->served,
        .queue_count = QUEUES,
        .loop = f->loop,
        .name = "disk",
        .socket = pair[1],
        .ended = on_ended,
        .opaque = f,
    };
    config.offered.word[0] |= (uint32_t)more;
    config.offered.word[1] |= (uint32_t)(more >> 32);
    assert_int_equal(vhost_user_server_create(&config, &f->server, NULL), 0);
    assert_int_equal(loop_start_thread(f->loop, "server", NULL), 0);
    *state = f;
    return 0;
}

static inline int setup(void **state)
{
    return setup_as(state, VIRTIO_ID_BLOCK, 0);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    loop_join_thread(f->loop);
    vhost_user_server_destroy(f->server);
    f->backend->ops->destroy(f->backend);
    loop_destroy(f->loop);
    ring_destroy(&f->ring);
    munmap(f->host, MEMORY);
    free(f->options.path);
    close(f->memory_fd);
    close(f->image_fd);
    close(f->kick);
    close(f->call);
    close(f->error);
    if (f->socket >= 0)
        close(f->socket);
    if (f->channel >= 0)
        close(f->channel);
    free(f);
    return 0;
}

/* --- the front end ---------------------------------------------------------------------------- */

static inline void send_message(struct fixture *f, uint32_t request, uint32_t flags,
                                const void *payload, uint32_t size, int fd)
{
    struct vhost_user_message message = {
        .header = {request, VHOST_USER_VERSION | flags, size},
        .fds = {fd},
        .fd_count = fd >= 0,
    };

    memcpy(&message.payload, payload, size);
    assert_int_equal(vhost_user_send(f->socket, &message, NULL), 0);
}

static inline struct vhost_user_message receive(struct fixture *f)
{
    struct vhost_user_message message;

    assert_int_equal(vhost_user_receive(f->socket, &message, NULL), 1);
    assert_true(message.header.flags & VHOST_USER_FLAG_REPLY);
    return message;
}

static inline uint64_t ask(struct fixture *f, uint32_t request)
{
    struct vhost_user_message message;

    send_message(f, request, 0, "", 0, -1);
    message = receive(f);
    assert_int_equal(message.header.request, request);
    assert_int_equal(message.header.size, 8);
    return message.payload.u64;
}

/* With REPLY_ACK negotiated: what it says, 0 for done. */
static inline uint64_t tell_fd(struct fixture *f, uint32_t request, const void *payload,
                               uint32_t size, int fd)
{
    send_message(f, request, VHOST_USER_FLAG_NEED_REPLY, payload, size, fd);
    return receive(f).payload.u64;
}

static inline uint64_t tell(struct fixture *f, uint32_t request, const void *payload, uint32_t size)
{
    return tell_fd(f, request, payload, size, -1);
}

static inline uint64_t tell_u64(struct fixture *f, uint32_t request, uint64_t value)
{
    return tell(f, request, &value, sizeof(value));
}

static inline uint64_t tell_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
    const struct vhost_user_vring_state vring = {index, num};

    return tell(f, request, &vring, sizeof(vring));
}

static inline void negotiate(struct fixture *f)
{
    uint64_t features = ask(f, VHOST_USER_GET_FEATURES);
    uint64_t protocol = ask(f, VHOST_USER_GET_PROTOCOL_FEATURES);

    assert_true(features >> VHOST_USER_F_PROTOCOL_FEATURES & 1);
    assert_true(protocol >> VHOST_USER_PROTOCOL_F_REPLY_ACK & 1);
    protocol &= ~(UINT64_C(1) << VHOST_USER_PROTOCOL_F_GPA_ADDRESSES);
    send_message(f, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), -1);
    features &= ~(UINT64_C(1) << VIRTIO_F_EVENT_IDX);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_FEATURES, features), 0);
}

static inline uint64_t give_memory(struct fixture *f)
{
    struct vhost_user_memory table = {.count = 1};

    table.regions[0] = (struct vhost_user_region){GUEST_AT, MEMORY, USER_AT, 0};
    return tell_fd(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd);
}

/* Of the ring, whose first byte the front end says is at `base`. */
static inline struct vhost_user_vring_address addresses_at(struct fixture *f, uint64_t base)
{
    return (struct vhost_user_vring_address){
        .descriptor = f->ring.desc - RING_AT + base,
        .available = f->ring.avail - RING_AT + base,
        .used = f->ring.used - RING_AT + base,
    };
}

static inline struct vhost_user_vring_address addresses(struct fixture *f)
{
    return addresses_at(f, USER_AT);
}

static inline void start_queue_at(struct fixture *f, uint16_t position, uint64_t base)
{
    struct vhost_user_vring_address address = addresses_at(f, base);
    uint64_t queue = 0;

    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, QUEUE_SIZE), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_BASE, 0, position), 0);
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_CALL, &queue, 8, f->call), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_ERR, &queue, 8, f->error), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_KICK, &queue, 8, f->kick), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
}

static inline void start_queue(struct fixture *f, uint16_t position)
{
    start_queue_at(f, position, USER_AT);
}

static inline void begin(struct fixture *f)
{
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    assert_int_equal(give_memory(f), 0);
    start_queue(f, 0);
}

static inline void wait_fd(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    eventfd_t count;

    assert_int_equal(poll(&ready, 1, 5000), 1);
    eventfd_read(fd, &count);
}

/* A request for a sector, not yet published; those in flight are in different places. Its head. */
static inline int add_read(struct fixture *f, unsigned place, uint8_t sector)
{
    uint64_t at = DATA_AT + place * 16384;
    const struct ring_element e[] = {{at, 16, false}, {at + 4096, 512, true}, {at + 8192, 1, true}};
    uint8_t *header = f->host + (at - GUEST_AT);
    int head = ring_add(&f->ring, e, 3, RING_DIRECT);

    memset(header, 0, 16);
    header[8] = sector;
    header[8192] = 0xff;
    assert_true(head >= 0);
    return head;
}

static inline void request_sector(struct fixture *f, uint8_t sector)
{
    add_read(f, 0, sector);
    ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
}

/* What was requested comes, with an interrupt, and is right. */
static inline void assert_sector(struct fixture *f, uint8_t sector)
{
    const uint8_t *header = f->host + (DATA_AT - GUEST_AT);
    struct ring_used used;

    do
        wait_fd(f->call);
    while (!ring_collect(&f->ring, &used));
    assert_int_equal(used.length, 513);
    assert_int_equal(header[8192], 0);
    assert_int_equal(header[4096], sector + 1);
    assert_int_equal(header[4096 + 511], sector + 1);
}

static inline void read_sector(struct fixture *f, uint8_t sector)
{
    request_sector(f, sector);
    assert_sector(f, sector);
}

/* All requests of the ring so far have been done. */
static inline void wait_for_used(struct fixture *f, uint16_t index)
{
    for (int i = 0; i < 500 && ring_used_idx(&f->ring) != index; i++)
        usleep(10000);
    assert_int_equal(ring_used_idx(&f->ring), index);
}

/* A queue that runs, but is not enabled, leaves a request alone until it is. */
static inline void assert_rests(struct fixture *f, uint8_t sector)
{
    struct pollfd ready = {.fd = f->call, .events = POLLIN};

    request_sector(f, sector);
    assert_int_equal(poll(&ready, 1, 50), 0);
    assert_int_equal(f->host[DATA_AT - GUEST_AT + 8192], 0xff);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
    assert_sector(f, sector);
}

static inline void assert_dropped(struct fixture *f)
{
    struct vhost_user_message message;

    assert_int_equal(vhost_user_receive(f->socket, &message, NULL), 0);
    for (int i = 0; i < 500 && atomic_load(&f->ended) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&f->ended), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
