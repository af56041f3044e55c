/*
 * The vhost-user server with a front end that says anything: every request there is, in any order,
 * with payloads that are nearly right, and with descriptors that it should not have.
 *
 * Checked besides what sanitizers see: each answer is one that its request can have; a front end
 * that goes leaves nothing behind, neither memory nor descriptors; and the next one is served.
 *
 * Input, for each step a byte: what is sent (or done), then a byte of flags, one of descriptors,
 * and as many changes to the payload as the flags say: place, value.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/blk.h"
#include "devices/blk/io.h"
#include "tests/fuzz/input.h"
#include "transport/vhost_user_server.h"
#include "virtio/device.h"
#include "virtio/vhost_user_channel.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY     (64 * KIB)
#define GUEST_AT   UINT64_C(0x10000)
#define USER_AT    UINT64_C(0x7f0000000000)
#define QUEUES     2
#define QUEUE_SIZE 16
#define SECTORS    16
#define STEPS_MAX  64

static struct guest_memory served;
static struct loop *loop;
static struct virtio_backend *backend;
static int memory_fd;
static uint8_t *host;

/* One front end. */
struct front {
    struct vhost_user_server *server;
    int socket, channel; /* .channel is -1: none was given */
    bool ended;
};

static void on_ended(void *opaque)
{
    ((struct front *)opaque)->ended = true;
}

static void set_up(void)
{
    static char path[32];
    static struct blk_options options = {.path = path, .aio = BLK_AIO_AUTO};
    int fd = memfd_create("image", MFD_CLOEXEC);

    log_configure("error");
    signal(SIGPIPE, SIG_IGN);
    REQUIRE(fd >= 0 && ftruncate(fd, SECTORS * 512) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    memory_fd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(memory_fd >= 0 && ftruncate(memory_fd, MEMORY) == 0);
    REQUIRE(fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0); /* a log has to be */
    host = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    REQUIRE(host != MAP_FAILED);
    guest_memory_init(&served);
    REQUIRE(loop_create(&loop, NULL) == 0);
    REQUIRE(virtio_builtin_create(&blk_model, &options, &served, loop, QUEUES, QUEUE_SIZE, &backend,
                                  NULL) == 0);
}

static void begin(struct front *f)
{
    struct vhost_user_server_config config = {
        .backend = backend,
        .id = VIRTIO_ID_BLOCK,
        .offered = {.word = {1u << VIRTIO_F_INDIRECT_DESC | 1u << VIRTIO_F_EVENT_IDX | 1u << 9,
                             1u << (VIRTIO_F_VERSION_1 - 32) | 1u << (VIRTIO_F_RING_PACKED - 32)}},
        .memory = &served,
        .queue_count = QUEUES,
        .loop = loop,
        .name = "disk",
        .ended = on_ended,
        .opaque = f,
    };
    int pair[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    *f = (struct front){.socket = pair[0], .channel = -1};
    config.socket = pair[1];
    REQUIRE(vhost_user_server_create(&config, &f->server, NULL) == 0);
}

/* --- requests --------------------------------------------------------------------------------- */

static uint64_t user_address(uint64_t offset)
{
    return USER_AT + offset;
}

/* Of requests that are about one queue; false for others. */
static bool fill_vring(struct vhost_user_message *message, uint8_t queue)
{
    union vhost_user_payload *payload = &message->payload;

    switch (message->header.request) {
    case VHOST_USER_SET_VRING_NUM:
        payload->state = (struct vhost_user_vring_state){queue, QUEUE_SIZE};
        return true;
    case VHOST_USER_SET_VRING_ENABLE:
        payload->state = (struct vhost_user_vring_state){queue, 1};
        return true;
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_VRING_KICK:
        payload->state = (struct vhost_user_vring_state){queue, 0};
        return true;
    case VHOST_USER_SET_VRING_ADDR:
        payload->address = (struct vhost_user_vring_address){
            .index = queue,
            .descriptor = user_address(0),
            .available = user_address(0x1000),
            .used = user_address(0x2000),
        };
        message->header.size = sizeof(payload->address);
        return true;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        payload->u64 = queue;
        return true;
    default:
        return false;
    }
}

/* A payload that would be right, mostly. */
static void fill(struct vhost_user_message *message, uint8_t queue)
{
    union vhost_user_payload *payload = &message->payload;
    const struct vhost_user_region region = {GUEST_AT, MEMORY, USER_AT, 0};

    message->header.size = sizeof(uint64_t);
    if (fill_vring(message, queue))
        return;
    switch (message->header.request) {
    case VHOST_USER_SET_FEATURES:
        payload->u64 = UINT64_C(1) << VIRTIO_F_VERSION_1;
        break;
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        payload->u64 = 0x9f22b; /* all that is offered for a disk, but GPA_ADDRESSES */
        break;
    case VHOST_USER_SET_MEM_TABLE:
        payload->memory.count = 1;
        payload->memory.regions[0] = region;
        message->header.size = sizeof(uint64_t) + sizeof(region);
        break;
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
        payload->single_region.region = region;
        message->header.size = sizeof(payload->single_region);
        break;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        payload->config.size = 60;
        message->header.size = VHOST_USER_CONFIG_HEADER + 60;
        break;
    case VHOST_USER_SET_DEVICE_STATE_FD:
        payload->device_state.direction = queue;
        break;
    case VHOST_USER_SET_STATUS:
        payload->u64 = 0xf;
        break;
    case VHOST_USER_SET_LOG_BASE:
        payload->log = (struct vhost_user_log){4096, 0xc000};
        message->header.size = sizeof(payload->log);
        break;
    case VHOST_USER_GET_INFLIGHT_FD:
    case VHOST_USER_SET_INFLIGHT_FD:
        payload->inflight = (struct vhost_user_inflight){4096, 0, QUEUES, QUEUE_SIZE};
        message->header.size = sizeof(payload->inflight);
        break;
    default:
        message->header.size = 0;
        break;
    }
}

/* What the server says on a socket is looked at where it is meant to say something. */
static void take_channel(struct front *f, const struct vhost_user_message *message, int socket)
{
    if (message->header.request != VHOST_USER_SET_BACKEND_REQ_FD) {
        close(socket);
        return;
    }
    if (f->channel >= 0)
        close(f->channel);
    f->channel = socket;
}

/* Descriptors of a kind; each is closed when it was sent. */
static void attach(struct front *f, struct vhost_user_message *message, uint8_t kind)
{
    int pair[2] = {-1, -1};

    switch (kind % 8) {
    case 0:
        return;
    case 1:
        message->fds[0] = eventfd(1, EFD_CLOEXEC);
        break;
    case 2:
        message->fds[0] = fcntl(memory_fd, F_DUPFD_CLOEXEC, 0);
        break;
    case 3:
    case 4:
        REQUIRE(pipe2(pair, O_CLOEXEC) == 0);
        message->fds[0] = pair[kind % 2];
        close(pair[!(kind % 2)]);
        break;
    case 5:
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        message->fds[0] = pair[0];
        take_channel(f, message, pair[1]);
        break;
    case 6:
        message->fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
        break;
    default:
        for (; message->fd_count < VHOST_USER_FDS_MAX; message->fd_count++)
            message->fds[message->fd_count] = eventfd(0, EFD_CLOEXEC);
        return;
    }
    message->fd_count = 1;
}

/* What comes by default with such a request. */
static uint8_t usual_fd(uint32_t request)
{
    switch (request) {
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_SET_INFLIGHT_FD:
    case VHOST_USER_SET_LOG_BASE:
        return 2;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
    case VHOST_USER_SET_LOG_FD:
        return 1;
    case VHOST_USER_SET_DEVICE_STATE_FD:
        return 3;
    case VHOST_USER_SET_BACKEND_REQ_FD:
        return 5;
    default:
        return 0;
    }
}

static void change(struct input *in, struct vhost_user_message *message, unsigned count)
{
    uint8_t *bytes = (uint8_t *)&message->payload;

    while (count--) {
        uint8_t at = take(in);

        bytes[at % sizeof(message->payload)] = take(in);
    }
}

static void send_request(struct front *f, struct input *in, uint32_t request)
{
    struct vhost_user_message message = {.header = {request, VHOST_USER_VERSION, 0}};
    uint8_t flags = take(in), fd = take(in);

    fill(&message, flags & 1);
    attach(f, &message, fd ? fd : usual_fd(request));
    change(in, &message, flags >> 1 & 7);
    if (flags & 16)
        message.header.flags |= VHOST_USER_FLAG_NEED_REPLY;
    if (flags & 32)
        message.header.size = take(in) * 2u; /* all of it comes */
    if ((flags & 0xc0) == 0xc0)
        message.header.flags = take(in);
    (void)vhost_user_send_within(f->socket, &message, 0, NULL);
    vhost_user_close_fds(&message);
}

/* --- what the server says --------------------------------------------------------------------- */

static bool readable(int socket)
{
    char byte;

    return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void take_answers(struct front *f)
{
    struct vhost_user_message answer;

    while (readable(f->socket)) {
        uint32_t request;

        REQUIRE(vhost_user_receive_within(f->socket, &answer, 0, NULL) == 1);
        request = answer.header.request;
        if (request < VHOST_USER_REQUESTS) /* others are only acknowledged */
            REQUIRE(vhost_user_check_answer(&answer, request, false, NULL) == 0 ||
                    vhost_user_check_answer(&answer, request, true, NULL) == 0);
        vhost_user_close_fds(&answer);
    }
}

static void take_requests(struct front *f, struct input *in)
{
    struct vhost_user_message message;

    while (f->channel >= 0 && readable(f->channel)) {
        REQUIRE(vhost_user_receive_within(f->channel, &message, 0, NULL) == 1);
        REQUIRE(vhost_user_check(&message, true, NULL) == 0);
        message.header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
        message.header.size = sizeof(uint64_t);
        if (take(in) == 1)
            message.header.size = take(in);
        (void)vhost_user_send_within(f->channel, &message, 0, NULL);
        turn(loop);
    }
}

static void step(struct front *f, struct input *in)
{
    const struct virtio_device_events *events = &backend->events;
    uint8_t what = take(in);

    if (what == 0xff) {
        events->config_changed(events->opaque);
    } else if (what >= 0xf8) { /* ring memory */
        uint32_t at = (take(in) | (uint32_t)take(in) << 8) % (MEMORY - 1);

        store_le16(host + at, (uint16_t)(take(in) | take(in) << 8));
    } else {
        send_request(f, in, what % (VHOST_USER_REQUESTS + 2));
    }
    turn(loop);
    take_requests(f, in);
    take_answers(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    unsigned before;
    struct front f;

    if (!backend)
        set_up();
    before = open_descriptors();
    memset(host, 0, MEMORY);
    begin(&f);
    for (int i = 0; i < STEPS_MAX && in.left && !f.ended; i++)
        step(&f, &in);
    close(f.socket);
    for (int i = 0; i < 10 && !f.ended; i++)
        turn(loop);
    REQUIRE(f.ended && served.count == 0);
    vhost_user_server_destroy(f.server);
    if (f.channel >= 0)
        close(f.channel);
    REQUIRE(open_descriptors() == before);
    return 0;
}
