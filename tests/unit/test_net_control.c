/*
 * virtio-net: the control queue, and what its commands change for frames.
 */
#include "base/bytes.h"
#include "devices/net/protocol.h"
#include "tests/unit/net_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include <linux/virtio_net.h>

static const uint8_t own[] = {2, 0, 0, 0, 0, 1}, other[] = {2, 0, 0, 0, 0, 2},
                     group[] = {0x33, 0x33, 0, 0, 0, 1}, group2[] = {0x33, 0x33, 0, 0, 0, 2},
                     broadcast[] = {255, 255, 255, 255, 255, 255};

static int setup(void **state)
{
    (void)state;
    card_clear();
    card.options.mac = (char *)"02:00:00:00:00:01";
    assert_int_equal(net_card_create(&card, 3, NULL), 0);
    want(NET_F_CTRL_VQ);
    return 0;
}

static int command(uint8_t class, uint8_t number, const void *data, size_t length)
{
    return net_card_command(&card, class, number, data, length, NULL, NULL);
}

#define assert_ok(ack)    assert_int_equal(ack, VIRTIO_NET_OK)
#define assert_error(ack) assert_int_equal(ack, VIRTIO_NET_ERR)

static void offer(unsigned queue, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct ring_element e = {net_card_alloc(&card, 400), 400, true};

        assert_true(ring_add(&card.rings[queue], &e, 1, RING_DIRECT) >= 0);
    }
    net_card_kick(&card, queue);
}

/* Whether a frame to this address, with this VLAN tag (-1: none), reaches the guest. */
static bool reaches(const uint8_t *mac, int vlan)
{
    uint8_t frame[100] = {0};
    struct ring_used used;

    memcpy(frame, mac, 6);
    if (vlan >= 0) {
        frame[12] = 0x81;
        frame[14] = (uint8_t)(vlan >> 8 | 0xe0); /* with a priority */
        frame[15] = (uint8_t)vlan;
    }
    fake_net_add(&card.host, 0, NULL, frame, sizeof(frame));
    net_card_serve(&card);
    if (!ring_collect(&card.rings[0], &used))
        return false;
    offer(0, 1);
    return true;
}

static void mode(uint8_t which, bool on)
{
    uint8_t value = on;

    assert_ok(command(VIRTIO_NET_CTRL_RX, which, &value, 1));
}

/* --- commands as such ------------------------------------------------------------------------- */

/* NETC-01 */
static void test_unknown_commands(void **state)
{
    (void)state;
    want(NET_F_CTRL_RX);
    start();
    assert_error(command(0, 6, "\1", 1));
    assert_error(command(1, 2, "\1", 1));
    assert_error(command(9, 0, "", 0));         /* NETC-18: no RSS contexts */
    assert_error(command(7, 0, "\0\0\0\0", 4)); /* NETC-15: no tunnels */
    assert_error(command(255, 255, "", 0));
    assert_false(card.needs_reset);
}

/* NETC-01, RING-08 */
static void test_any_framing(void **state)
{
    struct ring_element e[8];
    struct ring_used used;
    uint64_t at;

    (void)state;
    want(NET_F_CTRL_RX);
    start();
    at = net_card_alloc(&card, 16);
    memcpy(net_card_at(&card, at, 16), "\0\0\1\0\0\0\0\0\xee\xee\xee", 11);
    for (unsigned i = 0; i < 3; i++)
        e[i] = (struct ring_element){at + i, 1, false};
    e[3] = (struct ring_element){at + 8, 1, true};
    e[4] = (struct ring_element){at + 9, 2, true};
    ring_add(&card.rings[2], e, 5, RING_TABLE);
    net_card_kick(&card, 2);
    assert_true(ring_collect(&card.rings[2], &used));
    assert_int_equal(used.length, 1);
    assert_memory_equal(net_card_at(&card, at + 8, 3), "\0\xee\xee", 3);
}

/* DRV-NET-24: too short for class and command: an error; no room for that: broken. */
static void test_bad_chains(void **state)
{
    struct ring_element e[2];
    struct ring_used used;
    uint64_t at;

    (void)state;
    want(NET_F_CTRL_RX);
    start();
    at = net_card_alloc(&card, 16);
    e[0] = (struct ring_element){at, 1, false};
    e[1] = (struct ring_element){at + 1, 1, true};
    ring_add(&card.rings[2], e, 2, RING_DIRECT);
    ring_add(&card.rings[2], e + 1, 1, RING_DIRECT);
    net_card_kick(&card, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(ring_collect(&card.rings[2], &used));
        assert_int_equal(used.length, 1);
        assert_int_equal(*net_card_at(&card, at + 1, 1), VIRTIO_NET_ERR);
    }
    assert_false(card.needs_reset);
    e[0].length = 3;
    ring_add(&card.rings[2], e, 1, RING_DIRECT);
    net_card_kick(&card, 2);
    assert_true(card.needs_reset);
}

/* DRV-NET-24 */
static void test_without_control_queue(void **state)
{
    (void)state;
    net_card_start(&card, NULL, 0);
    assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, "\1", 1), -1);
    assert_true(card.needs_reset);
}

/* DRV-NET-15, NET-01: queues of pairs that the driver may not know of. */
static void test_queue_of_no_pair(void **state)
{
    struct ring_element e;

    (void)state;
    start();
    net_card_kick(&card, 5);
    assert_false(card.needs_reset);
    e = (struct ring_element){net_card_alloc(&card, 100), 100, false};
    ring_add(&card.rings[5], &e, 1, RING_DIRECT);
    net_card_kick(&card, 5);
    assert_true(card.needs_reset);
}

/* NET-01: the control queue is the one behind the pairs that were negotiated. */
static void test_index_of_control_queue(void **state)
{
    (void)state;
    want(NET_F_CTRL_RX);
    start();
    assert_int_equal(card.control, 2);
    mode(VIRTIO_NET_CTRL_RX_PROMISC, true);
    net_card_stop(&card);
    want(NET_F_MQ);
    start();
    assert_int_equal(card.control, 6);
    mode(VIRTIO_NET_CTRL_RX_PROMISC, true);
}

struct form {
    uint8_t class, command;
    unsigned char feature;
    uint8_t length; /* what it takes */
};

/* DRV-NET-12, DRV-NET-14, DRV-NET-16, DRV-NET-17, DRV-NET-18, DRV-NET-21, DRV-NET-22 */
static void test_wrong_length_and_not_negotiated(void **state)
{
    static const struct form forms[] = {
        {0, 0, NET_F_CTRL_RX, 1},
        {0, 1, NET_F_CTRL_RX, 1},
        {0, 2, NET_F_CTRL_RX_EXTRA, 1},
        {0, 3, NET_F_CTRL_RX_EXTRA, 1},
        {0, 4, NET_F_CTRL_RX_EXTRA, 1},
        {0, 5, NET_F_CTRL_RX_EXTRA, 1},
        {1, 0, NET_F_CTRL_RX, 8},
        {1, 1, NET_F_CTRL_MAC_ADDR, 6},
        {2, 0, NET_F_CTRL_VLAN, 2},
        {2, 1, NET_F_CTRL_VLAN, 2},
        {4, 1, NET_F_RSS, 0xff},
        {4, 2, NET_F_HASH_REPORT, 13},
        {5, 0, NET_F_CTRL_GUEST_OFFLOADS, 8},
        {6, 0, NET_F_NOTF_COAL, 8},
        {6, 1, NET_F_NOTF_COAL, 8},
        {6, 2, NET_F_VQ_NOTF_COAL, 12},
        {6, 3, NET_F_VQ_NOTF_COAL, 4},
        {8, 0, NET_F_DEVICE_STATS, 0},
        {8, 1, NET_F_DEVICE_STATS, 0},
        {3, 0, NET_F_GUEST_ANNOUNCE, 0xff},
        {4, 0, NET_F_MQ, 0xff},
    };
    static const uint8_t zero[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        const unsigned char with[] = {NET_F_CTRL_VQ, forms[i].feature};

        net_card_start(&card, with, 1);
        for (size_t length = 0; length < 20; length++)
            assert_error(command(forms[i].class, forms[i].command, zero, length));
        net_card_stop(&card);
        net_card_start(&card, with, 2);
        for (size_t length = 0; length < 16; length++)
            assert_int_equal(command(forms[i].class, forms[i].command, zero, length) ==
                                 VIRTIO_NET_OK,
                             length == forms[i].length);
        net_card_stop(&card);
    }
    start();
}

/* --- filters ---------------------------------------------------------------------------------- */

/* NETC-02, NETC-04, NETC-25 */
static void test_receive_modes(void **state)
{
    (void)state;
    want(NET_F_MAC);
    want(NET_F_CTRL_RX);
    want(NET_F_CTRL_RX_EXTRA);
    start();
    offer(0, 1);
    assert_true(reaches(own, -1));
    assert_true(reaches(broadcast, -1));
    assert_false(reaches(other, -1));
    assert_false(reaches(group, -1));

    mode(VIRTIO_NET_CTRL_RX_ALLMULTI, true);
    assert_true(reaches(group, -1));
    assert_false(reaches(other, -1));
    mode(VIRTIO_NET_CTRL_RX_NOMULTI, true); /* beats it, and spares broadcasts */
    assert_false(reaches(group, -1));
    assert_true(reaches(broadcast, -1));
    mode(VIRTIO_NET_CTRL_RX_NOBCAST, true);
    assert_false(reaches(broadcast, -1));

    mode(VIRTIO_NET_CTRL_RX_ALLUNI, true);
    assert_true(reaches(other, -1));
    mode(VIRTIO_NET_CTRL_RX_NOUNI, true);
    assert_false(reaches(other, -1));
    assert_false(reaches(own, -1));

    mode(VIRTIO_NET_CTRL_RX_PROMISC, true); /* beats all */
    assert_true(reaches(own, -1));
    assert_true(reaches(other, -1));
    assert_true(reaches(group, -1));
    assert_true(reaches(broadcast, -1));
    assert_error(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\2", 1));

    net_card_stop(&card); /* a reset takes all of it back */
    start();
    offer(0, 1);
    assert_true(reaches(broadcast, -1));
    assert_false(reaches(other, -1));
}

/* NETC-02: a driver that cannot set filters is not filtered for. */
static void test_no_filters(void **state)
{
    (void)state;
    want(NET_F_MAC);
    start();
    offer(0, 1);
    assert_true(reaches(other, -1));
    assert_true(reaches(group, -1));
    assert_true(reaches(other, 5)); /* NETC-05 */
    net_card_stop(&card);
    bit_count = 1;
    want(NET_F_CTRL_RX); /* and one whose address we were not told, not by address */
    start();
    offer(0, 1);
    assert_true(reaches(other, -1));
    assert_false(reaches(group, -1));
}

static size_t table(uint8_t *out, unsigned unicast, unsigned multicast)
{
    uint8_t *at = out;

    store_le32(at, unicast);
    at += 4;
    for (unsigned i = 0; i < unicast; i++, at += 6)
        memcpy(at, (uint8_t[]){2, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)(i + 2)}, 6);
    store_le32(at, multicast);
    at += 4;
    for (unsigned i = 0; i < multicast; i++, at += 6)
        memcpy(at, (uint8_t[]){0x33, 0x33, 0, 0, (uint8_t)(i >> 8), (uint8_t)(i + 1)}, 6);
    return (size_t)(at - out);
}

static int set_table(unsigned unicast, unsigned multicast)
{
    static uint8_t raw[8 + 6 * 1000];

    return command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, raw,
                   table(raw, unicast, multicast));
}

/* NETC-03, NETC-04, DRV-NET-13 */
static void test_mac_table(void **state)
{
    uint8_t raw[64];
    size_t length;

    (void)state;
    want(NET_F_MAC);
    want(NET_F_CTRL_RX);
    start();
    offer(0, 1);
    assert_ok(set_table(1, 1));
    assert_true(reaches(own, -1));
    assert_true(reaches(other, -1));
    assert_true(reaches(group, -1));
    assert_false(reaches(group2, -1));

    length = table(raw, 3, 2); /* wrong ones change nothing */
    for (size_t cut = 0; cut < length; cut++)
        assert_error(command(VIRTIO_NET_CTRL_MAC, 0, raw, cut));
    assert_error(command(VIRTIO_NET_CTRL_MAC, 0, raw, length + 1));
    store_le32(raw, 0xffffffff);
    assert_error(command(VIRTIO_NET_CTRL_MAC, 0, raw, length));
    store_le32(raw, 0x2aaaaaab); /* times 6 is 2 more than 2^32 */
    assert_error(command(VIRTIO_NET_CTRL_MAC, 0, raw, length));
    assert_false(reaches(group2, -1));

    assert_ok(set_table(0, 2));
    assert_false(reaches(other, -1));
    assert_true(reaches(group2, -1));
    assert_ok(set_table(65, 0)); /* more than we remember: all */
    assert_true(reaches((const uint8_t[]){2, 9, 9, 9, 9, 9}, -1));
    assert_false(reaches(group, -1));
    assert_ok(set_table(64, 900));
    assert_false(reaches((const uint8_t[]){2, 9, 9, 9, 9, 9}, -1));
    assert_true(reaches((const uint8_t[]){0x33, 9, 9, 9, 9, 9}, -1));
    assert_ok(set_table(0, 0));
    assert_false(reaches(other, -1));
    assert_false(reaches(group, -1));
}

/* NETC-03, NETC-04 */
static void test_set_address(void **state)
{
    (void)state;
    want(NET_F_MAC);
    want(NET_F_CTRL_RX);
    want(NET_F_CTRL_MAC_ADDR);
    start();
    offer(0, 1);
    assert_ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6));
    assert_int_equal(net_card_config(&card, 0, 6), 0x020000000002);
    assert_int_equal(card.config_changes, 1);
    assert_true(reaches(other, -1));
    assert_false(reaches(own, -1));
    net_card_stop(&card);
    assert_int_equal(net_card_config(&card, 0, 6), 0x010000000002);
    start();
}

/* NETC-05 */
static void test_vlans(void **state)
{
    (void)state;
    want(NET_F_CTRL_VLAN);
    start();
    offer(0, 1);
    assert_true(reaches(own, -1));
    assert_false(reaches(own, 5));
    assert_ok(command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\5\0", 2));
    assert_ok(command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\xff\x0f", 2));
    assert_true(reaches(own, 5));
    assert_true(reaches(own, 4095));
    assert_false(reaches(own, 6));
    assert_ok(command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, "\5\0", 2));
    assert_false(reaches(own, 5));
    assert_error(command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\0\x10", 2));
}

/* --- offloads --------------------------------------------------------------------------------- */

/* NETC-13, DRV-NET-17 */
static void test_guest_offloads(void **state)
{
    uint8_t raw[8];

    (void)state;
    want(NET_F_CTRL_GUEST_OFFLOADS);
    want(NET_F_GUEST_CSUM);
    want(NET_F_GUEST_TSO4);
    want(NET_F_GUEST_TSO6);
    start();
    assert_int_equal(card.host.guest_offloads,
                     NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);
    store_le64(raw, BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO6));
    assert_ok(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, raw, 8));
    assert_int_equal(card.host.guest_offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO6);
    store_le64(raw, BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_UFO));
    assert_error(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, raw, 8));
    store_le64(raw, BIT(VIRTIO_NET_F_CSUM));
    assert_error(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, raw, 8));
    store_le64(raw, BIT(46)); /* tunnels */
    assert_error(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, raw, 8));
    assert_int_equal(card.host.guest_offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO6);
    store_le64(raw, BIT(VIRTIO_NET_F_GUEST_TSO4)); /* no segments without checksums */
    assert_ok(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, raw, 8));
    assert_int_equal(card.host.guest_offloads, 0);
}

/* --- coalescing ------------------------------------------------------------------------------- */

static int coalesce(uint8_t which, uint32_t packets, uint32_t usecs)
{
    uint8_t raw[8];

    store_le32(raw, packets);
    store_le32(raw + 4, usecs);
    return command(VIRTIO_NET_CTRL_NOTF_COAL, which, raw, sizeof(raw));
}

static int coalesce_queue(uint16_t queue, uint32_t packets, uint32_t usecs)
{
    uint8_t raw[12] = {0, 0, 0xff, 0xff}; /* reserved is ignored */

    store_le16(raw, queue);
    store_le32(raw + 4, packets);
    store_le32(raw + 8, usecs);
    return command(VIRTIO_NET_CTRL_NOTF_COAL, NET_CTRL_NOTF_COAL_VQ_SET, raw, sizeof(raw));
}

static int get_coalescing(uint16_t queue, uint32_t *packets, uint32_t *usecs)
{
    uint8_t raw[4] = {0}, reply[8] = {0};
    size_t size = sizeof(reply);
    int ack;

    store_le16(raw, queue);
    ack = net_card_command(&card, VIRTIO_NET_CTRL_NOTF_COAL, NET_CTRL_NOTF_COAL_VQ_GET, raw,
                           sizeof(raw), reply, &size);
    assert_int_equal(size, ack == VIRTIO_NET_OK ? 8 : 0);
    *packets = load_le32(reply);
    *usecs = load_le32(reply + 4);
    return ack;
}

static void host_sends(unsigned count)
{
    uint8_t frame[60] = {0};

    for (unsigned i = 0; i < count; i++) {
        fake_net_add(&card.host, 0, NULL, frame, sizeof(frame));
        net_card_serve(&card);
    }
}

#define LONG 60000000 /* us */

/* NETC-14, NETC-23 */
static void test_coalescing_by_packets(void **state)
{
    (void)state;
    want(NET_F_NOTF_COAL);
    start();
    offer(0, 100);
    host_sends(3);
    assert_int_equal(card.interrupts[0], 3);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 10, LONG));
    host_sends(9);
    assert_int_equal(card.interrupts[0], 3);
    host_sends(1);
    assert_int_equal(card.interrupts[0], 4);
    host_sends(25);
    assert_int_equal(card.interrupts[0], 6);
    assert_int_equal(ring_used_idx(&card.rings[0]), 38); /* published all the same */

    /* Five are on their way: as many make an interrupt at once now. */
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 5, LONG));
    assert_int_equal(card.interrupts[0], 7);
    host_sends(4);
    assert_int_equal(card.interrupts[0], 7);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 5, 0)); /* off */
    assert_int_equal(card.interrupts[0], 8);
    host_sends(2);
    assert_int_equal(card.interrupts[0], 10);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 0, LONG)); /* off as well */
    host_sends(1);
    assert_int_equal(card.interrupts[0], 11);
}

/* NETC-23 */
static void test_coalescing_by_time(void **state)
{
    uint64_t since;

    (void)state;
    want(NET_F_NOTF_COAL);
    start();
    offer(0, 100);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 1000, 100000));
    since = loop_now_ns();
    host_sends(1);
    while (card.interrupts[0] == 0 && loop_now_ns() - since < 20 * UINT64_C(1000000000))
        net_card_turn(&card);
    assert_int_equal(card.interrupts[0], 1);
    assert_true(loop_now_ns() - since >= 100000 * UINT64_C(1000));
    net_card_serve(&card);
    assert_int_equal(card.interrupts[0], 1);
}

/* NETC-23: a driver that wants no interrupts gets none, whatever the conditions. */
static void test_coalescing_suppressed(void **state)
{
    (void)state;
    want(NET_F_NOTF_COAL);
    start();
    offer(0, 100);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 5, LONG));
    ring_disable_interrupts(&card.rings[0]);
    host_sends(20);
    assert_int_equal(card.interrupts[0], 0);
    ring_enable_interrupts(&card.rings[0]);
    host_sends(5);
    assert_int_equal(card.interrupts[0], 1);
}

/* NETC-14, NETC-26, DRV-NET-18, DRV-NET-28 */
static void test_coalescing_of_queues(void **state)
{
    uint32_t packets, usecs;

    (void)state;
    want(NET_F_NOTF_COAL);
    want(NET_F_VQ_NOTF_COAL);
    want(NET_F_MQ);
    start();
    for (uint16_t q = 0; q < 6; q++) {
        assert_ok(get_coalescing(q, &packets, &usecs));
        assert_int_equal(packets + usecs, 0);
    }
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 1, 2));
    assert_ok(coalesce_queue(0, 3, 4));
    assert_ok(coalesce_queue(1, 5, 6));
    assert_ok(get_coalescing(0, &packets, &usecs));
    assert_int_equal(packets * 10 + usecs, 34);
    assert_ok(get_coalescing(2, &packets, &usecs));
    assert_int_equal(packets * 10 + usecs, 12);
    assert_ok(get_coalescing(3, &packets, &usecs));
    assert_int_equal(packets * 10 + usecs, 0);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 7, 8));
    assert_ok(get_coalescing(1, &packets, &usecs));
    assert_int_equal(packets * 10 + usecs, 78);

    assert_error(coalesce_queue(6, 1, 1)); /* the control queue */
    assert_error(coalesce_queue(7, 1, 1));
    assert_error(get_coalescing(0xffff, &packets, &usecs));
    net_card_stop_queue(&card, 2);
    assert_error(coalesce_queue(2, 1, 1));
    assert_error(get_coalescing(2, &packets, &usecs));
}

/* NETC-14: a queue that is enabled anew has what was set for all. */
static void test_coalescing_after_restart(void **state)
{
    uint32_t packets, usecs;
    struct virtqueue_position at;

    (void)state;
    want(NET_F_NOTF_COAL);
    want(NET_F_VQ_NOTF_COAL);
    start();
    offer(0, 20);
    assert_ok(coalesce(VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 4, LONG));
    assert_ok(coalesce_queue(0, 9, LONG));
    host_sends(3);
    assert_int_equal(card.interrupts[0], 0);
    at = net_card_stop_queue(&card, 0);
    assert_int_equal(card.interrupts[0], 1); /* what is due comes before */
    net_card_start_queue(&card, 0, at);
    assert_ok(get_coalescing(0, &packets, &usecs));
    assert_int_equal(packets, 4);
    net_card_kick(&card, 0);
    host_sends(4);
    assert_int_equal(card.interrupts[0], 2);
}

/* --- statistics ------------------------------------------------------------------------------- */

static int get_stats(uint16_t queue, uint64_t types, uint8_t *reply, size_t *size)
{
    uint8_t raw[16] = {0};

    store_le16(raw, queue);
    store_le64(raw + 8, types);
    return net_card_command(&card, 8, 1, raw, sizeof(raw), reply, size);
}

static uint64_t counter(const uint8_t *reply, unsigned i)
{
    return load_le64(reply + 8 + 8 * (size_t)i);
}

static void check_header(const uint8_t *reply, uint8_t type, uint16_t queue, uint16_t size)
{
    assert_int_equal(reply[0], type);
    assert_int_equal(load_le16(reply + 2), queue);
    assert_int_equal(load_le16(reply + 6), size);
}

/* NETC-16, NETC-28 */
static void test_stats_query(void **state)
{
    uint8_t reply[16];
    size_t size = 8;

    (void)state;
    want(NET_F_DEVICE_STATS);
    start();
    assert_ok(net_card_command(&card, 8, 0, NULL, 0, reply, &size));
    assert_int_equal(size, 8);
    assert_int_equal(load_le64(reply), BIT(32) | 7 << 16 | 7);
    size = 5; /* no more than there is room for */
    assert_ok(net_card_command(&card, 8, 0, NULL, 0, reply, &size));
    assert_int_equal(size, 5);
}

/* NETC-16, NETC-17 */
static void test_stats(void **state)
{
    uint8_t reply[256], csum[NET_HEADER_SIZE] = {2}, frame[100] = {0};
    size_t size = sizeof(reply);

    (void)state;
    want(NET_F_DEVICE_STATS);
    want(NET_F_GUEST_CSUM);
    want(NET_F_GUEST_TSO4);
    start();
    offer(0, 3);
    host_sends(2);
    fake_net_add(&card.host, 0, csum, frame, 100);
    fake_net_add(&card.host, 0, NULL, frame, 5); /* dropped */
    net_card_serve(&card);
    offer(0, 1);

    assert_ok(get_stats(0, 7, reply, &size));
    assert_int_equal(size, 56 + 40 + 40);
    check_header(reply, 0, 0, 56);
    assert_int_equal(counter(reply, 0), 2);   /* notifications */
    assert_int_equal(counter(reply, 1), 3);   /* packets */
    assert_int_equal(counter(reply, 2), 220); /* bytes */
    assert_int_equal(counter(reply, 3), card.interrupts[0]);
    assert_int_equal(counter(reply, 4), 1); /* drops */
    assert_int_equal(counter(reply, 5), 0); /* for want of buffers */
    check_header(reply + 56, 1, 0, 40);
    assert_int_equal(counter(reply + 56, 0), 1); /* valid */
    assert_int_equal(counter(reply + 56, 1), 0);
    assert_int_equal(counter(reply + 56, 2), 2); /* none */
    check_header(reply + 96, 2, 0, 40);

    size = sizeof(reply);
    assert_ok(get_stats(2, BIT(32), reply, &size));
    assert_int_equal(size, 24);
    check_header(reply, 32, 2, 24);
    assert_int_equal(counter(reply, 0), 2); /* this one, too */
    assert_int_equal(counter(reply, 1), 2);
    size = 30;
    assert_ok(get_stats(0, 1, reply, &size));
    assert_int_equal(size, 30);
}

/* NETC-17 */
static void test_stats_of_transmission(void **state)
{
    uint8_t reply[256];
    size_t size = sizeof(reply);

    (void)state;
    net_card_destroy(&card);
    card = (struct net_card){.host.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4};
    assert_int_equal(net_card_create(&card, 1, NULL), 0);
    want(NET_F_DEVICE_STATS);
    want(NET_F_CSUM);
    want(NET_F_HOST_TSO4);
    start();
    for (unsigned i = 0; i < 3; i++) {
        static const uint8_t headers[3][12] = {{0}, {1, 1, 54, 0, 100, 0, 34, 0, 16, 0}, {1, 9}};
        struct ring_element e = {net_card_alloc(&card, 212), 212, false};

        memcpy(net_card_at(&card, e.address, 12), headers[i], 12);
        ring_add(&card.rings[1], &e, 1, RING_DIRECT);
    }
    net_card_kick(&card, 1);
    assert_ok(get_stats(1, 7 << 16, reply, &size));
    assert_int_equal(size, 56 + 24 + 56);
    check_header(reply, 16, 1, 56);
    assert_int_equal(counter(reply, 1), 2);
    assert_int_equal(counter(reply, 2), 400);
    assert_int_equal(counter(reply, 4), 1);
    assert_int_equal(counter(reply, 5), 1); /* malformed */
    check_header(reply + 56, 17, 1, 24);
    assert_int_equal(counter(reply + 56, 0), 1);
    assert_int_equal(counter(reply + 56, 1), 1);
    check_header(reply + 80, 18, 1, 56);
    assert_int_equal(counter(reply + 80, 0), 1);
    assert_int_equal(counter(reply + 80, 1), 200);
    assert_int_equal(counter(reply + 80, 2), 0); /* segments are made elsewhere */
    assert_int_equal(counter(reply + 80, 4), 1);
}

/* NETC-16, DRV-NET-21 */
static void test_stats_refused(void **state)
{
    uint8_t reply[64], two[32] = {0};
    size_t size = sizeof(reply);

    (void)state;
    want(NET_F_DEVICE_STATS);
    start();
    assert_error(get_stats(3, 1, reply, &size));
    assert_error(get_stats(0xffff, 1, reply, &size));
    assert_error(get_stats(0, 1 << 16, reply, &size)); /* of the other direction */
    assert_error(get_stats(1, 1, reply, &size));
    assert_error(get_stats(0, BIT(32), reply, &size));
    assert_error(get_stats(2, 1, reply, &size));
    assert_error(get_stats(0, 8, reply, &size)); /* no speed limit here */
    assert_error(get_stats(0, BIT(63) | 1, reply, &size));
    assert_error(get_stats(0, 2, reply, &size)); /* no GUEST_CSUM */
    assert_error(get_stats(0, 4, reply, &size));
    assert_error(get_stats(1, 2 << 16, reply, &size));
    assert_error(get_stats(1, 4 << 16, reply, &size));
    two[8] = 1; /* the first is right, the second is not */
    store_le16(two + 16, 1);
    two[24] = 1;
    size = sizeof(reply);
    assert_error(net_card_command(&card, 8, 1, two, sizeof(two), reply, &size));
    assert_int_equal(size, 0);
    assert_error(command(8, 1, two, 15));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_unknown_commands),
        TEST(test_any_framing),
        TEST(test_bad_chains),
        TEST(test_without_control_queue),
        TEST(test_queue_of_no_pair),
        TEST(test_index_of_control_queue),
        TEST(test_wrong_length_and_not_negotiated),
        TEST(test_receive_modes),
        TEST(test_no_filters),
        TEST(test_mac_table),
        TEST(test_set_address),
        TEST(test_vlans),
        TEST(test_guest_offloads),
        TEST(test_coalescing_by_packets),
        TEST(test_coalescing_by_time),
        TEST(test_coalescing_suppressed),
        TEST(test_coalescing_of_queues),
        TEST(test_coalescing_after_restart),
        TEST(test_stats_query),
        TEST(test_stats),
        TEST(test_stats_of_transmission),
        TEST(test_stats_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
