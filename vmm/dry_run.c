/*
 * --dry-run: the machine as it would be, without KVM and without starting anything.
 */
#include "base/bytes.h"
#include "transport/virtio_mmio.h"
#include "vmm/layout_x86_64.h"
#include "vmm/machine.h"

#include <inttypes.h>

/* A platform that takes everything and does nothing. */

static int dry_range_add(struct platform *p, const struct address_range *range, struct error *err)
{
    (void)p, (void)range, (void)err;
    return 0;
}

static void dry_range_remove(struct platform *p, enum address_space space, uint64_t base)
{
    (void)p, (void)space, (void)base;
}

static int dry_memory_map(struct platform *p, uint64_t address, void *memory, uint64_t length,
                          bool writable, struct error *err)
{
    (void)p, (void)address, (void)memory, (void)length, (void)writable, (void)err;
    return 0;
}

static void dry_memory_unmap(struct platform *p, uint64_t address)
{
    (void)p, (void)address;
}

static int dry_ioeventfd_add(struct platform *p, enum address_space space, uint64_t address,
                             unsigned length, int64_t match, int fd, struct error *err)
{
    (void)p, (void)space, (void)address, (void)length, (void)match, (void)fd, (void)err;
    return 0;
}

static void dry_ioeventfd_remove(struct platform *p, enum address_space space, uint64_t address,
                                 unsigned length, int64_t match, int fd)
{
    (void)p, (void)space, (void)address, (void)length, (void)match, (void)fd;
}

static void dry_line_set(struct platform *p, uint32_t gsi, bool level)
{
    (void)p, (void)gsi, (void)level;
}

static int dry_line_irqfd_add(struct platform *p, uint32_t gsi, int fd, struct error *err)
{
    (void)p, (void)gsi, (void)fd, (void)err;
    return 0;
}

static void dry_line_irqfd_remove(struct platform *p, uint32_t gsi, int fd)
{
    (void)p, (void)gsi, (void)fd;
}

static int dry_msi_send(struct platform *p, const struct msi_message *message)
{
    (void)p, (void)message;
    return 0;
}

static int dry_msi_irqfd_add(struct platform *p, const struct msi_message *message, int fd,
                             struct error *err)
{
    (void)p, (void)message, (void)fd, (void)err;
    return 0;
}

static void dry_msi_irqfd_remove(struct platform *p, int fd)
{
    (void)p, (void)fd;
}

static const struct platform_ops dry_ops = {
    .range_add = dry_range_add,
    .range_remove = dry_range_remove,
    .memory_map = dry_memory_map,
    .memory_unmap = dry_memory_unmap,
    .ioeventfd_add = dry_ioeventfd_add,
    .ioeventfd_remove = dry_ioeventfd_remove,
    .line_set = dry_line_set,
    .line_irqfd_add = dry_line_irqfd_add,
    .line_irqfd_remove = dry_line_irqfd_remove,
    .msi_send = dry_msi_send,
    .msi_irqfd_add = dry_msi_irqfd_add,
    .msi_irqfd_remove = dry_msi_irqfd_remove,
};

struct platform *dry_run_platform(void)
{
    static struct platform platform = {.ops = &dry_ops};
    return &platform;
}

/* --- printing --------------------------------------------------------------------------------- */

static void print_range(FILE *out, uint64_t start, uint64_t size, const char *what)
{
    fprintf(out, "  %016" PRIx64 "-%016" PRIx64 "  %s\n", start, start + size - 1, what);
}

static const char *e820_name(enum e820_type type)
{
    return type == E820_RAM ? "RAM" : "reserved";
}

static void print_memory(const struct machine *machine, FILE *out)
{
    const struct boot_info *info = &machine->boot_info;

    fprintf(out, "memory map:\n");
    for (size_t i = 0; i < info->map_count; i++)
        print_range(out, info->map[i].start, info->map[i].size, e820_name(info->map[i].type));
    fprintf(out, "in it:\n");
    print_range(out, machine->acpi.address, machine->acpi.size, "ACPI tables");
    print_range(out, info->cmdline, info->cmdline_size + 1, "kernel command line");
    print_range(out, machine->placement.start, machine->placement.end - machine->placement.start,
                "kernel");
    if (info->initrd_size)
        print_range(out, info->initrd, info->initrd_size, "initrd");
    print_range(out, LAYOUT_PCI32, LAYOUT_PCI32_SIZE, "PCI memory window");
    if (machine->pci64.size)
        print_range(out, machine->pci64.base, machine->pci64.size, "64-bit PCI memory window");
    print_range(out, LAYOUT_MMIO, LAYOUT_MMIO_SLOTS * VIRTIO_MMIO_SIZE, "virtio-mmio devices");
}

static void print_device(const struct machine_device *device, FILE *out)
{
    fprintf(out, "  %-12s %-8s ", device->setup.common.id, device->setup.model->name);
    if (device->mmio)
        fprintf(out, "mmio 0x%" PRIx64 " gsi %u", device->address, device->gsi);
    else
        fprintf(out, "pci 00:%02x.0", (unsigned)device->address);
    if (device->slot.legacy)
        fprintf(out, " legacy");
    fprintf(out, "  %u queue%s of %u  features", device->virtio.queue_count,
            device->virtio.queue_count == 1 ? "" : "s", device->virtio.queues[0].size_max);
    for (int word = VIRTIO_FEATURE_WORDS - 1; word >= 0; word--)
        if (device->virtio.offered.word[word] || word < 2)
            fprintf(out, "%s%08x", word == 1 ? " 0x" : "", device->virtio.offered.word[word]);
    fprintf(out, "\n");
}

void machine_print(const struct machine *machine, FILE *out)
{
    fprintf(out, "kernel: %s\n", kernel_describe(machine->kernel));
    fprintf(out, "  %s entry 0x%" PRIx64 "\n",
            machine->placement.protocol == KERNEL_PVH ? "PVH" : "64-bit", machine->placement.entry);
    fprintf(out, "cpus: %" PRIu64 "\n", machine->config->cpus);
    print_memory(machine, out);
    fprintf(out, "command line:\n  %s\n", machine->cmdline);
    fprintf(out, "devices:\n  %-12s %-8s port 0x%x gsi %u  %s\n", "serial", "16550",
            LAYOUT_SERIAL_PORT, LAYOUT_GSI_SERIAL, vm_config_serial(machine->config));
    for (size_t i = 0; i < machine->device_count; i++)
        print_device(machine->devices[i], out);
}
