/*
 * The end of the supervisor's socket (device_process.h) that is in the process of the device.
 */
#ifndef VMM_DEVICE_PROGRAM_SUPERVISED_H
#define VMM_DEVICE_PROGRAM_SUPERVISED_H

#include "base/error.h"
#include "base/loop.h"

struct supervised {
    struct loop_fd fd; /* -1: nobody supervises */

    /* What it asks for, on the loop: 0, or -errno with the reason, which it is told. */
    int (*start)(void *opaque, struct error *err);
    int (*command)(void *opaque, const char *name, const char *argument, struct error *err);

    /* It is gone. On the loop. */
    void (*ended)(void *opaque);
    void *opaque;
};

/* Take the descriptor that --supervisor named. */
int supervised_open(struct supervised *supervised, const char *fd, struct error *err);

/* Listen to it from now on. */
int supervised_serve(struct supervised *supervised, struct loop *loop, struct error *err);

/* How something went that it waits for: `ret` as above. */
void supervised_tell(const struct supervised *supervised, int ret, const struct error *err);

#endif
