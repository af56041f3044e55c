/*
 * virtio-entropy (specification 5.4): random bytes for the guest, from the host's generator or from
 * a file, as many a second as the user allows.
 */
#ifndef DEVICES_RNG_H
#define DEVICES_RNG_H

#include "virtio/builtin.h"

struct rng_options {
    char *source;   /* "getrandom", or a path */
    uint64_t rate;  /* bytes a second; 0: no limit */
    uint64_t burst; /* bytes that may come at once after a rest; 0: what `rate` gives in a second */
};

extern const struct virtio_model rng_model;

#endif
