/*
 * Between the files of a device in the machine: machine_device_options.c takes what the user says
 * about it, machine_device_backend.c makes what serves it, and machine_device.c plugs it in.
 */
#ifndef VMM_MACHINE_DEVICE_INTERNAL_H
#define VMM_MACHINE_DEVICE_INTERNAL_H

#include "vmm/machine_device.h"

#include <stdbool.h>

/* --- machine_device_options.c --- */

/* Another process or the host's device serves it: a type's own keys are then not for us. `slot` is
 * a struct device_slot. */
bool machine_device_served_elsewhere(const void *slot);

/* Take and check all options: fills device->setup, slot, vectors, socket_fd, reconnect_s and, where
 * a process is to be started, arguments. The caller releases these, also after an error. */
int machine_device_take_options(struct machine_device *device, struct device_config *config,
                                const char *default_id, const struct device_site *site,
                                struct error *err);

/* --- machine_device_backend.c --- */

/* Make the back end, starting the process if there is one to start, and device->virtio over it. */
int machine_device_make_virtio(struct machine_device *device, const struct device_site *site,
                               struct error *err);

#endif
