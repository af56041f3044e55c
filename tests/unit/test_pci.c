/*
 * PCI configuration space, BARs and interrupt pins: row PCI-16 of the conformance list, by PCI
 * Local Bus 3.0 chapter 6 and PCI Express Base chapter 7.
 */
#include "transport/pci_bus.h"

#include "base/bytes.h"
#include "tests/driver/fake_platform.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ECAM     UINT64_C(0xe0000000)
#define MEM32    UINT64_C(0xc0000000)
#define MEM64    UINT64_C(0x800000000)
#define IO       UINT64_C(0x6000)
#define GSI_BASE 16

/* A function with a BAR of each kind, which remembers what happens to it. */
struct toy_function {
    struct pci_function function;
    uint64_t mapped[PCI_BARS];
    unsigned maps, unmaps;
    uint8_t last_write;
};

struct fixture {
    struct fake_platform fake;
    struct pci_bus_config config;
    struct pci_bus *bus;
    struct toy_function toys[PCI_SLOTS];
};

static struct toy_function *toy_of(struct pci_function *function)
{
    return container_of(function, struct toy_function, function);
}

static void toy_read(struct pci_function *function, unsigned bar, uint64_t offset, void *data,
                     unsigned size)
{
    (void)function;
    store_le(data, size, (bar << 4 | (offset & 0xf)) & 0xff);
}

static void toy_write(struct pci_function *function, unsigned bar, uint64_t offset,
                      const void *data, unsigned size)
{
    (void)bar;
    (void)offset;
    (void)size;
    toy_of(function)->last_write = *(const uint8_t *)data;
}

static void toy_mapped(struct pci_function *function, unsigned bar, uint64_t address)
{
    toy_of(function)->mapped[bar] = address;
    toy_of(function)->maps++;
}

static void toy_unmapped(struct pci_function *function, unsigned bar)
{
    toy_of(function)->mapped[bar] = 0;
    toy_of(function)->unmaps++;
}

static const struct pci_function_ops toy_ops = {
    .name = "toy",
    .bar_read = toy_read,
    .bar_write = toy_write,
    .bar_mapped = toy_mapped,
    .bar_unmapped = toy_unmapped,
};

static const struct pci_identity toy_identity = {
    .vendor = 0x1234,
    .device = 0x5678,
    .subsystem_vendor = 0x9abc,
    .subsystem = 0xdef0,
    .class_code = 0x020304,
    .revision = 7,
};

/* BAR 0: 4 KiB, 32 bits; BAR 1: 32 ports; BARs 2 and 3: 16 KiB, 64 bits. */
static void toy_init(struct toy_function *toy)
{
    memset(toy, 0, sizeof(*toy));
    pci_function_init(&toy->function, &toy_identity, &toy_ops);
    pci_function_add_bar(&toy->function, 0, PCI_BAR_MEM32, 4096);
    pci_function_add_bar(&toy->function, 1, PCI_BAR_IO, 32);
    pci_function_add_bar(&toy->function, 2, PCI_BAR_MEM64, 16384);
    pci_function_use_intx(&toy->function);
    pci_function_add_pcie(&toy->function);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    fake_platform_init(&f->fake);
    f->config = (struct pci_bus_config){
        .platform = &f->fake.platform,
        .ecam = {ECAM, 2 * MIB},
        .mem32 = {MEM32, 16 * MIB},
        .mem64 = {MEM64, 64 * GIB},
        .io = {IO, 0x400},
        .gsi_base = GSI_BASE,
        .gsi_count = 4,
        .ports = true,
    };
    assert_int_equal(pci_bus_create(&f->config, &f->bus, &err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    pci_bus_destroy(f->bus);
    fake_platform_destroy(&f->fake);
    free(f);
    return 0;
}

/* Plug a toy; returns its slot. */
static unsigned plug(struct fixture *f, struct toy_function *toy, int slot)
{
    struct error err = ERROR_INIT;

    toy_init(toy);
    assert_int_equal(pci_bus_add(f->bus, slot, &toy->function, &err), 0);
    return toy->function.slot;
}

static uint32_t ecam_read(struct fixture *f, unsigned slot, uint32_t offset, unsigned size)
{
    return (uint32_t)fake_read(&f->fake, ADDRESS_MMIO, ECAM + (slot << 15) + offset, size);
}

static void ecam_write(struct fixture *f, unsigned slot, uint32_t offset, unsigned size,
                       uint32_t value)
{
    fake_write(&f->fake, ADDRESS_MMIO, ECAM + (slot << 15) + offset, size, value);
}

static void port_select(struct fixture *f, unsigned slot, uint32_t offset)
{
    fake_write(&f->fake, ADDRESS_PIO, 0xcf8, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
}

static uint32_t port_read(struct fixture *f, unsigned slot, uint32_t offset, unsigned size)
{
    port_select(f, slot, offset);
    return (uint32_t)fake_read(&f->fake, ADDRESS_PIO, 0xcfc + (offset & 3), size);
}

static void port_write(struct fixture *f, unsigned slot, uint32_t offset, unsigned size,
                       uint32_t value)
{
    port_select(f, slot, offset);
    fake_write(&f->fake, ADDRESS_PIO, 0xcfc + (offset & 3), size, value);
}

static void set_decode(struct fixture *f, unsigned slot, uint32_t bits)
{
    ecam_write(f, slot, PCI_COMMAND, 2, bits);
}

static bool decodes(struct fixture *f, uint64_t address)
{
    return fake_decodes(&f->fake, ADDRESS_MMIO, address);
}

static void test_host_bridge(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ecam_read(f, 0, PCI_CLASS_DEVICE, 2), 0x0600);
    assert_int_equal(ecam_read(f, 0, PCI_HEADER_TYPE, 1), 0);
    assert_int_equal(ecam_read(f, 0, PCI_CAPABILITY_LIST, 1), 0);
    assert_int_not_equal(ecam_read(f, 0, PCI_VENDOR_ID, 2), 0xffff);
    assert_int_equal(pci_bus_slots(f->bus), 1);
    ecam_write(f, 0, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
    assert_int_equal(ecam_read(f, 0, PCI_BASE_ADDRESS_0, 4), 0);
}

static void test_identity(void **state)
{
    struct fixture *f = *state;
    unsigned slot = plug(f, &f->toys[0], -1);

    assert_int_equal(slot, 1);
    assert_int_equal(ecam_read(f, slot, PCI_VENDOR_ID, 4), 0x56781234);
    assert_int_equal(ecam_read(f, slot, PCI_CLASS_REVISION, 4), 0x02030407);
    assert_int_equal(ecam_read(f, slot, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
    assert_int_equal(ecam_read(f, slot, PCI_INTERRUPT_PIN, 1), 1);
    assert_int_equal(ecam_read(f, slot, PCI_INTERRUPT_LINE, 1), GSI_BASE + 1);
    assert_int_equal(ecam_read(f, slot, PCI_LATENCY_TIMER, 1), 0);
    pci_bus_remove(f->bus, &f->toys[0].function);
    assert_int_equal(ecam_read(f, slot, PCI_VENDOR_ID, 4), 0xffffffff);
}

/* What is not there reads as all ones, by either way, and swallows writes. */
static void test_absent(void **state)
{
    struct fixture *f = *state;
    unsigned slot = plug(f, &f->toys[0], 3);

    assert_int_equal(ecam_read(f, 4, 0, 4), 0xffffffff);
    assert_int_equal(port_read(f, 4, 0, 4), 0xffffffff);
    assert_int_equal(ecam_read(f, 4, 1, 1), 0xff);
    assert_int_equal(ecam_read(f, slot, 1 << 12, 4), 0xffffffff); /* function 1 */
    assert_int_equal(ecam_read(f, slot, 1 << 20, 4), 0xffffffff); /* bus 1 */
    assert_int_equal(ecam_read(f, slot, 0x100, 4), 0);            /* no extended capabilities */
    assert_int_equal(ecam_read(f, slot, PCI_CONFIG_SIZE - 4, 4), 0);
    ecam_write(f, 4, PCI_COMMAND, 2, 0xffff);
    ecam_write(f, slot, 1 << 20 | PCI_COMMAND, 2, 0xffff);
    ecam_write(f, slot, 0x100, 4, 0xffffffff);
    assert_int_equal(ecam_read(f, slot, 0x100, 4), 0);
    assert_int_equal(ecam_read(f, slot, PCI_COMMAND, 2), 0);
    pci_bus_remove(f->bus, &f->toys[0].function);
}

/* Both ways show and change the same registers, at every width. */
static void test_ports_equal_ecam(void **state)
{
    struct fixture *f = *state;
    unsigned slot = plug(f, &f->toys[0], 31);

    for (uint32_t offset = 0; offset < 256; offset++)
        for (unsigned size = 1; size <= 4 && (offset & 3) + size <= 4; size *= 2)
            assert_int_equal(port_read(f, slot, offset, size), ecam_read(f, slot, offset, size));

    port_write(f, slot, PCI_INTERRUPT_LINE, 1, 0x42);
    assert_int_equal(ecam_read(f, slot, PCI_INTERRUPT_LINE, 1), 0x42);
    port_write(f, slot, PCI_BASE_ADDRESS_0 + 2, 2, 0xc012);
    ecam_write(f, slot, PCI_BASE_ADDRESS_0 + 1, 1, 0x34);
    assert_int_equal(port_read(f, slot, PCI_BASE_ADDRESS_0, 4), 0xc0123000);
    pci_bus_remove(f->bus, &f->toys[0].function);
}

/* PCI Local Bus 3.0, 3.2.2.3.2: CONFIG_ADDRESS is a dword with an enable bit. */
static void test_port_address(void **state)
{
    struct fixture *f = *state;

    fake_write(&f->fake, ADDRESS_PIO, 0xcf8, 4, 0x80000000);
    fake_write(&f->fake, ADDRESS_PIO, 0xcfb, 1, 0x01);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, 0xcf8, 4), 0x80000000);
    assert_int_not_equal(fake_read(&f->fake, ADDRESS_PIO, 0xcfc, 4), 0xffffffff);
    fake_write(&f->fake, ADDRESS_PIO, 0xcf8, 4, 0);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, 0xcfc, 4), 0xffffffff);
    fake_write(&f->fake, ADDRESS_PIO, 0xcf8, 4, 0x80010000); /* bus 1 */
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, 0xcfc, 4), 0xffffffff);
    pci_bus_reset(f->bus);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, 0xcf8, 4), 0);
}

/* Accesses no PCI transaction can make: two dwords are two transactions, a crossing is none. */
static void test_wide_accesses(void **state)
{
    struct fixture *f = *state;
    unsigned slot = plug(f, &f->toys[0], 1);
    uint64_t base = ECAM + (slot << 15);

    assert_int_equal(fake_read(&f->fake, ADDRESS_MMIO, base + 8, 8), UINT64_C(0x02030407));
    assert_int_equal(fake_read(&f->fake, ADDRESS_MMIO, base + 2, 4), 0xffffffff);
    fake_write(&f->fake, ADDRESS_MMIO, base + PCI_INTERRUPT_LINE - 2, 4, 0x550000);
    assert_int_equal(ecam_read(f, slot, PCI_INTERRUPT_LINE, 1), GSI_BASE + 1);
    fake_write(&f->fake, ADDRESS_MMIO, base + PCI_INTERRUPT_LINE - 4, 8, UINT64_C(0x66) << 32);
    assert_int_equal(ecam_read(f, slot, PCI_INTERRUPT_LINE, 1), 0x66);
    pci_bus_remove(f->bus, &f->toys[0].function);
}

/* DRV-PCI-02 survived: read-only bits stay. */
static void test_read_only(void **state)
{
    struct fixture *f = *state;
    unsigned slot = plug(f, &f->toys[0], 1);
    uint32_t cap = ecam_read(f, slot, PCI_CAPABILITY_LIST, 1);

    for (uint32_t offset = 0; offset < PCI_CONFIG_SIZE; offset += 4)
        if (offset != PCI_COMMAND)
            ecam_write(f, slot, offset, 4, 0xffffffff);
    ecam_write(f, slot, PCI_COMMAND, 4, 0xfffffffc); /* all but decoding */
    assert_int_equal(ecam_read(f, slot, PCI_VENDOR_ID, 4), 0x56781234);
    assert_int_equal(ecam_read(f, slot, PCI_COMMAND, 2),
                     PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(ecam_read(f, slot, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
    assert_int_equal(ecam_read(f, slot, PCI_CACHE_LINE_SIZE, 4), 0xff);
    assert_int_equal(ecam_read(f, slot, PCI_INTERRUPT_LINE, 4), 0x1ff);
    assert_int_equal(ecam_read(f, slot, PCI_CAPABILITY_LIST, 1), cap);
    assert_int_equal(ecam_read(f, slot, PCI_ROM_ADDRESS, 4), 0);
    assert_int_equal(ecam_read(f, slot, cap, 2), PCI_CAP_ID_EXP);
    assert_int_equal(ecam_read(f, slot, cap + PCI_EXP_FLAGS, 2), 0x92);
    pci_bus_remove(f->bus, &f->toys[0].function);
}

/* Firmware has been here: aligned addresses in the windows, none twice, decoding off. */
static void test_preassigned(void **state)
{
    struct fixture *f = *state;
    struct toy_function *toys[] = {&f->toys[0], &f->toys[1]};

    for (size_t i = 0; i < 2; i++) {
        unsigned slot = plug(f, toys[i], -1);
        uint32_t bar0 = ecam_read(f, slot, PCI_BASE_ADDRESS_0, 4);
        uint32_t bar1 = ecam_read(f, slot, PCI_BASE_ADDRESS_1, 4);
        uint32_t bar2 = ecam_read(f, slot, PCI_BASE_ADDRESS_2, 4);
        assert_int_equal(bar0 & 0xfff, PCI_BASE_ADDRESS_SPACE_MEMORY);
        assert_int_equal(bar1 & 0x1f, PCI_BASE_ADDRESS_SPACE_IO);
        assert_int_equal(bar2 & 0x3fff,
                         PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
        assert_in_range(bar0, MEM32, MEM32 + 16 * MIB - 4096);
        assert_in_range(bar1, IO, IO + 0x3e0);
        assert_in_range(bar2, 0, 16 * MIB); /* above MEM64 */
        assert_int_equal(ecam_read(f, slot, PCI_BASE_ADDRESS_3, 4), MEM64 >> 32);
        assert_int_equal(ecam_read(f, slot, PCI_BASE_ADDRESS_4, 4), 0);
        assert_int_equal(ecam_read(f, slot, PCI_COMMAND, 2), 0);
        assert_int_equal(toys[i]->maps, 0);
    }
    /* If any two overlapped, this could not decode all of them. */
    set_decode(f, 1, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    set_decode(f, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    assert_int_equal(f->toys[0].maps, 3);
    assert_int_equal(f->toys[1].maps, 3);
    pci_bus_remove(f->bus, &f->toys[0].function);
    pci_bus_remove(f->bus, &f->toys[1].function);
}

static uint32_t size_bar(struct fixture *f, unsigned slot, unsigned index)
{
    uint32_t at = PCI_BASE_ADDRESS_0 + 4 * index, before = ecam_read(f, slot, at, 4), result;

    ecam_write(f, slot, at, 4, 0xffffffff);
    result = ecam_read(f, slot, at, 4);
    ecam_write(f, slot, at, 4, before);
    assert_int_equal(ecam_read(f, slot, at, 4), before);
    return result;
}

/* 6.2.5.1: sizing, with decoding off, and by careless guests with decoding on. */
static void test_bar_sizing(void **state)
{
    struct fixture *f = *state;
    unsigned slot = plug(f, &f->toys[0], 1);

    for (int decode = 0; decode < 2; decode++) {
        set_decode(f, slot, decode ? PCI_COMMAND_MEMORY | PCI_COMMAND_IO : 0);
        f->toys[0].maps = 0;
        assert_int_equal(size_bar(f, slot, 0), 0xfffff000);
        assert_int_equal(size_bar(f, slot, 1), 0xffffffe1);
        assert_int_equal(size_bar(f, slot, 2), 0xffffc00c);
        assert_int_equal(size_bar(f, slot, 3), 0xffffffff);
        assert_int_equal(size_bar(f, slot, 4), 0);
        /* Each BAR register came back to its place once; the sizes were decoded nowhere, but for
         * the low half of BAR 2, which is in the window with its high half as before. */
        assert_int_equal(f->toys[0].maps, decode ? 5 : 0);
        assert_false(decodes(f, 0xfffff000));
    }
    pci_bus_remove(f->bus, &f->toys[0].function);
}

static void test_decode(void **state)
{
    struct fixture *f = *state;
    struct toy_function *toy = &f->toys[0];
    unsigned slot = plug(f, toy, 1);
    uint64_t bar0 = toy->function.bars[0].preassigned, bar1 = toy->function.bars[1].preassigned;

    assert_false(decodes(f, bar0));
    set_decode(f, slot, PCI_COMMAND_MEMORY);
    assert_true(decodes(f, bar0));
    assert_false(fake_decodes(&f->fake, ADDRESS_PIO, bar1));
    assert_int_equal(toy->mapped[0], bar0);
    assert_int_equal(fake_read(&f->fake, ADDRESS_MMIO, bar0 + 5, 1), 0x05);
    fake_write(&f->fake, ADDRESS_MMIO, bar0, 1, 0x77);
    assert_int_equal(toy->last_write, 0x77);
    set_decode(f, slot, PCI_COMMAND_IO);
    assert_false(decodes(f, bar0));
    assert_int_equal(toy->mapped[0], 0);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, bar1 + 2, 1), 0x12);

    /* Writing the same again disturbs nothing. */
    toy->maps = toy->unmaps = 0;
    set_decode(f, slot, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
    assert_int_equal(toy->maps + toy->unmaps, 0);
    pci_bus_remove(f->bus, &toy->function);
}

static void test_bar_move(void **state)
{
    struct fixture *f = *state;
    struct toy_function *toy = &f->toys[0];
    unsigned slot = plug(f, toy, 1);
    uint64_t old = toy->function.bars[0].preassigned, high = MEM64 + 32 * GIB;

    set_decode(f, slot, PCI_COMMAND_MEMORY);
    ecam_write(f, slot, PCI_BASE_ADDRESS_0, 4, MEM32 + 8 * MIB);
    assert_false(decodes(f, old));
    assert_true(decodes(f, MEM32 + 8 * MIB));
    assert_int_equal(toy->mapped[0], MEM32 + 8 * MIB);

    /* A 64-bit BAR moves in two writes; half-way it is wherever both halves say, if anywhere. */
    ecam_write(f, slot, PCI_BASE_ADDRESS_2, 4, (uint32_t)high);
    ecam_write(f, slot, PCI_BASE_ADDRESS_3, 4, (uint32_t)(high >> 32));
    assert_true(decodes(f, high));
    assert_int_equal(fake_read(&f->fake, ADDRESS_MMIO, high + 3, 1), 0x23);

    /* Outside the windows, or across their ends, nothing is decoded. */
    ecam_write(f, slot, PCI_BASE_ADDRESS_0, 4, 0x10000000);
    assert_false(decodes(f, 0x10000000));
    ecam_write(f, slot, PCI_BASE_ADDRESS_0, 4, ECAM);
    assert_int_equal(toy->mapped[0], 0);
    ecam_write(f, slot, PCI_BASE_ADDRESS_2, 4, (uint32_t)(MEM64 + 64 * GIB));
    ecam_write(f, slot, PCI_BASE_ADDRESS_3, 4, (MEM64 + 64 * GIB) >> 32);
    assert_int_equal(toy->mapped[2], 0);
    pci_bus_remove(f->bus, &toy->function);
}

/* Two BARs at one place: the second is decoded when the first leaves. */
static void test_bar_conflict(void **state)
{
    struct fixture *f = *state;
    unsigned first = plug(f, &f->toys[0], 1), second = plug(f, &f->toys[1], 2);
    uint64_t place = f->toys[0].function.bars[0].preassigned;

    set_decode(f, first, PCI_COMMAND_MEMORY);
    set_decode(f, second, PCI_COMMAND_MEMORY);
    ecam_write(f, second, PCI_BASE_ADDRESS_0, 4, (uint32_t)place);
    assert_int_equal(f->toys[0].mapped[0], place);
    assert_int_equal(f->toys[1].mapped[0], 0);
    set_decode(f, first, 0);
    assert_int_equal(f->toys[0].mapped[0], 0);
    assert_int_equal(f->toys[1].mapped[0], place);
    set_decode(f, first, PCI_COMMAND_MEMORY);
    assert_int_equal(f->toys[0].mapped[0], 0);
    pci_bus_remove(f->bus, &f->toys[1].function);
    assert_int_equal(f->toys[0].mapped[0], place);
    pci_bus_remove(f->bus, &f->toys[0].function);
}

/* INTx levels of functions on one line are ORed; GSI = base + (slot + pin) % count. */
static void test_intx_sharing(void **state)
{
    struct fixture *f = *state;
    struct pci_function *a = &f->toys[0].function, *b = &f->toys[1].function;

    plug(f, &f->toys[0], 2);
    plug(f, &f->toys[1], 6);
    plug(f, &f->toys[2], 3);
    assert_int_equal(pci_intx_gsi(&a->intx), GSI_BASE + 2);
    assert_int_equal(pci_intx_gsi(&b->intx), GSI_BASE + 2);
    assert_int_equal(pci_intx_gsi(&f->toys[2].function.intx), GSI_BASE + 3);

    pci_intx_set_pending(&a->intx, true);
    pci_intx_set_pending(&b->intx, true);
    assert_true(fake_level(&f->fake, GSI_BASE + 2));
    assert_false(fake_level(&f->fake, GSI_BASE + 3));
    pci_intx_set_pending(&a->intx, false);
    assert_true(fake_level(&f->fake, GSI_BASE + 2));
    pci_intx_set_pending(&b->intx, false);
    assert_false(fake_level(&f->fake, GSI_BASE + 2));
    assert_int_equal(f->fake.counts.line_set, 2); /* only changes of the line reach it */
    for (int i = 0; i < 3; i++)
        pci_bus_remove(f->bus, &f->toys[i].function);
}

/* 6.2.2, 6.2.3: Interrupt Disable silences the pin, not the status bit. */
static void test_intx_disable(void **state)
{
    struct fixture *f = *state;
    struct pci_function *function = &f->toys[0].function;
    unsigned slot = plug(f, &f->toys[0], 1);

    pci_intx_set_pending(&function->intx, true);
    assert_int_equal(ecam_read(f, slot, PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
    set_decode(f, slot, PCI_COMMAND_INTX_DISABLE);
    assert_false(fake_level(&f->fake, GSI_BASE + 1));
    assert_true(port_read(f, slot, PCI_COMMAND, 4) >> 16 & PCI_STATUS_INTERRUPT);
    set_decode(f, slot, 0);
    assert_true(fake_level(&f->fake, GSI_BASE + 1));
    pci_bus_remove(f->bus, function);
    assert_false(fake_level(&f->fake, GSI_BASE + 1));
}

static void test_reset(void **state)
{
    struct fixture *f = *state;
    struct pci_function *function = &f->toys[0].function;
    unsigned slot = plug(f, &f->toys[0], 1);
    uint32_t before[64];

    for (uint32_t i = 0; i < 64; i++)
        before[i] = ecam_read(f, slot, 4 * i, 4);
    for (uint32_t i = 0; i < 64; i++)
        ecam_write(f, slot, 4 * i, 4, 0xffffffff);
    ecam_write(f, slot, PCI_BASE_ADDRESS_0, 4, MEM32 + 8 * MIB);
    assert_true(decodes(f, MEM32 + 8 * MIB));
    pci_intx_set_pending(&function->intx, true);

    pci_function_reset(function);
    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(ecam_read(f, slot, 4 * i, 4), before[i]);
    assert_false(decodes(f, MEM32 + 8 * MIB));
    assert_false(fake_level(&f->fake, GSI_BASE + 1));
    pci_bus_remove(f->bus, function);
}

static void test_slots(void **state)
{
    struct fixture *f = *state;
    struct toy_function extra;
    struct error err = ERROR_INIT;

    assert_int_equal(plug(f, &f->toys[0], 2), 2);
    for (int i = 1; i < PCI_SLOTS - 1; i++)
        assert_int_equal(plug(f, &f->toys[i], -1), i == 1 ? 1 : i + 1);
    assert_int_equal(pci_bus_slots(f->bus), 0xffffffff);
    toy_init(&extra);
    assert_int_equal(pci_bus_add(f->bus, -1, &extra.function, &err), -ENOSPC);
    assert_int_equal(pci_bus_add(f->bus, 0, &extra.function, &err), -EBUSY);
    assert_int_equal(pci_bus_add(f->bus, 7, &extra.function, &err), -EBUSY);
    assert_int_equal(pci_bus_add(f->bus, 32, &extra.function, &err), -EINVAL);
    assert_int_equal(pci_bus_add(f->bus, -2, &extra.function, &err), -EINVAL);
    for (int i = 0; i < PCI_SLOTS - 1; i++)
        pci_bus_remove(f->bus, &f->toys[i].function);
}

/* A 64-bit BAR may be larger than what is below 4 GiB; a 32-bit one is refused. */
static void test_window_exhausted(void **state)
{
    struct fixture *f = *state;
    struct toy_function *toy = &f->toys[0];
    struct error err = ERROR_INIT;

    pci_function_init(&toy->function, &toy_identity, &toy_ops);
    pci_function_add_bar(&toy->function, 0, PCI_BAR_MEM64, 4 * GIB);
    assert_int_equal(pci_bus_add(f->bus, -1, &toy->function, &err), 0);
    assert_int_equal(toy->function.bars[0].preassigned, MEM64);
    assert_int_equal(ecam_read(f, 1, PCI_BASE_ADDRESS_0, 4),
                     PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    assert_int_equal(ecam_read(f, 1, PCI_BASE_ADDRESS_1, 4), MEM64 >> 32);
    set_decode(f, 1, PCI_COMMAND_MEMORY);
    assert_true(decodes(f, MEM64 + 4 * GIB - 1));
    pci_bus_remove(f->bus, &toy->function);

    pci_function_init(&toy->function, &toy_identity, &toy_ops);
    pci_function_add_bar(&toy->function, 0, PCI_BAR_MEM32, 32 * MIB);
    assert_int_equal(pci_bus_add(f->bus, -1, &toy->function, &err), -ENOSPC);
    assert_int_equal(pci_bus_slots(f->bus), 1);
}

static void test_create_errors(void **state)
{
    struct fixture *f = *state;
    struct pci_bus_config config = f->config;
    struct error err = ERROR_INIT;
    struct pci_bus *bus;

    config.ecam.base = UINT64_C(0xd0000000);
    assert_int_equal(pci_bus_create(&config, &bus, &err), -EEXIST); /* the ports are taken */
    assert_false(decodes(f, config.ecam.base));
    config.gsi_count = 0;
    assert_int_equal(pci_bus_create(&config, &bus, &err), -EINVAL);
    config.gsi_count = 4;
    config.ecam.size = 4096;
    assert_int_equal(pci_bus_create(&config, &bus, &err), -EINVAL);
    config.ecam.size = MIB;
    config.ports = false;
    assert_int_equal(pci_bus_create(&config, &bus, &err), 0);
    pci_bus_destroy(bus);
}

/* Several vCPUs at once: for the sanitizers. */
static void *vcpu(void *opaque)
{
    struct fixture *f = opaque;

    for (unsigned i = 0; i < 2000; i++) {
        set_decode(f, 1, i & 1 ? PCI_COMMAND_MEMORY : 0);
        ecam_read(f, 1, PCI_STATUS, 2);
        port_write(f, 2, PCI_INTERRUPT_LINE, 1, i);
        pci_intx_set_pending(&f->toys[0].function.intx, i & 2);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[2];

    plug(f, &f->toys[0], 1);
    plug(f, &f->toys[1], 2);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, vcpu, f), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(f->toys[0].maps - f->toys[0].unmaps, f->toys[0].mapped[0] ? 2 : 0);
    pci_bus_remove(f->bus, &f->toys[0].function);
    pci_bus_remove(f->bus, &f->toys[1].function);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_host_bridge),
        TEST(test_identity),
        TEST(test_absent),
        TEST(test_ports_equal_ecam),
        TEST(test_port_address),
        TEST(test_wide_accesses),
        TEST(test_read_only),
        TEST(test_preassigned),
        TEST(test_bar_sizing),
        TEST(test_decode),
        TEST(test_bar_move),
        TEST(test_bar_conflict),
        TEST(test_intx_sharing),
        TEST(test_intx_disable),
        TEST(test_reset),
        TEST(test_slots),
        TEST(test_window_exhausted),
        TEST(test_create_errors),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
