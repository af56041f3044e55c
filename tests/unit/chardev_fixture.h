/*
 * For the tests of character devices: one of any kind, and a client that counts what it is told.
 */
#ifndef TESTS_UNIT_CHARDEV_FIXTURE_H
#define TESTS_UNIT_CHARDEV_FIXTURE_H

#include "base/bytes.h"
#include "base/terminal.h"
#include "devices/chardev/chardev.h"
#include "devices/chardev/escape.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#define INPUT_MAX 65536

struct fixture {
    struct loop *loop;
    struct chardev *chardev;
    char dir[64], path[80], where[96];
    int saved[3]; /* stdin, stdout, stderr of the test program */

    /* What the client saw; the lock is for the test's eyes. */
    pthread_mutex_t lock;
    uint8_t input[INPUT_MAX];
    size_t input_len, room; /* room: what it takes all in all */
    int writable, quits, breaks, opened, resized;
    bool open;
    size_t input_at_break;
    bool refused; /* the last time it was asked it had no room */
};

static inline size_t client_room(void *opaque)
{
    struct fixture *f = opaque;
    size_t room;

    pthread_mutex_lock(&f->lock);
    room = f->room - f->input_len;
    f->refused = !room;
    pthread_mutex_unlock(&f->lock);
    return room;
}

static inline void client_receive(void *opaque, const uint8_t *data, size_t len)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    if (len > f->room - f->input_len)
        abort();
    memcpy(f->input + f->input_len, data, len);
    f->input_len += len;
    pthread_mutex_unlock(&f->lock);
}

static inline void client_writable(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->writable++;
    pthread_mutex_unlock(&f->lock);
}

static inline void client_opened(void *opaque, bool open)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    if (open == f->open)
        abort(); /* told only of changes */
    f->open = open;
    f->opened++;
    pthread_mutex_unlock(&f->lock);
}

static inline void client_resized(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->resized++;
    pthread_mutex_unlock(&f->lock);
}

static inline void quit(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->quits++;
    pthread_mutex_unlock(&f->lock);
}

static inline void send_break(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->breaks++;
    f->input_at_break = f->input_len;
    pthread_mutex_unlock(&f->lock);
}

static inline struct chardev_client client_of(struct fixture *f)
{
    return (struct chardev_client){
        .room = client_room,
        .receive = client_receive,
        .writable = client_writable,
        .opened = client_opened,
        .resized = client_resized,
        .opaque = f,
    };
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&f->lock, NULL);
    f->room = INPUT_MAX;
    for (int i = 0; i < 3; i++)
        f->saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
    strcpy(f->dir, "/tmp/vireo-chardev-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
    return loop_create(&f->loop, NULL);
}

static inline void stop(struct fixture *f)
{
    chardev_close(f->chardev);
    f->chardev = NULL;
    f->open = false;
    loop_join_thread(f->loop);
}

static inline void restore_stdio(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        dup2(f->saved[i], i);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    stop(f);
    restore_stdio(f);
    for (int i = 0; i < 3; i++)
        close(f->saved[i]);
    loop_destroy(f->loop);
    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
    pthread_mutex_destroy(&f->lock);
    free(f);
    return 0;
}

static inline int open_at(struct fixture *f, const char *format, struct error *err)
{
    snprintf(f->where, sizeof(f->where), format, f->path);
    return chardev_open(f->where, f->loop, &f->chardev, err);
}

static inline void start_call(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(chardev_start(f->chardev, NULL), 0);
}

static inline void start(struct fixture *f, const char *format)
{
    const struct chardev_client client = client_of(f);

    assert_int_equal(open_at(f, format, NULL), 0);
    chardev_set_quit(quit, f);
    chardev_set_break(f->chardev, send_break, f);
    chardev_set_client(f->chardev, &client);
    loop_call(f->loop, start_call, f);
    assert_int_equal(loop_start_thread(f->loop, "chardev", NULL), 0);
}

static inline size_t write_text(struct fixture *f, const char *text)
{
    return chardev_write(f->chardev, (const uint8_t *)text, strlen(text));
}

static inline int get(struct fixture *f, int *value)
{
    int got;

    pthread_mutex_lock(&f->lock);
    got = *value;
    pthread_mutex_unlock(&f->lock);
    return got;
}

static inline void wait_count(struct fixture *f, int *value, int wanted)
{
    for (int i = 0; i < 5000 && get(f, value) < wanted; i++)
        usleep(1000);
    assert_int_equal(get(f, value), wanted);
}

static inline size_t input_len(struct fixture *f)
{
    size_t len;

    pthread_mutex_lock(&f->lock);
    len = f->input_len;
    pthread_mutex_unlock(&f->lock);
    return len;
}

static inline void wait_input(struct fixture *f, size_t len)
{
    for (int i = 0; i < 5000 && input_len(f) < len; i++)
        usleep(1000);
    assert_int_equal(input_len(f), len);
}

static inline void assert_input(struct fixture *f, const char *text)
{
    wait_input(f, strlen(text));
    assert_memory_equal(f->input, text, strlen(text));
}

/* As a device does: it says that there is room again only if it had said that there was none. */
static inline void give_room(struct fixture *f, size_t room)
{
    bool resume;

    pthread_mutex_lock(&f->lock);
    resume = f->refused;
    f->refused = false;
    f->room = room;
    pthread_mutex_unlock(&f->lock);
    if (resume)
        chardev_resume(f->chardev);
}

static inline void assert_reads(int fd, const char *text)
{
    size_t len = strlen(text), got = 0;
    char buffer[512];

    while (got < len) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t count;
        assert_int_equal(poll(&ready, 1, 5000), 1);
        count = read(fd, buffer + got, len - got);
        assert_true(count > 0);
        got += (size_t)count;
    }
    assert_memory_equal(buffer, text, len);
}

static inline void assert_refused(struct fixture *f, const char *where, int code, const char *text)
{
    struct error err = ERROR_INIT;

    assert_int_equal(chardev_open(where, f->loop, &f->chardev, &err), -code);
    assert_string_equal(err.text, text);
    assert_null(f->chardev);
}

/* Nobody reads: writes fall short, and `writable` comes once somebody does. */
static inline size_t write_until_short(struct fixture *f)
{
    uint8_t data[1000];
    size_t done, total = 0;

    memset(data, 'x', sizeof(data));
    do {
        done = chardev_write(f->chardev, data, sizeof(data));
        total += done;
    } while (done == sizeof(data));
    return total;
}

static inline size_t fill(struct fixture *f)
{
    size_t total = write_until_short(f);

    assert_int_equal(chardev_write(f->chardev, (const uint8_t *)"x", 1), 0);
    return total;
}

static inline void drain(int fd, size_t len)
{
    uint8_t data[4096];

    while (len) {
        ssize_t count = read(fd, data, MIN(len, sizeof(data)));
        assert_true(count > 0);
        len -= (size_t)count;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
