/*
 * Events of a loop (base/loop_event.h): eventfds that others signal.
 */
#include "base/bytes.h"
#include "base/loop_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct counter {
    struct loop *loop;
    struct loop_fd event;
    int calls;
};

static void count(struct loop_fd *self, uint32_t events)
{
    struct counter *counter = container_of(self, struct counter, event);

    (void)events;
    if (loop_event_take(self->fd))
        counter->calls++;
    loop_stop(counter->loop);
}

static void test_signals(void **state)
{
    struct counter counter = {.event.fd = -1};
    int fd;

    (void)state;
    assert_int_equal(loop_create(&counter.loop, NULL), 0);
    assert_int_equal(loop_event_open(counter.loop, &counter.event, count, NULL), 0);
    fd = counter.event.fd;
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    eventfd_write(fd, 1);
    eventfd_write(fd, 1);
    loop_run(counter.loop); /* two signals before it runs are one call */
    assert_int_equal(counter.calls, 1);
    eventfd_write(fd, 1);
    loop_run(counter.loop);
    assert_int_equal(counter.calls, 2);
    loop_fd_close(counter.loop, &counter.event);
    assert_int_equal(counter.event.fd, -1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    loop_fd_close(counter.loop, &counter.event); /* nothing to close */
    loop_destroy(counter.loop);
}

/* Who shares the file may make it blocking: taking a signal does not wait. */
static void test_take(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    assert_false(loop_event_take(fd));
    eventfd_write(fd, 1);
    assert_true(loop_event_take(fd));
    assert_false(loop_event_take(fd));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
