#include "vmm/device_program_supervised.h"

#include "base/bytes.h"
#include "base/option.h"
#include "vmm/device_process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int supervised_open(struct supervised *supervised, const char *fd, struct error *err)
{
    uint64_t number;
    int ret = option_parse_uint("--supervisor", fd, 0, INT32_MAX, &number, err);

    if (ret)
        return ret;
    supervised->fd.fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
    return supervised->fd.fd < 0 ? error_errno(err, errno, "--supervisor %s", fd) : 0;
}

void supervised_tell(const struct supervised *supervised, int ret, const struct error *err)
{
    char text[SUPERVISOR_PACKET_MAX];

    snprintf(text, sizeof(text), "%s%s", ret ? SUPERVISOR_ERROR : SUPERVISOR_OK,
             ret ? err->text : "");
    /* If it does not listen, it is gone, and the loop hears of that. */
    (void)send(supervised->fd.fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int obey(struct supervised *supervised, char *request, struct error *err)
{
    char *name, *argument;

    if (strcmp(request, SUPERVISOR_START) == 0)
        return supervised->start(supervised->opaque, err);
    if (strncmp(request, SUPERVISOR_COMMAND, strlen(SUPERVISOR_COMMAND)) != 0)
        return error_set(err, EINVAL, "'%s' is nothing that can be asked for", request);
    name = request + strlen(SUPERVISOR_COMMAND);
    argument = strchrnul(name, ' ');
    if (*argument)
        *argument++ = '\0';
    return supervised->command(supervised->opaque, name, argument, err);
}

static void supervisor_ready(struct loop_fd *self, uint32_t events)
{
    struct supervised *supervised = container_of(self, struct supervised, fd);
    struct error err = ERROR_INIT;
    char request[SUPERVISOR_PACKET_MAX];
    ssize_t got = recv(self->fd, request, sizeof(request) - 1, MSG_DONTWAIT);

    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        supervised->ended(supervised->opaque);
        return;
    }
    request[got] = '\0';
    if (strcmp(request, SUPERVISOR_ALIVE) == 0)
        return;
    supervised_tell(supervised, obey(supervised, request, &err), &err);
}

int supervised_serve(struct supervised *supervised, struct loop *loop, struct error *err)
{
    supervised->fd.events = EPOLLIN;
    supervised->fd.ready = supervisor_ready;
    return loop_fd_add(loop, &supervised->fd, err);
}
