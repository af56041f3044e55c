#include "devices/net/user/internal.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Our threads block all signals, and SIGPIPE is ignored: a command starts as from a login shell. */
static void set_signals(posix_spawnattr_t *attributes)
{
    sigset_t signals;

    sigemptyset(&signals);
    posix_spawnattr_setsigmask(attributes, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(attributes, &signals);
    posix_spawnattr_setflags(attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
}

/* The shell ends at once, and what it started is nobody's child, so that nobody has to wait for it.
 * A shell gives such a command /dev/null to read, unless told otherwise. */
static int spawn_detached(const char *command, int stream)
{
    char *shell[] = {"sh", "-c", NULL, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;
    int ret;

    if (asprintf(&shell[2], "{ %s\n} <&3 3<&- &", command) < 0)
        return ENOMEM;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, stream, 3);
    posix_spawn_file_actions_adddup2(&actions, stream, STDOUT_FILENO);
    posix_spawnattr_init(&attributes);
    set_signals(&attributes);
    ret = posix_spawn(&pid, "/bin/sh", &actions, &attributes, shell, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(shell[2]);
    while (!ret && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return ret;
}

int user_command_start(const char *command)
{
    int pair[2], ret;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    ret = spawn_detached(command, pair[1]);
    close(pair[1]);
    if (!ret)
        return pair[0];
    close(pair[0]);
    return -1;
}
