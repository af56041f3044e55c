#include "base/guarded_copy.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* Where this thread goes on after a fault; NULL: it copies nothing. */
static _Thread_local sigjmp_buf *volatile resume;

static struct sigaction before_bus, before_segv;
static pthread_once_t installed = PTHREAD_ONCE_INIT;

/* A fault of somebody else's happens again once the old handler is back, and is then its own. */
static void on_fault(int number)
{
    if (resume)
        siglongjmp(*resume, number);
    sigaction(number, number == SIGBUS ? &before_bus : &before_segv, NULL);
}

/* SA_NODEFER: the handler is left by a jump, which does not unblock its signal. */
static void install(void)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

    sigaction(SIGBUS, &action, &before_bus);
    sigaction(SIGSEGV, &action, &before_segv);
}

int guarded_copy(void *to, const void *from, size_t length)
{
    sigjmp_buf here;
    int fault;

    pthread_once(&installed, install);
    fault = sigsetjmp(here, 0);
    if (!fault) {
        resume = &here;
        memcpy(to, from, length);
    }
    resume = NULL;
    if (fault)
        return fault == SIGBUS ? -EIO : -EFAULT;
    return 0;
}
