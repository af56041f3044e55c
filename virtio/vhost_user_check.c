/*
 * What each vhost-user request and its answer have to look like, and which need a protocol feature.
 */
#include "virtio/vhost_user_channel.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>

struct request_kind {
    const char *name;
    uint16_t size_min, size_max; /* of the payload */
    uint8_t fds_min, fds_max;
};

#define U64           sizeof(uint64_t)
#define EXACT(type)   sizeof(type), sizeof(type)
#define FROM_TO(a, b) (a), (b)
#define NONE          0, 0

/* A kick, call or error descriptor may be missing: then NOFD says so. */
static const struct request_kind front_requests[VHOST_USER_REQUESTS] = {
    [VHOST_USER_GET_FEATURES] = {"GET_FEATURES", NONE, NONE},
    [VHOST_USER_SET_FEATURES] = {"SET_FEATURES", U64, U64, NONE},
    [VHOST_USER_SET_OWNER] = {"SET_OWNER", NONE, NONE},
    [VHOST_USER_RESET_OWNER] = {"RESET_OWNER", NONE, NONE},
    [VHOST_USER_SET_MEM_TABLE] = {"SET_MEM_TABLE", FROM_TO(U64, sizeof(struct vhost_user_memory)),
                                  FROM_TO(0, VHOST_USER_REGIONS)},
    [VHOST_USER_SET_LOG_BASE] = {"SET_LOG_BASE", EXACT(struct vhost_user_log), FROM_TO(0, 1)},
    [VHOST_USER_SET_LOG_FD] = {"SET_LOG_FD", FROM_TO(0, U64), FROM_TO(0, 1)},
    [VHOST_USER_SET_VRING_NUM] = {"SET_VRING_NUM", EXACT(struct vhost_user_vring_state), NONE},
    [VHOST_USER_SET_VRING_ADDR] = {"SET_VRING_ADDR", EXACT(struct vhost_user_vring_address), NONE},
    [VHOST_USER_SET_VRING_BASE] = {"SET_VRING_BASE", EXACT(struct vhost_user_vring_state), NONE},
    [VHOST_USER_GET_VRING_BASE] = {"GET_VRING_BASE", EXACT(struct vhost_user_vring_state), NONE},
    [VHOST_USER_SET_VRING_KICK] = {"SET_VRING_KICK", U64, U64, FROM_TO(0, 1)},
    [VHOST_USER_SET_VRING_CALL] = {"SET_VRING_CALL", U64, U64, FROM_TO(0, 1)},
    [VHOST_USER_SET_VRING_ERR] = {"SET_VRING_ERR", U64, U64, FROM_TO(0, 1)},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", NONE, NONE},
    [VHOST_USER_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64, U64, NONE},
    [VHOST_USER_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", NONE, NONE},
    [VHOST_USER_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", EXACT(struct vhost_user_vring_state),
                                     NONE},
    [VHOST_USER_SEND_RARP] = {"SEND_RARP", U64, U64, NONE},
    [VHOST_USER_NET_SET_MTU] = {"NET_SET_MTU", U64, U64, NONE},
    [VHOST_USER_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", FROM_TO(0, U64), 1, 1},
    [VHOST_USER_SET_VRING_ENDIAN] = {"SET_VRING_ENDIAN", EXACT(struct vhost_user_vring_state),
                                     NONE},
    [VHOST_USER_GET_CONFIG] = {"GET_CONFIG",
                               FROM_TO(VHOST_USER_CONFIG_HEADER, sizeof(struct vhost_user_config)),
                               NONE},
    [VHOST_USER_SET_CONFIG] = {"SET_CONFIG",
                               FROM_TO(VHOST_USER_CONFIG_HEADER, sizeof(struct vhost_user_config)),
                               NONE},
    [VHOST_USER_GET_INFLIGHT_FD] = {"GET_INFLIGHT_FD", 20, sizeof(struct vhost_user_inflight),
                                    NONE},
    [VHOST_USER_SET_INFLIGHT_FD] = {"SET_INFLIGHT_FD", 20, sizeof(struct vhost_user_inflight), 1,
                                    1},
    [VHOST_USER_GPU_SET_SOCKET] = {"GPU_SET_SOCKET", FROM_TO(0, U64), 1, 1},
    [VHOST_USER_RESET_DEVICE] = {"RESET_DEVICE", NONE, NONE},
    [VHOST_USER_VRING_KICK] = {"VRING_KICK", EXACT(struct vhost_user_vring_state), NONE},
    [VHOST_USER_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", NONE, NONE},
    [VHOST_USER_ADD_MEM_REG] = {"ADD_MEM_REG", EXACT(struct vhost_user_single_region), 1, 1},
    [VHOST_USER_REM_MEM_REG] = {"REM_MEM_REG", EXACT(struct vhost_user_single_region),
                                FROM_TO(0, 1)},
    [VHOST_USER_SET_STATUS] = {"SET_STATUS", U64, U64, NONE},
    [VHOST_USER_GET_STATUS] = {"GET_STATUS", NONE, NONE},
    [VHOST_USER_SET_DEVICE_STATE_FD] = {"SET_DEVICE_STATE_FD",
                                        EXACT(struct vhost_user_device_state), 1, 1},
    [VHOST_USER_CHECK_DEVICE_STATE] = {"CHECK_DEVICE_STATE", NONE, NONE},
    [VHOST_USER_GET_SHMEM_CONFIG] = {"GET_SHMEM_CONFIG", NONE, NONE},
};

static const struct request_kind back_requests[VHOST_USER_BACKEND_REQUESTS] = {
    [VHOST_USER_BACKEND_CONFIG_CHANGE_MSG] = {"CONFIG_CHANGE_MSG", NONE, NONE},
    [VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG] = {"VRING_HOST_NOTIFIER_MSG",
                                                    EXACT(struct vhost_user_area), FROM_TO(0, 1)},
    [VHOST_USER_BACKEND_VRING_CALL] = {"VRING_CALL", EXACT(struct vhost_user_vring_state), NONE},
    [VHOST_USER_BACKEND_VRING_ERR] = {"VRING_ERR", EXACT(struct vhost_user_vring_state), NONE},
    [VHOST_USER_BACKEND_SHMEM_MAP] = {"SHMEM_MAP", EXACT(struct vhost_user_mapping), 1, 1},
    [VHOST_USER_BACKEND_SHMEM_UNMAP] = {"SHMEM_UNMAP", EXACT(struct vhost_user_mapping), NONE},
};

/* Answers of a request's own. */
static const struct answer_kind {
    uint16_t size_min, size_max;
    uint8_t fds_max;
} answers[VHOST_USER_REQUESTS] = {
    [VHOST_USER_GET_FEATURES] = {U64, U64, 0},
    [VHOST_USER_GET_VRING_BASE] = {EXACT(struct vhost_user_vring_state), 0},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {U64, U64, 0},
    [VHOST_USER_GET_QUEUE_NUM] = {U64, U64, 0},
    [VHOST_USER_GET_CONFIG] = {FROM_TO(0, sizeof(struct vhost_user_config)), 0},
    [VHOST_USER_GET_INFLIGHT_FD] = {FROM_TO(20, sizeof(struct vhost_user_inflight)), 1},
    [VHOST_USER_GET_MAX_MEM_SLOTS] = {U64, U64, 0},
    [VHOST_USER_GET_STATUS] = {U64, U64, 0},
    [VHOST_USER_SET_DEVICE_STATE_FD] = {U64, U64, 1},
    [VHOST_USER_CHECK_DEVICE_STATE] = {U64, U64, 0},
    [VHOST_USER_GET_SHMEM_CONFIG] = {FROM_TO(U64, sizeof(struct vhost_user_shmem_config)), 0},
};

#define NEEDS(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)

static const uint64_t front_needs[VHOST_USER_REQUESTS] = {
    [VHOST_USER_GET_QUEUE_NUM] = NEEDS(MQ),
    [VHOST_USER_SEND_RARP] = NEEDS(RARP),
    [VHOST_USER_NET_SET_MTU] = NEEDS(MTU),
    [VHOST_USER_SET_BACKEND_REQ_FD] = NEEDS(BACKEND_REQ),
    [VHOST_USER_GET_CONFIG] = NEEDS(CONFIG),
    [VHOST_USER_SET_CONFIG] = NEEDS(CONFIG),
    [VHOST_USER_GET_INFLIGHT_FD] = NEEDS(INFLIGHT_SHMFD),
    [VHOST_USER_SET_INFLIGHT_FD] = NEEDS(INFLIGHT_SHMFD),
    [VHOST_USER_RESET_DEVICE] = NEEDS(RESET_DEVICE),
    [VHOST_USER_VRING_KICK] = NEEDS(INBAND_NOTIFICATIONS),
    [VHOST_USER_GET_MAX_MEM_SLOTS] = NEEDS(CONFIGURE_MEM_SLOTS),
    [VHOST_USER_ADD_MEM_REG] = NEEDS(CONFIGURE_MEM_SLOTS),
    [VHOST_USER_REM_MEM_REG] = NEEDS(CONFIGURE_MEM_SLOTS),
    [VHOST_USER_SET_STATUS] = NEEDS(STATUS),
    [VHOST_USER_GET_STATUS] = NEEDS(STATUS),
    [VHOST_USER_SET_DEVICE_STATE_FD] = NEEDS(DEVICE_STATE),
    [VHOST_USER_CHECK_DEVICE_STATE] = NEEDS(DEVICE_STATE),
    [VHOST_USER_GET_SHMEM_CONFIG] = NEEDS(SHMEM),
};

static const uint64_t back_needs[VHOST_USER_BACKEND_REQUESTS] = {
    [VHOST_USER_BACKEND_CONFIG_CHANGE_MSG] = NEEDS(CONFIG),
    [VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG] = NEEDS(HOST_NOTIFIER) | NEEDS(BACKEND_SEND_FD),
    [VHOST_USER_BACKEND_VRING_CALL] = NEEDS(INBAND_NOTIFICATIONS),
    [VHOST_USER_BACKEND_VRING_ERR] = NEEDS(INBAND_NOTIFICATIONS),
    [VHOST_USER_BACKEND_SHMEM_MAP] = NEEDS(SHMEM) | NEEDS(BACKEND_SEND_FD),
    [VHOST_USER_BACKEND_SHMEM_UNMAP] = NEEDS(SHMEM),
};

static const struct request_kind *kind_of(uint32_t request, bool backend)
{
    const struct request_kind *kinds = backend ? back_requests : front_requests;
    size_t count = backend ? ARRAY_SIZE(back_requests) : ARRAY_SIZE(front_requests);

    return request < count && kinds[request].name ? &kinds[request] : NULL;
}

const char *vhost_user_request_name(uint32_t request, bool backend)
{
    static _Thread_local char text[32];
    const struct request_kind *kind = kind_of(request, backend);

    if (kind)
        return kind->name;
    snprintf(text, sizeof(text), "request %u", request);
    return text;
}

int vhost_user_check(const struct vhost_user_message *message, bool backend, struct error *err)
{
    const struct request_kind *kind = kind_of(message->header.request, backend);
    uint32_t size = message->header.size;

    if (!kind)
        return error_set(err, EOPNOTSUPP, "request %u is not known", message->header.request);
    if (message->header.flags & VHOST_USER_FLAG_REPLY)
        return error_set(err, EPROTO, "%s is marked as a reply", kind->name);
    if (size < kind->size_min || size > kind->size_max)
        return error_set(err, EPROTO, "%s with %u bytes", kind->name, size);
    if (message->fd_count < kind->fds_min || message->fd_count > kind->fds_max)
        return error_set(err, EPROTO, "%s with %u descriptors", kind->name, message->fd_count);
    return 0;
}

int vhost_user_check_answer(const struct vhost_user_message *answer, uint32_t request,
                            bool acknowledgement, struct error *err)
{
    static const struct answer_kind of_acknowledgements = {U64, U64, 0};
    const struct answer_kind *kind = acknowledgement ? &of_acknowledgements : &answers[request];

    if (answer->header.request != request || !(answer->header.flags & VHOST_USER_FLAG_REPLY))
        return error_set(err, EPROTO, "something else was answered");
    if (answer->header.size < kind->size_min || answer->header.size > kind->size_max)
        return error_set(err, EPROTO, "an answer of %u bytes", answer->header.size);
    if (answer->fd_count > kind->fds_max)
        return error_set(err, EPROTO, "an answer with %u descriptors", answer->fd_count);
    return 0;
}

bool vhost_user_has_answer(uint32_t request)
{
    return request < VHOST_USER_REQUESTS && answers[request].size_max;
}

bool vhost_user_allowed(uint32_t request, bool backend, uint64_t protocol_features)
{
    size_t count = backend ? ARRAY_SIZE(back_needs) : ARRAY_SIZE(front_needs);
    const uint64_t *needs = backend ? back_needs : front_needs;

    return request >= count || (needs[request] & ~protocol_features) == 0;
}
