#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL_BIT(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

/* What we can do, for any device. */
#define PROTOCOL_FEATURES                                                                    \
    (PROTOCOL_BIT(MQ) | PROTOCOL_BIT(REPLY_ACK) | PROTOCOL_BIT(BACKEND_REQ) |                \
     PROTOCOL_BIT(CONFIG) | PROTOCOL_BIT(RESET_DEVICE) | PROTOCOL_BIT(CONFIGURE_MEM_SLOTS) | \
     PROTOCOL_BIT(STATUS) | PROTOCOL_BIT(GPA_ADDRESSES))

/* --- what the back end reports: any thread --- */

static void on_notify_queue(void *opaque, uint16_t index)
{
    struct vhost_user_server *server = opaque;

    eventfd_write(server->vrings[index].call_fd, 1);
}

/* Our own request; nobody waits for an answer. */
static void send_request(struct vhost_user_server *server, enum vhost_user_backend_request request)
{
    struct vhost_user_message message = {
        .header = {.request = request, .flags = VHOST_USER_VERSION},
    };
    struct error err = ERROR_INIT;

    if (server->backend_socket >= 0 && vhost_user_send(server->backend_socket, &message, &err))
        log_limited(LOG_WARN, "vhost-user", "%s: %s", server->config.name, err.text);
}

static void report_config(struct loop_task *task)
{
    struct vhost_user_server *server = container_of(task, struct vhost_user_server, config_task);

    if (server_has(server, VHOST_USER_PROTOCOL_F_CONFIG))
        send_request(server, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
}

static void on_config_changed(void *opaque)
{
    struct vhost_user_server *server = opaque;

    loop_post(server->config.loop, &server->config_task);
}

static void on_needs_reset(void *opaque)
{
    struct vhost_user_server *server = opaque;

    atomic_fetch_or(&server->status, VIRTIO_STATUS_NEEDS_RESET);
    for (uint16_t i = 0; i < server->config.queue_count; i++)
        eventfd_write(server->vrings[i].err_fd, 1);
    on_config_changed(server);
}

/* --- features --- */

static uint64_t low_features(const struct virtio_features *features)
{
    return features->word[0] | (uint64_t)features->word[1] << 32;
}

static uint64_t offered_features(const struct vhost_user_server *server)
{
    return low_features(&server->config.offered) | UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES;
}

static int set_features(struct vhost_user_server *server, uint64_t features, struct error *err)
{
    const uint64_t protocol = UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES;
    struct virtio_backend *backend = server->config.backend;
    struct virtio_features negotiated = {
        .word = {(uint32_t)(features & ~protocol), (uint32_t)(features >> 32)},
    };

    if (features & ~offered_features(server))
        return error_set(err, EINVAL, "features 0x%llx were not offered",
                         (unsigned long long)(features & ~offered_features(server)));
    server_vrings_stop(server);
    if (backend->ops->set_features(backend, &negotiated) < 0)
        return error_set(err, EINVAL, "the device cannot work with these features");
    server->features = features;
    server->features_set = true;
    /* Who knows nothing of enabling has all enabled. */
    for (uint16_t i = 0; !(features & protocol) && i < server->config.queue_count; i++)
        server->vrings[i].enabled = true;
    return server_vrings_update(server, err);
}

static int set_protocol_features(struct vhost_user_server *server, uint64_t features,
                                 struct error *err)
{
    if (features & ~PROTOCOL_FEATURES)
        return error_set(err, EINVAL, "protocol features 0x%llx were not offered",
                         (unsigned long long)(features & ~PROTOCOL_FEATURES));
    server->protocol_features = features;
    return 0;
}

/* --- configuration, status, reset --- */

static void device_reset(struct vhost_user_server *server)
{
    struct virtio_backend *backend = server->config.backend;

    server_vrings_stop(server);
    backend->ops->reset(backend);
    server->features_set = false;
    atomic_store(&server->status, 0);
    for (uint16_t i = 0; i < server->config.queue_count; i++)
        server->vrings[i].position = (struct virtqueue_position){0, 0};
}

/* A status of 0 is a reset. */
static void set_status(struct vhost_user_server *server, uint64_t status)
{
    if ((uint8_t)status == 0)
        device_reset(server);
    else
        atomic_store(&server->status,
                     (uint8_t)status | (atomic_load(&server->status) & VIRTIO_STATUS_NEEDS_RESET));
}

/* An answer of length 0 says that it cannot be had. */
static void get_config(struct vhost_user_server *server, struct vhost_user_message *message)
{
    struct vhost_user_config *config = &message->payload.config;
    struct virtio_backend *backend = server->config.backend;

    if (config->offset > VHOST_USER_CONFIG_MAX ||
        config->size > VHOST_USER_CONFIG_MAX - config->offset) {
        message->header.size = 0;
        return;
    }
    backend->ops->config_read(backend, config->offset, config->bytes, config->size);
    message->header.size = VHOST_USER_CONFIG_HEADER + config->size;
}

static int set_config(struct vhost_user_server *server, struct vhost_user_message *message,
                      struct error *err)
{
    const struct vhost_user_config *config = &message->payload.config;
    struct virtio_backend *backend = server->config.backend;

    if (config->size > message->header.size - VHOST_USER_CONFIG_HEADER ||
        config->offset > VHOST_USER_CONFIG_MAX)
        return error_set(err, EPROTO, "SET_CONFIG of %u bytes at %u", config->size, config->offset);
    backend->ops->config_write(backend, config->offset, config->bytes, config->size);
    return 0;
}

static int set_backend_socket(struct vhost_user_server *server, struct vhost_user_message *message)
{
    if (server->backend_socket >= 0)
        close(server->backend_socket);
    server->backend_socket = vhost_user_take_fd(message, 0);
    return 0;
}

/* --- requests --- */

/* Answers that are one number. */
static void answer_u64(struct vhost_user_message *message, uint64_t value)
{
    message->payload.u64 = value;
    message->header.size = sizeof(value);
}

/* Memory changes while nothing uses it. */
static int change_memory(struct vhost_user_server *server, struct vhost_user_message *message,
                         struct error *err)
{
    int ret;

    server_vrings_stop(server);
    switch (message->header.request) {
    case VHOST_USER_SET_MEM_TABLE:
        ret = server_memory_set(server, message, err);
        break;
    case VHOST_USER_ADD_MEM_REG:
        ret = server_memory_add(server, message, err);
        break;
    default:
        ret = server_memory_remove(server, message, err);
        break;
    }
    return ret ? ret : server_vrings_update(server, err);
}

/* Do what the message asks. 1: the message has become its answer; 0: done; or a negative errno. */
static int handle(struct vhost_user_server *server, struct vhost_user_message *message,
                  struct error *err)
{
    switch (message->header.request) {
    case VHOST_USER_GET_FEATURES:
        answer_u64(message, offered_features(server));
        return 1;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        answer_u64(message, PROTOCOL_FEATURES);
        return 1;
    case VHOST_USER_GET_QUEUE_NUM:
        answer_u64(message, server->config.queue_count);
        return 1;
    case VHOST_USER_GET_MAX_MEM_SLOTS:
        answer_u64(message, GUEST_MEMORY_REGIONS);
        return 1;
    case VHOST_USER_GET_STATUS:
        answer_u64(message, atomic_load(&server->status));
        return 1;
    case VHOST_USER_GET_CONFIG:
        get_config(server, message);
        return 1;
    case VHOST_USER_GET_VRING_BASE: /* it waits for an answer that has no room for an error */
        return server_vring_request(server, message, err) ? -EPROTO : 1;
    case VHOST_USER_SET_OWNER:
    case VHOST_USER_RESET_OWNER: /* deprecated: nothing to do is right */
        return 0;
    case VHOST_USER_SET_FEATURES:
        return set_features(server, message->payload.u64, err);
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        return set_protocol_features(server, message->payload.u64, err);
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
        return change_memory(server, message, err);
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_ADDR:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
    case VHOST_USER_SET_VRING_ENABLE:
        return server_vring_request(server, message, err);
    case VHOST_USER_SET_BACKEND_REQ_FD:
        return set_backend_socket(server, message);
    case VHOST_USER_SET_CONFIG:
        return set_config(server, message, err);
    case VHOST_USER_SET_STATUS:
        set_status(server, message->payload.u64);
        return 0;
    case VHOST_USER_RESET_DEVICE:
        device_reset(server);
        return 0;
    default:
        return error_set(err, EOPNOTSUPP, "%s is not supported",
                         vhost_user_request_name(message->header.request, false));
    }
}

/* --- the connection --- */

static void disconnect(struct vhost_user_server *server)
{
    if (server->connection.fd < 0)
        return;
    loop_fd_remove(server->config.loop, &server->connection);
    close(server->connection.fd);
    server->connection.fd = -1;
    if (server->backend_socket >= 0)
        close(server->backend_socket);
    server->backend_socket = -1;
    server_vrings_reset(server);
    device_reset(server);
    server_memory_clear(server);
    server->features = server->protocol_features = 0;
    if (server->listener.fd >= 0)
        loop_fd_add(server->config.loop, &server->listener, NULL);
    else if (server->config.ended)
        server->config.ended(server->config.opaque);
}

/* Answers that the request itself has, and with REPLY_ACK those asked for: 0, or what went wrong.
 */
static int answer(struct vhost_user_server *server, struct vhost_user_message *message, int result,
                  struct error *err)
{
    bool wanted = message->header.flags & VHOST_USER_FLAG_NEED_REPLY &&
                  server_has(server, VHOST_USER_PROTOCOL_F_REPLY_ACK);

    if (result <= 0 && !wanted)
        return 0;
    if (result <= 0)
        answer_u64(message, result < 0);
    message->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    vhost_user_close_fds(message);
    return vhost_user_send(server->connection.fd, message, err);
}

/* 0 to go on, anything else ends the connection: nonsense does, what cannot be done does not. */
static int serve_one(struct vhost_user_server *server, struct error *err)
{
    struct vhost_user_message message;
    int ret = vhost_user_receive(server->connection.fd, &message, err), result;

    if (ret <= 0)
        return ret ? ret : -ECONNRESET;
    result = vhost_user_check(&message, false, err);
    if (!result)
        result = handle(server, &message, err);
    if (result < 0)
        log_limited(LOG_WARN, "vhost-user", "%s: %s", server->config.name, err->text);
    ret = result == -EPROTO ? result : answer(server, &message, result, err);
    vhost_user_close_fds(&message);
    return ret;
}

static void connection_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_server *server = container_of(self, struct vhost_user_server, connection);
    struct error err = ERROR_INIT;
    int ret = serve_one(server, &err);

    (void)events;
    if (ret == 0)
        return;
    if (ret != -ECONNRESET)
        log_warn("vhost-user", "%s: the front end is dropped: %s", server->config.name, err.text);
    disconnect(server);
}

static int connection_begin(struct vhost_user_server *server, int fd, struct error *err)
{
    server->connection.fd = fd;
    return loop_fd_add(server->config.loop, &server->connection, err);
}

static void listener_ready(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_server *server = container_of(self, struct vhost_user_server, listener);
    int fd = accept4(self->fd, NULL, NULL, SOCK_CLOEXEC);

    (void)events;
    if (fd < 0)
        return;
    if (connection_begin(server, fd, NULL)) {
        server->connection.fd = -1;
        close(fd);
        return;
    }
    loop_fd_remove(server->config.loop, self); /* the next one waits */
}

/* --- life --- */

int vhost_user_server_create(const struct vhost_user_server_config *config,
                             struct vhost_user_server **out, struct error *err)
{
    struct vhost_user_server *server =
        calloc(1, sizeof(*server) + config->queue_count * sizeof(server->vrings[0]));
    int ret;

    if (!server) {
        close(config->socket);
        return error_set(err, ENOMEM, "no memory for a vhost-user server");
    }
    server->config = *config;
    server->backend_socket = -1;
    server->listener = (struct loop_fd){-1, EPOLLIN, listener_ready};
    server->connection = (struct loop_fd){-1, EPOLLIN, connection_ready};
    server->config_task.run = report_config;
    config->backend->name = config->name;
    config->backend->events =
        (struct virtio_device_events){on_notify_queue, on_config_changed, on_needs_reset, server, NULL};
    ret = server_vrings_create(server, err);
    if (!ret && config->listening) {
        server->listener.fd = config->socket;
        ret = loop_fd_add(config->loop, &server->listener, err);
    } else if (!ret) {
        ret = connection_begin(server, config->socket, err);
    }
    if (ret) {
        server_vrings_destroy(server);
        close(config->socket);
        free(server);
        return ret;
    }
    *out = server;
    return 0;
}

void vhost_user_server_destroy(struct vhost_user_server *server)
{
    if (!server)
        return;
    server->config.ended = NULL;
    disconnect(server);
    if (server->listener.fd >= 0) {
        loop_fd_remove(server->config.loop, &server->listener);
        close(server->listener.fd);
    }
    loop_task_cancel(server->config.loop, &server->config_task);
    server_vrings_destroy(server);
    free(server);
}
