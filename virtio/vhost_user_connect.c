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

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL_BIT(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

#define WANTED                                                                \
    (PROTOCOL_BIT(MQ) | PROTOCOL_BIT(REPLY_ACK) | PROTOCOL_BIT(BACKEND_REQ) | \
     PROTOCOL_BIT(CONFIG) | PROTOCOL_BIT(RESET_DEVICE) | PROTOCOL_BIT(STATUS))

/* --- the end of a connection ------------------------------------------------------------------ */

void vhost_user_disconnect(struct vhost_user *v)
{
    if (v->socket.fd >= 0)
        shutdown(v->socket.fd, SHUT_RDWR);
    v->lost = true;
}

void vhost_user_unwatch(struct vhost_user *v, struct loop_fd *fd)
{
    if (fd->fd < 0)
        return;
    loop_fd_remove(v->loop, fd);
    close(fd->fd);
    fd->fd = -1;
}

void vhost_user_close(struct vhost_user *v)
{
    vhost_user_unwatch(v, &v->socket);
    vhost_user_unwatch(v, &v->backend_socket);
}

/* Nobody has asked for anything: it can only be the end. */
static void socket_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user *v = container_of(self, struct vhost_user, socket);
    bool lost;

    (void)events;
    pthread_mutex_lock(&v->lock); /* not while a request is under way */
    lost = v->lost || recv(self->fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
    if (lost) {
        vhost_user_disconnect(v);
        vhost_user_close(v);
    }
    pthread_mutex_unlock(&v->lock);
    if (!lost)
        return;
    log_warn("vhost-user", "%s: the process that serves it is gone", v->backend.name);
    v->backend.events.needs_reset(v->backend.events.opaque);
}

/* --- the peer's own requests --- */

static void acknowledge(struct vhost_user *v, struct vhost_user_message *message, int result)
{
    if (!(message->header.flags & VHOST_USER_FLAG_NEED_REPLY))
        return;
    message->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    message->header.size = sizeof(uint64_t);
    message->payload.u64 = result < 0;
    (void)vhost_user_send(v->backend_socket.fd, message, NULL);
}

static int handle(struct vhost_user *v, const struct vhost_user_message *message, struct error *err)
{
    const struct virtio_device_events *device = &v->backend.events;
    int ret = vhost_user_check(message, true, err);

    if (ret)
        return ret;
    if (message->header.request != VHOST_USER_BACKEND_CONFIG_CHANGE_MSG)
        return error_set(err, EOPNOTSUPP, "%s was not agreed on",
                         vhost_user_request_name(message->header.request, true));
    device->config_changed(device->opaque);
    return 0;
}

static void backend_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user *v = container_of(self, struct vhost_user, backend_socket);
    struct vhost_user_message message;
    struct error err = ERROR_INIT;
    int ret = vhost_user_receive(self->fd, &message, &err);

    (void)events;
    if (ret <= 0) { /* the main channel will tell */
        vhost_user_unwatch(v, self);
        return;
    }
    ret = handle(v, &message, &err);
    if (ret)
        log_limited(LOG_WARN, "vhost-user", "%s: %s", v->backend.name, err.text);
    vhost_user_close_fds(&message);
    message.fd_count = 0;
    acknowledge(v, &message, ret);
}

/* Give the peer a socket for its own requests. */
static int open_backend_channel(struct vhost_user *v, struct error *err)
{
    struct vhost_user_message message = {.header = {.request = VHOST_USER_SET_BACKEND_REQ_FD},
                                         .fd_count = 1};
    int pair[2], ret;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "cannot make a socket");
    message.fds[0] = pair[1];
    ret = vhost_user_tell(v, &message, err);
    close(pair[1]);
    v->backend_socket = (struct loop_fd){pair[0], EPOLLIN, backend_ready};
    if (!ret)
        ret = loop_fd_add(v->loop, &v->backend_socket, err);
    if (ret) {
        close(pair[0]);
        v->backend_socket.fd = -1;
    }
    return ret;
}

/* --- the beginning of a connection --- */

static int agree_on_protocol(struct vhost_user *v, struct error *err)
{
    uint64_t offered = 0;
    int ret = vhost_user_ask_u64(v, VHOST_USER_GET_PROTOCOL_FEATURES, &offered, err);

    if (ret)
        return ret;
    if (v->options.config_size && !(offered & PROTOCOL_BIT(CONFIG)))
        return error_set(err, ENOTSUP, "it does not serve the device's configuration (CONFIG)");
    if (v->queue_count > 1 && !(offered & PROTOCOL_BIT(MQ)))
        return error_set(err, ENOTSUP, "it serves one queue, not %u (MQ)", v->queue_count);
    ret = vhost_user_tell_u64(v, VHOST_USER_SET_PROTOCOL_FEATURES, offered & WANTED, err);
    v->protocol_features = offered & WANTED; /* REPLY_ACK from now on */
    return ret;
}

static int check_queue_count(struct vhost_user *v, struct error *err)
{
    uint64_t count = 1;
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
        ret = open_backend_channel(v, err);
    return ret;
}

static int open_socket(const struct vhost_user *v, struct error *err)
{
    const struct vhost_user_process *process = v->options.process;
    int fd;

    if (process)
        return process->connect(process->opaque, err);
    if (v->path)
        return unix_socket_connect(v->path, err);
    if (v->connected_before)
        return error_set(err, ENOTCONN, "an inherited descriptor cannot be connected again");
    fd = fcntl(v->options.fd, F_DUPFD_CLOEXEC, 3);
    return fd >= 0 ? fd : error_errno(err, errno, "descriptor %d", v->options.fd);
}

int vhost_user_connect(struct vhost_user *v, struct error *err)
{
    int ret, fd = open_socket(v, err);

    if (fd < 0)
        return fd;
    v->lost = false;
    v->socket = (struct loop_fd){fd, EPOLLIN, socket_ready};
    ret = agree(v, err);
    if (!ret)
        ret = vhost_user_set_memory(v, err);
    if (!ret)
        ret = loop_fd_add(v->loop, &v->socket, err);
    if (ret) {
        vhost_user_unwatch(v, &v->backend_socket);
        close(v->socket.fd);
        v->socket.fd = -1;
        v->lost = true; /* the next reset looks again */
        return ret;
    }
    v->connected_before = true;
    return 0;
}
