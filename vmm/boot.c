/*
 * One boot: what has to be in memory and in the vCPUs before the first instruction.
 */
#include "base/bytes.h"
#include "firmware/reset_vector.h"
#include "vmm/layout_x86_64.h"
#include "vmm/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void map_add(struct boot_info *info, uint64_t start, uint64_t end, enum e820_type type)
{
    info->map[info->map_count++] =
        (struct memory_map_entry){.start = start, .size = end - start, .type = type};
}

static void build_memory_map(struct machine *machine)
{
    struct boot_info *info = &machine->boot_info;
    uint64_t low = MIN(machine->config->memory_size, LAYOUT_HOLE);

    info->map_count = 0;
    map_add(info, 0, LAYOUT_LOW_END, E820_RAM);
    map_add(info, LAYOUT_ACPI, LAYOUT_LOW_ROM_END, E820_RESERVED);
    map_add(info, LAYOUT_KERNEL, low, E820_RAM);
    map_add(info, LAYOUT_ECAM, LAYOUT_ECAM + LAYOUT_ECAM_SIZE, E820_RESERVED);
    if (machine->config->memory_size > low)
        map_add(info, LAYOUT_HOLE_END, LAYOUT_HOLE_END + machine->config->memory_size - low,
                E820_RAM);
}

/* The initrd first, at the top: the kernel may then go anywhere below it. */
static int load_images(struct machine *machine, struct error *err)
{
    struct boot_info *info = &machine->boot_info;
    uint64_t low = MIN(machine->config->memory_size, LAYOUT_HOLE);
    uint64_t limit = MIN(low, kernel_initrd_max(machine->kernel) + 1);
    int ret;

    info->initrd = limit;
    info->initrd_size = machine->initrd.size;
    if (info->initrd_size) {
        ret = initrd_load(&machine->initrd, &machine->memory, LAYOUT_KERNEL, limit, &info->initrd,
                          err);
        if (ret)
            return ret;
    }
    return kernel_load(machine->kernel, &machine->memory, LAYOUT_KERNEL,
                       info->initrd_size ? info->initrd : low, &machine->placement, err);
}

static int write_parameters(struct machine *machine, struct boot_state *boot, struct error *err)
{
    struct boot_info *info = &machine->boot_info;
    uint8_t header[KERNEL_SETUP_HEADER_MAX];
    size_t size = kernel_setup_header(machine->kernel, header);
    int ret;

    info->cmdline = LAYOUT_CMDLINE;
    info->cmdline_size = strlen(machine->cmdline);
    info->rsdp = machine->acpi.rsdp;
    if (guest_memory_write(&machine->memory, GPA(LAYOUT_CMDLINE), machine->cmdline,
                           info->cmdline_size + 1) ||
        guest_memory_write(&machine->memory, GPA(machine->acpi.address), machine->acpi.data,
                           machine->acpi.size))
        return error_set(err, EFAULT, "no RAM for the command line and ACPI tables");
    ret = reset_vector_write(&machine->memory, POWER_RESET_CONTROL(LAYOUT_POWER_PORT),
                             POWER_RESET_VALUE, err);
    if (ret)
        return ret;

    boot->entry = machine->placement.entry;
    boot->tables = GPA(LAYOUT_BOOT_TABLES);
    if (machine->placement.protocol == KERNEL_PVH) {
        boot->protocol = BOOT_PVH;
        boot->parameter = LAYOUT_START_INFO;
        return pvh_start_info_write(info, &machine->memory, GPA(LAYOUT_START_INFO), err);
    }
    boot->protocol = BOOT_LINUX64;
    boot->parameter = LAYOUT_BOOT_PARAMS;
    return boot_params_write(info, header, size, &machine->memory, GPA(LAYOUT_BOOT_PARAMS), err);
}

int machine_boot(struct machine *machine, struct error *err)
{
    struct boot_state boot = {0};
    int ret;

    build_memory_map(machine);
    ret = load_images(machine, err);
    if (ret == -ENOMEM)
        error_prefix(err, "--memory %" PRIu64 "M", machine->config->memory_size / MIB);
    if (!ret)
        ret = write_parameters(machine, &boot, err);
    if (!ret && machine->vm)
        ret = kvm_vcpus_setup(machine->vm, &boot, err);
    return ret;
}
