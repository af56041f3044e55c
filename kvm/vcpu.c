#include "kvm/internal.h"

#include "base/bytes.h"
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

/* A vCPU's thread needs little: exits are handled a few calls deep. */
#define VCPU_STACK_SIZE (128 * KIB)

/* Interrupts KVM_RUN of another thread; the handler does nothing. */
#define VCPU_SIGNAL SIGRTMIN

static void vcpu_signal_ignore(int signal)
{
    (void)signal;
}

/* Make the vCPU look at its flags: leave the guest, or not enter it. */
static void vcpu_kick(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pthread_kill(vcpu->thread, VCPU_SIGNAL);
}

/* A port access: `count` items of `size` bytes for string instructions. */
static void vcpu_handle_io(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_IN)
            bus_read(&vcpu->vm->bus, ADDRESS_PIO, run->io.port, data, run->io.size);
        else
            bus_write(&vcpu->vm->bus, ADDRESS_PIO, run->io.port, data, run->io.size);
    }
}

static void vcpu_handle_mmio(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    if (run->mmio.is_write)
        bus_write(&vcpu->vm->bus, ADDRESS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    else
        bus_read(&vcpu->vm->bus, ADDRESS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void vcpu_end(struct vcpu *vcpu, enum vcpu_end why, const char *detail)
{
    vcpu->vm->events.ended(vcpu->vm->events.opaque, vcpu->index, why, detail);
}

static void vcpu_fail(struct vcpu *vcpu)
{
    char detail[320];

    kvm_arch_describe_failure(vcpu, detail, sizeof(detail));
    vcpu_end(vcpu, VCPU_END_FAILED, detail);
}

/* Returns false when the vCPU cannot go on; the machine has been told. */
static bool vcpu_handle_exit(struct vcpu *vcpu)
{
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_IO:
        vcpu_handle_io(vcpu);
        return true;
    case KVM_EXIT_MMIO:
        vcpu_handle_mmio(vcpu);
        return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_DEBUG:
        return true;
    case KVM_EXIT_SHUTDOWN:
        vcpu_end(vcpu, VCPU_END_TRIPLE_FAULT, "triple fault");
        return false;
    default:
        vcpu_fail(vcpu);
        return false;
    }
}

/* KVM_RUN once. False when the vCPU must end. */
static bool vcpu_enter(struct vcpu *vcpu)
{
    char detail[160];

    if (ioctl(vcpu->fd, KVM_RUN, 0UL) == 0)
        return vcpu_handle_exit(vcpu);
    if (errno == EINTR || errno == EAGAIN)
        return true;
    if (errno == EFAULT && kvm_memory_mended(vcpu))
        return true;
    snprintf(detail, sizeof(detail), "KVM cannot run the guest: %s", strerror(errno));
    vcpu_end(vcpu, VCPU_END_FAILED, detail);
    return false;
}

/* Answer kvm_vcpus_halted, on the vCPU's own thread: its ioctls would block on any other. */
static void vcpu_report(struct vcpu *vcpu)
{
    if (!atomic_exchange(&vcpu->report_state, false))
        return;
    atomic_store(&vcpu->halted, kvm_arch_vcpu_halted(vcpu));
}

static void *vcpu_main(void *arg)
{
    struct vcpu *vcpu = arg;
    const struct vcpu_events *events = &vcpu->vm->events;
    bool first = true;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, VCPU_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);

    if (vcpu->index == 0)
        events->first_entry(events->opaque);
    while (!atomic_load(&vcpu->stop) && vcpu_enter(vcpu)) {
        if (first && vcpu->index == 0)
            events->first_exit(events->opaque);
        first = false;
        if (__atomic_exchange_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST))
            vcpu_report(vcpu);
    }
    return NULL;
}

int kvm_vcpus_setup(struct kvm_vm *vm, const struct boot_state *boot, struct error *err)
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < vm->cpus; i++)
        ret = kvm_arch_vcpu_setup(&vm->vcpus[i], boot, err);
    return ret;
}

static int vcpu_thread_start(struct vcpu *vcpu, struct error *err)
{
    char name[16];
    int ret;

    atomic_store(&vcpu->stop, false);
    atomic_store(&vcpu->halted, false);
    vcpu->run->immediate_exit = 0;
    snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
    ret = thread_start(&vcpu->thread, name, VCPU_STACK_SIZE, vcpu_main, vcpu);
    if (ret)
        return error_errno(err, -ret, "cannot start a thread for vCPU %u", vcpu->index);
    vcpu->has_thread = true;
    return 0;
}

int kvm_vcpus_start(struct kvm_vm *vm, const struct vcpu_events *events, struct error *err)
{
    struct sigaction action = {.sa_handler = vcpu_signal_ignore};

    sigaction(VCPU_SIGNAL, &action, NULL);
    vm->events = *events;
    for (unsigned i = 0; i < vm->cpus; i++) {
        int ret = vcpu_thread_start(&vm->vcpus[i], err);
        if (ret) {
            kvm_vcpus_stop(vm);
            return ret;
        }
    }
    return 0;
}

void kvm_vcpus_stop(struct kvm_vm *vm)
{
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct vcpu *vcpu = &vm->vcpus[i];
        if (!vcpu->has_thread)
            continue;
        atomic_store(&vcpu->stop, true);
        vcpu_kick(vcpu);
    }
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct vcpu *vcpu = &vm->vcpus[i];
        if (vcpu->has_thread)
            pthread_join(vcpu->thread, NULL);
        vcpu->has_thread = false;
    }
}

/* CPU time of the vCPU's thread, guest included. */
static uint64_t vcpu_cpu_time(struct vcpu *vcpu)
{
    struct timespec time = {0};
    clockid_t clock;

    if (pthread_getcpuclockid(vcpu->thread, &clock) == 0)
        clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

bool kvm_vcpus_halted(struct kvm_vm *vm)
{
    bool idle = true, halted = true;

    for (unsigned i = 0; i < vm->cpus; i++) {
        struct vcpu *vcpu = &vm->vcpus[i];
        uint64_t used = vcpu_cpu_time(vcpu);
        /* Answering the last question cost some time itself. */
        if (used - vcpu->cpu_time_ns > 1000000)
            idle = false;
        vcpu->cpu_time_ns = used;
        halted = halted && atomic_load(&vcpu->halted);
    }
    for (unsigned i = 0; idle && i < vm->cpus; i++) {
        atomic_store(&vm->vcpus[i].report_state, true);
        vcpu_kick(&vm->vcpus[i]);
    }
    if (!idle)
        for (unsigned i = 0; i < vm->cpus; i++)
            atomic_store(&vm->vcpus[i].halted, false);
    return idle && halted;
}
