/*
 * Raw mode for the terminal a guest's console is on, and the way back from it.
 *
 * At most one terminal is in raw mode at a time. Its settings are kept by the terminal, not by a
 * file descriptor, so they outlive the process: whatever way it ends must pass terminal_restore.
 */
#ifndef BASE_TERMINAL_H
#define BASE_TERMINAL_H

#include "base/error.h"

#include <stdbool.h>

/*
 * Every key as a byte, no echo, no signals from keys, no translation of output. Log lines get CR LF
 * from here on if they go to a terminal. -ENOTTY, -EBUSY when a terminal is in raw mode already, or
 * the host's reason. One
 * thread at a time.
 */
int terminal_raw(int fd, struct error *err);

/* Back to the settings found by terminal_raw; nothing when there is nothing to restore. Any thread,
 * also from a signal handler (SIGSEGV, SIGABRT, ...). The descriptor must still be open. */
void terminal_restore(void);

/* Is this process in the terminal's foreground? In the background (`vireo ... &`) both reading and
 * changing its settings would stop the process. */
bool terminal_is_foreground(int fd);

#endif
