#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/loop_event.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL_BIT(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

/* What we can do, for any device. Nothing here has a page whose being written to it notices
 * (HOST_NOTIFIER). */
#define PROTOCOL_FEATURES                                                              \
    (PROTOCOL_BIT(MQ) | PROTOCOL_BIT(LOG_SHMFD) | PROTOCOL_BIT(REPLY_ACK) |            \
     PROTOCOL_BIT(BACKEND_REQ) | PROTOCOL_BIT(CONFIG) | PROTOCOL_BIT(INFLIGHT_SHMFD) | \
     PROTOCOL_BIT(RESET_DEVICE) | PROTOCOL_BIT(INBAND_NOTIFICATIONS) |                 \
     PROTOCOL_BIT(CONFIGURE_MEM_SLOTS) | PROTOCOL_BIT(STATUS) | PROTOCOL_BIT(GPA_ADDRESSES))

/* For devices that have shared memory. */
#define FOR_SHMEM (PROTOCOL_BIT(SHMEM) | PROTOCOL_BIT(BACKEND_SEND_FD))

/* In-band notifications cannot be without these. */
#define FOR_INBAND (PROTOCOL_BIT(REPLY_ACK) | PROTOCOL_BIT(BACKEND_REQ))

/* 5.1.3, and the least that IPv4 works with */
#define NET_F_MTU   3
#define NET_MTU_MIN 68

/* --- what the back end reports: any thread --- */

static void on_notify_queue(void *opaque, uint16_t index)
{
    server_tell_call(opaque, index);
}

static void on_config_changed(void *opaque)
{
    server_tell_config(opaque);
}

static void on_needs_reset(void *opaque)
{
    struct vhost_user_server *server = opaque;

    atomic_fetch_or(&server->status, VIRTIO_STATUS_NEEDS_RESET);
    for (uint16_t i = 0; i < server->config.queue_count; i++)
        server_tell_error(server, i);
    on_config_changed(server);
}

static int on_shared_map(void *opaque, const struct virtio_shared_mapping *mapping,
                         struct error *err)
{
    return server_shmem_map(opaque, mapping, err);
}

static void on_shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    server_shmem_unmap(opaque, id, offset, length);
}

/* --- features --- */

static uint64_t low_features(const struct virtio_features *features)
{
    return features->word[0] | (uint64_t)features->word[1] << 32;
}

/* Bits of SET_FEATURES that are no features of the device. */
#define NOT_VIRTIO (UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES | UINT64_C(1) << VHOST_F_LOG_ALL)

static uint64_t offered_features(const struct vhost_user_server *server)
{
    return low_features(&server->config.offered) | NOT_VIRTIO;
}

static int set_features(struct vhost_user_server *server, uint64_t features, struct error *err)
{
    const uint64_t protocol = UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES;
    struct virtio_backend *backend = server->config.backend;
    struct virtio_features negotiated = {
        .word = {(uint32_t)(features & ~NOT_VIRTIO), (uint32_t)(features >> 32)},
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
    if (server_log_update(server, err))
        return -EINVAL;
    return server_vrings_update(server, err);
}

/* Some of what we can do depends on the device. */
static uint64_t offered_protocol_features(const struct vhost_user_server *server)
{
    const struct vhost_user_server_config *config = &server->config;
    uint64_t offered = PROTOCOL_FEATURES;

    if (config->id == VIRTIO_ID_NET && features_has(&config->offered, NET_F_MTU))
        offered |= PROTOCOL_BIT(MTU);
    if (config->backend->saves)
        offered |= PROTOCOL_BIT(DEVICE_STATE);
    if (config->backend->shared_count)
        offered |= FOR_SHMEM;
    return offered;
}

static int set_protocol_features(struct vhost_user_server *server, uint64_t features,
                                 struct error *err)
{
    uint64_t strange = features & ~offered_protocol_features(server);

    if (strange)
        return error_set(err, EINVAL, "protocol features 0x%llx were not offered",
                         (unsigned long long)strange);
    if (features & PROTOCOL_BIT(INBAND_NOTIFICATIONS) && (features & FOR_INBAND) != FOR_INBAND)
        return error_set(err, EINVAL, "INBAND_NOTIFICATIONS without REPLY_ACK and BACKEND_REQ");
    server->protocol_features = features;
    return 0;
}

/* The device takes frames of any size; but what the driver is told must be an MTU, and that is what
 * the driver agreed to be told. */
static int set_mtu(const struct vhost_user_server *server, uint64_t mtu, struct error *err)
{
    if (!(server->features >> NET_F_MTU & 1))
        return error_set(err, EINVAL, "NET_SET_MTU, but VIRTIO_NET_F_MTU was not negotiated");
    if (mtu < NET_MTU_MIN || mtu > UINT16_MAX)
        return error_set(err, EINVAL, "NET_SET_MTU of %llu", (unsigned long long)mtu);
    return 0;
}

/* --- configuration, status, reset --- */

static void device_reset(struct vhost_user_server *server)
{
    struct virtio_backend *backend = server->config.backend;

    server_vrings_disable(server);
    server_state_forget(server);
    server_inflight_clear(server);
    server_shmem_forget(server);
    backend->ops->reset(backend);
    server->features_set = false;
    atomic_store(&server->status, 0);
}

/* A status of 0 is a reset. FEATURES_OK stays off when the features were refused (3.1.1). */
static void set_status(struct vhost_user_server *server, uint64_t status)
{
    if (!server->features_set)
        status &= ~(uint64_t)VIRTIO_STATUS_FEATURES_OK;
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

/* --- requests --- */

/* Answers that are one number. */
static void answer_u64(struct vhost_user_message *message, uint64_t value)
{
    message->payload.u64 = value;
    message->header.size = sizeof(value);
}

static void tell_of_memory(struct vhost_user_server *server, bool done)
{
    struct virtio_backend *backend = server->config.backend;

    if (backend->ops->memory_changes)
        backend->ops->memory_changes(backend, done);
}

/* Memory changes while nothing uses it. */
static int change_memory(struct vhost_user_server *server, struct vhost_user_message *message,
                         struct error *err)
{
    int ret;

    server_vrings_stop(server);
    tell_of_memory(server, false);
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
    tell_of_memory(server, true);
    return ret ? ret : server_vrings_update(server, err);
}

static int not_supported(const struct vhost_user_message *message, struct error *err)
{
    return error_set(err, EOPNOTSUPP, "%s is not supported",
                     vhost_user_request_name(message->header.request, false));
}

/* A request with an answer of its own, which the message becomes: 1, or a negative errno. */
static int handle_question(struct vhost_user_server *server, struct vhost_user_message *message,
                           struct error *err)
{
    int ret;

    switch (message->header.request) {
    case VHOST_USER_GET_FEATURES:
        answer_u64(message, offered_features(server));
        return 1;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        answer_u64(message, offered_protocol_features(server));
        return 1;
    case VHOST_USER_GET_QUEUE_NUM:
        answer_u64(message, server->config.queue_count);
        return 1;
    case VHOST_USER_GET_MAX_MEM_SLOTS:
        answer_u64(message, GUEST_MEMORY_REGIONS);
        return 1;
    case VHOST_USER_GET_SHMEM_CONFIG:
        server_shmem_config(server, message);
        return 1;
    case VHOST_USER_GET_STATUS:
        answer_u64(message, atomic_load(&server->status));
        return 1;
    case VHOST_USER_GET_CONFIG:
        get_config(server, message);
        return 1;
    case VHOST_USER_GET_INFLIGHT_FD:
        server_inflight_get(server, message);
        return 1;
    case VHOST_USER_GET_VRING_BASE:
        ret = server_vring_request(server, message, err);
        return ret ? ret : 1;
    case VHOST_USER_SET_LOG_BASE:
        ret = server_log_set(server, message, err);
        answer_u64(message, 0);
        return ret ? ret : 1;
    case VHOST_USER_SET_DEVICE_STATE_FD:
        answer_u64(message, server_state_transfer(server, message, err));
        return 1;
    case VHOST_USER_CHECK_DEVICE_STATE:
        answer_u64(message, server_state_check(server, err));
        return 1;
    default:
        return not_supported(message, err);
    }
}

static int set_gpu_socket(struct vhost_user_server *server, struct vhost_user_message *message,
                          struct error *err)
{
    const struct vhost_user_server_config *config = &server->config;

    if (!config->show)
        return not_supported(message, err);
    return config->show(config->opaque, vhost_user_take_fd(message, 0), err);
}

/* Any other: 0, or a negative errno. */
static int handle_order(struct vhost_user_server *server, struct vhost_user_message *message,
                        struct error *err)
{
    switch (message->header.request) {
    case VHOST_USER_SET_OWNER:   /* who is connected owns the device anyway */
    case VHOST_USER_RESET_OWNER: /* deprecated: nothing to do is right */
        return 0;
    case VHOST_USER_SET_LOG_FD:
        return server_log_set_signal(server, message, err);
    case VHOST_USER_NET_SET_MTU:
        return set_mtu(server, message->payload.u64, err);
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
    case VHOST_USER_VRING_KICK:
        return server_vring_request(server, message, err);
    case VHOST_USER_SET_INFLIGHT_FD:
        return server_inflight_set(server, message, err);
    case VHOST_USER_SET_BACKEND_REQ_FD:
        return server_channel_open(server, vhost_user_take_fd(message, 0), err);
    case VHOST_USER_GPU_SET_SOCKET:
        return set_gpu_socket(server, message, err);
    case VHOST_USER_SET_CONFIG:
        return set_config(server, message, err);
    case VHOST_USER_SET_STATUS:
        set_status(server, message->payload.u64);
        return 0;
    case VHOST_USER_RESET_DEVICE:
        device_reset(server);
        return 0;
    default:
        return not_supported(message, err);
    }
}

/* --- the connection --- */

static void disconnect(struct vhost_user_server *server)
{
    if (server->connection.fd < 0)
        return;
    loop_fd_close(server->config.loop, &server->connection);
    server_channel_close(server);
    server_vrings_reset(server);
    device_reset(server);
    server_log_forget(server);
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
    if (result <= 0) { /* else its descriptors are the answer's */
        vhost_user_close_fds(message);
        answer_u64(message, result < 0);
    }
    message->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    return vhost_user_send(server->connection.fd, message, err);
}

/* Do what the message asks. 1: it has become its answer; 0: done; -EPROTO when it makes no sense,
 * or waits for an answer that there is not; or another negative errno. */
static int take(struct vhost_user_server *server, struct vhost_user_message *message,
                struct error *err)
{
    uint32_t request = message->header.request;
    bool question = vhost_user_has_answer(request);
    int ret = vhost_user_check(message, false, err);

    if (!ret && !vhost_user_allowed(request, false, server->protocol_features))
        ret = error_set(err, EOPNOTSUPP, "%s was not agreed on",
                        vhost_user_request_name(request, false));
    if (!ret)
        ret = question ? handle_question(server, message, err) : handle_order(server, message, err);
    return ret < 0 && question ? -EPROTO : ret;
}

/* 0 to go on, anything else ends the connection: nonsense does, what cannot be done does not. */
static int serve_one(struct vhost_user_server *server, struct error *err)
{
    struct vhost_user_message message;
    int ret = vhost_user_receive(server->connection.fd, &message, err), result;

    if (ret <= 0)
        return ret ? ret : -ECONNRESET;
    err->text[0] = '\0';
    result = take(server, &message, err);
    if (err->text[0]) /* some answers can say so themselves */
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

/* What it gave us is not there any more: it was replaced, and means nothing. */
static void memory_lost(struct loop_fd *self, uint32_t events)
{
    struct vhost_user_server *server = container_of(self, struct vhost_user_server, lost);

    (void)events;
    if (loop_event_take(self->fd) && server->connection.fd >= 0) {
        log_warn("vhost-user", "%s: the front end is dropped: it took its memory away",
                 server->config.name);
        disconnect(server);
    }
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

static int server_open(struct vhost_user_server *server, struct error *err)
{
    struct loop *loop = server->config.loop;
    int ret = server_vrings_create(server, err);

    server->records = calloc(server->config.queue_count, sizeof(server->records[0]));
    server->config.backend->records = server->records;
    if (!ret && !server->records)
        ret = error_set(err, ENOMEM, "no memory for a vhost-user server");
    if (!ret)
        ret = loop_event_open(loop, &server->lost, memory_lost, err);
    if (ret || !server->config.listening)
        return ret ? ret : connection_begin(server, server->config.socket, err);
    server->listener.fd = server->config.socket;
    return loop_fd_add(loop, &server->listener, err);
}

static void server_free(struct vhost_user_server *server)
{
    server_vrings_destroy(server);
    loop_fd_close(server->config.loop, &server->lost);
    server->config.backend->records = NULL;
    free(server->records);
    free(server);
}

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
    server->load_fd = server->log_signal_fd = server->lost.fd = -1;
    server_state_forget(server);
    server_channel_init(server);
    server->listener = (struct loop_fd){-1, EPOLLIN, listener_ready};
    server->connection = (struct loop_fd){-1, EPOLLIN, connection_ready};
    config->backend->name = config->name;
    config->backend->events = (struct virtio_device_events){.notify_queue = on_notify_queue,
                                                            .config_changed = on_config_changed,
                                                            .needs_reset = on_needs_reset,
                                                            .shared_map = on_shared_map,
                                                            .shared_unmap = on_shared_unmap,
                                                            .opaque = server};
    ret = server_open(server, err);
    if (ret) {
        close(config->socket);
        server_free(server);
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
    loop_fd_close(server->config.loop, &server->listener);
    server_channel_close(server);
    server_free(server);
}
