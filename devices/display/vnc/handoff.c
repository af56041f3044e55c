#include "devices/display/vnc/handoff.h"

#include "base/bytes.h"

static void run_task(struct loop_task *task)
{
    struct handoff *h = container_of(task, struct handoff, task);

    pthread_mutex_lock(&h->lock);
    if (h->fn)
        h->fn(h->arg);
    h->fn = NULL;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

void handoff_open(struct handoff *h, struct loop *to)
{
    *h = (struct handoff){.to = to, .task.run = run_task};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
}

bool handoff_run(struct handoff *h, void (*fn)(void *arg), void *arg)
{
    bool done = false;

    pthread_mutex_lock(&h->lock);
    if (!h->closed) {
        h->fn = fn;
        h->arg = arg;
        loop_post(h->to, &h->task);
        while (h->fn && !h->closed)
            pthread_cond_wait(&h->changed, &h->lock);
        done = !h->fn;
        h->fn = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    return done;
}

void handoff_close(struct handoff *h)
{
    pthread_mutex_lock(&h->lock);
    h->closed = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    loop_task_cancel(h->to, &h->task);
}

void handoff_destroy(struct handoff *h)
{
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
}
