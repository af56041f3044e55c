/*
 * Work that one thread has another's loop do while it waits, and that ends when either goes.
 *
 * loop_call would do, were it not for the end: the loop's thread waits for this one to end, which
 * waits for the loop.
 */
#ifndef DEVICES_DISPLAY_VNC_HANDOFF_H
#define DEVICES_DISPLAY_VNC_HANDOFF_H

#include "base/loop.h"

#include <pthread.h>

struct handoff {
    struct loop *to;
    struct loop_task task;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*fn)(void *arg); /* NULL: nothing is asked for */
    void *arg;
    bool closed;
};

void handoff_open(struct handoff *handoff, struct loop *to);

/* Have `fn(arg)` called on the loop, and wait for it. False: it was closed, and nothing is called.
 * One thread's. */
bool handoff_run(struct handoff *handoff, void (*fn)(void *arg), void *arg);

/* Nobody waits any more, now and later. On the loop, or while it does not run. */
void handoff_close(struct handoff *handoff);
void handoff_destroy(struct handoff *handoff); /* when the other thread has ended */

#endif
