/*
 * Descriptors that others share with us: standard input and output, and inherited ones.
 *
 * O_NONBLOCK belongs to the open file description and so to all of them; it must not be set on
 * what we do not own alone. Terminals and pipes are opened anew by way of /proc/self/fd instead.
 */
#include "devices/chardev/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

int chardev_own_fd(int fd, int access, enum chardev_output_mode *mode)
{
    struct stat status;
    char path[32];
    int opened = -1;

    *mode = OUTPUT_NONBLOCKING;
    if (fstat(fd, &status) < 0)
        return -1;
    if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode)) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        opened = open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    if (opened >= 0)
        return opened;
    /* A regular file never blocks, and its position must stay shared (`>>log 2>&1`). */
    if (S_ISSOCK(status.st_mode))
        *mode = OUTPUT_SOCKET;
    else if (!S_ISREG(status.st_mode))
        *mode = OUTPUT_BLOCKING;
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

bool chardev_terminal_size(int fd, uint16_t *columns, uint16_t *rows)
{
    struct winsize size;

    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
        return false;
    *columns = size.ws_col;
    *rows = size.ws_row;
    return true;
}
