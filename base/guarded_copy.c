#include "base/guarded_copy.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* Where this thread goes on after a fault; NULL: it copies nothing. */
static _Thread_local sigjmp_buf *volatile resume;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of installing */
static struct sigaction before_bus, before_segv;

/* A fault of somebody else's happens again once the old handler is back, and is then its own. */
static void on_fault(int number)
{
    if (resume)
        siglongjmp(*resume, number);
    sigaction(number, number == SIGBUS ? &before_bus : &before_segv, NULL);
}

/* SA_NODEFER: the handler is left by a jump, which does not unblock its signal. */
static void install(int number, struct sigaction *before)
{
    const struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    struct sigaction now;

    sigaction(number, NULL, &now);
    if (now.sa_handler == on_fault)
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

int guarded_copy(void *to, const void *from, size_t length)
{
    sigjmp_buf here;
    int fault;

    install_all();
    fault = sigsetjmp(here, 0);
    if (!fault) {
        resume = &here;
        atomic_signal_fence(memory_order_seq_cst); /* the copy is between the two, not near them */
        memcpy(to, from, length);
        atomic_signal_fence(memory_order_seq_cst);
    }
    resume = NULL;
    if (fault)
        return fault == SIGBUS ? -EIO : -EFAULT;
    return 0;
}
