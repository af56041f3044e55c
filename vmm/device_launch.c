#include "vmm/device_launch.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "devices/console/console.h"
#include "devices/input/input.h"
#include "devices/net/host.h"
#include "devices/net/options.h"
#include "virtio/device.h"
#include "vmm/arguments.h"
#include "vmm/device_program_options.h"
#include "vmm/discovery.h"

#include <errno.h>
#include <stdlib.h>

static bool has_key(const struct option_spec *options, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(options[i].key, key) == 0)
            return true;
    return false;
}

static bool has_feature(const struct virtio_feature_name *names, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i].name, key) == 0)
            return true;
    return false;
}

static bool of_place(const struct device_launch_place *place, const char *key)
{
    return has_key(place->options, place->option_count, key);
}

/* --- our own program -------------------------------------------------------------------------- */

int device_launch_begin(const char *type, char ***arguments, struct error *err)
{
    int ret = arguments_add(arguments, err, "/proc/self/exe");

    if (!ret)
        ret = arguments_add(arguments, err, "device");
    if (!ret)
        ret = arguments_add(arguments, err, "%s", type);
    if (!ret)
        ret = arguments_add(arguments, err, "--confine");
    return ret;
}

/* What the host gives to this process, or only to one that sees its network. */
static int check_isolated(const struct device_setup *setup, const struct device_config *config,
                          struct error *err)
{
    const char *origin = config->options.origin;

    if (device_config_on_stdio(config))
        return error_set(err, EINVAL, "%s: isolate: stdio belongs to this process", origin);
    if (setup->model->id == VIRTIO_ID_INPUT && input_is_fed_by_display(setup->options))
        return error_set(err, EINVAL, "%s: isolate: who looks at this process's display feeds it",
                         origin);
    if (setup->model->id == VIRTIO_ID_NET &&
        ((const struct net_options *)setup->options)->host.kind == NET_HOST_USER)
        return error_set(err, EINVAL, "%s: isolate: host=user needs the host's network", origin);
    return 0;
}

static int add_keys(const struct device_config *config, const struct device_launch_place *place,
                    char ***arguments, struct error *err)
{
    const struct option_list *list = &config->options;
    int ret = 0;

    for (size_t i = 0; i < list->count && !ret; i++)
        if (!of_place(place, list->values[i].key))
            ret = arguments_add(arguments, err, "--%s=%s", list->values[i].key,
                                list->values[i].value);
    return ret;
}

int device_launch_isolated(const struct device_setup *setup, const struct device_config *config,
                           const struct device_launch_place *place, unsigned cpus,
                           char ***arguments, struct error *err)
{
    const struct virtio_model *model = setup->model;
    int ret = check_isolated(setup, config, err);

    if (!ret)
        ret = device_launch_begin(model->name, arguments, err);
    if (!ret)
        ret = arguments_add(arguments, err, "--log=%s", log_configuration());
    if (!ret)
        ret = add_keys(config, place, arguments, err);
    if (!ret && !option_list_peek(&config->options, "id"))
        ret = arguments_add(arguments, err, "--id=%s", setup->common.id);
    if (!ret && !setup->common.queues && !model->queues_default)
        ret = arguments_add(arguments, err, "--queues=%u", MIN(cpus, model->queues_max));
    return ret;
}

/* Of "unix:PATH,server=..." or, for a port, "NAME:unix:PATH,...". */
static void remove_name_of(const char *where, bool port)
{
    const char *place = where;
    char *path;

    if (port && strchr(where, ':'))
        place = strchr(where, ':') + 1;
    if (strncmp(place, "unix:", 5) != 0)
        return;
    path = strndup(place + 5, strcspn(place + 5, ","));
    if (path)
        unix_socket_remove_stale(path);
    free(path);
}

static void remove_console_names(const struct console_options *options)
{
    if (options->to)
        remove_name_of(options->to, false);
    for (size_t i = 0; i < options->ports.count; i++)
        remove_name_of(options->ports.items[i], true);
}

void device_launch_remove_names(const struct device_setup *setup)
{
    const struct net_options *net = setup->options;

    if (setup->model->id == VIRTIO_ID_CONSOLE)
        remove_console_names(setup->options);
    else if (setup->model->id == VIRTIO_ID_NET && net->host.kind == NET_HOST_SOCKET)
        unix_socket_remove_stale(net->host.path);
}

/* --- others' ---------------------------------------------------------------------------------- */

/* The machine's business, and that of both sides' agreement. */
static bool stays(const struct device_launch_place *place, const struct virtio_model *model,
                  const char *key)
{
    return of_place(place, key) ||
           has_key(device_common_options, device_common_option_count, key) ||
           (model->foreign &&
            has_key(model->foreign->options, model->foreign->option_count, key)) ||
           has_feature(virtio_feature_names, virtio_feature_names_count, key) ||
           has_feature(model->features, model->feature_count, key);
}

/* Switches as the conventions have them: there or not. */
static int add_option(const char *type, const char *key, const char *value, char ***arguments,
                      struct error *err)
{
    bool inverse, on;
    const char *name = program_option_theirs(type, key, &inverse);
    bool renamed = strcmp(name, key) != 0;

    if (option_parse_bool(key, value, &on, NULL))
        return arguments_add(arguments, err, "--%s=%s", name, value);
    if (on != inverse)
        return arguments_add(arguments, err, "--%s", name);
    return renamed ? 0 : arguments_add(arguments, err, "--%s=%s", name, value);
}

static int take_keys(struct device_config *config, const struct device_launch_place *place,
                     char ***arguments, struct error *err)
{
    const struct virtio_model *model = device_model_find(config->type);
    struct option_list *list = &config->options;
    const char *queues = option_list_peek(list, "queues");
    int ret = 0;

    for (size_t i = 0; model && i < list->count && !ret; i++) {
        struct option_value *value = &list->values[i];

        if (stays(place, model, value->key))
            continue;
        value->used = true;
        ret = add_option(config->type, value->key, value->value, arguments, err);
    }
    if (!ret && queues)
        ret = arguments_add(arguments, err, "--queues=%s", queues);
    return ret;
}

int device_launch_program(struct device_config *config, const char *program,
                          const struct device_launch_place *place, char ***arguments,
                          struct error *err)
{
    char *found = NULL;
    int ret = program ? 0 : discovery_find(config->type, &found, err);

    if (!ret)
        ret = discovery_check(program ? program : found, config->type, err);
    if (!ret)
        ret = arguments_add(arguments, err, "%s", program ? program : found);
    if (!ret)
        ret = take_keys(config, place, arguments, err);
    free(found);
    if (ret)
        error_prefix(err, "%s", config->options.origin);
    return ret;
}
