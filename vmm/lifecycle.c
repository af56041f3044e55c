/*
 * From the first instruction to the exit status: signals, reboots in place, and every way to end.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "base/terminal.h"
#include "vmm/cmdline.h"
#include "vmm/control.h"
#include "vmm/dirty.h"
#include "vmm/exit_status.h"
#include "vmm/library_pages.h"
#include "vmm/machine.h"
#include "vmm/timing.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* How often an idle machine is asked whether it has halted for good. */
#define HALT_CHECK_NS UINT64_C(1000000000)

/* --- crashes ---------------------------------------------------------------------------------- */

/* Whatever becomes of this process, the user's terminal must be usable afterwards. SA_RESETHAND:
 * the instruction or abort() that brought us here then ends the process as it would have without
 * us. Installed before devices guard memory (base/memory_guard.h), whose handler comes first. */
static void crash_handler(int signal)
{
    terminal_restore();
    raise(signal);
}

static void crash_handlers_install(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
    static uint8_t stack[8192]; /* the overflow of a thread's own may be what happened */
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = crash_handler,
                               .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK | SA_NODEFER)};

    sigaltstack(&alternate, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
        sigaction(crashes[i], &action, NULL);
}

/* --- requests --------------------------------------------------------------------------------- */

/*
 * Linux writes the reset mode to the PC BIOS's reset flag before any restart. The default command
 * line has reboot=panic_warm, which makes it 0x1234 ("warm") when a panic restarts it and 0
 * otherwise. A command line without that word says nothing about panics.
 */
#define BIOS_RESET_FLAG      0x472
#define BIOS_RESET_FLAG_WARM 0x1234

bool machine_reset_is_panic(struct machine *machine)
{
    uint8_t flag[2];

    return cmdline_text_has_word(machine->cmdline, CMDLINE_PANIC_WORD) &&
           guest_memory_read(&machine->memory, GPA(BIOS_RESET_FLAG), flag, sizeof(flag)) == 0 &&
           load_le16(flag) == BIOS_RESET_FLAG_WARM;
}

void machine_request(struct machine *machine, enum machine_request request)
{
    int now = atomic_load(&machine->request);

    do {
        /* The first counts; but a guest that resets in a loop must not outrun its user. */
        bool by_user = request == REQUEST_QUIT || request == REQUEST_SIGNAL;
        if (now != REQUEST_NONE && !(now == REQUEST_RESET && by_user))
            return;
    } while (!atomic_compare_exchange_weak(&machine->request, &now, (int)request));
    loop_post(machine->main_loop, &machine->request_task);
}

static void request_run(struct loop_task *task)
{
    loop_stop(container_of(task, struct machine, request_task)->main_loop);
}

static void halt_check(struct loop_timer *timer)
{
    struct machine *machine = container_of(timer, struct machine, halt_timer);

    if (kvm_vcpus_halted(machine->vm))
        machine_request(machine, REQUEST_HALTED);
    else
        loop_timer_set(machine->main_loop, timer, HALT_CHECK_NS);
}

void machine_lifecycle_init(struct machine *machine)
{
    crash_handlers_install();
    machine->request_task.run = request_run;
    machine->halt_timer.expired = halt_check;
}

static void vcpu_ended(void *opaque, unsigned index, enum vcpu_end why, const char *detail)
{
    struct machine *machine = opaque;
    int none = REQUEST_NONE;

    if (why == VCPU_END_TRIPLE_FAULT) {
        machine_request(machine, REQUEST_TRIPLE_FAULT);
        return;
    }
    /* `failure` belongs to whoever's request was the first. */
    if (atomic_compare_exchange_strong(&machine->request, &none, REQUEST_VCPU_FAILED)) {
        snprintf(machine->failure, sizeof(machine->failure), "vCPU %u: %s", index, detail);
        loop_post(machine->main_loop, &machine->request_task);
    }
}

/* A kernel unpacked on the host starts with the first instruction. One that unpacks itself is seen
 * when it first touches a device. */
static void first_entry(void *opaque)
{
    struct machine *machine = opaque;

    timing_mark(TIMING_GUEST);
    if (!machine->placement.randomized_by_guest)
        timing_mark(TIMING_KERNEL);
}

static void first_exit(void *opaque)
{
    (void)opaque;
    timing_mark(TIMING_KERNEL);
}

/* --- signals ---------------------------------------------------------------------------------- */

struct signal_source {
    struct loop_fd fd;
    struct machine *machine;
};

void machine_ask_to_end(struct machine *machine, int signal)
{
    if (atomic_fetch_add(&machine->asked, 1) == 0) {
        log_info("vireo", "asking the guest to power off; the next time ends it at once");
        power_button_press(machine->power);
        return;
    }
    atomic_store(&machine->signal, signal);
    machine_request(machine, signal ? REQUEST_SIGNAL : REQUEST_QUIT);
}

/* Most ask the machine to end; not a new size of the terminal, nor the wish for a picture. */
static void signal_ready(struct loop_fd *self, uint32_t events)
{
    struct machine *machine = container_of(self, struct signal_source, fd)->machine;
    struct signalfd_siginfo info;

    (void)events;
    if (read(self->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH) {
        chardev_window_changed();
        return;
    }
    if (info.ssi_signo == SIGUSR2)
        machine_display_save(&machine->display);
    else
        machine_ask_to_end(machine, (int)info.ssi_signo);
}

static int signals_take(struct machine *machine, struct signal_source *source, struct error *err)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR2};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
        sigaddset(&set, handled[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    source->machine = machine;
    source->fd = (struct loop_fd){
        .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
        .events = EPOLLIN,
        .ready = signal_ready,
    };
    if (source->fd.fd < 0)
        return error_errno(err, errno, "cannot watch for signals");
    return loop_fd_add(machine->main_loop, &source->fd, err);
}

static void signals_release(struct machine *machine, struct signal_source *source)
{
    loop_fd_close(machine->main_loop, &source->fd);
}

/* --- running ---------------------------------------------------------------------------------- */

static int run_status(const struct machine *machine, enum machine_request request)
{
    switch (request) {
    case REQUEST_POWEROFF:
        return EXIT_POWEROFF;
    case REQUEST_RESET:
        return EXIT_REBOOT;
    case REQUEST_PANIC:
        return EXIT_PANIC;
    case REQUEST_HALTED:
        return EXIT_HALTED;
    case REQUEST_TRIPLE_FAULT:
        return EXIT_TRIPLE_FAULT;
    case REQUEST_VCPU_FAILED:
        return EXIT_VCPU_FAILED;
    case REQUEST_QUIT:
        return EXIT_QUIT;
    case REQUEST_SIGNAL:
        return EXIT_SIGNAL + machine->signal;
    default:
        return EXIT_HOST_FAILURE;
    }
}

/* Run until something ends this boot. */
static int run_once(struct machine *machine, enum machine_request *ended, struct error *err)
{
    struct vcpu_events events = {
        .ended = vcpu_ended,
        .first_entry = first_entry,
        .first_exit = first_exit,
        .opaque = machine,
    };
    int ret;

    timing_mark(TIMING_READY);
    ret = kvm_vcpus_start(machine->vm, &events, err);
    if (ret)
        return ret;
    library_pages_release();
    loop_timer_set(machine->main_loop, &machine->halt_timer, HALT_CHECK_NS);
    loop_run(machine->main_loop);
    loop_timer_cancel(machine->main_loop, &machine->halt_timer);
    kvm_vcpus_stop(machine->vm);
    /* From here on a request is one about the next boot: a quit during a reboot is not lost. */
    *ended = (enum machine_request)atomic_exchange(&machine->request, REQUEST_NONE);
    return 0;
}

/* Everything as at power-on; the host's side (files, sockets, the terminal) stays open. */
static int machine_reset(struct machine *machine, struct error *err)
{
    int ret;

    log_info("vireo", "the guest reboots");
    for (size_t i = 0; i < machine->device_count; i++)
        machine_device_reset(machine->devices[i]);
    pci_bus_reset(machine->pci);
    serial_reset(machine->serial);
    machine_dirty_all(machine);
    ret = guest_memory_clear(&machine->memory, err);
    if (!ret)
        ret = kvm_vm_reset(machine->vm, err);
    if (!ret)
        ret = machine_boot(machine, err);
    return ret;
}

static int run_until_end(struct machine *machine, struct error *err)
{
    enum machine_request ended;

    for (;;) {
        if (run_once(machine, &ended, err))
            return EXIT_HOST_FAILURE;
        if (ended != REQUEST_RESET || machine->config->no_reboot)
            break;
        if (machine_reset(machine, err))
            return EXIT_HOST_FAILURE;
    }
    serial_flush(machine->serial);
    if (ended == REQUEST_VCPU_FAILED)
        error_set(err, EIO, "%s", machine->failure);
    return run_status(machine, ended);
}

/* What can only be tried now, in earnest: sockets to listen at, files to write. */
static int start_devices(struct machine *machine, struct error *err)
{
    for (size_t i = 0; i < machine->device_count; i++) {
        int ret = virtio_device_start(&machine->devices[i]->virtio, err);

        if (ret) {
            error_prefix(err, "%s", machine->config->devices[i].options.origin);
            return ret;
        }
    }
    return 0;
}

/* The host's side of everything: 0, or an enum exit_status. */
static int start_hosts(struct machine *machine, struct signal_source *signals, struct error *err)
{
    /* Threads inherit the mask: signals are taken before any is made. */
    if (signals_take(machine, signals, err) || iothreads_start(&machine->iothreads, err) ||
        chardev_start(machine->console, err))
        return EXIT_HOST_FAILURE;
    if (machine_display_open(&machine->display, machine->config, err) ||
        start_devices(machine, err))
        return EXIT_USAGE;
    if (machine->control && control_start(machine->control, err))
        return EXIT_HOST_FAILURE;
    return 0;
}

int machine_run(struct machine *machine, struct error *err)
{
    struct signal_source signals = {.fd.fd = -1};
    int status;

    status = start_hosts(machine, &signals, err);
    if (!status)
        status = run_until_end(machine, err);
    machine_display_end(&machine->display, status != EXIT_USAGE, machine->config->timing);
    signals_release(machine, &signals);
    terminal_restore();
    return status;
}
