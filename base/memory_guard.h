/*
 * Mapped files that somebody else may shorten. Touching what is gone is a SIGBUS, which would end
 * the process; with a guard, the mapping is replaced by zeroed memory of our own and the access
 * goes on there. Its owner is told by an eventfd, and drops whoever shared the file.
 *
 * The handler does nothing but look up the address, one mmap and one write, and returns to the
 * instruction: no frame is left by a jump. A SIGBUS elsewhere does what it did before.
 */
#ifndef BASE_MEMORY_GUARD_H
#define BASE_MEMORY_GUARD_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define MEMORY_GUARDS 64 /* in a process */

/*
 * Guard [start, start + length), a whole mapping. `lost_fd` is an eventfd, borrowed, written to at
 * the first access to what is gone. Returns what names the guard, or -ENOSPC. [any]
 */
int memory_guard_add(void *start, size_t length, int lost_fd, struct error *err);

/* Before the mapping goes. */
void memory_guard_remove(int guard);

/* How many guards have found their memory gone. What the kernel does in our stead (KVM_RUN) fails
 * with EFAULT instead of a signal: it can be repeated once an access of ours has raised this. */
unsigned memory_guard_losses(void);

/* A file of somebody else's, mapped from its beginning on and guarded. */
struct guarded_map {
    void *base;
    size_t length; /* of the mapping: whole blocks of the file */
    int guard;
};

/* Map the first `length` bytes of `fd`, which stays the caller's, to read and write. -EINVAL when
 * it does not have them, -ENOSPC, -errno. */
int guarded_map_create(struct guarded_map *map, int fd, uint64_t length, int lost_fd,
                       struct error *err);

/* The same, to read only. */
int guarded_map_create_to_read(struct guarded_map *map, int fd, uint64_t length, int lost_fd,
                               struct error *err);
void guarded_map_destroy(struct guarded_map *map);

#endif
