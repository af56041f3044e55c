/*
 * The ACPI tables as a guest would walk them: from the RSDP through every pointer, checksum and
 * length.
 */
#include "firmware/acpi.h"

#include "base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ADDRESS 0x9f000
#define ROOM    (64 * KIB)

static uint32_t apic_ids[300];
static struct acpi_virtio_mmio mmio[ACPI_VIRTIO_MMIO_MAX + 1];

static struct acpi_config machine(unsigned cpus, size_t mmio_count, bool pci)
{
    struct acpi_config config = {
        .cpus = cpus,
        .apic_id = apic_ids,
        .ioapic_address = 0xfec00000,
        .lapic_address = 0xfee00000,
        .virtio_mmio = mmio,
        .virtio_mmio_count = mmio_count,
        .serial_port = 0x3f8,
        .serial_gsi = 4,
        .power_button_gsi = 9,
        .sleep_control_port = 0x600,
        .reset_port = 0x604,
        .reset_value = 0x42,
        .pvpanic_port = 0x505,
    };
    for (uint32_t i = 0; i < ARRAY_SIZE(apic_ids); i++)
        apic_ids[i] = i;
    for (uint32_t i = 0; i < ARRAY_SIZE(mmio); i++)
        mmio[i] = (struct acpi_virtio_mmio){0xd0000000 + i * 0x1000, 0x1000, 16 + i};
    if (pci) {
        config.ecam = (struct acpi_window){0xe0000000, 2 * MIB};
        config.pci32 = (struct acpi_window){0xc0000000, 0x10000000};
        config.pci64 = (struct acpi_window){0x8000000000, 0x100000000};
        config.pci_io = (struct acpi_window){0x1000, 0xf000};
        config.pci_slots = 0x6;
        config.pci_gsi_base = 16;
        config.pci_gsi_count = 8;
    }
    return config;
}

static uint8_t sum(const uint8_t *data, size_t size)
{
    uint8_t total = 0;
    for (size_t i = 0; i < size; i++)
        total = (uint8_t)(total + data[i]);
    return total;
}

/* The bytes at a guest address; all `size` of them must be inside the tables. */
static const uint8_t *at(const struct acpi_tables *tables, uint64_t address, size_t size)
{
    assert_true(address >= tables->address && size <= tables->size);
    assert_true(address - tables->address <= tables->size - size);
    return tables->data + (address - tables->address);
}

static const uint8_t *table_at(const struct acpi_tables *tables, uint64_t address)
{
    uint32_t length = load_le32(at(tables, address, 36) + 4);
    assert_true(length >= 36);
    const uint8_t *table = at(tables, address, length);
    assert_int_equal(sum(table, length), 0);
    assert_memory_equal(table + 10, "VIREO ", 6);
    return table;
}

static const uint8_t *xsdt(const struct acpi_tables *tables)
{
    const uint8_t *rsdp = at(tables, tables->rsdp, 36);
    assert_int_equal(tables->rsdp % 16, 0);
    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, 36), 0);
    assert_memory_equal(rsdp + 9, "VIREO ", 6);
    assert_int_equal(rsdp[15], 2);
    assert_int_equal(load_le32(rsdp + 16), 0);
    assert_int_equal(load_le32(rsdp + 20), 36);
    const uint8_t *table = table_at(tables, load_le64(rsdp + 24));
    assert_memory_equal(table, "XSDT", 4);
    return table;
}

/* The table of that signature in the XSDT, or NULL. */
static const uint8_t *find(const struct acpi_tables *tables, const char *signature)
{
    const uint8_t *root = xsdt(tables), *found = NULL;
    for (size_t offset = 36; offset < load_le32(root + 4); offset += 8) {
        const uint8_t *table = table_at(tables, load_le64(root + offset));
        if (!memcmp(table, signature, 4)) {
            assert_null(found);
            found = table;
        }
    }
    return found;
}

static unsigned occurrences_of(const uint8_t *table, const void *bytes, size_t length)
{
    unsigned count = 0;
    for (size_t i = 0; i + length <= load_le32(table + 4); i++)
        count += !memcmp(table + i, bytes, length);
    return count;
}

static unsigned occurrences(const uint8_t *table, const char *text)
{
    return occurrences_of(table, text, strlen(text));
}

static void build(const struct acpi_config *config, struct acpi_tables *tables)
{
    struct error err = ERROR_INIT;
    int rc = acpi_build(config, ADDRESS, ROOM, tables, &err);
    if (rc)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
}

static const uint8_t *find_dsdt(const struct acpi_tables *tables)
{
    const uint8_t *fadt = find(tables, "FACP");
    assert_non_null(fadt);
    const uint8_t *dsdt = table_at(tables, load_le64(fadt + 140));
    assert_memory_equal(dsdt, "DSDT", 4);
    assert_int_equal(dsdt[8], 2);
    return dsdt;
}

static void check_port(const uint8_t *gas, uint16_t port)
{
    const uint8_t head[] = {1, 8, 0, 1};
    assert_memory_equal(gas, head, sizeof(head));
    assert_int_equal(load_le64(gas + 4), port);
}

static void test_fadt(void **state)
{
    struct acpi_config config = machine(1, 0, false);
    struct acpi_tables tables;
    (void)state;

    build(&config, &tables);
    const uint8_t *fadt = find(&tables, "FACP");
    assert_int_equal(load_le32(fadt + 4), 276);
    assert_int_equal(fadt[8], 6);
    assert_int_equal(fadt[131], 4);
    assert_int_equal(load_le32(fadt + 40), load_le64(fadt + 140));
    uint32_t flags = load_le32(fadt + 112);
    assert_true(flags & 1 << 20);                  /* HW_REDUCED_ACPI */
    assert_true(flags & 1 << 10);                  /* RESET_REG_SUP */
    assert_true(flags & 1 << 4);                   /* PWR_BUTTON: no fixed one */
    assert_int_equal(load_le16(fadt + 109), 0x34); /* no VGA, no ASPM, no CMOS RTC; no 8042 */
    check_port(fadt + 116, 0x604);
    assert_int_equal(fadt[128], 0x42);
    check_port(fadt + 244, 0x600);
    check_port(fadt + 256, 0x601);
    assert_int_equal(sum(fadt + 46, 109 - 46), 0); /* SCI, PM blocks: none */
    acpi_tables_free(&tables);
}

/* Above 4 GiB only X_DSDT can say where the DSDT is. */
static void test_fadt_high(void **state)
{
    struct acpi_config config = machine(1, 0, false);
    struct acpi_tables tables;
    (void)state;

    assert_int_equal(acpi_build(&config, 0x100000000, ROOM, &tables, NULL), 0);
    find_dsdt(&tables);
    assert_int_equal(load_le32(find(&tables, "FACP") + 40), 0);
    acpi_tables_free(&tables);
}

/* Every processor once, in order, in the right kind of entry; then the I/O APIC and nothing more.
 */
static void check_madt(const uint8_t *madt, unsigned cpus)
{
    const uint8_t *entry = madt + 44, *end = madt + load_le32(madt + 4);
    assert_int_equal(load_le32(madt + 36), 0xfee00000);
    assert_int_equal(load_le32(madt + 40), 0);
    for (unsigned i = 0; i < cpus; i++, entry += entry[1]) {
        assert_true(end - entry >= entry[1]);
        if (i < 255) {
            const uint8_t lapic[] = {0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0};
            assert_memory_equal(entry, lapic, sizeof(lapic));
        } else {
            const uint8_t x2apic[] = {9, 16, 0, 0, (uint8_t)i, (uint8_t)(i >> 8), 0, 0,
                                      1, 0,  0, 0, (uint8_t)i, (uint8_t)(i >> 8), 0, 0};
            assert_memory_equal(entry, x2apic, sizeof(x2apic));
        }
    }
    const uint8_t ioapic[] = {1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0};
    assert_memory_equal(entry, ioapic, sizeof(ioapic));
    assert_ptr_equal(entry + entry[1], end);
}

static void test_madt(void **state)
{
    static const unsigned counts[] = {1, 2, 8, 255, 256, 300};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        struct acpi_config config = machine(counts[i], 0, false);
        struct acpi_tables tables;
        build(&config, &tables);
        check_madt(find(&tables, "APIC"), counts[i]);
        acpi_tables_free(&tables);
    }
}

/* Ids need not follow the processors' numbers; either can be too large for the short entry. */
static void test_madt_sparse_ids(void **state)
{
    struct acpi_config config = machine(2, 0, false);
    struct acpi_tables tables;
    (void)state;

    apic_ids[0] = 254;
    apic_ids[1] = 255;
    build(&config, &tables);
    const uint8_t *entry = find(&tables, "APIC") + 44;
    assert_int_equal(entry[0], 0);
    assert_int_equal(entry[3], 254);
    assert_int_equal(entry[8], 9);
    assert_int_equal(load_le32(entry + 8 + 4), 255);
    assert_int_equal(load_le32(entry + 8 + 12), 1);
    acpi_tables_free(&tables);
}

static void test_dsdt_devices(void **state)
{
    (void)state;
    for (size_t count = 0; count <= 8; count++) {
        struct acpi_config config = machine(1, count, count % 2);
        struct acpi_tables tables;
        build(&config, &tables);
        const uint8_t *dsdt = find_dsdt(&tables);
        assert_int_equal(occurrences(dsdt, "LNRO0005"), count);
        assert_int_equal(occurrences(dsdt, "VM00"), count >= 1);
        assert_int_equal(occurrences(dsdt, "VM07"), count == 8);
        assert_int_equal(occurrences(dsdt, "PCI0"), count % 2);
        assert_int_equal(occurrences(dsdt, "COM1"), 1);
        assert_int_equal(occurrences(dsdt, "QEMU0001"), 1);
        assert_int_equal(occurrences(dsdt, "ACPI0013"), 1);
        assert_int_equal(occurrences(dsdt, "PWRB"), 2); /* the device, and its Notify */
        assert_int_equal(occurrences(dsdt, "_S5_"), 1);
        acpi_tables_free(&tables);
    }
}

static void test_dsdt_optional(void **state)
{
    struct acpi_config config = machine(1, ACPI_VIRTIO_MMIO_MAX, false);
    struct acpi_tables tables;
    (void)state;

    config.serial_port = 0;
    config.pvpanic_port = 0;
    build(&config, &tables);
    const uint8_t *dsdt = find_dsdt(&tables);
    assert_int_equal(occurrences(dsdt, "COM1"), 0);
    assert_int_equal(occurrences(dsdt, "QEMU0001"), 0);
    assert_int_equal(occurrences(dsdt, "VMFF"), 1);
    acpi_tables_free(&tables);
}

static void test_pci(void **state)
{
    /* Package (4) { 0x2ffff, 3, 0, 16 + (2 + 3) % 4 }, the last of two slots */
    static const uint8_t last[] = {0x12, 12, 4, 0x0c, 0xff, 0xff, 2, 0, 0x0a, 3, 0, 0x0a, 17};
    struct acpi_config config = machine(1, 0, true);
    struct acpi_tables tables;
    (void)state;

    config.pci_gsi_count = 4;
    build(&config, &tables);
    const uint8_t *mcfg = find(&tables, "MCFG");
    assert_non_null(mcfg);
    assert_int_equal(load_le32(mcfg + 4), 60);
    assert_int_equal(load_le64(mcfg + 36), 0);
    assert_int_equal(load_le64(mcfg + 44), 0xe0000000);
    assert_int_equal(load_le16(mcfg + 52), 0);
    assert_int_equal(mcfg[54], 0);
    assert_int_equal(mcfg[55], 1);
    const uint8_t *dsdt = find_dsdt(&tables);
    assert_int_equal(occurrences(dsdt, "_PRT"), 1);
    assert_int_equal(occurrences_of(dsdt, last, sizeof(last)), 1);
    acpi_tables_free(&tables);

    config.pci_slots = 0;
    build(&config, &tables);
    assert_int_equal(occurrences(find_dsdt(&tables), "_PRT"), 0);
    acpi_tables_free(&tables);

    config.ecam.size = 0;
    build(&config, &tables);
    assert_null(find(&tables, "MCFG"));
    acpi_tables_free(&tables);
}

/* What is in the list is what is in memory; tables lie apart, inside the size. */
static void test_table_list(void **state)
{
    static const char *const names[] = {"RSDP", "XSDT", "FACP", "APIC", "DSDT", "MCFG"};
    struct acpi_config config = machine(8, 8, true);
    struct acpi_tables tables;
    size_t end = 0;
    (void)state;

    build(&config, &tables);
    assert_int_equal(tables.count, ARRAY_SIZE(names));
    for (size_t i = 0; i < tables.count; i++) {
        assert_string_equal(tables.tables[i].name, names[i]);
        assert_true(tables.tables[i].offset >= end);
        assert_int_equal(tables.tables[i].offset % 16, 0);
        end = tables.tables[i].offset + tables.tables[i].length;
    }
    assert_int_equal(end, tables.size);
    acpi_tables_free(&tables);
}

static void test_room(void **state)
{
    struct acpi_config config = machine(300, 8, true);
    struct acpi_tables tables;
    struct error err = ERROR_INIT;
    (void)state;

    build(&config, &tables);
    size_t size = tables.size;
    acpi_tables_free(&tables);
    assert_int_equal(acpi_build(&config, ADDRESS, size, &tables, &err), 0);
    acpi_tables_free(&tables);
    assert_int_equal(acpi_build(&config, ADDRESS, size - 1, &tables, &err), -E2BIG);
    assert_int_equal(err.code, E2BIG);
    assert_null(tables.data);
}

static void refused(const struct acpi_config *config, uint64_t address)
{
    struct acpi_tables tables;
    struct error err = ERROR_INIT;
    assert_int_equal(acpi_build(config, address, ROOM, &tables, &err), -EINVAL);
    assert_int_equal(err.code, EINVAL);
    assert_null(tables.data);
}

static void test_refused(void **state)
{
    const struct acpi_config good = machine(1, 1, true);
    struct acpi_config config = good;
    (void)state;

    refused(&good, ADDRESS + 8);
    config.cpus = 0;
    refused(&config, ADDRESS);
    config = good;
    config.virtio_mmio_count = ACPI_VIRTIO_MMIO_MAX + 1;
    refused(&config, ADDRESS);
    config = good;
    mmio[0].size = 0;
    refused(&config, ADDRESS);
    mmio[0] = (struct acpi_virtio_mmio){UINT64_MAX, 2, 5};
    refused(&config, ADDRESS);
    mmio[0] = (struct acpi_virtio_mmio){0xd0000000, 0x1000, 5};
    config.ecam.size = MIB + 4096;
    refused(&config, ADDRESS);
    config.ecam.size = 257 * MIB;
    refused(&config, ADDRESS);
    config = good;
    config.pci32.base = 0xf0000001;
    refused(&config, ADDRESS);
    config = good;
    config.pci64.base = UINT64_MAX - 4095;
    refused(&config, ADDRESS);
    config = good;
    config.pci_io.base = 0x1001;
    refused(&config, ADDRESS);
}

static void remove_dump(const struct acpi_tables *tables, const char *dir)
{
    for (size_t i = 0; i < tables->count; i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s.aml", dir, tables->tables[i].name);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void test_dump(void **state)
{
    struct acpi_config config = machine(2, 1, true);
    struct acpi_tables tables;
    struct error err = ERROR_INIT;
    char dir[] = "/tmp/test_acpi.XXXXXX", path[256];
    uint8_t found[4096];
    (void)state;

    assert_non_null(mkdtemp(dir));
    build(&config, &tables);
    assert_int_equal(acpi_tables_dump(&tables, dir, &err), 0);
    for (size_t i = 0; i < tables.count; i++) {
        snprintf(path, sizeof(path), "%s/%s.aml", dir, tables.tables[i].name);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        size_t size = fread(found, 1, sizeof(found), file);
        fclose(file);
        assert_int_equal(size, tables.tables[i].length);
        assert_memory_equal(found, tables.data + tables.tables[i].offset, size);
    }
    snprintf(path, sizeof(path), "%s/DSDT.aml/no", dir);
    assert_int_equal(acpi_tables_dump(&tables, path, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, path));
    remove_dump(&tables, dir);
    acpi_tables_free(&tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fadt),         cmocka_unit_test(test_fadt_high),
        cmocka_unit_test(test_madt),         cmocka_unit_test(test_madt_sparse_ids),
        cmocka_unit_test(test_dsdt_devices), cmocka_unit_test(test_dsdt_optional),
        cmocka_unit_test(test_pci),          cmocka_unit_test(test_table_list),
        cmocka_unit_test(test_room),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_dump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
