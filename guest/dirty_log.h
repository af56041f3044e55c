/*
 * Which pages of guest memory were written to: for migration, snapshots, and tests.
 *
 * One bit for each page of 4 KiB, page 0 of guest memory in bit 0 of byte 0, whatever regions there
 * are: the layout of vhost's log, so that other processes and the kernel can set bits in the same
 * memory. Setting is atomic and may come from any thread and process, taking as well. Whoever
 * writes to guest memory marks afterwards: then a page that is taken, and copied, before a write
 * has ended is found again by the next taking.
 */
#ifndef GUEST_DIRTY_LOG_H
#define GUEST_DIRTY_LOG_H

#include "base/error.h"
#include "guest/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRTY_PAGE_SIZE 4096u

struct dirty_log {
    uint8_t *bits;
    uint64_t size; /* bytes, a multiple of 8 */
    int fd;        /* memfd behind it; -1: none of ours */
    int signal_fd; /* an eventfd that is signalled when a page is marked that was not; -1: none */
};

/* An empty log of all of `mem`, in a memfd. -errno of the host's refusal. */
int dirty_log_create(struct dirty_log *log, const struct guest_memory *mem, struct error *err);

/* Somebody else's log: `size` bytes of `fd`, a multiple of 8, from `offset` on, which stays the
 * caller's. The file must be able to hold that much and not to shrink (sealed), since a bit set
 * beyond its end would be fatal. -EINVAL when it is not so. */
int dirty_log_open(struct dirty_log *log, int fd, uint64_t offset, uint64_t size,
                   struct error *err);

void dirty_log_destroy(struct dirty_log *log); /* nothing of a zeroed one */

/* Mark the pages of [addr, addr + len). Pages the log has no bits for are left out. */
void dirty_log_mark(struct dirty_log *log, gpa_t addr, uint64_t len);

/* The same by where `mem` has it mapped; a pointer to anything else marks nothing. */
void dirty_log_mark_host(struct dirty_log *log, const struct guest_memory *mem, const void *host,
                         uint64_t len);

/* Clear the log and `tell` each run of pages that was marked, in order of addresses. Returns how
 * many pages that were. */
uint64_t dirty_log_take(struct dirty_log *log,
                        void (*tell)(void *opaque, gpa_t start, uint64_t pages), void *opaque);

#endif
