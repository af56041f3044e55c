/*
 * The front end's log of dirty pages: kept while there is one and SET_FEATURES says LOG_ALL.
 */
#include "transport/vhost_user_server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int server_log_update(struct vhost_user_server *server, struct error *err)
{
    struct virtio_backend *backend = server->config.backend;
    bool on = server->log.bits && server->features >> VHOST_F_LOG_ALL & 1;

    return backend->ops->dirty_log(backend, on ? &server->log : NULL, err);
}

/* The log changes only while nobody marks in it. */
static void pause_marking(struct vhost_user_server *server)
{
    struct virtio_backend *backend = server->config.backend;

    if (server->log.bits)
        (void)backend->ops->dirty_log(backend, NULL, NULL);
}

static void forget_signal(struct vhost_user_server *server)
{
    if (server->log_signal_fd >= 0)
        close(server->log_signal_fd);
    server->log_signal_fd = -1;
}

void server_log_forget(struct vhost_user_server *server)
{
    pause_marking(server);
    dirty_log_destroy(&server->log);
    forget_signal(server);
}

int server_log_set(struct vhost_user_server *server, struct vhost_user_message *message,
                   struct error *err)
{
    const struct vhost_user_log *wanted = &message->payload.log;
    int fd = vhost_user_take_fd(message, 0), ret;
    struct dirty_log log;

    message->fd_count = 0; /* none goes with the answer */
    ret = dirty_log_open(&log, fd, wanted->offset, wanted->size, err);
    if (fd >= 0)
        close(fd);
    if (ret)
        return ret;
    pause_marking(server);
    dirty_log_destroy(&server->log);
    server->log = log;
    server->log.signal_fd = server->log_signal_fd;
    return server_log_update(server, err);
}

int server_log_set_signal(struct vhost_user_server *server, struct vhost_user_message *message,
                          struct error *err)
{
    int fd = vhost_user_take_fd(message, 0);

    if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        close(fd);
        return error_errno(err, errno, "SET_LOG_FD with a descriptor that blocks");
    }
    pause_marking(server);
    forget_signal(server);
    server->log_signal_fd = server->log.signal_fd = fd;
    return server_log_update(server, err);
}
