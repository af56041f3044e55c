/* The program: which subcommand is meant. */
#include "base/bytes.h"
#include "vmm/check.h"
#include "vmm/control.h"
#include "vmm/device_program.h"
#include "vmm/exit_status.h"
#include "vmm/help.h"
#include "vmm/run.h"
#include "vmm/timing.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int help_main(int argc, char **argv)
{
    const char *topic = argc > 0 ? argv[0] : NULL;

    if (argc > 1) {
        fprintf(stderr, "vireo: help on one topic at a time, not on '%s' too\n", argv[1]);
        return EXIT_USAGE;
    }
    if (help_print(stdout, topic)) {
        fprintf(stderr, "vireo: no help on '%s'; 'vireo help' lists the topics\n",
                topic ? topic : "");
        return EXIT_USAGE;
    }
    return 0;
}

static bool wants_help(int argc, char **argv)
{
    return argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
}

static int dispatch(const char *command, int argc, char **argv)
{
    if (strcmp(command, "run") == 0)
        return wants_help(argc, argv) ? help_main(0, NULL) : run_main(argc, argv);
    if (strcmp(command, "control") == 0)
        return wants_help(argc, argv) ? help_main(1, (char *[]){"control"})
                                      : control_main(argc, argv);
    if (strcmp(command, "device") == 0)
        return wants_help(argc, argv) ? help_main(1, (char *[]){"programs"})
                                      : device_program_main(argc, argv);
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
        strcmp(command, "-h") == 0)
        return help_main(argc, argv);
    if (strcmp(command, "check") == 0 && argc == 0)
        return check_main();
    if (strcmp(command, "--version") == 0 && argc == 0)
        return puts("vireo " VIREO_VERSION) < 0 ? EXIT_HOST_FAILURE : 0;
    if (strcmp(command, "check") == 0 || strcmp(command, "--version") == 0)
        fprintf(stderr, "vireo: '%s' takes no arguments, such as '%s'\n", command, argv[0]);
    else
        fprintf(stderr, "vireo: unknown command '%s'; try 'vireo help'\n", command);
    return EXIT_USAGE;
}

/* Called by the name of a device's program, we are that. */
static int start(int argc, char **argv)
{
    const char *type = argc > 0 ? device_program_type(argv[0]) : NULL;

    if (!type)
        return dispatch(argc > 1 ? argv[1] : "help", MAX(argc - 2, 0), argv + MIN(argc, 2));
    argv[0] = (char *)(uintptr_t)type;
    return device_program_main(argc, argv);
}

int main(int argc, char **argv)
{
    int status;

    timing_start();
    status = start(argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "vireo: cannot write to standard output\n");
        return status ? status : EXIT_HOST_FAILURE;
    }
    return status;
}
