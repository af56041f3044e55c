#include "devices/display/vnc/patience.h"

#include "base/bytes.h"
#include "base/log.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SECOND_NS UINT64_C(1000000000)
#define LOOK_NS   SECOND_NS
#define HANDSHAKE 15 /* seconds */
#define CALL      30
#define STALL     10

/* --- on the display's loop -------------------------------------------------------------------- */

static void cut(int fd, const char *why)
{
    log_limited(LOG_WARN, "vnc", "a client is disconnected: %s", why);
    shutdown(fd, SHUT_RDWR);
}

static bool takes_nothing(const struct vnc_patience *p, struct vnc_connection *c, uint64_t now)
{
    int queued = 0;

    if (!atomic_load(&c->full)) {
        c->taken_ns = 0;
        return false;
    }
    ioctl(c->fd, SIOCOUTQ, &queued);
    if (!c->taken_ns || queued < c->queued)
        c->taken_ns = now;
    c->queued = queued;
    return now - c->taken_ns > p->stall_ns;
}

static void look_at(const struct vnc_patience *p, struct vnc_connection *c, uint64_t now)
{
    if (!atomic_load(&c->admitted) && now - c->since_ns > p->handshake_ns) {
        cut(c->fd, "it does not say who it is");
        atomic_store(&c->admitted, true); /* said once is enough: it is on its way out */
    }
    if (takes_nothing(p, c, now)) {
        cut(c->fd, "it takes nothing");
        atomic_store(&c->full, false); /* likewise */
    }
}

/* Whether there is anybody to look after. Under the lock. */
static bool look(struct vnc_patience *p, uint64_t now)
{
    if (p->waited_for >= 0 && now - p->since_ns > p->call_ns)
        cut(p->waited_for, "it takes its time");
    for (struct vnc_connection *c = p->connections; c; c = c->next)
        look_at(p, c, now);
    return p->connections || p->waited_for >= 0;
}

static void look_expired(struct loop_timer *timer)
{
    struct vnc_patience *p = container_of(timer, struct vnc_patience, look);
    bool again;

    pthread_mutex_lock(&p->lock);
    again = look(p, loop_now_ns());
    pthread_mutex_unlock(&p->lock);
    if (again)
        loop_timer_set(p->loop, timer, LOOK_NS);
}

static void somebody_came(struct loop_task *task)
{
    struct vnc_patience *p = container_of(task, struct vnc_patience, came);

    if (!p->look.deadline_ns)
        loop_timer_set(p->loop, &p->look, LOOK_NS);
}

void vnc_patience_open(struct vnc_patience *p, struct loop *loop)
{
    *p = (struct vnc_patience){
        .loop = loop,
        .handshake_ns = HANDSHAKE * SECOND_NS,
        .call_ns = CALL * SECOND_NS,
        .stall_ns = STALL * SECOND_NS,
        .came.run = somebody_came,
        .look.expired = look_expired,
        .waited_for = -1,
    };
    pthread_mutex_init(&p->lock, NULL);
}

void vnc_patience_close(struct vnc_patience *p)
{
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    if (p->waited_for >= 0)
        shutdown(p->waited_for, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
    loop_timer_cancel(p->loop, &p->look);
}

void vnc_patience_destroy(struct vnc_patience *p)
{
    loop_task_cancel(p->loop, &p->came);
    pthread_mutex_destroy(&p->lock);
}

/* --- on the server's thread ------------------------------------------------------------------- */

void vnc_patience_add(struct vnc_patience *p, struct vnc_connection *c, int fd)
{
    c->fd = fd;
    c->since_ns = loop_now_ns();
    pthread_mutex_lock(&p->lock);
    c->next = p->connections;
    p->connections = c;
    pthread_mutex_unlock(&p->lock);
    loop_post(p->loop, &p->came);
}

void vnc_patience_remove(struct vnc_patience *p, struct vnc_connection *c)
{
    struct vnc_connection **at = &p->connections;

    pthread_mutex_lock(&p->lock);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&p->lock);
}

void vnc_patience_begin(struct vnc_patience *p, int fd)
{
    pthread_mutex_lock(&p->lock);
    p->waited_for = fd;
    p->since_ns = loop_now_ns();
    if (p->closed)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
}

void vnc_patience_end(struct vnc_patience *p)
{
    pthread_mutex_lock(&p->lock);
    p->waited_for = -1;
    pthread_mutex_unlock(&p->lock);
}
