/*
 * Devices that somebody else serves: all that Vireo has to know of their type.
 *
 * A type with a model of ours (builtin.h) may have such a table beside it; one without a model has
 * nothing else. The back end (vhost_user.h) is the same for all of them.
 */
#ifndef VIRTIO_FOREIGN_H
#define VIRTIO_FOREIGN_H

#include "base/error.h"
#include "base/option.h"
#include "virtio/features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct display;
struct vhost_user_front_part;

#define VIRTIO_FOREIGN_CONFIG_MAX 256

/* What the driver sees where the back end serves no configuration (virtiofsd, DPDK). */
struct virtio_stand_in {
    uint8_t config[VIRTIO_FOREIGN_CONFIG_MAX]; /* constant; writes are dropped */
    struct virtio_features added;              /* offered, and not the back end's affair */
    struct virtio_features removed;            /* not offered */
    uint16_t queue_count_max;                  /* virtqueues, 0: no limit */

    /* The key by which the user said what the configuration is, or its size, so that a back end
     * that says so itself is refused; NULL: did not. */
    const char *key;
};

/* One device: what it is to its driver, and what its back end is asked for. */
struct virtio_foreign {
    uint16_t id;                   /* enum virtio_device_id */
    uint16_t queue_count;          /* virtqueues, 1 to VIRTIO_QUEUES_MAX */
    uint32_t config_size;          /* bytes, at most VIRTIO_FOREIGN_CONFIG_MAX */
    struct virtio_features masked; /* not offered */
    bool has_stand_in;             /* else its back end has to serve the configuration */
    struct virtio_stand_in stand_in;
};

struct virtio_foreign_type {
    /* The keys that apply in the place of a model's: fill a structure of options_size bytes. */
    const struct option_spec *options;
    size_t option_count, options_size;

    /* Complete *out by the options: id and config_size are what the type's model says, queue_count
     * is the number that queues= says, the rest is 0. -EINVAL and others name the key. */
    int (*describe)(const void *options, struct virtio_foreign *out, struct error *err);

    /* What the front end of such a device does itself (virtio/vhost_user.h): made before its back
     * end, destroyed after it. `options` are those above, or the model's where the process runs it
     * for us (`own`). NULL: nothing. */
    int (*make_front_part)(const void *options, bool own, struct display *display, const char *name,
                           struct vhost_user_front_part **out, struct error *err);
};

#endif
