#include "virtio/features.h"

#include "base/bytes.h"

/* 6 Reserved Feature Bits. None of these needs another. */
const struct virtio_feature_name virtio_feature_names[] = {
    {"indirect_desc", VIRTIO_F_INDIRECT_DESC, -1, "descriptor tables outside the ring (2.7.5.3)"},
    {"event_idx", VIRTIO_F_EVENT_IDX, -1, "notifications from a given ring index on (2.7.10)"},
};

const size_t virtio_feature_names_count = ARRAY_SIZE(virtio_feature_names);

static bool need_met(const struct virtio_features *f, int needs)
{
    int alternative = FEATURE_ALTERNATIVE(needs);

    return features_has(f, (unsigned)(needs & 0xff)) ||
           (alternative >= 0 && features_has(f, (unsigned)alternative));
}

const struct virtio_feature_name *features_unmet(const struct virtio_features *f,
                                                 const struct virtio_feature_name *table,
                                                 size_t count, bool by_driver)
{
    for (size_t i = 0; i < count; i++) {
        int needs = table[i].needs;

        if (needs < 0 || (by_driver && needs & FEATURE_OFFER_ONLY))
            continue;
        if (features_has(f, table[i].bit) && !need_met(f, needs))
            return &table[i];
    }
    return NULL;
}
