#include "base/event_signal.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 64   /* whose results may wait to be fetched */
#define TRIES    1000 /* while others take the room that was made */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static aio_context_t context;
static int file = -1; /* to which nothing is written; -1: no asynchronous I/O */

static void close_file(void)
{
    if (file >= 0)
        close(file);
    file = -1;
}

/* A child has no context, and makes one of its own. */
static void start_anew(void)
{
    close_file();
    context = 0;
    once = (pthread_once_t)PTHREAD_ONCE_INIT;
}

static void set_up(void)
{
    static bool told_of_children;

    if (!told_of_children)
        told_of_children = pthread_atfork(NULL, NULL, start_anew) == 0;
    file = memfd_create("event-signal", MFD_CLOEXEC);
    if (syscall(SYS_io_setup, REQUESTS, &context) < 0)
        close_file();
}

static void fetch_results(void)
{
    struct io_event results[REQUESTS];
    struct timespec at_once = {0};

    (void)syscall(SYS_io_getevents, context, 0L, (long)REQUESTS, results, &at_once);
}

void event_signal(int fd)
{
    struct iocb nothing = {
        .aio_lio_opcode = IOCB_CMD_PWRITE,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)fd,
    };
    struct iocb *requests = &nothing;

    pthread_once(&once, set_up);
    if (file < 0) {
        eventfd_write(fd, 1);
        return;
    }
    nothing.aio_fildes = (uint32_t)file;
    for (int i = 0; i < TRIES; i++) {
        if (syscall(SYS_io_submit, context, 1L, &requests) >= 0 || errno != EAGAIN)
            return;
        fetch_results();
    }
}
