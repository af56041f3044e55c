#include "vmm/check.h"
#include "vmm/exit_status.h"
#include "vmm/help.h"
#include "vmm/run.h"
#include "vmm/timing.h"

#include <stdio.h>
#include <string.h>

static int help_main(const char *topic)
{
    if (help_print(stdout, topic)) {
        fprintf(stderr, "vireo: no help on '%s'; 'vireo help' lists the topics\n", topic);
        return EXIT_USAGE;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "help";

    timing_start();
    if (strcmp(command, "run") == 0)
        return run_main(argc - 2, argv + 2);
    if (strcmp(command, "check") == 0)
        return check_main();
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
        strcmp(command, "-h") == 0)
        return help_main(argc > 2 ? argv[2] : NULL);
    if (strcmp(command, "--version") == 0) {
        puts("vireo " VIREO_VERSION);
        return 0;
    }
    fprintf(stderr, "vireo: unknown command '%s'; try 'vireo help'\n", command);
    return EXIT_USAGE;
}
