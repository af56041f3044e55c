/*
 * Programs that serve devices over vhost-user, found as QEMU's conventions have it
 * (docs/interop/vhost-user.json): JSON files, each of which names a type and a program for it.
 *
 *     $XDG_CONFIG_HOME/qemu/vhost-user     the user's own (default: ~/.config/...)
 *     /etc/qemu/vhost-user                 the administrator's
 *     /usr/share/qemu/vhost-user           the distribution's
 *     PREFIX/share/qemu/vhost-user         those installed with Vireo, where that is elsewhere
 *
 * The files of all directories are sorted by name, and the first one of the type is taken. Of
 * several with one name the first directory's counts, and an empty one hides the others. A file
 * that makes no sense is passed over, and the log says so.
 */
#ifndef VMM_DISCOVERY_H
#define VMM_DISCOVERY_H

#include "base/error.h"

/* What the conventions call devices of a type of ours: "block" for "blk". */
const char *discovery_type(const char *type);

/* The path of the program for devices of `type`, a name of ours; the caller frees it. -ENOENT:
 * there is none. */
int discovery_find(const char *type, char **out, struct error *err);

/* The same in directories of the caller's choice, NULL-terminated. */
int discovery_find_in(const char *const *directories, const char *type, char **out,
                      struct error *err);

/* Ask a program for its capabilities: whether it serves devices of `type`, a name of ours. It has
 * some seconds to answer. */
int discovery_check(const char *program, const char *type, struct error *err);

#endif
