#include "vmm/device_setup.h"

#include "base/bytes.h"
#include "devices/blk/blk.h"
#include "devices/console/console.h"
#include "devices/fs.h"
#include "devices/gpu/gpu.h"
#include "devices/input/input.h"
#include "devices/net/net.h"
#include "devices/rng.h"
#include "devices/scsi.h"
#include "devices/virtio_user.h"
#include "devices/vsock.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct virtio_model *const device_models[] = {
    &blk_model, &net_model, &console_model, &rng_model,         &vsock_model, &scsi_model,
    &fs_model,  &gpu_model, &input_model,   &virtio_user_model, NULL};

const struct option_spec device_common_options[] = {
    {.key = "id",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_common, id),
     .help = "a name for this device, unique in the machine (default: TYPE and a number)"},
    {.key = "queues",
     .type = OPTION_UINT,
     .offset = offsetof(struct device_common, queues),
     .min = 1,
     .max = VIRTIO_QUEUES_MAX,
     .help = "number of queues; of a network card, of pairs (default: the type's)"},
    {.key = "queue-size",
     .type = OPTION_UINT,
     .offset = offsetof(struct device_common, queue_size),
     .min = 1,
     .max = VIRTQUEUE_SIZE_MAX,
     .help = "entries in each queue, a power of two unless packed (default: the type's)"},
};
const size_t device_common_option_count = ARRAY_SIZE(device_common_options);

const struct virtio_model *device_model_find(const char *type)
{
    for (size_t i = 0; device_models[i]; i++)
        if (strcmp(device_models[i]->name, type) == 0)
            return device_models[i];
    return NULL;
}

static int unknown_type(const char *type, const char *origin, struct error *err)
{
    const char *names[ARRAY_SIZE(device_models)] = {0};
    const char *near;

    for (size_t i = 0; device_models[i]; i++)
        names[i] = device_models[i]->name;
    near = option_nearest(type, names);
    if (near)
        return error_set(err, EINVAL, "%s: no device type '%s' (did you mean '%s'?)", origin, type,
                         near);
    return error_set(err, EINVAL, "%s: no device type '%s'; 'vireo help device' lists them", origin,
                     type);
}

/* NAME=off masks a feature bit; NAME=on asks for one, which must then be offered. */
static int take_features(struct device_setup *setup, struct option_list *list,
                         const struct virtio_feature_name *names, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = option_list_take(list, names[i].name);
        char what[320];
        bool on;
        int ret;

        if (!value)
            continue;
        snprintf(what, sizeof(what), "%s: %s", list->origin, names[i].name);
        ret = option_parse_bool(what, value, &on, err);
        if (ret)
            return ret;
        features_set(on ? &setup->wanted : &setup->masked, names[i].bit, true);
    }
    return 0;
}

/* The type's own keys where the device is served. */
struct own_keys {
    const struct option_spec *options;
    size_t count, size;
};

static struct own_keys own_keys(const struct device_setup *setup)
{
    const struct virtio_model *model = setup->model;

    if (!setup->elsewhere)
        return (struct own_keys){model->options, model->option_count, model->options_size};
    if (!model->foreign)
        return (struct own_keys){0};
    return (struct own_keys){model->foreign->options, model->foreign->option_count,
                             model->foreign->options_size};
}

/* All keys this device takes, for suggestions; a NULL-terminated list owned by the caller. */
static const char **known_keys(const struct virtio_model *model, const struct own_keys *own,
                               const struct device_place *place)
{
    size_t count = device_common_option_count + place->option_count + place->more_count +
                   own->count + model->feature_count + virtio_feature_names_count;
    const char **keys = calloc(count + 1, sizeof(*keys));
    size_t n = 0;

    if (!keys)
        return NULL;
    for (size_t i = 0; i < device_common_option_count; i++)
        keys[n++] = device_common_options[i].key;
    for (size_t i = 0; i < place->option_count; i++)
        keys[n++] = place->options[i].key;
    for (size_t i = 0; i < place->more_count; i++)
        keys[n++] = place->more[i].key;
    for (size_t i = 0; i < own->count; i++)
        keys[n++] = own->options[i].key;
    for (size_t i = 0; i < model->feature_count; i++)
        keys[n++] = model->features[i].name;
    for (size_t i = 0; i < virtio_feature_names_count; i++)
        keys[n++] = virtio_feature_names[i].name;
    return keys;
}

static int check_common(const struct device_setup *setup, const char *origin, struct error *err)
{
    const struct device_common *common = &setup->common;

    if (common->queues > setup->model->queues_max)
        return error_set(err, EINVAL, "%s: queues: %s has at most %u", origin, setup->model->name,
                         setup->model->queues_max);
    if (common->queue_size && !is_power_of_two(common->queue_size) &&
        !features_has(&setup->wanted, VIRTIO_F_RING_PACKED))
        return error_set(err, EINVAL,
                         "%s: queue-size: must be a power of two without ring_packed=on", origin);
    return 0;
}

static int take_options(struct device_setup *setup, struct option_list *list,
                        const struct device_place *place, struct error *err)
{
    const struct virtio_model *model = setup->model;
    struct own_keys own;
    const char **keys;
    int ret =
        option_apply(device_common_options, device_common_option_count, list, &setup->common, err);

    if (!ret)
        ret = option_apply(place->options, place->option_count, list, place->target, err);
    if (!ret)
        ret = option_apply(place->more, place->more_count, list, place->target, err);
    if (!ret)
        ret = take_features(setup, list, virtio_feature_names, virtio_feature_names_count, err);
    if (!ret)
        ret = take_features(setup, list, model->features, model->feature_count, err);
    if (ret)
        return ret;
    setup->elsewhere = place->elsewhere && place->elsewhere(place->target);
    if (!setup->elsewhere && !virtio_model_exists(model) && !model->create_vhost)
        return error_set(err, EINVAL,
                         "%s: Vireo has no model of %s: another process has to serve it",
                         list->origin, model->name);
    own = own_keys(setup);
    setup->options = calloc(1, MAX(own.size, (size_t)1));
    if (!setup->options)
        return error_set(err, ENOMEM, "no memory for a device");
    ret = option_apply(own.options, own.count, list, setup->options, err);
    if (ret)
        return ret;
    keys = known_keys(model, &own, place);
    ret = option_list_finish(list, keys, err);
    free(keys);
    return ret ? ret : check_common(setup, list->origin, err);
}

static int name_device(struct device_setup *setup, const char *default_id, struct error *err)
{
    if (setup->common.id)
        return 0;
    setup->common.id = strdup(default_id);
    return setup->common.id ? 0 : error_set(err, ENOMEM, "no memory for a device name");
}

int device_setup_take(struct device_setup *setup, const char *type, struct option_list *list,
                      const char *default_id, const struct device_place *place, struct error *err)
{
    const struct virtio_model *model = device_model_find(type);
    int ret;

    *setup = (struct device_setup){.model = model};
    if (!model)
        return unknown_type(type, list->origin, err);
    ret = take_options(setup, list, place, err);
    if (!ret)
        ret = name_device(setup, default_id, err);
    if (ret)
        device_setup_release(setup);
    return ret;
}

void device_setup_release(struct device_setup *setup)
{
    struct own_keys own;

    if (!setup->model)
        return;
    own = own_keys(setup);
    if (setup->options)
        option_release(own.options, own.count, setup->options);
    option_release(device_common_options, device_common_option_count, &setup->common);
    free(setup->options);
    setup->options = NULL;
}

int device_setup_check_wanted(const struct device_setup *setup,
                              const struct virtio_features *offered, const char *origin,
                              struct error *err)
{
    const struct virtio_model *model = setup->model;

    for (size_t i = 0; i < virtio_feature_names_count + model->feature_count; i++) {
        const struct virtio_feature_name *name =
            i < virtio_feature_names_count ? &virtio_feature_names[i]
                                           : &model->features[i - virtio_feature_names_count];
        if (features_has(&setup->wanted, name->bit) && !features_has(offered, name->bit))
            return error_set(err, EINVAL, "%s: %s: cannot be offered with the other options given",
                             origin, name->name);
    }
    return 0;
}

/* As many as queues= says. */
static uint16_t queues_of(const struct device_setup *setup, unsigned cpus)
{
    const struct virtio_model *model = setup->model;
    uint64_t queues = setup->common.queues;

    if (!queues)
        queues = model->queues_default ? model->queues_default : MIN(cpus, model->queues_max);
    return (uint16_t)queues;
}

uint16_t device_setup_queue_count(const struct device_setup *setup, unsigned cpus)
{
    const struct virtio_model *model = setup->model;
    uint16_t queues = queues_of(setup, cpus);

    return model->virtqueue_count ? model->virtqueue_count(setup->options, queues) : queues;
}

uint16_t device_setup_queue_size(const struct device_setup *setup)
{
    uint64_t size = setup->common.queue_size;

    return (uint16_t)(size ? size : setup->model->queue_size_default);
}

void device_setup_display(const struct device_setup *setup, struct display *display)
{
    if (setup->model->display && !setup->elsewhere)
        *setup->model->display(setup->options) = display;
}

int device_setup_foreign(const struct device_setup *setup, unsigned cpus,
                         struct virtio_foreign *out, struct error *err)
{
    const struct virtio_model *model = setup->model;

    *out = (struct virtio_foreign){
        .id = model->id,
        .queue_count = queues_of(setup, cpus),
        .config_size = model->config_size,
    };
    return model->foreign ? model->foreign->describe(setup->options, out, err) : 0;
}

int device_setup_builtin(const struct device_setup *setup, const struct guest_memory *memory,
                         struct loop *loop, unsigned cpus, struct virtio_backend **out,
                         struct error *err)
{
    if (!virtio_model_exists(setup->model))
        return error_set(err, ENOTSUP, "%s devices are served by the host's kernel only",
                         setup->model->name);
    return virtio_builtin_create(setup->model, setup->options, memory, loop,
                                 device_setup_queue_count(setup, cpus),
                                 device_setup_queue_size(setup), out, err);
}

int device_setup_vhost(const struct device_setup *setup, const struct guest_memory *memory,
                       struct loop *loop, unsigned cpus, struct virtio_backend **out,
                       struct error *err)
{
    if (!setup->model->create_vhost)
        return error_set(err, ENOTSUP, "the kernel has no vhost for %s devices",
                         setup->model->name);
    return virtio_builtin_create_vhost(setup->model, setup->options, memory, loop,
                                       device_setup_queue_count(setup, cpus),
                                       device_setup_queue_size(setup), out, err);
}
