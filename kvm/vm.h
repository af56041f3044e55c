/*
 * A KVM virtual machine: the only code that opens /dev/kvm, and the provider of `struct platform`.
 *
 * The machine (vmm/) makes one, adds its devices through kvm_vm_platform, then starts vCPUs.
 * Everything registered with the platform is remembered here, so that kvm_vm_reset can throw the
 * whole in-kernel machine away and build a pristine one: a reboot in place needs no knowledge of
 * what state KVM keeps.
 */
#ifndef KVM_VM_H
#define KVM_VM_H

#include "base/error.h"
#include "base/platform.h"
#include "guest/memory.h"

#include <stdbool.h>
#include <stdint.h>

struct dirty_log;
struct kvm_vm;

/*
 * Open /dev/kvm and make a VM with an in-kernel interrupt controller and the regions of `memory` as
 * its RAM. `memory` is borrowed and must not change. Errors say what to do: -ENOENT no /dev/kvm,
 * -EACCES no permission, -ENOTSUP a KVM that lacks something needed, -ERANGE more vCPUs than it
 * runs.
 */
int kvm_vm_create(struct guest_memory *memory, unsigned cpus, struct kvm_vm **out,
                  struct error *err);

/* Stop nothing, free everything: vCPU threads must have ended. */
void kvm_vm_destroy(struct kvm_vm *vm);

struct platform *kvm_vm_platform(struct kvm_vm *vm);

/*
 * Make the in-kernel machine anew: vCPUs, interrupt controllers and clocks as at power-on. Memory
 * slots, ioeventfds and irqfds are registered again. vCPU threads must have ended, and the devices
 * were reset, so that none sends messages (msi_send) meanwhile; other calls of the platform wait.
 */
int kvm_vm_reset(struct kvm_vm *vm, struct error *err);

/* Have KVM log the pages that vCPUs write to, or no more; kept by kvm_vm_reset. */
int kvm_vm_log_dirty(struct kvm_vm *vm, bool on, struct error *err);

/* Mark what vCPUs wrote to since the last call, or since logging began, in `log`. vCPUs may run. */
int kvm_vm_take_dirty(struct kvm_vm *vm, struct dirty_log *log, struct error *err);

/*
 * Run a few instructions every stock kernel uses, some of which incomplete KVMs cannot execute, on
 * vCPU 0. `scratch` is the guest address of 32 KiB of RAM that is overwritten and zeroed again.
 * -ENOTSUP names the instruction and what to do.
 */
int kvm_vm_probe(struct kvm_vm *vm, gpa_t scratch, struct error *err);

/* How wide guest addresses are: as wide as this host's. */
unsigned kvm_address_bits(void);

/* The most vCPUs this host's KVM runs in one VM. */
unsigned kvm_vm_max_cpus(void);

#endif
