#include "kvm/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KVM_API_VERSION_EXPECTED 12

/* What the machine cannot do without; each came with Linux 4.20 or earlier. */
static const struct {
    int capability;
    const char *name;
} required[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

static int kvm_device_open(int *out, struct error *err)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int version;

    if (fd < 0 && errno == ENOENT)
        return error_set(
            err, ENOENT,
            "/dev/kvm does not exist: load the kvm_intel or kvm_amd module, and enable "
            "virtualization in the firmware (or nested virtualization in the "
            "hypervisor this machine runs on)");
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return error_set(err, EACCES,
                         "no permission to open /dev/kvm: add your user to its group (usually "
                         "'sudo usermod -aG kvm $USER', then log in again) or run as root");
    if (fd < 0)
        return error_errno(err, errno, "cannot open /dev/kvm");

    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION_EXPECTED) {
        close(fd);
        return error_set(err, ENOTSUP, "/dev/kvm speaks API version %d, not %d", version,
                         KVM_API_VERSION_EXPECTED);
    }
    *out = fd;
    return 0;
}

static int kvm_check_capabilities(int fd, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(required); i++)
        if (ioctl(fd, KVM_CHECK_EXTENSION, required[i].capability) <= 0)
            return error_set(err, ENOTSUP, "this host's KVM lacks %s: a newer kernel is needed",
                             required[i].name);
    return 0;
}

static int kvm_memory_slots_add(struct kvm_vm *vm, struct error *err)
{
    for (size_t i = 0; i < vm->memory->count; i++) {
        const struct guest_region *region = &vm->memory->regions[i];
        struct kvm_userspace_memory_region slot = {
            .slot = (uint32_t)i,
            .guest_phys_addr = region->start,
            .memory_size = region->size,
            .userspace_addr = (uintptr_t)region->host,
        };
        if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return error_errno(err, errno,
                               "KVM refuses guest memory at 0x%" PRIx64 " (%" PRIu64 " MiB)",
                               region->start, region->size / MIB);
    }
    return 0;
}

static int kvm_vcpu_open(struct kvm_vm *vm, struct vcpu *vcpu, struct error *err)
{
    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
    if (vcpu->fd < 0)
        return error_errno(err, errno, "KVM cannot create vCPU %u", vcpu->index);
    vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        vcpu->run = NULL;
        return error_errno(err, errno, "cannot map the state of vCPU %u", vcpu->index);
    }
    return 0;
}

/* Make everything in the kernel, without what is registered with the platform. */
static int kvm_vm_open(struct kvm_vm *vm, struct error *err)
{
    int ret;

    vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0UL);
    if (vm->fd < 0)
        return error_errno(err, errno,
                           "KVM cannot create a virtual machine (another hypervisor may own the "
                           "processor's virtualization)");
    ret = kvm_arch_vm_init(vm, err);
    if (!ret)
        ret = kvm_memory_slots_add(vm, err);
    for (unsigned i = 0; !ret && i < vm->cpus; i++)
        ret = kvm_vcpu_open(vm, &vm->vcpus[i], err);
    return ret;
}

static void kvm_vm_close(struct kvm_vm *vm)
{
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct vcpu *vcpu = &vm->vcpus[i];
        if (vcpu->run)
            munmap(vcpu->run, vm->run_size);
        if (vcpu->fd >= 0)
            close(vcpu->fd);
        vcpu->run = NULL;
        vcpu->fd = -1;
    }
    if (vm->fd >= 0)
        close(vm->fd);
    vm->fd = -1;
}

static int kvm_vm_allocate(struct kvm_vm *vm, unsigned cpus, struct error *err)
{
    int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    int most = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

    if (size < (int)sizeof(struct kvm_run))
        return error_errno(err, errno, "KVM does not say how large a vCPU's state is");
    if (most > 0 && cpus > (unsigned)most)
        return error_set(err, ERANGE, "this host's KVM runs at most %d vCPUs in one machine", most);
    vm->run_size = (size_t)size;
    vm->vcpus = calloc(cpus, sizeof(*vm->vcpus));
    if (!vm->vcpus)
        return error_set(err, ENOMEM, "no memory for %u vCPUs", cpus);
    vm->cpus = cpus;
    for (unsigned i = 0; i < cpus; i++)
        vm->vcpus[i] = (struct vcpu){.vm = vm, .index = i, .fd = -1};
    return 0;
}

int kvm_vm_create(struct guest_memory *memory, unsigned cpus, struct kvm_vm **out,
                  struct error *err)
{
    struct kvm_vm *vm = calloc(1, sizeof(*vm));
    int ret;

    if (!vm)
        return error_set(err, ENOMEM, "no memory for a virtual machine");
    vm->memory = memory;
    vm->kvm_fd = vm->fd = -1;
    pthread_mutex_init(&vm->lock, NULL);
    bus_init(&vm->bus);
    kvm_platform_init(vm);

    ret = kvm_device_open(&vm->kvm_fd, err);
    if (!ret)
        ret = kvm_check_capabilities(vm->kvm_fd, err);
    if (!ret)
        ret = kvm_vm_allocate(vm, cpus, err);
    if (!ret)
        ret = kvm_vm_open(vm, err);
    if (ret) {
        kvm_vm_destroy(vm);
        return ret;
    }
    *out = vm;
    return 0;
}

int kvm_vm_reset(struct kvm_vm *vm, struct error *err)
{
    int ret;

    pthread_mutex_lock(&vm->lock);
    kvm_vm_close(vm);
    ret = kvm_vm_open(vm, err);
    if (!ret)
        ret = kvm_platform_replay(vm, err);
    pthread_mutex_unlock(&vm->lock);
    return ret;
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
    if (!vm)
        return;
    kvm_vm_close(vm);
    kvm_platform_free(vm);
    bus_destroy(&vm->bus);
    if (vm->kvm_fd >= 0)
        close(vm->kvm_fd);
    pthread_mutex_destroy(&vm->lock);
    free(vm->vcpus);
    free(vm->cpuid);
    free(vm);
}

struct platform *kvm_vm_platform(struct kvm_vm *vm)
{
    return &vm->platform;
}

unsigned kvm_vm_max_cpus(void)
{
    int fd, most;

    if (kvm_device_open(&fd, NULL))
        return 0;
    most = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    close(fd);
    return most > 0 ? (unsigned)most : 4; /* api.rst: 4 when the capability is absent */
}
