#include "vmm/machine_device.h"

#include "base/bytes.h"
#include "base/log.h"
#include "transport/msix.h"
#include "transport/virtio_mmio.h"
#include "transport/virtio_pci.h"
#include "virtio/device_legacy.h"
#include "virtio/vhost_user.h"
#include "virtio/vhost_vdpa.h"
#include "vmm/arguments.h"
#include "vmm/device_launch.h"
#include "vmm/layout_x86_64.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const transports[] = {"mmio", "pci", NULL};
#define RECONNECT_DEFAULT 1 /* seconds */
#define RECONNECT_MAX     3600

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
     .help = "who serves it: this program, another process, the kernel (auto: if it can)"},
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

const struct option_spec device_vdpa_options[] = {
    {.key = "path",
     .type = OPTION_STRING,
     .offset = offsetof(struct device_slot, node),
     .metavar = "PATH",
     .required = true,
     .help = "of the vDPA device, as in /dev/vhost-vdpa-0"},
};
const size_t device_vdpa_option_count = ARRAY_SIZE(device_vdpa_options);

static bool asks_for(const struct device_config *config, enum device_backend backend)
{
    const char *name = option_list_peek(&config->options, "backend");

    return name && strcmp(name, backends[backend]) == 0;
}

/* Who serves it unless the user says: only types with a model of ours have a choice. */
static enum device_backend usual_backend(const struct device_config *config)
{
    const struct virtio_model *model = device_model_find(config->type);

    if (!model || model->create)
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

static bool served_elsewhere(const void *slot)
{
    int backend = ((const struct device_slot *)slot)->backend;

    return backend == BACKEND_VHOST_USER || backend == BACKEND_VDPA;
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
    if (slot->backend == BACKEND_VDPA && slot->legacy)
        return error_set(err, EINVAL, "%s: legacy: vDPA devices have no legacy interface", origin);
    if (slot->backend == BACKEND_VDPA && device->setup.common.queues)
        return error_set(err, EINVAL, "%s: queues: a vDPA device has as many as it has", origin);
    if (slot->backend == BACKEND_VHOST_USER && !slot->socket && !slot->socket_fd &&
        !device->arguments)
        return error_set(err, EINVAL, "%s: backend: vhost-user needs a socket=", origin);
    if (slot->backend != BACKEND_BUILTIN && slot->isolate)
        return error_set(err, EINVAL, "%s: isolate: is for devices of our own", origin);
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
    if (!asks_for(config, BACKEND_VHOST_USER) || option_list_peek(&config->options, "socket") ||
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
    const struct device_place place = {
        .options = device_slot_options,
        .option_count = device_slot_option_count,
        .target = &device->slot,
        .more = device_vdpa_options,
        .more_count = asks_for(config, BACKEND_VDPA) ? device_vdpa_option_count : 0,
        .elsewhere = served_elsewhere,
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

/* Unless told otherwise, one queue where another process serves it, as most programs do. */
static int describe(const struct machine_device *device, const struct device_site *site,
                    struct virtio_foreign *out, struct error *err)
{
    const struct device_setup *setup = &device->setup;

    if (served_elsewhere(&device->slot))
        return device_setup_foreign(setup, 1, out, err);
    *out = (struct virtio_foreign){
        .id = setup->model->id,
        .queue_count = device_setup_queue_count(setup, site->cpus),
        .config_size = setup->model->config_size,
    };
    return 0;
}

static int check_legacy(const struct machine_device *device, uint16_t id, struct error *err)
{
    if (!device->slot.legacy || virtio_device_type_has_legacy(id))
        return 0;
    return error_set(err, EINVAL, "legacy: %s devices have no legacy interface",
                     device->setup.model->name);
}

static int make_vdpa(const struct machine_device *device, const struct device_site *site,
                     const struct virtio_foreign *foreign, struct loop *loop,
                     struct virtio_backend **out, struct error *err)
{
    const struct virtio_model *model = device->setup.model;
    const struct vhost_vdpa_options options = {
        .path = device->slot.node,
        .type = foreign->id,
        .feature_names = model->features,
        .feature_count = model->feature_count,
        .system = &vhost_system_host,
    };

    if (foreign->has_stand_in && foreign->stand_in.key)
        return error_set(err, EINVAL, "%s: a vDPA device serves its own configuration",
                         foreign->stand_in.key);
    return vhost_vdpa_create(&options, site->memory, loop, out, err);
}

/* Its queues are as the host's driver has them. */
static int fit_vdpa_queues(struct machine_device *device, struct error *err)
{
    struct virtio_device *virtio = &device->virtio;
    uint16_t largest = vhost_vdpa_largest_queue(virtio->backend);

    if (device->setup.common.queue_size > largest)
        return error_set(err, EINVAL, "queue-size: the queues of %s hold at most %u",
                         device->slot.node, largest);
    for (uint16_t i = 0; i < virtio->queue_count; i++)
        virtio_device_limit_queue(virtio, i, vhost_vdpa_queue_size(virtio->backend, i));
    return 0;
}

/* By the kernel if it can; why not is for who asks. */
static int make_auto(const struct machine_device *device, const struct device_site *site,
                     struct loop *loop, struct virtio_backend **out, struct error *err)
{
    const struct device_setup *setup = &device->setup;
    struct error why = ERROR_INIT;

    if (!setup->model->create)
        return device_setup_vhost(setup, site->memory, loop, site->cpus, out, err);
    if (device_setup_vhost(setup, site->memory, loop, site->cpus, out, &why) == 0)
        return 0;
    log_info("vmm", "%s: not served by the kernel: %s", setup->common.id, why.text);
    return device_setup_builtin(setup, site->memory, loop, site->cpus, out, err);
}

/* By a process that is there, or that we start. */
static int make_vhost_user(struct machine_device *device, const struct device_site *site,
                           const struct virtio_foreign *foreign, struct loop *loop,
                           struct virtio_backend **out, struct error *err)
{
    const struct virtio_model *model = device->setup.model;
    const struct vhost_user_options options = {
        .path = device->slot.socket,
        .fd = device->socket_fd,
        .process = device->process ? &device->process_callbacks : NULL,
        .server = device->slot.server,
        .relay = device->slot.relay,
        .reconnect_s = device->reconnect_s,
        .id = foreign->id,
        .inband = device->slot.inband,
        .queue_count = foreign->queue_count,
        .queue_size = device_setup_queue_size(&device->setup),
        .config_size = foreign->config_size,
        .feature_names = model->features,
        .feature_count = model->feature_count,
        .stand_in = foreign->has_stand_in ? &foreign->stand_in : NULL,
    };
    int ret = vhost_user_create(&options, site->memory, loop, out, err);

    if (ret && device->process)
        device_process_explain(device->process, err);
    return ret;
}

/* In a dry run a device that would be isolated is only checked. */
static int make_backend(struct machine_device *device, const struct device_site *site,
                        const struct virtio_foreign *foreign, struct loop *loop,
                        struct virtio_backend **out, struct error *err)
{
    const struct device_setup *setup = &device->setup;
    bool isolate = device->slot.isolate && !site->dry_run;
    char **arguments = device->arguments;
    int ret;

    device->arguments = isolate || device->slot.backend == BACKEND_VHOST_USER ? NULL : arguments;
    if (arguments && !device->arguments) {
        ret = make_process(device, arguments, err);
        return ret ? ret : make_vhost_user(device, site, foreign, loop, out, err);
    }
    switch (device->slot.backend) {
    case BACKEND_VHOST_USER:
        return make_vhost_user(device, site, foreign, loop, out, err);
    case BACKEND_VHOST:
        return device_setup_vhost(setup, site->memory, loop, site->cpus, out, err);
    case BACKEND_VDPA:
        return make_vdpa(device, site, foreign, loop, out, err);
    case BACKEND_AUTO:
        return make_auto(device, site, loop, out, err);
    default:
        return device_setup_builtin(setup, site->memory, loop, site->cpus, out, err);
    }
}

static int make_virtio(struct machine_device *device, const struct device_site *site,
                       struct error *err)
{
    const struct device_setup *setup = &device->setup;
    struct virtio_features masked = setup->masked;
    struct virtio_backend *backend;
    struct virtio_foreign what;
    struct loop *loop;
    int ret = describe(device, site, &what, err);

    if (!ret)
        ret = check_legacy(device, what.id, err);
    if (!ret)
        ret = iothreads_get(site->iothreads, device->slot.iothread, &loop, err);
    if (!ret)
        ret = make_backend(device, site, &what, loop, &backend, err);
    if (ret)
        return ret;
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        masked.word[i] |= what.masked.word[i];
    if (device->slot.backend == BACKEND_VDPA)
        what.queue_count = vhost_vdpa_queue_count(backend);
    ret = virtio_device_init(&device->virtio, what.id, setup->common.id, backend, what.queue_count,
                             device_setup_queue_size(setup), &setup->wanted, &masked, err);
    device->virtio_ready = !ret;
    if (!ret && device->slot.backend == BACKEND_VDPA)
        ret = fit_vdpa_queues(device, err);
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
    option_release(device_vdpa_options, device_vdpa_option_count, &device->slot);
    device_setup_release(&device->setup);
    free(device);
}
