/*
 * Character devices: what is refused, files, and inherited descriptors.
 */
#include "tests/unit/chardev_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refusals),  TEST(test_null),        TEST(test_file),    TEST(test_fifo),
        TEST(test_full_disk), TEST(test_always_open), TEST(test_dry_run), TEST(test_fd_refusals),
        TEST(test_fd_socket), TEST(test_fd_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
