/*
 * virtio-net: hashes of frames, hash report, receive-side scaling and several queues.
 */
#include "base/bytes.h"
#include "devices/net/protocol.h"
#include "tests/unit/net_fixture.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include <linux/virtio_net.h>

/* The key and the vectors every implementation of receive-side scaling is verified with. */
static const uint8_t key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static int create(bool can_steer)
{
    card_clear();
    card.host.can_steer = can_steer;
    want(NET_F_CTRL_VQ);
    return net_card_create(&card, 4, NULL);
}

static int setup(void **state)
{
    (void)state;
    return create(false);
}

static int setup_steering_host(void **state)
{
    (void)state;
    return create(true);
}

static int command(uint8_t number, const void *data, size_t length)
{
    return net_card_command(&card, VIRTIO_NET_CTRL_MQ, number, data, length, NULL, NULL);
}

#define assert_ok(ack)    assert_int_equal(ack, VIRTIO_NET_OK)
#define assert_error(ack) assert_int_equal(ack, VIRTIO_NET_ERR)

static void offer(unsigned queue, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct ring_element e = {net_card_alloc(&card, 600), 600, true};

        assert_true(ring_add(&card.rings[queue], &e, 1, RING_DIRECT) >= 0);
    }
    net_card_kick(&card, queue);
}

/* --- frames ----------------------------------------------------------------------------------- */

struct frame {
    uint8_t bytes[400];
    size_t length;
};

static void put(struct frame *f, const void *bytes, size_t length)
{
    memcpy(f->bytes + f->length, bytes, length);
    f->length += length;
}

static void begin(struct frame *f, const char *ethertype)
{
    *f = (struct frame){.length = 12};
    put(f, ethertype, 2);
}

static void put_address(struct frame *f, const char *text)
{
    uint8_t address[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;

    assert_int_equal(inet_pton(family, text, address), 1);
    put(f, address, family == AF_INET6 ? 16 : 4);
}

static void put_ports(struct frame *f, unsigned source, unsigned destination)
{
    uint8_t transport[24] = {(uint8_t)(source >> 8), (uint8_t)source, (uint8_t)(destination >> 8),
                             (uint8_t)destination};

    put(f, transport, sizeof(transport));
}

static void put_ipv4(struct frame *f, uint8_t protocol, uint16_t fragment, unsigned options)
{
    uint8_t ip[12] = {(uint8_t)(0x45 + options), 0,  0,       60, 0, 0, (uint8_t)(fragment >> 8),
                      (uint8_t)fragment,         64, protocol};

    put(f, ip, sizeof(ip));
}

static const struct vector {
    const char *destination, *source;
    unsigned destination_port, source_port;
    uint32_t ip_hash, tcp_hash;
} vectors[] = {
    {"161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251, 0x4b61e985,
     0x02d1feef},
};

static void make_ipv4(struct frame *f, const struct vector *v, uint8_t protocol, uint16_t fragment,
                      unsigned options)
{
    begin(f, "\x08\x00");
    put_ipv4(f, protocol, fragment, options);
    put_address(f, v->source);
    put_address(f, v->destination);
    put(f, (uint8_t[40]){0}, options * 4);
    put_ports(f, v->source_port, v->destination_port);
}

static void put_ipv6(struct frame *f, const char *source, const char *destination, uint8_t next)
{
    put(f, (uint8_t[8]){0x60, 0, 0, 0, 0, 24, next, 64}, 8);
    put_address(f, source);
    put_address(f, destination);
}

static void make_ipv6(struct frame *f, const struct vector *v, uint8_t protocol)
{
    begin(f, "\x86\xdd");
    put_ipv6(f, v->source, v->destination, protocol);
    put_ports(f, v->source_port, v->destination_port);
}

static void make(struct frame *f, const struct vector *v, uint8_t protocol)
{
    if (strchr(v->source, ':'))
        make_ipv6(f, v, protocol);
    else
        make_ipv4(f, v, protocol, 0, 0);
}

/* --- hash report ------------------------------------------------------------------------------ */

static int set_hash(uint32_t types, const uint8_t *bytes, uint8_t key_length, uint8_t reserved)
{
    uint8_t raw[64] = {0};

    store_le32(raw, types);
    raw[7] = reserved;
    raw[12] = key_length;
    memcpy(raw + 13, bytes, MIN(key_length, 40));
    return command(2, raw, 13 + (size_t)MIN(key_length, 40));
}

static void start_reporting(void)
{
    want(NET_F_HASH_REPORT);
    start();
    offer(0, 100);
}

/* The report for a frame, and its hash. */
static uint16_t report(const struct frame *f, uint32_t *hash)
{
    struct ring_used used;
    uint8_t *buffer;

    fake_net_add(&card.host, 0, NULL, f->bytes, f->length);
    net_card_serve(&card);
    assert_true(ring_collect(&card.rings[0], &used));
    assert_int_equal(used.length, 20 + f->length);
    /* Buffers are used in the order of their heads, which are the descriptors' numbers. */
    buffer = net_card_at(&card, load_le64(card.rings[0].desc_host + 16 * used.id), 600);
    *hash = load_le32(buffer + 12);
    assert_int_equal(load_le16(buffer + 18), 0);
    return load_le16(buffer + 16);
}

static void expect(const struct frame *f, uint16_t type, uint32_t value)
{
    uint32_t hash;

    assert_int_equal(report(f, &hash), type);
    assert_int_equal(hash, value);
}

/* NET-35, NETC-11, NETC-12 */
static void test_vectors(void **state)
{
    struct frame f;

    (void)state;
    start_reporting();
    make(&f, &vectors[0], 6);
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0); /* all types are off at first */
    assert_ok(set_hash(0x1ff, key, 40, 0));
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        bool v6 = strchr(vectors[i].source, ':');

        make(&f, &vectors[i], 6);
        expect(&f, v6 ? VIRTIO_NET_HASH_REPORT_TCPv6 : VIRTIO_NET_HASH_REPORT_TCPv4,
               vectors[i].tcp_hash);
        make(&f, &vectors[i], 17);
        expect(&f, v6 ? VIRTIO_NET_HASH_REPORT_UDPv6 : VIRTIO_NET_HASH_REPORT_UDPv4,
               vectors[i].tcp_hash);
        make(&f, &vectors[i], 1);
        expect(&f, v6 ? VIRTIO_NET_HASH_REPORT_IPv6 : VIRTIO_NET_HASH_REPORT_IPv4,
               vectors[i].ip_hash);
    }
}

/* NETC-12 */
static void test_only_enabled_types(void **state)
{
    struct frame f;

    (void)state;
    start_reporting();
    assert_ok(set_hash(VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6, key, 40, 0));
    make(&f, &vectors[0], 6);
    expect(&f, VIRTIO_NET_HASH_REPORT_IPv4, vectors[0].ip_hash);
    make(&f, &vectors[5], 6);
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
    make(&f, &vectors[5], 17);
    expect(&f, VIRTIO_NET_HASH_REPORT_UDPv6, vectors[5].tcp_hash);
    assert_ok(set_hash(0, key, 0, 0));
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
}

/* NET-35: IP options, VLAN tags, fragments, frames that end early, and other protocols. */
static void test_forms(void **state)
{
    struct frame f, tagged;

    (void)state;
    start_reporting();
    assert_ok(set_hash(0x1ff, key, 40, 0));
    make_ipv4(&f, &vectors[0], 6, 0, 10);
    expect(&f, VIRTIO_NET_HASH_REPORT_TCPv4, vectors[0].tcp_hash);
    begin(&tagged, "\x88\xa8");
    put(&tagged, "\0\5\x81\0\0\6", 6);
    put(&tagged, f.bytes + 12, f.length - 12);
    expect(&tagged, VIRTIO_NET_HASH_REPORT_TCPv4, vectors[0].tcp_hash);

    make_ipv4(&f, &vectors[0], 6, 0x4000, 0); /* do not fragment */
    expect(&f, VIRTIO_NET_HASH_REPORT_TCPv4, vectors[0].tcp_hash);
    make_ipv4(&f, &vectors[0], 6, 0x2000, 0);
    expect(&f, VIRTIO_NET_HASH_REPORT_IPv4, vectors[0].ip_hash);
    make_ipv4(&f, &vectors[0], 17, 0x0001, 0);
    expect(&f, VIRTIO_NET_HASH_REPORT_IPv4, vectors[0].ip_hash);

    make_ipv4(&f, &vectors[0], 6, 0, 0);
    f.length = 14 + 20 + 3; /* within the ports */
    expect(&f, VIRTIO_NET_HASH_REPORT_IPv4, vectors[0].ip_hash);
    f.length = 14 + 19;
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
    f.length = 14;
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
    make_ipv4(&f, &vectors[0], 6, 0, 0);
    f.bytes[14] = 0x44; /* a header too short */
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
    begin(&f, "\x08\x06");
    put(&f, (uint8_t[46]){0}, 46);
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
}

/* Extension headers: home address in a destination header, type 2 routing header, a hop-by-hop one
 * before. The addresses of the packet itself are others. */
static void make_extended(struct frame *f, const struct vector *v, bool mobile, uint8_t protocol)
{
    begin(f, "\x86\xdd");
    put_ipv6(f, mobile ? "::1" : v->source, mobile ? "::2" : v->destination, 0);
    put(f, (uint8_t[8]){60, 0, 1, 4}, 8);
    if (mobile) {
        put(f, (uint8_t[8]){43, 2, 0, 1, 1, 0, 0xc9, 16}, 8); /* Pad1, PadN, home address */
        put_address(f, v->source);
        put(f, (uint8_t[8]){protocol, 2, 2, 1}, 8);
        put_address(f, v->destination);
    } else {
        put(f, (uint8_t[8]){protocol, 0, 1, 4}, 8);
    }
    put_ports(f, v->source_port, v->destination_port);
}

/* NET-35 */
static void test_extension_headers(void **state)
{
    const struct vector *v = &vectors[5];
    struct frame f;

    (void)state;
    start_reporting();
    for (int mobile = 0; mobile < 2; mobile++) {
        assert_ok(set_hash(0x1ff, key, 40, 0));
        make_extended(&f, v, mobile, 6);
        expect(&f, VIRTIO_NET_HASH_REPORT_TCPv6_EX, v->tcp_hash);
        make_extended(&f, v, mobile, 17);
        expect(&f, VIRTIO_NET_HASH_REPORT_UDPv6_EX, v->tcp_hash);
        make_extended(&f, v, mobile, 58);
        expect(&f, VIRTIO_NET_HASH_REPORT_IPv6_EX, v->ip_hash);
    }
    assert_ok(set_hash(0x3f, key, 40, 0)); /* without them: as if the headers were not there */
    make_extended(&f, v, false, 6);
    expect(&f, VIRTIO_NET_HASH_REPORT_TCPv6, v->tcp_hash);
    assert_ok(set_hash(VIRTIO_NET_RSS_HASH_TYPE_TCP_EX, key, 40, 0));
    make_ipv6(&f, v, 6); /* and the other way round, nothing */
    expect(&f, VIRTIO_NET_HASH_REPORT_NONE, 0);
}

/* NET-35: headers that do not end, or lead out of the frame, or hide in another fragment. */
static void test_bad_extension_headers(void **state)
{
    const struct vector *v = &vectors[5];
    struct frame f;

    (void)state;
    start_reporting();
    assert_ok(set_hash(0x1ff, key, 40, 0));
    for (unsigned i = 0; i < 4; i++) {
        static const uint8_t headers[4][8] = {
            {6, 200, 1, 4},              /* longer than the frame */
            {60, 255, 0xc9, 16},         /* a home address that is not there */
            {60, 0, 0xc9, 255},          /* an option longer than its header */
            {60, 0, 0, 0, 0, 0, 0, 0xc9} /* one cut off */
        };

        begin(&f, "\x86\xdd");
        put_ipv6(&f, v->source, v->destination, 60);
        put(&f, headers[i], 8);
        expect(&f, VIRTIO_NET_HASH_REPORT_IPv6_EX, v->ip_hash);
    }
    begin(&f, "\x86\xdd");
    put_ipv6(&f, v->source, v->destination, 44);
    put(&f, (uint8_t[8]){6, 0, 0, 1}, 8); /* more fragments */
    put_ports(&f, v->source_port, v->destination_port);
    expect(&f, VIRTIO_NET_HASH_REPORT_IPv6_EX, v->ip_hash);
    f.bytes[57] = 0; /* the only one */
    expect(&f, VIRTIO_NET_HASH_REPORT_TCPv6_EX, v->tcp_hash);
    begin(&f, "\x86\xdd");
    put_ipv6(&f, v->source, v->destination, 0);
    while (f.length < sizeof(f.bytes) - 8)
        put(&f, (uint8_t[8]){0, 0, 1, 4}, 8); /* no end */
    expect(&f, VIRTIO_NET_HASH_REPORT_IPv6_EX, v->ip_hash);
}

/* NETC-11, DRV-NET-16, DRV-NET-28 */
static void test_bad_hash_config(void **state)
{
    uint8_t raw[64] = {0};

    (void)state;
    start_reporting();
    assert_error(set_hash(0x200, key, 40, 0));
    assert_error(set_hash(1, key, 41, 0));
    assert_error(set_hash(1, key, 40, 1));
    raw[12] = 40;
    for (size_t length = 0; length < 60; length++)
        if (length != 53)
            assert_error(command(2, raw, length));
    assert_ok(command(2, raw, 53));
    assert_error(command(1, raw, 53)); /* RSS was not negotiated */
}

/* --- several queues --------------------------------------------------------------------------- */

struct rss {
    uint32_t types;
    uint16_t mask, unclassified, table[256], max_tx;
    uint8_t key_length;
};

static size_t rss_bytes(const struct rss *rss, uint8_t *raw)
{
    unsigned entries = MIN(rss->mask + 1u, 256u);
    size_t at = 8;

    store_le32(raw, rss->types);
    store_le16(raw + 4, rss->mask);
    store_le16(raw + 6, rss->unclassified);
    for (unsigned i = 0; i < entries; i++, at += 2)
        store_le16(raw + at, rss->table[i]);
    store_le16(raw + at, rss->max_tx);
    raw[at + 2] = rss->key_length;
    memcpy(raw + at + 3, key, 40);
    return at + 3 + rss->key_length;
}

static int set_rss(const struct rss *rss)
{
    static uint8_t raw[700];

    return command(1, raw, rss_bytes(rss, raw));
}

static int set_pairs(uint16_t pairs)
{
    uint8_t raw[2];

    store_le16(raw, pairs);
    return command(0, raw, 2);
}

/* How many frames came to receive queue `pair`. */
static unsigned arrived(unsigned pair)
{
    struct ring_used used;
    unsigned n = 0;

    while (ring_collect(&card.rings[2 * pair], &used))
        n++;
    return n;
}

static void host_sends(unsigned pair, const struct frame *f)
{
    fake_net_add(&card.host, pair, NULL, f->bytes, f->length);
    net_card_serve(&card);
}

/* NET-01, NET-36, NETC-07, NETC-08, DRV-NET-14 */
static void test_pairs(void **state)
{
    struct frame f;

    (void)state;
    want(NET_F_MQ);
    start();
    for (unsigned i = 0; i < 4; i++)
        offer(2 * i, 20);
    make(&f, &vectors[0], 6);
    assert_int_equal(card.host.pairs, 1);
    host_sends(0, &f);
    assert_int_equal(arrived(0), 1);
    assert_false(card.host.watching[1]);

    assert_error(set_pairs(0));
    assert_error(set_pairs(5));
    assert_error(set_pairs(0x8000));
    assert_error(set_pairs(0xffff));
    assert_ok(set_pairs(4));
    assert_int_equal(card.host.pairs, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(card.host.watching[i]);
        host_sends(i, &f);
        assert_int_equal(arrived(i), 1);
    }
    assert_ok(set_pairs(2));
    assert_int_equal(card.host.pairs, 2);
    host_sends(2, &f);
    host_sends(1, &f);
    assert_int_equal(arrived(2), 0);
    assert_int_equal(arrived(1), 1);
    net_card_stop_queue(&card, 3);
    assert_error(set_pairs(2)); /* a queue that is not enabled */
    assert_ok(set_pairs(1));
}

static const struct rss four = {.types = 0x1ff,
                                .mask = 3,
                                .unclassified = 2,
                                .table = {0, 1, 2, 3},
                                .max_tx = 4,
                                .key_length = 40};

/* NETC-09, NETC-10: the device spreads frames when the host side does not. */
static void test_rss_by_device(void **state)
{
    struct frame f;

    (void)state;
    want(NET_F_RSS);
    start();
    for (unsigned i = 0; i < 4; i++)
        offer(2 * i, 20);
    assert_ok(set_rss(&four));
    assert_int_equal(card.host.pairs, 1); /* so that they stay in order */
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        make(&f, &vectors[i], 6);
        host_sends(0, &f);
        assert_int_equal(arrived(vectors[i].tcp_hash & 3), 1);
    }
    begin(&f, "\x08\x06");
    put(&f, (uint8_t[46]){0}, 46);
    host_sends(0, &f);
    assert_int_equal(arrived(2), 1); /* unclassified */
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(arrived(i), 0);
    assert_error(set_pairs(1)); /* MQ was not negotiated */
}

/* Until the device has worked off, or given up, what the host side has. */
static void wait_until_idle(void)
{
    uint64_t since = loop_now_ns();

    while (card.host.incoming[0].first && loop_now_ns() - since < 20 * UINT64_C(1000000000))
        net_card_turn(&card);
    net_card_serve(&card);
}

/* NETC-10: frames wait for a queue without buffers, for a while; then that one loses its frames,
 * and only that one, until it has buffers. */
static void test_rss_overrun(void **state)
{
    struct frame a, b;

    (void)state;
    want(NET_F_RSS);
    want(NET_F_MRG_RXBUF);
    start();
    offer(0, 20);
    offer(4, 1);
    make(&a, &vectors[0], 6);
    make(&b, &vectors[1], 6);
    assert_int_equal(vectors[0].tcp_hash & 3, 0);
    assert_int_equal(vectors[1].tcp_hash & 3, 2);
    assert_ok(set_rss(&four));
    fake_net_add(&card.host, 0, NULL, b.bytes, b.length);
    fake_net_add(&card.host, 0, NULL, b.bytes, b.length);
    fake_net_add(&card.host, 0, NULL, a.bytes, a.length);
    net_card_turn(&card);
    assert_int_equal(card.host.receives, 2);
    assert_false(card.host.watching[0]);
    offer(4, 1); /* in time */
    assert_int_equal(arrived(2), 2);
    assert_int_equal(arrived(0), 1);

    for (int i = 0; i < 5; i++)
        fake_net_add(&card.host, 0, NULL, b.bytes, b.length);
    fake_net_add(&card.host, 0, NULL, a.bytes, a.length);
    wait_until_idle();
    assert_int_equal(arrived(2), 0);
    assert_int_equal(arrived(0), 1);
    offer(4, 2);
    host_sends(0, &b);
    assert_int_equal(arrived(2), 1);
}

/* NETC-08, NETC-10: nobody waits for a queue that is reset. */
static void test_rss_to_stopped_queue(void **state)
{
    struct frame a, b;

    (void)state;
    want(NET_F_RSS);
    want(NET_F_MRG_RXBUF);
    start();
    offer(0, 20);
    net_card_kick(&card, 4);
    make(&a, &vectors[0], 6);
    make(&b, &vectors[1], 6);
    assert_ok(set_rss(&four));
    fake_net_add(&card.host, 0, NULL, b.bytes, b.length);
    fake_net_add(&card.host, 0, NULL, b.bytes, b.length);
    fake_net_add(&card.host, 0, NULL, a.bytes, a.length);
    net_card_turn(&card);
    assert_int_equal(card.host.receives, 1); /* held back */
    net_card_stop_queue(&card, 4);
    net_card_turn(&card);
    net_card_turn(&card);
    assert_int_equal(card.host.receives, 3);
    assert_int_equal(arrived(0), 1);
}

/* NETC-20: a frame that the guest does not want waits for no queue. */
static void test_filter_before_rss(void **state)
{
    struct frame foreign, own;

    (void)state;
    want(NET_F_RSS);
    want(NET_F_MAC);
    want(NET_F_CTRL_RX);
    start();
    offer(0, 20);
    net_card_kick(&card, 4); /* runs, and has no buffers */
    assert_ok(set_rss(&four));
    make(&foreign, &vectors[1], 6);
    make(&own, &vectors[0], 6);
    for (unsigned i = 0; i < NET_MAC_SIZE; i++)
        own.bytes[i] = (uint8_t)net_card_config(&card, NET_CONFIG_MAC + i, 1);
    fake_net_add(&card.host, 0, NULL, foreign.bytes, foreign.length);
    fake_net_add(&card.host, 0, NULL, own.bytes, own.length);
    net_card_turn(&card);
    assert_true(card.host.watching[0]);
    assert_int_equal(arrived(0), 1);

    memcpy(foreign.bytes, own.bytes, NET_MAC_SIZE); /* the same frame, if it is wanted, does */
    fake_net_add(&card.host, 0, NULL, foreign.bytes, foreign.length);
    net_card_turn(&card);
    assert_false(card.host.watching[0]);
    offer(4, 1);
    assert_int_equal(arrived(2), 1);
}

/* NETC-09, NETC-10 */
static void test_rss_by_host(void **state)
{
    struct frame f;

    (void)state;
    want(NET_F_RSS);
    want(NET_F_MQ);
    start();
    for (unsigned i = 0; i < 4; i++)
        offer(2 * i, 20);
    assert_ok(set_rss(&four));
    assert_true(card.host.steers);
    assert_int_equal(card.host.steering.hash_types, 0x1ff);
    assert_int_equal(card.host.steering.table_mask, 3);
    assert_int_equal(card.host.steering.unclassified, 2);
    assert_memory_equal(card.host.steering.table, four.table, 8);
    assert_int_equal(card.host.steering.key_length, 40);
    assert_memory_equal(card.host.steering.key, key, 40);
    make(&f, &vectors[0], 6);
    host_sends(3, &f); /* where it comes in, it stays */
    assert_int_equal(arrived(3), 1);
    assert_ok(set_pairs(2)); /* the last command wins (NETC-07) */
    assert_false(card.host.steers);
    assert_int_equal(card.host.pairs, 2);
    assert_ok(set_rss(&four));
    net_card_stop(&card);
    assert_false(card.host.steers);
    assert_int_equal(card.host.pairs, 1);
    start();
}

/* Whether a frame in this transmit queue goes out, on the host side's queue `to`. */
static bool sends(unsigned pair, unsigned to)
{
    unsigned before = card.host.sent[to].count;
    struct ring *ring = &card.rings[2 * pair + 1];

    assert_true(ring_add(ring, &(struct ring_element){net_card_alloc(&card, 100), 100, false}, 1,
                         RING_DIRECT) >= 0);
    net_card_kick(&card, 2 * pair + 1);
    return card.host.sent[to].count == before + 1;
}

/* NETC-09: Linux up to 6.12 has in max_tx_vq how many queues it used when it started. */
static void test_rss_keeps_transmit_queues(void **state)
{
    static const struct rss first_only = {.types = 0x1ff, .max_tx = 1, .key_length = 40};

    (void)state;
    want(NET_F_RSS);
    want(NET_F_MQ);
    start();
    assert_ok(set_pairs(4));
    assert_true(sends(3, 3));
    assert_ok(set_rss(&first_only));
    assert_true(sends(3, 0));
    assert_ok(set_pairs(1));
    assert_ok(set_rss(&first_only));
    assert_false(sends(3, 0));
}

/* What waits for one of the host side's queues does not wait for ever when another one is used. */
static void test_rss_while_blocked(void **state)
{
    (void)state;
    want(NET_F_RSS);
    want(NET_F_MQ);
    start();
    assert_ok(set_pairs(4));
    card.host.busy = true;
    assert_false(sends(3, 3));
    card.host.busy = false;
    assert_ok(set_rss(&four));
    assert_int_equal(card.host.sent[0].count, 1);
}

/* NETC-09, NETC-11: a report of the hash that steers. */
static void test_rss_with_report(void **state)
{
    struct frame f;
    uint32_t hash;

    (void)state;
    want(NET_F_RSS);
    want(NET_F_HASH_REPORT);
    start();
    offer(0, 5);
    assert_ok(set_rss(&four));
    make(&f, &vectors[0], 6);
    assert_int_equal(report(&f, &hash), VIRTIO_NET_HASH_REPORT_TCPv4);
    assert_int_equal(hash, vectors[0].tcp_hash);
}

/* A frame that waits for room is not taken where the new rules lead by mistake. */
static void test_rss_while_held_back(void **state)
{
    struct frame f;

    (void)state;
    want(NET_F_RSS);
    want(NET_F_MRG_RXBUF);
    start();
    for (unsigned i = 0; i < 2; i++) {
        struct ring_element e = {net_card_alloc(&card, 40), 40, true};

        ring_add(&card.rings[0], &e, 1, RING_DIRECT);
    }
    net_card_kick(&card, 0);
    make(&f, &vectors[1], 6);
    f.length = 200;
    host_sends(0, &f);
    assert_int_equal(arrived(0), 0);
    offer(4, 5);
    assert_ok(set_rss(&four));
    make(&f, &vectors[1], 6);
    host_sends(0, &f);
    assert_int_equal(arrived(2), 1);
}

/* DRV-NET-16, NETC-09 */
static void test_bad_rss(void **state)
{
    static uint8_t raw[700];
    struct rss rss;
    size_t length;

    (void)state;
    want(NET_F_RSS);
    start();
    rss = four;
    length = rss_bytes(&rss, raw);
    for (size_t cut = 0; cut < length + 10; cut++)
        assert_int_equal(command(1, raw, cut) == VIRTIO_NET_OK, cut == length);
    rss.types = 0x200;
    assert_error(set_rss(&rss));
    for (uint32_t mask = 0; mask < 130; mask++) {
        rss = four;
        memset(rss.table, 0, sizeof(rss.table));
        rss.mask = (uint16_t)mask;
        assert_int_equal(set_rss(&rss) == VIRTIO_NET_OK, mask < 128 && is_power_of_two(mask + 1));
    }
    rss.mask = 0xffff;
    assert_error(set_rss(&rss));
    rss = four;
    rss.mask = 255;
    assert_error(set_rss(&rss));
    rss = four;
    rss.table[3] = 4;
    assert_error(set_rss(&rss));
    rss = four;
    rss.unclassified = 4;
    assert_error(set_rss(&rss));
    rss.unclassified = 0x8001; /* a reserved bit */
    assert_error(set_rss(&rss));
    rss = four;
    rss.max_tx = 0;
    assert_error(set_rss(&rss));
    rss.max_tx = 5;
    assert_error(set_rss(&rss));
    rss = four;
    rss.key_length = 0;
    assert_ok(set_rss(&rss));
    net_card_stop_queue(&card, 6);
    assert_error(set_rss(&four)); /* a queue that is not enabled */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_vectors),
        TEST(test_only_enabled_types),
        TEST(test_forms),
        TEST(test_extension_headers),
        TEST(test_bad_extension_headers),
        TEST(test_bad_hash_config),
        TEST(test_pairs),
        TEST(test_rss_by_device),
        TEST(test_rss_overrun),
        TEST(test_rss_to_stopped_queue),
        TEST(test_filter_before_rss),
        cmocka_unit_test_setup_teardown(test_rss_by_host, setup_steering_host, teardown),
        TEST(test_rss_keeps_transmit_queues),
        TEST(test_rss_while_blocked),
        TEST(test_rss_with_report),
        TEST(test_rss_while_held_back),
        TEST(test_bad_rss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
