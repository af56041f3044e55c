/*
 * The device's state (DEVICE_STATE), through a pipe of the front end's.
 *
 * The loop is never held up by that pipe: what is saved fits one that is empty, or cannot be; what
 * is loaded has to be there, with its end, when the front end asks how it went.
 */
#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* One more than a state can have: what is longer is none. */
#define ROOM (VIRTIO_MODEL_STATE_MAX + 4096)

static bool runs(const struct vhost_user_server *server)
{
    for (uint16_t i = 0; i < server->config.queue_count; i++)
        if (server->vrings[i].running)
            return true;
    return false;
}

/* Files and devices can block whatever their flags are. */
static int check_pipe(int fd, struct error *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0 || (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)) ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return error_set(err, EINVAL, "SET_DEVICE_STATE_FD with what is no pipe");
    return 0;
}

/* The front end can have the pipe block at any time, since it has the file, too. Kernels before 6.4
 * cannot be asked not to. */
static ssize_t read_now(int fd, void *data, size_t length)
{
    const struct iovec iov = {data, length};
    ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

    return got < 0 && errno == EOPNOTSUPP ? read(fd, data, length) : got;
}

static ssize_t write_now(int fd, void *data, size_t length)
{
    const struct iovec iov = {data, length};
    ssize_t sent = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);

    return sent < 0 && errno == EOPNOTSUPP ? write(fd, data, length) : sent;
}

static int save(struct vhost_user_server *server, int fd, struct error *err)
{
    struct virtio_backend *backend = server->config.backend;
    struct virtio_state state;
    ssize_t sent;
    int ret = backend->ops->save(backend, &state, err);

    if (ret)
        return ret;
    sent = write_now(fd, state.bytes, state.length);
    if (sent != (ssize_t)state.length)
        ret = error_set(err, EIO, "the pipe does not take the device's state");
    free(state.bytes);
    return ret;
}

/* The answer's bits; they say all that there is to say. */
static int begin(struct vhost_user_server *server, const struct vhost_user_device_state *wanted,
                 int fd, struct error *err)
{
    int ret = check_pipe(fd, err);

    if (ret)
        return ret;
    if (wanted->phase != VHOST_USER_STATE_STOPPED || runs(server))
        return error_set(err, EBUSY, "SET_DEVICE_STATE_FD while the device runs");
    if (!server->features_set)
        return error_set(err, EINVAL, "SET_DEVICE_STATE_FD before SET_FEATURES");
    if (wanted->direction == VHOST_USER_STATE_SAVE)
        return save(server, fd, err);
    if (wanted->direction != VHOST_USER_STATE_LOAD)
        return error_set(err, EINVAL, "SET_DEVICE_STATE_FD in direction %u", wanted->direction);
    server->load_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return server->load_fd >= 0 ? 0 : error_errno(err, errno, "cannot keep a pipe");
}

uint64_t server_state_transfer(struct vhost_user_server *server, struct vhost_user_message *message,
                               struct error *err)
{
    int fd = vhost_user_take_fd(message, 0);

    server_state_forget(server);
    server->state_result = begin(server, &message->payload.device_state, fd, err);
    close(fd);
    message->fd_count = 0; /* none goes back */
    return VHOST_USER_STATE_NOFD | (server->state_result ? 1 : 0);
}

/* Up to the end of the pipe, which must be there. */
static int read_all(int fd, uint8_t *bytes, size_t *length, struct error *err)
{
    ssize_t got;

    *length = 0;
    do {
        got = read_now(fd, bytes + *length, ROOM - *length);
        *length += got > 0 ? (size_t)got : 0;
    } while (got > 0 && *length < ROOM);
    return got == 0 ? 0 : error_set(err, EIO, "the device's state does not come to its end");
}

static int load(struct vhost_user_server *server, struct error *err)
{
    struct virtio_backend *backend = server->config.backend;
    uint8_t *bytes = malloc(ROOM);
    struct virtio_state state = {.bytes = bytes};
    int ret = bytes ? read_all(server->load_fd, bytes, &state.length, err)
                    : error_set(err, ENOMEM, "no memory for a device's state");

    if (!ret && (runs(server) || !server->features_set))
        ret = error_set(err, EBUSY, "CHECK_DEVICE_STATE while the device runs");
    if (!ret)
        ret = backend->ops->load(backend, &state, err);
    free(bytes);
    return ret;
}

uint64_t server_state_check(struct vhost_user_server *server, struct error *err)
{
    int ret = server->state_result;

    if (server->load_fd >= 0)
        ret = load(server, err);
    else if (ret)
        error_set(err, EINVAL, "CHECK_DEVICE_STATE without a transfer that went well");
    server_state_forget(server);
    return ret ? 1 : 0;
}

void server_state_forget(struct vhost_user_server *server)
{
    if (server->load_fd >= 0)
        close(server->load_fd);
    server->load_fd = -1;
    server->state_result = -EINVAL;
}
