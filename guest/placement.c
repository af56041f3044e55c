#include "guest/placement.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

#define KERNEL_IMAGE_SIZE GIB         /* Linux asm/page_64_types.h, with CONFIG_RANDOMIZE_BASE */
#define KASLR_FLOOR_MAX   (512 * MIB) /* below it Linux's decompressor starts looking too */

/* A number below `bound`. 64 random bits make the remainder's bias immeasurable. */
static uint64_t random_below(uint64_t bound)
{
    uint64_t value;

    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value)) {
        log_warn("kernel", "no random numbers from the host: KASLR has no effect");
        return 0;
    }
    return value % bound;
}

/* The bases in one region: the first and how many, `alignment` apart. */
static uint64_t region_slots(const struct guest_region *region,
                             const struct placement_request *request, uint64_t *first)
{
    uint64_t from = MAX(region->start, request->lowest);
    uint64_t to = MIN(region->start + region->size, request->limit);

    if (from >= to) /* also before align_up could wrap */
        return 0;
    from = align_up(from, request->alignment);
    *first = from;
    if (from >= to || to - from < request->size)
        return 0;
    return (to - from - request->size) / request->alignment + 1;
}

static bool fits_at(const struct placement_request *request, const struct guest_memory *mem,
                    uint64_t base)
{
    return base >= request->lowest && base <= request->limit &&
           request->limit - base >= request->size &&
           guest_memory_map(mem, GPA(base), request->size) != NULL;
}

static int no_room(const struct placement_request *request, struct error *err)
{
    if (!request->movable)
        return error_set(err, ENOMEM,
                         "the kernel needs %" PRIu64 " MiB of RAM at 0x%" PRIx64 " exactly",
                         align_up(request->size, MIB) / MIB, request->preferred);
    return error_set(err, ENOMEM,
                     "the kernel needs %" PRIu64 " MiB of RAM between 0x%" PRIx64 " and 0x%" PRIx64
                     ": give the machine more memory",
                     align_up(request->size, MIB) / MIB, request->lowest, request->limit);
}

int placement_physical(const struct placement_request *wanted, const struct guest_memory *mem,
                       uint64_t *base, struct error *err)
{
    struct placement_request request = *wanted;
    uint64_t slots = 0, slot, first = 0;

    if (!request.random && fits_at(&request, mem, request.preferred)) {
        *base = request.preferred;
        return 0;
    }
    if (!request.movable) {
        *base = request.preferred;
        return fits_at(&request, mem, request.preferred) ? 0 : no_room(&request, err);
    }
    request.lowest = MAX(request.lowest, MIN(request.preferred, KASLR_FLOOR_MAX));
    for (size_t i = 0; i < mem->count; i++)
        slots += region_slots(&mem->regions[i], &request, &first);
    if (!slots)
        return no_room(&request, err);
    slot = request.random ? random_below(slots) : 0;
    for (size_t i = 0; i < mem->count; i++) {
        uint64_t here = region_slots(&mem->regions[i], &request, &first);

        if (slot < here) {
            *base = first + slot * request.alignment;
            return 0;
        }
        slot -= here;
    }
    return no_room(&request, err);
}

uint64_t placement_displacement(uint64_t link_base, uint64_t size, uint64_t alignment)
{
    uint64_t span = align_up(size, alignment);

    if (link_base >= KERNEL_IMAGE_SIZE || span > KERNEL_IMAGE_SIZE - link_base)
        return 0;
    return random_below((KERNEL_IMAGE_SIZE - link_base - span) / alignment + 1) * alignment;
}
