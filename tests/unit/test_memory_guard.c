/*
 * Guards of memory (base/memory_guard.h): what is gone is replaced, and what they do not guard ends
 * the process as it would without them.
 */
#include "base/memory_guard.h"

#include "base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE   4096
#define LENGTH (4 * PAGE)

struct guarded {
    int fd, lost;
    struct guarded_map map;
};

/* In the test itself: cmocka has handlers of its own, for each test and fixture. */
static struct guarded make(void)
{
    struct guarded g = {memfd_create("guarded", MFD_CLOEXEC), eventfd(0, EFD_NONBLOCK), {0}};

    assert_int_equal(ftruncate(g.fd, LENGTH), 0);
    assert_int_equal(guarded_map_create(&g.map, g.fd, LENGTH, g.lost, NULL), 0);
    return g;
}

static void destroy(struct guarded *g)
{
    guarded_map_destroy(&g->map);
    close(g->lost);
    close(g->fd);
}

static void replaced(void **state)
{
    struct guarded g = make();
    volatile uint8_t *bytes = g.map.base;
    unsigned before = memory_guard_losses();
    eventfd_t told;

    (void)state;
    bytes[0] = 1;
    assert_int_equal(memory_guard_losses(), before);
    assert_int_equal(ftruncate(g.fd, PAGE), 0);
    assert_int_equal(bytes[0], 1); /* it is there still */
    assert_int_equal(eventfd_read(g.lost, &told), -1);
    bytes[PAGE] = 2;
    assert_int_equal(bytes[PAGE], 2);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(eventfd_read(g.lost, &told), 0);
    assert_int_equal(memory_guard_losses(), before + 1);
    destroy(&g);
}

static void refused(void **state)
{
    struct guarded g = make();
    struct guarded_map map;

    (void)state;
    assert_int_equal(guarded_map_create(&map, g.fd, LENGTH + 1, g.lost, NULL), -EINVAL);
    destroy(&g);
}

/* So many at once, and again when they are gone. */
static void bounded(void **state)
{
    struct guarded all[MEMORY_GUARDS];
    struct guarded_map map;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MEMORY_GUARDS; i++)
            all[i] = make();
        assert_int_equal(guarded_map_create(&map, all[0].fd, LENGTH, all[0].lost, NULL), -ENOSPC);
        for (int i = 0; i < MEMORY_GUARDS; i++)
            destroy(&all[i]);
    }
}

static int note = -1;

/* As the one that gives a crashing machine's terminal back. */
static void crash(int signal)
{
    (void)!write(note, "!", 1);
    raise(signal);
}

static int bus_error_elsewhere(int output)
{
    const struct sigaction action = {.sa_handler = crash,
                                     .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    struct sigaction none = {.sa_handler = SIG_DFL};
    int fd = memfd_create("not guarded", MFD_CLOEXEC);
    volatile uint8_t *bytes;

    alarm(20);
    sigaction(SIGBUS, &none, NULL);
    note = output;
    sigaction(SIGBUS, &action, NULL);
    make();
    if (ftruncate(fd, PAGE) < 0)
        return 1;
    bytes = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (ftruncate(fd, 0) < 0)
        return 1;
    return bytes[0];
}

/* The handler of before is called once, and the process ends. */
static void handler_of_before(void **state)
{
    int ends[2], status;
    char text[8];
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0)
        _exit(bus_error_elsewhere(ends[1]));
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ends[1]);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    assert_int_equal(read(ends[0], text, sizeof(text)), 1);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handler_of_before),
        cmocka_unit_test(replaced),
        cmocka_unit_test(refused),
        cmocka_unit_test(bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
