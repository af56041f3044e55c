/*
 * The threads that serve devices: one for all that name none, and one for each `iothread=NAME`.
 *
 * Main thread.
 */
#ifndef VMM_IOTHREAD_H
#define VMM_IOTHREAD_H

#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>

#define IOTHREAD_DEFAULT "devices"
#define IOTHREAD_DISPLAY "display" /* and the devices that have to do with it */

struct iothread {
    char *name;
    struct loop *loop;
    bool running;
};

struct iothreads {
    struct iothread *items;
    size_t count;
};

/* The loop of the thread `name`, made if there is none yet; it runs from iothreads_start on. The
 * name is what the thread is called, too: at most 15 characters, else -EINVAL. */
int iothreads_get(struct iothreads *threads, const char *name, struct loop **out,
                  struct error *err);

/* Start those that do not run yet. */
int iothreads_start(struct iothreads *threads, struct error *err);

/* Stop them all; what is called on their loops from now on is called in the caller's thread. */
void iothreads_stop(struct iothreads *threads);
void iothreads_free(struct iothreads *threads);

#endif
