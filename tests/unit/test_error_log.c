/*
 * Errors and log lines: one line each, whatever is put into them.
 */
#include "base/error.h"
#include "base/log.h"
#include "base/module.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void error_says_what_was_attempted(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(error_set(&err, EINVAL, "disk '%s' is odd", "a"), -EINVAL);
    assert_int_equal(err.code, EINVAL);
    assert_string_equal(err.text, "disk 'a' is odd");
    assert_int_equal(error_errno(&err, ENOENT, "cannot open '%s'", "b"), -ENOENT);
    assert_string_equal(err.text, "cannot open 'b': No such file or directory");
    error_prefix(&err, "disk %d", 3);
    assert_string_equal(err.text, "disk 3: cannot open 'b': No such file or directory");
    assert_int_equal(err.code, ENOENT);
}

static void error_may_be_null(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, EIO, "x"), -EIO);
    assert_int_equal(error_errno(NULL, EIO, "x"), -EIO);
    error_prefix(NULL, "x");
}

static void error_may_quote_itself(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    error_set(&err, EINVAL, "inner");
    error_set(&err, EIO, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
}

static void error_is_one_short_line(void **state)
{
    struct error err = ERROR_INIT;
    char name[1000];

    (void)state;
    error_set(&err, EINVAL, "a\nb\x1b[31mc\x7f");
    assert_string_equal(err.text, "a?b?[31mc?");
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    error_errno(&err, ENOENT, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_prefix(&err, "%.475s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_prefix(&err, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

/* What one call writes to stderr. */
static const char *logged(void (*log)(void))
{
    static char text[8192];
    int pipes[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    log();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipes[1]);
    n = read(pipes[0], text, sizeof(text) - 1);
    close(pipes[0]);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void log_hello(void)
{
    log_warn("blk", "hello %d", 1);
    log_info("blk", "not this one");
}

static void log_nasty(void)
{
    log_warn("blk", "a\"b\\c\n\x1b[2J\xff\xc3\xa4 \xed\xa0\x80.");
}

static void log_long(void)
{
    char text[4000];

    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_warn("blk", "%s", text);
}

static void log_text_lines(void **state)
{
    (void)state;
    assert_int_equal(log_configure("warn"), 0);
    assert_string_equal(logged(log_hello), "vireo: warn: blk: hello 1\n");
    assert_string_equal(logged(log_nasty), "vireo: warn: blk: a\"b\\c??[2J?\xc3\xa4 ???.\n");
    log_set_crlf(true);
    assert_string_equal(logged(log_hello), "vireo: warn: blk: hello 1\r\n");
    log_set_crlf(false);
}

static void log_json_lines(void **state)
{
    const char *line;

    (void)state;
    assert_int_equal(log_configure("warn,json"), 0);
    line = logged(log_nasty);
    assert_memory_equal(line, "{\"time\":", 8);
    assert_non_null(strstr(line,
                           "\"level\":\"warn\",\"module\":\"blk\",\"message\":\"a\\\"b\\\\c??[2J?"
                           "\xc3\xa4 ???.\"}\n"));
    line = logged(log_long);
    assert_true(strlen(line) <= 2048);
    assert_string_equal(line + strlen(line) - 4, "\"\"}\n");
    assert_int_equal(log_configure("warn"), 0);
}

static void log_specifications(void **state)
{
    (void)state;
    assert_int_equal(log_configure("debug"), 0);
    assert_int_equal(log_threshold, LOG_DEBUG);
    assert_int_equal(log_configure("loud"), -EINVAL);
    assert_int_equal(log_configure("debug,xml"), -EINVAL);
    assert_int_equal(log_configure(""), -EINVAL);
    assert_int_equal(log_threshold, LOG_DEBUG);
    assert_int_equal(log_configure("error,json"), 0);
    assert_int_equal(log_threshold, LOG_ERROR);
    assert_int_equal(log_configure("warn"), 0);
}

static void log_keeps_errno(void **state)
{
    (void)state;
    errno = ENOTTY;
    logged(log_hello);
    errno = EXDEV;
    log_debug("x", "not shown");
    assert_int_equal(errno, EXDEV);
}

static struct log_limit limit;
static int passed;

static void flood(void)
{
    for (int i = 0; i < 1000; i++)
        passed += log_limit_pass(&limit);
}

static void log_limit_stops_floods(void **state)
{
    (void)state;
    logged(flood);
    assert_in_range(passed, 10, 11);
    assert_in_range(limit.dropped, 989, 990);
    limit.next_ns -= 3 * UINT64_C(1000000000); /* as if three seconds had passed */
    passed = 0;
    assert_non_null(strstr(logged(flood), " messages like the next one were left out\n"));
    assert_in_range(passed, 3, 4);
}

/* --- a log that nobody reads ------------------------------------------------------------------ */

/* A process that logs to a pipe: 'a'..'z' in `orders` are lines to write, and each byte of `done`
 * is one written. */
struct logger {
    pid_t pid;
    int log, orders, done; /* our ends */
};

static void logger_main(int orders, int done)
{
    char order;

    while (read(orders, &order, 1) == 1) {
        errno = EXDEV;
        log_warn("blk", "line %c", order);
        if (write(done, errno == EXDEV ? "+" : "-", 1) != 1)
            break;
    }
    _exit(0);
}

static void logger_start(struct logger *logger)
{
    int log[2], orders[2], done[2];

    assert_true(!pipe(log) && !pipe(orders) && !pipe(done));
    logger->pid = fork();
    if (logger->pid == 0) {
        dup2(log[1], STDERR_FILENO);
        close(log[1]);
        close(orders[1]);
        logger_main(orders[0], done[1]);
    }
    close(orders[0]);
    close(done[1]);
    logger->log = log[0];
    logger->orders = orders[1];
    logger->done = done[0];

    /* Full to the last byte. */
    assert_int_equal(fcntl(log[1], F_SETFL, O_NONBLOCK), 0);
    while (write(log[1], "#", 1) == 1)
        ;
    assert_int_equal(fcntl(log[1], F_SETFL, 0), 0);
    close(log[1]);
}

static void logger_write(struct logger *logger, const char *lines)
{
    assert_int_equal(write(logger->orders, lines, strlen(lines)), (ssize_t)strlen(lines));
    for (; *lines; lines++) {
        struct pollfd ready = {.fd = logger->done, .events = POLLIN};
        char done = 0;

        if (poll(&ready, 1, 5000) != 1)
            kill(logger->pid, SIGKILL); /* it waits for us to read */
        assert_int_equal(read(logger->done, &done, 1), 1);
        assert_int_equal(done, '+');
    }
}

/* What is in the pipe, without what filled it. */
static const char *logger_drain(struct logger *logger)
{
    static char text[65536 + 1];
    size_t length = 0;
    char byte;

    assert_int_equal(fcntl(logger->log, F_SETFL, O_NONBLOCK), 0);
    while (length < sizeof(text) - 1 && read(logger->log, &byte, 1) == 1)
        if (byte != '#')
            text[length++] = byte;
    text[length] = '\0';
    return text;
}

static void logger_end(struct logger *logger)
{
    int status;

    close(logger->orders);
    assert_int_equal(waitpid(logger->pid, &status, 0), logger->pid);
    assert_int_equal(status, 0);
    close(logger->log);
    close(logger->done);
}

static void log_does_not_wait_for_its_reader(void **state)
{
    struct logger logger;

    (void)state;
    assert_int_equal(log_configure("warn"), 0);
    logger_start(&logger);
    logger_write(&logger, "abc");
    assert_string_equal(logger_drain(&logger), "");
    logger_write(&logger, "d");
    assert_string_equal(logger_drain(&logger),
                        "vireo: 3 log lines were lost\nvireo: warn: blk: line d\n");
    logger_write(&logger, "e"); /* told once */
    assert_string_equal(logger_drain(&logger), "vireo: warn: blk: line e\n");
    logger_end(&logger);
}

/* The reader is gone: also nothing to wait for, or to die of. */
static void log_outlives_its_reader(void **state)
{
    struct logger logger;
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);

    (void)state;
    logger_start(&logger);
    logger_write(&logger, "a");
    close(logger.log);
    logger_write(&logger, "bcd");
    logger.log = -1;
    logger_end(&logger);
    signal(SIGPIPE, before);
}

static void module_that_is_missing(void **state)
{
    struct error err = ERROR_INIT;
    struct module module;

    (void)state;
    assert_int_equal(module_load(&module, "no-such-module", &err), -ENOENT);
    assert_non_null(strstr(err.text, "vireo-no-such-module.so is not installed"));
    module_unload(&module);
}

static void module_that_is_damaged(void **state)
{
    char directory[] = "/tmp/vireo-test-XXXXXX", path[64];
    struct error err = ERROR_INIT;
    struct module module;
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/vireo-bad.so", directory);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("not a shared object", file);
    fclose(file);
    module_search_first(directory);
    assert_int_equal(module_load(&module, "bad", &err), -ELIBACC);
    assert_non_null(strstr(err.text, "cannot load module"));
    module_search_first(NULL);
    unlink(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_says_what_was_attempted),
        cmocka_unit_test(error_may_be_null),
        cmocka_unit_test(error_may_quote_itself),
        cmocka_unit_test(error_is_one_short_line),
        cmocka_unit_test(log_text_lines),
        cmocka_unit_test(log_json_lines),
        cmocka_unit_test(log_specifications),
        cmocka_unit_test(log_keeps_errno),
        cmocka_unit_test(log_limit_stops_floods),
        cmocka_unit_test(log_does_not_wait_for_its_reader),
        cmocka_unit_test(log_outlives_its_reader),
        cmocka_unit_test(module_that_is_missing),
        cmocka_unit_test(module_that_is_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
