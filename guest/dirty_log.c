#include "guest/dirty_log.h"

#include "base/bytes.h"
#include "base/event_signal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int log_map(struct dirty_log *log, int fd, uint64_t offset, uint64_t size, struct error *err)
{
    void *bits = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

    *log = (struct dirty_log){.bits = bits, .size = size, .fd = -1, .signal_fd = -1};
    if (bits != MAP_FAILED)
        return 0;
    log->bits = NULL;
    return error_errno(err, errno, "cannot map a log of %" PRIu64 " KiB", size / KIB);
}

int dirty_log_create(struct dirty_log *log, const struct guest_memory *mem, struct error *err)
{
    const struct guest_region *last = mem->count ? &mem->regions[mem->count - 1] : NULL;
    uint64_t pages = last ? (last->start + last->size) / DIRTY_PAGE_SIZE : 0;
    uint64_t size = align_up(pages / 8 + 1, DIRTY_PAGE_SIZE);
    int ret, fd = memfd_create("dirty-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return error_errno(err, errno, "cannot create a memfd for the log of dirty pages");
    ret = ftruncate(fd, (off_t)size) < 0 ||
                  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0
              ? error_errno(err, errno, "cannot size a log of %" PRIu64 " KiB", size / KIB)
              : log_map(log, fd, 0, size, err);
    if (ret)
        close(fd);
    else
        log->fd = fd;
    return ret;
}

int dirty_log_open(struct dirty_log *log, int fd, uint64_t offset, uint64_t size, struct error *err)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (size == 0 || size % 8)
        return error_set(err, EINVAL, "a log of %" PRIu64 " bytes", size);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return error_set(err, EINVAL, "the log's file could shrink: it is not sealed");
    if (fstat(fd, &st) < 0 || offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
        return error_set(err, EINVAL, "the log's file is smaller than the log");
    return log_map(log, fd, offset, size, err);
}

void dirty_log_destroy(struct dirty_log *log)
{
    if (!log->bits)
        return;
    munmap(log->bits, log->size);
    if (log->fd >= 0)
        close(log->fd);
    *log = (struct dirty_log){.fd = -1};
}

void dirty_log_mark(struct dirty_log *log, gpa_t addr, uint64_t len)
{
    uint64_t page = addr.value / DIRTY_PAGE_SIZE, last;
    bool news = false;

    if (len == 0 || __builtin_add_overflow(addr.value, len - 1, &last))
        return;
    last = MIN(last / DIRTY_PAGE_SIZE, log->size * 8 - 1);
    for (; page <= last; page++) {
        uint8_t *byte = &log->bits[page / 8], bit = (uint8_t)(1 << page % 8);

        /* Most pages are written to again and again: a look is cheaper than a locked write. What
         * clears the bit at this moment has not copied the page yet. */
        if (!(__atomic_load_n(byte, __ATOMIC_SEQ_CST) & bit))
            news |= !(__atomic_fetch_or(byte, bit, __ATOMIC_SEQ_CST) & bit);
    }
    if (news && log->signal_fd >= 0)
        event_signal(log->signal_fd);
}

void dirty_log_mark_host(struct dirty_log *log, const struct guest_memory *mem, const void *host,
                         uint64_t len)
{
    for (size_t i = 0; i < mem->count; i++) {
        const struct guest_region *region = &mem->regions[i];
        uint64_t offset = (uintptr_t)host - (uintptr_t)region->host;

        if (offset < region->size) {
            dirty_log_mark(log, GPA(region->start + offset), MIN(len, region->size - offset));
            return;
        }
    }
}

/* A run of pages as it is put together. */
struct run {
    uint64_t start, pages;
    void (*tell)(void *opaque, gpa_t start, uint64_t pages);
    void *opaque;
};

static void run_end(struct run *run)
{
    if (run->pages)
        run->tell(run->opaque, GPA(run->start * DIRTY_PAGE_SIZE), run->pages);
    run->pages = 0;
}

static void run_add(struct run *run, uint64_t page)
{
    if (run->pages && run->start + run->pages != page)
        run_end(run);
    if (!run->pages)
        run->start = page;
    run->pages++;
}

uint64_t dirty_log_take(struct dirty_log *log,
                        void (*tell)(void *opaque, gpa_t start, uint64_t pages), void *opaque)
{
    struct run run = {.tell = tell, .opaque = opaque};
    uint64_t total = 0;

    for (uint64_t i = 0; i < log->size / 8; i++) {
        uint64_t *word = (uint64_t *)(void *)log->bits + i, bits;

        if (!__atomic_load_n(word, __ATOMIC_RELAXED))
            continue;
        bits = le64toh(__atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST));
        total += (uint64_t)__builtin_popcountll(bits);
        for (; bits; bits &= bits - 1)
            run_add(&run, i * 64 + (uint64_t)__builtin_ctzll(bits));
    }
    run_end(&run);
    return total;
}
