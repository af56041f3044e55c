/*
 * A device of any type (specification 5), known or not, that another process serves over
 * vhost-user: its number, its queues and the size of its configuration are all there is to say.
 */
#ifndef DEVICES_VIRTIO_USER_H
#define DEVICES_VIRTIO_USER_H

#include "virtio/builtin.h"

struct virtio_user_options {
    char *type;        /* a name of the specification's, or a number */
    char *config_size; /* bytes; NULL: the type's */
    uint64_t features; /* bits that may be offered */
};

extern const struct virtio_model virtio_user_model;

#endif
