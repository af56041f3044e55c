/*
 * Virtual CPUs: their first state, their threads, and what they stop for.
 */
#ifndef KVM_VCPU_H
#define KVM_VCPU_H

#include "base/error.h"
#include "guest/memory.h"
#include "kvm/vm.h"

#include <stdbool.h>
#include <stdint.h>

/* Why a vCPU cannot go on. */
enum vcpu_end {
    VCPU_END_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
    VCPU_END_FAILED,       /* KVM could not run it; `detail` says what happened */
};

/* Called on a vCPU's thread, which ends afterwards. Must not block on vCPU threads. */
struct vcpu_events {
    void (*ended)(void *opaque, unsigned index, enum vcpu_end why, const char *detail);
    /* vCPU 0 is about to enter the guest for the first time; it left it for the first time. */
    void (*first_entry)(void *opaque);
    void (*first_exit)(void *opaque);
    void *opaque;
};

/* How the first processor starts (others wait for INIT and SIPI). */
enum boot_protocol {
    BOOT_LINUX64, /* 64-bit mode, identity-mapped, RSI = parameter (boot.rst, 64-bit protocol) */
    BOOT_PVH,     /* 32-bit protected mode, EBX = parameter (Xen's PVH) */
};

struct boot_state {
    enum boot_protocol protocol;
    uint64_t entry;     /* guest physical */
    uint64_t parameter; /* boot_params or hvm_start_info */
    gpa_t tables;       /* BOOT_TABLES_SIZE bytes of RAM for GDT and page tables */
};

#define BOOT_TABLES_SIZE 0x7000

/* Give all vCPUs their power-on state: CPUID, MSRs, and on vCPU 0 the boot state. */
int kvm_vcpus_setup(struct kvm_vm *vm, const struct boot_state *boot, struct error *err);

/* Start one thread per vCPU. */
int kvm_vcpus_start(struct kvm_vm *vm, const struct vcpu_events *events, struct error *err);

/* Make all vCPU threads leave the guest and end, and wait for them. Not from a vCPU thread. */
void kvm_vcpus_stop(struct kvm_vm *vm);

/*
 * True when every vCPU sits in HLT with interrupts disabled, where nothing but an NMI could wake
 * it: the guest has halted for good. Cheap while any vCPU has used CPU time since the last call.
 * Main thread.
 */
bool kvm_vcpus_halted(struct kvm_vm *vm);

#endif
