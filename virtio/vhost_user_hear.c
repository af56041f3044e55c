/*
 * What a vhost-user peer says by itself, on the channel that was given to it (BACKEND_REQ).
 *
 * It is heard on the loop, which others need, too: so a message that does not come in one piece is
 * waited for but briefly. One that makes no sense is the end of the connection; one that cannot be
 * done, or was not agreed on, is refused.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The loop serves others, too: a peer may have it wait for a second in all, which is forgotten
 * within twenty. `since` is when it began with a message; what each takes is no waiting. In
 * simulations there is no hurry. */
#define WAITS_NS      UINT64_C(1000000000)
#define FORGOTTEN_PER 20
#define WORK_NS       UINT64_C(5000000)

static bool waits_too_long(struct vhost_user *v, uint64_t since)
{
    uint64_t now = loop_now_ns(), forgotten = (since - v->waited_until_ns) / FORGOTTEN_PER;

    if (vhost_user_inband(v))
        return false;
    v->waited_ns -= MIN(forgotten, v->waited_ns);
    v->waited_ns += now - since - MIN(now - since, WORK_NS);
    v->waited_until_ns = now;
    return v->waited_ns > WAITS_NS;
}

/* With v->lock held. */
static void drop_slow(struct vhost_user *v)
{
    log_limited(LOG_WARN, "vhost-user", "%s: it keeps others waiting", v->backend.name);
    v->given_up = true;
    vhost_user_disconnect(v);
}

/* With STATUS the peer says there that it cannot go on, and that its configuration has changed.
 * Asked when the message about that is done with: the peer may wait for it to be. */
void vhost_user_check_status(struct loop_task *task)
{
    struct vhost_user *v = container_of(task, struct vhost_user, status_task);
    struct error err = ERROR_INIT;
    uint64_t status = 0, began = loop_now_ns();

    if (pthread_mutex_trylock(&v->lock)) { /* not yet: who waits for an answer needs us to hear */
        loop_post(v->loop, task);
        sched_yield();
        return;
    }
    if (!v->lost && vhost_user_ask_u64(v, VHOST_USER_GET_STATUS, &status, &err))
        log_limited(LOG_WARN, "vhost-user", "%s: %s", v->backend.name, err.text);
    else if (!v->lost && waits_too_long(v, began))
        drop_slow(v);
    pthread_mutex_unlock(&v->lock);
    if (status & VIRTIO_STATUS_NEEDS_RESET)
        v->backend.events.needs_reset(v->backend.events.opaque);
}

/* VRING_CALL and VRING_ERR: what the eventfds of the queue would say. */
static int hear_of_vring(struct vhost_user *v, const struct vhost_user_message *message,
                         struct error *err)
{
    const struct virtio_device_events *device = &v->backend.events;
    uint32_t index = message->payload.state.index;

    if (index >= v->queue_count)
        return error_set(err, EINVAL, "%s for queue %u, of %u",
                         vhost_user_request_name(message->header.request, true), index,
                         v->queue_count);
    if (message->header.request == VHOST_USER_BACKEND_VRING_CALL)
        device->notify_queue(device->opaque, (uint16_t)index);
    else
        vhost_user_queue_broken(v, (uint16_t)index);
    return 0;
}

static int handle(struct vhost_user *v, struct vhost_user_message *message, struct error *err)
{
    const struct virtio_device_events *device = &v->backend.events;
    uint32_t request = message->header.request;
    int ret = vhost_user_check(message, true, err);

    if (ret)
        return ret;
    if (!vhost_user_allowed(request, true, v->protocol_features))
        return error_set(err, EOPNOTSUPP, "%s was not agreed on",
                         vhost_user_request_name(request, true));
    switch (request) {
    case VHOST_USER_BACKEND_CONFIG_CHANGE_MSG:
        device->config_changed(device->opaque);
        if (vhost_user_has(v, VHOST_USER_PROTOCOL_F_STATUS))
            loop_post(v->loop, &v->status_task);
        return 0;
    case VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG:
        return vhost_user_notifier_set(v, &message->payload.area,
                                       message->fd_count ? message->fds[0] : -1, err);
    case VHOST_USER_BACKEND_VRING_CALL:
    case VHOST_USER_BACKEND_VRING_ERR:
        return hear_of_vring(v, message, err);
    case VHOST_USER_BACKEND_SHMEM_MAP:
        return vhost_user_shmem_map(v, &message->payload.mapping, message->fds[0], err);
    case VHOST_USER_BACKEND_SHMEM_UNMAP:
        return vhost_user_shmem_unmap(v, &message->payload.mapping, err);
    default:
        return error_set(err, EOPNOTSUPP, "%s is not supported",
                         vhost_user_request_name(request, true));
    }
}

static int acknowledge(struct vhost_user *v, struct vhost_user_message *message, int result,
                       struct error *err)
{
    if (!(message->header.flags & VHOST_USER_FLAG_NEED_REPLY) ||
        !vhost_user_has(v, VHOST_USER_PROTOCOL_F_REPLY_ACK))
        return 0;
    message->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    message->header.size = sizeof(uint64_t);
    message->payload.u64 = result < 0;
    return vhost_user_send_within(v->backend_socket.fd, message, VHOST_USER_BRIEF_MS, err);
}

int vhost_user_hear(struct vhost_user *v)
{
    struct vhost_user_message message;
    struct error err = ERROR_INIT;
    int ret = vhost_user_receive_within(v->backend_socket.fd, &message, VHOST_USER_BRIEF_MS, &err);
    int result;

    if (ret == 0)
        return 0;
    if (ret > 0) {
        result = handle(v, &message, &err);
        vhost_user_close_fds(&message);
        if (result)
            log_limited(LOG_WARN, "vhost-user", "%s: %s", v->backend.name, err.text);
        if (result == -EPROTO)
            return result;
        ret = acknowledge(v, &message, result, &err);
    }
    if (ret < 0)
        log_limited(LOG_WARN, "vhost-user", "%s: its own requests: %s", v->backend.name, err.text);
    return ret < 0 ? ret : 1;
}

/* What the socket was said to be ready for may have been heard by who waited for an answer
 * (vhost_user_inband.c), in the same turn of the loop. */
static bool heard_already(int socket)
{
    char byte;

    return recv(socket, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void backend_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user *v = container_of(self, struct vhost_user, backend_socket);
    uint64_t began = loop_now_ns();
    bool slow;
    int ret;

    (void)events;
    if (heard_already(self->fd))
        return;
    ret = vhost_user_hear(v);
    slow = ret > 0 && waits_too_long(v, began);
    if (ret > 0 && !slow)
        return;
    loop_fd_close(v->loop, self);
    if (ret == 0) /* its end; the main channel tells whether it is the peer's, too */
        return;
    vhost_user_reconnect_hurry(v);
    pthread_mutex_lock(&v->lock);
    if (slow)
        drop_slow(v);
    else
        vhost_user_disconnect(v);
    pthread_mutex_unlock(&v->lock);
}

int vhost_user_give_channel(struct vhost_user *v, struct error *err)
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
    return ret;
}
