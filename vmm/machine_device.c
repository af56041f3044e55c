#include "vmm/machine_device.h"

#include "base/bytes.h"
#include "base/log.h"
#include "transport/msix.h"
#include "transport/virtio_mmio.h"
#include "transport/virtio_pci.h"
#include "virtio/device_legacy.h"
#include "vmm/arguments.h"
#include "vmm/device_launch.h"
#include "vmm/layout_x86_64.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const transports[] = {"mmio", "pci", NULL};
#define RECONNECT_DEFAULT 1 /* seconds */
#define RECONNECT_MAX     3600

static const char *const backends[] = {"builtin", "vhost-user", NULL};

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
    {.key = "iothread",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, iothread),
     .initial = IOTHREAD_DEFAULT,
     .metavar = "NAME",
     .help = "the thread that serves it; those of one name share it"},
    {.key = "backend",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct device_slot, backend),
     .initial = "builtin",
     .choices = backends,
     .help = "who serves it: this program, or another process"},
    {.key = "socket",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, socket),
     .metavar = "PATH",
     .help = "Unix socket of the process that serves it (backend=vhost-user)"},
    {.key = "program",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, program),
     .metavar = "PATH",
     .help = "a program to start for it, instead of one that is found (backend=vhost-user)"},
    {.key = "isolate",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, isolate),
     .initial = "off",
     .help = "serve it from a confined process of its own"},
    {.key = "inband",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, inband),
     .help = "tell that process of notifications by messages, as in simulations"},
    {.key = "server",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, server),
     .help = "listen at socket=, for that process to connect"},
    {.key = "socket-fd",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, socket_fd),
     .metavar = "N",
     .help = "an inherited descriptor, connected to that process, in the place of socket="},
    {.key = "relay",
     .type = OPTION_BOOL,
     .offset = offsetof(struct device_slot, relay),
     .help = "note what is in flight for a process that does not, so that it may die (slower)"},
    {.key = "reconnect",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, reconnect),
     .metavar = "SECONDS",
     .help = "look for it this often if it dies; 0: the device needs reset (default: 1)"},
};
const size_t device_slot_option_count = ARRAY_SIZE(device_slot_options);

bool machine_device_shares_memory(const struct device_config *config)
{
    const char *backend = option_list_peek(&config->options, "backend");
    const char *isolate = option_list_peek(&config->options, "isolate");
    bool on = false;

    return (backend && strcmp(backend, backends[BACKEND_VHOST_USER]) == 0) ||
           (isolate && option_parse_bool("isolate", isolate, &on, NULL) == 0 && on);
}

static bool served_elsewhere(const void *slot)
{
    return ((const struct device_slot *)slot)->backend != BACKEND_BUILTIN;
}

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
    const struct virtio_model *model = device->setup.model;

    if (slot->transport == TRANSPORT_MMIO && slot->addr)
        return error_set(err, EINVAL, "%s: addr: a PCI slot, but transport=mmio", origin);
    if (slot->transport == TRANSPORT_MMIO && slot->vectors)
        return error_set(err, EINVAL, "%s: vectors: of PCI devices, but transport=mmio", origin);
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
    if (slot->backend != BACKEND_BUILTIN && slot->isolate)
        return error_set(err, EINVAL, "%s: isolate: is for devices of our own", origin);
    if (slot->legacy && !virtio_device_type_has_legacy(model->id))
        return error_set(err, EINVAL, "%s: legacy: %s devices have no legacy interface", origin,
                         model->name);
    return 0;
}

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

/* --- processes that we start ------------------------------------------------------------------ */

static const struct device_launch_place launch_place = {device_slot_options,
                                                        ARRAY_SIZE(device_slot_options)};

static int process_connect(void *process, struct error *err)
{
    return device_process_connect(process, err);
}

static int process_start(void *process, struct error *err)
{
    return device_process_start(process, err);
}

static int process_command(void *process, const char *name, const char *argument, struct error *err)
{
    return device_process_command(process, name, argument, err);
}

/* Takes the arguments. */
static int make_process(struct machine_device *device, char **arguments, struct error *err)
{
    int ret = device_process_create(device->setup.common.id, arguments, device->slot.isolate,
                                    &device->process, err);

    device->process_callbacks = (struct vhost_user_process){process_connect, process_start,
                                                            process_command, device->process};
    return ret;
}

/* A program of somebody else's is to be started: it alone knows the keys that are left. */
static int take_program(struct machine_device *device, struct device_config *config,
                        struct error *err)
{
    const char *backend = option_list_peek(&config->options, "backend");

    if (!backend || strcmp(backend, backends[BACKEND_VHOST_USER]) != 0 ||
        option_list_peek(&config->options, "socket") ||
        option_list_peek(&config->options, "socket-fd"))
        return 0;
    return device_launch_program(config, option_list_peek(&config->options, "program"),
                                 &launch_place, &device->arguments, err);
}

/* --- options ---------------------------------------------------------------------------------- */

static int take_connection(struct machine_device *device, const char *origin, struct error *err)
{
    uint64_t reconnect = RECONNECT_DEFAULT, fd = 0;
    char what[320];
    int ret = 0;

    snprintf(what, sizeof(what), "%s: reconnect", origin);
    if (device->slot.reconnect)
        ret = option_parse_uint(what, device->slot.reconnect, 0, RECONNECT_MAX, &reconnect, err);
    snprintf(what, sizeof(what), "%s: socket-fd", origin);
    if (!ret && device->slot.socket_fd)
        ret = option_parse_uint(what, device->slot.socket_fd, 0, INT32_MAX, &fd, err);
    device->reconnect_s = (uint32_t)reconnect;
    device->socket_fd = device->slot.socket_fd ? (int)fd : -1;
    return ret;
}

static int take_options(struct machine_device *device, struct device_config *config,
                        const char *default_id, const struct device_site *site, struct error *err)
{
    const struct device_place place = {device_slot_options, device_slot_option_count, &device->slot,
                                       served_elsewhere};
    const char *origin = config->options.origin;
    int ret = take_program(device, config, err);

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

/* Unless told otherwise, one queue, as most programs serve. */
static uint16_t queue_count(const struct machine_device *device, const struct device_site *site)
{
    return device_setup_queue_count(&device->setup,
                                    device->slot.backend == BACKEND_BUILTIN ? site->cpus : 1);
}

static int make_foreign(struct machine_device *device, const struct device_site *site,
                        struct loop *loop, struct virtio_backend **out, struct error *err)
{
    const struct virtio_model *model = device->setup.model;
    const struct vhost_user_options options = {
        .path = device->slot.socket,
        .fd = device->socket_fd,
        .process = device->process ? &device->process_callbacks : NULL,
        .server = device->slot.server,
        .relay = device->slot.relay,
        .reconnect_s = device->reconnect_s,
        .id = model->id,
        .inband = device->slot.inband,
        .queue_count = queue_count(device, site),
        .queue_size = device_setup_queue_size(&device->setup),
        .config_size = model->config_size,
        .feature_names = model->features,
        .feature_count = model->feature_count,
    };
    int ret = vhost_user_create(&options, site->memory, loop, out, err);

    if (ret && device->process)
        device_process_explain(device->process, err);
    return ret;
}

/* In a dry run a device that would be isolated is only checked. */
static int make_backend(struct machine_device *device, const struct device_site *site,
                        struct loop *loop, struct virtio_backend **out, struct error *err)
{
    const struct device_slot *slot = &device->slot;
    char **arguments = device->arguments;
    int ret = 0;

    if (slot->backend == BACKEND_BUILTIN && (!slot->isolate || site->dry_run))
        return device_setup_builtin(&device->setup, site->memory, loop, site->cpus, out, err);
    device->arguments = NULL;
    if (arguments)
        ret = make_process(device, arguments, err);
    return ret ? ret : make_foreign(device, site, loop, out, err);
}

static int make_virtio(struct machine_device *device, const struct device_site *site,
                       struct error *err)
{
    const struct device_setup *setup = &device->setup;
    struct virtio_backend *backend;
    struct loop *loop;
    int ret = iothreads_get(site->iothreads, device->slot.iothread, &loop, err);

    if (!ret)
        ret = make_backend(device, site, loop, &backend, err);
    if (ret)
        return ret;
    ret = virtio_device_init(&device->virtio, setup->model->id, setup->common.id, backend,
                             queue_count(device, site), device_setup_queue_size(setup),
                             &setup->wanted, &setup->masked, err);
    device->virtio_ready = !ret;
    return ret;
}

static int plug_mmio(struct machine_device *device, struct device_site *site, struct error *err)
{
    unsigned slot = site->mmio_used;
    struct virtio_mmio_config config = {
        .base = LAYOUT_MMIO + slot * VIRTIO_MMIO_SIZE,
        .gsi = LAYOUT_GSI_MMIO + slot,
        .legacy = device->slot.legacy,
    };
    int ret;

    if (slot >= LAYOUT_MMIO_SLOTS)
        return error_set(err, ENOSPC, "a machine holds at most %d virtio-mmio devices",
                         LAYOUT_MMIO_SLOTS);
    if (device->virtio.shared_count)
        log_info("virtio", "%s: its shared memory is not shown to the driver with transport=mmio",
                 device->virtio.name);
    device->virtio.shared_count = 0; /* there is no window for it */
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
        .slot = device->slot.addr ? (int)device->slot.addr : -1,
        .vectors = device->vectors,
        .legacy = device->slot.legacy,
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
    int ret = take_options(device, config, default_id, site, err);

    if (ret)
        return ret;
    ret = make_virtio(device, site, err);
    if (!ret)
        ret = device->slot.transport == TRANSPORT_MMIO ? plug_mmio(device, site, err)
                                                       : plug_pci(device, site, err);
    if (ret) {
        error_prefix(err, "%s", origin);
        return ret;
    }
    return device_setup_check_wanted(&device->setup, &device->virtio.offered, origin, err);
}

int machine_device_create(struct device_config *config, const char *default_id,
                          struct device_site *site, struct machine_device **out, struct error *err)
{
    struct machine_device *device = calloc(1, sizeof(*device));
    int ret;

    if (!device)
        return error_set(err, ENOMEM, "no memory for a device");
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
    if (device->process) {
        device_process_destroy(device->process);
        if (device->slot.isolate)
            device_launch_remove_names(&device->setup);
    }
    arguments_free(device->arguments);
    option_release(device_slot_options, device_slot_option_count, &device->slot);
    device_setup_release(&device->setup);
    free(device);
}
