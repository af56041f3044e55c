/*
 * What a disk's io_uring can be used for by somebody who has taken the process over: transfers, and
 * nothing that a filter of system calls would have refused.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "devices/blk/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTRIES 64 /* as in the engine: its parts lie where those of a ring of ours do */

struct fixture {
    struct loop *loop;
    struct blk_file file;
    struct blk_engine *engine;
    struct io_uring ring; /* a second view of the engine's */
};

/* The descriptor of the only ring of this process; -1: there is none. */
static int find_ring(void)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    int found = -1;

    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        char target[64] = "";

        if (readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1) > 0 &&
            strcmp(target, "anon_inode:[io_uring]") == 0)
            found = atoi(entry->d_name);
    }
    closedir(directory);
    return found;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct io_uring_params params = {0};
    struct io_uring ours;
    int fd;

    assert_int_equal(loop_create(&f->loop, NULL), 0);
    f->file.fd = memfd_create("image", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->file.fd, 4096), 0);
    *state = f;
    if (blk_uring_create(f->loop, &f->file, &f->engine, NULL) < 0)
        return 0;
    fd = find_ring();
    assert_true(fd >= 0);
    assert_int_equal(io_uring_queue_init_params(ENTRIES, &ours, &params), 0);
    io_uring_queue_exit(&ours);
    assert_int_equal(io_uring_queue_mmap(fd, &params, &f->ring), 0);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->engine)
        f->engine->ops->destroy(f->engine);
    close(f->file.fd);
    loop_destroy(f->loop);
    free(f);
    return 0;
}

static int result(struct fixture *f)
{
    struct io_uring_cqe *cqe;
    int ret;

    assert_int_equal(io_uring_submit_and_wait(&f->ring, 1), 1);
    assert_int_equal(io_uring_peek_cqe(&f->ring, &cqe), 0);
    ret = cqe->res;
    io_uring_cqe_seen(&f->ring, cqe);
    return ret;
}

static void transfers(void **state)
{
    struct fixture *f = *state;
    char bytes[512];

    if (!f->engine)
        skip(); /* the host has none */
    io_uring_prep_read(io_uring_get_sqe(&f->ring), f->file.fd, bytes, sizeof(bytes), 0);
    assert_int_equal(result(f), sizeof(bytes));
    io_uring_prep_fsync(io_uring_get_sqe(&f->ring), f->file.fd, IORING_FSYNC_DATASYNC);
    assert_int_equal(result(f), 0);
}

static void nothing_else(void **state)
{
    struct fixture *f = *state;

    if (!f->engine)
        skip();
    io_uring_prep_openat(io_uring_get_sqe(&f->ring), AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
    assert_int_equal(result(f), -EACCES);
    io_uring_prep_connect(io_uring_get_sqe(&f->ring), 0, NULL, 0);
    assert_int_equal(result(f), -EACCES);
    io_uring_prep_close(io_uring_get_sqe(&f->ring), 0);
    assert_int_equal(result(f), -EACCES);
    assert_int_equal(io_uring_register_eventfd(&f->ring, 0), -EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(transfers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_else, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
