/*
 * Confinement: what a process that serves a device gives up once it has opened all it needs.
 *
 *   - every descriptor that it inherited and did not take into use
 *   - core dumps, which would hold the guest's memory
 *   - its user, mount, network, IPC and UTS name spaces, for empty ones; its root is an empty
 *     directory, read-only; no network interface is there
 *   - all capabilities, and ways to get any (no_new_privs)
 *   - all system calls that a device of its type does not make (isolate/filter.h)
 *
 * A name space of process IDs cannot be left: a process is born into one (isolate_clone).
 * Hosts may forbid name spaces, containers most of all: what was not permitted is logged at level
 * info, and the rest goes on. Only no_new_privs and the filter must succeed.
 */
#ifndef VMM_ISOLATE_H
#define VMM_ISOLATE_H

#include "base/error.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <sys/types.h>

struct isolate {
    const char *name; /* the device's, for logs; borrowed */
    struct sock_fprog filter;
};

/* First, while files can be opened: load the filter for devices of this type. -ENOENT: there is
 * none. */
int isolate_prepare(struct isolate *isolate, const char *type, const char *name, struct error *err);

/* Give everything up. The process must have one thread, or keep its user name space. */
int isolate_enter(struct isolate *isolate, struct error *err);
void isolate_release(struct isolate *isolate);

/*
 * As fork, for a child that calls nothing but execve, and what a signal handler may call. It dies
 * with the thread that made it, and with `alone` it is the first process of a new name space of
 * process IDs, where that is permitted. Returns the child's ID, 0 in the child, or a negative
 * errno.
 */
pid_t isolate_clone(const char *name, bool alone);

#endif
