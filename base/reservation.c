#include "base/reservation.h"

#include "base/bytes.h"

#include <sys/mman.h>

#define HUGE_PAGE (2 * MIB)
#define NOTHING   (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

void *reservation_make(uint64_t start, uint64_t length)
{
    uint64_t skew = start & (HUGE_PAGE - 1), before, after;
    uint8_t *base = mmap(NULL, length + HUGE_PAGE, PROT_NONE, NOTHING, -1, 0), *host;

    if (base == MAP_FAILED)
        return NULL;
    before = (skew - (uintptr_t)base) & (HUGE_PAGE - 1);
    after = HUGE_PAGE - before;
    host = base + before;
    if (before)
        munmap(base, before);
    if (after)
        munmap(host + length, after);
    return host;
}

void reservation_clear(void *at, uint64_t length)
{
    mmap(at, length, PROT_NONE, NOTHING | MAP_FIXED, -1, 0);
}
