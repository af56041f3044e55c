#include "kvm/x86_64/cpuid.h"

#include "base/bytes.h"
#include "kvm/vm.h"

#include <cpuid.h>

/* KVM's hypervisor leaves start here; 0x40000010 is the timing leaf VMware introduced and guests of
 * any hypervisor read: EAX TSC kHz, EBX APIC bus kHz. */
#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_TIMING     0x40000010u

/* KVM's APIC timer counts nanoseconds: a bus clock of 1 GHz. */
#define APIC_BUS_KHZ 1000000u

/* Leaf 0's EBX: "Genu"ineIntel, "Auth"enticAMD, "Hygo"nGenuine. */
#define VENDOR_INTEL 0x756e6547u
#define VENDOR_AMD   0x68747541u
#define VENDOR_HYGON 0x6f677948u

/* Physical address size, EAX bits 7-0, which KVM passes on; 36 bits without (Intel SDM 3A, 4.1.4).
 */
#define LEAF_ADDRESSES       0x80000008u
#define ADDRESS_BITS_DEFAULT 36

unsigned kvm_address_bits(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(LEAF_ADDRESSES, &eax, &ebx, &ecx, &edx) ? eax & 0xff : ADDRESS_BITS_DEFAULT;
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->nent; i++)
        if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
            return &cpuid->entries[i];
    return NULL;
}

/* The entry for a leaf without subleaves (or subleaf `index`), made when KVM did not list it. */
static struct kvm_cpuid_entry2 *cpuid_make(struct kvm_cpuid2 *cpuid, uint32_t function,
                                           uint32_t index, uint32_t flags)
{
    struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, function, index);

    if (!entry) {
        entry = &cpuid->entries[cpuid->nent++];
        *entry = (struct kvm_cpuid_entry2){.function = function, .index = index};
    }
    entry->flags = flags;
    return entry;
}

static void cpuid_remove(struct kvm_cpuid2 *cpuid, uint32_t function)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < cpuid->nent; i++)
        if (cpuid->entries[i].function != function)
            cpuid->entries[kept++] = cpuid->entries[i];
    cpuid->nent = kept;
}

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;

    while ((1u << bits) < count)
        bits++;
    return bits;
}

static void cpuid_features(struct kvm_cpuid2 *cpuid, const struct cpuid_machine *machine,
                           uint32_t apic_id)
{
    struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 1, 0);
    uint32_t count = MIN(machine->cpus, 255u);

    if (!entry)
        return;
    entry->ebx = (entry->ebx & 0xffff) | count << 16 | apic_id << 24;
    entry->ecx |= BIT(31) | BIT(21); /* a hypervisor; x2APIC, which KVM always emulates */
    if (machine->tsc_deadline)
        entry->ecx |= BIT(24);
    if (machine->cpus > 1)
        entry->edx |= BIT(28); /* HTT: EBX[23:16] is valid */
    else
        entry->edx &= ~(uint32_t)BIT(28);
}

/* Leaf 4 (Intel) and 0x8000001d (AMD): level 1 and 2 caches belong to a core, deeper ones to all.
 */
static void cpuid_caches(struct kvm_cpuid2 *cpuid, const struct cpuid_machine *machine)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
        uint32_t level = entry->eax >> 5 & 7;
        uint32_t sharing = level >= 3 ? machine->cpus - 1 : 0;

        if (entry->function != 4 && entry->function != 0x8000001d)
            continue;
        if (!(entry->eax & 0x1f))
            continue; /* no such cache */
        entry->eax &= 0x3fff;
        entry->eax |= MIN(sharing, 0xfffu) << 14;
        if (entry->function == 4)
            entry->eax |= MIN(machine->cpus - 1, 0x3fu) << 26;
    }
}

/* Leaves 0xb and 0x1f: one thread a core, all cores in one package. */
static void cpuid_topology(struct kvm_cpuid2 *cpuid, uint32_t leaf,
                           const struct cpuid_machine *machine, uint32_t apic_id)
{
    static const uint32_t types[] = {1, 2, 0}; /* SMT, core, end */
    bool offered = leaf == 0xb || cpuid_find(cpuid, leaf, 0);
    unsigned shift = bits_for(machine->cpus);
    struct kvm_cpuid_entry2 *basic;

    cpuid_remove(cpuid, leaf);
    basic = cpuid_find(cpuid, 0, 0);
    if (!offered || !basic)
        return;
    /* CPUs that report their topology elsewhere may end below. */
    basic->eax = MAX(basic->eax, leaf);
    for (uint32_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct kvm_cpuid_entry2 *entry =
            cpuid_make(cpuid, leaf, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
        entry->eax = types[i] == 2 ? shift : 0;
        entry->ebx = types[i] == 2 ? machine->cpus : types[i] == 1 ? 1 : 0;
        entry->ecx = types[i] << 8 | i;
        entry->edx = apic_id;
    }
}

static bool cpuid_vendor_is(struct kvm_cpuid2 *cpuid, uint32_t vendor)
{
    const struct kvm_cpuid_entry2 *basic = cpuid_find(cpuid, 0, 0);
    return basic && basic->ebx == vendor;
}

/* Fields that only AMD and Hygon define; elsewhere they are reserved, and CmpLegacy would stop
 * Linux from telling cores and threads apart in Intel's way. */
static void cpuid_amd_topology(struct kvm_cpuid2 *cpuid, const struct cpuid_machine *machine,
                               uint32_t apic_id)
{
    struct kvm_cpuid_entry2 *size = cpuid_find(cpuid, 0x80000008, 0);
    struct kvm_cpuid_entry2 *ids = cpuid_find(cpuid, 0x8000001e, 0);
    struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, 0x80000001, 0);
    unsigned shift = bits_for(machine->cpus);

    if (!cpuid_vendor_is(cpuid, VENDOR_AMD) && !cpuid_vendor_is(cpuid, VENDOR_HYGON))
        return;
    if (size) /* ECX: NC = cores - 1, ApicIdCoreIdSize */
        size->ecx = (size->ecx & ~0xf0ffu) | shift << 12 | MIN(machine->cpus - 1, 0xffu);
    if (ids) {
        ids->eax = apic_id;
        ids->ebx = apic_id & 0xff; /* one thread a core */
        ids->ecx = 0;              /* node 0, one node */
    }
    if (features) {
        if (machine->cpus > 1)
            features->ecx |= BIT(1); /* CmpLegacy: leaf 1's count is cores, not threads */
        else
            features->ecx &= ~(uint32_t)BIT(1);
    }
}

/*
 * Leaf 0x15: TSC Hz = ECX * EBX / EAX. ECX, the core crystal, also clocks the APIC timer (SDM
 * volume 3, "APIC Timer"), so it must be the bus clock above. Linux calculates ECX / 1000 * EBX in
 * 32 bits, which leaves few ratios; when none of them meets the TSC's frequency it is the crystal
 * that gives way, by 120 ppm at most.
 */
static void cpuid_crystal(struct kvm_cpuid_entry2 *entry, uint64_t tsc_khz)
{
    uint64_t denominator = 0xfffff000u / tsc_khz;
    uint64_t scaled = tsc_khz * denominator;
    uint64_t numerator = (scaled + APIC_BUS_KHZ / 2) / APIC_BUS_KHZ;
    uint64_t crystal_khz = (scaled + numerator / 2) / numerator;

    entry->eax = (uint32_t)denominator;
    entry->ebx = (uint32_t)numerator;
    entry->ecx = (uint32_t)crystal_khz * 1000;
    entry->edx = 0;
}

/* Clock frequencies, so that the guest measures nothing: leaf 0x15 (Intel) and 0x40000010. */
static void cpuid_frequencies(struct kvm_cpuid2 *cpuid, const struct cpuid_machine *machine)
{
    struct kvm_cpuid_entry2 *basic = cpuid_find(cpuid, 0, 0);
    struct kvm_cpuid_entry2 *hypervisor = cpuid_find(cpuid, LEAF_HYPERVISOR, 0);
    struct kvm_cpuid_entry2 *entry;

    if (!machine->tsc_khz)
        return;
    if (cpuid_vendor_is(cpuid, VENDOR_INTEL) && basic->eax >= 0x15)
        cpuid_crystal(cpuid_make(cpuid, 0x15, 0, 0), machine->tsc_khz);
    if (hypervisor) {
        hypervisor->eax = MAX(hypervisor->eax, LEAF_TIMING);
        entry = cpuid_make(cpuid, LEAF_TIMING, 0, 0);
        entry->eax = machine->tsc_khz;
        entry->ebx = APIC_BUS_KHZ;
        entry->ecx = entry->edx = 0;
    }
}

void cpuid_adjust(struct kvm_cpuid2 *cpuid, const struct cpuid_machine *machine, uint32_t apic_id)
{
    cpuid_features(cpuid, machine, apic_id);
    cpuid_caches(cpuid, machine);
    cpuid_topology(cpuid, 0xb, machine, apic_id);
    cpuid_topology(cpuid, 0x1f, machine, apic_id);
    cpuid_amd_topology(cpuid, machine, apic_id);
    cpuid_frequencies(cpuid, machine);
}
