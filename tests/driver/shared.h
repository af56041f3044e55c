/*
 * Memory of a ring, which driver and device share, as the ring libraries here touch it.
 */
#ifndef TESTS_DRIVER_SHARED_H
#define TESTS_DRIVER_SHARED_H

#include "base/bytes.h"
#include "guest/memory.h"

#include <stdio.h>
#include <stdlib.h>

/* Little-endian, atomic, in one order for all threads. */
static inline uint16_t shared_load16(const uint8_t *p)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_SEQ_CST));
}

static inline void shared_store16(uint8_t *p, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)p, htole16(value), __ATOMIC_SEQ_CST);
}

/* Where guest memory is for us. A test that names memory it does not have is wrong itself: it ends
 * here. */
static inline void *shared_map(const struct guest_memory *memory, uint64_t address, uint64_t length)
{
    void *p = guest_memory_map(memory, GPA(address), length);

    if (!p) {
        fprintf(stderr, "test ring: 0x%llx+0x%llx is not guest memory\n",
                (unsigned long long)address, (unsigned long long)length);
        abort();
    }
    return p;
}

#endif
