#include "devices/net/rendezvous.h"

#include "base/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_TRIES \
    100 /* of 1 ms: others hold the lock for as long as it takes to look and listen */

int rendezvous_check(const char *path, struct error *err)
{
    if (!path || !*path)
        return error_set(err, EINVAL, "host=socket needs path=PATH");
    return unix_socket_check(path, err);
}

/* Any program that may read the directory can hold its lock: wait for it, but not for ever. */
static int lock(int fd)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK)
            return -1;
        usleep(1000);
    }
    errno = EBUSY;
    return -1;
}

/* Who looks and then listens must be alone. The directory is locked, so that no file is left. */
static int lock_directory(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *directory = length ? strndup(path, length) : strdup(".");
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd < 0 || lock(fd) < 0) {
        int ret = error_errno(err, errno, "cannot lock the directory of the socket '%s'", path);

        if (fd >= 0)
            close(fd);
        fd = ret;
    }
    free(directory);
    return fd;
}

/* -EAGAIN: nobody is there. */
static int try_connect(const char *path, struct error *err)
{
    int fd = unix_socket_try_connect(path, err);

    if (fd == -EAGAIN)
        return error_set(err, EBUSY, "cannot connect to '%s': who listens there takes nobody now",
                         path);
    return fd == -ENOENT || fd == -ECONNREFUSED ? -EAGAIN : fd;
}

/* With the directory locked: somebody may have come to listen meanwhile. */
static int meet(const char *path, enum net_socket_role role, struct rendezvous *out,
                struct error *err)
{
    int fd = -EAGAIN;

    if (role == NET_SOCKET_AUTO)
        fd = out->peer = try_connect(path, err);
    if (fd == -EAGAIN)
        fd = out->listener = unix_socket_listen(path, err);
    return fd < 0 ? fd : 0;
}

int rendezvous(const char *path, enum net_socket_role role, struct rendezvous *out,
               struct error *err)
{
    int ret, locked;

    *out = (struct rendezvous){-1, -1};
    if (role == NET_SOCKET_CLIENT) {
        out->peer = try_connect(path, err);
        return out->peer < 0 ? out->peer : 0;
    }
    locked = lock_directory(path, err);
    if (locked < 0)
        return locked;
    ret = meet(path, role, out, err);
    close(locked);
    return ret;
}
