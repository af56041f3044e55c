#include "base/memory_guard.h"

#include "base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct guard {
    atomic_uintptr_t start;
    _Atomic(size_t) length; /* 0: not in use */
    atomic_int lost_fd;
};

static struct guard guards[MEMORY_GUARDS];
static struct sigaction before; /* what SIGBUS did */
static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint losses;

static bool replace(const struct guard *guard)
{
    const uint64_t one = 1;
    void *start = (void *)atomic_load(&guard->start); /* NOLINT: it was a pointer */
    int saved = errno;
    /* The system call itself: libc's mmap is not for signal handlers. */
    bool done = syscall(SYS_mmap, start, atomic_load(&guard->length), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                        (off_t)0) == (long)(uintptr_t)start;

    atomic_fetch_add(&losses, done);
    if (done && write(atomic_load(&guard->lost_fd), &one, sizeof(one)) < 0) {
        /* The counter is full: it was told before. */
    }
    errno = saved;
    return done;
}

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;

    for (size_t i = 0; i < MEMORY_GUARDS; i++)
        if (address - atomic_load(&guards[i].start) < atomic_load(&guards[i].length) &&
            replace(&guards[i]))
            return;
    if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN ||
        before.sa_flags & (int)SA_RESETHAND)
        sigaction(signal, &before, NULL); /* the instruction comes again, and finds that */
    else if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signal, info, context);
    else
        before.sa_handler(signal);
}

static int install(struct error *err)
{
    /* SA_NODEFER: the handler of before may leave by a jump. */
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};

    struct sigaction now;

    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction == on_bus_error)
        return 0;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &before) < 0 ? error_errno(err, errno, "cannot handle SIGBUS")
                                                   : 0;
}

static int take_guard(void *start, size_t length, int lost_fd, struct error *err)
{
    for (int i = 0; i < MEMORY_GUARDS; i++) {
        if (atomic_load(&guards[i].length))
            continue;
        atomic_store(&guards[i].start, (uintptr_t)start);
        atomic_store(&guards[i].lost_fd, lost_fd);
        atomic_store(&guards[i].length, length);
        return i;
    }
    return error_set(err, ENOSPC, "more than %d mappings are guarded", MEMORY_GUARDS);
}

int memory_guard_add(void *start, size_t length, int lost_fd, struct error *err)
{
    int ret;

    pthread_mutex_lock(&adding);
    ret = install(err);
    if (!ret)
        ret = take_guard(start, length, lost_fd, err);
    pthread_mutex_unlock(&adding);
    return ret;
}

void memory_guard_remove(int guard)
{
    atomic_store(&guards[guard].length, 0);
}

unsigned memory_guard_losses(void)
{
    return atomic_load(&losses);
}

/* --- files ------------------------------------------------------------------------------------ */

/* Of a file of huge pages, which are its blocks, the kernel maps whole ones, and unmaps or replaces
 * nothing less. For any other file this is only more than needed. */
static size_t whole_blocks(const struct stat *status, uint64_t length)
{
    uint64_t block = (uint64_t)status->st_blksize;

    return is_power_of_two(block) ? align_up(length, block) : length;
}

static int create_map(struct guarded_map *map, int fd, uint64_t length, int protection, int lost_fd,
                      struct error *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return error_errno(err, errno, "what is to be mapped");
    if ((uint64_t)status.st_size < length)
        return error_set(err, EINVAL, "what is to be mapped is beyond the end of its file");
    map->length = whole_blocks(&status, length);
    /* Huge pages are its owner's to reserve: one that is not to be had is as one that is gone. */
    map->base = mmap(NULL, map->length, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (map->base == MAP_FAILED)
        return error_errno(err, errno, "cannot map a file");
    map->guard = memory_guard_add(map->base, map->length, lost_fd, err);
    if (map->guard < 0)
        munmap(map->base, map->length);
    return MIN(map->guard, 0);
}

int guarded_map_create(struct guarded_map *map, int fd, uint64_t length, int lost_fd,
                       struct error *err)
{
    return create_map(map, fd, length, PROT_READ | PROT_WRITE, lost_fd, err);
}

int guarded_map_create_to_read(struct guarded_map *map, int fd, uint64_t length, int lost_fd,
                               struct error *err)
{
    return create_map(map, fd, length, PROT_READ, lost_fd, err);
}

void guarded_map_destroy(struct guarded_map *map)
{
    memory_guard_remove(map->guard);
    munmap(map->base, map->length);
}
