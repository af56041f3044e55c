/*
 * The vhost-user protocol: what a front end (a VMM) and a back end (whoever serves a device) say to
 * each other over a Unix socket. Numbers, names and layouts as in the protocol's description (QEMU,
 * docs/interop/vhost-user); all fields are in the machine's own byte order.
 *
 * A message is a header, a payload of `size` bytes, and up to 8 file descriptors that come with the
 * header's first byte. Requests go from the front end to the back end on the main channel, and from
 * the back end to the front end on a second one that the front end hands over (BACKEND_REQ).
 */
#ifndef VIRTIO_VHOST_USER_PROTOCOL_H
#define VIRTIO_VHOST_USER_PROTOCOL_H

#include <stdint.h>

#define VHOST_USER_VERSION    1
#define VHOST_USER_FDS_MAX    8
#define VHOST_USER_REGIONS    8 /* in one SET_MEM_TABLE */
#define VHOST_USER_CONFIG_MAX 256
#define VHOST_USER_SHMEM_MAX  256

enum vhost_user_flag {
    VHOST_USER_FLAG_VERSION = 3, /* a mask */
    VHOST_USER_FLAG_REPLY = 1 << 2,
    VHOST_USER_FLAG_NEED_REPLY = 1 << 3, /* with REPLY_ACK: answer also what has no answer */
};

/* From the front end. */
enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SEND_RARP = 19,
    VHOST_USER_NET_SET_MTU = 20,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_IOTLB_MSG = 22,
    VHOST_USER_SET_VRING_ENDIAN = 23,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_GPU_SET_SOCKET = 33,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_VRING_KICK = 35,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_SET_STATUS = 39,
    VHOST_USER_GET_STATUS = 40,
    VHOST_USER_SET_DEVICE_STATE_FD = 42,
    VHOST_USER_CHECK_DEVICE_STATE = 43,
    VHOST_USER_GET_SHMEM_CONFIG = 44,
    VHOST_USER_REQUESTS /* one more than the last */
};

/* From the back end. */
enum vhost_user_backend_request {
    VHOST_USER_BACKEND_IOTLB_MSG = 1,
    VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
    VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
    VHOST_USER_BACKEND_VRING_CALL = 4,
    VHOST_USER_BACKEND_VRING_ERR = 5,
    VHOST_USER_BACKEND_SHMEM_MAP = 9,
    VHOST_USER_BACKEND_SHMEM_UNMAP = 10,
    VHOST_USER_BACKEND_REQUESTS
};

/* The virtio feature bit that says that there are protocol features. */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

enum vhost_user_protocol_feature {
    VHOST_USER_PROTOCOL_F_MQ = 0,
    VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
    VHOST_USER_PROTOCOL_F_RARP = 2,
    VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
    VHOST_USER_PROTOCOL_F_MTU = 4,
    VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
    VHOST_USER_PROTOCOL_F_CONFIG = 9,
    VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
    VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
    VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
    VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
    VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
    VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
    VHOST_USER_PROTOCOL_F_STATUS = 16,
    VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19,
    VHOST_USER_PROTOCOL_F_GPA_ADDRESSES = 21,
    VHOST_USER_PROTOCOL_F_SHMEM = 22,
};

struct vhost_user_header {
    uint32_t request, flags, size;
};

/* --- payloads --- */

/* SET_VRING_KICK, _CALL, _ERR: a queue's index, and whether there is a descriptor with it. */
#define VHOST_USER_VRING_INDEX 0xff
#define VHOST_USER_VRING_NOFD  0x100

struct vhost_user_vring_state {
    uint32_t index, num;
};

struct vhost_user_vring_address {
    uint32_t index, flags;
    uint64_t descriptor, used, available, log; /* the front end's own addresses */
};
#define VHOST_USER_VRING_F_LOG 1 /* in flags: log writes to the used ring */

struct vhost_user_region {
    uint64_t guest_address, size;
    uint64_t user_address; /* the front end's */
    uint64_t mmap_offset;  /* in the descriptor */
};

struct vhost_user_memory {
    uint32_t count, padding;
    struct vhost_user_region regions[VHOST_USER_REGIONS];
};

struct vhost_user_single_region {
    uint64_t padding;
    struct vhost_user_region region;
};

struct vhost_user_log {
    uint64_t size, offset;
};

struct vhost_user_config {
    uint32_t offset, size, flags; /* flags: 0 by the driver, 1 migration */
    uint8_t bytes[VHOST_USER_CONFIG_MAX];
};
#define VHOST_USER_CONFIG_HEADER 12 /* bytes before `bytes` */

struct vhost_user_inflight {
    uint64_t mmap_size, mmap_offset;
    uint16_t queue_count, queue_size;
};

struct vhost_user_device_state {
    uint32_t direction; /* 0 save, 1 load */
    uint32_t phase;     /* 0: all is stopped */
};
enum vhost_user_state_direction { VHOST_USER_STATE_SAVE, VHOST_USER_STATE_LOAD };
#define VHOST_USER_STATE_STOPPED 0 /* phase */

/* What SET_DEVICE_STATE_FD is answered with. */
#define VHOST_USER_STATE_ERROR UINT64_C(0xff)
#define VHOST_USER_STATE_NOFD  UINT64_C(0x100) /* the front end's descriptor is used */

struct vhost_user_shmem_config {
    uint32_t count, padding;
    uint64_t sizes[VHOST_USER_SHMEM_MAX];
};

/* BACKEND_SHMEM_MAP, _UNMAP */
struct vhost_user_mapping {
    uint8_t id, padding[7];
    uint64_t fd_offset, shm_offset, length, flags;
};
#define VHOST_USER_MAPPING_WRITABLE 1 /* in flags */

/* BACKEND_VRING_HOST_NOTIFIER_MSG */
struct vhost_user_area {
    uint64_t index; /* as in SET_VRING_KICK */
    uint64_t size, offset;
};

union vhost_user_payload {
    uint64_t u64;
    struct vhost_user_vring_state state;
    struct vhost_user_vring_address address;
    struct vhost_user_memory memory;
    struct vhost_user_single_region single_region;
    struct vhost_user_log log;
    struct vhost_user_config config;
    struct vhost_user_inflight inflight;
    struct vhost_user_device_state device_state;
    struct vhost_user_shmem_config shmem_config;
    struct vhost_user_mapping mapping;
    struct vhost_user_area area;
};

#endif
