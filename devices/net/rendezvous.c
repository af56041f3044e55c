#include "devices/net/rendezvous.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Who holds the lock does so for a moment: it is tried so often, a millisecond apart. */
#define LOCK_TRIES   50
#define LOCK_WAIT_NS 1000000

int rendezvous_check(const char *path, struct error *err)
{
    struct sockaddr_un address;

    if (!path || !*path)
        return error_set(err, EINVAL, "host=socket needs path=PATH");
    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(err, ENAMETOOLONG, "the socket's path '%s' is longer than %zu bytes", path,
                         sizeof(address.sun_path) - 1);
    return 0;
}

static int lock_patiently(int fd)
{
    for (int tries = 1; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
            return -errno;
        nanosleep(&(struct timespec){.tv_nsec = LOCK_WAIT_NS}, NULL);
    }
    return 0;
}

/* Who looks and then listens must be alone. The directory is locked, so that no file is left.
 * -EAGAIN when somebody does not let go of it: he must not hold up the loop. */
static int lock_directory(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    char directory[sizeof(((struct sockaddr_un *)0)->sun_path)] = ".";
    int fd, ret;

    if (slash) {
        size_t length = MAX((size_t)(slash - path), (size_t)1);
        memcpy(directory, path, length);
        directory[length] = '\0';
    }
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ret = fd < 0 ? -errno : lock_patiently(fd);
    if (ret == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    if (ret == -EAGAIN)
        return ret;
    return error_errno(err, -ret, "cannot lock the directory '%s' of the socket", directory);
}

static int try_connect(int fd, const struct sockaddr_un *address, struct error *err)
{
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
        return 0;
    if (errno == ENOENT || errno == ECONNREFUSED)
        return -EAGAIN;
    if (errno == EAGAIN)
        return error_set(err, EBUSY, "cannot connect to '%s': who listens there takes nobody now",
                         address->sun_path);
    return error_errno(err, errno, "cannot connect to '%s'", address->sun_path);
}

/* With the directory locked: somebody may have come to listen meanwhile. */
static int listen_locked(int fd, const struct sockaddr_un *address, struct error *err)
{
    struct stat status;

    if (lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        /* Left behind when its owner died: nobody answers there. */
        if (probe >= 0 && connect(probe, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
            errno == ECONNREFUSED)
            unlink(address->sun_path);
        if (probe >= 0)
            close(probe);
    }
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 && listen(fd, 1) == 0)
        return 0;
    return error_errno(err, errno, "cannot listen on '%s'", address->sun_path);
}

/* In the descriptor of `out` that is set the socket is left, also on failure. */
static int meet(const struct sockaddr_un *address, enum net_socket_role role,
                struct rendezvous *out, struct error *err)
{
    int lock, ret = -EAGAIN;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    out->peer = fd;
    if (role == NET_SOCKET_CLIENT)
        return try_connect(fd, address, err);
    lock = lock_directory(address->sun_path, err);
    if (lock < 0)
        return lock;
    if (role == NET_SOCKET_AUTO)
        ret = try_connect(fd, address, err);
    if (ret == -EAGAIN) {
        out->listener = fd;
        out->peer = -1;
        ret = listen_locked(fd, address, err);
    }
    close(lock);
    return ret;
}

int rendezvous(const char *path, enum net_socket_role role, struct rendezvous *out,
               struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int ret;

    strcpy(address.sun_path, path);
    *out = (struct rendezvous){-1, -1};
    ret = meet(&address, role, out, err);
    if (ret) {
        int fd = MAX(out->listener, out->peer);
        if (fd >= 0)
            close(fd);
        *out = (struct rendezvous){-1, -1};
    }
    return ret;
}
