/*
 * The state of a vhost-user device (DEVICE_STATE): bytes that only peers understand, through a pipe
 * one end of which the peer gets. Whoever writes closes its end; then the front end asks whether
 * all went well.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK (64 * KIB)

/* Until the pipe is ready, after `done` bytes since `began`: each MiB may take as long as a
 * request, for the device waits meanwhile. */
static int wait_for(int fd, short events, uint64_t began, size_t done, struct error *err)
{
    struct pollfd ready = {.fd = fd, .events = events};
    uint64_t patience = UINT64_C(1000000) * VHOST_USER_PATIENCE_MS * (1 + done / MIB), past;
    int ret;

    do {
        past = loop_now_ns() - began;
        ret = past < patience ? poll(&ready, 1, (int)((patience - past) / 1000000 + 1)) : 0;
    } while (ret < 0 && errno == EINTR);
    return ret == 1 ? 0 : error_set(err, ETIMEDOUT, "its state does not come through");
}

/* Hand over an end of a pipe. The peer may answer with a descriptor that it would rather see used:
 * not by us, whom it could block with one that it has, too. */
static int begin(struct vhost_user *v, uint32_t direction, int fd, struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_SET_DEVICE_STATE_FD,
                   .size = sizeof(struct vhost_user_device_state)},
        .payload.device_state = {direction, VHOST_USER_STATE_STOPPED},
        .fds = {fd},
        .fd_count = 1,
    };
    int ret = vhost_user_ask(v, &message, err);

    if (ret)
        return ret;
    vhost_user_close_fds(&message);
    if (message.payload.u64 & VHOST_USER_STATE_ERROR ||
        !(message.payload.u64 & VHOST_USER_STATE_NOFD))
        return error_set(err, ENOTSUP, "it cannot %s its state now",
                         direction == VHOST_USER_STATE_SAVE ? "save" : "load");
    return 0;
}

static int check(struct vhost_user *v, struct error *err)
{
    uint64_t result = 0;
    int ret = vhost_user_ask_u64(v, VHOST_USER_CHECK_DEVICE_STATE, &result, err);

    return !ret && result ? error_set(err, EIO, "its state was not transferred") : ret;
}

static int grow(struct virtio_state *state, size_t *room, struct error *err)
{
    uint8_t *bytes;

    if (state->length + CHUNK <= *room)
        return 0;
    *room += MAX(*room, (size_t)CHUNK);
    bytes = realloc(state->bytes, *room);
    if (!bytes)
        return error_set(err, ENOMEM, "no memory for a device's state");
    state->bytes = bytes;
    return 0;
}

/* To its end. */
static int read_state(int fd, struct virtio_state *out, struct error *err)
{
    uint64_t began = loop_now_ns();
    size_t room = 0;

    for (;;) {
        int ret = grow(out, &room, err);
        ssize_t got;

        if (!ret)
            ret = wait_for(fd, POLLIN, began, out->length, err);
        if (ret)
            return ret;
        got = read(fd, out->bytes + out->length, CHUNK);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return error_errno(err, errno, "cannot read a device's state");
        out->length += got > 0 ? (size_t)got : 0;
        if (out->length > VIRTIO_STATE_MAX)
            return error_set(err, EFBIG, "its state has more than %u bytes", VIRTIO_STATE_MAX);
    }
}

static int write_state(int fd, const struct virtio_state *state, struct error *err)
{
    uint64_t began = loop_now_ns();
    size_t done = 0;

    while (done < state->length) {
        int ret = wait_for(fd, POLLOUT, began, done, err);
        ssize_t sent;

        if (ret)
            return ret;
        sent = write(fd, state->bytes + done, state->length - done);
        if (sent < 0 && errno != EINTR && errno != EAGAIN)
            return error_errno(err, errno, "cannot write a device's state");
        done += sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

/* Our end does not block; the peer's is its own affair. */
static int make_pipe(int ends[2], int ours, struct error *err)
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "cannot make a pipe");
    (void)fcntl(ends[ours], F_SETFL, O_NONBLOCK);
    return 0;
}

int vhost_user_save_state(struct vhost_user *v, struct virtio_state *out, struct error *err)
{
    int ends[2], ret = make_pipe(ends, 0, err);

    if (ret)
        return ret;
    *out = (struct virtio_state){NULL, 0};
    ret = begin(v, VHOST_USER_STATE_SAVE, ends[1], err);
    close(ends[1]);
    if (!ret)
        ret = read_state(ends[0], out, err);
    close(ends[0]);
    if (!ret)
        ret = check(v, err);
    if (ret) {
        free(out->bytes);
        *out = (struct virtio_state){NULL, 0};
    }
    return ret;
}

int vhost_user_load_state(struct vhost_user *v, const struct virtio_state *state, struct error *err)
{
    int ends[2], ret = make_pipe(ends, 1, err);

    if (ret)
        return ret;
    ret = begin(v, VHOST_USER_STATE_LOAD, ends[0], err);
    close(ends[0]);
    if (!ret)
        ret = write_state(ends[1], state, err);
    close(ends[1]);
    return ret ? ret : check(v, err);
}
