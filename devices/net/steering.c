/*
 * Hashes of incoming frames (5.1.9.4.3): the Toeplitz hash with the driver's key over addresses and
 * ports.
 *
 * The hash of an input is the exclusive or of what each of its set bits contributes: the 32 bits of
 * the key from that bit's position on. So what the values of each nibble contribute can be written
 * down when the key is set, and a hash of 12 bytes is 24 look-ups.
 */
#include "devices/net/state.h"

#define INPUT_MAX 36 /* two IPv6 addresses, two ports */

enum ip_protocol {
    IP_HOP_BY_HOP = 0,
    IP_TCP = 6,
    IP_UDP = 17,
    IP_ROUTING = 43,
    IP_FRAGMENT = 44,
    IP_DESTINATION = 60,
    IP_NONE = 59,
};

/* What a hash can be made of. Addresses are 4 bytes long, or 16. */
struct flow {
    const uint8_t *source, *destination;
    const uint8_t *home, *routed; /* IPv6: in extension headers, or as the two above */
    const uint8_t *ports;         /* both; NULL when neither TCP nor UDP */
    uint8_t protocol;
    bool ipv6, extended; /* extended: there are extension headers */
};

struct packet {
    const uint8_t *bytes;
    size_t length, at;
};

/* `count` bytes at the current position, or NULL. */
static const uint8_t *packet_at(const struct packet *p, size_t count)
{
    return p->at <= p->length && count <= p->length - p->at ? p->bytes + p->at : NULL;
}

static void find_ports(const struct packet *p, struct flow *flow)
{
    if (flow->protocol == IP_TCP || flow->protocol == IP_UDP)
        flow->ports = packet_at(p, 4);
}

static bool parse_ipv4(struct packet *p, struct flow *flow)
{
    const uint8_t *ip = packet_at(p, 20);
    size_t header;

    if (!ip || ip[0] >> 4 != 4)
        return false;
    header = (size_t)(ip[0] & 0xf) * 4;
    if (header < 20)
        return false;
    flow->source = flow->home = ip + 12;
    flow->destination = flow->routed = ip + 16;
    flow->protocol = ip[9];
    p->at += header;
    if (!(load_be16(ip + 6) & 0x3fff)) /* no part of a fragmented packet */
        find_ports(p, flow);
    return true;
}

/* The home address option (RFC 6275) among the options of a destination header. */
static void find_home_address(const uint8_t *header, size_t size, struct flow *flow)
{
    size_t at = 2;

    while (at + 2 <= size) {
        if (header[at] == 0) { /* Pad1 */
            at++;
            continue;
        }
        if (header[at] == 0xc9 && header[at + 1] == 16 && at + 18 <= size)
            flow->home = header + at + 2;
        at += 2 + (size_t)header[at + 1];
    }
}

/* Walk over extension headers up to the transport header; false when that is not to be seen: the
 * headers are cut off, or it is in another fragment. */
static bool skip_extensions(struct packet *p, struct flow *flow)
{
    const uint8_t *header;

    for (;;) {
        size_t size = 8;

        switch (flow->protocol) {
        case IP_HOP_BY_HOP:
        case IP_ROUTING:
        case IP_DESTINATION:
        case IP_FRAGMENT:
            break;
        default:
            return flow->protocol != IP_NONE;
        }
        flow->extended = true;
        header = packet_at(p, 8);
        if (header && flow->protocol != IP_FRAGMENT)
            size = (size_t)(header[1] + 1) * 8;
        header = packet_at(p, size);
        if (!header)
            return false;
        if (flow->protocol == IP_DESTINATION)
            find_home_address(header, size, flow);
        if (flow->protocol == IP_ROUTING && header[2] == 2 && size >= 24)
            flow->routed = header + 8;
        if (flow->protocol == IP_FRAGMENT && load_be16(header + 2) & 0xfff9)
            return false;
        flow->protocol = header[0];
        p->at += size;
    }
}

static bool parse_ipv6(struct packet *p, struct flow *flow)
{
    const uint8_t *ip = packet_at(p, 40);

    if (!ip || ip[0] >> 4 != 6)
        return false;
    flow->ipv6 = true;
    flow->source = flow->home = ip + 8;
    flow->destination = flow->routed = ip + 24;
    flow->protocol = ip[6];
    p->at += 40;
    if (skip_extensions(p, flow))
        find_ports(p, flow);
    return true;
}

static bool parse(struct packet *p, struct flow *flow)
{
    uint16_t type;

    if (p->length < NET_ETHERNET_HEADER)
        return false;
    p->at = 12;
    for (int tags = 0; tags <= 2; tags++) {
        const uint8_t *bytes = packet_at(p, 2);

        if (!bytes)
            return false;
        type = load_be16(bytes);
        p->at += 2;
        if (type == ETHERTYPE_IPV4)
            return parse_ipv4(p, flow);
        if (type == ETHERTYPE_IPV6)
            return parse_ipv6(p, flow);
        if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
            return false;
        p->at += 2;
    }
    return false;
}

/* The first enabled type that fits, most specific first (NETC-12); 0: none. */
static uint32_t pick_type(const struct flow *flow, uint32_t enabled)
{
    bool tcp = flow->ports && flow->protocol == IP_TCP;
    bool udp = flow->ports && flow->protocol == IP_UDP;
    const struct {
        bool fits;
        uint32_t type;
    } order[] = {
        {tcp && !flow->ipv6, NET_HASH_TCPV4},
        {udp && !flow->ipv6, NET_HASH_UDPV4},
        {!flow->ipv6, NET_HASH_IPV4},
        {tcp && flow->extended, NET_HASH_TCP_EX},
        {udp && flow->extended, NET_HASH_UDP_EX},
        {flow->extended, NET_HASH_IP_EX},
        {tcp && flow->ipv6, NET_HASH_TCPV6},
        {udp && flow->ipv6, NET_HASH_UDPV6},
        {flow->ipv6, NET_HASH_IPV6},
    };

    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        if (order[i].fits && enabled & order[i].type)
            return order[i].type;
    return 0;
}

static size_t append(uint8_t *input, size_t at, const uint8_t *bytes, size_t len)
{
    memcpy(input + at, bytes, len);
    return at + len;
}

/* NET-35: the fields a type names, in their order. */
static size_t make_input(const struct flow *flow, uint32_t type, uint8_t input[INPUT_MAX])
{
    bool ex = type & (NET_HASH_IP_EX | NET_HASH_TCP_EX | NET_HASH_UDP_EX);
    size_t address = flow->ipv6 ? 16 : 4, at;

    at = append(input, 0, ex ? flow->home : flow->source, address);
    at = append(input, at, ex ? flow->routed : flow->destination, address);
    if (!(type & (NET_HASH_IPV4 | NET_HASH_IPV6 | NET_HASH_IP_EX)))
        at = append(input, at, flow->ports, 4);
    return at;
}

uint32_t net_hash(const struct net_hashing *hashing, const uint8_t *frame, size_t length,
                  uint16_t *report)
{
    struct packet p = {frame, length, 0};
    struct flow flow = {0};
    uint8_t input[INPUT_MAX];
    uint32_t type = parse(&p, &flow) ? pick_type(&flow, hashing->config.hash_types) : 0;
    uint32_t hash = 0;
    size_t size;

    *report = NET_HASH_REPORT_NONE;
    if (!type)
        return 0;
    size = make_input(&flow, type, input);
    for (size_t i = 0; i < size; i++)
        hash ^=
            hashing->toeplitz[2 * i][input[i] >> 4] ^ hashing->toeplitz[2 * i + 1][input[i] & 0xf];
    *report = (uint16_t)(__builtin_ctz(type) + 1);
    return hash;
}

/* The 32 bits of the key from bit `at` on; bits behind its end are 0. */
static uint32_t key_window(const uint8_t key[NET_RSS_KEY_MAX], unsigned at)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < 5; i++)
        bits = bits << 8 | (at / 8 + i < NET_RSS_KEY_MAX ? key[at / 8 + i] : 0);
    return (uint32_t)(bits >> (8 - at % 8));
}

void net_hash_set_key(struct net_hashing *hashing)
{
    for (unsigned nibble = 0; nibble < ARRAY_SIZE(hashing->toeplitz); nibble++)
        for (unsigned value = 0; value < 16; value++) {
            uint32_t sum = 0;

            for (unsigned bit = 0; bit < 4; bit++)
                if (value >> (3 - bit) & 1)
                    sum ^= key_window(hashing->config.key, nibble * 4 + bit);
            hashing->toeplitz[nibble][value] = sum;
        }
}
