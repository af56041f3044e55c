/*
 * The machine: its memory, kernel, buses and devices, made in the order in which they need each
 * other, and freed in the opposite one.
 */
#include "vmm/machine.h"

#include "base/bytes.h"
#include "base/log.h"
#include "vmm/cmdline.h"
#include "vmm/control.h"
#include "vmm/exit_status.h"
#include "vmm/layout_x86_64.h"
#include "vmm/timing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* $XDG_CACHE_HOME/vireo, or ~/.cache/vireo; NULL when neither is known. Owned by the caller. */
static char *cache_directory(void)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int ret = -1;

    if (cache && cache[0] == '/')
        ret = asprintf(&path, "%s/vireo", cache);
    else if (home && home[0] == '/')
        ret = asprintf(&path, "%s/.cache/vireo", home);
    return ret < 0 ? NULL : path;
}

static int open_images(struct machine *machine, struct error *err)
{
    const struct vm_config *config = machine->config;
    struct kernel_options options = {
        .path = config->kernel,
        .kaslr = config->kaslr && !cmdline_has_word(config, "nokaslr"),
        .unpack = config->unpack,
    };
    int ret;

    options.cache_dir = machine->cache_dir = cache_directory();
    ret = kernel_open(&options, &machine->kernel, err);
    if (ret)
        return ret;
    ret = initrd_open(&machine->initrd, (const char *const *)config->initrds.items,
                      config->initrds.count, err);
    if (ret) {
        error_prefix(err, "--initrd");
        return ret;
    }
    return cmdline_build(config, MIN(kernel_cmdline_max(machine->kernel), LAYOUT_CMDLINE_MAX - 1),
                         &machine->cmdline, err);
}

static bool shares_memory(const struct vm_config *config)
{
    bool shares = config->shared;

    for (size_t i = 0; i < config->device_count; i++)
        shares = shares || machine_device_shares_memory(&config->devices[i]);
    return shares;
}

static int add_memory(struct machine *machine, struct error *err)
{
    const struct vm_config *config = machine->config;
    unsigned flags = (shares_memory(config) ? GUEST_MEMORY_SHARED : 0) |
                     (config->hugepages ? GUEST_MEMORY_HUGEPAGES : 0);
    uint64_t low = MIN(config->memory_size, LAYOUT_HOLE);
    int ret = guest_memory_add(&machine->memory, 0, low, flags, err);

    if (!ret && config->memory_size > low)
        ret = guest_memory_add(&machine->memory, LAYOUT_HOLE_END, config->memory_size - low, flags,
                               err);
    if (ret)
        error_prefix(err, "--memory");
    return ret;
}

/*
 * Without a usable KVM the rest is still checked, on a platform that does nothing: a mistake in the
 * options is the user's to mend first. `kvm_err` then says what is wrong with KVM.
 */
static int open_kvm(struct machine *machine, struct error *kvm_err, struct error *err)
{
    const struct vm_config *config = machine->config;
    int ret;

    machine->platform = dry_run_platform();
    if (config->dry_run)
        return 0;
    ret = kvm_vm_create(&machine->memory, (unsigned)config->cpus, &machine->vm, kvm_err);
    if (ret == -ERANGE)
        return error_set(err, EINVAL, "--cpus %" PRIu64 ": %s", config->cpus, kvm_err->text);
    if (!ret)
        ret = kvm_vm_probe(machine->vm, GPA(LAYOUT_BOOT_TABLES), kvm_err);
    if (!ret)
        machine->platform = kvm_vm_platform(machine->vm);
    return 0;
}

static int kvm_status(const struct error *kvm_err)
{
    bool kvm = kvm_err->code == ENOENT || kvm_err->code == EACCES || kvm_err->code == ENOTSUP;
    return kvm ? EXIT_NO_KVM : EXIT_HOST_FAILURE;
}

static void power_event(void *opaque, enum power_event event)
{
    struct machine *machine = opaque;

    switch (event) {
    case POWER_OFF:
        machine_request(machine, REQUEST_POWEROFF);
        break;
    case POWER_PANIC:
        machine_request(machine, REQUEST_PANIC);
        break;
    case POWER_RESET:
        machine_request(machine, machine_reset_is_panic(machine) ? REQUEST_PANIC : REQUEST_RESET);
        break;
    }
}

static void quit(void *opaque)
{
    machine_request(opaque, REQUEST_QUIT);
}

static void serial_break(void *opaque)
{
    struct machine *machine = opaque;

    serial_send_break(machine->serial);
}

static int add_platform_devices(struct machine *machine, struct error *err)
{
    struct pci_bus_config pci = {
        .platform = machine->platform,
        .ecam = {LAYOUT_ECAM, LAYOUT_ECAM_SIZE},
        .mem32 = {LAYOUT_PCI32, LAYOUT_PCI32_SIZE},
        .io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
        .gsi_base = LAYOUT_GSI_PCI,
        .gsi_count = LAYOUT_GSI_PCI_COUNT,
        .ports = true,
    };
    int ret;

    chardev_set_dry_run(machine->config->dry_run);
    chardev_set_quit(quit, machine);
    ret =
        chardev_open(vm_config_serial(machine->config), machine->main_loop, &machine->console, err);
    if (ret) {
        error_prefix(err, "--serial");
        return ret;
    }
    chardev_set_break(machine->console, serial_break, machine);
    ret = serial_create(machine->platform, machine->main_loop, LAYOUT_SERIAL_PORT,
                        LAYOUT_GSI_SERIAL, machine->console, &machine->serial, err);
    if (!ret)
        ret = power_create(machine->platform, LAYOUT_POWER_PORT, LAYOUT_PVPANIC_PORT,
                           LAYOUT_GSI_POWER, power_event, machine, &machine->power, err);
    if (!ret)
        ret = pci_bus_create(&pci, &machine->pci, err);
    if (!ret && machine->config->timing)
        timing_watch_serial(machine->serial);
    return ret;
}

static void display_closed(void *opaque)
{
    machine_ask_to_end(opaque, 0);
}

/* Two devices with one id, or one image twice: the second is the mistake. */
static int check_unique(const struct machine *machine, const struct machine_device *device,
                        const char *origin, struct error *err)
{
    for (size_t i = 0; i < machine->device_count; i++)
        if (strcmp(machine->devices[i]->setup.common.id, device->setup.common.id) == 0)
            return error_set(err, EEXIST, "%s: id: another device is called '%s' already", origin,
                             device->setup.common.id);
    return 0;
}

static bool id_taken(const struct machine *machine, const char *id)
{
    const struct vm_config *config = machine->config;

    for (size_t i = 0; i < machine->device_count; i++)
        if (strcmp(machine->devices[i]->setup.common.id, id) == 0)
            return true;
    for (size_t i = 0; i < config->device_count; i++) {
        const struct option_list *list = &config->devices[i].options;
        for (size_t n = 0; n < list->count; n++)
            if (strcmp(list->values[n].key, "id") == 0 && strcmp(list->values[n].value, id) == 0)
                return true;
    }
    return false;
}

/* "blk0", or the first number nobody has. */
static void default_id(const struct machine *machine, const char *type, char *out, size_t size)
{
    size_t n = 0;

    do
        snprintf(out, size, "%s%zu", type, n++);
    while (id_taken(machine, out));
}

static int add_devices(struct machine *machine, struct error *err)
{
    struct device_site site = {
        .platform = machine->platform,
        .memory = &machine->memory,
        .iothreads = &machine->iothreads,
        .cpus = (unsigned)machine->config->cpus,
        .bus = machine->pci,
        .display = machine->display.display,
        .dry_run = machine->config->dry_run,
    };
    struct vm_config *config = machine->config;

    machine->devices = calloc(MAX(config->device_count, (size_t)1), sizeof(*machine->devices));
    if (!machine->devices)
        return error_set(err, ENOMEM, "no memory for devices");
    for (size_t i = 0; i < config->device_count; i++) {
        struct machine_device *device;
        char id[64];
        int ret;

        default_id(machine, config->devices[i].type, id, sizeof(id));
        ret = machine_device_create(&config->devices[i], id, &site, &device, err);
        if (ret)
            return ret;
        ret = check_unique(machine, device, config->devices[i].options.origin, err);
        if (ret) {
            machine_device_destroy(device);
            return ret;
        }
        machine->devices[machine->device_count++] = device;
    }
    return 0;
}

/* Not in a dry run: it must not take a socket's name. */
static int open_control(struct machine *machine, struct error *err)
{
    const char *path = machine->config->control;
    int ret;

    if (!path || machine->config->dry_run)
        return 0;
    ret = control_create(path, machine, &machine->control, err);
    if (ret)
        error_prefix(err, "--control");
    return ret;
}

int machine_create(struct machine *machine, struct vm_config *config, int *exit_status,
                   struct error *err)
{
    struct error kvm_err = ERROR_INIT;
    int ret;

    *machine = (struct machine){.config = config};
    *exit_status = EXIT_USAGE;
    guest_memory_init(&machine->memory);
    machine_lifecycle_init(machine);

    ret = open_images(machine, err);
    if (!ret)
        ret = add_memory(machine, err);
    if (!ret)
        ret = loop_create(&machine->main_loop, err);
    if (!ret)
        ret = open_kvm(machine, &kvm_err, err);
    if (!ret)
        ret = add_platform_devices(machine, err);
    if (!ret)
        ret = machine_display_create(&machine->display, config, &machine->iothreads, display_closed,
                                     machine, err);
    if (!ret)
        ret = add_devices(machine, err);
    if (!ret)
        ret = open_control(machine, err);
    if (!ret)
        ret = machine_build_acpi(machine, err);
    if (!ret && kvm_err.code) {
        *err = kvm_err;
        *exit_status = kvm_status(&kvm_err);
        ret = -kvm_err.code;
    }
    return ret;
}

void machine_destroy(struct machine *machine)
{
    control_destroy(machine->control);
    iothreads_stop(&machine->iothreads);
    for (size_t i = 0; i < machine->device_count; i++)
        machine_device_destroy(machine->devices[i]);
    free(machine->devices);
    machine_display_destroy(&machine->display);
    dirty_log_destroy(&machine->dirty_log);
    if (machine->pci)
        pci_bus_destroy(machine->pci);
    if (machine->power)
        power_destroy(machine->power);
    if (machine->serial)
        serial_destroy(machine->serial);
    if (machine->console)
        chardev_close(machine->console);
    kvm_vm_destroy(machine->vm);
    iothreads_free(&machine->iothreads);
    if (machine->main_loop)
        loop_destroy(machine->main_loop);
    acpi_tables_free(&machine->acpi);
    initrd_close(&machine->initrd);
    kernel_close(machine->kernel);
    free(machine->cmdline);
    free(machine->cache_dir);
    guest_memory_destroy(&machine->memory);
}
