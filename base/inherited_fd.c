#include "base/inherited_fd.h"

#include "base/option.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

/* Whatever this program opens itself is closed on exec, and so is what was taken before. */
int inherited_fd_take(const char *what, const char *number, int *out, struct error *err)
{
    uint64_t fd;
    int ret = option_parse_uint(what, number, STDERR_FILENO + 1, INT_MAX, &fd, err);
    int flags;

    if (ret)
        return ret;
    flags = fcntl((int)fd, F_GETFD);
    if (flags < 0)
        return error_set(err, EBADF, "%s:%s: no such descriptor was inherited", what, number);
    if (flags & FD_CLOEXEC)
        return error_set(err, EBUSY, "%s:%s: is in use already", what, number);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    *out = (int)fd;
    return 0;
}
