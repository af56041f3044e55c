/*
 * The machine as its ACPI tables describe it.
 */
#include "base/bytes.h"
#include "transport/virtio_mmio.h"
#include "vmm/layout_x86_64.h"
#include "vmm/machine.h"

#include <errno.h>
#include <stdlib.h>

static size_t describe_mmio(const struct machine *machine,
                            struct acpi_virtio_mmio mmio[LAYOUT_MMIO_SLOTS])
{
    size_t count = 0;

    for (size_t i = 0; i < machine->device_count; i++) {
        const struct machine_device *device = machine->devices[i];
        if (device->mmio)
            mmio[count++] = (struct acpi_virtio_mmio){
                .base = device->address,
                .size = VIRTIO_MMIO_SIZE,
                .gsi = device->gsi,
            };
    }
    return count;
}

int machine_build_acpi(struct machine *machine, struct error *err)
{
    unsigned cpus = (unsigned)machine->config->cpus;
    uint32_t *apic_ids = calloc(cpus, sizeof(*apic_ids));
    struct acpi_virtio_mmio mmio[LAYOUT_MMIO_SLOTS];
    struct acpi_config config = {
        .cpus = cpus,
        .apic_id = apic_ids,
        .ioapic_address = LAYOUT_IOAPIC,
        .lapic_address = LAYOUT_LAPIC,
        .ecam = {LAYOUT_ECAM, LAYOUT_ECAM_SIZE},
        .pci32 = {LAYOUT_PCI32, LAYOUT_PCI32_SIZE},
        .pci64 = {machine->pci64.base, machine->pci64.size},
        .pci_io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
        .pci_slots = pci_bus_slots(machine->pci) & ~1u, /* the host bridge has no interrupt */
        .pci_gsi_base = LAYOUT_GSI_PCI,
        .pci_gsi_count = LAYOUT_GSI_PCI_COUNT,
        .virtio_mmio = mmio,
        .virtio_mmio_count = describe_mmio(machine, mmio),
        .serial_port = LAYOUT_SERIAL_PORT,
        .serial_gsi = LAYOUT_GSI_SERIAL,
        .power_button_gsi = LAYOUT_GSI_POWER,
        .sleep_control_port = POWER_SLEEP_CONTROL(LAYOUT_POWER_PORT),
        .reset_port = POWER_RESET_CONTROL(LAYOUT_POWER_PORT),
        .reset_value = POWER_RESET_VALUE,
        .pvpanic_port = LAYOUT_PVPANIC_PORT,
    };
    int ret;

    if (!apic_ids)
        return error_set(err, ENOMEM, "no memory for ACPI tables");
    for (unsigned i = 0; i < cpus; i++)
        apic_ids[i] = i; /* as kvm/x86_64 numbers them */
    ret = acpi_build(&config, LAYOUT_ACPI, LAYOUT_ACPI_MAX, &machine->acpi, err);
    free(apic_ids);
    return ret;
}
