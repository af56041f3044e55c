/*
 * The DSDT: the devices that a guest cannot find by itself.
 *
 * Every object here is interpreted by the guest while it boots, so there is no more than somebody
 * reads: no processor objects (the MADT lists processors; there are no power states to describe),
 * no _STA (an absent one means present and working, ACPI 6.4 section 6.3.7), no methods where data
 * will do.
 *
 * The reader is Linux; what each part is for is said beside it. All interrupts are given as
 * extended interrupt descriptors: they state trigger and polarity, where the short form would make
 * Linux look for overrides in the MADT, and they reach above GSI 15.
 */
#include "firmware/acpi_dsdt.h"

#include "base/bytes.h"

#include <stdio.h>

enum { PCI_PINS = 4 };

/* A range a device consumes, in the shortest descriptor that can hold its address. */
static void dsdt_memory(struct aml *aml, uint64_t base, uint64_t size)
{
    if (base + size - 1 <= UINT32_MAX)
        aml_memory32_fixed(aml, (uint32_t)base, (uint32_t)size);
    else
        aml_qword_memory(aml, base, size);
}

static void dsdt_pci_windows(struct aml *aml, const struct acpi_config *config)
{
    /* Linux takes the bus range from here and complains of a firmware bug when it is missing. */
    aml_bus_window(aml, 0, (uint16_t)(config->ecam.size / MIB - 1));
    if (config->pci_io.size)
        aml_io_window(aml, (uint32_t)config->pci_io.base, (uint32_t)config->pci_io.size);
    if (config->pci32.size)
        aml_memory32_window(aml, (uint32_t)config->pci32.base, (uint32_t)config->pci32.size);
    if (config->pci64.size)
        aml_memory64_window(aml, config->pci64.base, config->pci64.size);
}

/*
 * 6.2.13: which line each pin of each slot is wired to. Linux evaluates the whole table whenever it
 * enables a device that has a pin, hence only slots that exist. "Source" zero: the line is a GSI
 * itself, and PCI makes it level-triggered and active-low.
 */
static void dsdt_pci_routing(struct aml *aml, const struct acpi_config *config)
{
    unsigned slots = (unsigned)__builtin_popcount(config->pci_slots);
    if (!slots || !config->pci_gsi_count)
        return;

    aml_name(aml, "_PRT");
    AML_PACKAGE(aml, slots * PCI_PINS)
    {
        for (unsigned i = 0; i < 32 * PCI_PINS; i++) {
            unsigned slot = i / PCI_PINS, pin = i % PCI_PINS;
            if (!(config->pci_slots & BIT(slot)))
                continue;
            AML_PACKAGE(aml, 4)
            {
                aml_integer(aml, slot << 16 | 0xffff); /* all functions */
                aml_integer(aml, pin);
                aml_integer(aml, 0);
                aml_integer(aml, config->pci_gsi_base + (slot + pin) % config->pci_gsi_count);
            }
        }
    }
}

/*
 * 6.2.11: negotiation of PCI Express features. No code of ours runs behind the guest's back, so the
 * guest may control all it asks for, and gets its own buffer back. Without the method Linux reports
 * that "platform retains control of PCIe features". An unknown UUID must be refused by bit 2 of the
 * first word.
 */
static void dsdt_pci_osc(struct aml *aml)
{
    AML_METHOD(aml, "_OSC", 4)
    {
        AML_IF(aml, (aml_equal(aml), aml_arg(aml, 0),
                     aml_uuid(aml, "33DB4D5B-1FF7-401C-9657-7441C03DD766")))
        {
            aml_return(aml);
            aml_arg(aml, 3);
        }
        aml_store(aml); /* Arg3[0] = 4 */
        aml_integer(aml, 4);
        aml_index(aml);
        aml_arg(aml, 3);
        aml_integer(aml, 0);
        aml_null(aml);
        aml_return(aml);
        aml_arg(aml, 3);
    }
}

/* The root of the PCI hierarchy; Linux's acpi_pci_root_add starts here. */
static void dsdt_pci_root(struct aml *aml, const struct acpi_config *config)
{
    AML_DEVICE(aml, "PCI0")
    {
        aml_name_eisa_id(aml, "_HID", "PNP0A08"); /* PCI Express */
        aml_name_eisa_id(aml, "_CID", "PNP0A03"); /* and so PCI */
        aml_name_integer(aml, "_UID", 0);
        aml_name_integer(aml, "_SEG", 0);
        aml_name_integer(aml, "_BBN", 0);
        aml_name(aml, "_CRS");
        AML_RESOURCE_TEMPLATE(aml)
        {
            dsdt_pci_windows(aml, config);
        }
        dsdt_pci_routing(aml, config);
        dsdt_pci_osc(aml);
    }
}

/*
 * The range of the ECAM that the MCFG promises, reserved by a motherboard resource device as the
 * PCI Firmware Specification 3.3, section 4.1.2, wants. Linux ignores an MCFG range that is not
 * (pci_mmcfg_late_init).
 */
static void dsdt_ecam(struct aml *aml, const struct acpi_config *config)
{
    AML_DEVICE(aml, "MBRD")
    {
        aml_name_eisa_id(aml, "_HID", "PNP0C02");
        aml_name(aml, "_CRS");
        AML_RESOURCE_TEMPLATE(aml)
        {
            dsdt_memory(aml, config->ecam.base, config->ecam.size);
        }
    }
}

/* Linux's virtio_mmio driver binds to LNRO0005; it is the only discovery that stock x86 kernels
 * have. */
static void dsdt_virtio_mmio(struct aml *aml, size_t n, const struct acpi_virtio_mmio *device)
{
    char name[8];
    snprintf(name, sizeof(name), "VM%02X", (unsigned)(n & 0xff));

    AML_DEVICE(aml, name)
    {
        aml_name_string(aml, "_HID", "LNRO0005");
        aml_name_integer(aml, "_UID", n);
        aml_name(aml, "_CRS");
        AML_RESOURCE_TEMPLATE(aml)
        {
            dsdt_memory(aml, device->base, device->size);
            aml_interrupt(aml, AML_EDGE, AML_ACTIVE_HIGH, AML_EXCLUSIVE, device->gsi);
        }
    }
}

/*
 * Without this Linux still finds a 16550 at 0x3f8 by probing, but polls it: on hardware-reduced
 * ACPI the old ISA interrupts exist only where a device names them.
 */
static void dsdt_serial(struct aml *aml, const struct acpi_config *config)
{
    AML_DEVICE(aml, "COM1")
    {
        aml_name_eisa_id(aml, "_HID", "PNP0501");
        aml_name_integer(aml, "_UID", 1);
        aml_name(aml, "_CRS");
        AML_RESOURCE_TEMPLATE(aml)
        {
            aml_io(aml, config->serial_port, 8);
            aml_interrupt(aml, AML_EDGE, AML_ACTIVE_HIGH, AML_EXCLUSIVE, config->serial_gsi);
        }
    }
}

/*
 * 4.8.2.2.1.2 and 5.6.9: a control-method power button, and the generic event device that says it
 * was pressed. Hardware-reduced ACPI has no SCI and no fixed button; Linux's acpi-ged driver
 * requests the interrupt and calls _EVT with its GSI, the Notify reaches the button driver as a
 * press (value 0x80).
 */
static void dsdt_power_button(struct aml *aml, const struct acpi_config *config)
{
    AML_DEVICE(aml, "PWRB")
    {
        aml_name_eisa_id(aml, "_HID", "PNP0C0C");
    }
    AML_DEVICE(aml, "GED")
    {
        aml_name_string(aml, "_HID", "ACPI0013");
        aml_name(aml, "_CRS");
        AML_RESOURCE_TEMPLATE(aml)
        {
            aml_interrupt(aml, AML_EDGE, AML_ACTIVE_HIGH, AML_EXCLUSIVE, config->power_button_gsi);
        }
        AML_METHOD(aml, "_EVT", 1)
        {
            AML_IF(aml,
                   (aml_equal(aml), aml_arg(aml, 0), aml_integer(aml, config->power_button_gsi)))
            {
                aml_notify(aml);
                aml_path(aml, "PWRB");
                aml_integer(aml, 0x80);
            }
        }
    }
}

/* Linux's pvpanic driver writes here when it panics; the device is QEMU's, and so is its name. */
static void dsdt_pvpanic(struct aml *aml, const struct acpi_config *config)
{
    AML_DEVICE(aml, "PEVT")
    {
        aml_name_string(aml, "_HID", "QEMU0001");
        aml_name(aml, "_CRS");
        AML_RESOURCE_TEMPLATE(aml)
        {
            aml_io(aml, config->pvpanic_port, 1);
        }
    }
}

/*
 * 7.4.2.6: soft off is the one sleep state there is. The first element is the SLP_TYP that the
 * guest writes into SLEEP_CONTROL_REG; the others concern the PM1 registers, which this machine
 * lacks.
 */
static void dsdt_soft_off(struct aml *aml)
{
    aml_name(aml, "_S5");
    AML_PACKAGE(aml, 4)
    {
        aml_integer(aml, ACPI_SLP_TYP_S5);
        aml_integer(aml, 0);
        aml_integer(aml, 0);
        aml_integer(aml, 0);
    }
}

void acpi_dsdt_write(struct aml *aml, const struct acpi_config *config)
{
    AML_SCOPE(aml, "_SB")
    {
        if (config->ecam.size) {
            dsdt_pci_root(aml, config);
            dsdt_ecam(aml, config);
        }
        for (size_t i = 0; i < config->virtio_mmio_count; i++)
            dsdt_virtio_mmio(aml, i, &config->virtio_mmio[i]);
        if (config->serial_port)
            dsdt_serial(aml, config);
        dsdt_power_button(aml, config);
        if (config->pvpanic_port)
            dsdt_pvpanic(aml, config);
    }
    dsdt_soft_off(aml);
}
