#include "base/loop.h"

#include "base/bytes.h"
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 16
#define STACK_SIZE     MIB /* libslirp keeps frames there, 64 KiB each; untouched it costs nothing */
#define SECOND_NS      UINT64_C(1000000000)

struct loop {
    int epoll_fd;
    struct loop_fd wake; /* an eventfd: work was posted, or stop */
    atomic_bool stop;
    struct loop_timer *timers; /* by deadline; the loop's thread only */

    /* Events gathered but not yet handled; the loop's thread only. */
    struct epoll_event *gathered;
    int gathered_count;

    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t changed; /* a call is done, or `exclusive` was cleared */
    struct loop_task *first, **last;
    size_t queued;
    bool running;   /* calls are queued */
    bool exclusive; /* not running, but some thread runs a call in the loop's place */

    bool has_thread;
    pthread_t thread;
};

/* The loop in whose place this thread runs handlers now. */
static _Thread_local struct loop *current;

uint64_t loop_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* Async-signal-safe. The counter cannot overflow: EAGAIN would mean it is signalled anyway. */
static void wake_up(struct loop *loop)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written = write(loop->wake.fd, &one, sizeof(one));

    (void)written;
    errno = saved;
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    task->queued = false;
    loop->first = task->next;
    if (!loop->first)
        loop->last = &loop->first;
    loop->queued--;
    pthread_mutex_unlock(&loop->lock);
    task->run(task); /* may free it, or post it again */
    pthread_mutex_lock(&loop->lock);
}

/* Tasks posted meanwhile wait for the next turn, so that descriptors get theirs. */
static void run_tasks(struct loop *loop)
{
    for (size_t n = loop->queued; n && loop->first; n--)
        run_task(loop, loop->first);
    if (loop->first)
        wake_up(loop);
}

static void woken(struct loop_fd *self, uint32_t events)
{
    struct loop *loop = container_of(self, struct loop, wake);
    uint64_t count;
    ssize_t got = read(self->fd, &count, sizeof(count));

    (void)got;
    (void)events;
    pthread_mutex_lock(&loop->lock);
    run_tasks(loop);
    pthread_mutex_unlock(&loop->lock);
}

static int loop_open(struct loop *loop, struct error *err)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return error_errno(err, errno, "cannot create an event loop");
    loop->wake.ready = woken;
    loop->wake.events = EPOLLIN;
    loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake.fd < 0)
        return error_errno(err, errno, "cannot create an eventfd");
    return loop_fd_add(loop, &loop->wake, err);
}

int loop_create(struct loop **out, struct error *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    int ret;

    if (!loop)
        return error_set(err, ENOMEM, "no memory for an event loop");
    loop->epoll_fd = loop->wake.fd = -1;
    loop->last = &loop->first;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->changed, NULL);
    ret = loop_open(loop, err);
    if (ret) {
        loop_destroy(loop);
        return ret;
    }
    *out = loop;
    return 0;
}

void loop_destroy(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->wake.fd >= 0)
        close(loop->wake.fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    pthread_cond_destroy(&loop->changed);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

/* Linux before 5.11, or a filter of system calls, may lack epoll_pwait2. */
static int wait_coarse(struct loop *loop, struct epoll_event *events, uint64_t delay_ns)
{
    uint64_t ms = (delay_ns + 999999) / 1000000;
    return epoll_wait(loop->epoll_fd, events, EVENTS_AT_ONCE, (int)MIN(ms, (uint64_t)3600000));
}

static int wait_events(struct loop *loop, struct epoll_event *events)
{
    uint64_t now, delay;
    struct timespec timeout;
    int count;

    if (!loop->timers)
        return epoll_wait(loop->epoll_fd, events, EVENTS_AT_ONCE, -1);
    now = loop_now_ns();
    delay = loop->timers->deadline_ns > now ? loop->timers->deadline_ns - now : 0;
    timeout.tv_sec = (time_t)(delay / SECOND_NS);
    timeout.tv_nsec = (long)(delay % SECOND_NS);
    count = epoll_pwait2(loop->epoll_fd, events, EVENTS_AT_ONCE, &timeout, NULL);
    if (count < 0 && (errno == ENOSYS || errno == EPERM))
        count = wait_coarse(loop, events, delay);
    return count;
}

static void run_timers(struct loop *loop)
{
    uint64_t now;

    if (!loop->timers)
        return;
    now = loop_now_ns();
    while (loop->timers && loop->timers->deadline_ns <= now) {
        struct loop_timer *timer = loop->timers;
        loop->timers = timer->next;
        timer->deadline_ns = 0;
        timer->expired(timer);
    }
}

static void turn(struct loop *loop)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = wait_events(loop, events);

    /* Visible to loop_fd_remove, which takes back what is for a removed descriptor. */
    loop->gathered = events;
    loop->gathered_count = MAX(count, 0);
    for (int i = 0; i < loop->gathered_count; i++) {
        struct loop_fd *fd = events[i].data.ptr;
        if (fd)
            fd->ready(fd, events[i].events);
    }
    loop->gathered_count = 0;
    run_timers(loop);
}

/* Runs what was posted before the end: callers of loop_call wait for it. Later calls are not queued
 * any more but run in their own threads, once this one has left the loop. */
static void leave(struct loop *loop)
{
    struct loop *outer = current;

    current = loop;
    pthread_mutex_lock(&loop->lock);
    loop->running = false;
    loop->exclusive = true;
    run_tasks(loop);
    loop->exclusive = false;
    pthread_cond_broadcast(&loop->changed);
    pthread_mutex_unlock(&loop->lock);
    current = outer;
}

void loop_run(struct loop *loop)
{
    struct loop *outer = current;

    pthread_mutex_lock(&loop->lock);
    while (loop->exclusive)
        pthread_cond_wait(&loop->changed, &loop->lock);
    loop->running = true;
    pthread_mutex_unlock(&loop->lock);

    current = loop;
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire))
        turn(loop);
    leave(loop);
    /* Cleared here and not at the start: a stop that came before the first turn counts. */
    atomic_store_explicit(&loop->stop, false, memory_order_release);
    current = outer;
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->stop, true, memory_order_release);
    wake_up(loop);
}

static void *loop_thread(void *arg)
{
    loop_run(arg);
    return NULL;
}

int loop_start_thread(struct loop *loop, const char *name, struct error *err)
{
    int ret;

    /* From now on calls wait for the thread, even if it has not come up yet. */
    pthread_mutex_lock(&loop->lock);
    loop->running = true;
    pthread_mutex_unlock(&loop->lock);

    ret = -thread_start(&loop->thread, name, STACK_SIZE, loop_thread, loop);
    loop->has_thread = !ret;
    if (!ret)
        return 0;
    leave(loop);
    return error_errno(err, ret, "cannot start thread '%s'", name);
}

void loop_join_thread(struct loop *loop)
{
    if (!loop->has_thread)
        return;
    loop_stop(loop);
    pthread_join(loop->thread, NULL);
    loop->has_thread = false;
}

static int control(struct loop *loop, int operation, struct loop_fd *fd)
{
    struct epoll_event event = {.events = fd->events, .data.ptr = fd};
    return epoll_ctl(loop->epoll_fd, operation, fd->fd, &event) < 0 ? -errno : 0;
}

int loop_fd_add(struct loop *loop, struct loop_fd *fd, struct error *err)
{
    int ret = control(loop, EPOLL_CTL_ADD, fd);
    return ret ? error_errno(err, -ret, "cannot watch file descriptor %d", fd->fd) : 0;
}

int loop_fd_set_events(struct loop *loop, struct loop_fd *fd, uint32_t events)
{
    if (fd->events == events)
        return 0;
    fd->events = events;
    return control(loop, EPOLL_CTL_MOD, fd);
}

void loop_fd_remove(struct loop *loop, struct loop_fd *fd)
{
    control(loop, EPOLL_CTL_DEL, fd);
    for (int i = 0; i < loop->gathered_count; i++)
        if (loop->gathered[i].data.ptr == fd)
            loop->gathered[i].data.ptr = NULL;
}

void loop_fd_close(struct loop *loop, struct loop_fd *fd)
{
    if (fd->fd < 0)
        return;
    loop_fd_remove(loop, fd);
    close(fd->fd);
    fd->fd = -1;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns)
{
    struct loop_timer **at = &loop->timers;
    uint64_t now = loop_now_ns();

    loop_timer_cancel(loop, timer);
    timer->deadline_ns = delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
    while (*at && (*at)->deadline_ns <= timer->deadline_ns)
        at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    struct loop_timer **at = &loop->timers;

    if (!timer->deadline_ns)
        return;
    while (*at && *at != timer)
        at = &(*at)->next;
    if (*at)
        *at = timer->next;
    timer->deadline_ns = 0;
}

static void enqueue(struct loop *loop, struct loop_task *task)
{
    bool first = !loop->first;

    task->queued = true;
    task->next = NULL;
    *loop->last = task;
    loop->last = &task->next;
    loop->queued++;
    /* Otherwise who made the queue non-empty has signalled, and the loop has not emptied it yet. */
    if (first)
        wake_up(loop);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    pthread_mutex_lock(&loop->lock);
    if (!task->queued)
        enqueue(loop, task);
    pthread_mutex_unlock(&loop->lock);
}

void loop_task_cancel(struct loop *loop, struct loop_task *task)
{
    pthread_mutex_lock(&loop->lock);
    if (task->queued) {
        struct loop_task **at = &loop->first;
        while (*at != task)
            at = &(*at)->next;
        *at = task->next;
        if (loop->last == &task->next)
            loop->last = at;
        loop->queued--;
        task->queued = false;
    }
    pthread_mutex_unlock(&loop->lock);
}

struct call {
    struct loop_task task;
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static void run_call(struct loop_task *task)
{
    struct call *call = container_of(task, struct call, task);
    struct loop *loop = call->loop;

    call->fn(call->arg);
    pthread_mutex_lock(&loop->lock);
    call->done = true; /* the caller's stack is gone once it can see this */
    pthread_cond_broadcast(&loop->changed);
    pthread_mutex_unlock(&loop->lock);
}

/* With the lock held, and the loop not running: run fn in its place. */
static void call_here(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct loop *outer = current;

    loop->exclusive = true;
    pthread_mutex_unlock(&loop->lock);
    current = loop;
    fn(arg);
    current = outer;
    pthread_mutex_lock(&loop->lock);
    loop->exclusive = false;
    pthread_cond_broadcast(&loop->changed);
}

void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct call call = {.task.run = run_call, .loop = loop, .fn = fn, .arg = arg};

    if (current == loop) {
        fn(arg);
        return;
    }
    pthread_mutex_lock(&loop->lock);
    while (!loop->running && loop->exclusive)
        pthread_cond_wait(&loop->changed, &loop->lock);
    if (loop->running) {
        enqueue(loop, &call.task);
        while (!call.done)
            pthread_cond_wait(&loop->changed, &loop->lock);
    } else {
        call_here(loop, fn, arg);
    }
    pthread_mutex_unlock(&loop->lock);
}
