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

/* Not one of the library's WebSockets: their frames hide where messages end. */
static bool is_plain(rfbClientPtr cl)
{
#ifdef LIBVNCSERVER_WITH_WEBSOCKETS
    return !cl->wsctx && !cl->sslctx;
#else
    (void)cl;
    return true;
#endif
}

static enum rfbNewClientAction new_client(rfbClientPtr cl)
{
    struct vnc_screen *s = cl->screen->screenData;
    struct vnc_client *c = is_plain(cl) ? calloc(1, sizeof(*c)) : NULL;

    if (!c)
        return RFB_CLIENT_REFUSE;
    c->screen = s;
    c->rfb = cl;
    c->origin = s->owner->greeted;
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

static bool is_welcome(struct vnc_screen *s, int fd)
{
    struct vnc_viewer *v = s->owner;

    return fd < FD_SETSIZE && /* the library uses select */
           atomic_load(&s->clients) < v->options->clients &&
           vnc_guard_admits(&v->guard, v->greeted, loop_now_ns());
}

/* The library greets it, which may take a while. It closes its own descriptor when it likes. */
static void greet(struct vnc_screen *s, int client)
{
    int copy = fcntl(client, F_DUPFD_CLOEXEC, 0), room = QUEUE;

    if (copy < 0) {
        close(client);
        return;
    }
    setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    vnc_patience_begin(&s->owner->patience, copy);
    rfbNewClient(s->rfb, client);
    vnc_patience_end(&s->owner->patience);
    close(copy);
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
    struct sockaddr_storage from = {0};
    socklen_t size = sizeof(from);
    int client = accept4(fd->fd, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    s->owner->greeted = vnc_origin_of((struct sockaddr *)&from);
    if (client < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        accept_later(l);
    if (client < 0)
        return;
    if (!is_welcome(s, client)) {
        log_limited(LOG_WARN, "vnc", "output %u: a client is turned away", s->output);
        close(client);
        return;
    }
    greet(s, client);
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
