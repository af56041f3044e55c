/* From --device and its keys to a device in its slot: model, transport, features, queues. */
#include "vmm/machine_device.h"

#include "base/bytes.h"
#include "devices/blk/blk.h"
#include "devices/console/console.h"
#include "devices/net/net.h"
#include "devices/rng.h"
#include "transport/msix.h"
#include "transport/virtio_mmio.h"
#include "transport/virtio_pci.h"
#include "virtio/device_legacy.h"
#include "vmm/layout_x86_64.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct virtio_model *const device_models[] = {&blk_model, &net_model, &console_model,
                                                    &rng_model, NULL};

static const char *const transports[] = {"mmio", "pci", NULL};

const struct option_spec device_common_options[] = {
    {.key = "id",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_common, id),
     .help = "a name for this device, unique in the machine (default: TYPE and a number)"},
    {.key = "transport",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct device_common, transport),
     .initial = "pci",
     .choices = transports,
     .help = "how the driver reaches it"},
    {.key = "addr",
     .type = OPTION_UINT,
     .offset = offsetof(struct device_common, addr),
     .metavar = "SLOT",
     .min = 1,
     .max = PCI_SLOTS - 1,
     .help = "PCI slot, 1 to 31 (default: the lowest free one)"},
    {.key = "legacy",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_common, legacy),
     .help = "show drivers older than virtio 1.0 their interface (PCI: too; MMIO: instead)"},
    {.key = "vectors",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_common, vectors),
     .metavar = "N",
     .help = "MSI-X vectors, 0 for no MSI-X (default: one a queue and one more)"},
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
    {.key = "iothread",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_common, iothread),
     .initial = IOTHREAD_DEFAULT,
     .metavar = "NAME",
     .help = "the thread that serves it; those that name the same one share it"},
};
const size_t device_common_option_count = ARRAY_SIZE(device_common_options);

const struct virtio_model *device_model_find(const char *type)
{
    for (size_t i = 0; device_models[i]; i++)
        if (strcmp(device_models[i]->name, type) == 0)
            return device_models[i];
    return NULL;
}

static int unknown_type(const struct device_config *config, struct error *err)
{
    const char *names[ARRAY_SIZE(device_models)] = {0};
    const char *near;

    for (size_t i = 0; device_models[i]; i++)
        names[i] = device_models[i]->name;
    near = option_nearest(config->type, names);
    if (near)
        return error_set(err, EINVAL, "%s: no device type '%s' (did you mean '%s'?)",
                         config->options.origin, config->type, near);
    return error_set(err, EINVAL, "%s: no device type '%s'; 'vireo help device' lists them",
                     config->options.origin, config->type);
}

/* NAME=off masks a feature bit; NAME=on asks for one, which must then be offered. */
static int take_features(struct machine_device *device, struct option_list *list,
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
        features_set(on ? &device->wanted : &device->masked, names[i].bit, true);
    }
    return 0;
}

/* All keys this device takes, for suggestions; a NULL-terminated list owned by the caller. */
static const char **known_keys(const struct virtio_model *model)
{
    size_t count = device_common_option_count + model->option_count + model->feature_count +
                   virtio_feature_names_count;
    const char **keys = calloc(count + 1, sizeof(*keys));
    size_t n = 0;

    if (!keys)
        return NULL;
    for (size_t i = 0; i < device_common_option_count; i++)
        keys[n++] = device_common_options[i].key;
    for (size_t i = 0; i < model->option_count; i++)
        keys[n++] = model->options[i].key;
    for (size_t i = 0; i < model->feature_count; i++)
        keys[n++] = model->features[i].name;
    for (size_t i = 0; i < virtio_feature_names_count; i++)
        keys[n++] = virtio_feature_names[i].name;
    return keys;
}

static int check_common(const struct machine_device *device, const char *origin, struct error *err)
{
    const struct device_common *common = &device->common;

    if (common->queues > device->model->queues_max)
        return error_set(err, EINVAL, "%s: queues: %s has at most %u", origin, device->model->name,
                         device->model->queues_max);
    if (common->queue_size && !is_power_of_two(common->queue_size) &&
        !features_has(&device->wanted, VIRTIO_F_RING_PACKED))
        return error_set(err, EINVAL,
                         "%s: queue-size: must be a power of two without ring_packed=on", origin);
    if (common->transport == TRANSPORT_MMIO && common->addr)
        return error_set(err, EINVAL, "%s: addr: a PCI slot, but transport=mmio", origin);
    if (common->transport == TRANSPORT_MMIO && common->vectors)
        return error_set(err, EINVAL, "%s: vectors: of PCI devices, but transport=mmio", origin);
    if (common->legacy && !virtio_device_type_has_legacy(device->model->id))
        return error_set(err, EINVAL, "%s: legacy: %s devices have no legacy interface", origin,
                         device->model->name);
    return 0;
}

static int take_vectors(struct machine_device *device, const char *origin, struct error *err)
{
    uint64_t vectors;
    char what[320];
    int ret;

    device->vectors = VIRTIO_PCI_VECTORS_DEFAULT;
    if (!device->common.vectors)
        return 0;
    snprintf(what, sizeof(what), "%s: vectors", origin);
    ret = option_parse_uint(what, device->common.vectors, 0, MSIX_VECTORS_MAX, &vectors, err);
    if (!ret)
        device->vectors = (int)vectors;
    return ret;
}

static int take_options(struct machine_device *device, struct device_config *config,
                        struct error *err)
{
    const struct virtio_model *model = device->model;
    struct option_list *list = &config->options;
    const char **keys;
    int ret =
        option_apply(device_common_options, device_common_option_count, list, &device->common, err);

    if (!ret)
        ret = take_features(device, list, virtio_feature_names, virtio_feature_names_count, err);
    if (!ret)
        ret = take_features(device, list, model->features, model->feature_count, err);
    if (!ret)
        ret = option_apply(model->options, model->option_count, list, device->options, err);
    if (ret)
        return ret;
    keys = known_keys(model);
    ret = option_list_finish(list, keys, err);
    free(keys);
    if (!ret)
        ret = check_common(device, list->origin, err);
    if (!ret)
        ret = take_vectors(device, list->origin, err);
    return ret;
}

static int name_device(struct machine_device *device, const char *default_id, struct error *err)
{
    if (device->common.id)
        return 0;
    device->common.id = strdup(default_id);
    return device->common.id ? 0 : error_set(err, ENOMEM, "no memory for a device name");
}

static int check_wanted(const struct machine_device *device, const char *origin, struct error *err)
{
    const struct virtio_model *model = device->model;

    for (size_t i = 0; i < virtio_feature_names_count + model->feature_count; i++) {
        const struct virtio_feature_name *name =
            i < virtio_feature_names_count ? &virtio_feature_names[i]
                                           : &model->features[i - virtio_feature_names_count];
        if (features_has(&device->wanted, name->bit) &&
            !features_has(&device->virtio.offered, name->bit))
            return error_set(err, EINVAL, "%s: %s: cannot be offered with the other options given",
                             origin, name->name);
    }
    return 0;
}

/* How many virtqueues the device has, by its queues= or for the machine's vCPUs. */
static uint16_t device_queues(const struct machine_device *device, const struct device_site *site)
{
    const struct virtio_model *model = device->model;
    uint64_t queues = device->common.queues;

    if (!queues)
        queues = model->queues_default ? model->queues_default : MIN(site->cpus, model->queues_max);
    if (model->virtqueue_count)
        return model->virtqueue_count(device->options, (uint16_t)queues);
    return (uint16_t)queues;
}

static int make_virtio(struct machine_device *device, const struct device_site *site,
                       struct error *err)
{
    const struct virtio_model *model = device->model;
    const struct device_common *common = &device->common;
    uint16_t queues = device_queues(device, site);
    uint16_t size = (uint16_t)(common->queue_size ? common->queue_size : model->queue_size_default);
    struct virtio_backend *backend;
    struct loop *loop;
    int ret = iothreads_get(site->iothreads, common->iothread, &loop, err);

    if (!ret)
        ret = virtio_builtin_create(model, device->options, site->memory, loop, queues, size,
                                    &backend, err);
    if (ret)
        return ret;
    ret = virtio_device_init(&device->virtio, model->id, common->id, backend, queues, size,
                             &device->wanted, &device->masked, err);
    device->virtio_ready = !ret;
    return ret;
}

static int plug_mmio(struct machine_device *device, struct device_site *site, struct error *err)
{
    unsigned slot = site->mmio_used;
    struct virtio_mmio_config config = {
        .base = LAYOUT_MMIO + slot * VIRTIO_MMIO_SIZE,
        .gsi = LAYOUT_GSI_MMIO + slot,
        .legacy = device->common.legacy,
    };
    int ret;

    if (slot >= LAYOUT_MMIO_SLOTS)
        return error_set(err, ENOSPC, "a machine holds at most %d virtio-mmio devices",
                         LAYOUT_MMIO_SLOTS);
    device->address = config.base;
    device->gsi = config.gsi;
    ret = virtio_mmio_create(&device->virtio, site->platform, &config, &device->mmio, err);
    if (!ret)
        site->mmio_used++;
    return ret;
}

static int plug_pci(struct machine_device *device, struct device_site *site, struct error *err)
{
    const struct virtio_pci_config config = {
        .slot = device->common.addr ? (int)device->common.addr : -1,
        .vectors = device->vectors,
        .legacy = device->common.legacy,
    };
    int ret = virtio_pci_create(&device->virtio, site->bus, &config, &device->pci, err);

    if (!ret)
        device->address = virtio_pci_slot(device->pci);
    return ret;
}

static int machine_device_make(struct machine_device *device, struct device_config *config,
                               const char *default_id, struct device_site *site, struct error *err)
{
    const char *origin = config->options.origin;
    int ret = take_options(device, config, err);

    if (!ret)
        ret = name_device(device, default_id, err);
    if (ret)
        return ret;
    ret = make_virtio(device, site, err);
    if (!ret)
        ret = device->common.transport == TRANSPORT_MMIO ? plug_mmio(device, site, err)
                                                         : plug_pci(device, site, err);
    if (ret) {
        error_prefix(err, "%s", origin);
        return ret;
    }
    return check_wanted(device, origin, err);
}

int machine_device_create(struct device_config *config, const char *default_id,
                          struct device_site *site, struct machine_device **out, struct error *err)
{
    const struct virtio_model *model = device_model_find(config->type);
    struct machine_device *device;
    int ret;

    if (!model)
        return unknown_type(config, err);
    device = calloc(1, sizeof(*device));
    if (device)
        device->options = calloc(1, MAX(model->options_size, (size_t)1));
    if (!device || !device->options) {
        free(device);
        return error_set(err, ENOMEM, "no memory for a device");
    }
    device->model = model;
    ret = machine_device_make(device, config, default_id, site, err);
    if (ret) {
        machine_device_destroy(device);
        return ret;
    }
    *out = device;
    return 0;
}

void machine_device_reset(struct machine_device *device)
{
    if (device->mmio)
        virtio_mmio_reset(device->mmio);
    else
        virtio_pci_reset(device->pci);
}

void machine_device_destroy(struct machine_device *device)
{
    if (!device)
        return;
    if (device->mmio)
        virtio_mmio_destroy(device->mmio);
    if (device->pci)
        virtio_pci_destroy(device->pci);
    if (device->virtio_ready)
        virtio_device_destroy(&device->virtio);
    option_release(device->model->options, device->model->option_count, device->options);
    option_release(device_common_options, device_common_option_count, &device->common);
    free(device->options);
    free(device);
}
