/*
 * CPUID: from what KVM lists to what Linux makes of it (arch/x86/kernel/cpu/topology*.c,
 * cacheinfo.c and tsc.c, followed by the functions linux_* below).
 */
#include "base/bytes.h"
#include "kvm/x86_64/cpuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define TSC_KHZ 2596095u

static const unsigned cpu_counts[] = {1, 2, 3, 8, 64, 65, 255, 256, 257, 300, 4096};

/* What KVM lists on an Intel server: vendor, features, caches (L1d, L1i, L2, L3), empty topology,
 * addresses, its own leaves. */
static const struct kvm_cpuid_entry2 intel[] = {
    {0x0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69, {0}},
    {0x1, 0, 0, 0x606a6, 0x05400800, 0x76fa3203, 0x1f8bfbff, {0}},
    {0x4, 0, INDEXED, 0x7c004121, 0x02c0003f, 0x3f, 0, {0}},
    {0x4, 1, INDEXED, 0x7c004122, 0x01c0003f, 0x3f, 0, {0}},
    {0x4, 2, INDEXED, 0x7c004143, 0x04c0003f, 0x3ff, 0, {0}},
    {0x4, 3, INDEXED, 0x7c0fc163, 0x02c0003f, 0xdfff, 4, {0}},
    {0x4, 4, INDEXED, 0, 0, 0, 0, {0}},
    {0x7, 0, INDEXED, 2, 0xf1bf2fb9, 0x00415f4e, 0xac000410, {0}},
    {0xb, 0, INDEXED, 0, 0, 0, 17, {0}},
    {0xd, 0, INDEXED, 0x2e7, 0x340, 0xa88, 0, {0}},
    {0xd, 1, INDEXED, 0xf, 0, 0, 0, {0}},
    {0x15, 0, 0, 0, 0, 0, 0, {0}},
    {0x16, 0, 0, 0, 0, 0, 0, {0}},
    {0x1f, 0, INDEXED, 0, 0, 0, 17, {0}},
    {0x80000000, 0, 0, 0x80000008, 0, 0, 0, {0}},
    {0x80000001, 0, 0, 0, 0, 0x121, 0x2c100000, {0}},
    {0x80000008, 0, 0, 0x302e, 0x0100d000, 0, 0, {0}},
    {0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, {0}},
    {0x40000001, 0, 0, 0x01007efb, 0, 0, 0, {0}},
};

/* And on an AMD one. Its leaf 0xb is the host's, as older KVMs list it. */
static const struct kvm_cpuid_entry2 amd[] = {
    {0x0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65, {0}},
    {0x1, 0, 0, 0x00a20f10, 0x05100800, 0x76f83203, 0x178bfbff, {0}},
    {0x7, 0, INDEXED, 0, 0x219c97a9, 0x0040069c, 0x10, {0}},
    {0xb, 0, INDEXED, 1, 2, 0x100, 5, {0}},
    {0xb, 1, INDEXED, 7, 0x30, 0x201, 5, {0}},
    {0xd, 0, INDEXED, 0x207, 0x340, 0x988, 0, {0}},
    {0x80000000, 0, 0, 0x80000021, 0x68747541, 0x444d4163, 0x69746e65, {0}},
    {0x80000001, 0, 0, 0x00a20f10, 0x40000000, 0x004003f3, 0x2fd3fbff, {0}},
    {0x80000006, 0, 0, 0x48002200, 0x68004200, 0x02006140, 0x08009140, {0}},
    {0x80000008, 0, 0, 0x3030, 0x111ed205, 0x0003702f, 0, {0}},
    {0x8000001d, 0, INDEXED, 0x4121, 0x01c0003f, 0x3f, 0, {0}},
    {0x8000001d, 1, INDEXED, 0x4122, 0x01c0003f, 0x3f, 0, {0}},
    {0x8000001d, 2, INDEXED, 0x4143, 0x01c0003f, 0x3ff, 2, {0}},
    {0x8000001d, 3, INDEXED, 0x1c163, 0x03c0003f, 0x7fff, 1, {0}},
    {0x8000001d, 4, INDEXED, 0, 0, 0, 0, {0}},
    {0x8000001e, 0, 0, 0, 0, 0, 0, {0}},
    {0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, {0}},
    {0x40000001, 0, 0, 0x01007efb, 0, 0, 0, {0}},
};

#define LISTED_MAX 32

static union { /* kvm_cpuid2 ends in an array without a size */
    struct kvm_cpuid2 cpuid;
    uint8_t room[sizeof(struct kvm_cpuid2) +
                 (LISTED_MAX + CPUID_EXTRA + 1) * sizeof(struct kvm_cpuid_entry2)];
} list;

static const struct kvm_cpuid_entry2 canary = {.function = 0xdeadbeef, .eax = 0xdeadbeef};

static void adjust_with(const struct kvm_cpuid_entry2 *entries, size_t count,
                        const struct cpuid_machine *machine, uint32_t apic_id)
{
    assert_true(count <= LISTED_MAX);
    list.cpuid.nent = (uint32_t)count;
    memcpy(list.cpuid.entries, entries, count * sizeof(*entries));
    for (size_t i = count; i < LISTED_MAX + CPUID_EXTRA + 1; i++)
        list.cpuid.entries[i] = canary;
    cpuid_adjust(&list.cpuid, machine, apic_id);
    assert_true(list.cpuid.nent <= count + CPUID_EXTRA);
    assert_memory_equal(&list.cpuid.entries[count + CPUID_EXTRA], &canary, sizeof(canary));
    for (uint32_t i = 0; i < list.cpuid.nent; i++) { /* no leaf twice */
        const struct kvm_cpuid_entry2 *a = &list.cpuid.entries[i];
        assert_true(a->function != canary.function);
        for (uint32_t j = 0; j < i; j++)
            assert_false(list.cpuid.entries[j].function == a->function &&
                         list.cpuid.entries[j].index == a->index);
    }
}

static void adjust(const struct kvm_cpuid_entry2 *entries, size_t count, unsigned cpus,
                   uint32_t apic_id)
{
    const struct cpuid_machine machine = {.cpus = cpus, .tsc_khz = TSC_KHZ, .tsc_deadline = true};

    adjust_with(entries, count, &machine, apic_id);
}

#define ADJUST(entries, cpus, apic_id) adjust(entries, ARRAY_SIZE(entries), cpus, apic_id)

static const struct kvm_cpuid_entry2 *find(uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < list.cpuid.nent; i++)
        if (list.cpuid.entries[i].function == function && list.cpuid.entries[i].index == index)
            return &list.cpuid.entries[i];
    return NULL;
}

/* As the instruction would answer: leaves that are not listed read as 0. */
static struct kvm_cpuid_entry2 cpuid(uint32_t function, uint32_t index)
{
    const struct kvm_cpuid_entry2 *entry = find(function, index);

    return entry ? *entry : (struct kvm_cpuid_entry2){0};
}

/* get_count_order: the power of two that is not less. */
static unsigned order(unsigned count)
{
    unsigned bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

/* --- leaf 1 ---------------------------------------------------------------------------------- */

/* SDM, CPUID.01H: EBX[31:24] initial APIC id, [23:16] ids in the package; EDX[28] that is valid. */
static void check_leaf1(unsigned cpus, uint32_t apic_id)
{
    struct kvm_cpuid_entry2 leaf = cpuid(1, 0);

    assert_int_equal(leaf.ebx >> 24, apic_id & 0xff);
    assert_int_equal(leaf.ebx >> 16 & 0xff, MIN(cpus, 255u));
    assert_int_equal(leaf.ebx & 0xffff, 0x0800); /* CLFLUSH and brand are the processor's */
    assert_int_equal(leaf.edx >> 28 & 1, cpus > 1);
    assert_int_equal(leaf.ecx >> 31, 1);     /* hypervisor */
    assert_int_equal(leaf.ecx >> 21 & 1, 1); /* x2APIC */
}

static void leaf1_of_all_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
        unsigned cpus = cpu_counts[i];
        ADJUST(intel, cpus, 0);
        check_leaf1(cpus, 0);
        ADJUST(intel, cpus, cpus - 1);
        check_leaf1(cpus, cpus - 1);
        ADJUST(amd, cpus, cpus - 1);
        check_leaf1(cpus, cpus - 1);
    }
}

static void tsc_deadline_is_kvms_to_offer(void **state)
{
    struct cpuid_machine machine = {.cpus = 1, .tsc_khz = TSC_KHZ};
    static struct kvm_cpuid_entry2 without[ARRAY_SIZE(intel)];

    (void)state;
    memcpy(without, intel, sizeof(intel));
    without[1].ecx &= ~(uint32_t)BIT(24);
    adjust_with(without, ARRAY_SIZE(without), &machine, 0);
    assert_int_equal(cpuid(1, 0).ecx >> 24 & 1, 0);
    machine.tsc_deadline = true;
    adjust_with(without, ARRAY_SIZE(without), &machine, 0);
    assert_int_equal(cpuid(1, 0).ecx >> 24 & 1, 1);
}

/* --- extended topology ----------------------------------------------------------------------- */

struct topology {
    unsigned smt_shift, smt_count, core_shift, core_count;
    uint32_t apic_id;
};

/* topology_ext.c: topo_subleaf until one is invalid. */
static bool linux_parse_levels(uint32_t leaf, struct topology *out)
{
    uint32_t subleaf;

    *out = (struct topology){0};
    if (cpuid(0, 0).eax < leaf)
        return false;
    for (subleaf = 0;; subleaf++) {
        struct kvm_cpuid_entry2 level = cpuid(leaf, subleaf);
        unsigned type = level.ecx >> 8 & 0xff;

        if (!(level.ebx & 0xffff) || !type)
            return subleaf > 0;
        assert_int_equal(level.flags, INDEXED);
        assert_int_equal(level.ecx & 0xff, subleaf);
        assert_int_equal(level.ecx >> 16, 0);
        assert_int_equal(level.eax >> 5, 0);
        assert_true(type == 1 || type == 2);
        if (type == 1) {
            out->smt_shift = level.eax;
            out->smt_count = level.ebx;
            out->apic_id = level.edx;
        } else {
            out->core_shift = level.eax;
            out->core_count = level.ebx;
            assert_int_equal(level.edx, out->apic_id); /* "APIC ID mismatch" */
        }
    }
}

static void check_levels(uint32_t leaf, unsigned cpus, uint32_t apic_id)
{
    struct topology topology;
    struct kvm_cpuid_entry2 end = cpuid(leaf, 2);

    assert_true(linux_parse_levels(leaf, &topology));
    assert_int_equal(topology.apic_id, apic_id); /* all 32 bits */
    assert_int_equal(topology.smt_shift, 0);
    assert_int_equal(topology.smt_count, 1);
    assert_int_equal(topology.core_shift, order(cpus));
    assert_int_equal(topology.core_count, cpus);
    assert_int_equal(apic_id >> topology.core_shift, 0); /* all in package 0 */

    /* SDM: an invalid level has EAX = EBX = 0, its number in ECX[7:0] and the id in EDX. */
    assert_int_equal(end.eax | end.ebx, 0);
    assert_int_equal(end.ecx, 2);
    assert_int_equal(end.edx, apic_id);
    assert_null(find(leaf, 3));
}

static void levels_of_all_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
        unsigned cpus = cpu_counts[i];
        ADJUST(intel, cpus, cpus - 1);
        check_levels(0xb, cpus, cpus - 1);
        check_levels(0x1f, cpus, cpus - 1);
        ADJUST(amd, cpus, cpus / 2);
        check_levels(0xb, cpus, cpus / 2);
    }
}

/* Leaf 0xb is there even on processors that know none; 0x1f only where KVM lists it. */
static void maximum_basic_leaf(void **state)
{
    static struct kvm_cpuid_entry2 old[ARRAY_SIZE(amd)];

    (void)state;
    ADJUST(intel, 2, 0);
    assert_int_equal(cpuid(0, 0).eax, 0x1f);
    ADJUST(amd, 2, 0);
    assert_int_equal(cpuid(0, 0).eax, 0x10);
    assert_null(find(0x1f, 0));

    memcpy(old, amd, sizeof(amd));
    old[0].eax = 7;
    old[3] = old[4] = (struct kvm_cpuid_entry2){.function = 2};
    old[4].function = 3;
    adjust(old, ARRAY_SIZE(old), 2, 1);
    assert_int_equal(cpuid(0, 0).eax, 0xb);
    check_levels(0xb, 2, 1);
}

/* The order in which leaves are listed is KVM's affair. */
static void any_order_of_leaves(void **state)
{
    static struct kvm_cpuid_entry2 reversed[ARRAY_SIZE(intel)];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(intel); i++)
        reversed[i] = intel[ARRAY_SIZE(intel) - 1 - i];
    for (size_t i = 0; i < ARRAY_SIZE(reversed); i++)
        if (reversed[i].function == 0)
            reversed[i].eax = 0x15;
    adjust(reversed, ARRAY_SIZE(reversed), 8, 7);
    check_leaf1(8, 7);
    check_levels(0xb, 8, 7);
    check_levels(0x1f, 8, 7);
    assert_int_equal(cpuid(0, 0).eax, 0x1f);
    assert_int_equal(cpuid(0x40000000, 0).eax, 0x40000010);
}

/* As little as can be listed: what is not there is not missed. */
static void short_lists(void **state)
{
    static const struct kvm_cpuid_entry2 vendor_only[] = {
        {0x0, 0, 0, 0xd, 0x756e6547, 0x6c65746e, 0x49656e69, {0}},
    };

    (void)state;
    adjust(vendor_only, 0, 2, 1);
    assert_int_equal(list.cpuid.nent, 0);
    ADJUST(vendor_only, 2, 1);
    check_levels(0xb, 2, 1);
    assert_int_equal(list.cpuid.nent, 4);
}

/* --- AMD ------------------------------------------------------------------------------------- */

/* APM volume 3, appendix E.4: Fn8000_0008_ECX NC and ApicIdSize, Fn8000_001E. */
static void amd_topology(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
        unsigned cpus = cpu_counts[i];
        struct kvm_cpuid_entry2 size, ids;

        ADJUST(amd, cpus, cpus - 1);
        size = cpuid(0x80000008, 0);
        assert_int_equal(size.ecx & 0xff, MIN(cpus - 1, 255u));
        assert_int_equal(size.ecx >> 12 & 0xf, order(cpus));
        assert_int_equal(size.ecx & ~0xf0ffu, 0x00030000); /* PerfTscSize is the processor's */
        assert_int_equal(size.eax, 0x3030);
        /* topology_amd.c, parse_8000_0008: the shift, or what the count gives. */
        assert_int_equal(size.ecx >> 12 & 0xf ? size.ecx >> 12 & 0xf : order((size.ecx & 0xff) + 1),
                         order(cpus));

        ids = cpuid(0x8000001e, 0);
        assert_int_equal(ids.eax, cpus - 1);
        assert_int_equal(ids.ebx & 0xff, (cpus - 1) & 0xff); /* core */
        assert_int_equal(ids.ebx >> 8, 0);                   /* one thread in it */
        assert_int_equal(ids.ecx, 0);                        /* node 0 of 1 */
        assert_int_equal(cpuid(0x80000001, 0).ecx >> 1 & 1, cpus > 1);
    }
}

/* All of that is reserved elsewhere. Linux before 6.9 takes CmpLegacy for "no threads at all". */
static void amd_fields_are_amds(void **state)
{
    static struct kvm_cpuid_entry2 hygon[ARRAY_SIZE(amd)];

    (void)state;
    ADJUST(intel, 8, 3);
    assert_int_equal(cpuid(0x80000008, 0).ecx, 0);
    assert_int_equal(cpuid(0x80000001, 0).ecx, 0x121);
    assert_null(find(0x8000001e, 0));

    memcpy(hygon, amd, sizeof(amd));
    hygon[0].ebx = 0x6f677948;
    hygon[0].edx = 0x6e65476e;
    hygon[0].ecx = 0x656e6975;
    adjust(hygon, ARRAY_SIZE(hygon), 8, 3);
    assert_int_equal(cpuid(0x80000008, 0).ecx, 0x00033007);
    assert_int_equal(cpuid(0x8000001e, 0).eax, 3);
}

/* --- caches ---------------------------------------------------------------------------------- */

/* cacheinfo.c: two CPUs share a cache when their ids agree above the sharing bits. */
static bool linux_share(struct kvm_cpuid_entry2 cache, uint32_t a, uint32_t b)
{
    unsigned shift = order((cache.eax >> 14 & 0xfff) + 1);

    return a >> shift == b >> shift;
}

static void check_caches(uint32_t leaf, const struct kvm_cpuid_entry2 *listed, unsigned cpus)
{
    for (uint32_t index = 0; index < 4; index++) {
        struct kvm_cpuid_entry2 cache = cpuid(leaf, index);
        bool shared = (cache.eax >> 5 & 7) == 3;

        assert_int_equal(cache.eax & 0x3fff, listed[index].eax & 0x3fff);
        assert_int_equal(cache.ebx, listed[index].ebx);
        assert_int_equal(cache.ecx, listed[index].ecx);
        assert_int_equal(cache.edx, listed[index].edx);
        assert_int_equal(cache.eax >> 14 & 0xfff, shared ? cpus - 1 : 0);
        if (cpus > 1)
            assert_int_equal(linux_share(cache, 0, cpus - 1), shared);
        /* SDM: ids for cores in the package, less 1, of which there is room for 64. */
        assert_int_equal(cache.eax >> 26, leaf == 4 ? MIN(cpus - 1, 63u) : 0);
    }
    assert_int_equal(cpuid(leaf, 4).eax, 0);
}

static void caches_are_shared_by_level(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
        ADJUST(intel, cpu_counts[i], 0);
        check_caches(4, &intel[2], cpu_counts[i]);
        ADJUST(amd, cpu_counts[i], 0);
        check_caches(0x8000001d, &amd[10], cpu_counts[i]);
    }
}

/* topology_common.c, parse_legacy: where leaf 0xb is not looked at, leaves 1 and 4 say the same. */
static void classic_leaves_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
        unsigned cpus = cpu_counts[i], ids, cores;

        ADJUST(intel, cpus, 0);
        ids = order(cpuid(1, 0).ebx >> 16 & 0xff);
        cores = order((cpuid(4, 0).eax >> 26) + 1);
        assert_true(ids >= cores); /* else it warns */
        if (cpus <= 64)
            assert_int_equal(ids, cores); /* no threads */
    }
}

/* --- frequencies ----------------------------------------------------------------------------- */

/* tsc.c, native_calibrate_tsc, 32-bit arithmetic and all. */
static uint32_t linux_tsc_khz(struct kvm_cpuid_entry2 leaf)
{
    uint32_t crystal_khz = leaf.ecx / 1000;

    return crystal_khz * leaf.ebx / leaf.eax;
}

static void check_crystal(uint32_t tsc_khz)
{
    struct cpuid_machine machine = {.cpus = 1, .tsc_khz = tsc_khz};
    struct kvm_cpuid_entry2 leaf;
    uint64_t hz;

    adjust_with(intel, ARRAY_SIZE(intel), &machine, 0);
    leaf = cpuid(0x15, 0);
    assert_true(leaf.eax && leaf.ebx);
    assert_int_equal(leaf.edx, 0);
    hz = (uint64_t)leaf.ecx * leaf.ebx / leaf.eax;
    assert_in_range(hz / 1000, tsc_khz - tsc_khz / 1000000 - 1, tsc_khz + tsc_khz / 1000000 + 1);
    assert_in_range(linux_tsc_khz(leaf), tsc_khz - tsc_khz / 1000000 - 1,
                    tsc_khz + tsc_khz / 1000000 + 1);
    /* The APIC timer counts the crystal (SDM), and KVM's counts nanoseconds. */
    assert_in_range(leaf.ecx, 1000000000 - 120000, 1000000000 + 120000);
}

static void crystal_and_ratio(void **state)
{
    static const uint32_t khz[] = {1000000, 1700000, 1999999, 2000000, 2000333, TSC_KHZ, 2699999,
                                   2900001, 3000000, 3500000, 3799123, 4300000, 5200000, 800000};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(khz); i++)
        check_crystal(khz[i]);
    for (uint32_t tsc_khz = 1000000; tsc_khz < 5000000; tsc_khz += 997)
        check_crystal(tsc_khz);
}

static void leaf_15_is_intels(void **state)
{
    static struct kvm_cpuid_entry2 broadwell[ARRAY_SIZE(intel)];

    (void)state;
    ADJUST(amd, 2, 0);
    assert_null(find(0x15, 0));

    /* Nor is it made where the processor ends below. */
    memcpy(broadwell, intel, sizeof(intel));
    broadwell[0].eax = 0x14;
    for (size_t i = 0; i < ARRAY_SIZE(broadwell); i++)
        if (broadwell[i].function == 0x15 || broadwell[i].function == 0x1f)
            broadwell[i].function += 0x1000;
    adjust(broadwell, ARRAY_SIZE(broadwell), 2, 0);
    assert_null(find(0x15, 0));
    assert_int_equal(cpuid(0, 0).eax, 0x14);
}

static void hypervisor_leaves(void **state)
{
    const struct cpuid_machine unknown = {.cpus = 2};

    (void)state;
    ADJUST(amd, 2, 1);
    assert_int_equal(cpuid(0x40000000, 0).eax, 0x40000010);
    assert_int_equal(cpuid(0x40000000, 0).ebx, 0x4b4d564b); /* "KVMK" */
    assert_int_equal(cpuid(0x40000001, 0).eax, 0x01007efb);
    assert_int_equal(cpuid(0x40000010, 0).eax, TSC_KHZ);
    assert_int_equal(cpuid(0x40000010, 0).ebx, 1000000);
    assert_int_equal(cpuid(0x40000010, 0).ecx | cpuid(0x40000010, 0).edx, 0);

    /* A frequency KVM does not know is not claimed. */
    adjust_with(intel, ARRAY_SIZE(intel), &unknown, 0);
    assert_int_equal(cpuid(0x40000000, 0).eax, 0x40000001);
    assert_null(find(0x40000010, 0));
    assert_int_equal(cpuid(0x15, 0).eax, 0);
}

/* The most that can be added: nothing of what is made was listed. */
static void room_is_enough(void **state)
{
    static const struct kvm_cpuid_entry2 bare[] = {
        {0x0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69, {0}},
        {0x1f, 0, INDEXED, 0, 0, 0, 0, {0}},
        {0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, {0}},
    };

    (void)state;
    ADJUST(bare, 300, 299); /* adjust_with checks */
    assert_int_equal(list.cpuid.nent, 2 + 3 + 3 + 2);
}

/* Each vCPU starts from the same list; a list adjusted twice is as one adjusted once. */
static void adjusting_again_changes_nothing(void **state)
{
    static struct kvm_cpuid_entry2 once[LISTED_MAX + CPUID_EXTRA];
    uint32_t count;

    (void)state;
    ADJUST(intel, 8, 5);
    count = list.cpuid.nent;
    memcpy(once, list.cpuid.entries, count * sizeof(*once));
    adjust(once, count, 8, 5);
    assert_int_equal(list.cpuid.nent, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct kvm_cpuid_entry2 *entry = find(once[i].function, once[i].index);
        assert_non_null(entry);
        assert_memory_equal(entry, &once[i], sizeof(*entry));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaf1_of_all_sizes),
        cmocka_unit_test(tsc_deadline_is_kvms_to_offer),
        cmocka_unit_test(levels_of_all_sizes),
        cmocka_unit_test(maximum_basic_leaf),
        cmocka_unit_test(any_order_of_leaves),
        cmocka_unit_test(short_lists),
        cmocka_unit_test(amd_topology),
        cmocka_unit_test(amd_fields_are_amds),
        cmocka_unit_test(caches_are_shared_by_level),
        cmocka_unit_test(classic_leaves_agree),
        cmocka_unit_test(crystal_and_ratio),
        cmocka_unit_test(leaf_15_is_intels),
        cmocka_unit_test(hypervisor_leaves),
        cmocka_unit_test(room_is_enough),
        cmocka_unit_test(adjusting_again_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
