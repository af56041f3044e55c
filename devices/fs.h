/*
 * virtio-fs (specification 5.11): a directory of the host, by FUSE requests. A daemon such as
 * virtiofsd serves it over vhost-user; most know nothing of its configuration, which is ours then.
 */
#ifndef DEVICES_FS_H
#define DEVICES_FS_H

#include "virtio/builtin.h"

struct fs_options {
    char *tag; /* by which the guest mounts it; NULL: the daemon tells */
};

extern const struct virtio_model fs_model;

#endif
