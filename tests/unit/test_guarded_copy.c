/*
 * Copies from and to memory that is not there.
 */
#include "base/guarded_copy.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096

static char *map_file(int *fd, int rights)
{
    char *memory;

    *fd = memfd_create("file", MFD_CLOEXEC);
    assert_int_equal(ftruncate(*fd, 2 * PAGE), 0);
    memory = mmap(NULL, 2 * PAGE, rights, MAP_SHARED, *fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static void there(void **state)
{
    char to[5];

    (void)state;
    assert_int_equal(guarded_copy(to, "here", 5), 0);
    assert_string_equal(to, "here");
    assert_int_equal(guarded_copy(to, NULL, 0), 0);
}

static void truncated(void **state)
{
    char bytes[8] = {0}, *memory;
    int fd;

    (void)state;
    memory = map_file(&fd, PROT_READ | PROT_WRITE);
    assert_int_equal(guarded_copy(memory + PAGE, "abcd", 4), 0);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(guarded_copy(bytes, memory + PAGE, 4), -EIO);
    assert_int_equal(guarded_copy(memory + PAGE, bytes, 4), -EIO);
    assert_int_equal(guarded_copy(bytes, memory + PAGE - 4, 8), -EIO); /* half of it */
    assert_int_equal(guarded_copy(bytes, memory + PAGE - 8, 8), 0);
    munmap(memory, 2 * PAGE);
    close(fd);
}

static void not_mapped(void **state)
{
    char bytes[8] = {0}, *memory;
    int fd;

    (void)state;
    memory = map_file(&fd, PROT_READ);
    for (int i = 0; i < 3; i++) /* one fault does not spoil the next */
        assert_int_equal(guarded_copy(memory, bytes, 8), -EFAULT);
    assert_int_equal(guarded_copy(bytes, memory, 8), 0);
    munmap(memory, 2 * PAGE);
    assert_int_equal(guarded_copy(bytes, memory, 8), -EFAULT);
    close(fd);
}

/* Elsewhere a fault is the end, as ever. */
static void elsewhere(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    pid = fork();
    if (pid == 0) {
        char byte, *memory = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        signal(SIGSEGV, SIG_DFL);
        (void)guarded_copy(&byte, memory, 1);
        *(volatile char *)memory = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there),
        cmocka_unit_test(truncated),
        cmocka_unit_test(not_mapped),
        cmocka_unit_test(elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
