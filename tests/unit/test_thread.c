/*
 * Threads: what they are started with, above all which signals they leave to others.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STACK (64 * KIB)

/* What a thread sees of itself, and a pipe it waits for the end of. */
struct seen {
    sigset_t blocked;
    size_t stack_size;
    int hold[2];
};

static void *look(void *arg)
{
    struct seen *seen = arg;
    pthread_attr_t attributes;
    char end;

    pthread_sigmask(SIG_BLOCK, NULL, &seen->blocked);
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstacksize(&attributes, &seen->stack_size);
    pthread_attr_destroy(&attributes);
    while (read(seen->hold[0], &end, 1) > 0)
        ;
    return seen;
}

static pthread_t start(struct seen *seen, const char *name, size_t stack_size)
{
    pthread_t thread;

    assert_int_equal(pipe(seen->hold), 0);
    assert_int_equal(thread_start(&thread, name, stack_size, look, seen), 0);
    return thread;
}

static void join(struct seen *seen, pthread_t thread)
{
    void *result = NULL;

    close(seen->hold[1]);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, seen);
    close(seen->hold[0]);
}

/* --- signals ---------------------------------------------------------------------------------- */

static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};

static bool is_fault(int signal)
{
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        if (faults[i] == signal)
            return true;
    return false;
}

static void only_faults_are_not_blocked(void **state)
{
    struct seen seen;

    (void)state;
    join(&seen, start(&seen, "mask", STACK));
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP || (signal > SIGSYS && signal < SIGRTMIN))
            continue; /* cannot be blocked, or belong to the C library */
        assert_int_equal(sigismember(&seen.blocked, signal), !is_fault(signal));
    }
}

/* Faults are unblocked even where the starter has blocked them; its own mask stays what it was. */
static void the_starter_keeps_its_mask(void **state)
{
    sigset_t mine, before, after;
    pthread_t thread;
    struct seen seen;

    (void)state;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    sigaddset(&mine, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &mine, &before);
    thread = start(&seen, "mask", STACK);
    assert_true(thread_start(&thread, "x", SIZE_MAX / 2, look, &seen) < 0);
    pthread_sigmask(SIG_SETMASK, &before, &after);
    join(&seen, thread);
    for (int signal = 1; signal <= SIGSYS; signal++)
        assert_int_equal(sigismember(&after, signal), signal == SIGUSR1 || signal == SIGSEGV);
    assert_int_equal(sigismember(&seen.blocked, SIGSEGV), 0);
    assert_int_equal(sigismember(&seen.blocked, SIGUSR1), 1);
}

static int report_fd;

static void handle_fault(int signal)
{
    char byte = (char)signal;

    _exit(write(report_fd, &byte, 1) == 1 ? 7 : 8);
}

static void *fault(void *arg)
{
    *(volatile char *)arg = 1;
    return NULL;
}

struct fault_task {
    struct loop_task task;
    void *page;
};

static void fault_on_loop(struct loop_task *task)
{
    fault(container_of(task, struct fault_task, task)->page);
}

/* In a process of its own: a handler is installed, then a thread does what it must not do. */
static void fault_in_thread(bool of_a_loop)
{
    struct sigaction action = {.sa_handler = handle_fault};
    struct fault_task task = {.task.run = fault_on_loop};
    struct loop *loop;
    pthread_t thread;

    task.page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaction(SIGSEGV, &action, NULL);
    if (!of_a_loop) {
        if (thread_start(&thread, "faulty", STACK, fault, task.page))
            _exit(1);
    } else {
        if (loop_create(&loop, NULL) || loop_start_thread(loop, "faulty", NULL))
            _exit(2);
        loop_post(loop, &task.task);
    }
    sleep(10);
    _exit(3);
}

static void check_fault(bool of_a_loop)
{
    int pipes[2], status;
    char byte = 0;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        report_fd = pipes[1];
        fault_in_thread(of_a_loop);
    }
    close(pipes[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status)); /* and was not killed: the handler had its turn */
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(byte, SIGSEGV);
    close(pipes[0]);
}

static void a_fault_finds_its_handler(void **state)
{
    (void)state;
    check_fault(false);
    check_fault(true);
}

/* --- the rest --------------------------------------------------------------------------------- */

static void names(void **state)
{
    static const struct {
        const char *given, *shown;
    } rows[] = {
        {"blk-io", "blk-io"},
        {"", ""},
        {"fifteen letters", "fifteen letters"},
        {"sixteen letters!", "sixteen letters"},
        {"far more than would ever fit into it", "far more than w"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct seen seen;
        pthread_t thread = start(&seen, rows[i].given, STACK);
        char name[32];

        assert_int_equal(pthread_getname_np(thread, name, sizeof(name)), 0);
        join(&seen, thread);
        assert_string_equal(name, rows[i].shown);
    }
}

static void small_stacks(void **state)
{
    static const size_t sizes[] = {0, 1, 1000, 16 * KIB, 64 * KIB, 200 * KIB};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct seen seen;

        join(&seen, start(&seen, "small", sizes[i]));
        assert_true(seen.stack_size >= sizes[i]);
        assert_true(seen.stack_size <= MIB); /* the usual 8 would be for nothing */
    }
}

static void impossible_stacks(void **state)
{
    static const size_t sizes[] = {SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX - 4095};
    struct seen seen;
    pthread_t thread;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        int ret = thread_start(&thread, "huge", sizes[i], look, &seen);
        assert_true(ret == -EAGAIN || ret == -EINVAL || ret == -ENOMEM);
    }
    join(&seen, start(&seen, "small", STACK)); /* and all is well */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_faults_are_not_blocked),
        cmocka_unit_test(the_starter_keeps_its_mask),
        cmocka_unit_test(a_fault_finds_its_handler),
        cmocka_unit_test(names),
        cmocka_unit_test(small_stacks),
        cmocka_unit_test(impossible_stacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
