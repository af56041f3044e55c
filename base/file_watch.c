#include "base/file_watch.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Which file it was is all the same. */
static void inotify_ready(struct loop_fd *self, uint32_t events)
{
    struct file_watch *watch = container_of(self, struct file_watch, inotify);
    char told[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

    (void)events;
    if (read(self->fd, told, sizeof(told)) > 0)
        watch->changed(watch);
}

int file_watch_open(struct loop *loop, struct file_watch *watch,
                    void (*changed)(struct file_watch *watch), struct error *err)
{
    int ret;

    watch->changed = changed;
    watch->inotify =
        (struct loop_fd){inotify_init1(IN_CLOEXEC | IN_NONBLOCK), EPOLLIN, inotify_ready};
    if (watch->inotify.fd < 0)
        return error_errno(err, errno, "cannot watch files");
    ret = loop_fd_add(loop, &watch->inotify, err);
    if (ret) {
        close(watch->inotify.fd);
        watch->inotify.fd = -1;
    }
    return ret;
}

void file_watch_close(struct loop *loop, struct file_watch *watch)
{
    loop_fd_close(loop, &watch->inotify);
}

int file_watch_add(struct file_watch *watch, int fd, struct error *err)
{
    int seals = fcntl(fd, F_GET_SEALS), name;
    char path[32];

    if (seals >= 0 && seals & F_SEAL_SHRINK)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    name = inotify_add_watch(watch->inotify.fd, path, IN_MODIFY);
    return name < 0 ? error_errno(err, errno, "cannot watch a file") : name;
}

void file_watch_remove(struct file_watch *watch, int name)
{
    inotify_rm_watch(watch->inotify.fd, name);
}
