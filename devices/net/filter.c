/*
 * Which frames the guest wants (5.1.9.5.1 to 5.1.9.5.3).
 *
 * A driver that negotiated neither CTRL_RX nor CTRL_VLAN gets everything.
 */
#include "devices/net/state.h"

static bool is_tagged(const uint8_t ethertype[2])
{
    return load_be16(ethertype) == ETHERTYPE_VLAN || load_be16(ethertype) == ETHERTYPE_QINQ;
}

/* The tag of a VLAN comes on top of the MTU, as the Ethernet header does. */
bool net_exceeds_mtu(const struct net *net, const uint8_t ethertype[2], size_t length)
{
    return length > net->frame_max &&
           (!is_tagged(ethertype) || length > net->frame_max + NET_VLAN_TAG);
}

static bool in_table(const uint8_t (*table)[NET_MAC_SIZE], unsigned count, const uint8_t *mac)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(table[i], mac, NET_MAC_SIZE) == 0)
            return true;
    return false;
}

static bool is_own(const struct net *net, const uint8_t *mac)
{
    uint64_t own = atomic_load_explicit(&net->mac, memory_order_relaxed), bytes = 0;

    memcpy(&bytes, mac, NET_MAC_SIZE);
    return bytes == own;
}

/* NETC-25: which mode wins over which. */
static bool wants_address(const struct net *net, const uint8_t *mac)
{
    static const uint8_t broadcast[NET_MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct net_filter *f = &net->filter;

    if (f->modes[NET_CTRL_RX_PROMISC])
        return true;
    if (memcmp(mac, broadcast, NET_MAC_SIZE) == 0)
        return !f->modes[NET_CTRL_RX_NOBCAST];
    if (mac[0] & 1)
        return !f->modes[NET_CTRL_RX_NOMULTI] &&
               (f->modes[NET_CTRL_RX_ALLMULTI] || f->multicast_overflow ||
                in_table(f->multicast, f->multicast_count, mac));
    if (f->modes[NET_CTRL_RX_NOUNI])
        return false;
    return f->modes[NET_CTRL_RX_ALLUNI] || f->unicast_overflow || !f->mac_known ||
           is_own(net, mac) || in_table(f->unicast, f->unicast_count, mac);
}

/* NETC-05. A frame with a tag of which the number is missing belongs to none. */
static bool wants_vlan(const struct net_filter *f, const uint8_t *frame, size_t length)
{
    unsigned vlan;

    if (!is_tagged(frame + 12))
        return true;
    if (length < 16)
        return false;
    vlan = load_be16(frame + 14) % NET_VLANS;
    return f->vlans[vlan / 64] >> (vlan % 64) & 1;
}

bool net_filter_wants(const struct net *net, const uint8_t *frame, size_t length)
{
    const struct net_filter *f = &net->filter;

    return (!f->by_mac || wants_address(net, frame)) &&
           (!f->by_vlan || wants_vlan(f, frame, length));
}

void net_filter_reset(struct net_filter *filter)
{
    *filter = (struct net_filter){0};
}

void net_filter_set_features(struct net *net)
{
    struct net_filter *f = &net->filter;

    f->by_mac = net_has(net, NET_F_CTRL_RX);
    f->by_vlan = net_has(net, NET_F_CTRL_VLAN);
    f->mac_known = net_has(net, NET_F_MAC);
    f->active = f->by_mac || f->by_vlan;
}
