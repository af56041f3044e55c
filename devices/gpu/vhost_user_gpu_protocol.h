/*
 * The vhost-user-gpu protocol: what a process that serves a GPU says of its pictures to the front
 * end that shows them, over a socket of its own (VHOST_USER_GPU_SET_SOCKET). Numbers, names and
 * layouts as in the protocol's description (QEMU, docs/interop/vhost-user-gpu); fields are in the
 * machine's own byte order, but for what is taken from the virtio specification.
 *
 *     back end                              front end
 *     GET_DISPLAY_INFO, GET_EDID     -->    answers
 *     SCANOUT, UPDATE, CURSOR_...    -->    shows it
 *     DMABUF_UPDATE                  -->    shows it, and then answers
 *
 * A message is a header and `size` bytes. A descriptor comes with DMABUF_SCANOUT, unless that turns
 * the output off.
 */
#ifndef DEVICES_GPU_VHOST_USER_GPU_PROTOCOL_H
#define DEVICES_GPU_VHOST_USER_GPU_PROTOCOL_H

#include <linux/virtio_gpu.h>
#include <stddef.h>
#include <stdint.h>

enum vhost_user_gpu_request {
    VHOST_USER_GPU_GET_PROTOCOL_FEATURES = 1,
    VHOST_USER_GPU_SET_PROTOCOL_FEATURES = 2,
    VHOST_USER_GPU_GET_DISPLAY_INFO = 3,
    VHOST_USER_GPU_CURSOR_POS = 4,
    VHOST_USER_GPU_CURSOR_POS_HIDE = 5,
    VHOST_USER_GPU_CURSOR_UPDATE = 6,
    VHOST_USER_GPU_SCANOUT = 7,
    VHOST_USER_GPU_UPDATE = 8,
    VHOST_USER_GPU_DMABUF_SCANOUT = 9,
    VHOST_USER_GPU_DMABUF_UPDATE = 10,
    VHOST_USER_GPU_GET_EDID = 11,
    VHOST_USER_GPU_DMABUF_SCANOUT2 = 12,
    VHOST_USER_GPU_REQUESTS /* one more than the last */
};

#define VHOST_USER_GPU_FLAG_REPLY 0x4

/* Bits of GET_PROTOCOL_FEATURES: GET_EDID; DMABUF_SCANOUT2. */
#define VHOST_USER_GPU_PROTOCOL_F_EDID    0
#define VHOST_USER_GPU_PROTOCOL_F_DMABUF2 1

#define VHOST_USER_GPU_CURSOR_SIZE 64 /* pixels, width and height */

struct vhost_user_gpu_header {
    uint32_t request, flags, size;
};

struct vhost_user_gpu_cursor_pos {
    uint32_t scanout_id;
    uint32_t x, y; /* of the hot spot; signed in truth */
};

struct vhost_user_gpu_cursor_update {
    struct vhost_user_gpu_cursor_pos pos;
    uint32_t hot_x, hot_y;
    uint32_t pixels[VHOST_USER_GPU_CURSOR_SIZE * VHOST_USER_GPU_CURSOR_SIZE]; /* ARGB8888 */
};

struct vhost_user_gpu_scanout {
    uint32_t scanout_id;
    uint32_t width, height; /* 0 by 0: it is off */
};

/* With UPDATE, the pixels follow: XRGB8888, without gaps. */
struct vhost_user_gpu_update {
    uint32_t scanout_id;
    uint32_t x, y, width, height;
};

struct vhost_user_gpu_dmabuf_scanout {
    uint32_t scanout_id;
    uint32_t x, y, width, height; /* what is shown of the buffer; 0 by 0: the output is off */
    uint32_t fd_width, fd_height, fd_stride;
    uint32_t fd_flags; /* bit 0: the first row is the lowest */
    int32_t fd_drm_fourcc;
};

struct __attribute__((packed, aligned(4))) vhost_user_gpu_dmabuf_scanout2 {
    struct vhost_user_gpu_dmabuf_scanout dmabuf;
    uint64_t modifier;
};

struct vhost_user_gpu_edid_request {
    uint32_t scanout_id;
};

/* The payload begins 12 bytes into a message, whatever is in it. */
union __attribute__((packed, aligned(4))) vhost_user_gpu_payload {
    uint64_t u64;
    struct vhost_user_gpu_cursor_pos cursor_pos;
    struct vhost_user_gpu_cursor_update cursor_update;
    struct vhost_user_gpu_scanout scanout;
    struct vhost_user_gpu_update update;
    struct vhost_user_gpu_dmabuf_scanout dmabuf_scanout;
    struct vhost_user_gpu_dmabuf_scanout2 dmabuf_scanout2;
    struct vhost_user_gpu_edid_request edid_request;
    struct virtio_gpu_resp_display_info display_info;
    struct virtio_gpu_resp_edid edid;
};

struct vhost_user_gpu_message {
    struct vhost_user_gpu_header header;
    union vhost_user_gpu_payload payload;
};

_Static_assert(sizeof(struct vhost_user_gpu_dmabuf_scanout2) == 48, "as the protocol has it");
_Static_assert(offsetof(struct vhost_user_gpu_message, payload) == 12, "as the protocol has it");

#endif
