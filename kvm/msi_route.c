/*
 * Eventfds whose signals KVM turns into messages.
 *
 * KVM knows messages only as entries of one routing table, which is replaced as a whole and also
 * names the lines of the interrupt controllers. Each eventfd gets an entry of its own behind these;
 * one that has been removed stays until the next is added, since nothing refers to it.
 */
#include "kvm/internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define ROUTES_MAX 4096 /* KVM_MAX_IRQ_ROUTES */

static struct kvm_irq_routing_entry route_of(const struct msi_irqfd *entry)
{
    return (struct kvm_irq_routing_entry){
        .gsi = entry->gsi,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {.address_lo = (uint32_t)entry->message.address,
                  .address_hi = (uint32_t)(entry->message.address >> 32),
                  .data = entry->message.data},
    };
}

/* Under the lock. */
static int routes_set(struct kvm_vm *vm, struct error *err)
{
    size_t room = KVM_LINE_ROUTES, count;
    struct kvm_irq_routing *table;
    int ret = 0;

    for (const struct msi_irqfd *entry = vm->msi_irqfds; entry; entry = entry->next)
        room++;
    if (room > ROUTES_MAX)
        return error_set(err, ENOSPC, "no room for another message in KVM's routing table");
    table = calloc(1, sizeof(*table) + room * sizeof(table->entries[0]));
    if (!table)
        return error_set(err, ENOMEM, "no memory for KVM's routing table");
    count = kvm_arch_line_routes(table->entries);
    for (const struct msi_irqfd *entry = vm->msi_irqfds; entry; entry = entry->next)
        table->entries[count++] = route_of(entry);
    table->nr = (uint32_t)count;
    if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, table) < 0)
        ret = error_errno(err, errno, "KVM refuses a table of %zu interrupts", count);
    free(table);
    return ret;
}

/* Put it where the numbers leave a gap: the list is in their order. */
static void list_insert(struct kvm_vm *vm, struct msi_irqfd *entry)
{
    struct msi_irqfd **at = &vm->msi_irqfds;

    entry->gsi = KVM_FIRST_MESSAGE_GSI;
    for (; *at && (*at)->gsi == entry->gsi; at = &(*at)->next)
        entry->gsi++;
    entry->next = *at;
    *at = entry;
}

static void list_remove(struct kvm_vm *vm, struct msi_irqfd *entry)
{
    struct msi_irqfd **at = &vm->msi_irqfds;

    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    free(entry);
}

static int irqfd_set(struct kvm_vm *vm, const struct msi_irqfd *entry, uint32_t flags)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)entry->fd, .gsi = entry->gsi, .flags = flags};

    return ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

int platform_msi_irqfd_add(struct platform *p, const struct msi_message *message, int fd,
                           struct error *err)
{
    struct kvm_vm *vm = container_of(p, struct kvm_vm, platform);
    struct msi_irqfd *entry = calloc(1, sizeof(*entry));
    int ret;

    if (!entry)
        return error_set(err, ENOMEM, "no memory for an interrupt");
    entry->message = *message;
    entry->fd = fd;
    pthread_mutex_lock(&vm->lock);
    list_insert(vm, entry);
    ret = routes_set(vm, err);
    if (!ret) {
        ret = irqfd_set(vm, entry, 0);
        if (ret)
            error_errno(err, -ret, "KVM refuses an eventfd for a message");
    }
    if (ret)
        list_remove(vm, entry);
    pthread_mutex_unlock(&vm->lock);
    return ret;
}

void platform_msi_irqfd_remove(struct platform *p, int fd)
{
    struct kvm_vm *vm = container_of(p, struct kvm_vm, platform);
    struct msi_irqfd *entry;

    pthread_mutex_lock(&vm->lock);
    entry = vm->msi_irqfds;
    while (entry && entry->fd != fd)
        entry = entry->next;
    if (entry) {
        irqfd_set(vm, entry, KVM_IRQFD_FLAG_DEASSIGN);
        list_remove(vm, entry);
    }
    pthread_mutex_unlock(&vm->lock);
}
