/*
 * Host I/O by a few threads making blocking system calls, for hosts where io_uring is not to be
 * had. Threads are made when there is work and no idle thread, so a disk that is never used costs
 * none.
 *
 *   loop thread:  submit -> staged -- flush, under the lock --> pending
 *   workers:      pending -> system calls -> finished, and a signal through the eventfd
 *   loop thread:  finished -> done()
 */
#include "base/bytes.h"
#include "base/thread.h"
#include "devices/blk/io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKERS_MAX  4
#define WORKER_STACK (64 * 1024)

struct threads {
    struct blk_engine engine;
    struct loop *loop;
    struct loop_fd event; /* signalled when `finished` is no longer empty */
    const struct blk_file *file;

    struct blk_io_list staged; /* the loop's own */
    size_t staged_count;
    size_t outstanding; /* submitted and not done; the loop's own */

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t work, progress;
    struct blk_io_list pending, finished;
    size_t pending_count;
    unsigned idle;
    bool quit;

    unsigned worker_count; /* the loop's own */
    pthread_t workers[WORKERS_MAX];
};

/* Under the lock. One signal for as many operations as finish before the loop looks. */
static void threads_finish(struct threads *t, struct blk_io *io)
{
    if (!t->finished.first)
        eventfd_write(t->event.fd, 1);
    blk_io_list_add(&t->finished, io);
    pthread_cond_signal(&t->progress);
}

static void *worker_main(void *arg)
{
    struct threads *t = arg;

    pthread_mutex_lock(&t->lock);
    while (!t->quit) {
        struct blk_io *io = blk_io_list_take(&t->pending);

        if (!io) {
            t->idle++;
            pthread_cond_wait(&t->work, &t->lock);
            t->idle--;
            continue;
        }
        t->pending_count--;
        pthread_mutex_unlock(&t->lock);
        blk_io_perform(t->file, io);
        pthread_mutex_lock(&t->lock);
        threads_finish(t, io);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int worker_start(struct threads *t)
{
    int r = thread_start(&t->workers[t->worker_count], "blk-io", WORKER_STACK, worker_main, t);

    if (!r)
        t->worker_count++;
    return r;
}

static void threads_submit(struct blk_engine *engine, struct blk_io *io)
{
    struct threads *t = container_of(engine, struct threads, engine);

    blk_io_list_add(&t->staged, io);
    t->staged_count++;
    t->outstanding++;
}

/* As many workers as there is work for. When the host allows no thread at all, the loop does it. */
static void threads_provide_workers(struct threads *t, size_t wanted)
{
    while (wanted > 0 && t->worker_count < WORKERS_MAX && worker_start(t) == 0)
        wanted--;
    if (t->worker_count > 0)
        return;

    for (struct blk_io *io; (io = blk_io_list_take(&t->pending));) {
        blk_io_perform(t->file, io);
        t->pending_count--;
        pthread_mutex_lock(&t->lock);
        threads_finish(t, io);
        pthread_mutex_unlock(&t->lock);
    }
}

static void threads_flush(struct blk_engine *engine)
{
    struct threads *t = container_of(engine, struct threads, engine);
    size_t wake, idle, wanted;

    if (t->staged_count == 0)
        return;

    pthread_mutex_lock(&t->lock);
    for (struct blk_io *io; (io = blk_io_list_take(&t->staged));)
        blk_io_list_add(&t->pending, io);
    t->pending_count += t->staged_count;
    idle = t->idle;
    wanted = t->pending_count > idle ? t->pending_count - idle : 0;
    wake = MIN(t->staged_count, idle);
    t->staged_count = 0;
    pthread_mutex_unlock(&t->lock);

    while (wake-- > 0)
        pthread_cond_signal(&t->work);
    threads_provide_workers(t, wanted);
}

/* Call done for what is finished. */
static void threads_reap(struct threads *t)
{
    struct blk_io *io, *next;
    eventfd_t ignored;

    pthread_mutex_lock(&t->lock);
    io = t->finished.first;
    blk_io_list_init(&t->finished);
    if (io)
        eventfd_read(t->event.fd, &ignored);
    pthread_mutex_unlock(&t->lock);

    if (!io)
        return;
    for (; io; io = next) {
        next = io->next;
        t->outstanding--;
        io->done(io);
    }
    threads_flush(&t->engine);
    t->engine.batch_done(t->engine.opaque);
}

static void threads_ready(struct loop_fd *self, uint32_t events)
{
    (void)events;
    threads_reap(container_of(self, struct threads, event));
}

static void threads_wait(struct blk_engine *engine)
{
    struct threads *t = container_of(engine, struct threads, engine);

    threads_flush(engine);
    if (t->outstanding == 0)
        return;
    pthread_mutex_lock(&t->lock);
    while (!t->finished.first)
        pthread_cond_wait(&t->progress, &t->lock);
    pthread_mutex_unlock(&t->lock);
    threads_reap(t);
}

static void threads_destroy(struct blk_engine *engine)
{
    struct threads *t = container_of(engine, struct threads, engine);

    pthread_mutex_lock(&t->lock);
    t->quit = true;
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < t->worker_count; i++)
        pthread_join(t->workers[i], NULL);

    loop_fd_close(t->loop, &t->event);
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->progress);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static const struct blk_engine_ops threads_ops = {
    .name = "threads",
    .submit = threads_submit,
    .flush = threads_flush,
    .wait = threads_wait,
    .destroy = threads_destroy,
};

static void threads_init(struct threads *t, struct loop *loop, const struct blk_file *file)
{
    t->engine.ops = &threads_ops;
    t->loop = loop;
    t->file = file;
    blk_io_list_init(&t->staged);
    blk_io_list_init(&t->pending);
    blk_io_list_init(&t->finished);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    pthread_cond_init(&t->progress, NULL);
}

int blk_threads_create(struct loop *loop, const struct blk_file *file, struct blk_engine **out,
                       struct error *err)
{
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0)
        return error_errno(err, errno, "cannot set up disk I/O");

    struct threads *t = calloc(1, sizeof(*t));
    if (!t) {
        close(event_fd);
        return error_errno(err, ENOMEM, "cannot set up disk I/O");
    }
    threads_init(t, loop, file);
    t->event = (struct loop_fd){.fd = event_fd, .events = EPOLLIN, .ready = threads_ready};
    int r = loop_fd_add(loop, &t->event, err);
    if (r < 0) {
        close(event_fd);
        free(t);
        return r;
    }
    *out = &t->engine;
    return 0;
}
