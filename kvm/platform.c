/*
 * The platform services of base/platform.h, by KVM.
 */
#include "kvm/internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static struct kvm_vm *vm_of(struct platform *p)
{
    return container_of(p, struct kvm_vm, platform);
}

static int platform_range_add(struct platform *p, const struct address_range *range,
                              struct error *err)
{
    return bus_add(&vm_of(p)->bus, range, err);
}

static void platform_range_remove(struct platform *p, enum address_space space, uint64_t base)
{
    bus_remove(&vm_of(p)->bus, space, base);
}

static struct kvm_ioeventfd ioeventfd_describe(enum address_space space, uint64_t address,
                                               unsigned length, int64_t match, int fd)
{
    return (struct kvm_ioeventfd){
        .addr = address,
        .len = length,
        .fd = fd,
        .datamatch = match < 0 ? 0 : (uint64_t)match,
        .flags = (space == ADDRESS_PIO ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (match < 0 ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH),
    };
}

static int platform_ioeventfd_add(struct platform *p, enum address_space space, uint64_t address,
                                  unsigned length, int64_t match, int fd, struct error *err)
{
    struct kvm_vm *vm = vm_of(p);
    struct ioeventfd *entry = calloc(1, sizeof(*entry));
    int ret = 0;

    if (!entry)
        return error_set(err, ENOMEM, "no memory for a doorbell");
    entry->kvm = ioeventfd_describe(space, address, length, match, fd);
    pthread_mutex_lock(&vm->lock);
    if (ioctl(vm->fd, KVM_IOEVENTFD, &entry->kvm) < 0) {
        ret = error_errno(err, errno, "KVM refuses a doorbell at 0x%" PRIx64, address);
        free(entry);
    } else {
        entry->next = vm->ioeventfds;
        vm->ioeventfds = entry;
    }
    pthread_mutex_unlock(&vm->lock);
    return ret;
}

static void platform_ioeventfd_remove(struct platform *p, enum address_space space,
                                      uint64_t address, unsigned length, int64_t match, int fd)
{
    struct kvm_vm *vm = vm_of(p);
    struct kvm_ioeventfd wanted = ioeventfd_describe(space, address, length, match, fd);

    pthread_mutex_lock(&vm->lock);
    for (struct ioeventfd **at = &vm->ioeventfds; *at; at = &(*at)->next) {
        struct ioeventfd *entry = *at;
        if (memcmp(&entry->kvm, &wanted, sizeof(wanted)) != 0)
            continue;
        wanted.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
        ioctl(vm->fd, KVM_IOEVENTFD, &wanted);
        *at = entry->next;
        free(entry);
        break;
    }
    pthread_mutex_unlock(&vm->lock);
}

/* A device's thread may come here while the machine reboots: the lock keeps `fd` what it is. */
static void platform_line_set(struct platform *p, uint32_t gsi, bool level)
{
    struct kvm_vm *vm = vm_of(p);
    struct kvm_irq_level line = {.irq = gsi, .level = level};

    pthread_mutex_lock(&vm->lock);
    ioctl(vm->fd, KVM_IRQ_LINE, &line);
    pthread_mutex_unlock(&vm->lock);
}

static int platform_line_irqfd_add(struct platform *p, uint32_t gsi, int fd, struct error *err)
{
    struct kvm_vm *vm = vm_of(p);
    struct irqfd *entry = calloc(1, sizeof(*entry));
    int ret = 0;

    if (!entry)
        return error_set(err, ENOMEM, "no memory for an interrupt");
    entry->kvm = (struct kvm_irqfd){.fd = (uint32_t)fd, .gsi = gsi};
    pthread_mutex_lock(&vm->lock);
    if (ioctl(vm->fd, KVM_IRQFD, &entry->kvm) < 0) {
        ret = error_errno(err, errno, "KVM refuses an interrupt on line %u", gsi);
        free(entry);
    } else {
        entry->next = vm->irqfds;
        vm->irqfds = entry;
    }
    pthread_mutex_unlock(&vm->lock);
    return ret;
}

static void platform_line_irqfd_remove(struct platform *p, uint32_t gsi, int fd)
{
    struct kvm_vm *vm = vm_of(p);

    pthread_mutex_lock(&vm->lock);
    for (struct irqfd **at = &vm->irqfds; *at; at = &(*at)->next) {
        struct irqfd *entry = *at;
        if (entry->kvm.fd != (uint32_t)fd || entry->kvm.gsi != gsi)
            continue;
        entry->kvm.flags |= KVM_IRQFD_FLAG_DEASSIGN;
        ioctl(vm->fd, KVM_IRQFD, &entry->kvm);
        *at = entry->next;
        free(entry);
        break;
    }
    pthread_mutex_unlock(&vm->lock);
}

/* No lock: several devices send at once. While `fd` changes nobody does: all functions' MSI-X were
 * switched off before (kvm_vm_reset). */
static int platform_msi_send(struct platform *p, const struct msi_message *message)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)message->address,
        .address_hi = (uint32_t)(message->address >> 32),
        .data = message->data,
    };
    return ioctl(vm_of(p)->fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

static const struct platform_ops kvm_platform_ops = {
    .range_add = platform_range_add,
    .range_remove = platform_range_remove,
    .memory_map = platform_memory_map,
    .memory_unmap = platform_memory_unmap,
    .ioeventfd_add = platform_ioeventfd_add,
    .ioeventfd_remove = platform_ioeventfd_remove,
    .line_set = platform_line_set,
    .line_irqfd_add = platform_line_irqfd_add,
    .line_irqfd_remove = platform_line_irqfd_remove,
    .msi_send = platform_msi_send,
    .msi_irqfd_add = platform_msi_irqfd_add,
    .msi_irqfd_remove = platform_msi_irqfd_remove,
};

void kvm_platform_init(struct kvm_vm *vm)
{
    vm->platform.ops = &kvm_platform_ops;
}

int kvm_platform_replay(struct kvm_vm *vm, struct error *err)
{
    for (struct ioeventfd *entry = vm->ioeventfds; entry; entry = entry->next)
        if (ioctl(vm->fd, KVM_IOEVENTFD, &entry->kvm) < 0)
            return error_errno(err, errno, "KVM refuses a doorbell after reset");
    for (struct irqfd *entry = vm->irqfds; entry; entry = entry->next)
        if (ioctl(vm->fd, KVM_IRQFD, &entry->kvm) < 0)
            return error_errno(err, errno, "KVM refuses an interrupt after reset");
    return kvm_memory_slots_replay(vm, err);
}

void kvm_platform_free(struct kvm_vm *vm)
{
    kvm_memory_slots_free(vm);
    while (vm->ioeventfds) {
        struct ioeventfd *entry = vm->ioeventfds;
        vm->ioeventfds = entry->next;
        free(entry);
    }
    while (vm->irqfds) {
        struct irqfd *entry = vm->irqfds;
        vm->irqfds = entry->next;
        free(entry);
    }
}
