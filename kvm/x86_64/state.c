/*
 * The state an x86 processor has at its first instruction, and the machine's in-kernel chips.
 *
 * The first processor starts where the boot protocol wants it; the others wait for INIT and SIPI
 * from the guest, which KVM's local APIC handles.
 */
#include "kvm/internal.h"

#include "base/bytes.h"
#include "kvm/x86_64/cpuid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* Intel processors without unrestricted guest mode need three pages and one of guest address space
 * for themselves; these lie below the I/O APIC, where the machine has no RAM. */
#define KVM_IDENTITY_MAP 0xfeffc000u
#define KVM_TSS          0xfeffd000u

/* Offsets in the boot tables (vcpu.h: BOOT_TABLES_SIZE). */
#define TABLE_GDT  0x0000u
#define TABLE_PML4 0x1000u
#define TABLE_PDPT 0x2000u
#define TABLE_PD   0x3000u /* four pages: the first 4 GiB in 2 MiB pages */

/* boot.rst, 64-bit protocol: __BOOT_CS is 0x10, __BOOT_DS is 0x18. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18

#define CR0_PE   0x1u
#define CR0_ET   0x10u
#define CR0_PG   0x80000000u
#define CR4_PAE  0x20u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u

#define PAGE_PRESENT_WRITE 0x3u
#define PAGE_LARGE         0x80u

#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ENABLE_WB    0x806u /* MTRRs on, default type write-back */

static int cpuid_read_supported(struct kvm_vm *vm, struct error *err)
{
    for (uint32_t room = 128; room <= 2048; room *= 2) {
        struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + room * sizeof(cpuid->entries[0]));
        if (!cpuid)
            return error_set(err, ENOMEM, "no memory for CPUID");
        cpuid->nent = room - CPUID_EXTRA;
        if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0) {
            vm->cpuid = cpuid;
            return 0;
        }
        free(cpuid);
        if (errno != E2BIG)
            break;
    }
    return error_errno(err, errno, "KVM does not list the processor's features");
}

int kvm_arch_vm_init(struct kvm_vm *vm, struct error *err)
{
    uint64_t identity_map = KVM_IDENTITY_MAP;

    if (!vm->cpuid) {
        int ret = cpuid_read_supported(vm, err);
        if (ret)
            return ret;
    }
    if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
        ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)KVM_TSS) < 0)
        return error_errno(err, errno, "KVM cannot reserve its own pages");
    if (vm->cpus > 255) { /* 32-bit APIC ids, and no meaning of "255 is broadcast" */
        struct kvm_enable_cap cap = {
            .cap = KVM_CAP_X2APIC_API,
            .args[0] = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
        };
        if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
            return error_errno(err, errno, "KVM cannot address more than 255 vCPUs");
    }
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0UL) < 0)
        return error_errno(err, errno, "KVM cannot create interrupt controllers");
    return 0;
}

/* Each of 24 lines is a pin of the IOAPIC, and the first 16 are the PICs', too. */
size_t kvm_arch_line_routes(struct kvm_irq_routing_entry *entries)
{
    size_t count = 0;

    for (uint32_t gsi = 0; gsi < KVM_FIRST_MESSAGE_GSI; gsi++) {
        uint32_t pic = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;

        entries[count++] = (struct kvm_irq_routing_entry){
            .gsi = gsi,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = gsi},
        };
        if (gsi < 16)
            entries[count++] = (struct kvm_irq_routing_entry){
                .gsi = gsi,
                .type = KVM_IRQ_ROUTING_IRQCHIP,
                .u.irqchip = {.irqchip = pic, .pin = gsi % 8},
            };
    }
    return count;
}

static int vcpu_set_cpuid(struct vcpu *vcpu, struct error *err)
{
    struct kvm_vm *vm = vcpu->vm;
    uint32_t room = vm->cpuid->nent + CPUID_EXTRA;
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + room * sizeof(cpuid->entries[0]));
    int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0UL);
    struct cpuid_machine machine = {
        .cpus = vm->cpus,
        .tsc_khz = khz > 0 ? (uint32_t)khz : 0,
        .tsc_deadline =
            ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_TSC_DEADLINE_TIMER) > 0,
    };
    int ret = 0;

    if (!cpuid)
        return error_set(err, ENOMEM, "no memory for CPUID");
    cpuid->nent = vm->cpuid->nent;
    memcpy(cpuid->entries, vm->cpuid->entries, cpuid->nent * sizeof(cpuid->entries[0]));
    cpuid_adjust(cpuid, &machine, vcpu->index);
    if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
        ret = error_errno(err, errno, "KVM refuses the CPUID of vCPU %u", vcpu->index);
    free(cpuid);
    return ret;
}

/* Linux drops PAT, and with it write-combining, when the firmware left MTRRs off. */
static int vcpu_set_msrs(struct vcpu *vcpu, struct error *err)
{
    const struct kvm_cpuid_entry2 *features = cpuid_find(vcpu->vm->cpuid, 1, 0);
    union { /* kvm_msrs ends in an array without a size */
        struct kvm_msrs list;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } msrs = {.list.nmsrs = 1};

    if (!features || !(features->edx & BIT(12)))
        return 0; /* a processor without MTRRs */
    msrs.list.entries[0] =
        (struct kvm_msr_entry){.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE_WB};
    if (ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) != 1)
        return error_errno(err, errno, "KVM refuses the MTRRs of vCPU %u", vcpu->index);
    return 0;
}

static int boot_tables_write(struct guest_memory *mem, gpa_t where, struct error *err)
{
    uint8_t *tables = guest_memory_map(mem, where, BOOT_TABLES_SIZE);

    if (!tables)
        return error_set(err, EFAULT, "no RAM for boot tables at 0x%" PRIx64, where.value);
    memset(tables, 0, BOOT_TABLES_SIZE);
    store_le64(tables + TABLE_GDT + BOOT_CS, 0x00af9b000000ffff); /* 64-bit code */
    store_le64(tables + TABLE_GDT + BOOT_DS, 0x00cf93000000ffff); /* flat data */
    store_le64(tables + TABLE_PML4, (where.value + TABLE_PDPT) | PAGE_PRESENT_WRITE);
    for (uint64_t i = 0; i < 4; i++)
        store_le64(tables + TABLE_PDPT + i * 8,
                   (where.value + TABLE_PD + i * 0x1000) | PAGE_PRESENT_WRITE);
    for (uint64_t i = 0; i < 4 * 512; i++)
        store_le64(tables + TABLE_PD + i * 8, i << 21 | PAGE_LARGE | PAGE_PRESENT_WRITE);
    return 0;
}

static struct kvm_segment segment_flat(uint16_t selector, bool code, bool wide)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = selector,
        .type = code ? 11 : 3, /* accessed, and readable or writable */
        .present = 1,
        .db = !(code && wide),
        .s = 1,
        .l = code && wide,
        .g = 1,
    };
}

static void sregs_for_boot(struct kvm_sregs *sregs, const struct boot_state *boot)
{
    bool wide = boot->protocol == BOOT_LINUX64;

    sregs->cs = segment_flat(BOOT_CS, true, wide);
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = segment_flat(BOOT_DS, false, wide);
    sregs->tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
    sregs->gdt = (struct kvm_dtable){.base = boot->tables.value + TABLE_GDT, .limit = 0x1f};
    sregs->idt = (struct kvm_dtable){0};
    sregs->cr0 = CR0_PE | CR0_ET;
    sregs->cr4 = 0;
    sregs->efer = 0;
    if (wide) {
        sregs->cr0 |= CR0_PG;
        sregs->cr3 = boot->tables.value + TABLE_PML4;
        sregs->cr4 = CR4_PAE;
        sregs->efer = EFER_LME | EFER_LMA;
    }
}

static int vcpu_set_registers(struct vcpu *vcpu, const struct boot_state *boot, struct error *err)
{
    struct kvm_regs regs = {.rflags = 2, .rip = boot->entry};
    struct kvm_sregs sregs;
    int ret = boot_tables_write(vcpu->vm->memory, boot->tables, err);

    if (ret)
        return ret;
    if (boot->protocol == BOOT_LINUX64)
        regs.rsi = boot->parameter;
    else
        regs.rbx = boot->parameter;
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return error_errno(err, errno, "KVM does not give the registers of vCPU 0");
    sregs_for_boot(&sregs, boot);
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
        return error_errno(err, errno, "KVM refuses the first state of vCPU 0");
    return 0;
}

int kvm_arch_vcpu_setup(struct vcpu *vcpu, const struct boot_state *boot, struct error *err)
{
    int ret = vcpu_set_cpuid(vcpu, err);

    if (!ret)
        ret = vcpu_set_msrs(vcpu, err);
    if (!ret && vcpu->index == 0)
        ret = vcpu_set_registers(vcpu, boot, err);
    return ret;
}

#define RFLAGS_IF 0x200u

bool kvm_arch_vcpu_halted(struct vcpu *vcpu)
{
    struct kvm_mp_state state;
    struct kvm_regs regs;

    if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) < 0)
        return false;
    if (state.mp_state == KVM_MP_STATE_UNINITIALIZED ||
        state.mp_state == KVM_MP_STATE_INIT_RECEIVED)
        return vcpu->index != 0; /* never started: it cannot wake by itself */
    if (state.mp_state != KVM_MP_STATE_HALTED)
        return false;
    return ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0 && !(regs.rflags & RFLAGS_IF);
}
