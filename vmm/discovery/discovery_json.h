/*
 * The module vireo-discovery: what programs that serve devices, and files about them, say in JSON.
 */
#ifndef VMM_DISCOVERY_DISCOVERY_JSON_H
#define VMM_DISCOVERY_DISCOVERY_JSON_H

#include "base/error.h"

#include <stdio.h>

struct discovery_entry {
    char *description, *type, *binary;
};

struct discovery_module {
    /* A discovery file. The entry's texts are allocated, for the caller to free. -EINVAL. */
    int (*read)(FILE *in, struct discovery_entry *out, struct error *err);
    int (*write)(FILE *out, const struct discovery_entry *entry, struct error *err);

    /* What a program answers to --print-capabilities: its type, allocated. -EINVAL. */
    int (*read_capabilities)(FILE *in, char **type, struct error *err);

    /* `features`: NULL-terminated. */
    int (*write_capabilities)(FILE *out, const char *type, const char *const *features,
                              struct error *err);
};

#endif
