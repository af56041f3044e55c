/*
 * Where clients connect, and which may.
 */
#include "devices/display/vnc/vnc.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE    (1 << 20)            /* bytes for a client on their way, or what the host allows */
#define RETRY_NS UINT64_C(1000000000) /* when there is no descriptor for a client */

/* --- clients ---------------------------------------------------------------------------------- */

static void client_gone(rfbClientPtr cl)
{
    struct vnc_client *c = cl->clientData;

    if (!c)
        return;
    vnc_release(c);
    vnc_patience_remove(&c->screen->owner->patience, &c->connection);
    loop_fd_close(c->screen->owner->loop, &c->fd);
    atomic_fetch_sub(&c->screen->clients, 1);
    free(c);
}

static void client_ready(struct loop_fd *fd, uint32_t events)
{
    struct vnc_client *c = container_of(fd, struct vnc_client, fd);
    struct vnc_screen *s = c->screen;

    vnc_client_serve(c, events);
    vnc_screen_reap(s); /* which may free the client */
}

/* Put the connection in the place of the stand-in that the library greeted (greet), and say to it
 * what was said to that. */
static bool take_place(struct vnc_viewer *v, rfbClientPtr cl)
{
    struct vnc_caller *caller = &v->caller;
    char said[sz_rfbProtocolVersionMsg], host[NI_MAXHOST];
    int one = 1;

    if (recv(caller->stand_in, said, sizeof(said), MSG_DONTWAIT) != sizeof(said) ||
        send(caller->fd, said, sizeof(said), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(said) ||
        dup3(caller->fd, cl->sock, O_CLOEXEC) < 0)
        return false;
    setsockopt(cl->sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* where it is one */
    if (!getnameinfo((struct sockaddr *)&caller->address, sizeof(caller->address), host,
                     sizeof(host), NULL, 0, NI_NUMERICHOST)) {
        free(cl->host);
        cl->host = strdup(host);
    }
    return true;
}

static enum rfbNewClientAction new_client(rfbClientPtr cl)
{
    struct vnc_screen *s = cl->screen->screenData;
    struct vnc_client *c = take_place(s->owner, cl) ? calloc(1, sizeof(*c)) : NULL;

    if (!c)
        return RFB_CLIENT_REFUSE;
    c->screen = s;
    c->rfb = cl;
    c->origin = s->owner->caller.origin;
    c->fd =
        (struct loop_fd){.fd = dup(cl->sock), .events = VNC_CLIENT_EVENTS, .ready = client_ready};
    if (c->fd.fd < 0 || loop_fd_add(s->owner->loop, &c->fd, NULL)) {
        if (c->fd.fd >= 0)
            close(c->fd.fd);
        free(c);
        return RFB_CLIENT_REFUSE;
    }
    cl->clientData = c;
    cl->clientGoneHook = client_gone;
    atomic_fetch_add(&s->clients, 1);
    vnc_patience_add(&s->owner->patience, &c->connection, c->fd.fd);
    vnc_screen_schedule(s);
    return RFB_CLIENT_ACCEPT;
}

static bool is_welcome(const struct vnc_screen *s)
{
    const struct vnc_viewer *v = s->owner;

    return atomic_load(&s->clients) < v->options->clients &&
           vnc_guard_admits(&v->guard, v->caller.origin, loop_now_ns());
}

/* The library waits a moment for whoever connects to say first that it is of the web, which holds
 * up others. So it greets a stand-in that says at once that it is not. */
static void greet(struct vnc_screen *s)
{
    struct vnc_caller *caller = &s->owner->caller;
    int pair[2], room = QUEUE;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return;
    caller->stand_in = pair[1];
    setsockopt(caller->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (pair[0] < FD_SETSIZE && send(pair[1], "RFB ", 4, MSG_NOSIGNAL) == 4) /* it uses select */
        rfbNewClient(s->rfb, pair[0]);
    else
        close(pair[0]);
    close(pair[1]);
    vnc_screen_reap(s);
}

static void retry_expired(struct loop_timer *timer)
{
    struct vnc_listener *l = container_of(timer, struct vnc_listener, retry);

    loop_fd_set_events(l->screen->owner->loop, &l->fd, EPOLLIN);
}

/* There may be no descriptor: try again later, for the listener stays readable. */
static void accept_later(struct vnc_listener *l)
{
    struct vnc_screen *s = l->screen;

    log_limited(LOG_WARN, "vnc", "output %u: a client has to wait: %s", s->output, strerror(errno));
    loop_fd_set_events(s->owner->loop, &l->fd, 0);
    loop_timer_set(s->owner->loop, &l->retry, RETRY_NS);
}

static void listener_ready(struct loop_fd *fd, uint32_t events)
{
    struct vnc_listener *l = container_of(fd, struct vnc_listener, fd);
    struct vnc_screen *s = l->screen;
    struct vnc_caller *caller = &s->owner->caller;
    socklen_t size = sizeof(caller->address);

    (void)events;
    *caller = (struct vnc_caller){0};
    caller->fd =
        accept4(fd->fd, (struct sockaddr *)&caller->address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (caller->fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        accept_later(l);
    if (caller->fd < 0)
        return;
    caller->origin = vnc_origin_of((struct sockaddr *)&caller->address);
    if (is_welcome(s))
        greet(s);
    else
        log_limited(LOG_WARN, "vnc", "output %u: a client is turned away", s->output);
    close(caller->fd);
}

/* --- passwords -------------------------------------------------------------------------------- */

static rfbBool check_password(rfbClientPtr cl, const char *response, int length)
{
    struct vnc_client *c = cl->clientData;
    struct vnc_guard *guard = &c->screen->owner->guard;

    if (rfbCheckPasswordByList(cl, response, length)) {
        vnc_guard_right(guard, c->origin);
        return TRUE;
    }
    vnc_guard_wrong(guard, c->origin, loop_now_ns());
    log_limited(LOG_WARN, "vnc", "a client from '%s' had a wrong password", cl->host);
    return FALSE;
}

int vnc_read_password(const char *path, char out[VNC_PASSWORD_MAX + 1], struct error *err)
{
    char line[VNC_PASSWORD_MAX + 3] = "";
    FILE *file;

    file = fopen(path, "re");
    if (!file)
        return error_errno(err, errno, "password-file: cannot read '%s'", path);
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    if (!line[0] || strlen(line) > VNC_PASSWORD_MAX)
        return error_set(
            err, EINVAL,
            "password-file: the first line of '%s' is no password of 1 to %d characters, which is "
            "all that VNC looks at",
            path, VNC_PASSWORD_MAX);
    memcpy(out, line, strlen(line) + 1);
    return 0;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int add_listener(struct vnc_screen *s, int fd, struct error *err)
{
    struct vnc_listener *l = &s->listeners[s->listener_count];
    int ret;

    *l = (struct vnc_listener){.fd = {.fd = fd, .events = EPOLLIN, .ready = listener_ready},
                               .retry.expired = retry_expired,
                               .screen = s};
    ret = loop_fd_add(s->owner->loop, &l->fd, err);
    if (ret)
        close(fd);
    else
        s->listener_count++;
    return ret;
}

static int listen_unix(struct vnc_screen *s, const char *path, struct error *err)
{
    int fd;

    if (s->output)
        snprintf(s->socket_path, sizeof(s->socket_path), "%s-%u", path, s->output);
    else
        snprintf(s->socket_path, sizeof(s->socket_path), "%s", path);
    fd = unix_socket_listen(s->socket_path, err);
    if (fd >= 0)
        return add_listener(s, fd, err);
    s->socket_path[0] = '\0';
    return fd;
}

static int listen_address(struct vnc_screen *s, const struct addrinfo *address, struct error *err)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, address->ai_addr, address->ai_addrlen) || listen(fd, 16)) {
        int ret = -errno;

        close(fd);
        return ret;
    }
    return add_listener(s, fd, err);
}

/* A name may be in a host's files twice, with one address. */
static bool came_before(const struct addrinfo *first, const struct addrinfo *a)
{
    for (; first != a; first = first->ai_next)
        if (first->ai_addrlen == a->ai_addrlen &&
            !memcmp(first->ai_addr, a->ai_addr, a->ai_addrlen))
            return true;
    return false;
}

/* All addresses of the name; that one family is not to be had here is no reason to fail. */
static int listen_tcp(struct vnc_screen *s, const struct vnc_where *where, struct error *err)
{
    struct addrinfo *found;
    int ret = vnc_where_find(where, s->output, &found, err);

    if (ret)
        return ret;
    for (const struct addrinfo *a = found;
         a && s->listener_count < VNC_LISTEN_MAX && ret != -EADDRINUSE; a = a->ai_next)
        if (!came_before(found, a)) {
            int failed = listen_address(s, a, err);

            ret = failed ? failed : ret;
        }
    freeaddrinfo(found);
    if (ret == -EADDRINUSE || !s->listener_count) {
        vnc_listen_end(s);
        return error_errno(err, -ret, "cannot listen for VNC clients on %s port %u", where->host,
                           where->port + s->output);
    }
    return 0;
}

int vnc_listen(struct vnc_screen *s, struct error *err)
{
    struct vnc_where where;
    int ret = vnc_where_parse(s->owner->options->where, &where, err);

    s->rfb->newClientHook = new_client;
    s->rfb->passwordCheck = check_password;
    if (ret)
        return ret;
    return where.path ? listen_unix(s, where.path, err) : listen_tcp(s, &where, err);
}

void vnc_listen_end(struct vnc_screen *s)
{
    for (unsigned i = 0; i < s->listener_count; i++) {
        loop_timer_cancel(s->owner->loop, &s->listeners[i].retry);
        loop_fd_close(s->owner->loop, &s->listeners[i].fd);
    }
    s->listener_count = 0;
    if (s->socket_path[0])
        unlink(s->socket_path);
    s->socket_path[0] = '\0';
}
