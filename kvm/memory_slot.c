/*
 * Memory of devices as memory of the guest: KVM's memory slots besides those of RAM.
 *
 * KVM logs no writes to them: they are no guest memory (guest/memory.h), but a device's affair.
 */
#include "kvm/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/memory_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define PAGE (4 * KIB)

/* Of all kinds. KVMs of before Linux 5.13 have 509. */
static uint32_t slots_of(const struct kvm_vm *vm)
{
    int slots = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

    return slots > 0 ? (uint32_t)slots : 32; /* api.rst */
}

/* Where the numbers leave a gap: the list is in their order. */
static struct memory_slot **find_gap(struct kvm_vm *vm, uint32_t *number)
{
    struct memory_slot **at = &vm->slots;

    *number = KVM_FIRST_DEVICE_SLOT;
    for (; *at && (*at)->kvm.slot == *number; at = &(*at)->next)
        ++*number;
    return at;
}

/* Under the lock. */
static int slot_add(struct kvm_vm *vm, struct memory_slot *slot, struct error *err)
{
    struct memory_slot **at = find_gap(vm, &slot->kvm.slot);

    if (slot->kvm.slot >= slots_of(vm))
        return error_set(err, ENOSPC, "KVM has no slot for more memory of devices");
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot->kvm) < 0)
        return error_errno(err, errno, "KVM refuses memory of a device at 0x%" PRIx64,
                           (uint64_t)slot->kvm.guest_phys_addr);
    slot->next = *at;
    *at = slot;
    return 0;
}

int platform_memory_map(struct platform *p, uint64_t address, void *memory, uint64_t length,
                        bool writable, struct error *err)
{
    struct kvm_vm *vm = container_of(p, struct kvm_vm, platform);
    struct memory_slot *slot = calloc(1, sizeof(*slot));
    int ret;

    if (!slot)
        return error_set(err, ENOMEM, "no memory for memory of a device");
    slot->kvm = (struct kvm_userspace_memory_region){
        .flags = writable ? 0 : KVM_MEM_READONLY,
        .guest_phys_addr = address,
        .memory_size = length,
        .userspace_addr = (uintptr_t)memory,
    };
    pthread_mutex_lock(&vm->lock);
    ret = slot_add(vm, slot, err);
    pthread_mutex_unlock(&vm->lock);
    if (ret)
        free(slot);
    return ret;
}

/* KVM has taken the pages from all vCPUs when the call returns. */
void platform_memory_unmap(struct platform *p, uint64_t address)
{
    struct kvm_vm *vm = container_of(p, struct kvm_vm, platform);
    struct memory_slot **at = &vm->slots, *slot;

    pthread_mutex_lock(&vm->lock);
    while (*at && (*at)->kvm.guest_phys_addr != address)
        at = &(*at)->next;
    slot = *at;
    if (slot) {
        slot->kvm.memory_size = 0;
        if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot->kvm) < 0)
            log_error("kvm", "memory at 0x%" PRIx64 " cannot be taken from the guest: %s", address,
                      strerror(errno));
        *at = slot->next;
        free(slot);
    }
    pthread_mutex_unlock(&vm->lock);
}

int kvm_memory_slots_replay(struct kvm_vm *vm, struct error *err)
{
    for (struct memory_slot *slot = vm->slots; slot; slot = slot->next)
        if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot->kvm) < 0)
            return error_errno(err, errno, "KVM refuses memory of a device after reset");
    return 0;
}

void kvm_memory_slots_free(struct kvm_vm *vm)
{
    while (vm->slots) {
        struct memory_slot *slot = vm->slots;

        vm->slots = slot->next;
        free(slot);
    }
}

/* Look at each slot: at its last byte, and before that at every `step`-th one. */
static void look(const struct kvm_vm *vm, uint64_t step)
{
    for (const struct memory_slot *slot = vm->slots; slot; slot = slot->next)
        for (uint64_t end = slot->kvm.memory_size; end; end -= MIN(end, step))
            (void)*(const volatile uint8_t *)(slot->kvm.userspace_addr + end - 1);
}

/*
 * Somebody shortened a file that devices have mapped, which loses its end; or it has holes, and the
 * host no room for what was in one. KVM does not say where it looked, so the end of each slot is
 * looked at, and all its pages if that was not it: the guard (base/memory_guard.h) of what is lost
 * puts other memory there and tells the device. Losses are compared with what this vCPU knows,
 * since the access of another one may have come first.
 */
bool kvm_memory_mended(struct vcpu *vcpu)
{
    struct kvm_vm *vm = vcpu->vm;
    unsigned before = vcpu->losses;

    pthread_mutex_lock(&vm->lock);
    look(vm, UINT64_MAX);
    if (memory_guard_losses() == before)
        look(vm, PAGE);
    vcpu->losses = memory_guard_losses();
    pthread_mutex_unlock(&vm->lock);
    return vcpu->losses != before;
}
