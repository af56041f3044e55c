/*
 * virtio-net: features, configuration, and what a user asks of it at run time.
 */
#include "base/bytes.h"
#include "devices/net/protocol.h"
#include "tests/driver/net_card.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <cmocka.h>

/* From the kernel's uapi, a second source for the numbers under test. */
#include <linux/virtio_net.h>

#define ALL_OFFLOADS                                                                              \
    (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN | NET_OFFLOAD_UFO | \
     NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6)

static struct net_card card;

static int setup(void **state)
{
    (void)state;
    card = (struct net_card){0};
    return 0;
}

static void create(unsigned pairs)
{
    struct error err = ERROR_INIT;

    if (net_card_create(&card, pairs, &err) < 0)
        fail_msg("%s", err.text);
}

static struct virtio_features offered(void)
{
    struct virtio_features f;

    card.backend->ops->features(card.backend, &f);
    return f;
}

static void refused(const char *part)
{
    struct error err = ERROR_INIT;

    assert_int_equal(net_card_create(&card, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, part));
    net_card_destroy(&card);
    card = (struct net_card){0};
}

/* --- features --------------------------------------------------------------------------------- */

/* NET-02, NET-03, NET-04 */
static void test_offers_all(void **state)
{
    static const unsigned char bits[] = {VIRTIO_NET_F_CSUM,
                                         VIRTIO_NET_F_GUEST_CSUM,
                                         VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
                                         VIRTIO_NET_F_MTU,
                                         VIRTIO_NET_F_MAC,
                                         VIRTIO_NET_F_GUEST_TSO4,
                                         VIRTIO_NET_F_GUEST_TSO6,
                                         VIRTIO_NET_F_GUEST_ECN,
                                         VIRTIO_NET_F_GUEST_UFO,
                                         VIRTIO_NET_F_HOST_TSO4,
                                         VIRTIO_NET_F_HOST_TSO6,
                                         VIRTIO_NET_F_HOST_ECN,
                                         VIRTIO_NET_F_HOST_UFO,
                                         VIRTIO_NET_F_MRG_RXBUF,
                                         VIRTIO_NET_F_STATUS,
                                         VIRTIO_NET_F_CTRL_VQ,
                                         VIRTIO_NET_F_CTRL_RX,
                                         VIRTIO_NET_F_CTRL_VLAN,
                                         VIRTIO_NET_F_CTRL_RX_EXTRA,
                                         VIRTIO_NET_F_GUEST_ANNOUNCE,
                                         VIRTIO_NET_F_MQ,
                                         VIRTIO_NET_F_CTRL_MAC_ADDR,
                                         VIRTIO_NET_F_NOTF_COAL,
                                         VIRTIO_NET_F_HASH_REPORT,
                                         VIRTIO_NET_F_RSS,
                                         VIRTIO_NET_F_SPEED_DUPLEX,
                                         50 /* DEVICE_STATS */,
                                         52 /* VQ_NOTF_COAL */,
                                         54,
                                         55 /* GUEST_USO4, 6 */,
                                         56 /* HOST_USO */,
                                         59 /* GUEST_HDRLEN */};
    struct virtio_features f, rest;

    (void)state;
    card.host.offloads = ALL_OFFLOADS;
    card.options.mtu = 1500;
    create(2);
    rest = f = offered();
    for (size_t i = 0; i < sizeof(bits); i++) {
        assert_true(features_has(&f, bits[i]));
        features_set(&rest, bits[i], false);
    }
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        assert_int_equal(rest.word[i], 0); /* NET-05: nothing else */
    net_card_destroy(&card);
}

/* NET-04, NET-05 */
static void test_offers_what_the_host_carries(void **state)
{
    struct virtio_features f;

    (void)state;
    card.host.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_USO4;
    card.options.mac = (char *)"off";
    create(1);
    f = offered();
    assert_true(features_has(&f, NET_F_CSUM));
    assert_true(features_has(&f, NET_F_HOST_TSO4));
    assert_true(features_has(&f, NET_F_GUEST_TSO6)); /* the host's affair */
    assert_false(features_has(&f, NET_F_HOST_TSO6));
    assert_false(features_has(&f, NET_F_HOST_ECN));
    assert_false(features_has(&f, NET_F_HOST_UFO));
    assert_false(features_has(&f, NET_F_HOST_USO)); /* both kinds, or none */
    assert_false(features_has(&f, NET_F_MTU));
    assert_false(features_has(&f, NET_F_MQ));
    assert_false(features_has(&f, NET_F_MAC));
    net_card_destroy(&card);
}

struct need {
    unsigned char bit, needs, or ; /* 0xff: no alternative */
    bool offer_only;
};

/* NET-06, NET-07, NET-08, DRV-NET-25 */
static void test_dependencies(void **state)
{
    static const struct need needs[] = {
        {7, 1, 0xff, false},   {8, 1, 0xff, false},   {10, 1, 0xff, false},  {54, 1, 0xff, false},
        {55, 1, 0xff, false},  {9, 7, 8, false},      {11, 0, 0xff, false},  {12, 0, 0xff, false},
        {14, 0, 0xff, false},  {56, 0, 0xff, false},  {13, 11, 12, false},   {18, 17, 0xff, false},
        {19, 17, 0xff, false}, {21, 17, 0xff, false}, {22, 17, 0xff, false}, {23, 17, 0xff, false},
        {52, 17, 0xff, false}, {53, 17, 0xff, false}, {60, 17, 0xff, false}, {57, 17, 0xff, true},
        {20, 17, 0xff, true},
    };

    (void)state;
    create(1);
    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        const struct virtio_feature_name *names = card.backend->feature_names;
        size_t count = card.backend->feature_count;
        struct virtio_features f = {0};

        /* Alone, with everything that what it needs needs in turn. */
        features_set(&f, needs[i].bit, true);
        assert_non_null(features_unmet(&f, names, count, false));
        assert_int_equal(features_unmet(&f, names, count, true) == NULL, needs[i].offer_only);
        features_set(&f, 0, true);
        features_set(&f, 1, true);
        features_set(&f, needs[i].needs, true);
        assert_null(features_unmet(&f, names, count, false));
        if (needs[i].or != 0xff) {
            features_set(&f, needs[i].needs, false);
            features_set(&f, needs[i].or, true);
            assert_null(features_unmet(&f, names, count, true));
        }
    }
    net_card_destroy(&card);
}

/* --- configuration ---------------------------------------------------------------------------- */

/* NET-09, NET-10, NET-11, NET-13 */
static void test_config(void **state)
{
    (void)state;
    card.options.mac = (char *)"52:54:00:12:34:5f";
    card.options.mtu = 9000;
    card.options.speed = 25000;
    card.options.duplex = NET_DUPLEX_CHOICE_FULL;
    create(3);
    assert_int_equal(net_card_config(&card, offsetof(struct virtio_net_config, mac), 6),
                     0x5f3412005452);
    assert_int_equal(net_card_config(&card, offsetof(struct virtio_net_config, status), 2),
                     VIRTIO_NET_S_LINK_UP);
    assert_int_equal(
        net_card_config(&card, offsetof(struct virtio_net_config, max_virtqueue_pairs), 2), 3);
    assert_int_equal(net_card_config(&card, offsetof(struct virtio_net_config, mtu), 2), 9000);
    assert_int_equal(net_card_config(&card, offsetof(struct virtio_net_config, speed), 4), 25000);
    assert_int_equal(net_card_config(&card, offsetof(struct virtio_net_config, duplex), 1), 1);
    assert_int_equal(
        net_card_config(&card, offsetof(struct virtio_net_config, rss_max_key_size), 1), 40);
    assert_int_equal(
        net_card_config(&card, offsetof(struct virtio_net_config, rss_max_indirection_table_length),
                        2),
        128);
    assert_int_equal(
        net_card_config(&card, offsetof(struct virtio_net_config, supported_hash_types), 4), 0x1ff);
    assert_int_equal(net_card_config(&card, 24, 8), 0);
    net_card_destroy(&card);
}

/* NET-13 */
static void test_config_defaults(void **state)
{
    uint64_t mac;

    (void)state;
    create(1);
    mac = net_card_config(&card, 0, 6);
    assert_int_equal(mac & 3, 2); /* locally administered, of one card */
    assert_int_equal(net_card_config(&card, 12, 4), 0xffffffff);
    assert_int_equal(net_card_config(&card, 16, 1), 0xff);
    net_card_destroy(&card);
    card = (struct net_card){0};
    create(1);
    assert_int_not_equal(net_card_config(&card, 0, 6), mac);
    net_card_destroy(&card);
}

static void test_bad_addresses(void **state)
{
    static const char *const bad[] = {
        "",  "52:54:00:12:34",     "52:54:00:12:34:56:78", "52-54-00-12-34-56", "5:4:0:2:4:6",
        "x", "52:54:00:12:34:56 ", "52:54:00:12:34:5g"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        card.options.mac = (char *)bad[i];
        refused("no address");
    }
    card.options.mac = (char *)"53:54:00:12:34:56";
    refused("not the address of one card");
    card.options.mac = (char *)"00:00:00:00:00:00";
    refused("not the address of one card");
}

/* NET-09, NETC-24 */
static void test_who_may_write_the_address(void **state)
{
    static const uint8_t mac[] = {2, 1, 2, 3, 4, 5, 0xff, 0xff};
    static const unsigned char bits[] = {NET_F_MAC};
    uint64_t before;

    (void)state;
    create(1);
    before = net_card_config(&card, 0, 6);
    card.backend->ops->config_write(card.backend, 0, mac, 6); /* before negotiation */
    assert_int_equal(net_card_config(&card, 0, 6), before);
    net_card_start(&card, bits, 1);
    card.backend->ops->config_write(card.backend, 0, mac, 6);
    assert_int_equal(net_card_config(&card, 0, 6), before);
    net_card_stop(&card);

    net_card_start_legacy(&card, bits, 1);
    for (uint32_t i = 0; i < 6; i++) /* as legacy drivers do */
        card.backend->ops->config_write(card.backend, i, mac + i, 1);
    assert_int_equal(net_card_config(&card, 0, 6), 0x050403020102);
    card.backend->ops->config_write(card.backend, 4, mac + 4, 4); /* status is not written */
    assert_int_equal(net_card_config(&card, 6, 2), VIRTIO_NET_S_LINK_UP);
    net_card_stop(&card);
    assert_int_equal(net_card_config(&card, 0, 6), before); /* a reset takes it back */
    net_card_destroy(&card);
}

/* Every row of the option table is there: its size is written down apart. */
static void test_option_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < NET_OPTION_COUNT; i++)
        assert_non_null(net_option_specs[i].key);
}

/* --- what a user asks ------------------------------------------------------------------------- */

static int command(const char *name, const char *argument)
{
    struct error err = ERROR_INIT;

    return card.backend->ops->command(card.backend, name, argument, &err);
}

static const unsigned char announcing[] = {NET_F_STATUS, NET_F_CTRL_VQ, NET_F_GUEST_ANNOUNCE};

/* NET-09, NETC-06, DRV-NET-22 */
static void test_link(void **state)
{
    (void)state;
    create(1);
    assert_true(card.host.started);
    net_card_start(&card, announcing, ARRAY_SIZE(announcing));
    assert_int_equal(command("link", "sideways"), -EINVAL);
    assert_int_equal(command("link", "down"), 0);
    assert_int_equal(net_card_config(&card, 6, 2), 0);
    assert_int_equal(card.config_changes, 1);
    assert_int_equal(command("link", "down"), 0);
    assert_int_equal(card.config_changes, 1); /* no change */
    assert_int_equal(command("link", "up"), 0);
    assert_int_equal(net_card_config(&card, 6, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    assert_int_equal(net_card_command(&card, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK,
                                      NULL, 0, NULL, NULL),
                     VIRTIO_NET_OK);
    assert_int_equal(net_card_config(&card, 6, 2), VIRTIO_NET_S_LINK_UP);
    assert_int_equal(card.config_changes, 3);
    assert_int_equal(net_card_command(&card, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK,
                                      NULL, 0, NULL, NULL),
                     VIRTIO_NET_ERR);
    net_card_destroy(&card);
}

/* NETC-06 */
static void test_announce(void **state)
{
    (void)state;
    create(1);
    net_card_start(&card, NULL, 0);
    assert_int_equal(command("announce", ""), -EOPNOTSUPP);
    assert_int_equal(net_card_config(&card, 6, 2), VIRTIO_NET_S_LINK_UP);
    net_card_stop(&card);
    net_card_start(&card, announcing, ARRAY_SIZE(announcing));
    assert_int_equal(command("announce", ""), 0);
    assert_int_equal(net_card_config(&card, 6, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    net_card_stop(&card); /* a reset takes it back, and leaves the link as it is */
    assert_int_equal(net_card_config(&card, 6, 2), VIRTIO_NET_S_LINK_UP);
    net_card_destroy(&card);
}

/* --- on a thread of its own ------------------------------------------------------------------- */

static void add_and_poll(void *arg)
{
    static const uint8_t frame[100];

    (void)arg;
    fake_net_add(&card.host, 0, NULL, frame, sizeof(frame));
    fake_net_poll(&card.host);
}

static void buffer(unsigned queue, bool write)
{
    struct ring_element e = {net_card_alloc(&card, 200), 200, write};

    assert_true(ring_add(&card.rings[queue], &e, 1, RING_DIRECT) >= 0);
    ring_publish(&card.rings[queue]);
    eventfd_write(card.kicks[queue], 1);
}

static void await_used(unsigned queue)
{
    uint64_t since = loop_now_ns();
    struct ring_used used;

    while (!ring_collect(&card.rings[queue], &used))
        if (loop_now_ns() - since > 20 * UINT64_C(1000000000))
            fail_msg("queue %u is stuck", queue);
}

/* What vCPU threads do while the device's loop works: drive rings, read and write the
 * configuration. For ThreadSanitizer. */
static void test_on_a_thread(void **state)
{
    uint8_t mac[6] = {2};

    (void)state;
    create(1);
    net_card_start_legacy(&card, announcing, ARRAY_SIZE(announcing));
    assert_int_equal(loop_start_thread(card.loop, "net-test", NULL), 0);
    for (uint8_t i = 0; i < 50; i++) {
        buffer(0, true);
        buffer(1, false);
        loop_call(card.loop, add_and_poll, NULL);
        mac[5] = i;
        card.backend->ops->config_write(card.backend, 0, mac, sizeof(mac));
        assert_int_equal(net_card_config(&card, 0, 6), 2 | (uint64_t)i << 40);
        assert_int_equal(command("link", i % 2 ? "up" : "down"), 0);
        assert_int_equal(net_card_config(&card, 6, 1) & 1, i % 2);
        await_used(1);
    }
    assert_int_equal(command("link", "up"), 0);
    loop_call(card.loop, add_and_poll, NULL);
    await_used(0);
    loop_join_thread(card.loop);
    net_card_destroy(&card);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_offers_all, setup),
        cmocka_unit_test_setup(test_offers_what_the_host_carries, setup),
        cmocka_unit_test_setup(test_dependencies, setup),
        cmocka_unit_test_setup(test_config, setup),
        cmocka_unit_test_setup(test_config_defaults, setup),
        cmocka_unit_test_setup(test_bad_addresses, setup),
        cmocka_unit_test_setup(test_who_may_write_the_address, setup),
        cmocka_unit_test(test_option_table),
        cmocka_unit_test_setup(test_link, setup),
        cmocka_unit_test_setup(test_announce, setup),
        cmocka_unit_test_setup(test_on_a_thread, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
