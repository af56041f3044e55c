#include "vmm/machine_device_internal.h"

#include "base/bytes.h"
#include "base/inherited_fd.h"
#include "transport/msix.h"
#include "transport/virtio_pci.h"
#include "vmm/device_launch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RECONNECT_DEFAULT 1 /* seconds */
#define RECONNECT_MAX     3600

static const char *const transports[] = {"mmio", "pci", NULL};
static const char *const backends[] = {"builtin", "vhost-user", "vhost", "vdpa", "auto", NULL};

const struct option_spec device_slot_options[] = {
    {.key = "transport",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct device_slot, transport),
     .initial = "pci",
     .choices = transports,
     .help = "how the driver reaches it"},
    {.key = "addr",
     .type = OPTION_UINT,
     .offset = offsetof(struct device_slot, addr),
     .metavar = "SLOT",
     .min = 1,
     .max = PCI_SLOTS - 1,
     .help = "PCI slot, 1 to 31 (default: the lowest free one)"},
    {.key = "legacy",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, legacy),
     .help = "show drivers older than virtio 1.0 their interface (PCI: too; MMIO: instead)"},
    {.key = "vectors",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, vectors),
     .metavar = "N",
     .help = "MSI-X vectors, 0 for no MSI-X (default: one a queue and one more)"},
    {.key = "page-per-vq",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, page_per_vq),
     .help =
         "PCI: notify queues at a page each, which a vhost-user process may give (default: off)"},
    {.key = "iothread",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, iothread),
     .metavar = "NAME",
     .help =
         "the thread that serves it; those of one name share it (default: " IOTHREAD_DEFAULT ")"},
    {.key = "backend",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct device_slot, backend),
     .initial = "builtin",
     .choices = backends,
     .help = "who does its work; auto: the host's kernel if it can"},
    {.key = "isolate",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, isolate),
     .initial = "off",
     .help = "builtin: in a confined process of its own"},
    {.key = "socket",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, socket),
     .metavar = "PATH",
     .help = "vhost-user: Unix socket of the process"},
    {.key = "server",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, server),
     .help = "vhost-user: listen at socket=, for the process to connect (default: off)"},
    {.key = "socket-fd",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, socket_fd),
     .metavar = "N",
     .help = "vhost-user: an inherited socket that is connected to the process"},
    {.key = "program",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, program),
     .metavar = "PATH",
     .help = "vhost-user: the program to start, instead of one that is found"},
    {.key = "reconnect",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, reconnect),
     .metavar = "SECONDS",
     .help = "vhost-user: look for a process that died this often; 0: not at all (default: 1)"},
    {.key = "relay",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, relay),
     .help = "vhost-user: keep the record of what is in flight ourselves; slower (default: off)"},
    {.key = "inband",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, inband),
     .help = "vhost-user: notifications are messages, as in simulations (default: off)"},
};
const size_t device_slot_option_count = ARRAY_SIZE(device_slot_options);

const struct option_spec device_vdpa_options[] = {
    {.key = "path",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, node),
     .metavar = "PATH",
     .required = true,
     .help = "the device, as in /dev/vhost-vdpa-0"},
};
const size_t device_vdpa_option_count = ARRAY_SIZE(device_vdpa_options);

static const struct device_launch_place launch_place = {device_slot_options,
                                                        ARRAY_SIZE(device_slot_options)};

/* --- which back end --------------------------------------------------------------------------- */

static bool asks_for(const struct device_config *config, enum device_backend backend)
{
    const char *name = option_list_peek(&config->options, "backend");

    return name && strcmp(name, backends[backend]) == 0;
}

/* Who serves it unless the user says: only types with a model of ours have a choice. */
static enum device_backend usual_backend(const struct device_config *config)
{
    const struct virtio_model *model = device_model_find(config->type);

    if (!model || virtio_model_exists(model))
        return BACKEND_BUILTIN;
    return model->create_vhost ? BACKEND_VHOST : BACKEND_VHOST_USER;
}

static bool needs_backend(const struct device_config *config)
{
    return usual_backend(config) != BACKEND_BUILTIN &&
           !option_list_peek(&config->options, "backend");
}

bool machine_device_shares_memory(const struct device_config *config)
{
    const char *isolate = option_list_peek(&config->options, "isolate");
    bool on = false;

    return asks_for(config, BACKEND_VHOST_USER) ||
           (needs_backend(config) && usual_backend(config) == BACKEND_VHOST_USER) ||
           (isolate && option_parse_bool("isolate", isolate, &on, NULL) == 0 && on);
}

bool machine_device_served_elsewhere(const void *slot)
{
    int backend = ((const struct device_slot *)slot)->backend;

    return backend == BACKEND_VHOST_USER || backend == BACKEND_VDPA;
}

/* --- checks ----------------------------------------------------------------------------------- */

/* A key that was given and is for processes that serve a device, or NULL. */
static const char *vhost_user_key(const struct device_slot *slot)
{
    return slot->socket                        ? "socket"
           : slot->inband                      ? "inband"
           : slot->server                      ? "server"
           : slot->relay                       ? "relay"
           : slot->socket_fd                   ? "socket-fd"
           : slot->program                     ? "program"
           : slot->reconnect && !slot->isolate ? "reconnect"
                                               : NULL;
}

static int check_slot(const struct machine_device *device, const char *origin, struct error *err)
{
    const struct device_slot *slot = &device->slot;

    if (slot->transport == TRANSPORT_MMIO && slot->addr)
        return error_set(err, EINVAL, "%s: addr: a PCI slot, but transport=mmio", origin);
    if (slot->transport == TRANSPORT_MMIO && slot->vectors)
        return error_set(err, EINVAL, "%s: vectors: of PCI devices, but transport=mmio", origin);
    if (slot->transport == TRANSPORT_MMIO && slot->page_per_vq)
        return error_set(err, EINVAL, "%s: page-per-vq: of PCI devices, but transport=mmio",
                         origin);
    if (slot->backend == BACKEND_VHOST_USER &&
        !!slot->socket + !!slot->socket_fd + !!slot->program > 1)
        return error_set(err, EINVAL, "%s: %s: there is a socket%s= already", origin,
                         slot->program ? "program" : "socket-fd", slot->socket ? "" : "-fd");
    if (slot->backend != BACKEND_VHOST_USER && vhost_user_key(slot))
        return error_set(err, EINVAL, "%s: %s: goes with backend=vhost-user", origin,
                         vhost_user_key(slot));
    if (slot->server && !slot->socket)
        return error_set(err, EINVAL, "%s: server: goes with socket=", origin);
    if (slot->socket_fd && (slot->relay || slot->reconnect))
        return error_set(err, EINVAL, "%s: %s: nothing comes back by socket-fd=", origin,
                         slot->relay ? "relay" : "reconnect");
    if (slot->relay && slot->inband)
        return error_set(err, EINVAL, "%s: relay: not with inband=on", origin);
    if (slot->backend == BACKEND_VDPA && slot->legacy)
        return error_set(err, EINVAL, "%s: legacy: vDPA devices have no legacy interface", origin);
    if (slot->backend == BACKEND_VDPA && device->setup.common.queues)
        return error_set(err, EINVAL, "%s: queues: a vDPA device has as many as it has", origin);
    if (slot->backend == BACKEND_VHOST_USER && !slot->socket && !slot->socket_fd &&
        !device->arguments)
        return error_set(err, EINVAL, "%s: backend: vhost-user needs a socket=", origin);
    if (slot->iothread && device->setup.model->display && slot->backend == BACKEND_BUILTIN &&
        !slot->isolate)
        return error_set(err, EINVAL, "%s: iothread: the display's thread serves it", origin);
    if (slot->backend != BACKEND_BUILTIN && slot->isolate)
        return error_set(err, EINVAL, "%s: isolate: is for devices of our own", origin);
    return 0;
}

/* --- taking them ------------------------------------------------------------------------------ */

static int take_vectors(struct machine_device *device, const char *origin, struct error *err)
{
    uint64_t vectors;
    char what[320];
    int ret;

    device->vectors = VIRTIO_PCI_VECTORS_DEFAULT;
    if (!device->slot.vectors)
        return 0;
    snprintf(what, sizeof(what), "%s: vectors", origin);
    ret = option_parse_uint(what, device->slot.vectors, 0, MSIX_VECTORS_MAX, &vectors, err);
    if (!ret)
        device->vectors = (int)vectors;
    return ret;
}

static int take_connection(struct machine_device *device, const char *origin, struct error *err)
{
    uint64_t reconnect = RECONNECT_DEFAULT;
    char what[320];
    int ret = 0;

    device->socket_fd = -1;
    snprintf(what, sizeof(what), "%s: reconnect", origin);
    if (device->slot.reconnect)
        ret = option_parse_uint(what, device->slot.reconnect, 0, RECONNECT_MAX, &reconnect, err);
    snprintf(what, sizeof(what), "%s: socket-fd", origin);
    if (!ret && device->slot.socket_fd)
        ret = inherited_fd_take(what, device->slot.socket_fd, &device->socket_fd, err);
    device->reconnect_s = (uint32_t)reconnect;
    return ret;
}

/* A program of somebody else's is to be started: it alone knows the keys that are left. */
static int take_program(struct machine_device *device, struct device_config *config,
                        struct error *err)
{
    if (!asks_for(config, BACKEND_VHOST_USER) || option_list_peek(&config->options, "socket") ||
        option_list_peek(&config->options, "socket-fd"))
        return 0;
    return device_launch_program(config, option_list_peek(&config->options, "program"),
                                 &launch_place, &device->arguments, err);
}

int machine_device_take_options(struct machine_device *device, struct device_config *config,
                                const char *default_id, const struct device_site *site,
                                struct error *err)
{
    const struct device_place place = {
        .options = device_slot_options,
        .option_count = device_slot_option_count,
        .target = &device->slot,
        .more = device_vdpa_options,
        .more_count = asks_for(config, BACKEND_VDPA) ? device_vdpa_option_count : 0,
        .elsewhere = machine_device_served_elsewhere,
    };
    const char *origin = config->options.origin;
    int ret = take_program(device, config, err);

    if (!ret && needs_backend(config))
        ret = option_list_add(&config->options, "backend", backends[usual_backend(config)], err);
    if (!ret)
        ret = device_setup_take(&device->setup, config->type, &config->options, default_id, &place,
                                err);
    if (!ret)
        ret = check_slot(device, origin, err);
    if (!ret)
        ret = take_vectors(device, origin, err);
    if (!ret)
        ret = take_connection(device, origin, err);
    if (!ret && device->slot.isolate)
        ret = device_launch_isolated(&device->setup, config, &launch_place, site->cpus,
                                     &device->arguments, err);
    return ret;
}
