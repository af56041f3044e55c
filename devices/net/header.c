/*
 * The header before each frame (5.1.9): the guest's is copied once, and the copy is checked and
 * handed on; the host's is cleared of what was not negotiated.
 */
#include "devices/net/state.h"

#include <inttypes.h>

static const struct {
    uint8_t type; /* enum net_gso_type */
    enum net_feature from_guest, to_guest;
} gso_types[] = {
    {NET_GSO_TCPV4, NET_F_HOST_TSO4, NET_F_GUEST_TSO4},
    {NET_GSO_TCPV6, NET_F_HOST_TSO6, NET_F_GUEST_TSO6},
    {NET_GSO_UDP, NET_F_HOST_UFO, NET_F_GUEST_UFO},
    {NET_GSO_UDP_L4, NET_F_HOST_USO, NET_F_GUEST_USO4},
    {NET_GSO_UDP_L4, NET_F_HOST_USO, NET_F_GUEST_USO6},
};

/* --- from the guest --------------------------------------------------------------------------- */

struct tx_header {
    uint8_t flags, gso_type; /* of the flags, those we know */
    bool ecn;                /* taken off gso_type */
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

static struct tx_header parse(const uint8_t raw[NET_HDR_SIZE])
{
    return (struct tx_header){
        .flags = raw[NET_HDR_FLAGS],
        .gso_type = raw[NET_HDR_GSO_TYPE] & (uint8_t)~NET_GSO_ECN,
        .ecn = raw[NET_HDR_GSO_TYPE] & NET_GSO_ECN,
        .hdr_len = load_le16(raw + NET_HDR_HDR_LEN),
        .gso_size = load_le16(raw + NET_HDR_GSO_SIZE),
        .csum_start = load_le16(raw + NET_HDR_CSUM_START),
        .csum_offset = load_le16(raw + NET_HDR_CSUM_OFFSET),
        .num_buffers = load_le16(raw + NET_HDR_NUM_BUFFERS),
    };
}

static void format(uint8_t out[NET_HEADER_SIZE], const struct tx_header *h)
{
    memset(out, 0, NET_HEADER_SIZE);
    out[NET_HDR_FLAGS] = h->flags;
    out[NET_HDR_GSO_TYPE] = h->gso_type | (h->ecn ? NET_GSO_ECN : 0);
    store_le16(out + NET_HDR_HDR_LEN, h->hdr_len);
    store_le16(out + NET_HDR_GSO_SIZE, h->gso_size);
    store_le16(out + NET_HDR_CSUM_START, h->csum_start);
    store_le16(out + NET_HDR_CSUM_OFFSET, h->csum_offset);
}

static bool gso_negotiated(const struct net *net, uint8_t type)
{
    for (size_t i = 0; i < ARRAY_SIZE(gso_types); i++)
        if (gso_types[i].type == type && net_has(net, gso_types[i].from_guest))
            return true;
    return false;
}

/* NET-18: without NEEDS_CSUM the checksum fields mean nothing; unknown flags never do. */
static bool check_checksum(const struct net *net, struct tx_header *h, size_t length)
{
    if (h->flags & (NET_HDR_F_DATA_VALID | NET_HDR_F_RSC_INFO))
        NET_COMPLAIN(net, "DRV-NET-06", "a transmitted frame has DATA_VALID or RSC_INFO (ignored)");
    h->flags &= NET_HDR_F_NEEDS_CSUM;
    if (!h->flags) {
        h->csum_start = h->csum_offset = 0;
        return true;
    }
    if (!net_has(net, NET_F_CSUM)) {
        NET_COMPLAIN(net, "DRV-NET-03", "NEEDS_CSUM without CSUM: frame dropped");
        return false;
    }
    if ((size_t)h->csum_start + h->csum_offset + 2 > length) { /* NET-22 */
        NET_COMPLAIN(net, "DRV-NET-07", "the checksum lies behind the frame: frame dropped");
        return false;
    }
    return true;
}

/* With GUEST_HDRLEN, hdr_len says exactly where the payload begins; otherwise it is a hint (NET-19)
 * and only kept from pointing outside of the frame. */
static bool check_hdr_len(const struct net *net, struct tx_header *h, size_t length)
{
    bool tcp = h->gso_type == NET_GSO_TCPV4 || h->gso_type == NET_GSO_TCPV6;
    size_t least = h->csum_start + (size_t)(tcp ? 20 : 8);

    if (net_has(net, NET_F_GUEST_HDRLEN) && (h->hdr_len > length || h->hdr_len < least)) {
        NET_COMPLAIN(net, "DRV-NET-08", "hdr_len is not the length of the headers: frame dropped");
        return false;
    }
    h->hdr_len = (uint16_t)MIN(h->hdr_len, length);
    return true;
}

static bool check_gso(const struct net *net, struct tx_header *h, size_t length)
{
    if (h->gso_type == NET_GSO_NONE) {
        h->hdr_len = h->gso_size = 0;
        h->ecn = false;
        return true;
    }
    if (h->gso_type & (NET_GSO_UDP_TUNNEL_IPV4 | NET_GSO_UDP_TUNNEL_IPV6)) { /* NET-20 */
        NET_COMPLAIN(net, "DRV-NET-09", "a tunnel bit that was not negotiated: frame dropped");
        return false;
    }
    if (!gso_negotiated(net, h->gso_type)) {
        NET_COMPLAIN(net, "DRV-NET-04", "a gso_type that was not negotiated: frame dropped");
        return false;
    }
    if (h->ecn && !net_has(net, NET_F_HOST_ECN)) {
        NET_COMPLAIN(net, "DRV-NET-26", "GSO with ECN without HOST_ECN: frame dropped");
        return false;
    }
    if (!h->flags || h->gso_size == 0) {
        NET_COMPLAIN(net, "DRV-NET-05", "GSO without NEEDS_CSUM or gso_size: frame dropped");
        return false;
    }
    return check_hdr_len(net, h, length);
}

static bool check_length(const struct net *net, size_t length)
{
    if (length < NET_ETHERNET_HEADER) {
        NET_COMPLAIN(net, "DRV-NET-29", "a frame shorter than its Ethernet header: dropped");
        return false;
    }
    if (length > NET_FRAME_MAX) {
        NET_COMPLAIN(net, "DRV-NET-29", "a frame longer than any can be: dropped");
        return false;
    }
    return true;
}

/* DRV-NET-10, NET-12 */
static bool check_mtu(const struct net *net, const struct tx_header *h,
                      const struct virtqueue_buffer *buffer, size_t length)
{
    uint8_t ethertype[2];

    if (h->gso_type != NET_GSO_NONE || length <= net->frame_max)
        return true;
    virtqueue_read(buffer, net->header_size + 12, ethertype, sizeof(ethertype));
    if (!net_exceeds_mtu(net, ethertype, length))
        return true;
    NET_COMPLAIN(net, "DRV-NET-10", "a frame longer than the MTU: dropped");
    return false;
}

bool net_header_from_guest(struct net *net, const struct virtqueue_buffer *buffer,
                           uint8_t out[NET_HEADER_SIZE])
{
    uint8_t raw[NET_HDR_SIZE] = {0};
    struct tx_header h;
    size_t length;

    if (buffer->readable_bytes < net->header_size) {
        NET_COMPLAIN(net, "DRV-NET-01", "a frame shorter than virtio's header: dropped");
        return false;
    }
    if (buffer->writable_bytes > 0) {
        NET_COMPLAIN(net, "DRV-NET-29", "a transmitted frame has writable parts: dropped");
        return false;
    }
    virtqueue_read(buffer, 0, raw, MIN(net->header_size, sizeof(raw)));
    length = buffer->readable_bytes - net->header_size;
    h = parse(raw);
    if (h.num_buffers != 0)
        NET_COMPLAIN(net, "DRV-NET-02", "num_buffers of a transmitted frame is not 0 (ignored)");
    if (!check_length(net, length) || !check_checksum(net, &h, length) ||
        !check_gso(net, &h, length) || !check_mtu(net, &h, buffer, length))
        return false;
    format(out, &h);
    return true;
}

/* --- from the host ---------------------------------------------------------------------------- */

static bool gso_taken(const struct net *net, uint8_t type)
{
    if (type & NET_GSO_ECN && !(net->guest_offloads & BIT(NET_F_GUEST_ECN)))
        return false;
    type &= (uint8_t)~NET_GSO_ECN;
    for (size_t i = 0; i < ARRAY_SIZE(gso_types); i++)
        if (gso_types[i].type == type && net->guest_offloads & BIT(gso_types[i].to_guest))
            return true;
    return false;
}

/*
 * NET-25, NET-26, NET-27. A host side heeds set_offloads, but frames may have been on their way
 * when the driver switched one off.
 */
bool net_header_from_host(const struct net *net, uint8_t header[NET_HEADER_SIZE], size_t length)
{
    bool checksums = net->guest_offloads & BIT(NET_F_GUEST_CSUM);
    uint8_t type = header[NET_HDR_GSO_TYPE];
    uint8_t flags = header[NET_HDR_FLAGS] & (NET_HDR_F_NEEDS_CSUM | NET_HDR_F_DATA_VALID);

    if (flags & NET_HDR_F_NEEDS_CSUM && !checksums)
        return false;
    if (flags & NET_HDR_F_NEEDS_CSUM && (size_t)load_le16(header + NET_HDR_CSUM_START) +
                                                load_le16(header + NET_HDR_CSUM_OFFSET) + 2 >
                                            length)
        return false;
    if (type != NET_GSO_NONE && (!gso_taken(net, type) || !(flags & NET_HDR_F_NEEDS_CSUM) ||
                                 load_le16(header + NET_HDR_GSO_SIZE) == 0))
        return false;
    header[NET_HDR_FLAGS] = checksums ? flags : 0;
    if (!(flags & NET_HDR_F_NEEDS_CSUM))
        memset(header + NET_HDR_CSUM_START, 0, 4);
    return length >= NET_ETHERNET_HEADER;
}
