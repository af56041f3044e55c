/*
 * libslirp hands a guest's connection to a command or to a Unix socket. For another host's port we
 * are that Unix socket, and make a connection of our own for each.
 *
 * The socket's name is taken out of the file system as soon as it is bound: it is reached through a
 * descriptor (/proc/self/fd/N), so nobody else can connect and nothing is left behind.
 */
#include "devices/net/user/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define BUFFER_SIZE     (32 * KIB)
#define ACCEPT_RETRY_NS UINT64_C(1000000000)

struct connection;

/* One of the two sockets, and what it said that the other one has not taken yet. */
struct relay_end {
    struct connection *connection;
    struct loop_fd fd;
    bool added;
    bool ended; /* it says no more */
    size_t start, end;
    uint8_t buffer[BUFFER_SIZE];
};

struct connection {
    struct connection *next, **link;
    struct relay *relay;
    struct relay_end ends[2];
};

struct relay {
    struct user_services services;
    const struct forward *rule;
    struct loop_fd listener;
    struct loop_timer retry; /* accepting failed for want of something that comes back */
    int name;                /* the socket's inode */
    struct connection *connections;
    unsigned count;
};

/* --- a connection --- */

static void end_watch(struct relay_end *end, uint32_t events)
{
    const struct user_services *services = &end->connection->relay->services;

    /* What is not waited for is taken out: a socket that was hung up is always ready. */
    if (end->added && events == 0) {
        services->fd_remove(services->loop, &end->fd);
        end->added = false;
    } else if (end->added) {
        services->fd_set_events(services->loop, &end->fd, events);
    } else if (events != 0) {
        end->fd.events = events;
        end->added = services->fd_add(services->loop, &end->fd, NULL) == 0;
    }
}

static void connection_close(struct connection *c)
{
    for (unsigned i = 0; i < 2; i++) {
        end_watch(&c->ends[i], 0);
        close(c->ends[i].fd.fd);
    }
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->relay->count--;
    free(c);
}

/* Read once if there is room, write once if there is something. False: an end is broken. */
static bool end_pump(struct relay_end *from, struct relay_end *to)
{
    ssize_t n;

    if (from->start == from->end && !from->ended) {
        n = recv(from->fd.fd, from->buffer, sizeof(from->buffer), MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        from->start = 0;
        from->end = (size_t)n;
        from->ended = n == 0;
        if (from->ended)
            shutdown(to->fd.fd, SHUT_WR);
    }
    if (from->start < from->end) {
        n = send(to->fd.fd, from->buffer + from->start, from->end - from->start,
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        from->start += (size_t)n;
    }
    return true;
}

static uint32_t end_events(const struct relay_end *end, const struct relay_end *other)
{
    return (end->start == end->end && !end->ended ? EPOLLIN : 0) |
           (other->start < other->end ? EPOLLOUT : 0);
}

static void end_ready(struct loop_fd *self, uint32_t events)
{
    struct connection *c = container_of(self, struct relay_end, fd)->connection;
    struct relay_end *a = &c->ends[0], *b = &c->ends[1];

    (void)events;
    if (!end_pump(a, b) || !end_pump(b, a) || (a->ended && b->ended)) {
        connection_close(c);
        return;
    }
    end_watch(a, end_events(a, b));
    end_watch(b, end_events(b, a));
}

static void connection_open(struct relay *relay, int guest, int target)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (!c) {
        close(guest);
        close(target);
        return;
    }
    c->relay = relay;
    for (unsigned i = 0; i < 2; i++) {
        c->ends[i].connection = c;
        c->ends[i].fd = (struct loop_fd){.fd = i ? target : guest, .ready = end_ready};
    }
    c->next = relay->connections;
    c->link = &relay->connections;
    if (c->next)
        c->next->link = &c->next;
    relay->connections = c;
    relay->count++;
    end_watch(&c->ends[0], EPOLLIN);
    end_watch(&c->ends[1], EPOLLIN);
}

static int connect_host(const union address *target)
{
    int fd = socket(target->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, &target->any, user_address_size(target)) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

static void listener_ready(struct loop_fd *self, uint32_t events)
{
    struct relay *relay = container_of(self, struct relay, listener);
    int guest = accept4(self->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int target = -1;

    (void)events;
    if (guest < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        relay->services.fd_set_events(relay->services.loop, self, 0);
        relay->services.timer_set(relay->services.loop, &relay->retry, ACCEPT_RETRY_NS);
    }
    if (guest < 0)
        return;
    if (relay->count < CONNECTIONS_MAX)
        target = relay->rule->kind == FORWARD_COMMAND ? user_command_start(relay->rule->target)
                                                      : connect_host(&relay->rule->host);
    if (target >= 0) {
        connection_open(relay, guest, target);
    } else {
        log_limited(LOG_WARN, "net", "guestfwd: '%s': a connection cannot be made",
                    relay->rule->rule);
        close(guest);
    }
}

static void retry_expired(struct loop_timer *timer)
{
    struct relay *relay = container_of(timer, struct relay, retry);

    relay->services.fd_set_events(relay->services.loop, &relay->listener, EPOLLIN);
}

/* --- the listener --- */

/* Bind and listen in a directory that is gone when this returns. */
static int listen_unseen(struct relay *relay)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/vireo-XXXXXX";
    int fd, ret = -1;

    if (!mkdtemp(directory))
        return -1;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/relay", directory);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        relay->name = open(address.sun_path, O_PATH | O_CLOEXEC);
        if (relay->name >= 0)
            ret = listen(fd, 16);
        unlink(address.sun_path);
    }
    rmdir(directory);
    relay->listener.fd = fd;
    return ret;
}

int user_relay_start(const struct user_services *services, const struct forward *rule,
                     struct relay **out, char path[RELAY_PATH_SIZE], struct error *err)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    int ret;

    if (!relay)
        return error_set(err, ENOMEM, "no memory for a network");
    relay->services = *services;
    relay->rule = rule;
    relay->name = -1;
    relay->listener = (struct loop_fd){-1, EPOLLIN, listener_ready};
    relay->retry.expired = retry_expired;
    if (listen_unseen(relay) < 0)
        ret = error_errno(err, errno, "guestfwd: '%s': cannot listen", rule->rule);
    else
        ret = services->fd_add(services->loop, &relay->listener, err);
    if (ret) {
        user_relay_stop(relay);
        return ret;
    }
    snprintf(path, RELAY_PATH_SIZE, "/proc/self/fd/%d", relay->name);
    *out = relay;
    return 0;
}

void user_relay_stop(struct relay *relay)
{
    if (!relay)
        return;
    while (relay->connections)
        connection_close(relay->connections);
    relay->services.timer_cancel(relay->services.loop, &relay->retry);
    if (relay->listener.fd >= 0) {
        relay->services.fd_remove(relay->services.loop, &relay->listener);
        close(relay->listener.fd);
    }
    if (relay->name >= 0)
        close(relay->name);
    free(relay);
}
