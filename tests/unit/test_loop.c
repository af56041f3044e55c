/*
 * Event loops: descriptors, timers, posted tasks and calls from other threads.
 */
#include "base/bytes.h"
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static int create(void **state)
{
    struct loop *loop = NULL;
    int ret = loop_create(&loop, NULL);

    *state = loop;
    return ret;
}

static int destroy(void **state)
{
    loop_destroy(*state);
    return 0;
}

struct source {
    struct loop_fd fd;
    struct loop *loop;
    struct source *other;
    int calls;
    bool stop;
};

static void source_open(struct source *source, struct loop *loop, uint64_t count,
                        void (*ready)(struct loop_fd *, uint32_t))
{
    *source = (struct source){.fd = {.events = EPOLLIN, .ready = ready}, .loop = loop};
    source->fd.fd = eventfd((unsigned)count, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_int_equal(loop_fd_add(loop, &source->fd, NULL), 0);
}

/* Both sources are ready at once: whichever comes first removes the other and ends the loop. */
static void remove_other(struct loop_fd *fd, uint32_t events)
{
    struct source *source = container_of(fd, struct source, fd);

    assert_int_equal(events, EPOLLIN);
    source->calls++;
    loop_fd_remove(source->loop, &source->other->fd);
    loop_stop(source->loop);
}

static void test_remove_gathered(void **state)
{
    struct source a, b;

    source_open(&a, *state, 1, remove_other);
    source_open(&b, *state, 1, remove_other);
    a.other = &b;
    b.other = &a;
    loop_run(*state);
    assert_int_equal(a.calls + b.calls, 1);
    close(a.fd.fd);
    close(b.fd.fd);
}

static void count_and_drain(struct loop_fd *fd, uint32_t events)
{
    struct source *source = container_of(fd, struct source, fd);
    uint64_t value;

    (void)events;
    source->calls++;
    assert_int_equal(read(fd->fd, &value, sizeof(value)), sizeof(value));
    loop_stop(source->loop);
}

/* Remove a gathered one and add it again: it is called in the next turn, not lost. */
static void readd_other(struct loop_fd *fd, uint32_t events)
{
    struct source *source = container_of(fd, struct source, fd);

    (void)events;
    source->calls++;
    loop_fd_remove(source->loop, fd);
    loop_fd_remove(source->loop, &source->other->fd);
    source->other->fd.ready = count_and_drain;
    assert_int_equal(loop_fd_add(source->loop, &source->other->fd, NULL), 0);
}

static void test_remove_and_add(void **state)
{
    struct source a, b;

    source_open(&a, *state, 1, readd_other);
    source_open(&b, *state, 1, readd_other);
    a.other = &b;
    b.other = &a;
    loop_run(*state);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 1);
    close(a.fd.fd);
    close(b.fd.fd);
}

static void stop_when_writable(struct loop_fd *fd, uint32_t events)
{
    struct source *source = container_of(fd, struct source, fd);

    source->calls++;
    assert_int_equal(events, EPOLLOUT);
    loop_stop(source->loop);
}

static void test_set_events(void **state)
{
    struct source a;

    source_open(&a, *state, 0, stop_when_writable);
    assert_int_equal(loop_fd_set_events(*state, &a.fd, EPOLLOUT), 0);
    loop_run(*state);
    assert_int_equal(a.calls, 1);
    loop_fd_remove(*state, &a.fd);
    close(a.fd.fd);
}

static void test_add_failures(void **state)
{
    struct loop_fd fd = {.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), .events = EPOLLIN};
    struct error err = ERROR_INIT;

    assert_int_equal(loop_fd_add(*state, &fd, &err), -EPERM);
    assert_int_equal(err.code, EPERM);
    close(fd.fd);
    assert_int_equal(loop_fd_add(*state, &fd, &err), -EBADF);
}

struct alarm {
    struct loop_timer timer;
    struct loop *loop;
    struct alarm *cancels;
    char name, *trace;
    int repeats;
    bool last;
};

static void alarm_expired(struct loop_timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    size_t length = strlen(alarm->trace);

    assert_int_equal(timer->deadline_ns, 0);
    alarm->trace[length] = alarm->name;
    if (alarm->cancels)
        loop_timer_cancel(alarm->loop, &alarm->cancels->timer);
    if (alarm->repeats-- > 0)
        loop_timer_set(alarm->loop, timer, 0);
    if (alarm->last)
        loop_stop(alarm->loop);
}

static void test_timer_order(void **state)
{
    char trace[16] = "", zeroes[16] = "";
    struct alarm alarms[6];
    uint64_t start = loop_now_ns();

    for (size_t i = 0; i < ARRAY_SIZE(alarms); i++)
        alarms[i] = (struct alarm){.timer.expired = alarm_expired,
                                   .loop = *state,
                                   .name = (char)('a' + i),
                                   .trace = trace};
    loop_timer_set(*state, &alarms[0].timer, 8 * MS);
    loop_timer_set(*state, &alarms[1].timer, 2 * MS);
    loop_timer_set(*state, &alarms[2].timer, UINT64_MAX); /* never */
    loop_timer_set(*state, &alarms[3].timer, 1 * MS);
    loop_timer_set(*state, &alarms[3].timer, 5 * MS); /* moved */
    loop_timer_set(*state, &alarms[4].timer, 3 * MS);
    loop_timer_set(*state, &alarms[5].timer, 0);
    alarms[0].last = true;
    alarms[1].cancels = &alarms[4];
    alarms[5].repeats = 2;
    alarms[5].trace = zeroes;
    loop_run(*state);
    assert_string_equal(trace, "bda");
    assert_string_equal(zeroes, "fff");
    assert_true(loop_now_ns() - start >= 8 * MS);
    loop_timer_cancel(*state, &alarms[2].timer);
    loop_timer_cancel(*state, &alarms[2].timer);
}

struct job {
    struct loop_task task;
    struct loop *loop;
    int runs, wanted;
    bool repost;
};

static void job_run(struct loop_task *task)
{
    struct job *job = container_of(task, struct job, task);

    job->runs++;
    if (job->runs == job->wanted)
        loop_stop(job->loop);
    else if (job->repost)
        loop_post(job->loop, task);
}

static void test_post(void **state)
{
    struct job once = {.task.run = job_run, .loop = *state};
    struct job cancelled = {.task.run = job_run, .loop = *state};
    struct job again = {.task.run = job_run, .loop = *state, .wanted = 5, .repost = true};

    loop_post(*state, &once.task);
    loop_post(*state, &once.task);
    loop_post(*state, &again.task);
    loop_post(*state, &cancelled.task);
    loop_task_cancel(*state, &cancelled.task);
    loop_task_cancel(*state, &cancelled.task);
    loop_run(*state);
    assert_int_equal(once.runs, 1);
    assert_int_equal(again.runs, 5);
    assert_int_equal(cancelled.runs, 0);
    assert_false(once.task.queued);
}

/* Cancelling first, middle and last leaves a queue that still works. */
static void test_cancel_places(void **state)
{
    for (size_t gone = 0; gone < 3; gone++) {
        struct job jobs[4];
        for (size_t i = 0; i < 4; i++)
            jobs[i] = (struct job){.task.run = job_run, .loop = *state};
        jobs[3].wanted = 1;
        for (size_t i = 0; i < 3; i++)
            loop_post(*state, &jobs[i].task);
        loop_task_cancel(*state, &jobs[gone].task);
        loop_post(*state, &jobs[3].task);
        loop_run(*state);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(jobs[i].runs, i != gone);
    }
}

static void test_stop_before_run(void **state)
{
    loop_stop(*state);
    loop_run(*state); /* returns */
}

struct caller {
    struct loop *loop;
    pthread_t thread;
    int *counter; /* owned by the loop: no lock */
    int calls;
};

static void count_call(void *arg)
{
    struct caller *caller = arg;
    (*caller->counter)++;
}

static void nested_call(void *arg)
{
    struct caller *caller = arg;
    loop_call(caller->loop, count_call, caller);
}

static void *calling_thread(void *arg)
{
    struct caller *caller = arg;

    for (int i = 0; i < caller->calls; i++)
        loop_call(caller->loop, i % 2 ? count_call : nested_call, caller);
    return NULL;
}

#define CALLERS 4

static void test_calls_from_threads(void **state)
{
    struct caller callers[CALLERS];
    int counter = 0;

    assert_int_equal(loop_start_thread(*state, "a-name-longer-than-fifteen", NULL), 0);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.loop = *state, .counter = &counter, .calls = 2000};
        pthread_create(&callers[i].thread, NULL, calling_thread, &callers[i]);
    }
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    loop_join_thread(*state);
    loop_join_thread(*state);
    assert_int_equal(counter, CALLERS * 2000);
}

/* Calls neither get lost nor run twice, nor beside each other, while the loop starts and stops. */
static void test_calls_while_stopping(void **state)
{
    struct caller callers[CALLERS];
    int counter = 0;

    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.loop = *state, .counter = &counter, .calls = 3000};
        pthread_create(&callers[i].thread, NULL, calling_thread, &callers[i]);
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(loop_start_thread(*state, "loop", NULL), 0);
        loop_join_thread(*state);
    }
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    assert_int_equal(counter, CALLERS * 3000);
}

static void look_at_thread(void *arg)
{
    char name[16];
    sigset_t blocked;

    pthread_getname_np(pthread_self(), name, sizeof(name));
    assert_string_equal(name, "loop-io");
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    assert_true(sigismember(&blocked, SIGINT));
    assert_true(sigismember(&blocked, SIGTERM));
    *(bool *)arg = true;
}

static void test_thread(void **state)
{
    bool looked = false;
    sigset_t blocked;

    assert_int_equal(loop_start_thread(*state, "loop-io", NULL), 0);
    loop_call(*state, look_at_thread, &looked);
    loop_join_thread(*state);
    assert_true(looked);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGINT));
}

static void test_call_without_thread(void **state)
{
    int counter = 0;
    struct caller caller = {.loop = *state, .counter = &counter};

    loop_call(*state, nested_call, &caller);
    assert_int_equal(counter, 1);
}

static struct loop *interrupted;

static void on_alarm(int signal)
{
    (void)signal;
    loop_stop(interrupted);
}

static void test_stop_by_signal(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm}, before;

    interrupted = *state;
    sigaction(SIGALRM, &action, &before);
    ualarm(5000, 0);
    loop_run(*state);
    sigaction(SIGALRM, &before, NULL);
}

struct flood {
    struct job job;
    atomic_int posts;
};

static void *posting_thread(void *arg)
{
    struct flood *flood = arg;

    for (int i = 0; i < 5000; i++) {
        atomic_fetch_add(&flood->posts, 1);
        loop_post(flood->job.loop, &flood->job.task);
    }
    return NULL;
}

/* Every post is followed by a run that begins after it. */
static void test_posts_from_threads(void **state)
{
    struct flood flood = {.job = {.task.run = job_run, .loop = *state}};
    pthread_t threads[3];
    int nothing = 0;
    struct caller barrier = {.loop = *state, .counter = &nothing};

    assert_int_equal(loop_start_thread(*state, "loop", NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_create(&threads[i], NULL, posting_thread, &flood);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    loop_call(*state, count_call, &barrier); /* behind the last post */
    loop_join_thread(*state);
    assert_true(flood.job.runs >= 1 && flood.job.runs <= flood.posts);
    assert_false(flood.job.task.queued);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_remove_gathered),
        TEST(test_remove_and_add),
        TEST(test_set_events),
        TEST(test_add_failures),
        TEST(test_timer_order),
        TEST(test_post),
        TEST(test_cancel_places),
        TEST(test_stop_before_run),
        TEST(test_calls_from_threads),
        TEST(test_calls_while_stopping),
        TEST(test_thread),
        TEST(test_call_without_thread),
        TEST(test_stop_by_signal),
        TEST(test_posts_from_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
