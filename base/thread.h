/*
 * Threads: small stacks, a name, and no signals but those that mean a crash.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * Start a thread that runs main(arg) on a stack of at least `stack_size` bytes, named `name` (15
 * characters count). Signals are the main thread's business, so they are blocked; but a fault must
 * find its handler on whatever thread it happens. Returns 0 or a negative errno.
 */
int thread_start(pthread_t *thread, const char *name, size_t stack_size, void *(*main)(void *),
                 void *arg);

#endif
