/*
 * What the user asked for: filled from the command line and from JSON by the same table.
 */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "base/error.h"
#include "base/option.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct display_viewer_kind; /* devices/display/viewer.h */

struct string_list {
    char **items;
    size_t count;
};

/* One --device (or --disk): type and options, not yet checked against the type's table. */
struct device_config {
    char *type;
    struct option_list options;
};

/* One --display: kind and options, not yet checked against the kind's table. */
struct display_config {
    const struct display_viewer_kind *kind;
    struct option_list options;
};

struct vm_config {
    char *name; /* of the machine, for people; NULL: none was given */
    char *kernel;
    uint64_t cpus;
    uint64_t memory_size;
    bool hugepages, shared;
    struct string_list initrds;
    char *append;  /* added to the default command line */
    char *cmdline; /* replaces it */
    char *serial;
    char *control; /* path of the control socket */
    struct device_config *devices;
    size_t device_count;
    struct display_config *displays;
    size_t display_count;
    bool kaslr, unpack;
    bool no_reboot, dry_run, timing;
    char *dump_acpi;
};

/* One option of `vireo run`, on the command line (--name) and in JSON ("name"). */
struct run_option {
    char letter; /* -x, or 0 */
    const char *name;
    const char *metavar; /* NULL: a switch */
    const char *help;
    int (*set)(struct vm_config *config, const char *origin, const char *value, struct error *err);
};
extern const struct run_option run_options[];
extern const size_t run_option_count;

/* The keys of --memory. */
extern const struct option_spec memory_options[];
extern const size_t memory_option_count;

void vm_config_init(struct vm_config *config);
void vm_config_free(struct vm_config *config);

/* Set one option by name; `origin` is how messages name it ("--disk a.img", "vm.json: disk"). */
int vm_config_set(struct vm_config *config, const char *origin, const char *name, const char *value,
                  struct error *err);

/* Where the serial port goes: `serial`, or stdio, or nowhere when a console is on stdio. */
const char *vm_config_serial(const struct vm_config *config);

/* Is any port of this device, a console, on stdio? */
bool device_config_on_stdio(const struct device_config *config);

/* Is there a virtio console that the guest may use as its own (hvc0)? */
bool vm_config_has_console(const struct vm_config *config);

/* `vireo run`'s arguments after "run". Errors are -EINVAL. */
int vm_config_parse(struct vm_config *config, int argc, char **argv, struct error *err);

/* Read FILE.json through the module vireo-config. */
int vm_config_load_json(struct vm_config *config, const char *path, struct error *err);

#endif
