#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "base/event_signal.h"
#include "virtio/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The back end may signal the descriptor at this moment: so its number stays what it is, and what
 * is behind it is replaced at once. Without a new one nobody listens. */
static int replace_fd(int place, int fd, struct error *err)
{
    int from = fd >= 0 ? fd : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int ret = from >= 0 && dup3(from, place, O_CLOEXEC) >= 0 ? 0 : -errno;

    if (from >= 0)
        close(from);
    return ret ? error_errno(err, -ret, "cannot take a descriptor") : 0;
}

/* --- running ---------------------------------------------------------------------------------- */

static bool vring_ready(const struct vhost_user_server *server,
                        const struct vhost_user_vring *vring)
{
    return server->features_set && vring->enabled && vring->addressed && vring->size > 0 &&
           vring->kick_fd >= 0;
}

/* A split ring's used index is in the ring: without in-flight tracking what was taken before and
 * not given back is lost, and the front end knows. */
static void read_used_index(const struct vhost_user_server *server, gpa_t used,
                            struct virtqueue_position *position)
{
    uint8_t index[2];

    if (!server_is_packed(server) &&
        guest_memory_read(server->config.memory, GPA(used.value + 2), index, sizeof(index)) == 0)
        position->used = load_le16(index);
}

static int vring_start(struct vhost_user_server *server, uint16_t index, struct error *err)
{
    struct vhost_user_vring *vring = &server->vrings[index];
    struct virtio_backend *backend = server->config.backend;
    struct virtqueue_setup setup = {.index = index, .size = vring->size};
    bool taken_over;
    int ret;

    if (!server_memory_translate(server, vring->descriptor, &setup.desc) ||
        !server_memory_translate(server, vring->available, &setup.driver) ||
        !server_memory_translate(server, vring->used, &setup.device))
        return error_set(err, EFAULT, "queue %u is not in the memory given", index);
    ret = server_inflight_record(server, index, &server->records[index], err);
    if (ret)
        return ret;
    taken_over = server->records[index].region && !inflight_is_fresh(server->records[index].region);
    read_used_index(server, setup.device, &vring->position);
    ret = backend->ops->queue_start(backend, &setup, vring->position, vring->kick_fd, err);
    if (ret)
        return ret;
    vring->running = true;
    event_signal(vring->kick_fd); /* there may be buffers already */
    if (taken_over)               /* and used ones that nobody was told of */
        server_tell_call(server, index);
    return 0;
}

static void vring_stop(struct vhost_user_server *server, uint16_t index)
{
    struct vhost_user_vring *vring = &server->vrings[index];
    struct virtio_backend *backend = server->config.backend;

    if (vring->running)
        vring->position = backend->ops->queue_stop(backend, index);
    vring->running = false;
}

int server_vrings_update(struct vhost_user_server *server, struct error *err)
{
    for (uint16_t i = 0; i < server->config.queue_count; i++) {
        bool ready = vring_ready(server, &server->vrings[i]);
        int ret = 0;

        if (server->vrings[i].running && !ready)
            vring_stop(server, i);
        else if (!server->vrings[i].running && ready)
            ret = vring_start(server, i, err);
        if (ret)
            return ret;
    }
    return 0;
}

void server_vrings_stop(struct vhost_user_server *server)
{
    for (uint16_t i = 0; i < server->config.queue_count; i++)
        vring_stop(server, i);
}

static void forget_kick(struct vhost_user_vring *vring)
{
    if (vring->kick_fd >= 0)
        close(vring->kick_fd);
    vring->kick_fd = -1;
}

void server_vrings_disable(struct vhost_user_server *server)
{
    server_vrings_stop(server);
    for (uint16_t i = 0; i < server->config.queue_count; i++) {
        struct vhost_user_vring *vring = &server->vrings[i];

        forget_kick(vring);
        vring->enabled = false;
        vring->position = (struct virtqueue_position){0, 0};
        atomic_store(&vring->call_due, false);
        atomic_store(&vring->error_due, false);
    }
}

void server_vrings_reset(struct vhost_user_server *server)
{
    server_vrings_disable(server);
    for (uint16_t i = 0; i < server->config.queue_count; i++) {
        struct vhost_user_vring *vring = &server->vrings[i];

        (void)replace_fd(vring->call_fd, -1, NULL);
        (void)replace_fd(vring->err_fd, -1, NULL);
        atomic_store(&vring->call_inband, false);
        atomic_store(&vring->error_inband, false);
        vring->size = 0;
        vring->addressed = false;
    }
}

/* --- requests --------------------------------------------------------------------------------- */

/* Whether it is one that changes how a vring runs: then it may not run meanwhile. */
static bool request_reconfigures(uint32_t request)
{
    return request == VHOST_USER_SET_VRING_NUM || request == VHOST_USER_SET_VRING_ADDR ||
           request == VHOST_USER_SET_VRING_BASE || request == VHOST_USER_GET_VRING_BASE ||
           request == VHOST_USER_SET_VRING_KICK;
}

static int set_size(struct vhost_user_vring *vring, uint32_t size, struct error *err)
{
    if (size == 0 || size > VIRTQUEUE_SIZE_MAX)
        return error_set(err, EINVAL, "SET_VRING_NUM of %u", size);
    vring->size = (uint16_t)size;
    return 0;
}

static void set_addresses(struct vhost_user_vring *vring,
                          const struct vhost_user_vring_address *address)
{
    vring->descriptor = address->descriptor;
    vring->available = address->available;
    vring->used = address->used;
    vring->addressed = true;
}

/* The descriptor of a SET_VRING_KICK, _CALL or _ERR; -1 when NOFD says that there is none. */
static int take_event_fd(struct vhost_user_message *message, int *out, struct error *err)
{
    bool none = message->payload.u64 & VHOST_USER_VRING_NOFD;

    if (message->payload.u64 & ~(uint64_t)(VHOST_USER_VRING_NOFD | VHOST_USER_VRING_INDEX))
        return error_set(err, EINVAL, "%s with flags that mean nothing",
                         vhost_user_request_name(message->header.request, false));
    if (none != (message->fd_count == 0))
        return error_set(err, EPROTO, "%s contradicts itself about its descriptor",
                         vhost_user_request_name(message->header.request, false));
    *out = vhost_user_take_fd(message, 0);
    /* Whatever it is, writing to it must not hold us up. */
    if (*out >= 0 && fcntl(*out, F_SETFL, O_NONBLOCK) < 0) {
        close(*out);
        return error_errno(err, errno, "%s with a descriptor that blocks",
                           vhost_user_request_name(message->header.request, false));
    }
    return 0;
}

static int set_kick(const struct vhost_user_server *server, struct vhost_user_vring *vring, int fd,
                    struct error *err)
{
    if (fd < 0 && !server_has(server, VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS))
        return error_set(err, EOPNOTSUPP, "a vring without a kick descriptor");
    if (fd < 0) /* what VRING_KICK signals */
        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_errno(err, errno, "cannot make an eventfd");
    forget_kick(vring);
    vring->kick_fd = fd;
    return 0;
}

static int set_event_fd(const struct vhost_user_server *server, struct vhost_user_vring *vring,
                        struct vhost_user_message *message, struct error *err)
{
    bool inband = server_has(server, VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS);
    int fd = -1, ret = take_event_fd(message, &fd, err);

    if (ret)
        return ret;
    switch (message->header.request) {
    case VHOST_USER_SET_VRING_CALL:
        atomic_store(&vring->call_inband, inband && fd < 0);
        return replace_fd(vring->call_fd, fd, err);
    case VHOST_USER_SET_VRING_ERR:
        atomic_store(&vring->error_inband, inband && fd < 0);
        return replace_fd(vring->err_fd, fd, err);
    default:
        return set_kick(server, vring, fd, err);
    }
}

/* The message, for those who sent no descriptor; harmless from others. */
static int kick(const struct vhost_user_vring *vring, struct error *err)
{
    if (!vring->running)
        return error_set(err, EINVAL, "VRING_KICK of a vring that does not run");
    event_signal(vring->kick_fd);
    return 0;
}

static int queue_index(const struct vhost_user_message *message)
{
    switch (message->header.request) {
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        return (int)(message->payload.u64 & VHOST_USER_VRING_INDEX);
    default: /* the first field of all others */
        return (int)MIN(message->payload.state.index, UINT32_C(0xffff));
    }
}

int server_vring_request(struct vhost_user_server *server, struct vhost_user_message *message,
                         struct error *err)
{
    uint32_t num = message->payload.state.num;
    int index = queue_index(message);
    struct vhost_user_vring *vring;

    if (index >= server->config.queue_count)
        return error_set(err, EINVAL, "%s of queue %d, of %u",
                         vhost_user_request_name(message->header.request, false), index,
                         server->config.queue_count);
    vring = &server->vrings[index];
    if (request_reconfigures(message->header.request))
        vring_stop(server, (uint16_t)index);
    switch (message->header.request) {
    case VHOST_USER_SET_VRING_NUM:
        return set_size(vring, num, err);
    case VHOST_USER_SET_VRING_ADDR:
        set_addresses(vring, &message->payload.address);
        return server_vrings_update(server, err);
    case VHOST_USER_SET_VRING_BASE:
        vring->position = virtqueue_position_of_base(num, server_is_packed(server));
        return 0;
    case VHOST_USER_GET_VRING_BASE: /* it stops until the next kick descriptor */
        message->payload.state.num =
            virtqueue_position_base(vring->position, server_is_packed(server));
        server_inflight_settle(server, (uint16_t)index);
        forget_kick(vring);
        return 0;
    case VHOST_USER_VRING_KICK:
        return kick(vring, err);
    case VHOST_USER_SET_VRING_ENABLE:
        vring->enabled = num != 0;
        return server_vrings_update(server, err);
    default: {
        int ret = set_event_fd(server, vring, message, err);

        return ret ? ret : server_vrings_update(server, err);
    }
    }
}

/* --- life ------------------------------------------------------------------------------------- */

int server_vrings_create(struct vhost_user_server *server, struct error *err)
{
    for (uint16_t i = 0; i < server->config.queue_count; i++)
        server->vrings[i].kick_fd = server->vrings[i].call_fd = server->vrings[i].err_fd = -1;
    for (uint16_t i = 0; i < server->config.queue_count; i++) {
        struct vhost_user_vring *vring = &server->vrings[i];

        vring->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        vring->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vring->call_fd < 0 || vring->err_fd < 0)
            return error_errno(err, errno, "cannot make an eventfd");
    }
    return 0;
}

void server_vrings_destroy(struct vhost_user_server *server)
{
    server_vrings_stop(server);
    for (uint16_t i = 0; i < server->config.queue_count; i++) {
        const int fds[] = {server->vrings[i].kick_fd, server->vrings[i].call_fd,
                           server->vrings[i].err_fd};

        for (size_t j = 0; j < ARRAY_SIZE(fds); j++)
            if (fds[j] >= 0)
                close(fds[j]);
    }
}
