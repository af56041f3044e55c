/*
 * The name spaces of a process that is confined; see isolate.h.
 */
#ifndef VMM_ISOLATE_NAMESPACES_H
#define VMM_ISOLATE_NAMESPACES_H

/* Into empty ones, as far as the host permits; what it does not is logged for `name`. */
void isolate_namespaces_leave(const char *name);

#endif
