/*
 * Choosing addresses for a kernel: its physical base among free RAM, and the displacement of its
 * virtual addresses.
 */
#ifndef GUEST_PLACEMENT_H
#define GUEST_PLACEMENT_H

#include "base/error.h"
#include "guest/memory.h"

#include <stdbool.h>
#include <stdint.h>

struct placement_request {
    uint64_t size;      /* bytes of RAM needed */
    uint64_t alignment; /* power of two */
    uint64_t preferred; /* base it is linked for */
    bool movable;       /* false: only `preferred` will do */
    bool random;        /* choose evenly among all bases that will do */
    uint64_t lowest;    /* use RAM in [lowest, limit) */
    uint64_t limit;
};

/* A base with all of [base, base+size) RAM; -ENOMEM when there is none. */
int placement_physical(const struct placement_request *request, const struct guest_memory *mem,
                       uint64_t *base, struct error *err);

/*
 * A random displacement (a multiple of `alignment`) for a kernel linked `link_base` bytes into
 * Linux's 1 GiB window for kernel text; 0 where there is no choice. Linux: find_random_virt_addr in
 * arch/x86/boot/compressed/kaslr.c.
 */
uint64_t placement_displacement(uint64_t link_base, uint64_t size, uint64_t alignment);

#endif
