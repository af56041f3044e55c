#include "base/terminal.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static atomic_int raw_fd = -1; /* `saved` is to be restored there; written after it */

int terminal_raw(int fd, struct error *err)
{
    struct termios raw;

    if (atomic_load(&raw_fd) >= 0)
        return error_set(err, EBUSY, "a terminal is in use as console already");
    if (tcgetattr(fd, &saved) < 0)
        return error_errno(err, errno, "cannot read the terminal's settings");
    raw = saved;
    cfmakeraw(&raw);
    /* Before the change: a crash between the two restores what is still there. */
    atomic_store(&raw_fd, fd);
    /* Keys pressed so far were meant for the guest: TCSADRAIN, not TCSAFLUSH. */
    if (tcsetattr(fd, TCSADRAIN, &raw) < 0) {
        int code = errno;
        atomic_store(&raw_fd, -1);
        return error_errno(err, code, "cannot put the terminal into raw mode");
    }
    log_set_crlf(isatty(STDERR_FILENO));
    return 0;
}

void terminal_restore(void)
{
    int fd = atomic_exchange(&raw_fd, -1);
    int code = errno;
    sigset_t set, before;

    if (fd < 0)
        return;
    /* In the background the attempt would stop us, but who put us there wants it back too. */
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    /* Not TCSADRAIN: it would wait for a terminal whose other end is stuck. */
    tcsetattr(fd, TCSANOW, &saved);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    log_set_crlf(false);
    errno = code;
}

bool terminal_is_foreground(int fd)
{
    pid_t foreground = tcgetpgrp(fd);

    /* A terminal that is not ours to control cannot stop us. */
    return foreground < 0 || foreground == getpgrp();
}
