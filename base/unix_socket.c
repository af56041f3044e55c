#include "base/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8

static int address_make(struct sockaddr_un *address, const char *path, struct error *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address->sun_path))
        return error_set(err, ENAMETOOLONG, "the socket's path '%s' is longer than %zu bytes", path,
                         sizeof(address->sun_path) - 1);
    strcpy(address->sun_path, path);
    return 0;
}

int unix_socket_check(const char *path, struct error *err)
{
    struct sockaddr_un address;

    return address_make(&address, path, err);
}

/* A socket's name stays behind when its owner dies; then nobody answers there. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat status;
    int fd;

    if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

void unix_socket_remove_stale(const char *path)
{
    struct sockaddr_un address;

    if (address_make(&address, path, NULL) == 0)
        remove_stale(&address);
}

int unix_socket_listen(const char *path, struct error *err)
{
    struct sockaddr_un address;
    int ret = address_make(&address, path, err);
    int fd;

    if (ret)
        return ret;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    remove_stale(&address);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    ret = error_errno(err, errno, "cannot listen on '%s'", path);
    close(fd);
    return ret;
}

/* With `flags` for the socket besides close-on-exec. */
static int connect_to(const char *path, int flags, struct error *err)
{
    struct sockaddr_un address;
    int ret = address_make(&address, path, err);
    int fd;

    if (ret)
        return ret;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0)
        return fd;
    ret = error_errno(err, errno, "cannot connect to '%s'", path);
    close(fd);
    return ret;
}

int unix_socket_connect(const char *path, struct error *err)
{
    return connect_to(path, 0, err);
}

int unix_socket_try_connect(const char *path, struct error *err)
{
    return connect_to(path, SOCK_NONBLOCK, err);
}
