#include "guest/memory.h"

#include "base/bytes.h"
#include "base/reservation.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE      (4 * KIB)
#define HUGE_PAGE (2 * MIB)

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

void guest_memory_init(struct guest_memory *mem)
{
    *mem = (struct guest_memory){0};
}

static int range_check(const struct guest_memory *mem, uint64_t start, uint64_t size,
                       uint64_t alignment, struct error *err)
{
    if (size == 0 || (start | size) & (alignment - 1))
        return error_set(err, EINVAL,
                         "guest memory at 0x%" PRIx64 ", size 0x%" PRIx64
                         ", is not a multiple of %" PRIu64 " KiB",
                         start, size, alignment / KIB);
    if (start + size < start || size > SIZE_MAX - HUGE_PAGE)
        return error_set(err, EINVAL, "guest memory at 0x%" PRIx64 ", size 0x%" PRIx64 ", wraps",
                         start, size);
    if (mem->count == GUEST_MEMORY_REGIONS)
        return error_set(err, ENOMEM, "more than %d guest memory regions", GUEST_MEMORY_REGIONS);
    for (size_t i = 0; i < mem->count; i++) {
        const struct guest_region *r = &mem->regions[i];

        if (start < r->start + r->size && r->start < start + size)
            return error_set(err, EEXIST,
                             "guest memory at 0x%" PRIx64 " overlaps that at 0x%" PRIx64, start,
                             r->start);
    }
    return 0;
}

static void region_insert(struct guest_memory *mem, const struct guest_region *region)
{
    size_t i = mem->count++;

    for (; i > 0 && mem->regions[i - 1].start > region->start; i--)
        mem->regions[i] = mem->regions[i - 1];
    mem->regions[i] = *region;
}

/*
 * Where a machine starts there are only a few tables: a huge page would be cleared for them before
 * the first instruction (0.5 ms of 21 in `make bench-boot`; a boot as a whole takes the same time).
 * Both calls fail on kernels without transparent huge pages, which is no reason not to run.
 */
static void advise_huge_pages(const struct guest_region *region)
{
    uint64_t small = region->start == 0 ? MIN(region->size, HUGE_PAGE) : 0;

    (void)madvise(region->host, small, MADV_NOHUGEPAGE);
    (void)madvise(region->host + small, region->size - small, MADV_HUGEPAGE);
}

/* Map the region's memory at region->host, replacing what is there. */
static int region_map(const struct guest_region *region)
{
    int flags = MAP_FIXED;
    void *p;

    if (region->fd >= 0)
        flags |= MAP_SHARED;
    else
        flags |= MAP_PRIVATE | MAP_ANONYMOUS;
    if (region->fd < 0 && region->flags & GUEST_MEMORY_HUGEPAGES)
        flags |= MAP_HUGETLB | MAP_HUGE_2MB;
    p = mmap(region->host, region->size, PROT_READ | PROT_WRITE, flags, region->fd,
             (off_t)region->offset);
    if (p == MAP_FAILED)
        return -errno;
    if (!(region->flags & GUEST_MEMORY_HUGEPAGES))
        advise_huge_pages(region);
    return 0;
}

static int region_memfd(struct guest_region *region, struct error *err)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd;

    if (region->flags & GUEST_MEMORY_HUGEPAGES)
        flags |= MFD_HUGETLB | MFD_HUGE_2MB;
    fd = memfd_create("guest-memory", flags);
    if (fd < 0)
        return error_errno(err, errno, "cannot create a memfd for guest memory");
    if (ftruncate(fd, (off_t)region->size) < 0) {
        int code = errno;

        close(fd);
        return error_errno(err, code, "cannot size guest memory of %" PRIu64 " MiB",
                           region->size / MIB);
    }
    /* Who is given the memfd must not be able to take pages away under us. */
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    region->fd = fd;
    return 0;
}

int guest_memory_add(struct guest_memory *mem, uint64_t start, uint64_t size, unsigned flags,
                     struct error *err)
{
    struct guest_region region = {.start = start, .size = size, .fd = -1, .flags = flags};
    int ret = range_check(mem, start, size, flags & GUEST_MEMORY_HUGEPAGES ? HUGE_PAGE : PAGE, err);

    if (ret < 0)
        return ret;
    if (flags & GUEST_MEMORY_SHARED) {
        ret = region_memfd(&region, err);
        if (ret < 0)
            return ret;
    }
    region.host = reservation_make(start, size);
    ret = region.host ? region_map(&region) : -ENOMEM;
    if (ret < 0) {
        if (region.host)
            munmap(region.host, size);
        if (region.fd >= 0)
            close(region.fd);
        return error_errno(err, -ret, "cannot allocate %" PRIu64 " MiB of %sguest memory",
                           size / MIB, flags & GUEST_MEMORY_HUGEPAGES ? "huge-page " : "");
    }
    region_insert(mem, &region);
    return 0;
}

int guest_memory_add_external(struct guest_memory *mem, uint64_t start, uint64_t size, void *host,
                              struct error *err)
{
    struct guest_region region = {
        .start = start, .size = size, .host = host, .fd = -1, .external = true};
    int ret = range_check(mem, start, size, PAGE, err);

    if (ret < 0)
        return ret;
    region_insert(mem, &region);
    return 0;
}

uint64_t guest_memory_size(const struct guest_memory *mem)
{
    uint64_t size = 0;

    for (size_t i = 0; i < mem->count; i++)
        size += mem->regions[i].size;
    return size;
}

void guest_memory_destroy(struct guest_memory *mem)
{
    for (size_t i = 0; i < mem->count; i++) {
        const struct guest_region *r = &mem->regions[i];

        if (r->external)
            continue;
        munmap(r->host, r->size);
        if (r->fd >= 0)
            close(r->fd);
    }
    guest_memory_init(mem);
}

static int region_clear(const struct guest_region *r)
{
    if (r->fd >= 0 && r->flags & GUEST_MEMORY_HUGEPAGES) {
        memset(r->host, 0, r->size); /* a hole would give the reserved pages away */
        return 0;
    }
    if (r->fd >= 0) {
        if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->offset,
                      (off_t)r->size) < 0)
            return -errno;
        return 0;
    }
    if (r->external) {
        memset(r->host, 0, r->size);
        return 0;
    }
    return region_map(r);
}

int guest_memory_clear(struct guest_memory *mem, struct error *err)
{
    for (size_t i = 0; i < mem->count; i++) {
        int ret = region_clear(&mem->regions[i]);

        if (ret < 0)
            return error_errno(err, -ret, "cannot clear guest memory at 0x%" PRIx64,
                               mem->regions[i].start);
    }
    return 0;
}

static const struct guest_region *region_find(const struct guest_memory *mem, uint64_t addr,
                                              uint64_t len)
{
    for (size_t i = 0; i < mem->count; i++) {
        const struct guest_region *r = &mem->regions[i];
        uint64_t offset = addr - r->start; /* huge when addr is below the region */

        if (offset < r->size)
            return len && len <= r->size - offset ? r : NULL;
    }
    return NULL;
}

void *guest_memory_map(const struct guest_memory *mem, gpa_t addr, uint64_t len)
{
    const struct guest_region *r = region_find(mem, addr.value, len);

    return r ? r->host + (addr.value - r->start) : NULL;
}

int guest_memory_map_file(struct guest_memory *mem, gpa_t addr, uint64_t len, int fd,
                          uint64_t offset, struct error *err)
{
    const struct guest_region *r = region_find(mem, addr.value, len);
    uint8_t *host;

    if (!r)
        return error_set(err, EFAULT, "guest address 0x%" PRIx64 " is not RAM", addr.value);
    if (r->fd >= 0 || r->external || r->flags & GUEST_MEMORY_HUGEPAGES ||
        (addr.value | len | offset) & (PAGE - 1))
        return error_set(err, EOPNOTSUPP, "no file can be mapped at guest address 0x%" PRIx64,
                         addr.value);
    host = r->host + (addr.value - r->start);
    if (mmap(host, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, (off_t)offset) ==
        MAP_FAILED)
        return error_errno(err, errno, "cannot map a file at guest address 0x%" PRIx64, addr.value);
    return 0;
}

int guest_memory_read(const struct guest_memory *mem, gpa_t addr, void *buf, size_t len)
{
    const void *p = guest_memory_map(mem, addr, len);

    if (len == 0)
        return 0;
    if (!p)
        return -EFAULT;
    memcpy(buf, p, len);
    return 0;
}

int guest_memory_write(const struct guest_memory *mem, gpa_t addr, const void *buf, size_t len)
{
    void *p = guest_memory_map(mem, addr, len);

    if (len == 0)
        return 0;
    if (!p)
        return -EFAULT;
    memcpy(p, buf, len);
    return 0;
}
