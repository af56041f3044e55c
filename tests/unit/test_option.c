/*
 * Options: splitting, filling structures, and error lines a user can act on.
 */
#include "base/bytes.h"
#include "base/option.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct disk {
    char *path;
    bool readonly;
    uint64_t queue_size;
    uint64_t bounce;
    int cache;
    char *serial;
};

static const char *const caches[] = {"writeback", "writethrough", "none", NULL};
static const char *const known[] = {"path",  "readonly", "queue-size", "bounce",
                                    "cache", "serial",   NULL};

static const struct option_spec table[] = {
    {.key = "path",
     .type = OPTION_STRING,
     .offset = offsetof(struct disk, path),
     .help = "the image",
     .metavar = "PATH",
     .required = true},
    {.key = "readonly",
     .type = OPTION_BOOL,
     .offset = offsetof(struct disk, readonly),
     .initial = "off",
     .help = "refuse writes"},
    {.key = "queue-size",
     .type = OPTION_UINT,
     .offset = offsetof(struct disk, queue_size),
     .initial = "256",
     .min = 2,
     .max = 32768,
     .help = "descriptors in a ring"},
    {.key = "bounce",
     .type = OPTION_SIZE,
     .offset = offsetof(struct disk, bounce),
     .initial = "1M",
     .min = 4096,
     .max = 64 * MIB,
     .help = "bytes of bounce buffer"},
    {.key = "cache",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct disk, cache),
     .initial = "writeback",
     .choices = caches,
     .help = "host cache"},
    {.key = "serial",
     .type = OPTION_STRING,
     .offset = offsetof(struct disk, serial),
     .help = "serial number"},
};

static int parse(const char *text, struct disk *disk, struct error *err)
{
    struct option_list list;
    char origin[600];
    int ret;

    snprintf(origin, sizeof(origin), "--disk %s", text);
    ret = option_list_parse(&list, origin, text, "path", err);
    if (ret)
        return ret;
    ret = option_apply(table, ARRAY_SIZE(table), &list, disk, err);
    if (!ret) {
        ret = option_list_finish(&list, known, err);
        if (ret)
            option_release(table, ARRAY_SIZE(table), disk);
    }
    option_list_free(&list);
    return ret;
}

static void assert_refused(const char *text, const char *message)
{
    struct disk disk = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(parse(text, &disk, &err), -EINVAL);
    assert_string_equal(err.text, message);
    assert_null(disk.path);
    assert_null(disk.serial);
}

static void test_defaults(void **state)
{
    struct disk disk = {.serial = (char *)"stale", .cache = 7};

    (void)state;
    assert_int_equal(parse("a.img", &disk, NULL), 0);
    assert_string_equal(disk.path, "a.img");
    assert_false(disk.readonly);
    assert_int_equal(disk.queue_size, 256);
    assert_int_equal(disk.bounce, MIB);
    assert_int_equal(disk.cache, 0);
    assert_null(disk.serial);
    option_release(table, ARRAY_SIZE(table), &disk);
    assert_null(disk.path);
}

static void test_all_keys(void **state)
{
    struct disk disk;

    (void)state;
    assert_int_equal(
        parse("readonly,path=a=b,,c,queue-size=0x40,bounce=64k,cache=none,serial=", &disk, NULL),
        -EINVAL); /* the first item is the path unless it says otherwise */
    assert_int_equal(
        parse("path=a=b,,c,readonly,queue-size=0x40,bounce=64k,cache=none,serial=", &disk, NULL),
        0);
    assert_string_equal(disk.path, "a=b,c");
    assert_true(disk.readonly);
    assert_int_equal(disk.queue_size, 64);
    assert_int_equal(disk.bounce, 64 * KIB);
    assert_int_equal(disk.cache, 2);
    assert_string_equal(disk.serial, "");
    option_release(table, ARRAY_SIZE(table), &disk);
}

static void test_file_names(void **state)
{
    struct disk disk;

    (void)state;
    assert_int_equal(parse("/tmp/x=1/disk,,1.img,readonly=yes", &disk, NULL), 0);
    assert_string_equal(disk.path, "/tmp/x=1/disk,1.img");
    assert_true(disk.readonly);
    option_release(table, ARRAY_SIZE(table), &disk);
    assert_int_equal(parse(",,", &disk, NULL), 0);
    assert_string_equal(disk.path, ",");
    option_release(table, ARRAY_SIZE(table), &disk);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_refused("a.img,foo=1", "--disk a.img,foo=1: unknown key 'foo'");
    assert_refused("a.img,reedonly",
                   "--disk a.img,reedonly: unknown key 'reedonly' (did you mean 'readonly'?)");
    assert_refused("a.img,path=b", "--disk a.img,path=b: key 'path' is given twice");
    assert_refused("", "--disk : key 'path' is missing");
    assert_refused("a.img,", "--disk a.img,: there is an empty item (a literal comma is ',,')");
    assert_refused("a.img,=1", "--disk a.img,=1: there is no key before '=1'");
    assert_refused("a,serial=7,readonly=2",
                   "--disk a,serial=7,readonly=2: readonly: '2' is neither on nor off");
    assert_refused("a,queue-size=1",
                   "--disk a,queue-size=1: queue-size: 1 is out of range (2 to 32768)");
    assert_refused("a,queue-size=-1", "--disk a,queue-size=-1: queue-size: '-1' is not a number");
    assert_refused("a,bounce=1K", "--disk a,bounce=1K: bounce: 1K is too small (at least 4K)");
    assert_refused("a,bounce=1G", "--disk a,bounce=1G: bounce: 1G is too large (at most 64M)");
    assert_refused("a,cache=noen",
                   "--disk a,cache=noen: cache: unknown value 'noen' (did you mean 'none'?)");
    assert_refused("a,cache=x", "--disk a,cache=x: cache: unknown value 'x' (known: "
                                "writeback, writethrough, none)");
}

static void test_strings(void **state)
{
    struct forwards {
        struct option_strings forward;
    } target;
    const struct option_spec specs[] = {{.key = "forward", .type = OPTION_STRINGS}};
    const char *const names[] = {"forward", NULL};
    struct option_list list;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(option_list_parse(&list, "--net", "forward=a,forward=b", NULL, &err), 0);
    assert_int_equal(option_apply(specs, 1, &list, &target, &err), 0);
    assert_int_equal(option_list_finish(&list, names, &err), 0);
    assert_int_equal(target.forward.count, 2);
    assert_string_equal(target.forward.items[0], "a");
    assert_string_equal(target.forward.items[1], "b");
    option_release(specs, 1, &target);
    assert_int_equal(target.forward.count, 0);
    option_list_free(&list);
}

static void test_long_origin_leaves_room(void **state)
{
    char text[501];
    struct error err;
    struct disk disk;

    (void)state;
    memset(text, 'a', 490);
    strcpy(text + 490, ",foo");
    assert_int_equal(parse(text, &disk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "...: unknown key 'foo'"));
}

static void test_numbers(void **state)
{
    uint64_t value = 1;
    struct error err;

    (void)state;
    assert_int_equal(option_parse_uint("n", "010", 0, 0, &value, NULL), 0);
    assert_int_equal(value, 10);
    assert_int_equal(option_parse_uint("n", "18446744073709551615", 0, 0, &value, NULL), 0);
    assert_int_equal(value, UINT64_MAX);
    assert_int_equal(option_parse_uint("n", "18446744073709551616", 1, 0, &value, &err), -EINVAL);
    assert_string_equal(err.text, "n: 18446744073709551616 is out of range (at least 1)");
    for (const char *const *bad = (const char *const[]){"", " 1", "+1", "1 ", "0x", "x", NULL};
         *bad; bad++)
        assert_int_equal(option_parse_uint("n", *bad, 0, 0, &value, NULL), -EINVAL);
    assert_int_equal(option_parse_size("n", "16777216T", &value, NULL), -EINVAL);
    assert_int_equal(option_parse_size("n", "16777215T", &value, NULL), 0);
    assert_int_equal(value, UINT64_MAX - (UINT64_C(1) << 40) + 1);
    assert_int_equal(option_parse_size("n", "1KB", &value, NULL), -EINVAL);
    assert_int_equal(option_parse_size("n", "1x", &value, NULL), -EINVAL);
    assert_int_equal(option_parse_size("n", "M", &value, NULL), -EINVAL);
    assert_int_equal(option_parse_size("n", "", &value, NULL), -EINVAL);
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(option_nearest("pth", known), "path");
    assert_string_equal(option_nearest("queue_size", known), "queue-size");
    assert_string_equal(option_nearest("quesize", known), "queue-size");
    assert_string_equal(option_nearest("cahce", known), "cache");
    assert_null(option_nearest("x", known));
    assert_null(option_nearest("", known));
    assert_null(option_nearest("entirely-different", known));
}

static void test_print(void **state)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    option_print(out, table, ARRAY_SIZE(table));
    fclose(out);
    assert_string_equal(text, "  path=PATH        the image (required)\n"
                              "  readonly=on|off  refuse writes (default: off)\n"
                              "  queue-size=N     descriptors in a ring (default: 256)\n"
                              "  bounce=SIZE      bytes of bounce buffer (default: 1M)\n"
                              "  cache=writeback|writethrough|none\n"
                              "                   host cache (default: writeback)\n"
                              "  serial=TEXT      serial number\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),  cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_keys), cmocka_unit_test(test_file_names),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_long_origin_leaves_room),
        cmocka_unit_test(test_numbers),  cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
