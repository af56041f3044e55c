#include "virtio/features.h"

#include "base/bytes.h"

/* 6 Reserved Feature Bits. What costs time when a driver takes it is for those who ask for it. */
const struct virtio_feature_name virtio_feature_names[] = {
    {"indirect_desc", VIRTIO_F_INDIRECT_DESC, -1, "descriptor tables outside the ring (2.7.5.3)"},
    {"event_idx", VIRTIO_F_EVENT_IDX, -1, "notifications from a given ring index on (2.7.10)"},
    {"ring_reset", VIRTIO_F_RING_RESET, -1, "reset of single queues (2.6.1)"},
    {"ring_packed", VIRTIO_F_RING_PACKED, FEATURE_ON_REQUEST, "packed rings (2.8)"},
    {"in_order", VIRTIO_F_IN_ORDER, FEATURE_ON_REQUEST,
     "buffers are used in the order they came (2.7.9)"},
    {"notification_data", VIRTIO_F_NOTIFICATION_DATA, FEATURE_ON_REQUEST,
     "notifications say how far the ring is filled (2.9)"},
    {"notif_config_data", VIRTIO_F_NOTIF_CONFIG_DATA, FEATURE_ON_REQUEST,
     "notifications carry a word the device chose (PCI, 4.1.4.4)"},
    {"access_platform", VIRTIO_F_ACCESS_PLATFORM, FEATURE_ON_REQUEST,
     "addresses are the platform's (6), through its DMA layer"},
    {"order_platform", VIRTIO_F_ORDER_PLATFORM, FEATURE_ON_REQUEST,
     "memory ordering as for hardware devices (6)"},
    {"suspend", VIRTIO_F_SUSPEND, FEATURE_ON_REQUEST, "the driver may pause the device (3.4)"},
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

void features_drop_unmet(struct virtio_features *f, const struct virtio_feature_name *table,
                         size_t count)
{
    const struct virtio_feature_name *row;

    while ((row = features_unmet(f, virtio_feature_names, virtio_feature_names_count, false)) ||
           (row = features_unmet(f, table, count, false)))
        features_set(f, row->bit, false);
}

static void drop_unrequested(struct virtio_features *f, const struct virtio_features *wanted,
                             const struct virtio_feature_name *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (feature_on_request(&table[i]) && !features_has(wanted, table[i].bit))
            features_set(f, table[i].bit, false);
}

void features_offer(struct virtio_features *f, const struct virtio_feature_name *table,
                    size_t count, const struct virtio_features *wanted,
                    const struct virtio_features *masked)
{
    for (size_t i = 0; i < virtio_feature_names_count; i++)
        features_set(f, virtio_feature_names[i].bit, true);
    drop_unrequested(f, wanted, virtio_feature_names, virtio_feature_names_count);
    drop_unrequested(f, wanted, table, count);
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        f->word[i] &= ~masked->word[i];
    features_set(f, VIRTIO_F_VERSION_1, true);
    features_drop_unmet(f, table, count);
}
