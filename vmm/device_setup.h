/*
 * The devices a user can name, and the options of one: taken from the command line or from JSON,
 * checked against the type's tables, and made into a back end. The same for a device in a machine
 * (machine_device.h) and one that is a program of its own (device_program.h).
 */
#ifndef VMM_DEVICE_SETUP_H
#define VMM_DEVICE_SETUP_H

#include "base/error.h"
#include "base/loop.h"
#include "base/option.h"
#include "devices/display/display.h"
#include "guest/memory.h"
#include "virtio/builtin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every built-in device model; NULL-terminated. */
extern const struct virtio_model *const device_models[];

const struct virtio_model *device_model_find(const char *type);

/* The keys every device has wherever it is, before those of its place and the type's own. */
struct device_common {
    char *id;
    uint64_t queues, queue_size; /* 0: the model's default */
};
extern const struct option_spec device_common_options[];
extern const size_t device_common_option_count;

struct device_setup {
    const struct virtio_model *model;
    struct device_common common;
    bool elsewhere;                        /* `options` are those of model->foreign */
    void *options;                         /* the model's, by its table */
    struct virtio_features wanted, masked; /* by NAME=on and NAME=off */
};

/* The keys of a device's place: in a machine, its transport and the like. */
struct device_place {
    const struct option_spec *options;
    size_t option_count;
    void *target; /* filled by them; the caller releases it */

    const struct option_spec *more; /* keys that not every device of such a place has; or NULL */
    size_t more_count;

    /* Looked at once these are taken: another process serves the device, so the type's own keys do
     * not apply here. NULL: never. */
    bool (*elsewhere)(const void *target);
};

/*
 * Take the options of a device of this type; `origin` in `list` is how messages name it, and
 * `default_id` its name if the user gave none. On failure nothing is kept; the place's options were
 * not touched or are for the caller to release, as always.
 */
int device_setup_take(struct device_setup *setup, const char *type, struct option_list *list,
                      const char *default_id, const struct device_place *place, struct error *err);
void device_setup_release(struct device_setup *setup);

/* How many virtqueues it has, by queues= or for so many vCPUs, and of what size. */
uint16_t device_setup_queue_count(const struct device_setup *setup, unsigned cpus);
uint16_t device_setup_queue_size(const struct device_setup *setup);

/* Tell a device of the display of the machine, or program, it is in; nothing where its type has
 * nothing to do with one. Before it is made. */
void device_setup_display(const struct device_setup *setup, struct display *display);

/* Describe it to a back end elsewhere. */
int device_setup_foreign(const struct device_setup *setup, unsigned cpus,
                         struct virtio_foreign *out, struct error *err);

/* Make the built-in back end; -ENOTSUP when the type has none. */
int device_setup_builtin(const struct device_setup *setup, const struct guest_memory *memory,
                         struct loop *loop, unsigned cpus, struct virtio_backend **out,
                         struct error *err);

/* The same with the host's kernel moving its data. */
int device_setup_vhost(const struct device_setup *setup, const struct guest_memory *memory,
                       struct loop *loop, unsigned cpus, struct virtio_backend **out,
                       struct error *err);

/* What was asked for by NAME=on must be in `offered`. */
int device_setup_check_wanted(const struct device_setup *setup,
                              const struct virtio_features *offered, const char *origin,
                              struct error *err);

#endif
