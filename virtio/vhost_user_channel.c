#include "virtio/vhost_user_channel.h"

#include "base/bytes.h"
#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- bytes and descriptors -------------------------------------------------------------------- */

/* Wait until the socket can be read or written, or the deadline is over. */
static int wait_for(int socket, short events, uint64_t deadline_ns)
{
    uint64_t now = loop_now_ns();
    int left = now < deadline_ns ? (int)((deadline_ns - now + 999999) / 1000000) : 0;
    struct pollfd ready = {.fd = socket, .events = events};
    int ret = poll(&ready, 1, left);

    if (ret < 0)
        return errno == EINTR ? 0 : -errno;
    return ret ? 0 : -ETIMEDOUT;
}

static uint64_t patience_ends(unsigned patience_ms)
{
    return loop_now_ns() + UINT64_C(1000000) * patience_ms;
}

/* Keep what there is room for, close the rest: then it is no message. */
static int take_control(struct msghdr *msg, struct vhost_user_message *message)
{
    int ret = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (message->fd_count < VHOST_USER_FDS_MAX) {
                message->fds[message->fd_count++] = fd;
            } else {
                close(fd);
                ret = -EPROTO;
            }
        }
    }
    return ret;
}

/* Receive exactly `length` bytes, and whatever descriptors come with them: 1, 0 for the end before
 * the first byte, or a negative errno. */
static int receive_all(int socket, void *data, size_t length, struct vhost_user_message *message,
                       uint64_t deadline_ns)
{
    union {
        char bytes[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    size_t done = 0;

    while (done < length) {
        struct iovec iov = {(char *)data + done, length - done};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control)};
        ssize_t got = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        int ret = 0;

        if (got > 0) {
            done += (size_t)got;
            ret = take_control(&msg, message);
        } else if (got == 0) {
            return done ? -ECONNRESET : 0;
        } else if (errno == EAGAIN) {
            ret = wait_for(socket, POLLIN, deadline_ns);
        } else if (errno != EINTR) {
            ret = -errno;
        }
        if (ret)
            return ret;
    }
    return 1;
}

static int check_header(const struct vhost_user_header *header, struct error *err)
{
    if ((header->flags & VHOST_USER_FLAG_VERSION) != VHOST_USER_VERSION)
        return error_set(err, EPROTO, "a message of version %u",
                         header->flags & VHOST_USER_FLAG_VERSION);
    if (header->size > sizeof(union vhost_user_payload))
        return error_set(err, EPROTO, "a message of %u bytes", header->size);
    return 0;
}

/* Header and payload; 1, 0 for the end before the first byte, or a negative errno. */
static int receive_message(int socket, struct vhost_user_message *message, unsigned patience_ms,
                           struct error *err)
{
    uint64_t deadline = patience_ends(patience_ms);
    int ret = receive_all(socket, &message->header, sizeof(message->header), message, deadline);

    if (ret > 0) {
        ret = check_header(&message->header, err);
        if (ret)
            return ret;
        ret = receive_all(socket, &message->payload, message->header.size, message, deadline);
        if (ret == 0 && message->header.size)
            ret = -ECONNRESET;
        else if (ret == 0)
            ret = 1;
    }
    return ret < 0 ? error_errno(err, -ret, "cannot receive a message") : ret;
}

int vhost_user_receive_within(int socket, struct vhost_user_message *message, unsigned patience_ms,
                              struct error *err)
{
    int ret;

    *message = (struct vhost_user_message){0};
    ret = receive_message(socket, message, patience_ms, err);
    if (ret <= 0)
        vhost_user_close_fds(message);
    return ret;
}

int vhost_user_receive(int socket, struct vhost_user_message *message, struct error *err)
{
    return vhost_user_receive_within(socket, message, VHOST_USER_PATIENCE_MS, err);
}

/* What is left to send after `done` bytes. */
static unsigned rest_of(const struct vhost_user_message *message, size_t done, struct iovec iov[2])
{
    const char *header = (const char *)&message->header, *payload = (const char *)&message->payload;
    unsigned count = 0;

    if (done < sizeof(message->header)) {
        iov[count++] =
            (struct iovec){(void *)(uintptr_t)(header + done), sizeof(message->header) - done};
        done = sizeof(message->header);
    }
    done -= sizeof(message->header);
    if (done < message->header.size)
        iov[count++] =
            (struct iovec){(void *)(uintptr_t)(payload + done), message->header.size - done};
    return count;
}

/* The descriptors go with the first byte. */
static ssize_t send_some(int socket, const struct vhost_user_message *message, size_t done)
{
    union {
        char bytes[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    size_t fd_bytes = done ? 0 : message->fd_count * sizeof(int);
    struct iovec iov[2];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = rest_of(message, done, iov)};

    if (fd_bytes) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_bytes);
        *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(fd_bytes), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), message->fds, fd_bytes);
    }
    return sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int vhost_user_send(int socket, const struct vhost_user_message *message, struct error *err)
{
    return vhost_user_send_within(socket, message, VHOST_USER_PATIENCE_MS, err);
}

int vhost_user_send_within(int socket, const struct vhost_user_message *message,
                           unsigned patience_ms, struct error *err)
{
    size_t done = 0, length = sizeof(message->header) + message->header.size;
    uint64_t deadline = patience_ends(patience_ms);

    while (done < length) {
        ssize_t sent = send_some(socket, message, done);
        int ret = 0;

        if (sent >= 0)
            done += (size_t)sent;
        else if (errno == EAGAIN)
            ret = wait_for(socket, POLLOUT, deadline);
        else if (errno != EINTR)
            ret = -errno;
        if (ret)
            return error_errno(err, -ret, "cannot send a message");
    }
    return 0;
}

int vhost_user_take_fd(struct vhost_user_message *message, unsigned index)
{
    int fd = index < message->fd_count ? message->fds[index] : -1;

    if (fd >= 0)
        message->fds[index] = -1;
    return fd;
}

void vhost_user_close_fds(struct vhost_user_message *message)
{
    for (unsigned i = 0; i < message->fd_count; i++)
        if (message->fds[i] >= 0)
            close(message->fds[i]);
    message->fd_count = 0;
}
