#include "base/loop_event.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

int loop_event_open(struct loop *loop, struct loop_fd *event,
                    void (*ready)(struct loop_fd *self, uint32_t events), struct error *err)
{
    int ret;

    *event = (struct loop_fd){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), EPOLLIN, ready};
    if (event->fd < 0)
        return error_errno(err, errno, "cannot make an eventfd");
    ret = loop_fd_add(loop, event, err);
    if (ret) {
        close(event->fd);
        event->fd = -1;
    }
    return ret;
}

bool loop_event_take(int fd)
{
    eventfd_t count;
    const struct iovec iov = {&count, sizeof(count)};

    return preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == (ssize_t)sizeof(count);
}
