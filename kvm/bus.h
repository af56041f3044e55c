/*
 * Dispatch of guest accesses to address ranges.
 *
 * Two sorted tables, one for memory and one for ports. Lookups take a reader lock for a moment; the
 * handler runs without it, and its range is pinned meanwhile, so that removing a range waits for
 * handlers that are under way and a handler may move its own range.
 */
#ifndef KVM_BUS_H
#define KVM_BUS_H

#include "base/error.h"
#include "base/platform.h"

#include <pthread.h>
#include <stddef.h>

struct bus_entry;

struct bus {
    pthread_rwlock_t lock;
    size_t count, capacity;
    struct bus_entry **entries; /* sorted by base */
};

struct machine_bus {
    struct bus spaces[2]; /* by enum address_space */
};

void bus_init(struct machine_bus *bus);
void bus_destroy(struct machine_bus *bus);
int bus_add(struct machine_bus *bus, const struct address_range *range, struct error *err);
void bus_remove(struct machine_bus *bus, enum address_space space, uint64_t base);

/* An access of `size` bytes. Reads of nothing give all ones, writes to nothing are dropped; an
 * access that begins in a range and ends outside it counts as nothing. */
void bus_read(struct machine_bus *bus, enum address_space space, uint64_t address, void *data,
              unsigned size);
void bus_write(struct machine_bus *bus, enum address_space space, uint64_t address,
               const void *data, unsigned size);

#endif
