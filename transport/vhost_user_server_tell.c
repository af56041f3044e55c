/*
 * What the server says by itself, on the channel that the front end gave it: that the configuration
 * changed, and, where there are no eventfds for that (INBAND_NOTIFICATIONS), interrupts and errors
 * of queues.
 *
 * Things to say are remembered, not queued: saying one twice is no better than once. With REPLY_ACK
 * each waits for the front end to have heard the one before, so that a front end that listens to
 * none holds up nobody, and misses only these.
 */
#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "base/event_signal.h"
#include "base/log.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static void close_channel(struct vhost_user_server *server)
{
    struct server_channel *channel = &server->channel;

    loop_fd_close(server->config.loop, &channel->socket);
    channel->asked = 0;
}

static int send_request(struct vhost_user_server *server, enum vhost_user_backend_request request,
                        uint16_t index, struct error *err)
{
    bool acknowledged = server_has(server, VHOST_USER_PROTOCOL_F_REPLY_ACK);
    struct vhost_user_message message = {
        .header = {.request = request,
                   .flags = VHOST_USER_VERSION | (acknowledged ? VHOST_USER_FLAG_NEED_REPLY : 0)},
        .payload.state.index = index,
    };

    if (request != VHOST_USER_BACKEND_CONFIG_CHANGE_MSG)
        message.header.size = sizeof(struct vhost_user_vring_state);
    server->channel.asked = acknowledged ? request : 0;
    return vhost_user_send_within(server->channel.socket.fd, &message, VHOST_USER_BRIEF_MS, err);
}

static bool allowed(const struct vhost_user_server *server, uint32_t request)
{
    return vhost_user_allowed(request, true, server->protocol_features);
}

/* Say one thing: 1, 0 when there is nothing to say, or a negative errno. */
static int say_something(struct vhost_user_server *server, struct error *err)
{
    int ret;

    if (allowed(server, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG) &&
        atomic_exchange(&server->channel.config_due, false)) {
        ret = send_request(server, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, err);
        return ret ? ret : 1;
    }
    for (uint16_t i = 0; i < server->config.queue_count; i++) {
        struct vhost_user_vring *vring = &server->vrings[i];
        enum vhost_user_backend_request request = 0;

        if (atomic_exchange(&vring->error_due, false))
            request = VHOST_USER_BACKEND_VRING_ERR;
        else if (atomic_exchange(&vring->call_due, false))
            request = VHOST_USER_BACKEND_VRING_CALL;
        if (!request || !allowed(server, request))
            continue;
        ret = send_request(server, request, i, err);
        return ret ? ret : 1;
    }
    return 0;
}

static void say_all(struct loop_task *task)
{
    struct vhost_user_server *server = container_of(task, struct vhost_user_server, channel.task);
    struct error err = ERROR_INIT;
    int ret = 1;

    while (ret > 0 && server->channel.socket.fd >= 0 && !server->channel.asked)
        ret = say_something(server, &err);
    if (ret >= 0)
        return;
    log_limited(LOG_WARN, "vhost-user", "%s: requests of ours: %s", server->config.name, err.text);
    close_channel(server);
}

/* The front end has heard the last one, or closes. It may refuse: that is its affair. */
static void channel_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_server *server = container_of(self, struct vhost_user_server, channel.socket);
    struct vhost_user_message answer;
    struct error err = ERROR_INIT;
    int ret = vhost_user_receive_within(self->fd, &answer, VHOST_USER_BRIEF_MS, &err);

    (void)events;
    if (ret > 0) {
        ret = vhost_user_check_answer(&answer, server->channel.asked, true, &err);
        vhost_user_close_fds(&answer);
        ret = ret ? ret : 1;
    }
    if (ret <= 0) {
        if (ret)
            log_limited(LOG_WARN, "vhost-user", "%s: the answer to %s: %s", server->config.name,
                        vhost_user_request_name(server->channel.asked, true), err.text);
        close_channel(server);
        return;
    }
    server->channel.asked = 0;
    say_all(&server->channel.task);
}

void server_channel_init(struct vhost_user_server *server)
{
    server->channel.socket = (struct loop_fd){-1, EPOLLIN, channel_ready};
    server->channel.task.run = say_all;
}

int server_channel_open(struct vhost_user_server *server, int fd, struct error *err)
{
    int ret;

    close_channel(server);
    server->channel.socket.fd = fd;
    ret = loop_fd_add(server->config.loop, &server->channel.socket, err);
    if (ret) {
        close(fd);
        server->channel.socket.fd = -1;
    }
    return ret;
}

void server_channel_close(struct vhost_user_server *server)
{
    close_channel(server);
    loop_task_cancel(server->config.loop, &server->channel.task);
    atomic_store(&server->channel.config_due, false);
}

/* --- any thread ------------------------------------------------------------------------------- */

void server_tell_config(struct vhost_user_server *server)
{
    atomic_store(&server->channel.config_due, true);
    loop_post(server->config.loop, &server->channel.task);
}

void server_tell_call(struct vhost_user_server *server, uint16_t index)
{
    struct vhost_user_vring *vring = &server->vrings[index];

    if (!atomic_load(&vring->call_inband)) {
        event_signal(vring->call_fd);
        return;
    }
    atomic_store(&vring->call_due, true);
    loop_post(server->config.loop, &server->channel.task);
}

void server_tell_error(struct vhost_user_server *server, uint16_t index)
{
    struct vhost_user_vring *vring = &server->vrings[index];

    if (!atomic_load(&vring->error_inband)) {
        event_signal(vring->err_fd);
        return;
    }
    atomic_store(&vring->error_due, true);
    loop_post(server->config.loop, &server->channel.task);
}
