/*
 * The control socket: what a user asks of a running machine, a line each way.
 *
 *     devices                         what is there: ID TYPE PLACE, a line each
 *     power                           press the power button
 *     quit                            end at once
 *     dirty-log on|off                log which pages are written to
 *     dirty-pages FILE                which were, since the last time
 *     DEVICE COMMAND [ARGUMENT]       what the device's type knows, as "disk0 resize 2G"
 *
 * The answer to each line is any number of lines that start with a space, then "ok" or "error:
 * REASON". Whoever may connect may command: the socket's permissions are the user's umask.
 *
 * Server: on the main loop. A client that does not read its answers is dropped.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "base/error.h"
#include "base/loop.h"

#include <stdio.h>

struct control;
struct machine;

/* Listen on `path`, answered from control_start on. */
int control_create(const char *path, struct machine *machine, struct control **out,
                   struct error *err);
int control_start(struct control *control, struct error *err);
void control_destroy(struct control *control);

/* `vireo control PATH WORD...`: returns an exit status. */
int control_main(int argc, char **argv);

/* For help: the machine's own commands, and those of every device type. */
void control_print_help(FILE *out);

#endif
