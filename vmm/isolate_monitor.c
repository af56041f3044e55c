#include "vmm/isolate_monitor.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "vmm/exit_status.h"
#include "vmm/isolate.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int exit_status_of(int status)
{
    return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Until the child has ended. */
static int relay_signals(pid_t child, const sigset_t *set)
{
    int status;

    for (;;) {
        int signal = sigwaitinfo(set, NULL);

        if (signal == SIGCHLD && waitpid(child, &status, WNOHANG) == child)
            return status;
        if (signal > 0 && signal != SIGCHLD)
            kill(child, SIGTERM);
    }
}

int isolate_monitor(const char *name, char **arguments, const char *path, struct error *err)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    sigset_t set, before;
    int status;
    pid_t child;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, &before);
    child = isolate_clone(name, true);
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        execv(arguments[0], arguments);
        _exit(EXIT_HOST_FAILURE);
    }
    if (child < 0)
        return error_errno(err, -child, "cannot start '%s'", arguments[0]);
    status = relay_signals(child, &set);
    if (path)
        unix_socket_remove_stale(path);
    if (WIFSIGNALED(status))
        log_warn("isolate", "%s: its process %d was ended by signal %d (%s)", name, child,
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    return exit_status_of(status);
}
