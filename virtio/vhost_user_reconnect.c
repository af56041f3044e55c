/*
 * A peer that dies while the device is in use, and comes back.
 *
 *     connected --- it died ---> waiting --- an attempt that works ---> connected, all as before
 *         |                         |
 *         |  it talks nonsense,     |  it cannot do what the first one could, or
 *         |  or nothing             |  it cannot be known which requests were in flight
 *         +-----> given up <--------+
 *
 * While we wait, the device runs on for its driver: requests stay in the rings, and what the driver
 * changes is told to the next peer. Given up, the device needs a reset, at which the peer is looked
 * for anew.
 *
 * An attempt is made on a thread of its own, holding v->lock: the loop, which others share, never
 * waits for a peer, and who needs the lock (a vCPU at the device's registers) waits as long as a
 * handshake may take. The loop starts attempts, ends them, and watches the sockets afterwards; but
 * the peer's own requests are heard from when queues start, since it may wait for us to do one
 * before it answers.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/event_signal.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_DELAY_NS (UINT64_C(5) * 1000000)
#define LASTING_NS     UINT64_C(1000000000)
#define STACK_SIZE     (128 * KIB)

bool vhost_user_waits(const struct vhost_user *v)
{
    return v->lost && v->reconnect.enabled && !v->given_up;
}

/* --- an attempt: on its thread ---------------------------------------------------------------- */

/* Whatever was decided while there was no peer, and the queues where they stood. Nobody may have
 * heard the last kicks and interrupts: so there is one more of each. */
static int resume_queue(struct vhost_user *v, struct vhost_user_queue *queue, bool recorded,
                        struct error *err)
{
    uint16_t index = queue->index;
    int ret = queue->begun && !v->relay ? vhost_user_queue_catch_up(v, queue, recorded, err) : 0;

    if (!ret)
        ret = vhost_user_queue_begin(v, index, err);
    if (ret)
        return ret;
    queue->begun = true;
    event_signal(queue->kick_fd);
    v->backend.events.notify_queue(v->backend.events.opaque, index);
    return 0;
}

static int resume(struct vhost_user *v, struct error *err)
{
    bool recorded = v->inflight_fd >= 0; /* by the peer that is gone */
    int ret;

    v->deadline_ns = loop_now_ns() + VHOST_USER_PATIENCE_NS;
    ret = v->features_settled ? vhost_user_settle_features(v, err) : 0;
    recorded = recorded && v->inflight_fd >= 0; /* and passed on to the new one */
    for (uint16_t i = 0; i < v->queue_count && !ret; i++)
        if (v->queues[i].running)
            ret = resume_queue(v, &v->queues[i], recorded, err);
    v->deadline_ns = 0;
    return ret;
}

static void *attempt(void *arg)
{
    struct vhost_user *v = arg;
    struct vhost_user_reconnect *r = &v->reconnect;

    r->err = (struct error)ERROR_INIT;
    pthread_mutex_lock(&v->lock);
    r->ret = vhost_user_connect(v, &r->err);
    if (!r->ret) {
        loop_post(v->loop, &r->heard);
        r->ret = resume(v, &r->err);
    }
    if (r->ret)
        v->lost = true;
    pthread_mutex_unlock(&v->lock);
    loop_post(v->loop, &r->ended);
    return NULL;
}

/* --- on the loop ------------------------------------------------------------------------------ */

/* At our own socket the peer says when it is there. */
static void wait_more(struct vhost_user *v)
{
    struct vhost_user_reconnect *r = &v->reconnect;

    if (r->listener.fd >= 0) {
        r->listening = loop_fd_add(v->loop, &r->listener, NULL) == 0;
        return;
    }
    loop_timer_set(v->loop, &r->timer, r->delay_ns);
    /* Found within a quarter of the time that it was away. */
    r->delay_ns = MIN(r->delay_ns + r->delay_ns / 4, r->interval_ns);
}

static void stop_waiting(struct vhost_user *v)
{
    struct vhost_user_reconnect *r = &v->reconnect;

    loop_timer_cancel(v->loop, &r->timer);
    if (r->listening)
        loop_fd_remove(v->loop, &r->listener);
    r->listening = false;
}

static void needs_reset(struct vhost_user *v)
{
    v->backend.events.needs_reset(v->backend.events.opaque);
}

static void begin_attempt(struct vhost_user *v)
{
    struct vhost_user_reconnect *r = &v->reconnect;

    stop_waiting(v);
    r->busy = thread_start(&r->thread, "vhost-user", STACK_SIZE, attempt, v) == 0;
    if (!r->busy)
        wait_more(v);
}

static void timer_expired(struct loop_timer *timer)
{
    begin_attempt(container_of(timer, struct vhost_user, reconnect.timer));
}

static void listener_ready(struct loop_fd *self, uint32_t events)
{
    (void)events;
    begin_attempt(container_of(self, struct vhost_user, reconnect.listener));
}

/* Whether a peer that behaves so may be asked again. */
static bool worth_another(int ret)
{
    return ret != -ENOTSUP && ret != -EINVAL && ret != -EPROTO && ret != -ETIMEDOUT;
}

static void attempt_failed(struct vhost_user *v)
{
    struct vhost_user_reconnect *r = &v->reconnect;

    vhost_user_close(v);
    if (worth_another(r->ret)) {
        wait_more(v);
        return;
    }
    v->given_up = true;
    log_warn("vhost-user", "%s: the process that came back cannot go on: %s", v->backend.name,
             r->err.text);
    needs_reset(v);
}

static void hear_early(struct loop_task *task)
{
    vhost_user_watch_channel(container_of(task, struct vhost_user, reconnect.heard), NULL);
}

static void attempt_ended(struct loop_task *task)
{
    struct vhost_user *v = container_of(task, struct vhost_user, reconnect.ended);
    struct vhost_user_reconnect *r = &v->reconnect;

    pthread_join(r->thread, NULL);
    r->busy = false;
    pthread_mutex_lock(&v->lock);
    if (!r->ret)
        r->ret = vhost_user_watch(v, &r->err);
    if (r->ret)
        attempt_failed(v);
    else
        log_info("vhost-user", "%s: a process serves it again", v->backend.name);
    for (uint16_t i = 0; i < v->queue_count && !r->ret; i++)
        if (v->queues[i].running)
            vhost_user_relay_go(v, i);
    pthread_mutex_unlock(&v->lock);
}

/* A process that dies of what it does again for us would do nothing else: those that we start, and
 * that do not last, are started less and less often. Others' are the business of who starts them.
 */
void vhost_user_reconnect_begin(struct vhost_user *v)
{
    if (!v->options.process || loop_now_ns() - v->reconnect.connected_ns >= LASTING_NS)
        v->reconnect.delay_ns = FIRST_DELAY_NS;
    wait_more(v);
}

/* The descriptor is closed on the loop only, so it is what we think it is. */
void vhost_user_reconnect_hurry(struct vhost_user *v)
{
    struct vhost_user_reconnect *r = &v->reconnect;
    int fd = atomic_load(&r->fd);

    if (r->busy && fd >= 0)
        shutdown(fd, SHUT_RDWR);
}

static void hurry(void *arg)
{
    vhost_user_reconnect_hurry(arg);
}

void vhost_user_lock_soon(struct vhost_user *v)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until); /* the clock for which sanitizers know a lock */
    until.tv_sec++;
    if (pthread_mutex_timedlock(&v->lock, &until) == 0)
        return;
    loop_call(v->loop, hurry, v);
    pthread_mutex_lock(&v->lock);
}

void vhost_user_reconnect_cancel(struct vhost_user *v)
{
    struct vhost_user_reconnect *r = &v->reconnect;

    stop_waiting(v);
    if (!r->busy)
        return;
    vhost_user_reconnect_hurry(v);
    pthread_join(r->thread, NULL);
    loop_task_cancel(v->loop, &r->heard);
    loop_task_cancel(v->loop, &r->ended);
    r->busy = false;
    v->lost = true;
}

void vhost_user_peer_gone(struct vhost_user *v)
{
    for (uint16_t i = 0; i < v->queue_count; i++)
        if (v->queues[i].running) {
            vhost_user_queue_note_loss(v, &v->queues[i]);
            vhost_user_relay_pause(v, i);
        }
    vhost_user_close(v);
    if (vhost_user_waits(v)) {
        log_warn("vhost-user", "%s: the process that serves it is gone, and waited for",
                 v->backend.name);
        vhost_user_reconnect_begin(v);
        return;
    }
    log_warn("vhost-user", "%s: the process that serves it is gone", v->backend.name);
    needs_reset(v);
}

/* --- life ------------------------------------------------------------------------------------- */

int vhost_user_accept(struct vhost_user *v, int wait_ms, struct error *err)
{
    struct pollfd ready = {.fd = v->reconnect.listener.fd, .events = POLLIN};
    int ret = poll(&ready, 1, wait_ms), fd = -1;

    if (ret > 0)
        fd = accept4(ready.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        return fd;
    return ret == 0 ? error_set(err, EAGAIN, "nobody connects to '%s'", v->path)
                    : error_errno(err, errno, "nobody connects to '%s'", v->path);
}

int vhost_user_reconnect_init(struct vhost_user *v, struct error *err)
{
    struct vhost_user_reconnect *r = &v->reconnect;

    r->timer.expired = timer_expired;
    r->heard.run = hear_early;
    r->ended.run = attempt_ended;
    atomic_init(&r->fd, -1);
    r->delay_ns = FIRST_DELAY_NS;
    r->interval_ns = v->options.reconnect_s * UINT64_C(1000000000);
    r->enabled = (v->path || v->options.process) && v->options.reconnect_s;
    if (!v->options.server)
        return 0;
    r->listener = (struct loop_fd){unix_socket_listen(v->path, err), EPOLLIN, listener_ready};
    return r->listener.fd < 0 ? r->listener.fd : 0;
}

void vhost_user_reconnect_destroy(struct vhost_user *v)
{
    vhost_user_reconnect_cancel(v);
    if (v->reconnect.listener.fd < 0)
        return;
    close(v->reconnect.listener.fd);
    v->reconnect.listener.fd = -1;
    unlink(v->path);
}
