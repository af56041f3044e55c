#include "base/guarded.h"

#include "base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE (4 * KIB)

/* Where this thread goes on after a fault; NULL: it copies nothing. */
static _Thread_local sigjmp_buf *volatile resume;

/* Read by the handler, which takes no lock: `base` says whether the rest counts. */
static struct {
    _Atomic(uint8_t *) base;
    size_t length;
    int lost_fd;
} maps[GUARDED_MAPS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of changes to the rest */
static struct sigaction before_bus, before_segv;

static bool replace(void *at, size_t length)
{
    return mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

static void tell(int lost_fd)
{
    const uint64_t one = 1;

    if (lost_fd >= 0 && write(lost_fd, &one, sizeof(one)) < 0) {
        /* The counter is full: it was told before. */
    }
}

/* One page, or, where that cannot be cut out of huge ones, all of it. */
static bool mend(void *where)
{
    for (size_t i = 0; i < GUARDED_MAPS; i++) {
        uint8_t *base = atomic_load(&maps[i].base);
        size_t offset = (uintptr_t)where - (uintptr_t)base; /* huge when it is below */

        if (!base || offset >= maps[i].length)
            continue;
        tell(maps[i].lost_fd);
        return replace(base + offset / PAGE * PAGE, PAGE) || replace(base, maps[i].length);
    }
    return false;
}

/* A fault of somebody else's happens again once the old handler is back, and is then its own. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    int code = errno;

    (void)context;
    if (resume)
        siglongjmp(*resume, number);
    if (number != SIGBUS || !mend(info->si_addr))
        sigaction(number, number == SIGBUS ? &before_bus : &before_segv, NULL);
    errno = code;
}

static void install(int number, struct sigaction *before)
{
    const struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction now;

    sigaction(number, NULL, &now);
    if (now.sa_sigaction == on_fault)
        return;
    *before = now;
    sigaction(number, &action, NULL);
}

/* Libraries have handlers of their own, too, and install them when they like. */
static void install_all(void)
{
    pthread_mutex_lock(&lock);
    install(SIGBUS, &before_bus);
    install(SIGSEGV, &before_segv);
    pthread_mutex_unlock(&lock);
}

/* What a guest reads or writes at once, others see at once. That others do so meanwhile, or map
 * something else here, is what this is for. */
__attribute__((no_sanitize("thread"))) static void copy(void *to, const void *from, size_t length)
{
    typedef uint16_t __attribute__((aligned(1), may_alias)) unaligned16;
    typedef uint32_t __attribute__((aligned(1), may_alias)) unaligned32;
    typedef uint64_t __attribute__((aligned(1), may_alias)) unaligned64;

    switch (length) {
    case 2:
        *(volatile unaligned16 *)to = *(const volatile unaligned16 *)from;
        break;
    case 4:
        *(volatile unaligned32 *)to = *(const volatile unaligned32 *)from;
        break;
    case 8:
        *(volatile unaligned64 *)to = *(const volatile unaligned64 *)from;
        break;
    default:
        for (size_t i = 0; i < length; i++)
            ((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
        break;
    }
}

int guarded_copy(void *to, const void *from, size_t length)
{
    sigjmp_buf here;
    int fault;

    install_all();
    fault = sigsetjmp(here, 1); /* the handler blocks its signal, and does not return */
    if (!fault) {
        resume = &here;
        copy(to, from, length); /* volatile, as `resume` is: it stays between the two */
    }
    resume = NULL;
    if (fault)
        return fault == SIGBUS ? -EIO : -EFAULT;
    return 0;
}

int guarded_map_add(void *base, size_t length, int lost_fd, struct error *err)
{
    size_t i = 0;

    install_all();
    pthread_mutex_lock(&lock);
    while (i < GUARDED_MAPS && atomic_load(&maps[i].base))
        i++;
    if (i < GUARDED_MAPS) {
        maps[i].length = length;
        maps[i].lost_fd = lost_fd;
        atomic_store(&maps[i].base, base);
    }
    pthread_mutex_unlock(&lock);
    return i < GUARDED_MAPS
               ? 0
               : error_set(err, ENOSPC, "more than %d mappings of others' files", GUARDED_MAPS);
}

void guarded_map_remove(void *base)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < GUARDED_MAPS; i++)
        if (atomic_load(&maps[i].base) == base)
            atomic_store(&maps[i].base, NULL);
    pthread_mutex_unlock(&lock);
}
