/*
 * Timelines: when what was submitted is done.
 *
 * The library numbers its own fences with 32 bits, may leave out those that a later one covers, and
 * loses the one that its thread waits for when any context goes. So the model's are kept here, and
 * the library is given numbers that only rise.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define ASK_AGAIN_NS 1000000 /* where nothing tells: a frame's sixteenth */

/* --- what the library says -------------------------------------------------------------------- */

#define EVERY_RING UINT32_MAX

/* Fences of this timeline up to this number are done. Any thread. */
static void mark_done(struct gpu_renderer *r, uint32_t context, uint32_t ring, uint32_t sequence)
{
    pthread_mutex_lock(&r->lock);
    for (struct virgl_fence *f = r->fences; f; f = f->next)
        if (f->line_context == context && (f->line_ring == ring || ring == EVERY_RING) &&
            (int32_t)(f->sequence - sequence) <= 0)
            f->done = true;
    pthread_mutex_unlock(&r->lock);
    if (r->async) /* else the library was asked, and what it said is looked at next */
        loop_post(r->loop, &r->retired);
}

static void write_fence(void *cookie, uint32_t sequence)
{
    mark_done(cookie, 0, 0, sequence);
}

static void write_context_fence(void *cookie, uint32_t context, uint32_t ring, uint64_t sequence)
{
    mark_done(cookie, context, ring, (uint32_t)sequence);
}

void virgl_fence_callbacks(struct virgl_renderer_callbacks *callbacks)
{
    callbacks->write_fence = write_fence;
    callbacks->write_context_fence = write_context_fence;
}

/* --- what the model hears --------------------------------------------------------------------- */

static struct virgl_fence *take_done(struct gpu_renderer *r)
{
    struct virgl_fence *done = NULL, **done_end = &done, **link = &r->fences;

    pthread_mutex_lock(&r->lock);
    while (*link) {
        struct virgl_fence *f = *link;

        if (!f->done) {
            link = &f->next;
            continue;
        }
        *link = f->next;
        f->next = NULL;
        *done_end = f;
        done_end = &f->next;
    }
    r->fences_end = link;
    pthread_mutex_unlock(&r->lock);
    return done;
}

static void report(struct gpu_renderer *r)
{
    struct virgl_fence *done = take_done(r), *next;

    loop_task_cancel(r->loop, &r->retired);
    for (; done; done = next) {
        next = done->next;
        r->events.fence_done(r->events.opaque, done->context, done->ring, done->id);
        free(done);
    }
}

static void retired(struct loop_task *task)
{
    report(container_of(task, struct gpu_renderer, retired));
}

static void poll_ready(struct loop_fd *fd, uint32_t events)
{
    struct gpu_renderer *r = container_of(fd, struct gpu_renderer, poll);

    (void)events;
    virgl_enter(r);
    virgl_renderer_poll();
    report(r);
}

static void context_poll_ready(struct loop_fd *fd, uint32_t events)
{
    struct virgl_context *context = container_of(fd, struct virgl_context, poll);
    struct gpu_renderer *r = context->r;

    (void)events;
    virgl_enter(r);
    virgl_renderer_context_poll(context->id);
    report(r);
}

static void ask(struct loop_timer *timer)
{
    struct gpu_renderer *r = container_of(timer, struct gpu_renderer, timer);

    virgl_enter(r);
    virgl_renderer_poll();
    report(r);
    if (r->fences)
        loop_timer_set(r->loop, &r->timer, ASK_AGAIN_NS);
}

/* --- fences ----------------------------------------------------------------------------------- */

static int submit(uint32_t context, uint32_t ring, uint32_t sequence)
{
    return context ? virgl_renderer_context_create_fence(
                         context, VIRGL_RENDERER_FENCE_FLAG_MERGEABLE, ring, sequence)
                   : virgl_renderer_create_fence((int)sequence, 0);
}

/* Commands of virgl's contexts are carried out in order, whatever their ring: it has one timeline a
 * context. */
static int find_line(struct gpu_renderer *r, struct virgl_fence *fence)
{
    const struct virgl_context *context;

    if (fence->ring < 0)
        return 0;
    context = virgl_context_find(r, fence->context);
    if (!context)
        return -ENOENT;
    fence->line_context = fence->context;
    fence->line_ring = virgl_context_is_gl(context) ? 0 : (uint32_t)fence->ring;
    return 0;
}

static void append(struct gpu_renderer *r, struct virgl_fence *fence)
{
    pthread_mutex_lock(&r->lock);
    *r->fences_end = fence;
    r->fences_end = &fence->next;
    pthread_mutex_unlock(&r->lock);
}

static void remove_last(struct gpu_renderer *r, struct virgl_fence *fence)
{
    struct virgl_fence **link = &r->fences;

    pthread_mutex_lock(&r->lock);
    while (*link != fence)
        link = &(*link)->next;
    *link = NULL;
    r->fences_end = link;
    pthread_mutex_unlock(&r->lock);
}

int virgl_fence(struct gpu_renderer *r, uint32_t context, int ring, uint64_t id)
{
    struct virgl_fence *fence = calloc(1, sizeof(*fence));
    int ret;

    if (!fence)
        return -ENOMEM;
    *fence = (struct virgl_fence){.context = context, .ring = ring, .id = id};
    ret = find_line(r, fence);
    if (ret < 0) {
        free(fence);
        return ret;
    }
    fence->sequence = ++r->sequence;
    append(r, fence); /* it may be done before the library returns */
    virgl_enter(r);
    ret = virgl_result(submit(fence->line_context, fence->line_ring, fence->sequence));
    if (ret < 0) {
        remove_last(r, fence);
        free(fence);
        return ret;
    }
    if (r->poll.fd < 0)
        loop_timer_set(r->loop, &r->timer, ASK_AGAIN_NS);
    return 0;
}

/* The last that is pending on each timeline is asked for again, since it may have been lost. */
static void ask_anew(struct gpu_renderer *r)
{
    for (struct virgl_fence *f = r->fences; f; f = f->next) {
        struct virgl_fence *later = f->next;
        const struct virgl_context *context = virgl_context_find(r, f->line_context);

        while (later &&
               (later->line_context != f->line_context || later->line_ring != f->line_ring))
            later = later->next;
        if (!later && (!f->line_context || (context && virgl_context_is_gl(context))))
            submit(f->line_context, f->line_ring, f->sequence);
    }
}

void virgl_fences_context_gone(struct gpu_renderer *r, uint32_t context)
{
    mark_done(r, context, EVERY_RING, r->sequence);
    report(r);
    ask_anew(r);
}

void virgl_fences_forget(struct gpu_renderer *r)
{
    struct virgl_fence *next;

    loop_task_cancel(r->loop, &r->retired);
    loop_timer_cancel(r->loop, &r->timer);
    pthread_mutex_lock(&r->lock);
    for (; r->fences; r->fences = next) {
        next = r->fences->next;
        free(r->fences);
    }
    r->fences_end = &r->fences;
    pthread_mutex_unlock(&r->lock);
}

/* --- start and end ---------------------------------------------------------------------------- */

int virgl_fences_start(struct gpu_renderer *r, struct error *err)
{
    pthread_mutex_init(&r->lock, NULL);
    r->fences_end = &r->fences;
    r->retired.run = retired;
    r->timer.expired = ask;
    r->poll = (struct loop_fd){
        .fd = virgl_renderer_get_poll_fd(), .events = EPOLLIN, .ready = poll_ready};
    return r->poll.fd < 0 ? 0 : loop_fd_add(r->loop, &r->poll, err);
}

void virgl_fences_stop(struct gpu_renderer *r)
{
    virgl_fences_forget(r);
    if (r->poll.fd >= 0)
        loop_fd_remove(r->loop, &r->poll);
}

void virgl_fences_end(struct gpu_renderer *r)
{
    virgl_fences_forget(r);
    pthread_mutex_destroy(&r->lock);
}

int virgl_fences_watch(struct gpu_renderer *r, struct virgl_context *context)
{
    int fd = virgl_context_is_gl(context) ? -1 : virgl_renderer_context_get_poll_fd(context->id);

    if (fd < 0)
        return 0;
    context->poll = (struct loop_fd){.fd = fd, .events = EPOLLIN, .ready = context_poll_ready};
    return loop_fd_add(r->loop, &context->poll, NULL);
}
