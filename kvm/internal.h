/*
 * What the files of kvm/ share about a VM. Not for others: they use vm.h and vcpu.h.
 */
#ifndef KVM_INTERNAL_H
#define KVM_INTERNAL_H

#include "base/platform.h"
#include "guest/memory.h"
#include "kvm/bus.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

struct vcpu {
    struct kvm_vm *vm;
    unsigned index;
    int fd;
    struct kvm_run *run; /* shared with the kernel, vm->run_size bytes */
    pthread_t thread;
    bool has_thread;
    atomic_bool stop;         /* leave the guest and end the thread */
    atomic_bool report_state; /* leave the guest, set `halted`, go on */
    atomic_bool halted;       /* last report: in HLT with interrupts off */
    uint64_t cpu_time_ns;     /* of the thread when kvm_vcpus_halted last looked */
    unsigned losses;          /* of guarded memory when KVM_RUN last found some missing */
};

/* Registered eventfds, replayed by kvm_vm_reset. */
struct ioeventfd {
    struct kvm_ioeventfd kvm;
    struct ioeventfd *next;
};
struct irqfd {
    struct kvm_irqfd kvm;
    struct irqfd *next;
};

/* Memory of a device. Behind the slots of RAM, which are numbered as its regions. */
#define KVM_FIRST_DEVICE_SLOT GUEST_MEMORY_REGIONS
struct memory_slot {
    struct kvm_userspace_memory_region kvm;
    struct memory_slot *next;
};

/* An eventfd whose signals are messages. Devices remove theirs before the machine is reset. */
struct msi_irqfd {
    struct msi_message message;
    int fd;
    uint32_t gsi; /* in KVM's routing table */
    struct msi_irqfd *next;
};

struct kvm_vm {
    struct platform platform;
    struct guest_memory *memory;
    struct machine_bus bus;

    int kvm_fd, fd;
    size_t run_size;
    unsigned cpus;
    struct vcpu *vcpus;
    struct vcpu_events events;

    pthread_mutex_t lock; /* the lists, and `fd` while it changes */
    struct ioeventfd *ioeventfds;
    struct irqfd *irqfds;
    struct msi_irqfd *msi_irqfds; /* by gsi */
    struct memory_slot *slots;    /* of devices, by number */

    bool log_dirty; /* KVM logs what vCPUs write; under `lock` */

    struct kvm_cpuid2 *cpuid; /* what KVM supports, read once */
};

/* The processor types's part (kvm/x86_64/): called with the VM just made. */
int kvm_arch_vm_init(struct kvm_vm *vm, struct error *err); /* before vCPUs exist */
int kvm_arch_vcpu_setup(struct vcpu *vcpu, const struct boot_state *boot, struct error *err);
bool kvm_arch_vcpu_halted(struct vcpu *vcpu); /* on its thread */

/* KVM's routing of interrupt lines before anybody changes it: KVM_LINE_ROUTES entries at most.
 * Returns how many. Numbers from KVM_FIRST_MESSAGE_GSI on are no lines. */
#define KVM_LINE_ROUTES       64
#define KVM_FIRST_MESSAGE_GSI 24
size_t kvm_arch_line_routes(struct kvm_irq_routing_entry *entries);
void kvm_arch_describe_failure(struct vcpu *vcpu, char *text, size_t size);

/* msi_route.c */
int platform_msi_irqfd_add(struct platform *p, const struct msi_message *message, int fd,
                           struct error *err);
void platform_msi_irqfd_remove(struct platform *p, int fd);

/* memory_slot.c */
int platform_memory_map(struct platform *p, uint64_t address, void *memory, uint64_t length,
                        bool writable, struct error *err);
void platform_memory_unmap(struct platform *p, uint64_t address);
int kvm_memory_slots_replay(struct kvm_vm *vm, struct error *err); /* vm->lock held */
void kvm_memory_slots_free(struct kvm_vm *vm);

/* KVM_RUN found memory that is not there: true when it may be tried again. On the vCPU's thread. */
bool kvm_memory_mended(struct vcpu *vcpu);

/* platform.c */
void kvm_platform_init(struct kvm_vm *vm);
int kvm_platform_replay(struct kvm_vm *vm, struct error *err); /* vm->lock held */
void kvm_platform_free(struct kvm_vm *vm);

#endif
