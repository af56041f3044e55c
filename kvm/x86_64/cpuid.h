/*
 * CPUID as the guest sees it: what KVM supports, made true for this machine.
 */
#ifndef KVM_X86_64_CPUID_H
#define KVM_X86_64_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct cpuid_machine {
    unsigned cpus;
    uint32_t tsc_khz;
    bool tsc_deadline; /* KVM emulates the TSC-deadline timer mode */
};

/*
 * Adjust `cpuid`, which holds KVM_GET_SUPPORTED_CPUID's answer with at least CPUID_EXTRA entries to
 * spare, for the processor with APIC id `apic_id`: topology (one socket, one thread a core), APIC
 * ids, the hypervisor bit, and the frequency leaves that save the guest from calibrating clocks.
 */
#define CPUID_EXTRA 8
void cpuid_adjust(struct kvm_cpuid2 *cpuid, const struct cpuid_machine *machine, uint32_t apic_id);

/* The entry of a leaf (`index` 0 where it has no subleaves), or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index);

#endif
