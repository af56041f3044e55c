/*
 * Feature bits (specification 2.2 and 6): a set of 128, and their names.
 *
 * Bits 0-23, 41, 42 and 50-127 belong to the device type; the rest are the same for all. A device
 * offers a set, the driver acknowledges a subset. Users switch single bits by the specification's
 * names in lower case, without the VIRTIO_ prefixes: event_idx=off, flush=off.
 */
#ifndef VIRTIO_FEATURES_H
#define VIRTIO_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum virtio_feature_bit {
    VIRTIO_F_NOTIFY_ON_EMPTY = 24,
    VIRTIO_F_ANY_LAYOUT = 27,
    VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_ACCESS_PLATFORM = 33,
    VIRTIO_F_RING_PACKED = 34,
    VIRTIO_F_IN_ORDER = 35,
    VIRTIO_F_ORDER_PLATFORM = 36,
    VIRTIO_F_SR_IOV = 37,
    VIRTIO_F_NOTIFICATION_DATA = 38,
    VIRTIO_F_NOTIF_CONFIG_DATA = 39,
    VIRTIO_F_RING_RESET = 40,
    VIRTIO_F_ADMIN_VQ = 41,
    VIRTIO_F_SUSPEND = 43,
};

#define VIRTIO_FEATURE_WORDS 4

struct virtio_features {
    uint32_t word[VIRTIO_FEATURE_WORDS]; /* as the transports show them, 32 bits at a time */
};

static inline bool features_has(const struct virtio_features *f, unsigned bit)
{
    return f->word[bit / 32] >> (bit % 32) & 1;
}

static inline void features_set(struct virtio_features *f, unsigned bit, bool on)
{
    uint32_t mask = UINT32_C(1) << (bit % 32);
    f->word[bit / 32] = on ? f->word[bit / 32] | mask : f->word[bit / 32] & ~mask;
}

/* Every bit of `a` is also in `b`. */
static inline bool features_subset(const struct virtio_features *a, const struct virtio_features *b)
{
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        if (a->word[i] & ~b->word[i])
            return false;
    return true;
}

/*
 * A named bit, with the bit it needs (specification: "Feature bit requirements"), -1 for none. Most
 * needs bind device and driver alike; with FEATURE_OFFER_ONLY added, only what is offered.
 */
#define FEATURE_OFFER_ONLY 0x100
#define FEATURE_REQUESTED  0x200 /* added as well: only offered if the user asks for it */
#define FEATURE_ON_REQUEST (-2)  /* as `needs`: none, and only offered if the user asks for it */

/* Added as well: having this bit instead is as good ("or"). */
#define FEATURE_OR(bit)            (((bit) + 1) << 16)
#define FEATURE_ALTERNATIVE(needs) (((needs) >> 16) - 1) /* -1: none */

struct virtio_feature_name {
    const char *name;
    unsigned bit;
    int needs;
    const char *help;
};

/* Is it offered only when the user says NAME=on? */
static inline bool feature_on_request(const struct virtio_feature_name *row)
{
    return row->needs == FEATURE_ON_REQUEST || (row->needs >= 0 && row->needs & FEATURE_REQUESTED);
}

/* The generic ones we offer and a user may switch; VERSION_1 is not among them (FEAT-04). */
extern const struct virtio_feature_name virtio_feature_names[];
extern const size_t virtio_feature_names_count;

/* The first row of `table` whose bit is in `f` while the bit it needs is not; NULL when all is
 * well. `by_driver`: `f` is a driver's choice, not an offer. */
const struct virtio_feature_name *features_unmet(const struct virtio_features *f,
                                                 const struct virtio_feature_name *table,
                                                 size_t count, bool by_driver);

#endif
