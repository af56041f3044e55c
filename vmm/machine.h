/*
 * The machine: everything wired together, from a configuration to a running guest and back.
 *
 *   machine_create   checks and opens everything; nothing runs yet, and machine_destroy leaves
 *                    nothing behind when it refused (machine.c)
 *   machine_boot     puts kernel, initrd and tables into memory, sets up the vCPUs; again for
 *                    each reboot (boot.c)
 *   machine_run      runs until the guest or the user ends it, rebooting in place (lifecycle.c)
 *
 * Threads: all of this is the main thread's. vCPU threads and device loops reach the machine
 * through machine_request alone.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "base/error.h"
#include "base/loop.h"
#include "devices/chardev/chardev.h"
#include "devices/power.h"
#include "devices/serial.h"
#include "firmware/acpi.h"
#include "firmware/boot_params.h"
#include "guest/dirty_log.h"
#include "guest/initrd.h"
#include "guest/kernel.h"
#include "guest/memory.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "transport/pci_bus.h"
#include "vmm/config.h"
#include "vmm/machine_device.h"
#include "vmm/machine_display.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

/* What can end a run, or begin the next one. The first request wins. */
enum machine_request {
    REQUEST_NONE,
    REQUEST_POWEROFF,
    REQUEST_RESET,
    REQUEST_PANIC,
    REQUEST_HALTED,
    REQUEST_TRIPLE_FAULT,
    REQUEST_VCPU_FAILED,
    REQUEST_QUIT,
    REQUEST_SIGNAL,
};

struct control;

struct machine {
    struct vm_config *config; /* borrowed */

    struct loop *main_loop;
    struct iothreads iothreads;

    struct guest_memory memory;
    struct dirty_log dirty_log; /* .bits is NULL: not logging */
    char *cache_dir;            /* for unpacked kernels; NULL: none */
    struct kernel *kernel;
    struct initrd initrd;
    char *cmdline;

    struct kvm_vm *vm; /* NULL in a dry run */
    struct platform *platform;

    struct chardev *console;
    struct serial *serial;
    struct power *power;
    struct pci_bus *pci;
    struct machine_device **devices;
    size_t device_count;
    struct machine_display display;
    struct control *control; /* NULL without --control */
    struct acpi_tables acpi;

    /* Of the last machine_boot. */
    struct boot_info boot_info;
    struct kernel_placement placement;

    atomic_int request; /* enum machine_request */
    struct loop_task request_task;
    struct loop_timer halt_timer;
    char failure[320]; /* why REQUEST_VCPU_FAILED; written before the request */
    atomic_int signal; /* which, for REQUEST_SIGNAL */
    atomic_uint asked; /* how often it was asked to end */
};

/* -EINVAL and others: the configuration was refused; -ENOTSUP, -ENOENT, -EACCES from KVM are told
 * apart by *exit_status, which is what the program should end with. */
int machine_create(struct machine *machine, struct vm_config *config, int *exit_status,
                   struct error *err);
void machine_destroy(struct machine *machine);

/* boot.c */
int machine_boot(struct machine *machine, struct error *err);

/* lifecycle.c: returns an enum exit_status; EXIT_USAGE when what a device is to listen at or write
 * to was refused, before the guest ran. */
int machine_run(struct machine *machine, struct error *err);

/* Once, before anything can call machine_request. */
void machine_lifecycle_init(struct machine *machine);

/* Is this reset, asked for by the current vCPU thread, the last act of a panic? */
bool machine_reset_is_panic(struct machine *machine);

/* Ask the guest to power off; the second time, end it. Any thread. `signal`: that is why, or 0. */
void machine_ask_to_end(struct machine *machine, int signal);

/* Ask the main thread to end or restart the machine. Any thread. */
void machine_request(struct machine *machine, enum machine_request request);

/* acpi_config.c: describe the machine to the firmware. */
int machine_build_acpi(struct machine *machine, struct error *err);

/* dry_run.c */
void machine_print(const struct machine *machine, FILE *out);
struct platform *dry_run_platform(void);

#endif
