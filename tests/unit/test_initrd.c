/*
 * Initial RAM disks: where they are placed, how they are padded, what is refused.
 */
#include "guest/initrd.h"

#include "base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/vireo-test-XXXXXX";
static char one[64], two[64], empty[64], fifo[64];
static struct guest_memory mem;

static void put(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(one, sizeof(one), "%s/one", directory);
    snprintf(two, sizeof(two), "%s/two", directory);
    snprintf(empty, sizeof(empty), "%s/empty", directory);
    snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
    put(one, "first", 5);
    put(two, "second!", 7);
    put(empty, "", 0);
    mkfifo(fifo, 0600);
    guest_memory_init(&mem);
    guest_memory_add(&mem, 0, 8 * MIB, 0, NULL);
    guest_memory_add(&mem, 4 * GIB, 8 * MIB, 0, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    guest_memory_destroy(&mem);
    unlink(one);
    unlink(two);
    unlink(empty);
    unlink(fifo);
    return rmdir(directory);
}

static void files_follow_each_other_padded(void **state)
{
    const char *paths[] = {one, two};
    struct error err = ERROR_INIT;
    struct initrd initrd;
    uint64_t start;
    const char *p;

    (void)state;
    assert_int_equal(initrd_open(&initrd, paths, 2, &err), 0);
    assert_int_equal(initrd.size, 16);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, 0x80000000, &start, &err), 0);
    assert_int_equal(start, 8 * MIB - 4096);
    p = guest_memory_map(&mem, GPA(start), 16);
    assert_memory_equal(p, "first\0\0\0second!\0", 16);

    memset(guest_memory_map(&mem, GPA(start), 16), 0xff, 16); /* a second load pads again */
    assert_int_equal(initrd_load(&initrd, &mem, MIB, 0x80000000, &start, &err), 0);
    assert_memory_equal(p, "first\0\0\0second!\0", 16);
    initrd_close(&initrd);
}

static void limits_are_kept(void **state)
{
    const char *paths[] = {one};
    struct error err = ERROR_INIT;
    struct initrd initrd;
    uint64_t start;

    (void)state;
    assert_int_equal(initrd_open(&initrd, paths, 1, &err), 0);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, UINT64_MAX, &start, &err), 0);
    assert_int_equal(start, 4 * GIB + 8 * MIB - 4096);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, 2 * MIB + 9, &start, &err), 0);
    assert_int_equal(start, 2 * MIB);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, MIB + 8, &start, &err), 0);
    assert_int_equal(start, MIB);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, MIB + 7, &start, &err), -ENOMEM);
    assert_int_equal(initrd_load(&initrd, &mem, MIB + 1, MIB + 4096, &start, &err), -ENOMEM);
    assert_int_equal(initrd_load(&initrd, &mem, 9 * MIB, 3 * GIB, &start, &err), -ENOMEM);
    assert_int_equal(initrd_load(&initrd, &mem, 2 * MIB, MIB, &start, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "needs 1 MiB of RAM"));
    initrd_close(&initrd);
}

static void no_files_are_no_initrd(void **state)
{
    struct initrd initrd;
    uint64_t start = 1;

    (void)state;
    assert_int_equal(initrd_open(&initrd, NULL, 0, NULL), 0);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, GIB, &start, NULL), 0);
    assert_int_equal(start, 0);
    initrd_close(&initrd);
}

static void assert_refused(const char *path, int code, const char *text)
{
    const char *paths[] = {one, path};
    struct error err = ERROR_INIT;
    struct initrd initrd;

    assert_int_equal(initrd_open(&initrd, paths, 2, &err), -code);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, text));
    assert_int_equal(initrd.count, 0);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    assert_refused("/nonexistent/initrd", ENOENT, "No such file");
    assert_refused(empty, EINVAL, "empty");
    assert_refused(directory, EINVAL, "not a regular file");
    assert_refused(fifo, EINVAL, "not a regular file");
}

static void a_file_that_shrank_is_an_error(void **state)
{
    const char *paths[] = {one, two};
    struct error err = ERROR_INIT;
    struct initrd initrd;
    uint64_t start;

    (void)state;
    assert_int_equal(initrd_open(&initrd, paths, 2, &err), 0);
    put(two, "se", 2);
    assert_int_equal(initrd_load(&initrd, &mem, MIB, GIB, &start, &err), -EINVAL);
    assert_non_null(strstr(err.text, two));
    initrd_close(&initrd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_follow_each_other_padded), cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(no_files_are_no_initrd),         cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(a_file_that_shrank_is_an_error),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
