/*
 * `vireo device TYPE --isolate`: the process around the confined one. A confined process has no way
 * to remove its socket's name, and nobody to say why it was ended.
 */
#ifndef VMM_ISOLATE_MONITOR_H
#define VMM_ISOLATE_MONITOR_H

#include "base/error.h"

/*
 * Run a program, first of `arguments`, as the child of this process, in a name space of process IDs
 * of its own. Pass SIGTERM, SIGINT and SIGHUP on to it, and when it has ended remove the name
 * `path` (or NULL) of its socket, unless that is somebody else's. Returns its exit status, as
 * shells count.
 */
int isolate_monitor(const char *name, char **arguments, const char *path, struct error *err);

#endif
