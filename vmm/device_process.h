/*
 * A process that serves a device over vhost-user, started by us: our own program, confined
 * (`isolate=on`), or somebody else's (backend=vhost-user without a socket).
 *
 * It inherits one end of a socket pair, named by --fd=N, and ends when the other end is closed; if
 * it does not, it is ended. Standard input is empty, standard output is the log. What becomes of it
 * is logged. It can be started anew after its end: device_process_connect is what a back end calls
 * whenever it needs a connection.
 *
 * Our own program has a second socket, --supervisor=N, for what vhost-user has no words for:
 * packets of text. It says "ok", or "error: REASON", once it has opened all it needs and serves;
 * then, after each request of ours. These are "start", with which it does what must not happen when
 * only options are checked, and confines itself; and "command NAME ARGUMENT", a command of the
 * device's type (virtio/builtin.h). "alive" wants no answer: it is only to be taken, which one that
 * hangs does not. That one is killed, and its back end finds its end as that of any other.
 *
 * A process is the child of a thread, with which it would die: so each has a thread here, its
 * keeper, which does nothing but to start it and to wait for its end.
 *
 * Thread: any.
 */
#ifndef VMM_DEVICE_PROCESS_H
#define VMM_DEVICE_PROCESS_H

#include "base/error.h"
#include "virtio/vhost_user.h"

#include <stdbool.h>

#define SUPERVISOR_PACKET_MAX 1024
#define SUPERVISOR_OK         "ok"
#define SUPERVISOR_ERROR      "error: "
#define SUPERVISOR_START      "start"
#define SUPERVISOR_COMMAND    "command "
#define SUPERVISOR_ALIVE      "alive"

struct device_process;

/* `arguments` begin with the program's path and end with NULL; they become the process's, also when
 * this fails. --fd and --supervisor are added. `supervised`: it is our own program, and `hang_ms`
 * how long it may be deaf before it is killed (after twice that at most); 0: for ever. */
int device_process_create(const char *name, char **arguments, bool supervised, unsigned hang_ms,
                          struct device_process **out, struct error *err);

/* Start it, and return our end of its socket, the caller's from now on. -errno: it was not started,
 * or ended at once; the reason is its own where it tells. If it was told to start before, it is
 * told again. */
int device_process_connect(struct device_process *process, struct error *err);

/* Of a supervised one; any other has nothing to start, and takes no commands (-ENOENT). */
int device_process_start(struct device_process *process, struct error *err);
int device_process_command(struct device_process *process, const char *name, const char *argument,
                           struct error *err);

/* Say in `err` how it has ended, if it has and did not say why: what somebody who talked to it
 * cannot know. */
void device_process_explain(struct device_process *process, struct error *err);

/* To connect, to start and to command, for the back end that uses it. */
struct vhost_user_process device_process_callbacks(struct device_process *process);

/* Wait until it has ended, but not for long; our end of its socket is closed by then. */
void device_process_destroy(struct device_process *process);

#endif
