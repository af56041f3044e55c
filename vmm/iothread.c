/* The threads that serve devices: one that all share, and those named by iothread=. */
#include "vmm/iothread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LENGTH 15 /* of a thread's name on Linux */

static int iothread_add(struct iothreads *threads, const char *name, struct error *err)
{
    struct iothread *grown = realloc(threads->items, (threads->count + 1) * sizeof(*grown));
    struct iothread *thread;
    int ret;

    if (!grown)
        return error_set(err, ENOMEM, "no memory for a thread");
    threads->items = grown;
    thread = &grown[threads->count];
    *thread = (struct iothread){.name = strdup(name)};
    if (!thread->name)
        return error_set(err, ENOMEM, "no memory for a thread");
    ret = loop_create(&thread->loop, err);
    if (ret) {
        free(thread->name);
        return ret;
    }
    threads->count++;
    return 0;
}

int iothreads_get(struct iothreads *threads, const char *name, struct loop **out, struct error *err)
{
    int ret;

    for (size_t i = 0; i < threads->count; i++)
        if (strcmp(threads->items[i].name, name) == 0) {
            *out = threads->items[i].loop;
            return 0;
        }
    if (!name[0] || strlen(name) > NAME_MAX_LENGTH)
        return error_set(err, EINVAL, "iothread: '%s' is no name of 1 to %d characters", name,
                         NAME_MAX_LENGTH);
    ret = iothread_add(threads, name, err);
    if (!ret)
        *out = threads->items[threads->count - 1].loop;
    return ret;
}

int iothreads_start(struct iothreads *threads, struct error *err)
{
    for (size_t i = 0; i < threads->count; i++) {
        struct iothread *thread = &threads->items[i];
        int ret;

        if (thread->running)
            continue;
        ret = loop_start_thread(thread->loop, thread->name, err);
        if (ret)
            return ret;
        thread->running = true;
    }
    return 0;
}

void iothreads_stop(struct iothreads *threads)
{
    for (size_t i = 0; i < threads->count; i++) {
        if (threads->items[i].running)
            loop_join_thread(threads->items[i].loop);
        threads->items[i].running = false;
    }
}

void iothreads_free(struct iothreads *threads)
{
    for (size_t i = 0; i < threads->count; i++) {
        loop_destroy(threads->items[i].loop);
        free(threads->items[i].name);
    }
    free(threads->items);
    *threads = (struct iothreads){0};
}
