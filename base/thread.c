#include "base/thread.h"

#include "base/bytes.h"

#include <signal.h>
#include <unistd.h>

/* Blocked, these would end the process without their handler: the kernel cannot put a fault off. */
static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};

int thread_start(pthread_t *thread, const char *name, size_t stack_size, void *(*main)(void *),
                 void *arg)
{
    long least = sysconf(_SC_THREAD_STACK_MIN);
    pthread_attr_t attributes;
    sigset_t blocked, before;
    char short_name[16] = "";
    int ret;

    sigfillset(&blocked);
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        sigdelset(&blocked, faults[i]);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, MAX(stack_size, (size_t)MAX(least, 0L)));
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* threads inherit it */
    ret = pthread_create(thread, &attributes, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (ret)
        return -ret;
    strncpy(short_name, name, sizeof(short_name) - 1);
    pthread_setname_np(*thread, short_name);
    return 0;
}
