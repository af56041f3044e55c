/*
 * The vhost-user server with a real disk behind it: the test is the front end and the driver.
 */
#include "base/bytes.h"
#include "devices/blk/blk.h"
#include "tests/driver/ring.h"
#include "transport/vhost_user_server.h"
#include "virtio/vhost_user_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
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
    atomic_int ended;
};

static void on_ended(void *opaque)
{
    struct fixture *f = opaque;

    atomic_fetch_add(&f->ended, 1);
}

static struct virtio_features offered(void)
{
    struct virtio_features features = {0};

    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, true);
    return features;
}

static int setup(void **state)
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
    config = (struct vhost_user_server_config){
        .backend = f->backend,
        .offered = offered(),
        .memory = &f->served,
        .queue_count = QUEUES,
        .loop = f->loop,
        .name = "disk",
        .socket = pair[1],
        .ended = on_ended,
        .opaque = f,
    };
    assert_int_equal(vhost_user_server_create(&config, &f->server, NULL), 0);
    assert_int_equal(loop_start_thread(f->loop, "server", NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
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
    free(f);
    return 0;
}

/* --- the front end ---------------------------------------------------------------------------- */

static void send_message(struct fixture *f, uint32_t request, uint32_t flags, const void *payload,
                         uint32_t size, int fd)
{
    struct vhost_user_message message = {
        .header = {request, VHOST_USER_VERSION | flags, size},
        .fds = {fd},
        .fd_count = fd >= 0,
    };

    memcpy(&message.payload, payload, size);
    assert_int_equal(vhost_user_send(f->socket, &message, NULL), 0);
}

static struct vhost_user_message receive(struct fixture *f)
{
    struct vhost_user_message message;

    assert_int_equal(vhost_user_receive(f->socket, &message, NULL), 1);
    assert_true(message.header.flags & VHOST_USER_FLAG_REPLY);
    return message;
}

static uint64_t ask(struct fixture *f, uint32_t request)
{
    struct vhost_user_message message;

    send_message(f, request, 0, "", 0, -1);
    message = receive(f);
    assert_int_equal(message.header.request, request);
    assert_int_equal(message.header.size, 8);
    return message.payload.u64;
}

/* With REPLY_ACK negotiated: what it says, 0 for done. */
static uint64_t tell_fd(struct fixture *f, uint32_t request, const void *payload, uint32_t size,
                        int fd)
{
    send_message(f, request, VHOST_USER_FLAG_NEED_REPLY, payload, size, fd);
    return receive(f).payload.u64;
}

static uint64_t tell(struct fixture *f, uint32_t request, const void *payload, uint32_t size)
{
    return tell_fd(f, request, payload, size, -1);
}

static uint64_t tell_u64(struct fixture *f, uint32_t request, uint64_t value)
{
    return tell(f, request, &value, sizeof(value));
}

static uint64_t tell_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
    const struct vhost_user_vring_state vring = {index, num};

    return tell(f, request, &vring, sizeof(vring));
}

static void negotiate(struct fixture *f)
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

static uint64_t give_memory(struct fixture *f)
{
    struct vhost_user_memory table = {.count = 1};

    table.regions[0] = (struct vhost_user_region){GUEST_AT, MEMORY, USER_AT, 0};
    return tell_fd(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd);
}

static struct vhost_user_vring_address addresses(struct fixture *f)
{
    return (struct vhost_user_vring_address){
        .descriptor = f->ring.desc - GUEST_AT + USER_AT,
        .available = f->ring.avail - GUEST_AT + USER_AT,
        .used = f->ring.used - GUEST_AT + USER_AT,
    };
}

static void start_queue(struct fixture *f, uint16_t base)
{
    struct vhost_user_vring_address address = addresses(f);
    uint64_t queue = 0;

    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, QUEUE_SIZE), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_BASE, 0, base), 0);
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_CALL, &queue, 8, f->call), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_ERR, &queue, 8, f->error), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_KICK, &queue, 8, f->kick), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
}

static void begin(struct fixture *f)
{
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    assert_int_equal(give_memory(f), 0);
    start_queue(f, 0);
}

static void wait_fd(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    eventfd_t count;

    assert_int_equal(poll(&ready, 1, 5000), 1);
    eventfd_read(fd, &count);
}

/* Read a sector through the queue and check what is in it. */
static void read_sector(struct fixture *f, uint8_t sector)
{
    const struct ring_element e[] = {
        {DATA_AT, 16, false}, {DATA_AT + 4096, 512, true}, {DATA_AT + 8192, 1, true}};
    uint8_t *header = f->host + (DATA_AT - GUEST_AT);
    struct ring_used used;

    memset(header, 0, 16);
    header[8] = sector;
    header[8192] = 0xff;
    assert_true(ring_add(&f->ring, e, 3, RING_DIRECT) >= 0);
    ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
    wait_fd(f->call);
    assert_true(ring_collect(&f->ring, &used));
    assert_int_equal(used.length, 513);
    assert_int_equal(header[8192], 0);
    assert_int_equal(header[4096], sector + 1);
    assert_int_equal(header[4096 + 511], sector + 1);
}

static void assert_dropped(struct fixture *f)
{
    struct vhost_user_message message;

    assert_int_equal(vhost_user_receive(f->socket, &message, NULL), 0);
    for (int i = 0; i < 500 && atomic_load(&f->ended) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&f->ended), 1);
}

/* --- what a sound front end does --- */

static void data(void **state)
{
    struct fixture *f = *state;

    begin(f);
    for (uint8_t i = 0; i < 5; i++)
        read_sector(f, i);
}

static void numbers(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    assert_int_equal(ask(f, VHOST_USER_GET_QUEUE_NUM), QUEUES);
    assert_int_equal(ask(f, VHOST_USER_GET_MAX_MEM_SLOTS), GUEST_MEMORY_REGIONS);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 0);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_STATUS, 0xf), 0);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 0xf);
}

static void configuration(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_config config = {.size = 8};
    struct vhost_user_message message;

    negotiate(f);
    send_message(f, VHOST_USER_GET_CONFIG, 0, &config, VHOST_USER_CONFIG_HEADER + 8, -1);
    message = receive(f);
    assert_int_equal(message.header.size, VHOST_USER_CONFIG_HEADER + 8);
    assert_int_equal(load_le64(message.payload.config.bytes), SECTORS);
    config = (struct vhost_user_config){.offset = 250, .size = 8}; /* beyond the end */
    send_message(f, VHOST_USER_GET_CONFIG, 0, &config, VHOST_USER_CONFIG_HEADER + 8, -1);
    assert_int_equal(receive(f).header.size, 0);
}

/* The queue stops at GET_VRING_BASE, says where it stood, and goes on from there. */
static void stop_and_go(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_vring_state queue = {0, 0};

    begin(f);
    read_sector(f, 1);
    read_sector(f, 2);
    send_message(f, VHOST_USER_GET_VRING_BASE, 0, &queue, sizeof(queue), -1);
    assert_int_equal(receive(f).payload.state.num, 2);
    start_queue(f, 2);
    read_sector(f, 3);
}

static void disabled_queue_rests(void **state)
{
    struct fixture *f = *state;
    struct pollfd ready = {.fd = f->call, .events = POLLIN};
    const struct ring_element e = {DATA_AT + 4096, 512, true};

    begin(f);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
    assert_true(ring_add(&f->ring, &e, 1, RING_DIRECT) >= 0);
    eventfd_write(f->kick, 1);
    assert_int_equal(poll(&ready, 1, 50), 0);
}

/* Memory is replaced while the queue runs. */
static void memory_changes(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(give_memory(f), 0);
    read_sector(f, 2);
}

static void memory_slots(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_single_region one = {.region = {GUEST_AT, MEMORY, USER_AT, 0}};

    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    assert_int_equal(tell_fd(f, VHOST_USER_ADD_MEM_REG, &one, sizeof(one), f->memory_fd), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_ADD_MEM_REG, &one, sizeof(one), f->memory_fd), 1);
    start_queue(f, 0);
    read_sector(f, 7);
    assert_int_equal(tell(f, VHOST_USER_REM_MEM_REG, &one, sizeof(one)), 1); /* it is needed */
    assert_int_equal(tell(f, VHOST_USER_REM_MEM_REG, &one, sizeof(one)), 1); /* and gone */
}

static void reset(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(tell(f, VHOST_USER_RESET_DEVICE, "", 0), 0);
    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    start_queue(f, 0);
    read_sector(f, 2);
}

/* A broken ring is said on the error descriptor and in the status. */
static void broken_ring(void **state)
{
    struct fixture *f = *state;

    begin(f);
    ring_set_avail_idx(&f->ring, 1000);
    eventfd_write(f->kick, 1);
    wait_fd(f->error);
    assert_true(ask(f, VHOST_USER_GET_STATUS) & 64);
}

/* --- what a hostile one does
 * ---------------------------------------------------------------------- */

static void refused(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_memory table = {.count = 1};
    struct vhost_user_vring_address address;

    begin(f);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_FEATURES, UINT64_C(1) << 60), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, 40000), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, QUEUES, 8), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0xffffffff, 1), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENDIAN, 0, 1), 1);
    assert_int_equal(tell_state(f, 77, 0, 1), 1);
    table.regions[0] = (struct vhost_user_region){GUEST_AT, 2 * MEMORY, USER_AT, 0};
    assert_int_equal(
        tell_fd(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd),
        1);
    table.regions[0] = (struct vhost_user_region){GUEST_AT, MEMORY, USER_AT, UINT64_MAX - 4095};
    assert_int_equal(
        tell_fd(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd),
        1);
    assert_int_equal(give_memory(f), 0);
    address = addresses(f);
    address.used = 0x1234;
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 1);
    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    start_queue(f, 0);
    read_sector(f, 1); /* and it still works */
}

/* What waits for an answer that has no room for an error is not left waiting. */
static void base_of_no_queue(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_vring_state queue = {QUEUES, 0};

    begin(f);
    send_message(f, VHOST_USER_GET_VRING_BASE, 0, &queue, sizeof(queue), -1);
    assert_dropped(f);
}

/* Where interrupts go, nothing can be written, and whoever tries would wait. */
static void call_that_blocks(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA_AT + 4096, 512, true};
    uint64_t queue = 0;
    int ends[2];

    begin(f);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], f->host, 4096) > 0)
        ;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_CALL, &queue, 8, ends[1]), 0);
    assert_true(ring_add(&f->ring, &e, 1, RING_DIRECT) >= 0);
    ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
    usleep(20000);
    assert_int_equal(ask(f, VHOST_USER_GET_QUEUE_NUM), QUEUES);
    close(ends[0]);
    close(ends[1]);
}

static void version(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_header header = {VHOST_USER_GET_FEATURES, 2, 0};

    assert_int_equal(send(f->socket, &header, sizeof(header), 0), sizeof(header));
    assert_dropped(f);
}

static void too_long(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_header header = {VHOST_USER_SET_CONFIG, 1, 1 << 20};

    assert_int_equal(send(f->socket, &header, sizeof(header), 0), sizeof(header));
    assert_dropped(f);
}

static void wrong_size(void **state)
{
    struct fixture *f = *state;

    send_message(f, VHOST_USER_SET_VRING_NUM, 0, "1234", 4, -1);
    assert_dropped(f);
}

static void unexpected_descriptor(void **state)
{
    struct fixture *f = *state;

    send_message(f, VHOST_USER_GET_FEATURES, 0, "", 0, f->kick);
    assert_dropped(f);
}

static void more_regions_than_descriptors(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_memory table = {.count = 8};

    send_message(f, VHOST_USER_SET_MEM_TABLE, 0, &table, sizeof(table), f->memory_fd);
    assert_dropped(f);
}

/* It goes in the middle of a message, with a queue running. */
static void goes_away(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(send(f->socket, "abc", 3, 0), 3);
    close(f->socket);
    f->socket = -1;
    for (int i = 0; i < 500 && atomic_load(&f->ended) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&f->ended), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data),
        TEST(numbers),
        TEST(configuration),
        TEST(stop_and_go),
        TEST(disabled_queue_rests),
        TEST(memory_changes),
        TEST(memory_slots),
        TEST(reset),
        TEST(broken_ring),
        TEST(refused),
        TEST(base_of_no_queue),
        TEST(call_that_blocks),
        TEST(version),
        TEST(too_long),
        TEST(wrong_size),
        TEST(unexpected_descriptor),
        TEST(more_regions_than_descriptors),
        TEST(goes_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
