/* `vireo run`: from the command line to the exit status. */
#include "vmm/run.h"

#include "base/terminal.h"
#include "vmm/config.h"
#include "vmm/exit_status.h"
#include "vmm/machine.h"
#include "vmm/timing.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>

static void print_error(const struct error *err)
{
    terminal_restore();
    fprintf(stderr, "vireo: %s\n", err->text);
}

/* What can be seen without starting anything. */
static int show_only(struct machine *machine, struct error *err)
{
    if (machine->config->dump_acpi &&
        acpi_tables_dump(&machine->acpi, machine->config->dump_acpi, err)) {
        error_prefix(err, "--dump-acpi %s", machine->config->dump_acpi);
        return -1;
    }
    if (machine->config->dry_run)
        machine_print(machine, stdout);
    return 0;
}

static int run_machine(struct machine *machine, struct vm_config *config, struct error *err)
{
    int status;

    if (machine_create(machine, config, &status, err))
        return status;
    if (machine_boot(machine, err) || show_only(machine, err))
        return EXIT_USAGE;
    if (config->dry_run)
        return EXIT_POWEROFF;
    status = machine_run(machine, err);
    if (config->timing)
        timing_print(stderr);
    return status;
}

int run_main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct vm_config config;
    struct machine machine = {0};
    int status = EXIT_USAGE;

    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of write(2), not our end */
    /* vCPU threads hardly allocate: one arena serves all, and none maps 64 MiB of its own. */
    mallopt(M_ARENA_MAX, 1);

    vm_config_init(&config);
    if (!vm_config_parse(&config, argc, argv, &err)) {
        status = run_machine(&machine, &config, &err);
        machine_destroy(&machine);
    }
    vm_config_free(&config);
    if (status == EXIT_HOST_FAILURE || status == EXIT_USAGE || status == EXIT_NO_KVM ||
        status == EXIT_VCPU_FAILED)
        print_error(&err);
    return status;
}
