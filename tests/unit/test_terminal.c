/*
 * Raw mode and back, on a pseudo-terminal.
 */
#include "base/log.h"
#include "base/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

static int master, slave;

static int setup(void **state)
{
    (void)state;
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    grantpt(master);
    unlockpt(master);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    return slave < 0;
}

static int teardown(void **state)
{
    (void)state;
    terminal_restore();
    close(slave);
    close(master);
    return 0;
}

static bool is_raw(void)
{
    struct termios settings;

    assert_int_equal(tcgetattr(slave, &settings), 0);
    return !(settings.c_lflag & (ICANON | ECHO | ISIG)) && !(settings.c_oflag & OPOST);
}

static void test_raw_and_back(void **state)
{
    struct termios before, after;

    (void)state;
    memset(&before, 0, sizeof(before)); /* the padding */
    memset(&after, 0, sizeof(after));
    tcgetattr(slave, &before);
    assert_false(is_raw());
    assert_int_equal(terminal_raw(slave, NULL), 0);
    assert_true(is_raw());
    terminal_restore();
    assert_false(is_raw());
    tcgetattr(slave, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    terminal_restore(); /* nothing */
    assert_int_equal(terminal_raw(slave, NULL), 0);
}

static void test_refusals(void **state)
{
    struct error err = ERROR_INIT;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_int_equal(terminal_raw(null, &err), -ENOTTY);
    close(null);
    assert_int_equal(terminal_raw(slave, &err), 0);
    assert_int_equal(terminal_raw(slave, &err), -EBUSY);
    assert_true(is_raw());
}

static void restore_and_leave(int signal)
{
    (void)signal;
    terminal_restore();
    _exit(7);
}

static void test_crash(void **state)
{
    int status;
    pid_t child;

    (void)state;
    child = fork();
    if (child == 0) {
        signal(SIGSEGV, restore_and_leave);
        if (terminal_raw(slave, NULL) || !is_raw())
            _exit(1);
        raise(SIGSEGV);
        _exit(2);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_false(is_raw());
}

/* In the background of its terminal: known as such, and restoring does not stop the process. */
static void background(void)
{
    int status;
    pid_t job;

    setsid();
    if (ioctl(slave, TIOCSCTTY, 0) < 0 || !terminal_is_foreground(slave) ||
        terminal_raw(slave, NULL))
        _exit(1);
    job = fork();
    if (job == 0) {
        setpgid(0, 0);
        if (terminal_is_foreground(slave))
            _exit(2);
        terminal_restore();
        _exit(0);
    }
    if (waitpid(job, &status, WUNTRACED) < 0 || !WIFEXITED(status))
        _exit(3);
    _exit(WEXITSTATUS(status));
}

static void test_background(void **state)
{
    int status;
    pid_t child;

    (void)state;
    child = fork();
    if (child == 0)
        background();
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_false(is_raw());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_raw_and_back),
        TEST(test_refusals),
        TEST(test_crash),
        TEST(test_background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
