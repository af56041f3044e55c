/*
 * stdio: this process's standard input and output.
 *
 * Their open file descriptions are shared with the shell, so O_NONBLOCK must not be set on them: it
 * would stay after us. Terminals and pipes are opened anew by way of /proc/self/fd instead.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/terminal.h"
#include "devices/chardev/escape.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define AHEAD_MAX   512
#define PATIENCE_NS UINT64_C(1000000000)

struct stdio_chardev {
    struct chardev base;
    int in, out;
    enum chardev_output_mode out_mode;

    /* Of a terminal: */
    bool terminal;
    struct escape escape;
    uint8_t ahead[AHEAD_MAX]; /* typed, not yet taken by the guest */
    size_t ahead_len;
    struct loop_timer patience;
};

/* There is only one standard input. */
static atomic_flag in_use = ATOMIC_FLAG_INIT;

static const char help_text[] = "\r\n"
                                "Ctrl-A x       quit\r\n"
                                "Ctrl-A c       send a break (Linux: then a SysRq key)\r\n"
                                "Ctrl-A h       this help\r\n"
                                "Ctrl-A Ctrl-A  send Ctrl-A\r\n";

static struct stdio_chardev *stdio_of(struct chardev *base)
{
    return container_of(base, struct stdio_chardev, base);
}

/* A descriptor of our own for what fd is open on, if possible with a file description of our own,
 * not blocking. -1: fd is closed. */
static int own_fd(int fd, int access, enum chardev_output_mode *mode)
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

/* Hand over what was typed ahead, as far as the guest takes it. When something is left it was asked
 * until there was no room: only then does it say when there is again. */
static void push_ahead(struct stdio_chardev *stdio)
{
    struct chardev *base = &stdio->base;
    size_t len;

    while (stdio->ahead_len && (len = MIN(stdio->ahead_len, chardev_client_room(base)))) {
        base->client.receive(base->client.opaque, stdio->ahead, len);
        stdio->ahead_len -= len;
        memmove(stdio->ahead, stdio->ahead + len, stdio->ahead_len);
        loop_timer_cancel(base->loop, &stdio->patience);
    }
    if (stdio->ahead_len == AHEAD_MAX && !stdio->patience.deadline_ns)
        loop_timer_set(base->loop, &stdio->patience, PATIENCE_NS);
}

/* The guest seems dead to input: reading goes on for the sake of the escape keys. */
static void patience_ends(struct loop_timer *timer)
{
    struct stdio_chardev *stdio = container_of(timer, struct stdio_chardev, patience);

    log_limited(LOG_INFO, "chardev", "the guest does not read; %zu keys are thrown away",
                stdio->ahead_len);
    stdio->ahead_len = 0;
    chardev_input_resume(&stdio->base);
}

static void terminal_command(struct stdio_chardev *stdio, enum chardev_command command)
{
    push_ahead(stdio); /* what was typed before comes before */
    if (stdio->base.command)
        stdio->base.command(stdio->base.command_opaque, command);
}

static size_t terminal_room(struct chardev *base)
{
    return AHEAD_MAX - stdio_of(base)->ahead_len;
}

static void terminal_receive(struct chardev *base, const uint8_t *data, size_t len)
{
    struct stdio_chardev *stdio = stdio_of(base);

    for (size_t i = 0; i < len; i++) {
        switch (escape_key(&stdio->escape, data[i])) {
        case ESCAPE_PASS:
            stdio->ahead[stdio->ahead_len++] = data[i];
            break;
        case ESCAPE_QUIT:
            terminal_command(stdio, CHARDEV_QUIT);
            break;
        case ESCAPE_BREAK:
            terminal_command(stdio, CHARDEV_BREAK);
            break;
        case ESCAPE_HELP:
            chardev_write(base, (const uint8_t *)help_text, sizeof(help_text) - 1);
            break;
        case ESCAPE_SWALLOW:
            break;
        }
    }
    push_ahead(stdio);
}

static void terminal_resume(struct chardev *base)
{
    push_ahead(stdio_of(base));
}

static int stdio_start(struct chardev *base, struct error *err)
{
    struct stdio_chardev *stdio = stdio_of(base);
    int ret;

    chardev_output_set(base, stdio->out, stdio->out_mode);
    if (stdio->terminal && !terminal_is_foreground(stdio->in)) {
        log_info("chardev",
                 "running in the background: the terminal's keys do not reach the guest");
        return 0;
    }
    if (stdio->terminal) {
        ret = terminal_raw(stdio->in, err);
        if (ret)
            return ret;
    }
    if (stdio->in >= 0)
        chardev_input_set(base, stdio->in);
    return 0;
}

static void stdio_close(struct chardev *base)
{
    struct stdio_chardev *stdio = stdio_of(base);

    loop_timer_cancel(base->loop, &stdio->patience);
    if (stdio->terminal)
        terminal_restore();
    if (stdio->in >= 0)
        close(stdio->in);
    close(stdio->out);
    atomic_flag_clear(&in_use);
}

static const struct chardev_kind stream_kind = {.start = stdio_start, .close = stdio_close};

static const struct chardev_kind terminal_kind = {
    .start = stdio_start,
    .room = terminal_room,
    .receive = terminal_receive,
    .resume = terminal_resume,
    .close = stdio_close,
};

int chardev_open_stdio(const char *where, struct chardev **out, struct error *err)
{
    struct stdio_chardev *stdio;
    enum chardev_output_mode unused;

    (void)where;
    if (atomic_flag_test_and_set(&in_use))
        return error_set(err, EBUSY, "only one device can use stdio");
    stdio = calloc(1, sizeof(*stdio));
    if (!stdio) {
        atomic_flag_clear(&in_use);
        return error_set(err, ENOMEM, "no memory for a character device");
    }
    stdio->out = own_fd(STDOUT_FILENO, O_WRONLY, &stdio->out_mode);
    if (stdio->out < 0) {
        int code = errno;
        free(stdio);
        atomic_flag_clear(&in_use);
        return error_errno(err, code, "cannot use standard output");
    }
    stdio->in = own_fd(STDIN_FILENO, O_RDONLY, &unused);
    stdio->terminal = stdio->in >= 0 && isatty(stdio->in);
    stdio->patience.expired = patience_ends;
    stdio->base.kind = stdio->terminal ? &terminal_kind : &stream_kind;
    *out = &stdio->base;
    return 0;
}
