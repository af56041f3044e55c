/*
 * How `vireo run` ends, as a shell sees it. The table in exit_status.c feeds `vireo help` and the
 * manual page.
 */
#ifndef VMM_EXIT_STATUS_H
#define VMM_EXIT_STATUS_H

#include <stddef.h>

enum exit_status {
    EXIT_POWEROFF = 0,
    EXIT_HOST_FAILURE = 1,
    EXIT_USAGE = 2,
    EXIT_NO_KVM = 3,
    EXIT_REBOOT = 10,
    EXIT_HALTED = 11,
    EXIT_TRIPLE_FAULT = 12,
    EXIT_PANIC = 13,
    EXIT_VCPU_FAILED = 14,
    EXIT_QUIT = 15,
    EXIT_SIGNAL = 128, /* plus the signal's number */
};

struct exit_status_help {
    int status;
    const char *meaning;
};
extern const struct exit_status_help exit_statuses[];
extern const size_t exit_statuses_count;

#endif
