/*
 * Venus, Vulkan for guests: it runs in a process of virglrenderer's own, one for each context,
 * which virgl_render_server makes.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *find_server(void)
{
    static const char *const places[] = {
        "/usr/libexec/virgl_render_server",
        "/usr/local/libexec/virgl_render_server",
        "/usr/lib/virglrenderer/virgl_render_server",
    };

    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

static int spawn(const char *path, int theirs, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    char socket_fd[] = "3";
    char option[] = "--socket-fd";
    char *const argv[] = {(char *)path, option, socket_fd, NULL};
    int ret;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0); /* a terminal's Ctrl-C is not for it */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&actions, theirs, 3);
    ret = posix_spawn(pid, path, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -ret;
}

int virgl_venus_start(struct gpu_renderer *r, int *server, struct error *err)
{
    const char *path = find_server();
    int fds[2], ret;

    if (!path)
        return error_set(err, ENOENT,
                         "venus=on needs virgl_render_server (Debian: package virgl-server)");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return error_errno(err, errno, "cannot make a socket for %s", path);
    ret = spawn(path, fds[1], &r->venus);
    close(fds[1]);
    if (ret < 0) {
        r->venus = -1;
        close(fds[0]);
        return error_errno(err, -ret, "cannot start %s", path);
    }
    *server = fds[0];
    return 0;
}

void virgl_venus_stop(struct gpu_renderer *r)
{
    if (r->venus < 0)
        return;
    kill(-r->venus, SIGKILL);
    kill(r->venus, SIGKILL);
    waitpid(r->venus, NULL, 0);
    r->venus = -1;
}
