/*
 * Output of a character device: written at once by whoever has it, never waited for.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a pipe (PIPE_BUF) or a terminal that poll(2) calls writable takes without blocking. */
#define BLOCKING_AT_ONCE 256

static ssize_t write_blocking(int fd, const uint8_t *data, size_t len)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};

    if (poll(&ready, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, data, MIN(len, (size_t)BLOCKING_AT_ONCE));
}

/* With the lock held. Returns how much was taken (or dropped). */
static size_t write_some(struct chardev *chardev, const uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len && chardev->out_fd >= 0) {
        const uint8_t *from = data + done;
        ssize_t ret;
        if (chardev->out_mode == OUTPUT_SOCKET)
            ret = send(chardev->out_fd, from, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (chardev->out_mode == OUTPUT_BLOCKING)
            ret = write_blocking(chardev->out_fd, from, len - done);
        else
            ret = write(chardev->out_fd, from, len - done);
        if (ret >= 0) {
            done += (size_t)ret;
        } else if (errno == EAGAIN) {
            return done;
        } else if (errno != EINTR) {
            if (errno != EPIPE && errno != ECONNRESET)
                log_limited(LOG_WARN, "chardev", "output is lost: %s", strerror(errno));
            chardev->out_failed = true;
            return len;
        }
    }
    return len;
}

size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
    size_t done = 0;
    bool call_loop = false;

    pthread_mutex_lock(&chardev->lock);
    if (!chardev->out_full) {
        done = write_some(chardev, data, len);
        chardev->out_full = done < len;
        call_loop = chardev->out_full || (chardev->out_failed && chardev->kind->output_failed);
    }
    pthread_mutex_unlock(&chardev->lock);
    if (call_loop)
        loop_post(chardev->loop, &chardev->out_task);
    return done;
}

size_t chardev_write_wait(struct chardev *chardev, const uint8_t *data, size_t len, int patience_ms)
{
    struct pollfd ready = {.events = POLLOUT};
    size_t done = 0, last;

    do {
        last = done;
        pthread_mutex_lock(&chardev->lock);
        done += write_some(chardev, data + done, len - done);
        ready.fd = chardev->out_fd; /* stays open: only this thread closes it */
        pthread_mutex_unlock(&chardev->lock);
    } while (done < len && (done > last || poll(&ready, 1, patience_ms) > 0));
    return done;
}

static void output_unwatch(struct chardev *chardev)
{
    if (chardev->out_watched)
        loop_fd_remove(chardev->loop, &chardev->out);
    chardev->out_watched = false;
}

/* The client may try again, if it waits for that. */
static void tell_writable(struct chardev *chardev)
{
    bool waits;

    pthread_mutex_lock(&chardev->lock);
    waits = chardev->out_full;
    chardev->out_full = false;
    pthread_mutex_unlock(&chardev->lock);
    if (waits && chardev->client.writable)
        chardev->client.writable(chardev->client.opaque);
}

static void output_ready(struct loop_fd *self, uint32_t events)
{
    struct chardev *chardev = container_of(self, struct chardev, out);

    (void)events;
    output_unwatch(chardev);
    tell_writable(chardev);
}

/* A write fell short, or failed. */
static void output_run(struct loop_task *task)
{
    struct chardev *chardev = container_of(task, struct chardev, out_task);
    bool failed, full;

    pthread_mutex_lock(&chardev->lock);
    failed = chardev->out_failed;
    full = chardev->out_full && chardev->out_fd >= 0;
    chardev->out.fd = chardev->out_fd;
    chardev->out_failed = false;
    pthread_mutex_unlock(&chardev->lock);

    if (failed && chardev->kind->output_failed)
        chardev->kind->output_failed(chardev);
    else if (full && !chardev->out_watched)
        chardev->out_watched = !loop_fd_add(chardev->loop, &chardev->out, NULL);
}

void chardev_output_init(struct chardev *chardev)
{
    pthread_mutex_init(&chardev->lock, NULL);
    chardev->out_fd = -1;
    chardev->out = (struct loop_fd){.fd = -1, .events = EPOLLOUT, .ready = output_ready};
    chardev->out_task.run = output_run;
}

void chardev_output_set(struct chardev *chardev, int fd, enum chardev_output_mode mode)
{
    output_unwatch(chardev);
    pthread_mutex_lock(&chardev->lock);
    chardev->out_fd = fd;
    chardev->out_mode = mode;
    chardev->out_failed = false;
    pthread_mutex_unlock(&chardev->lock);
    tell_writable(chardev);
}

void chardev_output_clear(struct chardev *chardev)
{
    chardev_output_set(chardev, -1, OUTPUT_NONBLOCKING);
}
