/*
 * Which program to start for a device, and with which arguments: our own, confined, for isolate=on;
 * or one that others wrote, for backend=vhost-user without a socket. They are run by
 * device_process.h.
 */
#ifndef VMM_DEVICE_LAUNCH_H
#define VMM_DEVICE_LAUNCH_H

#include "base/error.h"
#include "base/option.h"
#include "vmm/config.h"
#include "vmm/device_setup.h"

/* The keys of a device's place in a machine, which no program is told of. */
struct device_launch_place {
    const struct option_spec *options;
    size_t option_count;
};

/* How the arguments of our own program begin, confined, for a device of this type. */
int device_launch_begin(const char *type, char ***arguments, struct error *err);

/*
 * Our own program: the device's keys and feature bits as the user gave them, its name, and as many
 * queues as it would have in a machine of `cpus`. -EINVAL for what cannot be done in confinement.
 * The caller frees *arguments (arguments_free), also after an error.
 */
int device_launch_isolated(const struct device_setup *setup, const struct device_config *config,
                           const struct device_launch_place *place, unsigned cpus,
                           char ***arguments, struct error *err);

/* Once a confined process has ended: remove the names of sockets that it listened on, which it
 * could not do itself. */
void device_launch_remove_names(const struct device_setup *setup);

/*
 * A program for a device of this type: `program`, or with NULL the one that is found (discovery.h).
 * It is asked whether it serves the type. Keys that are neither the machine's nor feature bits are
 * taken out of config->options and become its options, by the names its kind has for them; `queues`
 * stays there, too. Before the rest of the options is taken.
 */
int device_launch_program(struct device_config *config, const char *program,
                          const struct device_launch_place *place, char ***arguments,
                          struct error *err);

#endif
