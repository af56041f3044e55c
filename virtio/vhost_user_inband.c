/*
 * Notifications of the driver as messages (INBAND_NOTIFICATIONS), for peers that live in a
 * simulation and have no use for eventfds. Each waits until the peer is done with it.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/loop_event.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* The peer may have something to say before it answers, and wait for us to have heard it. We are on
 * the loop, so nobody else hears it meanwhile. */
static int hear_until_answered(struct vhost_user *v, struct error *err)
{
    uint64_t deadline = loop_now_ns() + VHOST_USER_PATIENCE_NS;

    while (loop_now_ns() < deadline) {
        struct pollfd ready[2] = {{.fd = v->socket.fd, .events = POLLIN},
                                  {.fd = v->backend_socket.fd, .events = POLLIN}};

        if (poll(ready, ARRAY_SIZE(ready), VHOST_USER_PATIENCE_MS) < 0 && errno != EINTR)
            return error_errno(err, errno, "poll");
        if (ready[1].revents && vhost_user_hear(v) <= 0)
            return error_set(err, EPROTO, "its channel for its own requests is broken");
        if (ready[0].revents)
            return 0;
    }
    return error_set(err, ETIMEDOUT, "no answer");
}

static void kick_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_queue *queue = container_of(self, struct vhost_user_queue, kick);
    struct vhost_user *v = queue->owner;
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_VRING_KICK, .size = sizeof(struct vhost_user_vring_state)},
        .payload.state.index = queue->index,
    };
    struct error err = ERROR_INIT;

    (void)events;
    if (!loop_event_take(self->fd))
        return;
    if (pthread_mutex_trylock(&v->lock)) { /* not yet: who waits for an answer needs us to hear */
        eventfd_write(self->fd, 1);
        sched_yield();
        return;
    }
    v->meanwhile = hear_until_answered;
    if (!v->lost && vhost_user_tell(v, &message, &err))
        log_limited(LOG_WARN, "vhost-user", "%s: %s", v->backend.name, err.text);
    v->meanwhile = NULL;
    pthread_mutex_unlock(&v->lock);
}

static void listen_on_loop(void *arg)
{
    struct vhost_user_queue *queue = arg;

    if (loop_fd_add(queue->owner->loop, &queue->kick, NULL))
        queue->kick.fd = -1;
}

static void ignore_on_loop(void *arg)
{
    struct vhost_user_queue *queue = arg;

    loop_fd_remove(queue->owner->loop, &queue->kick);
    queue->kick.fd = -1;
}

int vhost_user_inband_start(struct vhost_user_queue *queue, struct error *err)
{
    if (!vhost_user_inband(queue->owner))
        return 0;
    queue->kick = (struct loop_fd){queue->kick_fd, EPOLLIN, kick_ready};
    loop_call(queue->owner->loop, listen_on_loop, queue);
    return queue->kick.fd >= 0 ? 0 : error_set(err, EIO, "cannot listen for notifications");
}

void vhost_user_inband_stop(struct vhost_user_queue *queue)
{
    if (queue->kick.fd >= 0)
        loop_call(queue->owner->loop, ignore_on_loop, queue);
}
