/*
 * The fixed ACPI tables, and their layout in guest memory. Section numbers are those of ACPI 6.4.
 *
 * All lengths are known before anything is written (the DSDT is built first), so the tables are
 * laid out in one pass and filled in a second. The order is that of enum acpi_index: RSDP first,
 * MCFG last because a machine without PCI has none.
 */
#include "firmware/acpi.h"

#include "base/bytes.h"
#include "firmware/acpi_dsdt.h"
#include "firmware/aml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum acpi_index { ACPI_RSDP, ACPI_XSDT, ACPI_FADT, ACPI_MADT, ACPI_DSDT, ACPI_MCFG };

enum { TABLE_ALIGNMENT = 16 }; /* the RSDP's, 5.2.5.1; harmless for the others */

static const char OEM_ID[6] = "VIREO ";
static const char OEM_TABLE_ID[8] = "VIREO   ";
static const char CREATOR_ID[4] = "VIRE";

/* 5.2.6: the header of every table but the RSDP. */
enum {
    HEADER_SIGNATURE = 0,
    HEADER_LENGTH = 4,
    HEADER_REVISION = 8,
    HEADER_CHECKSUM = 9,
    HEADER_OEM_ID = 10,
    HEADER_OEM_TABLE_ID = 16,
    HEADER_OEM_REVISION = 24,
    HEADER_CREATOR_ID = 28,
    HEADER_CREATOR_REVISION = 32,
    HEADER_SIZE = 36,
};

static void layout_add(struct acpi_tables *out, const char *name, size_t length)
{
    struct acpi_table *table = &out->tables[out->count++];
    snprintf(table->name, sizeof(table->name), "%s", name);
    table->offset = align_up(out->size, TABLE_ALIGNMENT);
    table->length = length;
    out->size = table->offset + length;
}

static uint8_t *table_data(const struct acpi_tables *out, enum acpi_index index)
{
    return out->data + out->tables[index].offset;
}

static uint64_t table_address(const struct acpi_tables *out, enum acpi_index index)
{
    return out->address + out->tables[index].offset;
}

/* What makes all bytes of a range add up to zero. */
static uint8_t checksum(const uint8_t *data, size_t size)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + data[i]);
    return (uint8_t)-sum;
}

static uint8_t *table_begin(const struct acpi_tables *out, enum acpi_index index, uint8_t revision)
{
    uint8_t *t = table_data(out, index);
    memcpy(t + HEADER_SIGNATURE, out->tables[index].name, 4);
    store_le32(t + HEADER_LENGTH, (uint32_t)out->tables[index].length);
    t[HEADER_REVISION] = revision;
    memcpy(t + HEADER_OEM_ID, OEM_ID, sizeof(OEM_ID));
    memcpy(t + HEADER_OEM_TABLE_ID, OEM_TABLE_ID, sizeof(OEM_TABLE_ID));
    store_le32(t + HEADER_OEM_REVISION, 1);
    memcpy(t + HEADER_CREATOR_ID, CREATOR_ID, sizeof(CREATOR_ID));
    store_le32(t + HEADER_CREATOR_REVISION, 1);
    return t;
}

static void table_end(const struct acpi_tables *out, enum acpi_index index)
{
    uint8_t *t = table_data(out, index);
    t[HEADER_CHECKSUM] = checksum(t, out->tables[index].length);
}

/* 5.2.5.3: the root pointer; the first checksum covers what ACPI 1.0 knew. */
enum {
    RSDP_CHECKSUM = 8,
    RSDP_OEM_ID = 9,
    RSDP_REVISION = 15,
    RSDP_LENGTH = 20,
    RSDP_XSDT = 24,
    RSDP_EXTENDED_CHECKSUM = 32,
    RSDP_SIZE = 36,
    RSDP_V1_SIZE = 20,
};

static void rsdp_write(const struct acpi_tables *out)
{
    uint8_t *t = table_data(out, ACPI_RSDP);
    memcpy(t, "RSD PTR ", 8);
    memcpy(t + RSDP_OEM_ID, OEM_ID, sizeof(OEM_ID));
    t[RSDP_REVISION] = 2;
    store_le32(t + RSDP_LENGTH, RSDP_SIZE);
    store_le64(t + RSDP_XSDT, table_address(out, ACPI_XSDT));
    t[RSDP_CHECKSUM] = checksum(t, RSDP_V1_SIZE);
    t[RSDP_EXTENDED_CHECKSUM] = checksum(t, RSDP_SIZE);
}

/* 5.2.8: the list of tables; the DSDT is not in it, the FADT points there. */
static void xsdt_write(const struct acpi_tables *out)
{
    uint8_t *entry = table_begin(out, ACPI_XSDT, 1) + HEADER_SIZE;
    for (enum acpi_index i = ACPI_FADT; i < out->count; i++) {
        if (i == ACPI_DSDT)
            continue;
        store_le64(entry, table_address(out, i));
        entry += 8;
    }
    table_end(out, ACPI_XSDT);
}

/* 5.2.9: fields of the FADT that are not zero. On hardware-reduced ACPI (4.1) the rest is ignored.
 */
enum {
    FADT_DSDT = 40,
    FADT_IAPC_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_MINOR_VERSION = 131,
    FADT_X_DSDT = 140,
    FADT_SLEEP_CONTROL_REG = 244,
    FADT_SLEEP_STATUS_REG = 256,
    FADT_HYPERVISOR_VENDOR = 268,
    FADT_SIZE = 276,
};

/*
 * Table 5.10. The buttons' bits mean "a control method, if any". RTC alarms cannot wake this
 * machine: FIX_RTC says that there is no status bit for them.
 */
enum {
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_PWR_BUTTON = 1 << 4,
    FADT_SLP_BUTTON = 1 << 5,
    FADT_FIX_RTC = 1 << 6,
    FADT_RESET_REG_SUP = 1 << 10,
    FADT_HW_REDUCED_ACPI = 1 << 20,
};

/*
 * Table 5.11. Linux touches no CMOS clock, VGA memory or keyboard controller then. LEGACY_DEVICES
 * stays clear although there may be a serial port: the bit is about devices that the namespace does
 * not list.
 */
enum {
    BOOT_ARCH_NO_VGA = 1 << 2,
    BOOT_ARCH_NO_ASPM = 1 << 4,
    BOOT_ARCH_NO_CMOS_RTC = 1 << 5,
};

/* 5.2.3.2: generic address structure, for a byte-wide I/O port. */
static void gas_write_port(uint8_t *gas, uint16_t port)
{
    gas[0] = 1; /* address space: system I/O */
    gas[1] = 8; /* bit width */
    gas[2] = 0; /* bit offset */
    gas[3] = 1; /* access size: byte */
    store_le64(gas + 4, port);
}

static void fadt_write(const struct acpi_tables *out, const struct acpi_config *config)
{
    uint8_t *t = table_begin(out, ACPI_FADT, 6);
    uint64_t dsdt = table_address(out, ACPI_DSDT);

    t[FADT_MINOR_VERSION] = 4;
    if (dsdt <= UINT32_MAX)
        store_le32(t + FADT_DSDT, (uint32_t)dsdt);
    store_le64(t + FADT_X_DSDT, dsdt);
    store_le16(t + FADT_IAPC_BOOT_ARCH,
               BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM | BOOT_ARCH_NO_CMOS_RTC);
    store_le32(t + FADT_FLAGS, FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
                                   FADT_FIX_RTC | FADT_RESET_REG_SUP | FADT_HW_REDUCED_ACPI);
    gas_write_port(t + FADT_RESET_REG, config->reset_port);
    t[FADT_RESET_VALUE] = config->reset_value;
    gas_write_port(t + FADT_SLEEP_CONTROL_REG, config->sleep_control_port);
    gas_write_port(t + FADT_SLEEP_STATUS_REG, (uint16_t)(config->sleep_control_port + 1));
    memcpy(t + FADT_HYPERVISOR_VENDOR, OEM_TABLE_ID, sizeof(OEM_TABLE_ID));
    table_end(out, ACPI_FADT);
}

/* 5.2.12: the MADT and the lengths of its entries. */
enum {
    MADT_LAPIC_ADDRESS = 36,
    MADT_FLAGS = 40, /* PCAT_COMPAT, bit 0, is clear: there are no 8259s */
    MADT_ENTRIES = 44,
    MADT_LAPIC_SIZE = 8,
    MADT_IOAPIC_SIZE = 12,
    MADT_X2APIC_SIZE = 16,
};

/* 5.2.12.12: ids from 255 on need the x2APIC entry; so do UIDs, which have a byte in the other one.
 */
static bool madt_needs_x2apic(const struct acpi_config *config, unsigned cpu)
{
    return config->apic_id[cpu] >= 255 || cpu >= 255;
}

static size_t madt_size(const struct acpi_config *config)
{
    size_t size = MADT_ENTRIES + MADT_IOAPIC_SIZE;
    for (unsigned i = 0; i < config->cpus; i++)
        size += madt_needs_x2apic(config, i) ? MADT_X2APIC_SIZE : MADT_LAPIC_SIZE;
    return size;
}

static uint8_t *madt_write_cpu(uint8_t *entry, const struct acpi_config *config, unsigned cpu)
{
    const uint32_t enabled = 1;

    if (madt_needs_x2apic(config, cpu)) { /* 5.2.12.12 */
        entry[0] = 9;
        entry[1] = MADT_X2APIC_SIZE;
        store_le32(entry + 4, config->apic_id[cpu]);
        store_le32(entry + 8, enabled);
        store_le32(entry + 12, cpu); /* UID */
        return entry + MADT_X2APIC_SIZE;
    }
    entry[0] = 0; /* 5.2.12.2 */
    entry[1] = MADT_LAPIC_SIZE;
    entry[2] = (uint8_t)cpu; /* UID */
    entry[3] = (uint8_t)config->apic_id[cpu];
    store_le32(entry + 4, enabled);
    return entry + MADT_LAPIC_SIZE;
}

static void madt_write(const struct acpi_tables *out, const struct acpi_config *config)
{
    uint8_t *t = table_begin(out, ACPI_MADT, 5);
    uint8_t *entry = t + MADT_ENTRIES;

    store_le32(t + MADT_LAPIC_ADDRESS, config->lapic_address);
    for (unsigned i = 0; i < config->cpus; i++)
        entry = madt_write_cpu(entry, config, i);
    entry[0] = 1; /* 5.2.12.3: I/O APIC, id 0, GSIs from 0 */
    entry[1] = MADT_IOAPIC_SIZE;
    store_le32(entry + 4, config->ioapic_address);
    table_end(out, ACPI_MADT);
}

/* PCI Firmware Specification 3.3, section 4.1.2: the MCFG with one allocation, segment 0 from bus
 * 0. */
enum { MCFG_BASE = 44, MCFG_END_BUS = 55, MCFG_SIZE = 60 };

static void mcfg_write(const struct acpi_tables *out, const struct acpi_config *config)
{
    uint8_t *t = table_begin(out, ACPI_MCFG, 1);
    store_le64(t + MCFG_BASE, config->ecam.base);
    t[MCFG_END_BUS] = (uint8_t)(config->ecam.size / MIB - 1);
    table_end(out, ACPI_MCFG);
}

static void dsdt_write(const struct acpi_tables *out, const struct aml *aml)
{
    uint8_t *t = table_begin(out, ACPI_DSDT, 2); /* revision 2: integers have 64 bits */
    memcpy(t + HEADER_SIZE, aml->data, aml->size);
    table_end(out, ACPI_DSDT);
}

static void layout(struct acpi_tables *out, const struct acpi_config *config, size_t dsdt_size)
{
    bool pci = config->ecam.size;
    layout_add(out, "RSDP", RSDP_SIZE);
    layout_add(out, "XSDT", HEADER_SIZE + (pci ? 3 : 2) * 8);
    layout_add(out, "FACP", FADT_SIZE);
    layout_add(out, "APIC", madt_size(config));
    layout_add(out, "DSDT", HEADER_SIZE + dsdt_size);
    if (pci)
        layout_add(out, "MCFG", MCFG_SIZE);
}

static bool window_within(const struct acpi_window *window, uint64_t limit)
{
    return window->size <= limit && window->base <= limit - window->size;
}

static const char *config_fault(const struct acpi_config *config)
{
    if (!config->cpus || !config->apic_id)
        return "no processors";
    if (config->virtio_mmio_count > ACPI_VIRTIO_MMIO_MAX)
        return "more than 256 virtio-mmio devices";
    for (size_t i = 0; i < config->virtio_mmio_count; i++) {
        const struct acpi_virtio_mmio *device = &config->virtio_mmio[i];
        if (!device->size || device->base + device->size - 1 < device->base)
            return "a virtio-mmio range that is empty or wraps around";
    }
    if (config->ecam.size % MIB || config->ecam.size > 256 * MIB ||
        !window_within(&config->ecam, UINT64_MAX))
        return "an ECAM that is not 1 to 256 buses of 1 MiB";
    if (!window_within(&config->pci32, UINT32_MAX + UINT64_C(1)))
        return "a 32-bit PCI window that ends above 4 GiB";
    if (!window_within(&config->pci64, UINT64_MAX))
        return "a 64-bit PCI window that wraps around";
    if (!window_within(&config->pci_io, 64 * KIB))
        return "a PCI I/O window that ends above 64 KiB";
    return NULL;
}

static int tables_write(const struct acpi_config *config, const struct aml *aml, size_t max,
                        struct acpi_tables *out, struct error *err)
{
    layout(out, config, aml->size);
    if (out->size > max)
        return error_set(err, E2BIG, "ACPI tables need %zu bytes, there is room for %zu", out->size,
                         max);
    out->data = calloc(1, out->size);
    if (!out->data)
        return error_errno(err, ENOMEM, "allocating %zu bytes for ACPI tables", out->size);

    out->rsdp = table_address(out, ACPI_RSDP);
    rsdp_write(out);
    xsdt_write(out);
    fadt_write(out, config);
    madt_write(out, config);
    dsdt_write(out, aml);
    if (config->ecam.size)
        mcfg_write(out, config);
    return 0;
}

int acpi_build(const struct acpi_config *config, uint64_t address, size_t max,
               struct acpi_tables *out, struct error *err)
{
    struct aml aml = {0};

    *out = (struct acpi_tables){.address = address};
    if (address % TABLE_ALIGNMENT)
        return error_set(err, EINVAL, "ACPI tables cannot start at unaligned address %#llx",
                         (unsigned long long)address);
    const char *fault = config_fault(config);
    if (fault)
        return error_set(err, EINVAL, "ACPI cannot describe %s", fault);

    acpi_dsdt_write(&aml, config);
    int ret = aml_finish(&aml);
    if (ret)
        error_errno(err, -ret, "building the DSDT");
    else
        ret = tables_write(config, &aml, max, out, err);
    aml_free(&aml);
    return ret;
}

void acpi_tables_free(struct acpi_tables *tables)
{
    free(tables->data);
    *tables = (struct acpi_tables){0};
}
