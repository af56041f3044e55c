/*
 * Signals by eventfds that a hostile process shares.
 */
#include "base/event_signal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 1000 /* more than there is room for results */

static void counts(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t count;

    (void)state;
    for (int i = 0; i < MANY; i++)
        event_signal(fd);
    assert_int_equal(eventfd_read(fd, &count), 0);
    assert_int_equal(count, MANY);
    close(fd);
}

/* Its counter is full, and who writes to it waits. */
static void never_waits(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    eventfd_t count;

    (void)state;
    assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
    alarm(10);
    for (int i = 0; i < MANY; i++)
        event_signal(fd);
    alarm(0);
    assert_int_equal(eventfd_read(fd, &count), 0);
    assert_true(count >= UINT64_MAX - 1);
    close(fd);
}

static void leaves_others_alone(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    event_signal(ends[1]);
    event_signal(-1);
    assert_int_equal(read(ends[0], &(char){0}, 1), -1);
    close(ends[0]);
    close(ends[1]);
}

static void works_in_a_child(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), status;
    eventfd_t count;
    pid_t child;

    (void)state;
    event_signal(fd);
    child = fork();
    if (child == 0) {
        event_signal(fd);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(eventfd_read(fd, &count), 0);
    assert_int_equal(count, 2);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),
        cmocka_unit_test(never_waits),
        cmocka_unit_test(leaves_others_alone),
        cmocka_unit_test(works_in_a_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
