/*
 * --timing: which byte of the guest's output counts as the first of /init, and what is printed.
 */
#include "base/bytes.h"
#include "devices/chardev/chardev.h"
#include "tests/driver/fake_platform.h"
#include "vmm/timing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 0x3f8

struct fixture {
    struct fake_platform fake;
    struct loop *loop;
    struct chardev *chardev;
    struct serial *serial;
};

static void open_serial(struct fixture *f)
{
    struct error err = ERROR_INIT;

    fake_platform_init(&f->fake);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    assert_int_equal(chardev_open("null", f->loop, &f->chardev, &err), 0);
    assert_int_equal(
        serial_create(&f->fake.platform, f->loop, PORT, 4, f->chardev, &f->serial, &err), 0);
    timing_watch_serial(f->serial);
}

static void close_serial(struct fixture *f)
{
    serial_destroy(f->serial);
    chardev_close(f->chardev);
    loop_destroy(f->loop);
    fake_platform_destroy(&f->fake);
}

static void guest_prints(struct fixture *f, const char *text)
{
    for (; *text; text++)
        fake_write(&f->fake, ADDRESS_PIO, PORT, 1, (uint8_t)*text);
}

/* The milliseconds in the line of this stage; -1 when it was not reached. */
static double printed(const char *stage)
{
    char *text = NULL, *line;
    size_t size = 0;
    double ms = -1;
    FILE *out = open_memstream(&text, &size);

    timing_print(out);
    fclose(out);
    line = strstr(text, stage);
    assert_non_null(line);
    while (line > text && line[-1] != '\n')
        line--;
    assert_memory_equal(line, "timing: ", 8);
    if (strncmp(line, "timing:    not reached", 22) != 0)
        assert_int_equal(sscanf(line, "timing: %lf ms", &ms), 1);
    free(text);
    return ms;
}

/* Marks last as long as the process, so each text is printed in one of its own. */
static bool found_after(const char *text)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct fixture f;
        bool found;

        timing_start();
        open_serial(&f);
        guest_prints(&f, text);
        found = printed("first /init output") >= 0;
        close_serial(&f);
        _exit(found);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void kernel_messages_do_not_count(void **state)
{
    (void)state;
    assert_false(found_after(""));
    assert_false(found_after("\r\n\r\n\n"));
    assert_false(found_after("[    0.000000] Linux version 6.1\r\n"));
    assert_false(found_after("[    0.000000] one\r\n[    0.1] two: [x] y\r\n[   12.5] three\n["));
    assert_false(found_after("\r[    0.1] a\r\r\n"));
}

static void the_first_other_line_counts(void **state)
{
    (void)state;
    assert_true(found_after("h"));
    assert_true(found_after("[    0.1] Run /init as init process\r\nhello\r\n"));
    assert_true(found_after("[    0.1] a\nb"));
    assert_true(found_after("[    0.1] a\r \r"));
    assert_true(found_after("\n\n#"));
}

static void stages_as_printed(void **state)
{
    struct fixture f;
    double ready, init;

    (void)state;
    timing_start();
    open_serial(&f);
    assert_true(printed("process start") == 0.0);
    assert_true(printed("machine ready") < 0);
    timing_mark(TIMING_READY);
    ready = printed("machine ready");
    assert_true(ready > 0); /* the time before main is in it */
    assert_true(ready < 60000);
    assert_true(printed("first guest instruction") < 0);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    guest_prints(&f, "[    0.1] x\nhello\n");
    init = printed("first /init output");
    assert_true(init >= ready + 5);

    /* The first one stays, also over later boots. */
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    timing_mark(TIMING_READY);
    guest_prints(&f, "more\n");
    assert_true(printed("machine ready") == ready);
    assert_true(printed("first /init output") == init);
    close_serial(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_messages_do_not_count),
        cmocka_unit_test(the_first_other_line_counts),
        cmocka_unit_test(stages_as_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
