/*
 * The module vireo-isolate: which system calls a confined device may make, by libseccomp.
 *
 * What is on no list ends the process (SIGSYS). A few calls that libraries try and can do without,
 * such as opening a file, are refused with an error instead. Arguments are looked at where a call
 * could do more than a device needs: no executable memory, no new processes, no other ioctls.
 *
 * A renderer ("gpu-3d") stands on libraries that compile, and on drivers whose ioctls nobody can
 * list: it has executable memory and any ioctl, and is refused what is on no list, with an error.
 */
#ifndef VMM_ISOLATE_FILTER_H
#define VMM_ISOLATE_FILTER_H

#include "base/error.h"

#include <linux/filter.h>

struct isolate_filter_module {
    /* Make the program for a device of this type, or what it is confined as (virtio_model), in this
     * very process (its process ID is in it). `out->filter` is allocated, for the caller to free.
     * -ENOENT: the type has no list. */
    int (*compile)(const char *type, struct sock_fprog *out, struct error *err);
};

#endif
