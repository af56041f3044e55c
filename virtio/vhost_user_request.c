/*
 * Requests to the peer, and their answers.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "virtio/device.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#define PROTOCOL_BIT (UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES)

/* Some peers touch all memory before they answer (DPDK): so many more ms for each MiB of it. */
#define MEMORY_PATIENCE_MS 10

/* What any request takes is no waiting: there may be many, of many queues. */
#define WORK_NS UINT64_C(5000000)

static unsigned patience_ms(const struct vhost_user *v)
{
    uint64_t now = loop_now_ns();

    if (!v->deadline_ns)
        return VHOST_USER_PATIENCE_MS;
    return now < v->deadline_ns ? (unsigned)((v->deadline_ns - now) / 1000000) : 0;
}

/* Time has passed since `began`, of which so much at most is not the deadline's. */
static void allow(struct vhost_user *v, uint64_t began, uint64_t most_ns)
{
    if (v->deadline_ns)
        v->deadline_ns += MIN(loop_now_ns() - began, most_ns);
}

static void await_memory(struct vhost_user *v)
{
    struct pollfd answer = {.fd = v->socket.fd, .events = POLLIN};
    uint64_t ms = guest_memory_size(v->backend.memory) / MIB * MEMORY_PATIENCE_MS;
    uint64_t began = loop_now_ns();

    (void)poll(&answer, 1, (int)MIN(ms, (uint64_t)INT_MAX)); /* what fails here fails again */
    allow(v, began, UINT64_MAX);
}

static int receive_answer(struct vhost_user *v, uint32_t request, bool acknowledgement,
                          struct vhost_user_message *answer, struct error *err)
{
    int ret = v->meanwhile ? v->meanwhile(v, err) : 0;

    if (ret)
        return ret;
    if (request == VHOST_USER_SET_MEM_TABLE)
        await_memory(v);
    ret = vhost_user_receive_within(v->socket.fd, answer, patience_ms(v), err);
    if (ret == 0)
        return error_set(err, ECONNRESET, "it closed the connection");
    if (ret < 0)
        return ret;
    ret = vhost_user_check_answer(answer, request, acknowledgement, err);
    if (ret)
        vhost_user_close_fds(answer);
    return ret;
}

/* After an error nobody knows what comes next on the channel. */
static int give_up(struct vhost_user *v, uint32_t request, int ret, struct error *err)
{
    error_prefix(err, "%s", vhost_user_request_name(request, false));
    if (ret == -EPROTO || ret == -ETIMEDOUT)
        v->given_up = true;
    vhost_user_disconnect(v);
    return ret;
}

/* Send a request, and receive into `answer` the one it has, unless that is NULL. */
static int exchange(struct vhost_user *v, struct vhost_user_message *message, uint32_t flags,
                    struct vhost_user_message *answer, struct error *err)
{
    uint32_t request = message->header.request;
    uint64_t began = loop_now_ns();
    int ret;

    if (v->socket.fd < 0 || v->lost)
        return error_set(err, ENOTCONN, "nobody serves the device");
    message->header.flags = VHOST_USER_VERSION | flags;
    ret = vhost_user_send_within(v->socket.fd, message, patience_ms(v), err);
    if (!ret && answer)
        ret = receive_answer(v, request, flags & VHOST_USER_FLAG_NEED_REPLY, answer, err);
    allow(v, began, WORK_NS);
    return ret ? give_up(v, request, ret, err) : 0;
}

int vhost_user_ask(struct vhost_user *v, struct vhost_user_message *message, struct error *err)
{
    return exchange(v, message, 0, message, err);
}

int vhost_user_tell(struct vhost_user *v, struct vhost_user_message *message, struct error *err)
{
    uint32_t request = message->header.request;
    bool acknowledged = vhost_user_has(v, VHOST_USER_PROTOCOL_F_REPLY_ACK);
    struct vhost_user_message answer;
    int ret = exchange(v, message, acknowledged ? VHOST_USER_FLAG_NEED_REPLY : 0,
                       acknowledged ? &answer : NULL, err);

    if (ret)
        return ret;
    return acknowledged && answer.payload.u64
               ? error_set(err, EINVAL, "%s was refused", vhost_user_request_name(request, false))
               : 0;
}

int vhost_user_tell_u64(struct vhost_user *v, enum vhost_user_request request, uint64_t value,
                        struct error *err)
{
    struct vhost_user_message message = {.header = {.request = request, .size = sizeof(value)},
                                         .payload.u64 = value};

    return vhost_user_tell(v, &message, err);
}

int vhost_user_ask_u64(struct vhost_user *v, enum vhost_user_request request, uint64_t *value,
                       struct error *err)
{
    struct vhost_user_message message = {.header = {.request = request}};
    int ret = vhost_user_ask(v, &message, err);

    if (!ret)
        *value = message.payload.u64;
    return ret;
}

int vhost_user_tell_state(struct vhost_user *v, enum vhost_user_request request, uint32_t index,
                          uint32_t num, struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = request, .size = sizeof(struct vhost_user_vring_state)},
        .payload.state = {index, num},
    };

    return vhost_user_tell(v, &message, err);
}

/* With STATUS the peer can refuse what was chosen, as a device does (3.1.1). Old drivers know no
 * FEATURES_OK. */
static int tell_features_ok(struct vhost_user *v, struct error *err)
{
    uint64_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;
    int ret;

    if (features_has(&v->negotiated, VIRTIO_F_VERSION_1))
        status |= VIRTIO_STATUS_FEATURES_OK;
    v->status = (uint8_t)status;
    ret = vhost_user_tell_u64(v, VHOST_USER_SET_STATUS, status, err);
    if (!ret)
        ret = vhost_user_ask_u64(v, VHOST_USER_GET_STATUS, &status, err);
    if (!ret && v->status & ~status & VIRTIO_STATUS_FEATURES_OK)
        ret = error_set(err, EINVAL, "it refuses the driver's features");
    return ret;
}

int vhost_user_tell_features(struct vhost_user *v, struct error *err)
{
    /* Bits that are the transport's, such as RING_RESET, may be none of the peer's. */
    uint64_t features = (v->negotiated.word[0] & v->offered.word[0]) |
                        (uint64_t)(v->negotiated.word[1] & v->offered.word[1]) << 32;

    if (v->log)
        features |= UINT64_C(1) << VHOST_F_LOG_ALL;
    return vhost_user_tell_u64(v, VHOST_USER_SET_FEATURES, features | PROTOCOL_BIT, err);
}

int vhost_user_set_features(struct vhost_user *v, struct error *err)
{
    int ret = vhost_user_tell_features(v, err);

    if (!ret && vhost_user_has(v, VHOST_USER_PROTOCOL_F_STATUS))
        ret = tell_features_ok(v, err);
    return ret;
}

int vhost_user_driver_ok(struct vhost_user *v, struct error *err)
{
    if (!vhost_user_has(v, VHOST_USER_PROTOCOL_F_STATUS) || v->status & VIRTIO_STATUS_DRIVER_OK)
        return 0;
    v->status |= VIRTIO_STATUS_DRIVER_OK;
    return vhost_user_tell_u64(v, VHOST_USER_SET_STATUS, v->status, err);
}
