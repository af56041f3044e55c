/*
 * `vireo run`'s options, from the command line and from JSON, and the kernel command line.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "base/module.h"
#include "devices/display/viewer.h"
#include "vmm/cmdline.h"
#include "vmm/config.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct vm_config config;
static struct error err;

static int set_up(void **state)
{
    (void)state;
    vm_config_init(&config);
    err = (struct error)ERROR_INIT;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vm_config_free(&config);
    return 0;
}

static void again(void)
{
    vm_config_free(&config);
    vm_config_init(&config);
    err = (struct error)ERROR_INIT;
}

/* NULL-terminated arguments after "run". */
static int parse(const char *const *arguments)
{
    char *argv[32];
    int argc = 0;

    for (; arguments[argc]; argc++)
        argv[argc] = (char *)arguments[argc];
    argv[argc] = NULL;
    return vm_config_parse(&config, argc, argv, &err);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

#define ASSERT_ACCEPTED(...)                          \
    do {                                              \
        if (PARSE(__VA_ARGS__))                       \
            fail_msg("it was refused: %s", err.text); \
    } while (0)

#define ASSERT_REFUSED(message, ...)                   \
    do {                                               \
        again();                                       \
        assert_int_equal(PARSE(__VA_ARGS__), -EINVAL); \
        assert_string_equal(err.text, message);        \
        assert_int_equal(err.code, EINVAL);            \
    } while (0)

static const char *device_value(size_t device, const char *key)
{
    assert_true(device < config.device_count);
    return option_list_take(&config.devices[device].options, key);
}

/* --- the command line ------------------------------------------------------------------------ */

static void defaults(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("vmlinuz");
    assert_string_equal(config.kernel, "vmlinuz");
    assert_int_equal(config.cpus, 1);
    assert_int_equal(config.memory_size, 256 * MIB);
    assert_true(config.kaslr && config.unpack);
    assert_false(config.hugepages || config.shared || config.no_reboot || config.dry_run ||
                 config.timing);
    assert_int_equal(config.initrds.count + config.device_count, 0);
    assert_null(config.append);
    assert_null(config.cmdline);
    assert_null(config.serial);
    assert_null(config.dump_acpi);
}

static void every_option_sets_its_field(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("--cpus", "4", "--memory", "1G,hugepages,shared=yes", "--initrd", "a.cpio",
                    "--initrd", "b.cpio", "--append", "one", "--append", "two three", "--cmdline",
                    "zero", "--kaslr", "off", "--unpack", "off", "--kernel", "bzImage");
    assert_string_equal(config.kernel, "bzImage");
    assert_int_equal(config.cpus, 4);
    assert_int_equal(config.memory_size, GIB);
    assert_true(config.hugepages && config.shared);
    assert_int_equal(config.initrds.count, 2);
    assert_string_equal(config.initrds.items[0], "a.cpio");
    assert_string_equal(config.initrds.items[1], "b.cpio");
    assert_string_equal(config.append, "one two three");
    assert_string_equal(config.cmdline, "zero");
    assert_false(config.kaslr || config.unpack);

    again();
    ASSERT_ACCEPTED("--serial", "file:out", "--dump-acpi", "tables", "--no-reboot", "--dry-run",
                    "--timing", "--disk", "a,,b.img,readonly", "--device", "blk,path=c,id=x", "k");
    assert_string_equal(config.serial, "file:out");
    assert_string_equal(config.dump_acpi, "tables");
    assert_true(config.no_reboot && config.dry_run && config.timing);
    assert_int_equal(config.device_count, 2);
    assert_string_equal(config.devices[0].type, "blk");
    assert_string_equal(config.devices[0].options.origin, "--disk a,,b.img,readonly");
    assert_string_equal(device_value(0, "path"), "a,b.img");
    assert_string_equal(device_value(0, "readonly"), "on");
    assert_string_equal(config.devices[1].type, "blk");
    assert_string_equal(device_value(1, "path"), "c");
    assert_string_equal(device_value(1, "id"), "x");
    assert_int_equal(config.devices[1].options.count, 2); /* the type is none of them */

    again();
    ASSERT_ACCEPTED("--device", "virtio-user,type=rng,socket=s", "k");
    assert_string_equal(config.devices[0].type, "virtio-user");
    assert_string_equal(device_value(0, "type"), "rng");
    assert_string_equal(device_value(0, "socket"), "s");
    assert_int_equal(config.devices[0].options.count, 2);
}

static void network_cards(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("--net", "tap,ifname=tap0", "-n", "user,hostfwd=tcp::1-:2,hostfwd=tcp::3-:4",
                    "k");
    assert_int_equal(config.device_count, 2);
    assert_string_equal(config.devices[0].type, "net");
    assert_string_equal(device_value(0, "host"), "tap");
    assert_string_equal(device_value(0, "ifname"), "tap0");
    assert_string_equal(device_value(1, "host"), "user");
    assert_string_equal(device_value(1, "hostfwd"), "tcp::1-:2");
    assert_string_equal(device_value(1, "hostfwd"), "tcp::3-:4");
}

/* Every row of the table can be set, on the command line and by vm_config_set. */
/* Whoever wants to see something gets something to see; who looks at it, something to type with. */
static void displays_bring_devices(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("--display", "none", "k");
    assert_int_equal(config.display_count + config.device_count, 0);

    again();
    ASSERT_ACCEPTED("--display", "sdl,gl", "k");
    assert_int_equal(config.display_count, 1);
    assert_string_equal(config.displays[0].kind->name, "sdl");
    assert_string_equal(option_list_take(&config.displays[0].options, "gl"), "on");
    assert_int_equal(config.device_count, 3);
    assert_string_equal(config.devices[0].type, "gpu");
    assert_string_equal(config.devices[1].type, "input");
    assert_string_equal(device_value(1, "kind"), "keyboard");
    assert_string_equal(device_value(2, "kind"), "tablet");

    again();
    ASSERT_ACCEPTED("--screenshot", "a.png", "k");
    assert_string_equal(config.displays[0].kind->name, "png");
    assert_string_equal(option_list_take(&config.displays[0].options, "path"), "a.png");
    assert_int_equal(config.device_count, 1);

    again();
    ASSERT_ACCEPTED("--display", "vnc=:1", "--gpu", "800x600", "--input", "mouse", "k");
    assert_string_equal(option_list_take(&config.displays[0].options, "where"), ":1");
    assert_int_equal(config.device_count, 2);
    assert_string_equal(device_value(0, "outputs"), "800x600");
    assert_string_equal(device_value(1, "kind"), "mouse");
}

static void displays_that_are_none(void **state)
{
    (void)state;
    ASSERT_REFUSED("--display sld: no display 'sld' (did you mean 'sdl'?)", "--display", "sld");
    ASSERT_REFUSED("--display none,gl: none takes no ',gl'", "--display", "none,gl");
    ASSERT_REFUSED("--display sdl=:1: sdl takes no '=:1'", "--display", "sdl=:1");
}

static void every_row_has_a_setter(void **state)
{
    (void)state;
    for (size_t i = 0; i < run_option_count; i++) {
        const struct run_option *option = &run_options[i];

        assert_non_null(option->help);
        assert_non_null(option->set);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(option->name, run_options[j].name);
            assert_true(!option->letter || option->letter != run_options[j].letter);
        }
    }
}

static void log_levels(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("--log", "error", "k");
    again();
    ASSERT_ACCEPTED("--log", "warn,json", "k");
    ASSERT_REFUSED("--log loud: must be error, warn, info or debug, then maybe ,json", "--log",
                   "loud", "k");
    assert_int_equal(log_configure("warn"), 0);
}

static void all_spellings(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("-c2", "-m", "64M", "-kvmlinux", "-i", "i", "-a", "quiet", "-d", "x.img");
    assert_int_equal(config.cpus, 2);
    assert_int_equal(config.memory_size, 64 * MIB);
    assert_string_equal(config.kernel, "vmlinux");
    assert_string_equal(config.initrds.items[0], "i");
    assert_string_equal(config.append, "quiet");
    assert_string_equal(device_value(0, "path"), "x.img");

    again();
    ASSERT_ACCEPTED("--cpus=3", "--memory=size=96M", "-c", "5", "k", "--append=a=b=c",
                    "--cmdline=");
    assert_int_equal(config.cpus, 5); /* the last one counts */
    assert_int_equal(config.memory_size, 96 * MIB);
    assert_string_equal(config.append, "a=b=c");
    assert_string_equal(config.cmdline, "");

    again();
    ASSERT_ACCEPTED("--append", "--debug", "-a-x", "-"); /* a value may begin with anything */
    assert_string_equal(config.append, "--debug -x");
    assert_string_equal(config.kernel, "-");
}

static void what_follows_two_dashes(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("-a", "first", "k", "--", "root=/dev/vda", "--cpus", "7", "--");
    assert_string_equal(config.append, "first root=/dev/vda --cpus 7 --");
    assert_int_equal(config.cpus, 1);

    again();
    ASSERT_ACCEPTED("k", "--");
    assert_null(config.append);
    ASSERT_REFUSED("no kernel named: vireo run [OPTIONS] KERNEL", "--", "k");
}

static void unknown_options(void **state)
{
    char name[600] = "--x";

    (void)state;
    ASSERT_REFUSED("--kernle: unknown option (did you mean 'kernel'?)", "--kernle", "k");
    ASSERT_REFUSED("--memroy=512M: unknown option (did you mean 'memory'?)", "--memroy=512M", "k");
    ASSERT_REFUSED("--frobnicate: unknown option; 'vireo help' lists them", "--frobnicate", "k");
    ASSERT_REFUSED("--=x: unknown option; 'vireo help' lists them", "--=x", "k");
    ASSERT_REFUSED("-z: unknown option; 'vireo help' lists them", "-z", "k");
    ASSERT_REFUSED("--c: unknown option; 'vireo help' lists them", "--c", "2", "k");
    ASSERT_REFUSED("--cpus pus: 'pus' is not a number", "-cpus", "k");
    memset(name + 3, 'x', sizeof(name) - 4);
    again();
    assert_int_equal(PARSE(name, "k"), -EINVAL);
}

static void values_that_should_be_there_or_not(void **state)
{
    (void)state;
    ASSERT_REFUSED("--cpus: needs a value (N)", "k", "--cpus");
    ASSERT_REFUSED("-m: needs a value (SIZE[,KEY=VALUE...])", "k", "-m");
    ASSERT_REFUSED("--no-reboot=on: takes no value", "--no-reboot=on", "k");
    ASSERT_REFUSED("--timing=: takes no value", "--timing=", "k");
    ASSERT_REFUSED("--kaslr maybe: 'maybe' is neither on nor off", "--kaslr=maybe", "k");
}

static void one_kernel(void **state)
{
    (void)state;
    ASSERT_REFUSED("no kernel named: vireo run [OPTIONS] KERNEL", "--cpus", "2");
    ASSERT_REFUSED("b: a kernel is named already ('a')", "a", "b");
    ASSERT_REFUSED("--kernel b: a kernel is named already ('a')", "a", "--kernel", "b");
    again();
    assert_int_equal(vm_config_parse(&config, 0, NULL, &err), -EINVAL);
}

static void bad_numbers(void **state)
{
    (void)state;
    ASSERT_REFUSED("--cpus 0: 0 is out of range (1 to 4096)", "--cpus", "0", "k");
    ASSERT_REFUSED("--cpus 4097: 4097 is out of range (1 to 4096)", "-c4097", "k");
    ASSERT_REFUSED("--cpus two: 'two' is not a number", "-c", "two", "k");
    ASSERT_REFUSED("--cpus : '' is not a number", "--cpus=", "k");
    ASSERT_REFUSED("--memory 1000: size: 1000 is too small (at least 32M)", "-m1000", "k");
    ASSERT_REFUSED("--memory 33M: the size must be a multiple of 2 MiB", "-m33M", "k");
    ASSERT_REFUSED("--memory lots: size: 'lots' is not a size (such as 4096, 64K, 512M or "
                   "2G)",
                   "-mlots", "k");
    ASSERT_REFUSED("--memory shared=on: key 'size' is missing", "-mshared=on", "k");
    ASSERT_REFUSED("--memory 1G,share: unknown key 'share' (did you mean 'shared'?)", "-m1G,share",
                   "k");
    ASSERT_REFUSED("--memory 1G,size=2G: key 'size' is given twice", "-m1G,size=2G", "k");
    ASSERT_REFUSED("--memory 1G,hugepages=2: hugepages: '2' is neither on nor off",
                   "-m1G,hugepages=2", "k");
    again();
    ASSERT_ACCEPTED("-m32M", "-c4096", "k");
    assert_int_equal(config.memory_size, 32 * MIB);
}

static void devices_need_a_type(void **state)
{
    (void)state;
    ASSERT_REFUSED("--device path=a: needs a type, as in --device blk,path=a.img", "--device",
                   "path=a", "k");
    ASSERT_REFUSED("--device : needs a type, as in --device blk,path=a.img", "--device=", "k");
    ASSERT_REFUSED("--disk a,,,: there is an empty item (a literal comma is ',,')", "--disk",
                   "a,,,", "k");
    assert_int_equal(config.device_count, 0);
    again();
    ASSERT_ACCEPTED("--device", "id=a,type=frob", "k"); /* types are checked with the machine */
    assert_string_equal(config.devices[0].type, "frob");
}

/* --- JSON ------------------------------------------------------------------------------------ */

static char json_path[] = "/tmp/vireo-config-XXXXXX";

static void put_json(const char *text)
{
    FILE *file = fopen(json_path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_json(const char *text)
{
    again();
    put_json(text);
    if (vm_config_load_json(&config, json_path, &err))
        fail_msg("%s was refused: %s", text, err.text);
}

/* `message` is what follows "PATH: ". */
static void assert_json_refused(const char *text, const char *message)
{
    again();
    put_json(text);
    assert_int_equal(vm_config_load_json(&config, json_path, &err), -EINVAL);
    if (!strstr(err.text, message))
        fail_msg("%s: \"%s\" instead of \"%s\"", text, err.text, message);
}

static void json_sets_all_kinds(void **state)
{
    (void)state;
    assert_json("{\"kernel\": \"vmlinuz\", \"cpus\": 2, \"memory\": \"64M\", \"append\": \"a=b\",\n"
                " \"kaslr\": false, \"no-reboot\": true, \"timing\": false, \"serial\": \"null\"}");
    assert_string_equal(config.kernel, "vmlinuz");
    assert_int_equal(config.cpus, 2);
    assert_int_equal(config.memory_size, 64 * MIB);
    assert_string_equal(config.append, "a=b");
    assert_false(config.kaslr);
    assert_true(config.no_reboot);
    assert_false(config.timing);
    assert_string_equal(config.serial, "null");

    assert_json("{\"memory\": 67108864}");
    assert_int_equal(config.memory_size, 64 * MIB);
    assert_json("{\"memory\": {\"size\": \"1G\", \"shared\": true, \"hugepages\": false}}");
    assert_int_equal(config.memory_size, GIB);
    assert_true(config.shared);
    assert_false(config.hugepages);
    assert_json("{}");
    assert_int_equal(config.cpus, 1);
}

static void json_arrays_repeat_an_option(void **state)
{
    (void)state;
    assert_json("{\"initrd\": [\"a\", \"b\"], \"append\": [\"x\", \"y z\"],\n"
                " \"disk\": [\"a.img\", {\"path\": \"b.img\", \"readonly\": true}],\n"
                " \"device\": [{\"type\": \"blk\", \"path\": \"c.img\", \"queues\": 2}]}");
    assert_int_equal(config.initrds.count, 2);
    assert_string_equal(config.initrds.items[1], "b");
    assert_string_equal(config.append, "x y z");
    assert_int_equal(config.device_count, 3);
    assert_string_equal(device_value(0, "path"), "a.img");
    assert_string_equal(device_value(1, "path"), "b.img");
    assert_string_equal(device_value(1, "readonly"), "on");
    assert_string_equal(config.devices[2].type, "blk");
    assert_string_equal(device_value(2, "queues"), "2");
    assert_json("{\"net\": [\"none\", {\"host\": \"tap\", \"ifname\": \"t\"}]}");
    assert_int_equal(config.device_count, 2);
    assert_string_equal(config.devices[1].type, "net");
    assert_string_equal(device_value(0, "host"), "none");
    assert_string_equal(device_value(1, "ifname"), "t");
    assert_json("{\"disk\": []}");
    assert_int_equal(config.device_count, 0);
}

/* A key in an object may have several values, too. */
static void json_keys_given_again(void **state)
{
    const struct option_list *list;

    (void)state;
    assert_json(
        "{\"console\": {\"to\": \"pty\", \"port\": [\"a:unix:x,server=off\", \"b:null\"]}}");
    list = &config.devices[0].options;
    assert_int_equal(list->count, 3);
    assert_string_equal(list->values[1].key, "port");
    assert_string_equal(list->values[1].value, "a:unix:x,server=off");
    assert_string_equal(list->values[2].key, "port");
    assert_string_equal(list->values[2].value, "b:null");
}

/* In an object a value is a value, whatever is in it. */
static void json_values_with_commas(void **state)
{
    static const char *const paths[] = {"a,b.img", ",", ",,", "a,", ",a", "x=1,readonly=on", ""};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        char text[128];
        snprintf(text, sizeof(text), "{\"disk\": {\"path\": \"%s\", \"serial\": \"s,t\"}}",
                 paths[i]);
        assert_json(text);
        assert_string_equal(device_value(0, "path"), paths[i]);
        assert_string_equal(device_value(0, "serial"), "s,t");
        assert_null(device_value(0, "readonly"));
    }
}

/* An array in an object gives its key again, which only some keys allow. */
static void json_arrays_repeat_a_key(void **state)
{
    (void)state;
    assert_json(
        "{\"disk\": {\"path\": \"a\", \"x\": [\"1,2\", 3, true], \"y\": [], \"z\": \"4\"}}");
    assert_string_equal(device_value(0, "path"), "a");
    assert_int_equal(config.devices[0].options.count, 5);
    assert_string_equal(config.devices[0].options.values[1].key, "x");
    assert_string_equal(config.devices[0].options.values[1].value, "1,2");
    assert_string_equal(config.devices[0].options.values[2].key, "x");
    assert_string_equal(config.devices[0].options.values[2].value, "3");
    assert_string_equal(config.devices[0].options.values[3].value, "on");
    assert_string_equal(device_value(0, "z"), "4");
    assert_json("{\"disk\": {\"path\": [], \"serial\": \"s\"}}");
    assert_int_equal(config.devices[0].options.count, 1);
    assert_json_refused("{\"memory\": {\"size\": [\"1G\", \"2G\"]}}", "key 'size' is given twice");
}

static void json_errors_name_the_place(void **state)
{
    char start[sizeof(json_path) + 64];

    (void)state;
    assert_json_refused("{\n  \"cpus\": 2,\n  \"memory\" 64\n}", "line 3 column ");
    snprintf(start, sizeof(start), "'%s', line 3 column ", json_path);
    assert_memory_equal(err.text, start, strlen(start));
    assert_json_refused("{\n\n\"cpus\": 1,\n\"cpus\": 2}", "line 4 column ");
    assert_non_null(strstr(err.text, "duplicate"));
    assert_json_refused("{\"disk\": {\"path\": \"a\", \"path\": \"b\"}}", "duplicate");
    assert_json_refused("{\"kernel\": \"a\\u0000b\"}", "line 1 column ");
    assert_json_refused("", "line 1 column 0");
    assert_json_refused("[]", "the file must hold one JSON object");
    assert_json_refused("{} {}", "line 1 column ");

    snprintf(start, sizeof(start), "%s: cpus 0: 0 is out of range (1 to 4096)", json_path);
    assert_json_refused("{\"cpus\": 0}", start);
    snprintf(start, sizeof(start), "%s: memroy 1G: unknown option (did you mean", json_path);
    assert_json_refused("{\"memroy\": \"1G\"}", start);
    assert_json_refused("{\"kaslr\": \"maybe\"}", "'maybe' is neither on nor off");
    assert_json_refused("{\"kernel\": [\"a\", \"b\"]}", "a kernel is named already ('a')");
    assert_json_refused("{\"memory\": {\"size\": \"1G\", \"shraed\": true}}",
                        "unknown key 'shraed' (did you mean 'shared'?)");
    assert_json_refused("{\"device\": {\"path\": \"a\"}}", "needs a type");
    assert_json_refused("{\"config\": \"x\"}", "cannot include another");
}

static void json_values_have_types(void **state)
{
    (void)state;
    assert_json_refused("{\"cpus\": 1.5}", "cpus: must be a string, a whole number, true");
    assert_json_refused("{\"kernel\": null}", "kernel: must be");
    assert_json_refused("{\"initrd\": [[\"a\"]]}", "initrd: must be");
    assert_json_refused("{\"memory\": {\"size\": {\"x\": 1}}}", "memory: 'size' must be");
    assert_json_refused("{\"memory\": {\"size\": [[1]]}}", "memory: 'size' must be");
    assert_json_refused("{\"memory\": {\"size\": [null]}}", "memory: 'size' must be");
    assert_json_refused("{\"memory\": {\"size\": [64, 64]}}", "size");
    assert_json_refused("{\"memory\": {\"size\": 1.5}}", "memory: 'size' must be");
}

static void json_among_the_arguments(void **state)
{
    (void)state;
    put_json("{\"cpus\": 2, \"memory\": \"64M\", \"append\": \"a\"}");
    ASSERT_ACCEPTED("--cpus", "3", "--config", json_path, "-m96M", "k", "--", "b");
    assert_int_equal(config.cpus, 2); /* in the order given */
    assert_int_equal(config.memory_size, 96 * MIB);
    assert_string_equal(config.append, "a b");

    again();
    assert_int_equal(PARSE("--config", "/nonexistent/x.json", "k"), -ENOENT);
    assert_string_equal(err.text,
                        "--config: cannot open '/nonexistent/x.json': No such file or directory");
}

/* --- the kernel command line ----------------------------------------------------------------- */

#define OTHER_WORDS                                                               \
    "quiet cryptomgr.notests initcall_blacklist=ftrace_check_for_weak_functions " \
    "panic=-1 " CMDLINE_PANIC_WORD
#define DEFAULT_WORDS "console=ttyS0 " OTHER_WORDS

static void assert_built(const char *wanted)
{
    char *text = NULL;

    assert_int_equal(cmdline_build(&config, 2047, &text, &err), 0);
    assert_string_equal(text, wanted);
    free(text);
}

static void default_command_line(void **state)
{
    (void)state;
    assert_built(DEFAULT_WORDS);
    ASSERT_ACCEPTED("-aroot=/dev/vda", "k", "--", "rw");
    assert_built(DEFAULT_WORDS " root=/dev/vda rw");
    again();
    ASSERT_ACCEPTED("--kaslr=off", "-ax", "k");
    assert_built(DEFAULT_WORDS " nokaslr x");
}

static void consoles_on_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(vm_config_serial(&config), "stdio");
    ASSERT_ACCEPTED("--console", "stdio", "k");
    assert_string_equal(vm_config_serial(&config), "null");
    assert_built("console=hvc0 " OTHER_WORDS);
    again();
    ASSERT_ACCEPTED("--device", "console,to=pty,winsize=80x25", "k");
    assert_string_equal(vm_config_serial(&config), "stdio");
    assert_built("console=ttyS0 console=hvc0 " OTHER_WORDS);
    again();
    ASSERT_ACCEPTED("--console", "stdio", "--serial", "file:log", "k");
    assert_string_equal(vm_config_serial(&config), "file:log");
    assert_built("console=ttyS0 console=hvc0 " OTHER_WORDS);
    again();
    /* Ports that are no console; one of them on stdio. */
    ASSERT_ACCEPTED("--device", "console,port=a:pty,port=stdio:stdio", "k");
    assert_string_equal(vm_config_serial(&config), "null");
    assert_built(DEFAULT_WORDS);
    again();
    ASSERT_ACCEPTED("--device", "console,port=stdio:pty", "--serial", "null", "k");
    assert_built(DEFAULT_WORDS);
    again();
    ASSERT_ACCEPTED("--rng", "/dev/hwrng,rate=1K", "k");
    assert_string_equal(config.devices[0].type, "rng");
    again();
    ASSERT_ACCEPTED("--fs", "shared,socket=fs.sock", "k");
    assert_string_equal(config.devices[0].type, "fs");
    assert_string_equal(option_list_peek(&config.devices[0].options, "tag"), "shared");
    again();
    ASSERT_ACCEPTED("--device", "virtio-user,type=vsock,socket=s", "k");
    assert_string_equal(config.devices[0].type, "virtio-user");
}

static void replaced_command_line(void **state)
{
    (void)state;
    ASSERT_ACCEPTED("--cmdline", "console=hvc0", "k");
    assert_built("console=hvc0");
    again();
    ASSERT_ACCEPTED("--cmdline", "console=hvc0", "--kaslr", "off", "k", "--", "a", "b");
    assert_built("console=hvc0 a b");
    again();
    ASSERT_ACCEPTED("--cmdline=", "k");
    assert_built("");
}

static void command_lines_have_a_limit(void **state)
{
    size_t length = strlen(DEFAULT_WORDS);
    char *text = NULL;

    (void)state;
    assert_int_equal(cmdline_build(&config, length, &text, &err), 0);
    assert_int_equal(strlen(text), length);
    free(text);
    text = NULL;
    assert_int_equal(cmdline_build(&config, length - 1, &text, &err), -E2BIG);
    assert_null(text);
    assert_non_null(strstr(err.text, "the kernel takes"));
}

static void words_are_whole_words(void **state)
{
    (void)state;
    assert_false(cmdline_text_has_word(NULL, "a"));
    assert_false(cmdline_text_has_word("", "a"));
    assert_true(cmdline_text_has_word("a", "a"));
    assert_true(cmdline_text_has_word(" b\ta ", "a"));
    assert_false(cmdline_text_has_word("aa xa ax a=1", "a"));
    assert_false(cmdline_has_word(&config, "quiet")); /* the user did not say that */
    ASSERT_ACCEPTED("--cmdline", "one two", "-athree", "k", "--", "nokaslr");
    assert_true(cmdline_has_word(&config, "two"));
    assert_true(cmdline_has_word(&config, "three"));
    assert_true(cmdline_has_word(&config, "nokaslr"));
    assert_false(cmdline_has_word(&config, "thre"));
}

/* --------------------------------------------------------------------------------------------- */

static int find_modules(void **state)
{
    static char modules[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", modules, sizeof(modules) - 8);
    int fd;

    (void)state;
    assert_true(length > 0);
    modules[length] = '\0';
    strcpy(strrchr(modules, '/'), "/.."); /* the modules are one directory above the tests */
    module_search_first(modules);
    fd = mkstemp(json_path);
    assert_true(fd >= 0);
    return close(fd);
}

static int remove_json(void **state)
{
    (void)state;
    return unlink(json_path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults),
        TEST(every_option_sets_its_field),
        TEST(network_cards),
        TEST(displays_bring_devices),
        TEST(displays_that_are_none),
        TEST(every_row_has_a_setter),
        TEST(log_levels),
        TEST(all_spellings),
        TEST(what_follows_two_dashes),
        TEST(unknown_options),
        TEST(values_that_should_be_there_or_not),
        TEST(one_kernel),
        TEST(bad_numbers),
        TEST(devices_need_a_type),
        TEST(json_sets_all_kinds),
        TEST(json_arrays_repeat_an_option),
        TEST(json_keys_given_again),
        TEST(json_values_with_commas),
        TEST(json_arrays_repeat_a_key),
        TEST(json_errors_name_the_place),
        TEST(json_values_have_types),
        TEST(json_among_the_arguments),
        TEST(default_command_line),
        TEST(consoles_on_the_command_line),
        TEST(replaced_command_line),
        TEST(command_lines_have_a_limit),
        TEST(words_are_whole_words),
    };

    return cmocka_run_group_tests(tests, find_modules, remove_json);
}
