/*
 * Input of a character device: read no more than the client has room for.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_AT_ONCE (32 * KIB)

size_t chardev_client_room(struct chardev *chardev)
{
    const struct chardev_client *client = &chardev->client;
    return client->room ? client->room(client->opaque) : 0;
}

static size_t room_of(struct chardev *chardev)
{
    return chardev->kind->room ? chardev->kind->room(chardev) : chardev_client_room(chardev);
}

static void deliver(struct chardev *chardev, const uint8_t *data, size_t len)
{
    if (chardev->kind->receive)
        chardev->kind->receive(chardev, data, len);
    else
        chardev->client.receive(chardev->client.opaque, data, len);
}

static void unwatch(struct chardev *chardev)
{
    if (chardev->in_watched)
        loop_fd_remove(chardev->loop, &chardev->in);
    chardev->in_watched = false;
}

/* False when there is nothing more to read for now, or ever. */
static bool read_once(struct chardev *chardev)
{
    uint8_t data[READ_AT_ONCE];
    size_t room = room_of(chardev);
    ssize_t got;

    if (!room) {
        /* Not watched at all: a hang-up, too, waits until what came before it is read. */
        unwatch(chardev);
        return false;
    }
    got = read(chardev->in.fd, data, MIN(room, sizeof(data)));
    if (got > 0) {
        deliver(chardev, data, (size_t)got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    unwatch(chardev);
    if (chardev->kind->input_ended)
        chardev->kind->input_ended(chardev);
    else
        chardev->in.fd = -1;
    return false;
}

static void input_ready(struct loop_fd *self, uint32_t events)
{
    (void)events;
    read_once(container_of(self, struct chardev, in));
}

/* A regular file cannot be watched, nor need it be: read piece by piece, others in between. */
static void read_unwatchable(struct chardev *chardev)
{
    if (read_once(chardev))
        loop_post(chardev->loop, &chardev->resume_task);
}

void chardev_input_resume(struct chardev *chardev)
{
    int ret;

    if (chardev->in.fd < 0 || chardev->in_watched || !room_of(chardev))
        return;
    ret = loop_fd_add(chardev->loop, &chardev->in, NULL);
    chardev->in_watched = !ret;
    if (ret == -EPERM)
        read_unwatchable(chardev);
    else if (ret)
        log_limited(LOG_ERROR, "chardev", "cannot watch for input: %s", strerror(-ret));
}

static void resume_run(struct loop_task *task)
{
    struct chardev *chardev = container_of(task, struct chardev, resume_task);

    if (chardev->kind->resume)
        chardev->kind->resume(chardev);
    chardev_input_resume(chardev);
}

void chardev_resume(struct chardev *chardev)
{
    loop_post(chardev->loop, &chardev->resume_task);
}

void chardev_input_init(struct chardev *chardev)
{
    chardev->in = (struct loop_fd){.fd = -1, .events = EPOLLIN, .ready = input_ready};
    chardev->resume_task.run = resume_run;
}

void chardev_input_set(struct chardev *chardev, int fd)
{
    chardev->in.fd = fd;
    chardev_input_resume(chardev);
}

void chardev_input_clear(struct chardev *chardev)
{
    unwatch(chardev);
    chardev->in.fd = -1;
}
