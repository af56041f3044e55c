/*
 * Prints how many thousand times a second this processor's time stamp counter counts.
 *
 * An emulated machine's counter is this one. Its kernel would measure it against a timer while this
 * machine may be busy with something else, and be wrong by a factor.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define NS 1000000000ull

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

struct sample {
    uint64_t ns, ticks;
};

/* The one of many during which the least happened. */
static struct sample take(void)
{
    struct sample best = {0, 0};
    uint64_t shortest = UINT64_MAX;

    for (int i = 0; i < 1000; i++) {
        uint64_t before = now_ns(), ticks = __rdtsc(), took = now_ns() - before;

        if (took < shortest) {
            shortest = took;
            best = (struct sample){before + took / 2, ticks};
        }
    }
    return best;
}

int main(void)
{
    struct sample first = take(), last;

    nanosleep(&(struct timespec){.tv_nsec = NS / 10}, NULL);
    last = take();
    printf("%llu\n", (unsigned long long)((double)(last.ticks - first.ticks) * 1e6 /
                                          (double)(last.ns - first.ns)));
    return 0;
}
