/*
 * Every kind of character device: bytes both ways, slow and vanishing peers, escape keys.
 */
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

static size_t client_room(void *opaque)
{
    struct fixture *f = opaque;
    size_t room;

    pthread_mutex_lock(&f->lock);
    room = f->room - f->input_len;
    f->refused = !room;
    pthread_mutex_unlock(&f->lock);
    return room;
}

static void client_receive(void *opaque, const uint8_t *data, size_t len)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    if (len > f->room - f->input_len)
        abort();
    memcpy(f->input + f->input_len, data, len);
    f->input_len += len;
    pthread_mutex_unlock(&f->lock);
}

static void client_writable(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->writable++;
    pthread_mutex_unlock(&f->lock);
}

static void client_opened(void *opaque, bool open)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    if (open == f->open)
        abort(); /* told only of changes */
    f->open = open;
    f->opened++;
    pthread_mutex_unlock(&f->lock);
}

static void client_resized(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->resized++;
    pthread_mutex_unlock(&f->lock);
}

static void quit(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->quits++;
    pthread_mutex_unlock(&f->lock);
}

static void send_break(void *opaque)
{
    struct fixture *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->breaks++;
    f->input_at_break = f->input_len;
    pthread_mutex_unlock(&f->lock);
}

static struct chardev_client client_of(struct fixture *f)
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

static int setup(void **state)
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

static void stop(struct fixture *f)
{
    chardev_close(f->chardev);
    f->chardev = NULL;
    f->open = false;
    loop_join_thread(f->loop);
}

static void restore_stdio(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        dup2(f->saved[i], i);
}

static int teardown(void **state)
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

static int open_at(struct fixture *f, const char *format, struct error *err)
{
    snprintf(f->where, sizeof(f->where), format, f->path);
    return chardev_open(f->where, f->loop, &f->chardev, err);
}

static void start_call(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(chardev_start(f->chardev, NULL), 0);
}

static void start(struct fixture *f, const char *format)
{
    const struct chardev_client client = client_of(f);

    assert_int_equal(open_at(f, format, NULL), 0);
    chardev_set_quit(quit, f);
    chardev_set_break(f->chardev, send_break, f);
    chardev_set_client(f->chardev, &client);
    loop_call(f->loop, start_call, f);
    assert_int_equal(loop_start_thread(f->loop, "chardev", NULL), 0);
}

static size_t write_text(struct fixture *f, const char *text)
{
    return chardev_write(f->chardev, (const uint8_t *)text, strlen(text));
}

static int get(struct fixture *f, int *value)
{
    int got;

    pthread_mutex_lock(&f->lock);
    got = *value;
    pthread_mutex_unlock(&f->lock);
    return got;
}

static void wait_count(struct fixture *f, int *value, int wanted)
{
    for (int i = 0; i < 5000 && get(f, value) < wanted; i++)
        usleep(1000);
    assert_int_equal(get(f, value), wanted);
}

static size_t input_len(struct fixture *f)
{
    size_t len;

    pthread_mutex_lock(&f->lock);
    len = f->input_len;
    pthread_mutex_unlock(&f->lock);
    return len;
}

static void wait_input(struct fixture *f, size_t len)
{
    for (int i = 0; i < 5000 && input_len(f) < len; i++)
        usleep(1000);
    assert_int_equal(input_len(f), len);
}

static void assert_input(struct fixture *f, const char *text)
{
    wait_input(f, strlen(text));
    assert_memory_equal(f->input, text, strlen(text));
}

/* As a device does: it says that there is room again only if it had said that there was none. */
static void give_room(struct fixture *f, size_t room)
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

static void assert_reads(int fd, const char *text)
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

/* --- names ------------------------------------------------------------------------------------ */

static void assert_refused(struct fixture *f, const char *where, int code, const char *text)
{
    struct error err = ERROR_INIT;

    assert_int_equal(chardev_open(where, f->loop, &f->chardev, &err), -code);
    assert_string_equal(err.text, text);
    assert_null(f->chardev);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    char text[200], where[200];

    assert_refused(f, "tcp:1234", EINVAL,
                   "'tcp:1234' is not a place for characters (stdio, null, file:PATH, pty, "
                   "unix:PATH, fd:N)");
    assert_refused(f, "file", EINVAL, "'file' is incomplete: file:PATH");
    assert_refused(f, "null:x", EINVAL, "'null:x': 'null' takes nothing behind it");
    assert_refused(f, "unix:", EINVAL, "'unix:' is incomplete: unix:PATH");
    assert_refused(f, "file:/nonexistent/x", ENOENT,
                   "cannot open /nonexistent/x for writing: No such file or directory");
    assert_refused(f, "unix:/tmp/x,sever=off", EINVAL,
                   "unix:/tmp/x,sever=off: unknown key 'sever' (did you mean 'server'?)");
    snprintf(where, sizeof(where), "unix:%s,server=off", f->path);
    snprintf(text, sizeof(text), "cannot connect to '%s': No such file or directory", f->path);
    assert_refused(f, where, ENOENT, text);
    memset(where, 'x', 150);
    memcpy(where, "unix:", 5);
    where[150] = '\0';
    assert_int_equal(chardev_open(where, f->loop, &f->chardev, NULL), -ENAMETOOLONG);
}

static void test_null(void **state)
{
    struct fixture *f = *state;

    start(f, "null");
    assert_int_equal(write_text(f, "hello"), 5);
    assert_null(chardev_path(f->chardev));
}

/* --- files ------------------------------------------------------------------------------------ */

static void test_file(void **state)
{
    struct fixture *f = *state;
    int fd;

    for (int i = 0; i < 2; i++) {
        start(f, "file:%s");
        assert_int_equal(write_text(f, i ? "two" : "one "), i ? 3 : 4);
        stop(f);
    }
    fd = open(f->path, O_RDONLY | O_CLOEXEC);
    assert_reads(fd, "one two");
    close(fd);
}

static void test_fifo(void **state)
{
    struct fixture *f = *state;
    struct error err;
    int fd;

    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(open_at(f, "file:%s", &err), -ENXIO);
    assert_non_null(strstr(err.text, "nobody reads it"));
    fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    start(f, "file:%s");
    write_text(f, "hello");
    assert_reads(fd, "hello");
    close(fd);
    assert_int_equal(write_text(f, "nobody"), 6); /* dropped */
}

static void test_full_disk(void **state)
{
    struct fixture *f = *state;

    strcpy(f->path, "/dev/full");
    start(f, "file:%s");
    assert_int_equal(write_text(f, "hello"), 5);
    stop(f);
    snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
}

/* --- who is there, how large the terminal is, and dry runs ------------------------------------ */

static void test_always_open(void **state)
{
    struct fixture *f = *state;

    start(f, "file:%s");
    assert_true(f->open);
    stop(f);
    unlink(f->path);
    start(f, "null");
    assert_int_equal(f->opened, 2);
}

static void test_dry_run(void **state)
{
    struct fixture *f = *state;

    chardev_set_dry_run(true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_at(f, i ? "unix:%s" : "file:%s", NULL), 0);
        assert_int_equal(access(f->path, F_OK), -1);
        chardev_close(f->chardev);
        f->chardev = NULL;
    }
    assert_int_equal(chardev_open("tcp:1", f->loop, &f->chardev, NULL), -EINVAL);
    chardev_set_dry_run(false);
}

/* --- inherited descriptors -------------------------------------------------------------------- */

/* A descriptor as a parent leaves it to us; f->where names it. */
static void inherit(struct fixture *f, int fd)
{
    int left = dup(fd);

    assert_true(left > 2);
    close(fd);
    snprintf(f->path, sizeof(f->path), "%d", left);
}

static void test_fd_refusals(void **state)
{
    struct fixture *f = *state;
    char where[32], text[80];
    int pair[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_refused(f, "fd:x", EINVAL, "fd: 'x' is not a number");
    assert_refused(f, "fd:1", EINVAL, "fd: 1 is out of range (3 to 2147483647)");
    assert_refused(f, "fd:900", EBADF, "fd:900: no such descriptor was inherited");
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    snprintf(where, sizeof(where), "fd:%d", pair[0]);
    snprintf(text, sizeof(text), "%s: is in use already", where);
    assert_refused(f, where, EBUSY, text);
    assert_int_equal(listen(listener, 1), -1); /* not bound: a stream socket, not connected */
    close(listener);
    listener = socket(AF_UNIX, SOCK_DGRAM, 0);
    snprintf(where, sizeof(where), "fd:%d", listener);
    snprintf(text, sizeof(text), "%s: is not a connected stream socket", where);
    assert_refused(f, where, EINVAL, text);
    close(listener);
    close(pair[0]);
    close(pair[1]);
}

static void test_fd_socket(void **state)
{
    struct fixture *f = *state;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    inherit(f, pair[0]);
    start(f, "fd:%s");
    assert_true(f->open);
    assert_int_equal(write_text(f, "hello"), 5);
    assert_reads(pair[1], "hello");
    assert_int_equal(send(pair[1], "answer", 6, 0), 6);
    assert_input(f, "answer");
    close(pair[1]);
    wait_count(f, &f->opened, 2);
    assert_false(f->open);
    assert_int_equal(write_text(f, "nobody"), 6);
}

static void test_fd_pipe(void **state)
{
    struct fixture *f = *state;
    int in[2], out[2];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    inherit(f, out[1]);
    start(f, "fd:%s");
    assert_int_equal(write_text(f, "one way"), 7);
    assert_reads(out[0], "one way");
    stop(f);
    inherit(f, in[0]);
    start(f, "fd:%s");
    assert_int_equal(write(in[1], "the other", 9), 9);
    assert_input(f, "the other");
    assert_int_equal(write_text(f, "nowhere"), 7);
    close(in[1]);
    close(out[0]);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static struct sockaddr_un address_of(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, f->path);
    return address;
}

static int peer_connect(struct fixture *f)
{
    struct sockaddr_un address = address_of(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Output reaches a peer only once it is accepted. */
static int peer_accepted(struct fixture *f)
{
    int fd = peer_connect(f);
    size_t len = input_len(f);

    assert_int_equal(send(fd, "+", 1, 0), 1);
    wait_input(f, len + 1);
    return fd;
}

static void test_socket(void **state)
{
    struct fixture *f = *state;
    int first, second;

    start(f, "unix:%s");
    assert_string_equal(chardev_path(f->chardev), f->path);
    assert_int_equal(write_text(f, "nobody"), 6);
    first = peer_accepted(f);
    assert_int_equal(write_text(f, "hello"), 5);
    assert_reads(first, "hello");
    assert_true(f->open);
    second = peer_connect(f); /* waits for its turn */
    assert_int_equal(send(second, "second", 6, 0), 6);
    assert_int_equal(send(first, "first", 5, 0), 5);
    assert_input(f, "+first");
    close(first);
    assert_input(f, "+firstsecond");
    assert_int_equal(get(f, &f->opened), 3); /* came, went, the next one came */
    write_text(f, "hello second");
    assert_reads(second, "hello second");
    close(second);
    stop(f);
    assert_int_equal(access(f->path, F_OK), -1);
}

/* A peer that says all it has to say, and then only listens. */
static void test_socket_half_closed(void **state)
{
    struct fixture *f = *state;
    int fd;

    start(f, "unix:%s");
    fd = peer_connect(f);
    assert_int_equal(send(fd, "question", 8, 0), 8);
    shutdown(fd, SHUT_WR);
    assert_input(f, "question");
    usleep(10000);
    write_text(f, "answer");
    assert_reads(fd, "answer");
    close(fd);
    close(peer_accepted(f)); /* the next one gets in */
}

static int count_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Input does not tell that a peer came or went while the guest takes none; what is open does. */
static void wait_fds(struct fixture *f, int least, int most)
{
    for (int i = 0; i < 5000 && (count_fds() < least || count_fds() > most); i++)
        usleep(1000);
    assert_in_range(count_fds(), least, most);
    loop_call(f->loop, nothing, NULL); /* whatever it is at is done */
}

/* A peer leaves while the guest takes no input: that is noticed nevertheless, so what the guest
 * prints next is the next peer's. */
static void test_socket_left_unread(void **state)
{
    struct fixture *f = *state;
    int idle, fd;

    start(f, "unix:%s");
    idle = count_fds();
    fd = peer_accepted(f);
    write_text(f, "one");
    assert_reads(fd, "one");
    give_room(f, 1); /* taken by the "+" */
    for (int i = 0; i < 3; i++) {
        close(fd);
        wait_fds(f, 0, idle);
        fd = peer_connect(f);
        wait_fds(f, idle + 2, INT_MAX); /* our end, and the other once it is accepted */
        write_text(f, "two");
        assert_reads(fd, "two");
    }
    close(fd);
    assert_input(f, "+");
}

static void test_socket_stale_name(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = address_of(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct error err;

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(open_at(f, "unix:%s", &err), -EADDRINUSE); /* somebody lives there */
    close(fd);
    start(f, "unix:%s");
    close(peer_accepted(f));
    stop(f);
    fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* not a socket: not ours to remove */
    close(fd);
    assert_int_equal(open_at(f, "unix:%s", &err), -EADDRINUSE);
    assert_int_equal(access(f->path, F_OK), 0);
}

static void test_socket_client(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = address_of(f);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    start(f, "unix:%s,server=off");
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    write_text(f, "hello");
    assert_reads(fd, "hello");
    assert_int_equal(send(fd, "there", 5, 0), 5);
    assert_input(f, "there");
    close(fd);
    close(listener);
    for (int i = 0; i < 3; i++)
        assert_int_equal(write_text(f, "gone"), 4);
    stop(f);
    assert_int_equal(access(f->path, F_OK), 0); /* not ours */
}

/* Nobody reads: writes fall short, and `writable` comes once somebody does. */
static size_t write_until_short(struct fixture *f)
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

static size_t fill(struct fixture *f)
{
    size_t total = write_until_short(f);

    assert_int_equal(chardev_write(f->chardev, (const uint8_t *)"x", 1), 0);
    return total;
}

static void drain(int fd, size_t len)
{
    uint8_t data[4096];

    while (len) {
        ssize_t count = read(fd, data, MIN(len, sizeof(data)));
        assert_true(count > 0);
        len -= (size_t)count;
    }
}

static void test_socket_slow_reader(void **state)
{
    struct fixture *f = *state;
    size_t total;
    int fd;

    start(f, "unix:%s");
    fd = peer_accepted(f);
    total = fill(f);
    usleep(10000);
    assert_int_equal(get(f, &f->writable), 0);
    drain(fd, total);
    wait_count(f, &f->writable, 1);
    write_text(f, "after");
    assert_reads(fd, "after");
    fill(f);
    close(fd); /* with all of it unread */
    wait_count(f, &f->writable, 2);
    assert_int_equal(write_text(f, "gone"), 4);
}

struct waiting {
    struct fixture *f;
    size_t done;
};

static void wait_call(void *arg)
{
    struct waiting *w = arg;
    w->done = chardev_write_wait(w->f->chardev, (const uint8_t *)"last words", 10, 20);
}

static void test_write_wait(void **state)
{
    struct fixture *f = *state;
    struct waiting w = {.f = f};
    size_t total;
    int fd;

    start(f, "unix:%s");
    fd = peer_accepted(f);
    total = fill(f);
    loop_call(f->loop, wait_call, &w);
    assert_int_equal(w.done, 0); /* patience is at an end */
    drain(fd, total);
    loop_call(f->loop, wait_call, &w);
    assert_int_equal(w.done, 10);
    assert_reads(fd, "last words");
    close(fd);
}

/* A client without room leaves input, and the end behind it, with the host. */
static void test_input_flow_control(void **state)
{
    struct fixture *f = *state;
    int fd;

    f->room = 3;
    start(f, "unix:%s");
    fd = peer_connect(f);
    assert_int_equal(send(fd, "onetwothree", 11, 0), 11);
    close(fd);
    wait_input(f, 3);
    usleep(10000);
    give_room(f, 6);
    wait_input(f, 6);
    give_room(f, 100);
    assert_input(f, "onetwothree");
    fd = peer_connect(f);
    assert_int_equal(send(fd, "!", 1, 0), 1);
    assert_input(f, "onetwothree!");
    close(fd);
}

/* --- pseudo-terminals ------------------------------------------------------------------------- */

/* As with sockets: what is written before the opening was noticed is dropped. */
static int pty_attach(struct fixture *f)
{
    int fd = open(chardev_path(f->chardev), O_RDWR | O_NOCTTY | O_CLOEXEC);
    size_t len = input_len(f);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "+", 1), 1);
    wait_input(f, len + 1);
    return fd;
}

static void test_pty(void **state)
{
    struct fixture *f = *state;
    uint16_t columns, rows;

    start(f, "pty");
    for (int i = 0; i < 3; i++) {
        int fd;
        write_text(f, "nobody reads this");
        fd = pty_attach(f);
        assert_int_equal(write_text(f, "a\r\nb"), 4);
        assert_reads(fd, "a\r\nb"); /* raw, and nothing from before */
        assert_int_equal(ioctl(fd, TIOCSWINSZ, &(struct winsize){30, 100, 0, 0}), 0);
        close(fd);
        wait_count(f, &f->opened, 2 * i + 2);
    }
    assert_input(f, "+++");
    assert_int_equal(get(f, &f->resized), 3);
    assert_true(chardev_size(f->chardev, &columns, &rows));
    assert_int_equal(columns, 100);
    assert_int_equal(rows, 30);
}

static void test_pty_slow_reader(void **state)
{
    struct fixture *f = *state;
    size_t total;
    int fd;

    start(f, "pty");
    fd = pty_attach(f);
    /* The kernel moves bytes on by itself: a full pseudo-terminal may have room a moment later. */
    total = write_until_short(f);
    drain(fd, total);
    for (int i = 0; i < 5000 && get(f, &f->writable) == 0; i++)
        usleep(1000);
    assert_true(get(f, &f->writable) > 0);
    write_until_short(f);
    close(fd);
    for (int i = 0; i < 5000 && write_text(f, "gone") != 4; i++)
        usleep(1000);
    assert_int_equal(write_text(f, "gone"), 4);
}

/* --- standard input and output ---------------------------------------------------------------- */

static void take_stdio(int input, int output)
{
    dup2(input, 0);
    dup2(output, 1);
}

static void test_stdio_pipes(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct chardev *second;
    int input[2], output[2], flags;

    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    take_stdio(input[0], output[1]);
    start(f, "stdio");
    assert_int_equal(chardev_open("stdio", f->loop, &second, &err), -EBUSY);
    write_text(f, "hello");
    assert_reads(output[0], "hello");
    drain(output[0], fill(f)); /* falls short instead of blocking */
    wait_count(f, &f->writable, 1);
    flags = fcntl(0, F_GETFL) | fcntl(1, F_GETFL);
    assert_false(flags & O_NONBLOCK); /* not seen by who shares them */
    assert_int_equal(write(input[1], "\x01x\x01\x01", 4), 4);
    assert_input(f, "\x01x\x01\x01");
    close(input[1]);
    usleep(10000); /* the end of input is not the end */
    write_text(f, "on");
    assert_reads(output[0], "on");
    close(1);
    close(output[1]);
    close(output[0]);
    assert_int_equal(write_text(f, "dropped"), 7);
    assert_int_equal(get(f, &f->quits), 0);
    close(input[0]);
}

static void test_stdio_files(void **state)
{
    struct fixture *f = *state;
    int input = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int output = open(f->path, O_RDWR | O_CLOEXEC);
    char line[8];

    for (int i = 0; i < 5000; i++)
        assert_int_equal(write(input, "line\n", 5), 5);
    lseek(input, 0, SEEK_SET);
    lseek(output, 25000, SEEK_SET);
    f->room = 10;
    take_stdio(input, output);
    start(f, "stdio");
    assert_int_equal(write_text(f, "answer"), 6);
    wait_input(f, 10);
    usleep(5000);
    give_room(f, 25006);
    wait_input(f, 25006); /* up to what was written behind */
    assert_memory_equal(f->input + 24995, "line\nanswer", 11);
    assert_int_equal(pread(output, line, 6, 25000), 6);
    assert_memory_equal(line, "answer", 6);
    assert_int_equal(lseek(1, 0, SEEK_CUR), 25006); /* the position stays shared */
    close(input);
    close(output);
}

static void test_stdio_null(void **state)
{
    struct fixture *f = *state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    take_stdio(null, null);
    close(null);
    start(f, "stdio");
    assert_int_equal(write_text(f, "hello"), 5);
    usleep(5000);
    assert_int_equal(input_len(f), 0);
}

static void test_stdio_sockets(void **state)
{
    struct fixture *f = *state;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    take_stdio(pair[0], pair[0]);
    close(pair[0]);
    start(f, "stdio");
    write_text(f, "hello");
    assert_reads(pair[1], "hello");
    assert_int_equal(send(pair[1], "there", 5, 0), 5);
    assert_input(f, "there");
    drain(pair[1], fill(f));
    wait_count(f, &f->writable, 1);
    close(pair[1]);
}

static int terminal_open(struct fixture *f)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;

    (void)f;
    grantpt(master);
    unlockpt(master);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0);
    take_stdio(slave, slave);
    close(slave);
    return master;
}

static bool is_raw(void)
{
    struct termios settings;

    assert_int_equal(tcgetattr(0, &settings), 0);
    return !(settings.c_lflag & ICANON);
}

static void keys(int master, const char *text)
{
    assert_int_equal(write(master, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_terminal(void **state)
{
    struct fixture *f = *state;
    int master = terminal_open(f);

    start(f, "stdio");
    assert_true(is_raw());
    assert_false(fcntl(0, F_GETFL) & O_NONBLOCK);
    write_text(f, "a\r\nb");
    assert_reads(master, "a\r\nb");
    keys(master, "one\x03\x01\x01\x01?two\r\x01"
                 "c");
    wait_count(f, &f->breaks, 1);
    assert_input(f, "one\x03\x01two\r");
    assert_int_equal(f->input_at_break, 9); /* what was typed before came before */
    keys(master, "\x01h");
    assert_reads(master, "\r\nCtrl-A x");
    keys(master, "\x01");
    keys(master, "x");
    wait_count(f, &f->quits, 1);
    stop(f);
    assert_false(is_raw());
    restore_stdio(f);
    close(master);
}

static void test_terminal_size(void **state)
{
    struct fixture *f = *state;
    int master = terminal_open(f);
    uint16_t columns, rows;

    chardev_window_changed(); /* nobody to tell */
    start(f, "stdio");
    assert_false(chardev_size(f->chardev, &columns, &rows)); /* 0 by 0: it does not know */
    assert_int_equal(ioctl(master, TIOCSWINSZ, &(struct winsize){50, 132, 0, 0}), 0);
    chardev_window_changed();
    wait_count(f, &f->resized, 1);
    assert_true(chardev_size(f->chardev, &columns, &rows));
    assert_int_equal(columns, 132);
    assert_int_equal(rows, 50);
    stop(f);
    chardev_window_changed();
    restore_stdio(f);
    close(master);
}

/* The guest takes nothing, but Ctrl-A x still works. */
static void test_terminal_dead_guest(void **state)
{
    struct fixture *f = *state;
    int master = terminal_open(f);
    char line[101];

    memset(line, 'k', 100);
    line[100] = '\0';
    f->room = 4;
    start(f, "stdio");
    for (int i = 0; i < 5; i++)
        keys(master, line);
    keys(master, "\x01"
                 "c"); /* still fits */
    wait_count(f, &f->breaks, 1);
    keys(master, line);
    keys(master, "\x01x");
    usleep(20000);
    assert_int_equal(get(f, &f->quits), 0);
    wait_count(f, &f->quits, 1); /* after a second of patience */
    restore_stdio(f);
    close(master);
}

/* It takes them slowly: nothing is lost. */
static void test_terminal_paste(void **state)
{
    struct fixture *f = *state;
    int master = terminal_open(f);
    char text[2001];

    for (int i = 0; i < 2000; i++)
        text[i] = (char)('a' + i % 26);
    text[2000] = '\0';
    f->room = 0;
    start(f, "stdio");
    keys(master, text);
    for (size_t room = 0; room <= 2000; room += 50) {
        give_room(f, room);
        wait_input(f, room);
    }
    assert_memory_equal(f->input, text, 2000);
    restore_stdio(f);
    close(master);
}

static void test_escape(void **state)
{
    struct escape escape = {0};

    (void)state;
    assert_int_equal(escape_key(&escape, 'x'), ESCAPE_PASS);
    assert_int_equal(escape_key(&escape, 1), ESCAPE_SWALLOW);
    assert_int_equal(escape_key(&escape, 'h'), ESCAPE_HELP);
    assert_int_equal(escape_key(&escape, 1), ESCAPE_SWALLOW);
    assert_int_equal(escape_key(&escape, 1), ESCAPE_PASS);
    assert_int_equal(escape_key(&escape, 'c'), ESCAPE_PASS);
}

/* A client that comes and goes while input does. */
static void test_client_change(void **state)
{
    struct fixture *f = *state;
    const struct chardev_client client = client_of(f);
    int fd;

    start(f, "unix:%s");
    fd = peer_accepted(f);
    for (int i = 0; i < 100; i++) {
        chardev_set_client(f->chardev, NULL);
        assert_int_equal(send(fd, "x", 1, 0), 1);
        write_text(f, "y");
        chardev_set_client(f->chardev, &client);
    }
    wait_input(f, 101);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refusals),
        TEST(test_null),
        TEST(test_file),
        TEST(test_fifo),
        TEST(test_full_disk),
        TEST(test_always_open),
        TEST(test_dry_run),
        TEST(test_fd_refusals),
        TEST(test_fd_socket),
        TEST(test_fd_pipe),
        TEST(test_socket),
        TEST(test_socket_half_closed),
        TEST(test_socket_left_unread),
        TEST(test_socket_stale_name),
        TEST(test_socket_client),
        TEST(test_socket_slow_reader),
        TEST(test_write_wait),
        TEST(test_input_flow_control),
        TEST(test_pty),
        TEST(test_pty_slow_reader),
        TEST(test_stdio_pipes),
        TEST(test_stdio_files),
        TEST(test_stdio_null),
        TEST(test_stdio_sockets),
        TEST(test_terminal),
        TEST(test_terminal_size),
        TEST(test_terminal_dead_guest),
        TEST(test_terminal_paste),
        TEST(test_escape),
        TEST(test_client_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
