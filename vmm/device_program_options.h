/*
 * The arguments of `vireo device TYPE`: keys of the device, --KEY=VALUE or KEY=VALUE,KEY=VALUE, and
 * those of the program's place. Some types take the names other programs have for keys of theirs.
 */
#ifndef VMM_DEVICE_PROGRAM_OPTIONS_H
#define VMM_DEVICE_PROGRAM_OPTIONS_H

#include "base/error.h"
#include "base/option.h"
#include "vmm/device_setup.h"

/* The keys of a program's place. */
struct program_place {
    char *socket_path;
    char *fd;
    bool print_capabilities;
    bool isolate, confine;
    char *supervisor;
    char *log;
};
extern const struct option_spec program_options[];
extern const size_t program_option_count;

/* `arguments` begin with the type. The list is what was said, key by key, the program's own keys
 * included: free it. On failure nothing is kept, but `place` is for the caller to release. */
int program_options_take(int argc, char **arguments, struct program_place *place,
                         struct device_setup *setup, struct option_list *list, struct error *err);

/* What other programs call a key of ours, or the key itself. `inverse`: it is a switch that is on
 * where ours is off. */
const char *program_option_theirs(const char *type, const char *key, bool *inverse);

/* The i-th name of others' that the type takes; NULL behind the last. */
const char *program_option_alias(const char *type, size_t index);

#endif
