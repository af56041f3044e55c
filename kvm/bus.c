#include "kvm/bus.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct bus_entry {
    struct address_range range;
    atomic_uint references; /* one of the table, one of each handler under way */
};

/* The handlers this thread is in, innermost first; removing their ranges must not wait for them. */
struct bus_frame {
    const struct bus_entry *entry;
    struct bus_frame *outer;
};
static _Thread_local struct bus_frame *innermost_frame;

void bus_init(struct machine_bus *bus)
{
    memset(bus, 0, sizeof(*bus));
    for (size_t i = 0; i < ARRAY_SIZE(bus->spaces); i++)
        pthread_rwlock_init(&bus->spaces[i].lock, NULL);
}

void bus_destroy(struct machine_bus *bus)
{
    for (size_t i = 0; i < ARRAY_SIZE(bus->spaces); i++) {
        struct bus *space = &bus->spaces[i];
        for (size_t n = 0; n < space->count; n++)
            free(space->entries[n]);
        free(space->entries);
        pthread_rwlock_destroy(&space->lock);
    }
}

/* Index of the first entry that ends above `address`. */
static size_t bus_search(const struct bus *space, uint64_t address)
{
    size_t low = 0, high = space->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct address_range *range = &space->entries[middle]->range;
        if (range->base + (range->size - 1) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int bus_insert(struct bus *space, struct bus_entry *entry, struct error *err)
{
    const struct address_range *range = &entry->range;
    size_t at = bus_search(space, range->base);

    if (at < space->count && space->entries[at]->range.base <= range->base + (range->size - 1))
        return error_set(err, EEXIST, "addresses 0x%" PRIx64 "+0x%" PRIx64 " of %s are taken by %s",
                         range->base, range->size, range->name, space->entries[at]->range.name);
    if (space->count == space->capacity) {
        size_t capacity = space->capacity ? space->capacity * 2 : 8;
        struct bus_entry **grown = realloc(space->entries, capacity * sizeof(*grown));
        if (!grown)
            return error_set(err, ENOMEM, "no memory for address range %s", range->name);
        space->entries = grown;
        space->capacity = capacity;
    }
    memmove(&space->entries[at + 1], &space->entries[at],
            (space->count - at) * sizeof(*space->entries));
    space->entries[at] = entry;
    space->count++;
    return 0;
}

int bus_add(struct machine_bus *bus, const struct address_range *range, struct error *err)
{
    struct bus *space = &bus->spaces[range->space];
    struct bus_entry *entry;
    int ret;

    if (!range->size || range->base + (range->size - 1) < range->base)
        return error_set(err, EINVAL, "address range %s is empty or wraps", range->name);
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return error_set(err, ENOMEM, "no memory for address range %s", range->name);
    entry->range = *range;
    atomic_init(&entry->references, 1);

    pthread_rwlock_wrlock(&space->lock);
    ret = bus_insert(space, entry, err);
    pthread_rwlock_unlock(&space->lock);
    if (ret)
        free(entry);
    return ret;
}

static void bus_unpin(struct bus_entry *entry)
{
    if (atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) == 1)
        free(entry);
}

static bool bus_called_through(const struct bus_entry *entry)
{
    for (const struct bus_frame *frame = innermost_frame; frame; frame = frame->outer)
        if (frame->entry == entry)
            return true;
    return false;
}

void bus_remove(struct machine_bus *bus, enum address_space which, uint64_t base)
{
    struct bus *space = &bus->spaces[which];
    struct bus_entry *entry = NULL;
    size_t at;

    pthread_rwlock_wrlock(&space->lock);
    at = bus_search(space, base);
    if (at < space->count && space->entries[at]->range.base == base) {
        entry = space->entries[at];
        space->count--;
        memmove(&space->entries[at], &space->entries[at + 1],
                (space->count - at) * sizeof(*space->entries));
    }
    pthread_rwlock_unlock(&space->lock);
    if (!entry)
        return;

    /* Rare and short: a handler of another vCPU is in the range at this moment. Whoever removes the
     * range it is being called through (a BAR moved by way of itself) cannot wait: others in it may
     * wait for locks it holds. */
    if (!bus_called_through(entry))
        while (atomic_load_explicit(&entry->references, memory_order_acquire) > 1)
            sched_yield();
    bus_unpin(entry);
}

static struct bus_entry *bus_pin(struct bus *space, uint64_t address, unsigned size)
{
    struct bus_entry *entry = NULL;
    size_t at;

    pthread_rwlock_rdlock(&space->lock);
    at = bus_search(space, address);
    if (at < space->count) {
        const struct address_range *range = &space->entries[at]->range;
        if (address >= range->base && size <= range->size &&
            address - range->base <= range->size - size) {
            entry = space->entries[at];
            atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
        }
    }
    pthread_rwlock_unlock(&space->lock);
    return entry;
}

void bus_read(struct machine_bus *bus, enum address_space which, uint64_t address, void *data,
              unsigned size)
{
    struct bus_entry *entry = bus_pin(&bus->spaces[which], address, size);
    struct bus_frame frame = {entry, innermost_frame};

    memset(data, 0xff, size);
    if (!entry)
        return;
    innermost_frame = &frame;
    entry->range.read(entry->range.opaque, address - entry->range.base, data, size);
    innermost_frame = frame.outer;
    bus_unpin(entry);
}

void bus_write(struct machine_bus *bus, enum address_space which, uint64_t address,
               const void *data, unsigned size)
{
    struct bus_entry *entry = bus_pin(&bus->spaces[which], address, size);
    struct bus_frame frame = {entry, innermost_frame};

    if (!entry)
        return;
    innermost_frame = &frame;
    entry->range.write(entry->range.opaque, address - entry->range.base, data, size);
    innermost_frame = frame.outer;
    bus_unpin(entry);
}
