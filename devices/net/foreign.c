/*
 * A network card that another process serves. Those that serve no configuration (DPDK) serve no
 * control queue either, though they may offer its feature bits for the front end to serve it: their
 * cards have one pair of queues, and an address of ours.
 */
#include "devices/net/state.h"

struct net_foreign_options {
    char *mac; /* NULL: a random one, if there has to be one */
};

static const struct option_spec option_specs[] = {
    {.key = "mac",
     .type = OPTION_STRING,
     .offset = offsetof(struct net_foreign_options, mac),
     .metavar = "ADDRESS",
     .help = "the guest's MAC address (a random one), if the process serves no configuration"},
};

static int describe(const void *options, struct virtio_foreign *out, struct error *err)
{
    const char *text = ((const struct net_foreign_options *)options)->mac;
    struct virtio_stand_in *stand_in = &out->stand_in;
    uint64_t mac;
    int ret = net_choose_mac(text, &mac, err);

    if (ret)
        return ret;
    out->has_stand_in = true;
    stand_in->key = text ? "mac" : NULL;
    stand_in->queue_count_max = 3;
    memcpy(stand_in->config + NET_CONFIG_MAC, &mac, NET_MAC_SIZE);
    store_le16(stand_in->config + NET_CONFIG_STATUS, NET_S_LINK_UP);
    store_le16(stand_in->config + NET_CONFIG_MAX_VIRTQUEUE_PAIRS, 1);
    store_le32(stand_in->config + NET_CONFIG_SPEED, NET_SPEED_UNKNOWN);
    stand_in->config[NET_CONFIG_DUPLEX] = NET_DUPLEX_UNKNOWN;
    features_set(&stand_in->added, NET_F_MAC, mac);
    features_set(&stand_in->added, NET_F_STATUS, true);
    features_set(&stand_in->removed, NET_F_CTRL_VQ, true);
    features_set(&stand_in->removed, NET_F_MTU, true);
    return 0;
}

const struct virtio_foreign_type net_foreign = {
    .options = option_specs,
    .option_count = ARRAY_SIZE(option_specs),
    .options_size = sizeof(struct net_foreign_options),
    .describe = describe,
};
