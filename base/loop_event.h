/*
 * An eventfd of ours that a loop watches: the way in which another thread or process, the kernel or
 * a device has a handler called. A struct loop_fd; close it by loop_fd_close.
 */
#ifndef BASE_LOOP_EVENT_H
#define BASE_LOOP_EVENT_H

#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>

/* Make it, and watch it: event->fd is what others signal, -1 after an error (-errno of the host's
 * refusal). [loop] */
int loop_event_open(struct loop *loop, struct loop_fd *event,
                    void (*ready)(struct loop_fd *self, uint32_t events), struct error *err);

/* Whether eventfd `fd` was signalled since this was last called. Never blocks, even if who shares
 * the file wants it. [any] */
bool loop_event_take(int fd);

#endif
