/*
 * Which feature bits a network device offers (5.1.3), and what follows from those that a driver
 * took: where queues are, how long headers are, and which offloads the guest takes.
 */
#include "devices/net/state.h"
#include "devices/net/vhost.h"

/* 5.1.3.1 Feature bit requirements (NET-06 to NET-08). MAC and MTU need nothing and have keys of
 * their own: mac=off, mtu=. */
const struct virtio_feature_name net_feature_names[NET_FEATURE_NAME_COUNT] = {
    {"csum", NET_F_CSUM, -1, "the host fills in checksums"},
    {"guest_csum", NET_F_GUEST_CSUM, -1, "the guest takes frames with partial checksums"},
    {"ctrl_guest_offloads", NET_F_CTRL_GUEST_OFFLOADS, NET_F_CTRL_VQ | FEATURE_OFFER_ONLY,
     "the guest can switch its offloads at run time"},
    {"guest_tso4", NET_F_GUEST_TSO4, NET_F_GUEST_CSUM, "the guest takes large TCP/IPv4 frames"},
    {"guest_tso6", NET_F_GUEST_TSO6, NET_F_GUEST_CSUM, "the guest takes large TCP/IPv6 frames"},
    {"guest_ecn", NET_F_GUEST_ECN, NET_F_GUEST_TSO4 | FEATURE_OR(NET_F_GUEST_TSO6),
     "the guest takes large TCP frames with ECN"},
    {"guest_ufo", NET_F_GUEST_UFO, NET_F_GUEST_CSUM, "the guest takes large UDP datagrams"},
    {"host_tso4", NET_F_HOST_TSO4, NET_F_CSUM, "the host takes large TCP/IPv4 frames"},
    {"host_tso6", NET_F_HOST_TSO6, NET_F_CSUM, "the host takes large TCP/IPv6 frames"},
    {"host_ecn", NET_F_HOST_ECN, NET_F_HOST_TSO4 | FEATURE_OR(NET_F_HOST_TSO6),
     "the host takes large TCP frames with ECN"},
    {"host_ufo", NET_F_HOST_UFO, NET_F_CSUM, "the host takes large UDP datagrams"},
    {"mrg_rxbuf", NET_F_MRG_RXBUF, -1, "a frame may fill several receive buffers"},
    {"status", NET_F_STATUS, -1, "link status"},
    {"ctrl_vq", NET_F_CTRL_VQ, -1, "control queue"},
    {"ctrl_rx", NET_F_CTRL_RX, NET_F_CTRL_VQ, "receive modes and MAC filters"},
    {"ctrl_vlan", NET_F_CTRL_VLAN, NET_F_CTRL_VQ, "VLAN filters"},
    {"ctrl_rx_extra", NET_F_CTRL_RX_EXTRA, NET_F_CTRL_VQ | FEATURE_OFFER_ONLY,
     "more receive modes"},
    {"guest_announce", NET_F_GUEST_ANNOUNCE, NET_F_CTRL_VQ, "the guest announces itself on demand"},
    {"mq", NET_F_MQ, NET_F_CTRL_VQ, "several pairs of queues (with queues=2 or more)"},
    {"ctrl_mac_addr", NET_F_CTRL_MAC_ADDR, NET_F_CTRL_VQ, "the guest can set its MAC address"},
    {"device_stats", NET_F_DEVICE_STATS, NET_F_CTRL_VQ | FEATURE_OFFER_ONLY, "queue statistics"},
    {"vq_notf_coal", NET_F_VQ_NOTF_COAL, NET_F_CTRL_VQ, "notification coalescing for each queue"},
    {"notf_coal", NET_F_NOTF_COAL, NET_F_CTRL_VQ, "notification coalescing"},
    {"guest_uso4", NET_F_GUEST_USO4, NET_F_GUEST_CSUM, "the guest takes trains of UDP/IPv4 frames"},
    {"guest_uso6", NET_F_GUEST_USO6, NET_F_GUEST_CSUM, "the guest takes trains of UDP/IPv6 frames"},
    {"host_uso", NET_F_HOST_USO, NET_F_CSUM, "the host takes trains of UDP frames"},
    {"hash_report", NET_F_HASH_REPORT, NET_F_CTRL_VQ | FEATURE_OFFER_ONLY | FEATURE_REQUESTED,
     "the hash of each frame for the guest"},
    {"guest_hdrlen", NET_F_GUEST_HDRLEN, -1, "the guest gives exact header lengths"},
    {"rss", NET_F_RSS, NET_F_CTRL_VQ | FEATURE_REQUESTED, "receive-side scaling"},
    {"speed_duplex", NET_F_SPEED_DUPLEX, -1, "link speed and duplex"},
};

/* Offloads as features: of frames to the host, and to the guest. USO of both kinds is one bit for
 * the host. */
static const struct {
    enum net_offload offload;
    enum net_feature host, guest;
} offload_features[] = {
    {NET_OFFLOAD_CSUM, NET_F_CSUM, NET_F_GUEST_CSUM},
    {NET_OFFLOAD_TSO4, NET_F_HOST_TSO4, NET_F_GUEST_TSO4},
    {NET_OFFLOAD_TSO6, NET_F_HOST_TSO6, NET_F_GUEST_TSO6},
    {NET_OFFLOAD_ECN, NET_F_HOST_ECN, NET_F_GUEST_ECN},
    {NET_OFFLOAD_UFO, NET_F_HOST_UFO, NET_F_GUEST_UFO},
    {NET_OFFLOAD_USO4, NET_F_HOST_USO, NET_F_GUEST_USO4},
    {NET_OFFLOAD_USO6, NET_F_HOST_USO, NET_F_GUEST_USO6},
};

/* Bits that depend on neither options nor host. */
static const enum net_feature always_offered[] = {
    NET_F_CTRL_GUEST_OFFLOADS,
    NET_F_MRG_RXBUF,
    NET_F_STATUS,
    NET_F_CTRL_VQ,
    NET_F_CTRL_RX,
    NET_F_CTRL_VLAN,
    NET_F_CTRL_RX_EXTRA,
    NET_F_GUEST_ANNOUNCE,
    NET_F_CTRL_MAC_ADDR,
    NET_F_DEVICE_STATS,
    NET_F_VQ_NOTF_COAL,
    NET_F_NOTF_COAL,
    NET_F_HASH_REPORT,
    NET_F_GUEST_HDRLEN,
    NET_F_RSS,
    NET_F_SPEED_DUPLEX,
};

void net_get_features(void *model, struct virtio_features *out)
{
    const struct net *net = model;
    unsigned offloads = net->host->ops->offloads(net->host);

    for (size_t i = 0; i < ARRAY_SIZE(always_offered); i++)
        features_set(out, always_offered[i], true);
    for (size_t i = 0; i < ARRAY_SIZE(offload_features); i++) {
        features_set(out, offload_features[i].guest, true);
        features_set(out, offload_features[i].host, offloads & offload_features[i].offload);
    }
    features_set(out, NET_F_HOST_USO, !(~offloads & (NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6)));
    features_set(out, NET_F_MAC, net->initial_mac);
    features_set(out, NET_F_MTU, net->mtu);
    features_set(out, NET_F_MQ, net->pair_count > 1);
    if (net->vhost)
        net_vhost_limit_features(net->vhost, out);
}

uint64_t net_guest_offloads(const struct virtio_features *negotiated)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < ARRAY_SIZE(offload_features); i++)
        if (features_has(negotiated, offload_features[i].guest))
            bits |= BIT(offload_features[i].guest);
    return bits;
}

/* Segments without checksums cannot be: the driver may have switched GUEST_CSUM off alone. */
void net_apply_guest_offloads(struct net *net)
{
    unsigned offloads = 0;

    if (net->guest_offloads & BIT(NET_F_GUEST_CSUM))
        for (size_t i = 0; i < ARRAY_SIZE(offload_features); i++)
            if (net->guest_offloads & BIT(offload_features[i].guest))
                offloads |= offload_features[i].offload;
    net->host->ops->set_offloads(net->host, offloads);
}

/* NET-15, NET-16 */
static unsigned header_size(const struct virtio_features *negotiated)
{
    if (features_has(negotiated, NET_F_HASH_REPORT))
        return NET_HDR_SIZE_HASH;
    if (features_has(negotiated, VIRTIO_F_VERSION_1) || features_has(negotiated, NET_F_MRG_RXBUF))
        return NET_HDR_SIZE;
    return NET_HDR_SIZE_LEGACY;
}

void net_set_features(void *model, const struct virtio_features *negotiated)
{
    struct net *net = model;
    bool several = features_has(negotiated, NET_F_MQ) || features_has(negotiated, NET_F_RSS);

    net->negotiated = *negotiated;
    net->header_size = header_size(negotiated);
    net->control.index = (uint16_t)(2 * (several ? net->pair_count : 1));
    net->frame_max =
        net_has(net, NET_F_MTU) ? net->mtu + (size_t)NET_ETHERNET_HEADER : NET_FRAME_MAX;
    atomic_store(&net->legacy, !features_has(negotiated, VIRTIO_F_VERSION_1));
    net->guest_offloads = net_guest_offloads(negotiated);
    net_apply_guest_offloads(net);
    net_filter_set_features(net);
    net_filter_changed(net);
    if (net->vhost)
        net_vhost_set_header(net->vhost, net->header_size);
}
