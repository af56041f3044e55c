/*
 * Programs for devices, found by files that describe them, and asked what they are.
 */
#include "base/log.h"
#include "tests/unit/build_directory.h"
#include "vmm/arguments.h"
#include "vmm/device_launch.h"
#include "vmm/discovery.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* From the most specific to the most general. */
static char base[] = "/tmp/vireo-discovery-XXXXXX";
static char places[3][64];
static const char *const directories[] = {places[0], places[1], places[2], NULL};
static struct error err;

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *out = fopen(path, "we");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* A file in one of the places; NULL: an empty one. */
static void describe(int place, const char *name, const char *type, const char *binary)
{
    char path[128], text[256] = "";

    snprintf(path, sizeof(path), "%s/%s", places[place], name);
    if (type)
        snprintf(text, sizeof(text),
                 "{\"description\": \"a test\", \"type\": \"%s\", \"binary\": \"%s\", \"tags\": "
                 "[\"x\"]}",
                 type, binary);
    write_file(path, text, 0644);
}

static void raw(int place, const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", places[place], name);
    write_file(path, text, 0644);
}

static void assert_found(const char *type, const char *wanted)
{
    char *program = NULL;

    err = (struct error)ERROR_INIT;
    if (wanted && discovery_find_in(directories, type, &program, &err))
        fail_msg("%s: %s", type, err.text);
    if (wanted)
        assert_string_equal(program, wanted);
    else
        assert_int_equal(discovery_find_in(directories, type, &program, &err), -ENOENT);
    free(program);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(base, "/tmp/vireo-discovery-XXXXXX");
    assert_non_null(mkdtemp(base));
    for (int i = 0; i < 3; i++) {
        snprintf(places[i], sizeof(places[i]), "%s/%d", base, i);
        assert_int_equal(mkdir(places[i], 0755), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    log_configure("warn");
    snprintf(command, sizeof(command), "rm -r %s", base);
    return system(command);
}

static void nothing_installed(void **state)
{
    (void)state;
    assert_int_equal(rmdir(places[1]), 0);
    assert_found("blk", NULL);
    assert_string_equal(err.text, "no program for blk devices is installed ('vireo help backends' "
                                  "says where they are looked for)");
}

/* Names decide, whatever the directory. */
static void first_of_all_names(void **state)
{
    (void)state;
    describe(0, "50-mine.json", "block", "/mine");
    describe(1, "40-local.json", "block", "/local");
    describe(2, "30-net.json", "net", "/net");
    describe(2, "45-theirs.json", "block", "/theirs");
    assert_found("blk", "/local");
    assert_found("net", "/net");
    assert_found("rng", NULL);
}

static void specific_files_replace_general_ones(void **state)
{
    (void)state;
    describe(2, "50-a.json", "block", "/general");
    assert_found("blk", "/general");
    describe(1, "50-a.json", "block", "/local");
    assert_found("blk", "/local");
    describe(0, "50-a.json", "rng", "/mine");
    assert_found("blk", NULL);
    assert_found("rng", "/mine");
}

static void empty_files_hide_others(void **state)
{
    (void)state;
    describe(2, "50-a.json", "block", "/general");
    describe(2, "60-b.json", "block", "/other");
    describe(1, "50-a.json", NULL, NULL);
    assert_found("blk", "/other");
    describe(0, "60-b.json", NULL, NULL);
    assert_found("blk", NULL);
}

static void senseless_files_are_passed_over(void **state)
{
    static const char *const bad[] = {
        "{",
        "[]",
        "\"block\"",
        "{\"type\": \"block\"}",
        "{\"description\": 1, \"type\": \"block\", \"binary\": \"/b\"}",
        "{\"description\": \"\", \"type\": \"block\", \"binary\": \"b\"}",
        "{\"description\": \"\", \"type\": \"block\"}"};
    char name[32];

    (void)state;
    log_configure("error");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(name, sizeof(name), "1%zu-bad.json", i);
        raw(0, name, bad[i]);
    }
    raw(0, "10-other.txt", "{\"description\": \"\", \"type\": \"block\", \"binary\": \"/no\"}");
    describe(2, "90-good.json", "block", "/good");
    assert_found("blk", "/good");
}

/* --- asking the program ----------------------------------------------------------------------- */

static int check(const char *script, const char *type)
{
    char path[128], text[512];

    snprintf(path, sizeof(path), "%s/program", base);
    snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    write_file(path, text, 0755);
    err = (struct error)ERROR_INIT;
    return discovery_check(path, type, &err);
}

static void assert_unfit(const char *script, const char *reason)
{
    assert_true(check(script, "blk") < 0);
    if (!strstr(err.text, reason))
        fail_msg("%s: %s", script, err.text);
}

static void capabilities(void **state)
{
    (void)state;
    assert_int_equal(check("[ \"$*\" = --print-capabilities ] && echo '{\"type\": \"block\", "
                           "\"features\": [\"read-only\"]}'",
                           "blk"),
                     0);
    assert_int_equal(check("echo '{\"type\": \"rng\"}'", "rng"), 0);
    assert_unfit("echo '{\"type\": \"net\"}'", "serves devices of type net, not block");
    assert_unfit("echo '{\"type\": \"block\"}'; exit 1", "does not tell its capabilities");
    assert_unfit("exit 0", "does not tell its capabilities");
    assert_unfit("echo usage: program", "the capabilities of ");
    assert_unfit("echo '{\"features\": []}'", "'type' must be there");
    assert_unfit("head -c 70000 /dev/zero", "does not tell its capabilities");
    assert_int_equal(discovery_check("/nonexistent", "blk", &err), -ENOENT);
}

/* It is not waited for for ever, and nothing is left of it: one that never answers, and one that
 * answers and does not end. */
static void patience(void **state)
{
    (void)state;
    assert_int_equal(check("exec sleep 100", "blk"), -ETIMEDOUT);
    assert_unfit("echo '{\"type\": \"block\"}'; exec sleep 100 > /dev/null",
                 "does not tell its capabilities");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* --- its arguments ---------------------------------------------------------------------------- */

/* A program for the type is told of `keys` by these words, which end with NULL. */
static void assert_launched(const char *type, const char *keys, const char *const *words)
{
    const struct device_launch_place none = {NULL, 0};
    struct device_config config = {.type = (char *)type};
    char answer[64], path[128], **arguments = NULL;
    size_t i = 0;

    snprintf(answer, sizeof(answer), "echo '{\"type\": \"%s\"}'", discovery_type(type));
    assert_int_equal(check(answer, type), 0);
    snprintf(path, sizeof(path), "%s/program", base);
    assert_int_equal(option_list_parse(&config.options, "--device", keys, NULL, &err), 0);
    assert_int_equal(device_launch_program(&config, path, &none, &arguments, &err), 0);
    assert_string_equal(arguments[0], path);
    for (; words[i]; i++)
        assert_string_equal(arguments[i + 1], words[i]);
    assert_null(arguments[i + 1]);
    arguments_free(arguments);
    option_list_free(&config.options);
}

/* As the conventions call them: switches are there or not, and one says what ours denies. */
static void options_by_their_names(void **state)
{
    (void)state;
    assert_launched("blk", "path=a.img,readonly=on",
                    (const char *[]){"--blk-file=a.img", "--read-only", NULL});
    assert_launched("blk", "path=a.img,readonly=off", (const char *[]){"--blk-file=a.img", NULL});
    assert_launched("input", "evdev=/dev/input/event1,grab=off",
                    (const char *[]){"--evdev-path=/dev/input/event1", "--no-grab", NULL});
    assert_launched("input", "evdev=/dev/input/event1,grab=on",
                    (const char *[]){"--evdev-path=/dev/input/event1", NULL});
}

/* --- our own files ---------------------------------------------------------------------------- */

static const char *directory; /* BUILD */

static void ours_are_valid(void **state)
{
    static const char *const types[] = {"blk", "net", "console", "rng", "input"};
    char command[PATH_MAX + 256], program[64], path[PATH_MAX + 64];

    (void)state;
    snprintf(command, sizeof(command),
             "%s/vireo device --write-discovery=%s --programs=%s > /dev/null", directory, places[2],
             base);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        snprintf(program, sizeof(program), "%s/vhost-user-%s", base, types[i]);
        assert_found(types[i], program);
        snprintf(path, sizeof(path), "%s/vireo", directory);
        assert_int_equal(symlink(path, program), 0);
        assert_int_equal(discovery_check(program, types[i], &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_installed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(first_of_all_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(specific_files_replace_general_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_files_hide_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(senseless_files_are_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(capabilities, set_up, tear_down),
        cmocka_unit_test_setup_teardown(patience, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_by_their_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ours_are_valid, set_up, tear_down),
    };

    directory = build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
