/* `vireo check`: whether this host can run guests, and if not, what to do about it. */
#include "vmm/check.h"

#include "base/bytes.h"
#include "guest/memory.h"
#include "kvm/vm.h"
#include "vmm/exit_status.h"
#include "vmm/layout_x86_64.h"

#include <stdio.h>

int check_main(void)
{
    struct error err = ERROR_INIT;
    struct guest_memory memory;
    struct kvm_vm *vm = NULL;
    int ret;

    guest_memory_init(&memory);
    ret = guest_memory_add(&memory, 0, 2 * MIB, 0, &err);
    if (!ret)
        ret = kvm_vm_create(&memory, 1, &vm, &err);
    if (!ret)
        ret = kvm_vm_probe(vm, GPA(LAYOUT_BOOT_TABLES), &err);
    kvm_vm_destroy(vm);
    guest_memory_destroy(&memory);
    if (ret) {
        fprintf(stderr, "vireo: %s\n", err.text);
        return EXIT_NO_KVM;
    }
    printf("this host's KVM runs stock kernels, with up to %u CPUs\n", kvm_vm_max_cpus());
    return 0;
}
