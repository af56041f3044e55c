/*
 * Guest physical memory: an array of regions, and the one checked way to a host pointer.
 *
 * A guest address is a distinct type, so that a number from a ring cannot be dereferenced by
 * mistake. guest_memory_map takes address *and* length and fails unless the whole range lies inside
 * one region; nothing else in the program turns a guest address into a pointer. Regions are fixed
 * once the machine runs, so lookups need no lock and may come from any thread.
 *
 * What a mapped pointer points at may change at any time while the guest runs: copy once, validate
 * the copy.
 */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t value;
} gpa_t;

#define GPA(x) ((gpa_t){(x)})

struct guest_region {
    uint64_t start;  /* guest physical address, page aligned */
    uint64_t size;   /* bytes, page aligned */
    uint8_t *host;   /* where the region is mapped in this process */
    int fd;          /* memfd that backs it, or -1 for anonymous memory; owned by guest_memory */
    uint64_t offset; /* of `start` in fd */
    unsigned flags;  /* enum guest_memory_flags it was made with */
    bool external;   /* the caller's memory: neither freed nor remapped here */
};

#define GUEST_MEMORY_REGIONS 8

struct guest_memory {
    size_t count;
    struct guest_region regions[GUEST_MEMORY_REGIONS]; /* sorted by start, not overlapping */
};

enum guest_memory_flags {
    GUEST_MEMORY_SHARED = 1 << 0,    /* memfd, so that other processes can map it */
    GUEST_MEMORY_HUGEPAGES = 1 << 1, /* hugetlb pages; refused when the host has too few */
};

void guest_memory_init(struct guest_memory *mem);

/*
 * Allocate and map `size` bytes (page multiple) of zeroed RAM at guest address `start`. Transparent
 * huge pages are asked for by madvise when the memory is anonymous, but for the first 2 MiB.
 * Errors: -ENOMEM, -EEXIST when it overlaps a region, -EINVAL for unaligned or wrapping ranges, or
 * the host's reason.
 */
int guest_memory_add(struct guest_memory *mem, uint64_t start, uint64_t size, unsigned flags,
                     struct error *err);

/* As above for memory that is the caller's (tests, a vhost-user server): it is not freed here. */
int guest_memory_add_external(struct guest_memory *mem, uint64_t start, uint64_t size, void *host,
                              struct error *err);

/* Bytes of all regions. */
uint64_t guest_memory_size(const struct guest_memory *mem);

/* Unmap and close all that guest_memory_add made. */
void guest_memory_destroy(struct guest_memory *mem);

/*
 * Make all RAM read as zeroes again, for a reboot in place, and give its pages back to the host.
 * Regions keep their host addresses and memfds; whatever was mapped over a part of a region (see
 * guest_memory_map_file) is gone. No vCPU may run. Errors: the host's reason; memory may then be
 * cleared in part.
 */
int guest_memory_clear(struct guest_memory *mem, struct error *err);

/*
 * Let [addr, addr+len) show the bytes of a file from `offset` on, without reading them: the pages
 * are mapped privately over the region, so guest writes stay in memory. All three page-aligned.
 * -EOPNOTSUPP for memory where this cannot be done (memfd: others would not see it; huge pages;
 * external memory): read the file into it then.
 */
int guest_memory_map_file(struct guest_memory *mem, gpa_t addr, uint64_t len, int fd,
                          uint64_t offset, struct error *err);

/* Host pointer to [addr, addr+len), or NULL unless all of it is in one region. len 0 is NULL. */
void *guest_memory_map(const struct guest_memory *mem, gpa_t addr, uint64_t len);

/* Copy out of / into guest memory; -EFAULT (and nothing copied) when the range is not all RAM. */
int guest_memory_read(const struct guest_memory *mem, gpa_t addr, void *buf, size_t len);
int guest_memory_write(const struct guest_memory *mem, gpa_t addr, const void *buf, size_t len);

#endif
