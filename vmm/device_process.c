#include "vmm/device_process.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/thread.h"
#include "vmm/arguments.h"
#include "vmm/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS    10000 /* to open a file on a network may take a while */
#define END_MS       5000
#define CLOSING_MS   500
#define KEEPER_STACK (64 * 1024)

struct device_process {
    const char *name; /* of the device; borrowed */
    char **arguments;
    bool supervised;
    unsigned hang_ms; /* 0: it may be deaf for ever */

    pthread_mutex_t lock;   /* for all below */
    pthread_cond_t changed; /* it was started, or it has ended */
    pthread_t keeper;
    bool kept;      /* there is a keeper, to be joined */
    bool starting;  /* which has yet to say how the start went */
    bool stopping;  /* it is to end: see is_news */
    int sent;       /* the last signal it was sent; 0: none */
    pid_t pid;      /* 0: there is none */
    int supervisor; /* our end; -1: none */
    bool started;
    char ended[64]; /* how the last one ended; "": it has not */
};

/* --- its end ---------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void describe_end(struct device_process *process, int status)
{
    if (WIFSIGNALED(status))
        snprintf(process->ended, sizeof(process->ended), "was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(process->ended, sizeof(process->ended), "ended with status %d",
                 WEXITSTATUS(status));
}

/* Under the lock. That it ends is expected of one that is being stopped, but not that a signal ends
 * it which it was not sent: such a one had ended, or was about to, before it was asked to. */
static bool is_news(const struct device_process *process, int status)
{
    if (!process->stopping)
        return status != 0;
    return WIFSIGNALED(status) && WTERMSIG(status) != process->sent;
}

/* Under the lock, with a process. */
static void send_signal(struct device_process *process, int number)
{
    process->sent = number;
    kill(process->pid, number);
}

/* Whether it has left our last word to it where it is; and another one. Under the lock, so that
 * nobody has just asked it something. */
static bool is_deaf(const struct device_process *process)
{
    int unread = 0;

    if (process->supervisor < 0 || ioctl(process->supervisor, SIOCOUTQ, &unread) < 0)
        return false;
    if (unread == 0)
        (void)send(process->supervisor, SUPERVISOR_ALIVE, strlen(SUPERVISOR_ALIVE),
                   MSG_DONTWAIT | MSG_NOSIGNAL);
    return unread > 0;
}

/* Now and then, on the keeper. */
static void watch(struct device_process *process, pid_t pid)
{
    /* Whoever has the lock may be asking it, and sees to it. */
    if (pthread_mutex_trylock(&process->lock))
        return;
    if (is_deaf(process)) {
        log_warn("device", "%s: its process %d hangs: it is killed", process->name, pid);
        send_signal(process, SIGKILL);
    }
    pthread_mutex_unlock(&process->lock);
}

static void wait_and_watch(struct device_process *process, pid_t pid)
{
    struct pollfd end = {.fd = process->hang_ms ? pidfd_open(pid, 0) : -1, .events = POLLIN};
    siginfo_t info;

    while (end.fd >= 0 && poll(&end, 1, (int)process->hang_ms) <= 0)
        watch(process, pid);
    close_fd(&end.fd);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
}

/* On the keeper. Its ID is nobody else's until it is reaped, which others cannot see half done. */
static void keep_until_end(struct device_process *process, pid_t pid)
{
    int status = 0;

    wait_and_watch(process, pid);
    pthread_mutex_lock(&process->lock);
    waitpid(pid, &status, 0);
    describe_end(process, status);
    log_at(is_news(process, status) ? LOG_WARN : LOG_INFO, "device", "%s: its process %d %s",
           process->name, pid, process->ended);
    process->pid = 0;
    pthread_cond_broadcast(&process->changed);
    pthread_mutex_unlock(&process->lock);
}

/* Under the lock. False: it runs on. */
static bool wait_for_end(struct device_process *process, unsigned patience_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += patience_ms / 1000;
    until.tv_nsec += (long)(patience_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (process->pid &&
           pthread_cond_clockwait(&process->changed, &process->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    return !process->pid;
}

/* Its socket is closed, which is the end of ours; others may know SIGTERM only. */
static void stop(struct device_process *process)
{
    bool kept;

    pthread_mutex_lock(&process->lock);
    process->stopping = true;
    close_fd(&process->supervisor);
    if (process->pid && !process->supervised)
        send_signal(process, SIGTERM);
    if (!wait_for_end(process, END_MS)) {
        log_warn("device", "%s: its process %d does not end: it is killed", process->name,
                 process->pid);
        send_signal(process, SIGKILL);
    }
    kept = process->kept;
    process->kept = false;
    pthread_mutex_unlock(&process->lock);
    if (kept)
        pthread_join(process->keeper, NULL);
}

void device_process_explain(struct device_process *process, struct error *err)
{
    bool lost = err->code == ECONNRESET || err->code == EPIPE;

    pthread_mutex_lock(&process->lock);
    /* A process closes its sockets a little before it has ended. */
    if (lost)
        wait_for_end(process, CLOSING_MS);
    if (process->ended[0] && (!process->supervised || lost))
        error_prefix(err, "'%s' %s", process->arguments[0], process->ended);
    pthread_mutex_unlock(&process->lock);
}

/* --- the supervisor's socket ------------------------------------------------------------------ */

/* One packet, as text. It comes from a process that may have been taken over. */
static int receive_answer(struct device_process *process, struct error *err)
{
    struct pollfd ready = {.fd = process->supervisor, .events = POLLIN};
    char text[SUPERVISOR_PACKET_MAX + 1];
    ssize_t got = -1;

    if (poll(&ready, 1, ANSWER_MS) == 0)
        return error_set(err, ETIMEDOUT, "the process that serves it does not answer");
    got = recv(process->supervisor, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (got <= 0)
        return error_set(err, ECONNRESET, "the process that serves it is gone");
    text[got] = '\0';
    if (strcmp(text, SUPERVISOR_OK) == 0)
        return 0;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    if (strncmp(text, SUPERVISOR_ERROR, strlen(SUPERVISOR_ERROR)) == 0)
        return error_set(err, EINVAL, "%s", text + strlen(SUPERVISOR_ERROR));
    return error_set(err, EPROTO, "the process that serves it talks nonsense");
}

/* Under the lock. One that does not answer, or not so, is ended: nobody knows what it does now, and
 * what it says next would be taken for the answer to something else. */
static int await_answer(struct device_process *process, struct error *err)
{
    int ret = receive_answer(process, err);

    if ((ret == -ETIMEDOUT || ret == -EPROTO) && process->pid)
        send_signal(process, SIGKILL);
    return ret;
}

/* Under the lock. */
static int ask(struct device_process *process, const char *request, struct error *err)
{
    if (process->supervisor < 0)
        return error_set(err, ENOTCONN, "nobody serves the device");
    if (send(process->supervisor, request, strlen(request), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return error_errno(err, errno, "cannot ask the process that serves it");
    return await_answer(process, err);
}

int device_process_start(struct device_process *process, struct error *err)
{
    int ret = 0;

    pthread_mutex_lock(&process->lock);
    if (process->supervised)
        ret = ask(process, SUPERVISOR_START, err);
    process->started = !ret;
    pthread_mutex_unlock(&process->lock);
    return ret;
}

int device_process_command(struct device_process *process, const char *name, const char *argument,
                           struct error *err)
{
    char request[SUPERVISOR_PACKET_MAX];
    int ret;

    if (!process->supervised)
        return error_set(err, ENOENT, "%s takes no commands", process->name);
    if ((size_t)snprintf(request, sizeof(request), SUPERVISOR_COMMAND "%s %s", name, argument) >=
        sizeof(request))
        return error_set(err, EINVAL, "a command that is too long");
    pthread_mutex_lock(&process->lock);
    ret = ask(process, request, err);
    pthread_mutex_unlock(&process->lock);
    return ret;
}

/* --- its beginning ---------------------------------------------------------------------------- */

/* The arguments with what it inherits: a socket, and its supervisor's or -1. */
static int complete_arguments(const struct device_process *process, const int fds[2], char ***out,
                              struct error *err)
{
    int ret = 0;

    *out = NULL;
    for (size_t i = 0; process->arguments[i] && !ret; i++)
        ret = arguments_add(out, err, "%s", process->arguments[i]);
    if (!ret)
        ret = arguments_add(out, err, "--fd=%d", fds[0]);
    if (!ret && fds[1] >= 0)
        ret = arguments_add(out, err, "--supervisor=%d", fds[1]);
    if (ret)
        arguments_free(*out);
    return ret;
}

/* In the child: nothing here may take a lock that another thread has held. */
static _Noreturn void become(char **arguments, const int fds[2])
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            fcntl(fds[i], F_SETFD, 0);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
        execv(arguments[0], arguments);
    _exit(127);
}

static void close_pair(const int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

struct beginning {
    struct device_process *process;
    char **arguments;
    const int *fds; /* its ends of the sockets */
    pid_t pid;      /* or a negative errno */
};

/* From the start of a process to its end. `beginning` is gone once it was told of. */
static void *keeper_main(void *arg)
{
    struct beginning *beginning = arg;
    struct device_process *process = beginning->process;
    pid_t pid = isolate_clone(process->name, process->supervised);

    if (pid == 0)
        become(beginning->arguments, beginning->fds);
    pthread_mutex_lock(&process->lock);
    beginning->pid = pid;
    process->pid = pid > 0 ? pid : 0;
    process->starting = false;
    pthread_cond_broadcast(&process->changed);
    pthread_mutex_unlock(&process->lock);
    if (pid > 0)
        keep_until_end(process, pid);
    return NULL;
}

/* Under the lock. */
static int start_keeper(struct device_process *process, struct beginning *beginning,
                        struct error *err)
{
    int ret = thread_start(&process->keeper, "keeper", KEEPER_STACK, keeper_main, beginning);

    if (ret)
        return error_errno(err, -ret, "cannot start a thread");
    process->kept = process->starting = true;
    process->stopping = false;
    process->sent = 0;
    process->ended[0] = '\0';
    while (process->starting)
        pthread_cond_wait(&process->changed, &process->lock);
    if (beginning->pid < 0)
        return error_errno(err, -beginning->pid, "cannot start '%s'", process->arguments[0]);
    log_info("device", "%s: is served by process %d ('%s')", process->name, beginning->pid,
             process->arguments[0]);
    return 0;
}

static int spawn(struct device_process *process, const int fds[2], struct error *err)
{
    struct beginning beginning = {.process = process, .fds = fds};
    int ret = complete_arguments(process, fds, &beginning.arguments, err);

    if (ret)
        return ret;
    ret = start_keeper(process, &beginning, err);
    arguments_free(beginning.arguments);
    return ret;
}

/* Under the lock. `ours`: our ends. */
static int begin(struct device_process *process, const int ours[2], const int theirs[2],
                 struct error *err)
{
    int ret = spawn(process, theirs, err);

    process->supervisor = ours[1];
    /* If it ends, nobody else has its end. */
    close_pair(theirs);
    if (!ret && process->supervised)
        ret = await_answer(process, err);
    if (!ret && process->supervised && process->started)
        ret = ask(process, SUPERVISOR_START, err);
    return ret;
}

/* Two pairs, the second one for a supervised process only: each side's ends. */
static int make_sockets(const struct device_process *process, int ours[2], int theirs[2],
                        struct error *err)
{
    int pair[2];

    ours[0] = ours[1] = theirs[0] = theirs[1] = -1;
    for (int i = 0; i < (process->supervised ? 2 : 1); i++) {
        if (socketpair(AF_UNIX, (i ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, pair) < 0) {
            close_pair(ours);
            close_pair(theirs);
            return error_errno(err, errno, "cannot make a socket");
        }
        ours[i] = pair[0];
        theirs[i] = pair[1];
    }
    return 0;
}

int device_process_connect(struct device_process *process, struct error *err)
{
    int ours[2], theirs[2], ret;

    stop(process);
    ret = make_sockets(process, ours, theirs, err);
    if (ret)
        return ret;
    pthread_mutex_lock(&process->lock);
    ret = begin(process, ours, theirs, err);
    pthread_mutex_unlock(&process->lock);
    if (!ret)
        return ours[0];
    close(ours[0]);
    stop(process);
    return ret;
}

int device_process_create(const char *name, char **arguments, bool supervised, unsigned hang_ms,
                          struct device_process **out, struct error *err)
{
    struct device_process *process = calloc(1, sizeof(*process));

    if (!process) {
        arguments_free(arguments);
        return error_set(err, ENOMEM, "no memory for a process");
    }
    *process = (struct device_process){
        .name = name,
        .arguments = arguments,
        .supervised = supervised,
        .hang_ms = hang_ms,
        .supervisor = -1,
    };
    pthread_mutex_init(&process->lock, NULL);
    pthread_cond_init(&process->changed, NULL);
    *out = process;
    return 0;
}

void device_process_destroy(struct device_process *process)
{
    if (!process)
        return;
    stop(process);
    pthread_cond_destroy(&process->changed);
    pthread_mutex_destroy(&process->lock);
    arguments_free(process->arguments);
    free(process);
}

/* --- as the back end has it ------------------------------------------------------------------- */

static int process_connect(void *process, struct error *err)
{
    return device_process_connect(process, err);
}

static int process_start(void *process, struct error *err)
{
    return device_process_start(process, err);
}

static int process_command(void *process, const char *name, const char *argument, struct error *err)
{
    return device_process_command(process, name, argument, err);
}

struct vhost_user_process device_process_callbacks(struct device_process *process)
{
    return (struct vhost_user_process){process_connect, process_start, process_command, process};
}
