/*
 * stdio: this process's standard input and output.
 *
 * Their open file descriptions are shared with the shell: see descriptor.c.
 */
#include "devices/chardev/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/terminal.h"
#include "devices/chardev/escape.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
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
    struct loop_task resized;
};

/* There is only one standard input. */
static atomic_flag in_use = ATOMIC_FLAG_INIT;

/* The one that was started. */
static pthread_mutex_t started_lock = PTHREAD_MUTEX_INITIALIZER;
static struct stdio_chardev *started;

static const char help_text[] = "\r\n"
                                "Ctrl-A x       quit\r\n"
                                "Ctrl-A c       send a break (Linux: then a SysRq key)\r\n"
                                "Ctrl-A h       this help\r\n"
                                "Ctrl-A Ctrl-A  send Ctrl-A\r\n";

static struct stdio_chardev *stdio_of(struct chardev *base)
{
    return container_of(base, struct stdio_chardev, base);
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

static void terminal_break(struct stdio_chardev *stdio)
{
    push_ahead(stdio); /* what was typed before comes before */
    if (stdio->base.send_break)
        stdio->base.send_break(stdio->base.break_opaque);
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
            chardev_quit();
            break;
        case ESCAPE_BREAK:
            terminal_break(stdio);
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

/* The window is where the output goes. */
static bool stdio_size(struct chardev *base, uint16_t *columns, uint16_t *rows)
{
    return chardev_terminal_size(stdio_of(base)->out, columns, rows);
}

static void resized_run(struct loop_task *task)
{
    struct chardev *base = &container_of(task, struct stdio_chardev, resized)->base;

    if (base->client.resized)
        base->client.resized(base->client.opaque);
}

static void set_started(struct stdio_chardev *stdio)
{
    pthread_mutex_lock(&started_lock);
    started = stdio;
    pthread_mutex_unlock(&started_lock);
}

void chardev_window_changed(void)
{
    pthread_mutex_lock(&started_lock);
    if (started)
        loop_post(started->base.loop, &started->resized);
    pthread_mutex_unlock(&started_lock);
}

static int stdio_start(struct chardev *base, struct error *err)
{
    struct stdio_chardev *stdio = stdio_of(base);
    int ret;

    set_started(stdio);
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

    set_started(NULL);
    loop_task_cancel(base->loop, &stdio->resized);
    loop_timer_cancel(base->loop, &stdio->patience);
    if (stdio->terminal)
        terminal_restore();
    if (stdio->in >= 0)
        close(stdio->in);
    close(stdio->out);
    atomic_flag_clear(&in_use);
}

static const struct chardev_kind stream_kind = {
    .start = stdio_start,
    .size = stdio_size,
    .close = stdio_close,
};

static const struct chardev_kind terminal_kind = {
    .start = stdio_start,
    .room = terminal_room,
    .receive = terminal_receive,
    .resume = terminal_resume,
    .size = stdio_size,
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
    stdio->out = chardev_own_fd(STDOUT_FILENO, O_WRONLY, &stdio->out_mode);
    if (stdio->out < 0) {
        int code = errno;
        free(stdio);
        atomic_flag_clear(&in_use);
        return error_errno(err, code, "cannot use standard output");
    }
    stdio->in = chardev_own_fd(STDIN_FILENO, O_RDONLY, &unused);
    stdio->terminal = stdio->in >= 0 && isatty(stdio->in);
    stdio->patience.expired = patience_ends;
    stdio->resized.run = resized_run;
    stdio->base.kind = stdio->terminal ? &terminal_kind : &stream_kind;
    *out = &stdio->base;
    return 0;
}
