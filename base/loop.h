/*
 * Event loops: file descriptors, timers and work posted from other threads, on one thread each.
 *
 * A loop is run by exactly one thread (loop_run, or a thread made by loop_start_thread). Handlers
 * run on it, one at a time, so what belongs to a loop needs no lock. All objects are embedded in
 * their owner's structures; the loop allocates nothing after loop_create. Functions marked [loop]
 * may be called on the loop's thread, or before the loop runs; [any] on any thread.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

int loop_create(struct loop **out, struct error *err);
void loop_destroy(struct loop *loop); /* the loop must not be running */

/* Run handlers until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* [any], also from a signal handler */

/* Run the loop on a thread of its own, named `name` (15 characters), all signals blocked. */
int loop_start_thread(struct loop *loop, const char *name, struct error *err);
void loop_join_thread(struct loop *loop); /* stop it and wait */

/* File descriptors. `events` as for epoll (EPOLLIN, EPOLLOUT, EPOLLET). Adding a regular file is
 * -EPERM, as for epoll: it is always ready. Remove a descriptor before closing it. */
struct loop_fd {
    int fd;
    uint32_t events;
    void (*ready)(struct loop_fd *self, uint32_t events);
};
int loop_fd_add(struct loop *loop, struct loop_fd *fd, struct error *err);      /* [loop] */
int loop_fd_set_events(struct loop *loop, struct loop_fd *fd, uint32_t events); /* [loop] */

/* After this returns `ready` is not called again, even if an event was already gathered. [loop] */
void loop_fd_remove(struct loop *loop, struct loop_fd *fd);

/* Remove it, close it, and make it -1; nothing where it is that already. [loop] */
void loop_fd_close(struct loop *loop, struct loop_fd *fd);

/* One-shot timers on CLOCK_MONOTONIC. A set timer is moved by setting it again. */
struct loop_timer {
    uint64_t deadline_ns; /* 0: not set */
    void (*expired)(struct loop_timer *self);
    struct loop_timer *next;
};
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns); /* [loop] */
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);                 /* [loop] */

/* Run `fn(arg)` on the loop's thread and wait for it. On that thread itself, or when the loop is
 * not running, it is simply called. Never call it holding a lock that a handler of the loop takes.
 * [any] */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Run task->run on the loop's thread, later. A task that is already queued is not queued twice.
 * [any] */
struct loop_task {
    void (*run)(struct loop_task *self);
    struct loop_task *next;
    bool queued;
};
void loop_post(struct loop *loop, struct loop_task *task);

/* After this returns `run` is not called unless the task is posted again. [loop] */
void loop_task_cancel(struct loop *loop, struct loop_task *task);

uint64_t loop_now_ns(void); /* CLOCK_MONOTONIC */

#endif
