/*
 * ACPI tables for a hardware-reduced x86 machine: RSDP, XSDT, FADT, MADT, MCFG and a DSDT in AML.
 *
 * The machine describes itself in a `struct acpi_config`; acpi_build writes the tables into one
 * buffer that is then copied to its guest address. Nothing here knows devices, KVM or options.
 * Specification: ACPI 6.4; sections are named beside each table in acpi.c and acpi_dsdt.c.
 */
#ifndef FIRMWARE_ACPI_H
#define FIRMWARE_ACPI_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct acpi_window {
    uint64_t base, size; /* size 0: absent */
};

/* A virtio-mmio device: \_SB.VMnn (nn hexadecimal), _HID LNRO0005, edge-triggered exclusive
 * interrupt. */
struct acpi_virtio_mmio {
    uint64_t base, size;
    uint32_t gsi;
};

struct acpi_config {
    unsigned cpus;           /* processors, all enabled */
    const uint32_t *apic_id; /* of each; 255 and above get x2APIC entries */
    uint32_t ioapic_address;
    uint32_t lapic_address;

    struct acpi_window ecam;  /* bus 0 .. size / 1 MiB - 1; absent: no PCI root, no MCFG */
    struct acpi_window pci32; /* memory window below 4 GiB */
    struct acpi_window pci64; /* memory window above RAM */
    struct acpi_window pci_io;
    uint32_t pci_slots;    /* bit n: slot n exists and wants _PRT entries */
    uint32_t pci_gsi_base; /* INTA..INTD of slot s, pin p: base + (s + p) % count */
    uint32_t pci_gsi_count;

    const struct acpi_virtio_mmio *virtio_mmio;
    size_t virtio_mmio_count;

    uint16_t serial_port; /* 16550 at this I/O port, 0: none */
    uint32_t serial_gsi;

    uint32_t power_button_gsi;   /* GED interrupt: edge on it is a press of the power button */
    uint16_t sleep_control_port; /* FADT SLEEP_CONTROL_REG; status follows at +1 */
    uint16_t reset_port;         /* FADT RESET_REG */
    uint8_t reset_value;
    uint16_t pvpanic_port; /* QEMU0001, 0: none */
};

#define ACPI_VIRTIO_MMIO_MAX 256 /* nn has two digits */

/*
 * What a guest does to sleep_control_port (ACPI 6.4, section 4.8.3.7): to power off it writes
 * SLP_EN with the SLP_TYP of soft off; before that it clears WAK_STS by writing it to the status
 * port, and afterwards waits for WAK_STS there if the machine is still on.
 */
#define ACPI_SLP_TYP_S5      5
#define ACPI_SLEEP_ENABLE    0x20                                       /* SLP_EN */
#define ACPI_SLEEP_POWER_OFF (ACPI_SLEEP_ENABLE | ACPI_SLP_TYP_S5 << 2) /* SLP_TYP: bits 4-2 */
#define ACPI_SLEEP_WAK_STS   0x80                                       /* status port */

#define ACPI_TABLES_MAX 8

struct acpi_tables {
    uint8_t *data; /* owned; freed by acpi_tables_free */
    size_t size;
    uint64_t address; /* guest address of data[0] */
    uint64_t rsdp;    /* guest address of the RSDP */
    size_t count;
    struct acpi_table {
        char name[8];  /* "RSDP", "DSDT", "FACP", ... for --dump-acpi */
        size_t offset; /* in data */
        size_t length;
    } tables[ACPI_TABLES_MAX];
};

/*
 * Build all tables for guest address `address` (a multiple of 16), at most `max` bytes. -E2BIG when
 * they do not fit, -EINVAL when the description cannot be expressed (the error says what), -ENOMEM.
 * `out` need not be freed after a failure.
 */
int acpi_build(const struct acpi_config *config, uint64_t address, size_t max,
               struct acpi_tables *out, struct error *err);

/* Write each table to DIR/NAME.aml, as `acpidump -b` would and `iasl -d` reads. DIR is made if need
 * be. */
int acpi_tables_dump(const struct acpi_tables *tables, const char *dir, struct error *err);

void acpi_tables_free(struct acpi_tables *tables);

#endif
