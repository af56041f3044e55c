/*
 * Character devices on pseudo-terminals and on standard input and output, with escape keys.
 */
#include "tests/unit/chardev_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
