/*
 * What the server says by itself, on the channel that the front end gave it: that the configuration
 * changed, and, where there are no eventfds for that (INBAND_NOTIFICATIONS), interrupts and errors
 * of queues.
 *
 * Things to say are remembered, not queued: saying one twice is no better than once. With REPLY_ACK
 * each waits for the front end to have heard the one before, so that a front end that listens to
 * none holds up nobody, and misses only these. What the back end needs done before it goes on
 * (server_channel_ask) is said at once and waited for.
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

/* The front end has heard the last one: 1, and what it says; 0 when it closes. Otherwise, the
 * channel is closed. */
static int take_answer(struct vhost_user_server *server, unsigned patience_ms, uint64_t *says,
                       struct error *err)
{
    struct server_channel *channel = &server->channel;
    struct vhost_user_message answer;
    int ret = vhost_user_receive_within(channel->socket.fd, &answer, patience_ms, err);

    if (ret > 0) {
        *says = answer.payload.u64;
        ret = vhost_user_check_answer(&answer, channel->asked, true, err);
        vhost_user_close_fds(&answer);
        ret = ret ? ret : 1;
    }
    if (ret < 0)
        error_prefix(err, "the answer to %s", vhost_user_request_name(channel->asked, true));
    if (ret <= 0)
        close_channel(server);
    channel->asked = 0;
    return ret;
}

/* It may refuse: that is its affair. */
static void channel_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_server *server = container_of(self, struct vhost_user_server, channel.socket);
    struct error err = ERROR_INIT;
    uint64_t says;
    int ret = take_answer(server, VHOST_USER_BRIEF_MS, &says, &err);

    (void)events;
    if (ret < 0)
        log_limited(LOG_WARN, "vhost-user", "%s: %s", server->config.name, err.text);
    if (ret > 0)
        say_all(&server->channel.task);
}

int server_channel_ask(struct vhost_user_server *server, struct vhost_user_message *message,
                       struct error *err)
{
    struct server_channel *channel = &server->channel;
    uint32_t request = message->header.request;
    uint64_t says = 0;
    int ret = 1;

    if (channel->socket.fd < 0 || !allowed(server, request) ||
        !server_has(server, VHOST_USER_PROTOCOL_F_REPLY_ACK))
        return error_set(err, ENOTSUP, "the front end does not take %s",
                         vhost_user_request_name(request, true));
    if (channel->asked) /* before this */
        ret = take_answer(server, VHOST_USER_PATIENCE_MS, &says, err);
    if (ret > 0) {
        channel->asked = request;
        message->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_NEED_REPLY;
        ret = vhost_user_send_within(channel->socket.fd, message, VHOST_USER_PATIENCE_MS, err);
        if (ret)
            close_channel(server);
        else
            ret = take_answer(server, VHOST_USER_PATIENCE_MS, &says, err);
    }
    if (ret <= 0)
        return ret ? ret : error_set(err, ECONNRESET, "the front end closed its channel");
    loop_post(server->config.loop, &channel->task); /* what was to be said meanwhile */
    return says ? error_set(err, EINVAL, "the front end refused %s",
                            vhost_user_request_name(request, true))
                : 0;
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
