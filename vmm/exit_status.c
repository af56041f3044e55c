/* What each exit status means, for the help and the manual page. */
#include "vmm/exit_status.h"

#include "base/bytes.h"

const struct exit_status_help exit_statuses[] = {
    {EXIT_POWEROFF, "the guest powered itself off"},
    {EXIT_HOST_FAILURE, "the host failed while the guest ran (memory, a file, a device)"},
    {EXIT_USAGE, "an option, a file or an image was refused; nothing was started"},
    {EXIT_NO_KVM, "this host's KVM is missing, not permitted, or cannot run a stock kernel"},
    {EXIT_REBOOT, "the guest rebooted and --no-reboot was given"},
    {EXIT_HALTED, "the guest halted: every CPU stopped with interrupts off"},
    {EXIT_TRIPLE_FAULT, "a guest CPU met a triple fault"},
    {EXIT_PANIC, "the guest's kernel panicked"},
    {EXIT_VCPU_FAILED, "KVM could not go on running a guest CPU; the message says why"},
    {EXIT_QUIT, "the user quit at the console (Ctrl-A x)"},
    {EXIT_SIGNAL, "plus N: a second signal N ended Vireo before the guest powered off"},
};
const size_t exit_statuses_count = ARRAY_SIZE(exit_statuses);
