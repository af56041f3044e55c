/*
 * Between the files of the configuration.
 */
#ifndef VMM_CONFIG_INTERNAL_H
#define VMM_CONFIG_INTERNAL_H

#include "vmm/config.h"

/* Add a device of this type, or with NULL of the one that `type=` names. `first_key` is what a
 * first item without a key stands for. */
int vm_config_add_device(struct vm_config *config, const char *origin, const char *type,
                         const char *value, const char *first_key, struct error *err);

/* --- config_display.c --- */

int vm_config_set_display(struct vm_config *config, const char *origin, const char *value,
                          struct error *err);
int vm_config_set_screenshot(struct vm_config *config, const char *origin, const char *value,
                             struct error *err);
void vm_config_free_displays(struct vm_config *config);

/* Once all options are taken: whoever asked for a window gets something to see in it, and to type
 * with, unless these were named. */
int vm_config_complete_display(struct vm_config *config, struct error *err);

#endif
