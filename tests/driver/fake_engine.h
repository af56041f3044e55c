/*
 * A host I/O engine (devices/blk/io.h) on bytes in memory, for tests of what stands on an engine.
 *
 * It insists on alignment as direct I/O does, starts nothing by itself, and finishes operations in
 * an order of its own, one with each wait.
 */
#ifndef TESTS_DRIVER_FAKE_ENGINE_H
#define TESTS_DRIVER_FAKE_ENGINE_H

#include "devices/blk/io.h"

#include <stdint.h>

struct fake_engine {
    struct blk_engine engine;
    uint8_t *bytes; /* owned */
    uint64_t size;
    uint32_t memory, block; /* alignments; anything else fails the test */
    uint64_t random;        /* state of the order */
    struct blk_io *waiting;
    unsigned count, peak;    /* operations waiting now, and the most at one time */
    unsigned transferred;    /* operations finished */
    int fail;                /* give this error to all from now on; 0: none */
    int refuse;              /* give this error within submit to ranges; 0: none */
    unsigned depth, deepest; /* calls of submit within each other, and the most of them */
    bool destroyed;
};

/* The engine is zeroed bytes of `size`. Its `destroy` frees them. */
void fake_engine_init(struct fake_engine *fake, uint64_t size, uint32_t memory, uint32_t block);

#endif
