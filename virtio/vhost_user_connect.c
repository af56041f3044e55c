/*
 * Connecting to a vhost-user peer, agreeing on what both can do, and losing it.
 *
 * Descriptors are watched on the loop, and requests may fail on any thread: so a failure only shuts
 * the connection down, and what is left is done on the loop, which hears of it.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "virtio/device.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL_BIT(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

/* What is agreed on when the peer offers it... */
#define WANTED                                                                                    \
    (PROTOCOL_BIT(MQ) | PROTOCOL_BIT(REPLY_ACK) | PROTOCOL_BIT(MTU) | PROTOCOL_BIT(BACKEND_REQ) | \
     PROTOCOL_BIT(CONFIG) | PROTOCOL_BIT(LOG_SHMFD) | PROTOCOL_BIT(BACKEND_SEND_FD) |             \
     PROTOCOL_BIT(RESET_DEVICE) | PROTOCOL_BIT(CONFIGURE_MEM_SLOTS) | PROTOCOL_BIT(STATUS) |      \
     PROTOCOL_BIT(DEVICE_STATE) | PROTOCOL_BIT(GPA_ADDRESSES) | PROTOCOL_BIT(SHMEM) |             \
     PROTOCOL_BIT(INFLIGHT_SHMFD))

/* ...and what that takes. In-band notifications are for those who ask for them. */
#define WITH_SEND_FD     (PROTOCOL_BIT(SHMEM) | PROTOCOL_BIT(HOST_NOTIFIER))
#define WITH_BACKEND_REQ (PROTOCOL_BIT(BACKEND_SEND_FD) | WITH_SEND_FD)
#define FOR_INBAND       (PROTOCOL_BIT(REPLY_ACK) | PROTOCOL_BIT(BACKEND_REQ))

/* How long a peer may take to connect to our socket, when the machine starts. */
#define FIRST_PEER_MS 60000

/* --- the end of a connection ------------------------------------------------------------------ */

void vhost_user_disconnect(struct vhost_user *v)
{
    if (v->socket.fd >= 0)
        shutdown(v->socket.fd, SHUT_RDWR);
    v->lost = true;
}

void vhost_user_close(struct vhost_user *v)
{
    atomic_store(&v->reconnect.fd, -1);
    loop_fd_close(v->loop, &v->socket);
    loop_fd_close(v->loop, &v->backend_socket);
    v->hears = v->watched = false;
    vhost_user_notifiers_clear(v);
    vhost_user_shmem_clear(v);
}

/* Nobody has asked for anything: it can only be the end. */
static void socket_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user *v = container_of(self, struct vhost_user, socket);
    ssize_t got;

    (void)events;
    if (pthread_mutex_trylock(&v->lock)) { /* it may be an answer; who waits for that needs us to
                                            * hear what the peer wants done before the next one */
        sched_yield();
        return;
    }
    got = recv(self->fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 && !v->lost) /* it talks without being asked */
        v->given_up = true;
    if (v->lost || got >= 0 || errno != EAGAIN) {
        vhost_user_disconnect(v);
        vhost_user_peer_gone(v);
    }
    pthread_mutex_unlock(&v->lock);
}

/* --- the beginning of a connection --- */

/* What each device of a type has (5.x.2): a peer need not be asked about these. */
static uint16_t queues_without_mq(uint16_t id)
{
    switch (id) {
    case VIRTIO_ID_NET:
    case VIRTIO_ID_CONSOLE:
    case VIRTIO_ID_GPU:
    case VIRTIO_ID_INPUT:
    case VIRTIO_ID_FS: /* one for requests */
        return 2;
    case VIRTIO_ID_VSOCK:
    case VIRTIO_ID_SCSI: /* one for requests */
        return 3;
    default:
        return 1;
    }
}

/* The configuration is the peer's, or there is one that stands in for it, and it is clear which. */
static int check_config(const struct vhost_user *v, uint64_t offered, struct error *err)
{
    bool theirs = offered & PROTOCOL_BIT(CONFIG);

    if (v->options.config_size && !theirs && !v->options.stand_in)
        return error_set(err, ENOTSUP, "it does not serve the device's configuration (CONFIG)");
    if (!theirs && v->stand_in.queue_count_max && v->queue_count > v->stand_in.queue_count_max)
        return error_set(err, ENOTSUP,
                         "without the device's configuration (CONFIG) it can serve %u "
                         "virtqueues, not %u",
                         v->stand_in.queue_count_max, v->queue_count);
    if (theirs && v->options.stand_in && v->stand_in.key)
        return error_set(err, EINVAL, "%s: is for the process that serves it to say",
                         v->stand_in.key);
    return 0;
}

static uint64_t choose(const struct vhost_user *v, uint64_t offered)
{
    uint64_t chosen = offered & WANTED;

    if (v->options.inband)
        chosen |= offered & PROTOCOL_BIT(INBAND_NOTIFICATIONS);
    if (v->options.notify_pages)
        chosen |= offered & PROTOCOL_BIT(HOST_NOTIFIER);
    if (!(chosen & PROTOCOL_BIT(BACKEND_REQ)))
        chosen &= ~WITH_BACKEND_REQ;
    if (!(chosen & PROTOCOL_BIT(BACKEND_SEND_FD)))
        chosen &= ~WITH_SEND_FD;
    if ((chosen & FOR_INBAND) != FOR_INBAND)
        chosen &= ~PROTOCOL_BIT(INBAND_NOTIFICATIONS);
    return chosen;
}

/* A peer that comes back takes up what is under way: requests in flight that the first one kept a
 * record of, in the place of relay=on; and a log of dirty pages. */
static int check_takes_up(const struct vhost_user *v, uint64_t chosen, struct error *err)
{
    bool unrecorded = v->connected_before && v->options.relay && !v->relay;

    if (unrecorded && !(chosen & PROTOCOL_BIT(INFLIGHT_SHMFD)))
        return error_set(err, ENOTSUP,
                         "it keeps no record of requests in flight, as the first one did");
    if (v->log && (!v->logs || !(chosen & PROTOCOL_BIT(LOG_SHMFD))))
        return error_set(err, ENOTSUP, "it cannot tell what it writes, which is being logged");
    return 0;
}

static int agree_on_protocol(struct vhost_user *v, struct error *err)
{
    uint64_t offered = 0;
    int ret = vhost_user_ask_u64(v, VHOST_USER_GET_PROTOCOL_FEATURES, &offered, err);

    if (!ret)
        ret = check_config(v, offered, err);
    if (ret)
        return ret;
    if (v->queue_count > queues_without_mq(v->options.id) && !(offered & PROTOCOL_BIT(MQ)))
        return error_set(err, ENOTSUP, "it serves %u queues, not %u (MQ)",
                         queues_without_mq(v->options.id), v->queue_count);
    offered = choose(v, offered);
    if (v->options.inband && !(offered & PROTOCOL_BIT(INBAND_NOTIFICATIONS)))
        return error_set(err, ENOTSUP, "it takes no messages for notifications");
    ret = check_takes_up(v, offered, err);
    if (ret)
        return ret;
    ret = vhost_user_tell_u64(v, VHOST_USER_SET_PROTOCOL_FEATURES, offered, err);
    v->protocol_features = offered; /* REPLY_ACK from now on */
    v->backend.saves = vhost_user_has(v, VHOST_USER_PROTOCOL_F_DEVICE_STATE);
    return ret;
}

static int check_queue_count(struct vhost_user *v, struct error *err)
{
    uint64_t count = v->queue_count;
    int ret = 0;

    if (vhost_user_has(v, VHOST_USER_PROTOCOL_F_MQ))
        ret = vhost_user_ask_u64(v, VHOST_USER_GET_QUEUE_NUM, &count, err);
    if (!ret && count < v->queue_count)
        ret = error_set(err, ENOTSUP, "it serves %llu queues, not %u", (unsigned long long)count,
                        v->queue_count);
    return ret;
}

/* A peer that comes back must be able to do what the first one could. */
static int take_features(struct vhost_user *v, uint64_t features, struct error *err)
{
    struct virtio_features now = {.word = {(uint32_t)features, (uint32_t)(features >> 32)}};

    if (!features_has(&now, VHOST_USER_F_PROTOCOL_FEATURES))
        return error_set(err, ENOTSUP, "it knows no protocol features");
    if (!features_has(&now, VIRTIO_F_VERSION_1))
        return error_set(err, ENOTSUP, "it serves legacy drivers only");
    features_set(&now, VHOST_USER_F_PROTOCOL_FEATURES, false);
    v->logs = features_has(&now, VHOST_F_LOG_ALL);
    features_set(&now, VHOST_F_LOG_ALL, false);
    features_set(&now, VIRTIO_F_ACCESS_PLATFORM, false); /* it would have to ask us for each */
    if (v->connected_before && !features_subset(&v->offered, &now))
        return error_set(err, ENOTSUP, "it offers fewer features than before");
    if (!v->connected_before)
        v->offered = now;
    return 0;
}

static int agree(struct vhost_user *v, struct error *err)
{
    uint64_t features = 0;
    int ret = vhost_user_ask_u64(v, VHOST_USER_GET_FEATURES, &features, err);

    v->protocol_features = 0;
    if (!ret)
        ret = take_features(v, features, err);
    if (!ret)
        ret = agree_on_protocol(v, err);
    if (!ret)
        ret = check_queue_count(v, err);
    if (!ret) {
        struct vhost_user_message owner = {.header = {.request = VHOST_USER_SET_OWNER}};
        ret = vhost_user_tell(v, &owner, err);
    }
    if (!ret && vhost_user_has(v, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
        ret = vhost_user_give_channel(v, err);
    if (!ret)
        ret = vhost_user_shmem_open(v, err);
    return ret ? ret : vhost_user_relay_open(v, err);
}

/* GPU_SET_SOCKET: the peer says on it what the device shows. */
static int give_socket(struct vhost_user *v, struct error *err)
{
    struct vhost_user_message message = {.header = {.request = VHOST_USER_GPU_SET_SOCKET}};
    struct vhost_user_front_part *part = v->options.front_part;
    int ret, fd = part ? part->ops->socket(part, err) : 0;

    if (!part || fd < 0)
        return fd;
    message.fds[0] = fd;
    message.fd_count = 1;
    ret = vhost_user_tell(v, &message, err);
    close(fd);
    return ret;
}

/* Only the first time may take long. */
static int open_socket(struct vhost_user *v, struct error *err)
{
    const struct vhost_user_process *process = v->options.process;
    int fd;

    if (process)
        return process->connect(process->opaque, err);
    if (v->options.server)
        return vhost_user_accept(v, v->connected_before ? 0 : FIRST_PEER_MS, err);
    if (v->path)
        return v->connected_before ? unix_socket_try_connect(v->path, err)
                                   : unix_socket_connect(v->path, err);
    if (v->options.fd < 0)
        return error_set(err, ENOTCONN, "an inherited descriptor cannot be connected again");
    fd = v->options.fd;
    v->options.fd = -1;
    return fd;
}

int vhost_user_connect(struct vhost_user *v, struct error *err)
{
    int ret, fd = open_socket(v, err);

    if (fd < 0)
        return fd;
    v->lost = false;
    v->socket = (struct loop_fd){fd, EPOLLIN, socket_ready};
    atomic_store(&v->reconnect.fd, fd);
    v->waited_ns = 0;
    v->waited_until_ns = loop_now_ns();
    v->deadline_ns = v->waited_until_ns + VHOST_USER_PATIENCE_NS;
    ret = agree(v, err);
    if (!ret)
        ret = vhost_user_set_memory(v, err);
    if (!ret)
        ret = vhost_user_tell_log(v, err);
    if (!ret)
        ret = give_socket(v, err);
    v->deadline_ns = 0;
    if (ret) {
        v->lost = true; /* the next attempt, or the next reset, looks again */
        return ret;
    }
    v->connected_before = true;
    v->reconnect.connected_ns = loop_now_ns();
    return 0;
}

int vhost_user_watch_channel(struct vhost_user *v, struct error *err)
{
    int ret;

    if (v->hears || v->backend_socket.fd < 0)
        return 0;
    ret = loop_fd_add(v->loop, &v->backend_socket, err);
    v->hears = !ret;
    return ret;
}

int vhost_user_watch(struct vhost_user *v, struct error *err)
{
    int ret = loop_fd_add(v->loop, &v->socket, err);

    if (!ret)
        ret = vhost_user_watch_channel(v, err);
    v->watched = !ret;
    if (ret)
        v->lost = true;
    return ret;
}
