/*
 * Can this KVM run a stock kernel? Try it: some KVMs emulate the guest's kernel mode in software
 * and lack instructions every distribution's kernel uses. CPUID says nothing about that.
 *
 * A few instructions run on vCPU 0 of the very VM the guest will use, before it has any state worth
 * keeping; kvm_vcpus_setup gives every register its value afterwards. This costs one short KVM_RUN,
 * not a second VM.
 */
#include "kvm/internal.h"

#include "base/bytes.h"
#include "kvm/x86_64/cpuid.h"

#include <errno.h>
#include <sys/ioctl.h>

/* Layout of the scratch RAM behind the boot tables. */
#define PROBE_IDT   0x7000u /* two gates of 16 bytes are used: vector 3 */
#define PROBE_CODE  0x7800u
#define PROBE_DATA  0x7900u /* 16-byte operand */
#define PROBE_AREA  0x7a40u /* XSAVE area, 64-byte aligned */
#define PROBE_STACK 0x8000u

#define PROBE_PORT 0xf4

/*
 *      lock cmpxchg16b (%rdi)
 *      xrstor (%rsi)           nop where the processor has no XSAVE
 *      int3
 *      hlt                     not reached
 * handler at +16:
 *      out %al, $PROBE_PORT
 */
static const uint8_t probe_code[] = {
    0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0x0f, 0xae, 0x2e,       0xcc, 0xf4,
    0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xe6, PROBE_PORT, 0xf4,
};
#define PROBE_XRSTOR  5
#define PROBE_HANDLER 16

#define CR4_OSFXSR_OSXSAVE 0x40200u

static bool probe_has_xsave(const struct kvm_vm *vm)
{
    const struct kvm_cpuid_entry2 *features = cpuid_find(vm->cpuid, 1, 0);

    return features && features->ecx & BIT(26);
}

static void probe_write(uint8_t *page, gpa_t scratch, bool xsave)
{
    uint64_t handler = scratch.value + PROBE_CODE + PROBE_HANDLER;
    uint8_t *gate = page + PROBE_IDT + 3 * 16;

    store_le16(gate, (uint16_t)handler);
    store_le16(gate + 2, 0x10);   /* the boot code segment */
    store_le16(gate + 4, 0x8e00); /* present, interrupt gate */
    store_le16(gate + 6, (uint16_t)(handler >> 16));
    store_le32(gate + 8, (uint32_t)(handler >> 32));
    memcpy(page + PROBE_CODE, probe_code, sizeof(probe_code));
    if (!xsave)
        memset(page + PROBE_CODE + PROBE_XRSTOR, 0x90, 3);
}

static int probe_registers(struct vcpu *vcpu, gpa_t scratch, bool xsave, struct error *err)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return error_errno(err, errno, "KVM does not give the registers of vCPU 0");
    regs.rdi = scratch.value + PROBE_DATA;
    regs.rsi = scratch.value + PROBE_AREA;
    regs.rsp = scratch.value + PROBE_STACK;
    sregs.idt = (struct kvm_dtable){.base = scratch.value + PROBE_IDT, .limit = 4 * 16 - 1};
    if (xsave)
        sregs.cr4 |= CR4_OSFXSR_OSXSAVE;
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
        return error_errno(err, errno, "KVM refuses the first state of vCPU 0");
    return 0;
}

static int probe_run(struct vcpu *vcpu, struct error *err)
{
    struct kvm_run *run = vcpu->run;
    char detail[320];

    while (ioctl(vcpu->fd, KVM_RUN, 0UL) < 0)
        if (errno != EINTR && errno != EAGAIN)
            return error_errno(err, errno, "KVM cannot run a vCPU");
    if (run->exit_reason == KVM_EXIT_IO && run->io.port == PROBE_PORT)
        return 0;
    kvm_arch_describe_failure(vcpu, detail, sizeof(detail));
    return error_set(err, ENOTSUP, "a stock kernel cannot run here: %s", detail);
}

int kvm_vm_probe(struct kvm_vm *vm, gpa_t scratch, struct error *err)
{
    struct vcpu *vcpu = &vm->vcpus[0];
    struct boot_state boot = {
        .protocol = BOOT_LINUX64,
        .entry = scratch.value + PROBE_CODE,
        .tables = scratch,
    };
    uint8_t *page = guest_memory_map(vm->memory, scratch, PROBE_STACK);
    bool xsave = probe_has_xsave(vm);
    int ret;

    if (!page)
        return error_set(err, EFAULT, "no RAM to try KVM in");
    ret = kvm_arch_vcpu_setup(vcpu, &boot, err);
    probe_write(page, scratch, xsave);
    if (!ret)
        ret = probe_registers(vcpu, scratch, xsave, err);
    if (!ret)
        ret = probe_run(vcpu, err);
    memset(page, 0, PROBE_STACK);
    return ret;
}
