/*
 * The host I/O engines where the host refuses: no io_uring, no memory for a submission, no threads.
 *
 * A filter of system calls plays the host. It cannot be taken off again, so each case runs in a
 * process of its own, which reports by its exit status.
 */
#include "base/bytes.h"
#include "devices/blk/io.h"
#include "tests/driver/loop_turn.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define OPERATIONS 4
#define MS         UINT64_C(1000000)

struct fixture {
    struct loop *loop;
    struct blk_engine *engine;
    struct {
        struct blk_io io;
        struct iovec iov;
        uint8_t data[512];
    } ops[OPERATIONS];
    unsigned done, failed;
};

static struct fixture fixture;

#define REQUIRE(what)                                                  \
    do {                                                               \
        if (!(what)) {                                                 \
            fprintf(stderr, "line %d, not so: %s\n", __LINE__, #what); \
            _exit(1);                                                  \
        }                                                              \
    } while (0)

/* System call `number`, if its second argument is `argument` (-1: whatever), fails with `code`. */
static void refuse(unsigned number, int64_t argument, int code)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)argument, 0, argument < 0 ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(filter), filter};

    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void io_done(struct blk_io *io)
{
    fixture.done++;
    fixture.failed += io->error != 0;
}

static void batch_done(void *opaque)
{
    (void)opaque;
}

static void engine_make(enum blk_aio choice, struct error *err)
{
    static struct blk_file file;
    char path[] = "/var/tmp/test_blk.XXXXXX"; /* a file in memory would need neither */

    file.fd = mkstemp(path);
    REQUIRE(file.fd >= 0 && unlink(path) == 0);
    REQUIRE(ftruncate(file.fd, sizeof(fixture.ops)) == 0);
    REQUIRE(loop_create(&fixture.loop, NULL) == 0);
    if (blk_engine_create(choice, fixture.loop, &file, &fixture.engine, err) == 0)
        fixture.engine->batch_done = batch_done;
}

static void submit_reads(unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        fixture.ops[i].iov = (struct iovec){fixture.ops[i].data, 512};
        fixture.ops[i].io = (struct blk_io){.type = BLK_IO_READ,
                                            .iov = &fixture.ops[i].iov,
                                            .iov_count = 1,
                                            .bytes = 512,
                                            .done = io_done};
        fixture.engine->ops->submit(fixture.engine, &fixture.ops[i].io);
    }
}

static void auto_without_uring(void)
{
    struct error err = ERROR_INIT;

    refuse(__NR_io_uring_setup, -1, EPERM);
    engine_make(BLK_AIO_URING, &err);
    REQUIRE(!fixture.engine && strstr(err.text, "does not allow io_uring"));
    engine_make(BLK_AIO_AUTO, &err);
    REQUIRE(fixture.engine && strcmp(fixture.engine->ops->name, "threads") == 0);
    fixture.engine->ops->destroy(fixture.engine);
}

/* Three operations find no memory, again and again; the fourth gets them all through. */
static void submission_refused_for_a_while(void)
{
    engine_make(BLK_AIO_URING, NULL);
    if (!fixture.engine)
        return; /* the host has none */
    refuse(__NR_io_uring_enter, 3, EAGAIN);
    submit_reads(0, 3);
    fixture.engine->ops->flush(fixture.engine);
    loop_run_for(fixture.loop, 10 * MS);
    fixture.engine->ops->wait(fixture.engine);
    REQUIRE(fixture.done == 0);
    submit_reads(3, 1);
    fixture.engine->ops->flush(fixture.engine);
    while (fixture.done < 4)
        fixture.engine->ops->wait(fixture.engine);
    loop_run_for(fixture.loop, 10 * MS);
    REQUIRE(fixture.done == 4 && fixture.failed == 0);
    fixture.engine->ops->destroy(fixture.engine);
}

static void no_threads(void)
{
    refuse(__NR_clone3, -1, EAGAIN);
    refuse(__NR_clone, -1, EAGAIN);
    engine_make(BLK_AIO_THREADS, NULL);
    submit_reads(0, 4);
    fixture.engine->ops->flush(fixture.engine);
    loop_run_for(fixture.loop, 10 * MS);
    REQUIRE(fixture.done == 4 && fixture.failed == 0);
    fixture.engine->ops->destroy(fixture.engine);
}

static void in_process(void (*body)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        body();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_auto_without_uring(void **state)
{
    (void)state;
    in_process(auto_without_uring);
}

static void test_submission_refused_for_a_while(void **state)
{
    (void)state;
    in_process(submission_refused_for_a_while);
}

static void test_no_threads(void **state)
{
    (void)state;
    in_process(no_threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_without_uring),
        cmocka_unit_test(test_submission_refused_for_a_while),
        cmocka_unit_test(test_no_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
