/*
 * Asking a program what it is. It may be anything: so it is given little time, and little room.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "base/module.h"
#include "vmm/discovery.h"
#include "vmm/discovery/discovery_json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX  65536
#define PATIENCE_NS UINT64_C(5000000000)

extern char **environ;

/* All it says, as far as there is room; -ETIMEDOUT. */
static ssize_t read_answer(int fd, char *text, size_t room, uint64_t deadline)
{
    size_t done = 0;

    while (done < room) {
        uint64_t now = loop_now_ns();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (now >= deadline || poll(&ready, 1, (int)((deadline - now) / 1000000) + 1) == 0)
            return -ETIMEDOUT;
        got = read(fd, text + done, room - done);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return -errno;
        done += (size_t)MAX(got, (ssize_t)0);
    }
    return (ssize_t)done;
}

/* Its wait status. It may have closed its output, or said too much, and not end. */
static int await_end(pid_t pid, uint64_t deadline)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int status = 0;
    pid_t ended;

    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && loop_now_ns() < deadline)
        nanosleep(&pause, NULL);
    if (ended != 0)
        return status;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Run it with its output in `text`: how much there is. */
static ssize_t ask(const char *program, char *text, size_t room, struct error *err)
{
    char *arguments[] = {(char *)(uintptr_t)program, (char[]){"--print-capabilities"}, NULL};
    posix_spawn_file_actions_t actions;
    ssize_t length;
    uint64_t deadline;
    int pipe[2], ret, status;
    pid_t pid;

    if (pipe2(pipe, O_CLOEXEC) < 0)
        return error_errno(err, errno, "cannot make a pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
    ret = posix_spawn(&pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe[1]);
    if (ret) {
        close(pipe[0]);
        return error_errno(err, ret, "cannot run '%s'", program);
    }
    deadline = loop_now_ns() + PATIENCE_NS;
    length = read_answer(pipe[0], text, room, deadline);
    close(pipe[0]);
    status = await_end(pid, length < 0 ? 0 : deadline);
    if (length < 0)
        return error_errno(err, (int)-length, "'%s' does not tell its capabilities", program);
    if (status || !length || (size_t)length == room)
        return error_set(err, EINVAL, "'%s' does not tell its capabilities", program);
    return length;
}

static int parse_type(char *text, size_t length, char **type, struct error *err)
{
    const struct discovery_module *json;
    struct module module;
    int ret = module_load(&module, "discovery", err);
    FILE *in;

    if (ret)
        return ret;
    json = module.table;
    in = fmemopen(text, length, "r");
    ret = in ? json->read_capabilities(in, type, err) : error_errno(err, errno, "no memory");
    if (in)
        fclose(in);
    module_unload(&module);
    return ret;
}

int discovery_check(const char *program, const char *type, struct error *err)
{
    char *text = malloc(ANSWER_MAX), *found = NULL;
    ssize_t length = text ? ask(program, text, ANSWER_MAX, err)
                          : error_set(err, ENOMEM, "no memory for a program's capabilities");
    int ret = (int)MIN(length, (ssize_t)0);

    if (!ret) {
        ret = parse_type(text, (size_t)length, &found, err);
        if (ret)
            error_prefix(err, "the capabilities of '%s'", program);
    }
    if (!ret && strcmp(found, discovery_type(type)) != 0)
        ret = error_set(err, EINVAL, "'%s' serves devices of type %s, not %s", program, found,
                        discovery_type(type));
    free(found);
    free(text);
    return ret;
}
