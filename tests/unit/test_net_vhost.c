/*
 * What a network card tells the kernel that moves its frames, which the test plays
 * (devices/net/vhost.h). Its queues stay the model's here: none is lent without a deputy.
 */
#include "devices/net/vhost.h"
#include "tests/unit/net_fixture.h"

#include <errno.h>

struct net_vhost {
    unsigned pairs, header_size;
    bool by_mac, mac_known;
    uint64_t mac;
};

static struct net_vhost kernel;

/* --- the kernel ------------------------------------------------------------------------------- */

int net_vhost_create(struct virtio_builtin *b, struct net_host *tap, uint32_t busy_poll_us,
                     struct net_vhost **out, struct error *err)
{
    (void)b;
    (void)tap;
    (void)busy_poll_us;
    (void)out;
    return error_set(err, ENOTSUP, "made by the test");
}

void net_vhost_destroy(struct net_vhost *v)
{
    assert_ptr_equal(v, &kernel);
}

void net_vhost_limit_features(const struct net_vhost *v, struct virtio_features *offered)
{
    (void)v;
    features_set(offered, NET_F_NOTF_COAL, false);
}

void net_vhost_set_header(struct net_vhost *v, unsigned size)
{
    v->header_size = size;
}

void net_vhost_set_filter(struct net_vhost *v, const struct net_filter *filter, uint64_t mac)
{
    v->by_mac = filter->by_mac;
    v->mac_known = filter->mac_known;
    v->mac = mac;
}

void net_vhost_set_pairs(struct net_vhost *v, unsigned pairs)
{
    v->pairs = pairs;
}

int net_vhost_check_mtu(struct net_host *tap, unsigned mtu, struct error *err)
{
    (void)tap;
    (void)mtu;
    (void)err;
    return 0;
}

/* --- the card --------------------------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    card_clear();
    kernel = (struct net_vhost){0};
    card.vhost = &kernel;
    assert_int_equal(net_card_create(&card, 2, NULL), 0);
    want(NET_F_MAC);
    want(NET_F_CTRL_VQ);
    want(NET_F_CTRL_RX);
    return 0;
}

static void test_features(void **state)
{
    struct virtio_features offered;

    (void)state;
    card.backend->ops->features(card.backend, &offered);
    assert_false(features_has(&offered, NET_F_NOTF_COAL));
    assert_true(features_has(&offered, NET_F_CTRL_RX));
    start();
    assert_int_equal(kernel.header_size, 12);
    assert_int_equal(kernel.pairs, 1);
}

static void test_link(void **state)
{
    (void)state;
    start();
    assert_int_equal(card.backend->ops->command(card.backend, "link", "down", NULL), 0);
    assert_int_equal(kernel.pairs, 0);
    assert_int_equal(card.backend->ops->command(card.backend, "link", "up", NULL), 0);
    assert_int_equal(kernel.pairs, 1);
}

/* NETC-24: what an old driver writes is the address that the interface sends frames for, and a
 * reset takes it back. */
static void test_filter_follows_address(void **state)
{
    static const uint8_t mac[] = {2, 1, 2, 3, 4, 5};
    uint64_t before = net_card_config(&card, 0, 6);

    (void)state;
    net_card_start_legacy(&card, bits, bit_count);
    assert_int_equal(kernel.header_size, 10);
    assert_true(kernel.by_mac && kernel.mac_known);
    assert_int_equal(kernel.mac, before);
    for (uint32_t i = 0; i < sizeof(mac); i++)
        card.backend->ops->config_write(card.backend, i, mac + i, 1);
    assert_int_equal(kernel.mac, 0x050403020102);
    net_card_stop(&card);
    assert_false(kernel.by_mac);
    assert_int_equal(kernel.mac, before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_features),
        TEST(test_link),
        TEST(test_filter_follows_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
