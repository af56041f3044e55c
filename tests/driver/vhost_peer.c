#include "tests/driver/vhost_peer.h"

#include "base/bytes.h"
#include "base/unix_socket.h"
#include "virtio/features.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALL_FDS (VHOST_USER_FDS_MAX + 2)

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    printf("vhost_peer: not so: %s\n", what);
    fflush(stdout);
    abort();
}
#define REQUIRE(condition) require(condition, #condition)

static bool has(const struct vhost_peer *peer, enum vhost_user_protocol_feature feature)
{
    const struct vhost_user_message *chosen = &peer->told[VHOST_USER_SET_PROTOCOL_FEATURES];

    return chosen->payload.u64 >> feature & 1;
}

/* --- answers ---------------------------------------------------------------------------------- */

static uint64_t transfer(struct vhost_peer *peer, struct vhost_user_message *message)
{
    int fd = vhost_user_take_fd(message, 0);

    if (message->payload.device_state.direction == VHOST_USER_STATE_SAVE) {
        ssize_t length = (ssize_t)strlen(peer->state);

        REQUIRE(write(fd, peer->state, (size_t)length) == length);
        if (peer->keeps_pipe)
            peer->state_fd = fd;
        else
            close(fd);
    } else {
        peer->state_fd = fd;
    }
    return VHOST_USER_STATE_NOFD;
}

static uint64_t check_state(struct vhost_peer *peer)
{
    ssize_t length;

    if (peer->state_fd < 0)
        return 0;
    length = read(peer->state_fd, peer->state, sizeof(peer->state) - 1);
    peer->state[MAX(length, 0)] = '\0';
    close(peer->state_fd);
    peer->state_fd = -1;
    return length < 0;
}

static void answer_u64(struct vhost_user_message *message, uint64_t value)
{
    message->payload.u64 = value;
    message->header.size = sizeof(value);
}

static void call_first(struct vhost_peer *peer)
{
    const struct vhost_user_vring_state queue = {0, 0};

    pthread_mutex_unlock(&peer->lock); /* the test may look meanwhile */
    REQUIRE(vhost_peer_say(peer, VHOST_USER_BACKEND_VRING_CALL, &queue, sizeof(queue), -1) == 0);
    pthread_mutex_lock(&peer->lock);
}

static void give_notifier(struct vhost_peer *peer, uint32_t queue)
{
    const struct vhost_user_area area = {queue, 4096, 0};

    pthread_mutex_unlock(&peer->lock);
    REQUIRE(vhost_peer_say(peer, VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG, &area, sizeof(area),
                           peer->notifier_fd) == 0);
    pthread_mutex_lock(&peer->lock);
}

/* The message becomes its answer; false: it has none of its own. */
static bool answer(struct vhost_peer *peer, struct vhost_user_message *message)
{
    uint8_t status = (uint8_t)peer->told[VHOST_USER_SET_STATUS].payload.u64;

    switch (message->header.request) {
    case VHOST_USER_GET_FEATURES:
        answer_u64(message, peer->features);
        return true;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        answer_u64(message, peer->protocol_features);
        return true;
    case VHOST_USER_GET_QUEUE_NUM:
        answer_u64(message, peer->queues);
        return true;
    case VHOST_USER_GET_MAX_MEM_SLOTS:
        answer_u64(message, peer->slots);
        return true;
    case VHOST_USER_GET_STATUS:
        answer_u64(message, (status & ~peer->status_never) | peer->status_adds);
        return true;
    case VHOST_USER_GET_CONFIG: {
        struct vhost_user_config *config = &message->payload.config;

        REQUIRE(config->offset + config->size <= VHOST_PEER_CONFIG);
        memcpy(config->bytes, peer->config + config->offset, config->size);
        return true;
    }
    case VHOST_USER_GET_VRING_BASE:
        message->payload.state.num = peer->told[VHOST_USER_SET_VRING_BASE].payload.state.num;
        return true;
    case VHOST_USER_GET_INFLIGHT_FD:
        message->payload.inflight.mmap_size = peer->inflight_fd >= 0 ? 4096 : 0;
        return true;
    case VHOST_USER_SET_LOG_BASE:
        answer_u64(message, 0);
        return true;
    case VHOST_USER_GET_SHMEM_CONFIG:
        message->payload.shmem_config = peer->shmem;
        message->header.size = sizeof(peer->shmem);
        return true;
    case VHOST_USER_SET_DEVICE_STATE_FD:
        answer_u64(message, transfer(peer, message));
        return true;
    case VHOST_USER_CHECK_DEVICE_STATE:
        answer_u64(message, check_state(peer));
        return true;
    default:
        return false;
    }
}

/* --- wrong answers ---------------------------------------------------------------------------- */

static void send_with_fds(int socket, const struct vhost_user_message *message, unsigned count)
{
    char control[CMSG_SPACE(ALL_FDS * sizeof(int))] = {0};
    struct iovec iov[2] = {
        {(void *)(uintptr_t)&message->header, sizeof(message->header)},
        {(void *)(uintptr_t)&message->payload, message->header.size},
    };
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = 2,
                         .msg_control = control,
                         .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    int fds[ALL_FDS];

    for (unsigned i = 0; i < count; i++)
        fds[i] = eventfd(0, EFD_CLOEXEC);
    *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
                                            .cmsg_level = SOL_SOCKET,
                                            .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, count * sizeof(int));
    REQUIRE(sendmsg(socket, &msg, MSG_NOSIGNAL) > 0);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

/* False: the connection is over. */
static bool do_wrong(struct vhost_peer *peer, struct vhost_user_message *message)
{
    switch (peer->fault) {
    case PEER_SILENT:
        return true;
    case PEER_CLOSES:
        return false;
    case PEER_HALF:
        return send(peer->socket, &message->header, 6, MSG_NOSIGNAL) == 6;
    case PEER_TOO_LONG:
        message->header.size += 4;
        break;
    case PEER_TOO_SHORT:
        message->header.size -= 4;
        break;
    case PEER_HUGE:
        message->header.size = 1 << 30;
        return send(peer->socket, &message->header, sizeof(message->header), MSG_NOSIGNAL) > 0;
    case PEER_OTHER:
        message->header.request = VHOST_USER_SET_LOG_FD;
        break;
    case PEER_NO_REPLY:
        message->header.flags = VHOST_USER_VERSION;
        break;
    case PEER_VERSION:
        message->header.flags = VHOST_USER_FLAG_REPLY | 2;
        break;
    case PEER_ONE_FD:
        send_with_fds(peer->socket, message, 1);
        return true;
    case PEER_TOO_MANY_FDS:
        send_with_fds(peer->socket, message, ALL_FDS);
        return true;
    case PEER_REFUSES:
        message->payload.u64 = 1;
        break;
    case PEER_SOUND:
        break;
    }
    return vhost_user_send(peer->socket, message, NULL) == 0;
}

/* --- the thread ------------------------------------------------------------------------------- */

static void keep(struct vhost_peer *peer, const struct vhost_user_message *message)
{
    struct vhost_user_message *last = &peer->told[message->header.request];

    vhost_user_close_fds(last);
    *last = *message;
    peer->count[message->header.request]++;
    if (message->header.request == VHOST_USER_SET_BACKEND_REQ_FD) {
        if (peer->channel >= 0)
            close(peer->channel);
        peer->channel = vhost_user_take_fd(last, 0);
    }
}

/* The same. */
static bool send_answer(struct vhost_peer *peer, struct vhost_user_message *message)
{
    if (peer->fault != PEER_SOUND && message->header.request == peer->fault_at)
        return do_wrong(peer, message);
    return (!peer->meddle || peer->meddle(peer, message)) &&
           vhost_user_send(peer->socket, message, NULL) == 0;
}

/* The same. */
static bool serve(struct vhost_peer *peer, struct vhost_user_message *message)
{
    uint32_t request = message->header.request;
    bool wanted = message->header.flags & VHOST_USER_FLAG_NEED_REPLY, sent;

    REQUIRE(vhost_user_check(message, false, NULL) == 0);
    REQUIRE(vhost_user_allowed(request, false,
                               peer->told[VHOST_USER_SET_PROTOCOL_FEATURES].payload.u64));
    keep(peer, message);
    if (request == VHOST_USER_VRING_KICK && peer->calls_before_kicked)
        call_first(peer);
    if (request == VHOST_USER_SET_VRING_ENABLE && message->payload.state.num &&
        peer->notifier_fd >= 0)
        give_notifier(peer, message->payload.state.index);
    if (!answer(peer, request == VHOST_USER_SET_DEVICE_STATE_FD ? &peer->told[request] : message)) {
        if (!wanted)
            return true;
        REQUIRE(has(peer, VHOST_USER_PROTOCOL_F_REPLY_ACK));
        answer_u64(message, 0);
    } else if (request == VHOST_USER_SET_DEVICE_STATE_FD) {
        answer_u64(message, peer->told[request].payload.u64);
    }
    message->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    message->fd_count = request == VHOST_USER_GET_INFLIGHT_FD && peer->inflight_fd >= 0;
    if (message->fd_count)
        message->fds[0] = fcntl(peer->inflight_fd, F_DUPFD_CLOEXEC, 0);
    sent = send_answer(peer, message);
    vhost_user_close_fds(message);
    return sent;
}

/* Whoever is to listen may come later. */
static bool connected(struct vhost_peer *peer)
{
    for (int i = 0; peer->connects_to && peer->socket < 0 && i < 5000; i++) {
        peer->socket = unix_socket_try_connect(peer->connects_to, NULL);
        usleep(1000);
    }
    return peer->socket >= 0;
}

static void *run(void *arg)
{
    struct vhost_peer *peer = arg;
    struct vhost_user_message message;
    bool goes_on = connected(peer);

    while (goes_on && vhost_user_receive_within(peer->socket, &message, 1000000, NULL) > 0) {
        pthread_mutex_lock(&peer->lock);
        goes_on = serve(peer, &message);
        pthread_mutex_unlock(&peer->lock);
    }
    shutdown(peer->socket, SHUT_RDWR);
    return NULL;
}

/* --- for tests -------------------------------------------------------------------------------- */

void vhost_peer_init(struct vhost_peer *peer)
{
    *peer = (struct vhost_peer){
        .features = UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1)
                                                            << VHOST_USER_F_PROTOCOL_FEATURES,
        .protocol_features = ~(UINT64_C(1) << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |
                               UINT64_C(1) << VHOST_USER_PROTOCOL_F_LOG_SHMFD),
        .queues = 4,
        .slots = 8,
        .state = "the state",
        .socket = -1,
        .channel = -1,
        .state_fd = -1,
        .notifier_fd = -1,
        .inflight_fd = -1,
    };
    for (unsigned i = 0; i < VHOST_PEER_CONFIG; i++)
        peer->config[i] = (uint8_t)i;
    pthread_mutex_init(&peer->lock, NULL);
    pthread_mutex_init(&peer->speech, NULL);
}

int vhost_peer_start(struct vhost_peer *peer)
{
    int pair[2] = {-1, -1};

    if (!peer->connects_to)
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    peer->socket = pair[0];
    REQUIRE(pthread_create(&peer->thread, NULL, run, peer) == 0);
    peer->runs = true;
    return pair[1];
}

void vhost_peer_stop(struct vhost_peer *peer)
{
    if (!peer->runs)
        return;
    peer->runs = false;
    shutdown(peer->socket, SHUT_RDWR);
    pthread_join(peer->thread, NULL);
    close(peer->socket);
    if (peer->channel >= 0)
        close(peer->channel);
    if (peer->state_fd >= 0)
        close(peer->state_fd);
    for (unsigned i = 0; i < VHOST_USER_REQUESTS; i++)
        vhost_user_close_fds(&peer->told[i]);
    pthread_mutex_destroy(&peer->lock);
    pthread_mutex_destroy(&peer->speech);
}

struct vhost_user_message vhost_peer_told(struct vhost_peer *peer, uint32_t request)
{
    struct vhost_user_message copy;

    pthread_mutex_lock(&peer->lock);
    if (!peer->count[request])
        require(false, vhost_user_request_name(request, false));
    copy = peer->told[request];
    pthread_mutex_unlock(&peer->lock);
    return copy;
}

unsigned vhost_peer_count(struct vhost_peer *peer, uint32_t request)
{
    unsigned count;

    pthread_mutex_lock(&peer->lock);
    count = peer->count[request];
    pthread_mutex_unlock(&peer->lock);
    return count;
}

void vhost_peer_do_wrong(struct vhost_peer *peer, uint32_t request, enum vhost_peer_fault fault)
{
    pthread_mutex_lock(&peer->lock);
    peer->fault_at = request;
    peer->fault = fault;
    pthread_mutex_unlock(&peer->lock);
}

static int channel_of(struct vhost_peer *peer)
{
    int channel;

    pthread_mutex_lock(&peer->lock);
    channel = peer->channel;
    pthread_mutex_unlock(&peer->lock);
    return channel;
}

int64_t vhost_peer_say(struct vhost_peer *peer, uint32_t request, const void *payload,
                       uint32_t size, int fd)
{
    struct vhost_user_message message = {
        .header = {request, VHOST_USER_VERSION | VHOST_USER_FLAG_NEED_REPLY, size},
        .fds = {fd},
        .fd_count = fd >= 0,
    };

    int channel = channel_of(peer);
    bool answered;

    memcpy(&message.payload, payload, size);
    pthread_mutex_lock(&peer->speech);
    answered = vhost_user_send(channel, &message, NULL) == 0 &&
               vhost_user_receive(channel, &message, NULL) > 0;
    pthread_mutex_unlock(&peer->speech);
    if (!answered)
        return -1;
    REQUIRE(vhost_user_check_answer(&message, request, true, NULL) == 0);
    return (int64_t)message.payload.u64;
}
