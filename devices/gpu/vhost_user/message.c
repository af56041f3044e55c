#include "devices/gpu/vhost_user/message.h"

#include "base/bytes.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- what they look like ---------------------------------------------------------------------- */

#define ANSWER_NONE UINT16_MAX

static const struct message_kind {
    uint16_t size;   /* of the request's payload, without pixels */
    uint16_t answer; /* of the answer's; ANSWER_NONE: it has none */
} kinds[VHOST_USER_GPU_REQUESTS] = {
    [VHOST_USER_GPU_GET_PROTOCOL_FEATURES] = {0, sizeof(uint64_t)},
    [VHOST_USER_GPU_SET_PROTOCOL_FEATURES] = {sizeof(uint64_t), ANSWER_NONE},
    [VHOST_USER_GPU_GET_DISPLAY_INFO] = {0, sizeof(struct virtio_gpu_resp_display_info)},
    [VHOST_USER_GPU_CURSOR_POS] = {sizeof(struct vhost_user_gpu_cursor_pos), ANSWER_NONE},
    [VHOST_USER_GPU_CURSOR_POS_HIDE] = {sizeof(struct vhost_user_gpu_cursor_pos), ANSWER_NONE},
    [VHOST_USER_GPU_CURSOR_UPDATE] = {sizeof(struct vhost_user_gpu_cursor_update), ANSWER_NONE},
    [VHOST_USER_GPU_SCANOUT] = {sizeof(struct vhost_user_gpu_scanout), ANSWER_NONE},
    [VHOST_USER_GPU_UPDATE] = {sizeof(struct vhost_user_gpu_update), ANSWER_NONE},
    [VHOST_USER_GPU_DMABUF_SCANOUT] = {sizeof(struct vhost_user_gpu_dmabuf_scanout), ANSWER_NONE},
    [VHOST_USER_GPU_DMABUF_UPDATE] = {sizeof(struct vhost_user_gpu_update), 0},
    [VHOST_USER_GPU_GET_EDID] = {sizeof(struct vhost_user_gpu_edid_request),
                                 sizeof(struct virtio_gpu_resp_edid)},
    [VHOST_USER_GPU_DMABUF_SCANOUT2] = {sizeof(struct vhost_user_gpu_dmabuf_scanout2), ANSWER_NONE},
};

int gpu_message_fixed(const struct vhost_user_gpu_header *header, bool answers)
{
    const struct message_kind *kind;
    uint32_t size;

    if (header->request == 0 || header->request >= VHOST_USER_GPU_REQUESTS)
        return -EPROTO;
    kind = &kinds[header->request];
    size = answers ? kind->answer : kind->size;
    if (size == ANSWER_NONE || (answers && !(header->flags & VHOST_USER_GPU_FLAG_REPLY)))
        return -EPROTO;
    if (header->size != size && (answers || header->request != VHOST_USER_GPU_UPDATE))
        return -EPROTO;
    return header->size < size ? -EPROTO : (int)size;
}

/* --- in --------------------------------------------------------------------------------------- */

/* The first descriptor is kept when there is none yet; others are closed. */
static void take_descriptors(struct msghdr *message, int *kept)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            if (*kept < 0)
                *kept = fd;
            else
                close(fd);
        }
    }
}

ssize_t gpu_receive_bytes(int socket, const struct iovec *iov, size_t count, int *fd)
{
    union {
        struct cmsghdr header; /* aligns it */
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = count,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control),
    };
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    take_descriptors(&message, fd);
    return got ? got : -ECONNRESET;
}

void gpu_receiver_init(struct gpu_receiver *r)
{
    r->got = 0;
    r->fd = -1;
}

/* Bring what there is of the message up to `length`: as gpu_receive. */
static int receive_to(int socket, struct gpu_receiver *r, size_t length)
{
    while (r->got < length) {
        const struct iovec iov = {(uint8_t *)&r->message + r->got, length - r->got};
        ssize_t got = gpu_receive_bytes(socket, &iov, 1, &r->fd);

        if (got <= 0)
            return (int)got;
        r->got += (size_t)got;
    }
    return 1;
}

int gpu_receive(int socket, struct gpu_receiver *r, bool answers)
{
    int ret = receive_to(socket, r, sizeof(r->message.header)), fixed;

    if (ret <= 0)
        return ret;
    fixed = gpu_message_fixed(&r->message.header, answers);
    if (fixed < 0)
        return fixed;
    return receive_to(socket, r, sizeof(r->message.header) + (size_t)fixed);
}

int gpu_receiver_take_fd(struct gpu_receiver *r)
{
    int fd = r->fd;

    r->fd = -1;
    return fd;
}

void gpu_receiver_next(struct gpu_receiver *r)
{
    if (r->fd >= 0)
        close(r->fd);
    gpu_receiver_init(r);
}

/* --- out -------------------------------------------------------------------------------------- */

ssize_t gpu_send_bytes(int socket, const struct iovec *iov, size_t count, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
    ssize_t sent;

    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return sent;
}

void gpu_sender_begin(struct gpu_sender *s, enum vhost_user_gpu_request request, size_t size,
                      uint64_t tail)
{
    s->message.header = (struct vhost_user_gpu_header){request, 0, (uint32_t)(size + tail)};
    s->length = sizeof(s->message.header) + size;
    s->sent = 0;
    s->fd = -1;
}

int gpu_send(int socket, struct gpu_sender *s)
{
    while (s->sent < s->length) {
        const struct iovec iov = {(uint8_t *)&s->message + s->sent, s->length - s->sent};
        ssize_t sent = gpu_send_bytes(socket, &iov, 1, s->sent ? -1 : s->fd);

        if (sent <= 0)
            return (int)sent;
        s->sent += (size_t)sent;
    }
    return 1;
}
