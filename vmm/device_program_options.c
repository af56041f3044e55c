#include "vmm/device_program_options.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/input/input.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FIELD(name) .offset = offsetof(struct program_place, name)

const struct option_spec program_options[] = {
    {.key = "socket-path",
     .type = OPTION_STRING,
     FIELD(socket_path),
     .metavar = "PATH",
     .help = "listen on this Unix socket, for one front end after the other"},
    {.key = "fd",
     .type = OPTION_STRING,
     FIELD(fd),
     .metavar = "N",
     .help = "an inherited socket that is connected; ends with the connection"},
    {.key = "print-capabilities",
     .type = OPTION_BOOL,
     FIELD(print_capabilities),
     .help = "print what this program is, as JSON, and end"},
    {.key = "isolate",
     .type = OPTION_BOOL,
     FIELD(isolate),
     .help = "serve from a confined process of its own, and stay to clean up after it"},
    {.key = "confine",
     .type = OPTION_BOOL,
     FIELD(confine),
     .help = "confine this process itself; the socket's name stays behind"},
    {.key = "supervisor",
     .type = OPTION_STRING,
     FIELD(supervisor),
     .metavar = "N",
     .help = "an inherited socket by which Vireo directs the process of isolate=on"},
    {.key = "log",
     .type = OPTION_STRING,
     FIELD(log),
     .metavar = "LEVEL[,json]",
     .help = "error, warn (default), info or debug"},
};
const size_t program_option_count = ARRAY_SIZE(program_options);

/* Other programs' names for keys of ours (docs/interop/vhost-user.rst of QEMU). */
static const struct alias {
    const char *type, *name, *key;
    bool inverse; /* switches: theirs is there where ours is off */
} aliases[] = {
    {"blk", "blk-file", "path", false},          {"blk", "read-only", "readonly", false},
    {"input", "evdev-path", "evdev", false},     {"input", "no-grab", "grab", true},
    {"gpu", "render-node", "rendernode", false}, {"gpu", "virgl", "virgl", false},
};

static const struct alias *find_ours(const char *type, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(aliases[i].type, type) == 0 && strcmp(aliases[i].name, name) == 0)
            return &aliases[i];
    return NULL;
}

const char *program_option_theirs(const char *type, const char *key, bool *inverse)
{
    *inverse = false;
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(aliases[i].type, type) == 0 && strcmp(aliases[i].key, key) == 0) {
            *inverse = aliases[i].inverse;
            return aliases[i].name;
        }
    return key;
}

const char *program_option_alias(const char *type, size_t index)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(aliases[i].type, type) == 0 && index-- == 0)
            return aliases[i].name;
    return NULL;
}

static int add_theirs(struct option_list *list, const struct alias *alias, const char *value,
                      struct error *err)
{
    bool on;
    int ret = alias->inverse ? option_parse_bool(alias->name, value, &on, err) : 0;

    if (ret)
        return ret;
    return option_list_add(list, alias->key, !alias->inverse ? value : on ? "off" : "on", err);
}

/* --NAME=VALUE, --NAME: one key, in which a comma is just that. */
static int take_dashed(struct option_list *list, const char *type, const char *argument,
                       struct error *err)
{
    char *name = strdup(argument + 2), *value;
    const struct alias *theirs;
    int ret;

    if (!name)
        return error_set(err, ENOMEM, "no memory for options");
    value = strchr(name, '=');
    if (value)
        *value++ = '\0';
    theirs = find_ours(type, name);
    ret = theirs ? add_theirs(list, theirs, value ? value : "on", err)
                 : option_list_add(list, name, value ? value : "on", err);
    free(name);
    return ret;
}

/* KEY=VALUE,KEY=VALUE: as behind --device. */
static int take_list(struct option_list *list, const char *argument, struct error *err)
{
    struct option_list more = {0};
    int ret = option_list_parse(&more, list->origin, argument, NULL, err);

    for (size_t i = 0; i < more.count && !ret; i++)
        ret = option_list_add(list, more.values[i].key, more.values[i].value, err);
    option_list_free(&more);
    return ret;
}

/* Nobody looks at a display here, so nobody types. */
static int check_feed(const struct device_setup *setup, const char *origin, struct error *err)
{
    if (setup->model->id == VIRTIO_ID_INPUT && input_is_fed_by_display(setup->options))
        return error_set(err, EINVAL, "%s: either evdev or script must be given", origin);
    return 0;
}

static int check_place(const struct program_place *place, const char *origin, struct error *err)
{
    if (place->print_capabilities)
        return error_set(err, EINVAL, "%s: print-capabilities: takes no value", origin);
    if (!place->socket_path == !place->fd)
        return error_set(err, EINVAL, "either --socket-path or --fd must be given");
    if (place->log && log_configure(place->log))
        return error_set(err, EINVAL,
                         "%s: log: must be error, warn, info or debug, then maybe ,json", origin);
    return 0;
}

int program_options_take(int argc, char **arguments, struct program_place *place,
                         struct device_setup *setup, struct option_list *list, struct error *err)
{
    const struct device_place keys = {
        .options = program_options,
        .option_count = program_option_count,
        .target = place,
    };
    const char *type = arguments[0];
    char origin[64];
    int ret;

    snprintf(origin, sizeof(origin), "device %s", type);
    ret = option_list_parse(list, origin, "", NULL, err);
    for (int i = 1; i < argc && !ret; i++)
        ret = strncmp(arguments[i], "--", 2) == 0 ? take_dashed(list, type, arguments[i], err)
                                                  : take_list(list, arguments[i], err);
    if (!ret)
        ret = device_setup_take(setup, type, list, type, &keys, err);
    if (!ret) {
        ret = check_place(place, origin, err);
        if (!ret)
            ret = check_feed(setup, origin, err);
        if (ret)
            device_setup_release(setup);
    }
    if (ret)
        option_list_free(list);
    return ret;
}
