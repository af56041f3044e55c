/*
 * libslirp's sockets on our loop.
 *
 * libslirp was made for poll(2): before each sleep it says what it waits for and how long, and
 * afterwards asks what came. Here the descriptors stay in an epoll descriptor of their own, which
 * is one descriptor of the loop; after each round only what has changed is told to the kernel.
 */
#include "devices/net/user/internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 64
#define MS             UINT64_C(1000000)
#define IDLE_MS        1000 /* what libslirp answers when no timer of its own runs */

static uint32_t to_epoll(int events)
{
    return (events & SLIRP_POLL_IN ? EPOLLIN : 0) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
           (events & SLIRP_POLL_PRI ? EPOLLPRI : 0);
}

static int from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static struct poll_watch *watch_of(struct user_poll *poll, int fd)
{
    size_t count = MAX(poll->watch_count * 2, (size_t)fd + 1);
    struct poll_watch *grown;

    if ((size_t)fd < poll->watch_count)
        return &poll->watches[fd];
    grown = realloc(poll->watches, count * sizeof(*grown));
    if (!grown)
        return NULL;
    memset(grown + poll->watch_count, 0, (count - poll->watch_count) * sizeof(*grown));
    poll->watches = grown;
    poll->watch_count = count;
    return &grown[fd];
}

/* libslirp waits for `events`; the answer is what it asks with later. */
static int poll_add(int fd, int events, void *opaque)
{
    struct user_network *network = opaque;
    struct poll_watch *watch = fd >= 0 ? watch_of(&network->poll, fd) : NULL;
    struct epoll_event event = {.events = to_epoll(events), .data.fd = fd};

    if (!watch)
        return -1;
    watch->wanted = true;
    if (watch->added && watch->events == events)
        return fd;
    watch->events = events;
    watch->added = epoll_ctl(network->poll.ready.fd, watch->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                             fd, &event) == 0;
    return watch->added ? fd : -1;
}

static int poll_result(int fd, void *opaque)
{
    struct user_network *network = opaque;
    struct poll_watch *watch;
    int events;

    if (fd < 0 || (size_t)fd >= network->poll.watch_count)
        return 0;
    watch = &network->poll.watches[fd];
    events = from_epoll(watch->ready);
    watch->ready = 0;
    return events;
}

void user_poll_forget(struct user_network *network, int fd)
{
    struct user_poll *poll = &network->poll;

    if (fd < 0 || (size_t)fd >= poll->watch_count)
        return;
    if (poll->watches[fd].added)
        epoll_ctl(poll->ready.fd, EPOLL_CTL_DEL, fd, NULL);
    poll->watches[fd] = (struct poll_watch){0};
}

/* Ask libslirp what it waits for now. */
static void poll_fill(struct user_network *network)
{
    struct user_poll *poll = &network->poll;
    uint32_t timeout_ms = UINT32_MAX;

    for (size_t fd = 0; fd < poll->watch_count; fd++) {
        poll->watches[fd].wanted = false;
        poll->watches[fd].ready = 0;
    }
    slirp_pollfds_fill(network->slirp, &timeout_ms, poll_add, network);
    for (size_t fd = 0; fd < poll->watch_count; fd++)
        if (poll->watches[fd].added && !poll->watches[fd].wanted)
            user_poll_forget(network, (int)fd);
    if (timeout_ms < IDLE_MS)
        network->services.timer_set(network->services.loop, &poll->timer, timeout_ms * MS);
    else
        network->services.timer_cancel(network->services.loop, &poll->timer);
}

static void poll_round(struct user_network *network)
{
    slirp_pollfds_poll(network->slirp, 0, poll_result, network);
    poll_fill(network);
}

static void poll_ready(struct loop_fd *self, uint32_t ignored)
{
    struct user_network *network = container_of(self, struct user_network, poll.ready);
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(self->fd, events, EVENTS_AT_ONCE, 0);

    (void)ignored;
    for (int i = 0; i < count; i++)
        network->poll.watches[events[i].data.fd].ready = events[i].events;
    poll_round(network);
}

static void poll_expired(struct loop_timer *timer)
{
    poll_round(container_of(timer, struct user_network, poll.timer));
}

void user_poll_soon(struct user_network *network)
{
    network->services.timer_set(network->services.loop, &network->poll.timer, 0);
}

void user_poll_pause(struct user_network *network, bool on)
{
    struct user_poll *poll = &network->poll;
    struct error err = ERROR_INIT;

    if (poll->paused == on || poll->ready.fd < 0)
        return;
    if (on)
        network->services.fd_remove(network->services.loop, &poll->ready);
    else if (network->services.fd_add(network->services.loop, &poll->ready, &err) < 0)
        return;
    poll->paused = on;
}

int user_poll_start(struct user_network *network, struct error *err)
{
    struct user_poll *poll = &network->poll;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    int ret;

    if (fd < 0)
        return error_errno(err, errno, "cannot watch the network's sockets");
    poll->timer.expired = poll_expired;
    poll->ready = (struct loop_fd){.fd = fd, .events = EPOLLIN, .ready = poll_ready};
    ret = network->services.fd_add(network->services.loop, &poll->ready, err);
    if (ret) {
        close(fd);
        poll->ready.fd = -1;
        return ret;
    }
    return 0;
}

void user_poll_stop(struct user_network *network)
{
    struct user_poll *poll = &network->poll;

    network->services.timer_cancel(network->services.loop, &poll->timer);
    if (poll->ready.fd >= 0) {
        if (!poll->paused)
            network->services.fd_remove(network->services.loop, &poll->ready);
        close(poll->ready.fd);
    }
    free(poll->watches);
}
