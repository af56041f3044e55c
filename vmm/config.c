/*
 * The options of `vireo run`: one table that the command line, files and the help are made from.
 */
#include "vmm/config_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/module.h"
#include "devices/chardev/chardev.h"
#include "vmm/config/config_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMORY_DEFAULT (256 * MIB)
#define MEMORY_MIN     (32 * MIB)

static int no_memory(struct error *err)
{
    return error_set(err, ENOMEM, "no memory for options");
}

static int set_string(char **field, const char *value, struct error *err)
{
    char *copy = strdup(value);

    if (!copy)
        return no_memory(err);
    free(*field);
    *field = copy;
    return 0;
}

static int set_cpus(struct vm_config *config, const char *origin, const char *value,
                    struct error *err)
{
    return option_parse_uint(origin, value, 1, 4096, &config->cpus, err);
}

struct memory_keys {
    uint64_t size;
    bool hugepages, shared;
};

const struct option_spec memory_options[] = {
    {.key = "size",
     .type = OPTION_SIZE,
     .offset = offsetof(struct memory_keys, size),
     .help = "how much RAM the guest has; a multiple of 2 MiB, at least 32M",
     .min = MEMORY_MIN,
     .required = true},
    {.key = "hugepages",
     .type = OPTION_BOOL,
     .offset = offsetof(struct memory_keys, hugepages),
     .initial = "off",
     .help = "take it from the host's reserved huge pages (vm.nr_hugepages)"},
    {.key = "shared",
     .type = OPTION_BOOL,
     .offset = offsetof(struct memory_keys, shared),
     .initial = "off",
     .help = "back it by a memfd that other processes can map"},
};
const size_t memory_option_count = ARRAY_SIZE(memory_options);

static int set_memory(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    struct memory_keys keys = {0};
    struct option_list list = {0};
    int ret = option_list_parse(&list, origin, value, "size", err);

    if (!ret)
        ret = option_apply(memory_options, memory_option_count, &list, &keys, err);
    if (!ret) {
        static const char *const known[] = {"size", "hugepages", "shared", NULL};
        ret = option_list_finish(&list, known, err);
    }
    option_list_free(&list);
    if (ret)
        return ret;
    if (keys.size % (2 * MIB))
        return error_set(err, EINVAL, "%s: the size must be a multiple of 2 MiB", origin);
    config->memory_size = keys.size;
    config->hugepages = keys.hugepages;
    config->shared = keys.shared;
    return 0;
}

static int set_kernel(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    if (config->kernel)
        return error_set(err, EINVAL, "%s: a kernel is named already ('%s')", origin,
                         config->kernel);
    return set_string(&config->kernel, value, err);
}

static int set_initrd(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    struct string_list *list = &config->initrds;
    char **grown = realloc(list->items, (list->count + 1) * sizeof(*grown));

    (void)origin;
    if (!grown)
        return no_memory(err);
    list->items = grown;
    grown[list->count] = strdup(value);
    if (!grown[list->count])
        return no_memory(err);
    list->count++;
    return 0;
}

static int set_append(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    char *joined;

    (void)origin;
    if (!config->append)
        return set_string(&config->append, value, err);
    if (asprintf(&joined, "%s %s", config->append, value) < 0)
        return no_memory(err);
    free(config->append);
    config->append = joined;
    return 0;
}

static int set_cmdline(struct vm_config *config, const char *origin, const char *value,
                       struct error *err)
{
    (void)origin;
    return set_string(&config->cmdline, value, err);
}

int vm_config_add_device(struct vm_config *config, const char *origin, const char *type,
                         const char *value, const char *first_key, struct error *err)
{
    struct device_config *grown =
        realloc(config->devices, (config->device_count + 1) * sizeof(*grown));
    struct device_config *device;
    int ret;

    if (!grown)
        return no_memory(err);
    config->devices = grown;
    device = &grown[config->device_count];
    *device = (struct device_config){0};
    ret = option_list_parse(&device->options, origin, value, first_key, err);
    if (!ret) {
        /* Not one of the device's own options, which may go on to a program. */
        device->type = type ? strdup(type) : option_list_remove(&device->options, "type");
        if (!device->type)
            ret = type ? no_memory(err)
                       : error_set(err, EINVAL, "%s: needs a type, as in --device blk,path=a.img",
                                   origin);
    }
    if (ret) {
        option_list_free(&device->options);
        return ret;
    }
    config->device_count++;
    return 0;
}

static int set_disk(struct vm_config *config, const char *origin, const char *value,
                    struct error *err)
{
    return vm_config_add_device(config, origin, "blk", value, "path", err);
}

static int set_net(struct vm_config *config, const char *origin, const char *value,
                   struct error *err)
{
    return vm_config_add_device(config, origin, "net", value, "host", err);
}

static int set_device(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    return vm_config_add_device(config, origin, NULL, value, "type", err);
}

static int set_console(struct vm_config *config, const char *origin, const char *value,
                       struct error *err)
{
    return vm_config_add_device(config, origin, "console", value, "to", err);
}

static int set_rng(struct vm_config *config, const char *origin, const char *value,
                   struct error *err)
{
    return vm_config_add_device(config, origin, "rng", value, "source", err);
}

static int set_vsock(struct vm_config *config, const char *origin, const char *value,
                     struct error *err)
{
    return vm_config_add_device(config, origin, "vsock", value, "cid", err);
}

static int set_fs(struct vm_config *config, const char *origin, const char *value,
                  struct error *err)
{
    return vm_config_add_device(config, origin, "fs", value, "tag", err);
}

static int set_gpu(struct vm_config *config, const char *origin, const char *value,
                   struct error *err)
{
    return vm_config_add_device(config, origin, "gpu", value, "outputs", err);
}

static int set_input(struct vm_config *config, const char *origin, const char *value,
                     struct error *err)
{
    return vm_config_add_device(config, origin, "input", value, "kind", err);
}

static int set_name(struct vm_config *config, const char *origin, const char *value,
                    struct error *err)
{
    (void)origin;
    return set_string(&config->name, value, err);
}

static int set_serial(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    if (chardev_check(value, err)) {
        error_prefix(err, "--serial");
        return -EINVAL;
    }
    (void)origin;
    return set_string(&config->serial, value, err);
}

static int set_control(struct vm_config *config, const char *origin, const char *value,
                       struct error *err)
{
    (void)origin;
    return set_string(&config->control, value, err);
}

static int set_config(struct vm_config *config, const char *origin, const char *value,
                      struct error *err)
{
    int ret = vm_config_load_json(config, value, err);

    (void)origin;
    if (ret)
        error_prefix(err, "--config");
    return ret;
}

static int set_dump_acpi(struct vm_config *config, const char *origin, const char *value,
                         struct error *err)
{
    (void)origin;
    return set_string(&config->dump_acpi, value, err);
}

static int set_log(struct vm_config *config, const char *origin, const char *value,
                   struct error *err)
{
    (void)config;
    if (log_configure(value))
        return error_set(err, EINVAL, "%s: must be error, warn, info or debug, then maybe ,json",
                         origin);
    return 0;
}

/* Switches: on the command line their value is "on". */
#define SWITCH(field)                                                                       \
    static int set_##field(struct vm_config *config, const char *origin, const char *value, \
                           struct error *err)                                               \
    {                                                                                       \
        return option_parse_bool(origin, value, &config->field, err);                       \
    }
SWITCH(kaslr)
SWITCH(unpack)
SWITCH(no_reboot)
SWITCH(dry_run)
SWITCH(timing)

const struct run_option run_options[] = {
    {0, "name", "TEXT", "what the machine is called, as in the title of its window", set_name},
    {'c', "cpus", "N", "virtual CPUs (default: 1)", set_cpus},
    {'m', "memory", "SIZE[,KEY=VALUE...]", "guest memory (default: 256M); see 'vireo help memory'",
     set_memory},
    {'k', "kernel", "FILE", "the kernel, instead of naming it as the KERNEL argument", set_kernel},
    {'i', "initrd", "FILE", "initial RAM disk; several are concatenated", set_initrd},
    {'a', "append", "TEXT", "add words to the kernel command line", set_append},
    {0, "cmdline", "TEXT", "replace the default kernel command line; see 'vireo help cmdline'",
     set_cmdline},
    {0, "kaslr", "on|off", "load the kernel at a random address (default: on); off adds nokaslr",
     set_kaslr},
    {0, "unpack", "on|off",
     "unpack a compressed kernel on the host and start it directly (default: on)", set_unpack},
    {'d', "disk", "PATH[,KEY=VALUE...]", "a virtio disk; short for --device blk,path=PATH",
     set_disk},
    {'n', "net", "KIND[,KEY=VALUE...]",
     "a network card (user, tap, socket, none); short for --device net,host=KIND", set_net},
    {0, "device", "TYPE[,KEY=VALUE...]", "a virtio device; see 'vireo help device'", set_device},
    {0, "serial", "WHERE", "the serial console; see 'vireo help serial' (default: stdio)",
     set_serial},
    {0, "console", "WHERE[,KEY=VALUE...]",
     "a virtio console, the guest's hvc0; short for --device console,to=WHERE", set_console},
    {0, "rng", "SOURCE[,KEY=VALUE...]",
     "random numbers for the guest; short for --device rng,source=SOURCE", set_rng},
    {0, "vsock", "cid=N[,KEY=VALUE...]",
     "sockets between guest and host (AF_VSOCK); short for --device vsock,cid=N", set_vsock},
    {0, "fs", "TAG,socket=PATH[,KEY=VALUE...]",
     "a directory, served by virtiofsd; short for --device fs,tag=TAG,socket=PATH", set_fs},
    {0, "gpu", "WxH[+WxH...][,KEY=VALUE...]",
     "a graphics card with these outputs; short for --device gpu,outputs=WxH", set_gpu},
    {0, "input", "KIND[,KEY=VALUE...]",
     "a keyboard, mouse, tablet or multitouch; short for --device input,kind=KIND", set_input},
    {0, "display", "KIND[=WHERE][,KEY=VALUE...]",
     "who sees what the guest shows (none, sdl, vnc); see 'vireo help display'",
     vm_config_set_display},
    {0, "screenshot", "FILE.png",
     "what is shown at the end, and at SIGUSR2; short for --display png=FILE.png",
     vm_config_set_screenshot},
    {0, "control", "PATH", "a socket for commands while it runs; see 'vireo help control'",
     set_control},
    {0, "config", "FILE.json", "read options from a file; see 'vireo help config'", set_config},
    {0, "no-reboot", NULL, "end when the guest reboots instead of starting it again",
     set_no_reboot},
    {0, "dry-run", NULL, "print memory map, command line and devices; start nothing", set_dry_run},
    {0, "dump-acpi", "DIR", "write the ACPI tables as DIR/NAME.aml", set_dump_acpi},
    {0, "timing", NULL, "print when machine, kernel and /init started, and how long frames took",
     set_timing},
    {0, "log", "LEVEL[,json]", "error, warn (default), info or debug", set_log},
};
const size_t run_option_count = ARRAY_SIZE(run_options);

void vm_config_init(struct vm_config *config)
{
    *config = (struct vm_config){
        .cpus = 1,
        .memory_size = MEMORY_DEFAULT,
        .kaslr = true,
        .unpack = true,
    };
}

void vm_config_free(struct vm_config *config)
{
    for (size_t i = 0; i < config->initrds.count; i++)
        free(config->initrds.items[i]);
    free(config->initrds.items);
    for (size_t i = 0; i < config->device_count; i++) {
        free(config->devices[i].type);
        option_list_free(&config->devices[i].options);
    }
    free(config->devices);
    vm_config_free_displays(config);
    free(config->name);
    free(config->kernel);
    free(config->append);
    free(config->cmdline);
    free(config->serial);
    free(config->control);
    free(config->dump_acpi);
}

bool vm_config_has_console(const struct vm_config *config)
{
    for (size_t i = 0; i < config->device_count; i++)
        if (strcmp(config->devices[i].type, "console") == 0 &&
            option_list_peek(&config->devices[i].options, "to"))
            return true;
    return false;
}

/* "to=stdio" or "port=NAME:stdio". */
bool device_config_on_stdio(const struct device_config *config)
{
    const struct option_list *list = &config->options;

    for (size_t n = 0; strcmp(config->type, "console") == 0 && n < list->count; n++) {
        const char *value = list->values[n].value;
        const char *colon = strcmp(list->values[n].key, "port") == 0 ? strchr(value, ':') : NULL;

        if (strcmp(colon ? colon + 1 : value, "stdio") == 0)
            return true;
    }
    return false;
}

static bool console_on_stdio(const struct vm_config *config)
{
    for (size_t i = 0; i < config->device_count; i++)
        if (device_config_on_stdio(&config->devices[i]))
            return true;
    return false;
}

const char *vm_config_serial(const struct vm_config *config)
{
    if (config->serial)
        return config->serial;
    return console_on_stdio(config) ? "null" : "stdio";
}

static int unknown_option(const char *origin, const char *name, struct error *err)
{
    const char *names[ARRAY_SIZE(run_options) + 1] = {0};
    const char *near;
    char word[64];

    for (size_t i = 0; i < run_option_count; i++)
        names[i] = run_options[i].name;
    snprintf(word, sizeof(word), "%s", name);
    word[strcspn(word, "=")] = '\0'; /* the name in "--name=value" */
    near = option_nearest(word, names);
    if (near)
        return error_set(err, EINVAL, "%s: unknown option (did you mean '%s'?)", origin, near);
    return error_set(err, EINVAL, "%s: unknown option; 'vireo help' lists them", origin);
}

int vm_config_set(struct vm_config *config, const char *origin, const char *name, const char *value,
                  struct error *err)
{
    for (size_t i = 0; i < run_option_count; i++)
        if (strcmp(run_options[i].name, name) == 0)
            return run_options[i].set(config, origin, value, err);
    return unknown_option(origin, name, err);
}

struct json_context {
    struct vm_config *config;
    const char *path;
};

static int set_from_json(void *opaque, const char *name, const char *value, struct error *err)
{
    struct json_context *context = opaque;
    char origin[256];

    if (strcmp(name, "config") == 0)
        return error_set(err, EINVAL, "%s: a configuration file cannot include another",
                         context->path);
    snprintf(origin, sizeof(origin), "%s: %s %s", context->path, name, value);
    return vm_config_set(context->config, origin, name, value, err);
}

int vm_config_load_json(struct vm_config *config, const char *path, struct error *err)
{
    struct json_context context = {config, path};
    const struct config_json_module *json;
    struct module module;
    int ret = module_load(&module, "config", err);

    if (ret)
        return ret;
    json = module.table;
    ret = json->load(path, set_from_json, &context, err);
    module_unload(&module);
    return ret;
}

static const struct run_option *option_by_letter(char letter)
{
    for (size_t i = 0; i < run_option_count; i++)
        if (letter && run_options[i].letter == letter)
            return &run_options[i];
    return NULL;
}

static const struct run_option *option_by_name(const char *name, size_t length)
{
    for (size_t i = 0; i < run_option_count; i++)
        if (strlen(run_options[i].name) == length && memcmp(run_options[i].name, name, length) == 0)
            return &run_options[i];
    return NULL;
}

/* Split "--name=value", "--name value", "-x value", "-xvalue". Sets *value to NULL when it is the
 * next argument. */
static const struct run_option *option_lookup(const char *argument, const char **value)
{
    const char *equals;

    *value = NULL;
    if (argument[1] != '-') {
        if (argument[2])
            *value = argument + 2;
        return option_by_letter(argument[1]);
    }
    equals = strchr(argument, '=');
    if (!equals)
        return option_by_name(argument + 2, strlen(argument + 2));
    *value = equals + 1;
    return option_by_name(argument + 2, (size_t)(equals - argument - 2));
}

/* One option at argv[*at]; moves *at past it and its value. */
static int parse_option(struct vm_config *config, int argc, char **argv, int *at, struct error *err)
{
    const char *argument = argv[(*at)++];
    const char *value;
    const struct run_option *option = option_lookup(argument, &value);
    char origin[256];

    if (!option)
        return unknown_option(argument, argument + strspn(argument, "-"), err);
    if (!option->metavar) {
        if (value)
            return error_set(err, EINVAL, "%s: takes no value", argument);
        return option->set(config, argument, "on", err);
    }
    if (!value) {
        if (*at >= argc)
            return error_set(err, EINVAL, "%s: needs a value (%s)", argument, option->metavar);
        value = argv[(*at)++];
    }
    snprintf(origin, sizeof(origin), "--%s %s", option->name, value);
    return option->set(config, origin, value, err);
}

int vm_config_parse(struct vm_config *config, int argc, char **argv, struct error *err)
{
    int at = 0, ret = 0;

    while (!ret && at < argc && strcmp(argv[at], "--") != 0) {
        if (argv[at][0] == '-' && argv[at][1])
            ret = parse_option(config, argc, argv, &at, err);
        else
            ret = set_kernel(config, argv[at], argv[at], err), at++;
    }
    for (at++; !ret && at < argc; at++)
        ret = set_append(config, argv[at], argv[at], err);
    if (!ret && !config->kernel)
        ret = error_set(err, EINVAL, "no kernel named: vireo run [OPTIONS] KERNEL");
    return ret ? ret : vm_config_complete_display(config, err);
}
