/*
 * What it means when KVM cannot go on running a vCPU, in one line.
 */
#include "kvm/internal.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>

/* Instructions that KVMs without hardware virtualization are known not to emulate. */
static const char *instruction_name(const uint8_t *bytes, unsigned size)
{
    unsigned at = 0;

    while (at < size && (bytes[at] == 0xf0 || bytes[at] == 0x66 || bytes[at] == 0xf2 ||
                         bytes[at] == 0xf3 || (bytes[at] & 0xf0) == 0x40))
        at++;
    if (at < size && bytes[at] == 0xcc)
        return "int3";
    if (at + 2 >= size || bytes[at] != 0x0f)
        return NULL;
    switch (bytes[at + 1] << 8 | (bytes[at + 2] >> 3 & 7)) {
    case 0xc701:
        return "cmpxchg8b/16b";
    case 0xae04:
        return "xsave";
    case 0xae05:
        return "xrstor";
    default:
        return NULL;
    }
}

static unsigned instruction_bytes(struct vcpu *vcpu, uint64_t rip, uint8_t bytes[15])
{
    struct kvm_run *run = vcpu->run;
    struct kvm_translation translation = {.linear_address = rip};
    const void *host;

    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 4 &&
        run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
        unsigned size = MIN(run->emulation_failure.insn_size, 15u);
        memcpy(bytes, run->emulation_failure.insn_bytes, size);
        return size;
    }
    if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return 0;
    for (unsigned size = 15; size > 0; size--) {
        host = guest_memory_map(vcpu->vm->memory, GPA(translation.physical_address), size);
        if (host) {
            memcpy(bytes, host, size);
            return size;
        }
    }
    return 0;
}

static void describe_internal_error(struct vcpu *vcpu, char *text, size_t size)
{
    struct kvm_regs regs = {0};
    uint8_t bytes[15];
    char hex[3 * sizeof(bytes) + 1] = "";
    unsigned count;
    const char *name;

    ioctl(vcpu->fd, KVM_GET_REGS, &regs);
    count = instruction_bytes(vcpu, regs.rip, bytes);
    name = instruction_name(bytes, count);
    for (unsigned i = 0; i < count; i++)
        sprintf(hex + 3 * i, "%02x ", bytes[i]);
    if (vcpu->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        snprintf(text, size,
                 "this host's KVM cannot execute the instruction%s%s (%sat 0x%" PRIx64
                 "); a KVM with hardware virtualization (VMX or SVM) can",
                 name ? " " : "", name ? name : "", hex, (uint64_t)regs.rip);
    else
        snprintf(text, size, "KVM internal error %u at 0x%" PRIx64 " (bytes %s)",
                 vcpu->run->internal.suberror, (uint64_t)regs.rip, hex);
}

void kvm_arch_describe_failure(struct vcpu *vcpu, char *text, size_t size)
{
    struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR:
        describe_internal_error(vcpu, text, size);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        snprintf(text, size,
                 "the processor refuses the guest's state (hardware entry failure reason 0x%" PRIx64
                 ")",
                 (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_UNKNOWN:
        snprintf(text, size, "KVM stopped the guest for hardware reason 0x%" PRIx64,
                 (uint64_t)run->hw.hardware_exit_reason);
        break;
    default:
        snprintf(text, size, "KVM stopped the guest with exit reason %u, which is unknown here",
                 run->exit_reason);
    }
}
