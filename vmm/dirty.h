/*
 * Which pages of its memory a machine has written to: its vCPUs (KVM knows) and its devices,
 * whoever serves them, behind one call. Main thread.
 */
#ifndef VMM_DIRTY_H
#define VMM_DIRTY_H

#include "vmm/machine.h"

/* Begin to log. Refused, and nothing has begun, when a device's back end cannot tell what it writes
 * (-ENOTSUP, naming it), or by the host. Without effect when it is on. */
int machine_dirty_start(struct machine *machine, struct error *err);

void machine_dirty_stop(struct machine *machine);

/*
 * Tell each run of pages (of DIRTY_PAGE_SIZE) written to since the last call, or since the start,
 * in order of addresses, and in *pages how many these are. A page that is being written to may be
 * in this answer and in the next. -EINVAL when logging is off.
 */
int machine_dirty_take(struct machine *machine,
                       void (*tell)(void *opaque, gpa_t start, uint64_t pages), void *opaque,
                       uint64_t *pages, struct error *err);

/* All memory was made anew (a reboot). */
void machine_dirty_all(struct machine *machine);

#endif
