/*
 * What fuzz targets have in common: an input taken byte by byte, a check that ends the run, one for
 * what is left open, and a loop that is given a turn.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include "base/event_signal.h"
#include "tests/driver/loop_turn.h"

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input; behind its end there are zeroes. */
struct input {
    const uint8_t *bytes;
    size_t left;
};

static inline uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->bytes++;
}

#define REQUIRE(what)                                             \
    do {                                                          \
        if (!(what)) {                                            \
            fprintf(stderr, "%s: not so: %s\n", __FILE__, #what); \
            abort();                                              \
        }                                                         \
    } while (0)

/* How many this process has: none may be left behind by an input. What the first signal opens stays
 * open for the next ones. */
static inline unsigned open_descriptors(void)
{
    DIR *dir;
    unsigned count = 0;

    event_signal(-1);
    dir = opendir("/proc/self/fd");
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* The loop handles what is ready. */
static inline void turn(struct loop *loop)
{
    loop_run_for(loop, 0);
}

#endif
