/*
 * Devices of types that another process serves: what their options make of them, with and without a
 * configuration that the process serves.
 */
#include "base/bytes.h"
#include "base/thread.h"
#include "base/unix_socket.h"
#include "devices/console/state.h"
#include "devices/net/protocol.h"
#include "virtio/vhost_user_channel.h"
#include "vmm/machine.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define QUEUES   8
#define PROTOCOL (BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK))
#define CONFIG   BIT(VHOST_USER_PROTOCOL_F_CONFIG)

/* A process that answers, and serves nothing. */
struct peer {
    char path[64];
    int listener;
    pthread_t thread;
    uint64_t features, protocol_features;
    uint64_t acknowledged; /* by SET_FEATURES */
    uint32_t asked;        /* bytes of configuration, by GET_CONFIG */
};

struct fixture {
    struct peer peer;
    struct guest_memory memory;
    struct iothreads iothreads;
    struct device_site site;
    struct machine_device *device;
    struct error err;
};

static struct fixture f;

/* --- the other process ------------------------------------------------------------------------ */

/* Turn a request into its answer; false: it has none but an acknowledgement. */
static bool answer(struct peer *peer, struct vhost_user_message *message)
{
    message->header.size = sizeof(uint64_t);
    switch (message->header.request) {
    case VHOST_USER_GET_FEATURES:
        message->payload.u64 = peer->features;
        return true;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        message->payload.u64 = peer->protocol_features;
        return true;
    case VHOST_USER_GET_QUEUE_NUM:
        message->payload.u64 = QUEUES;
        return true;
    case VHOST_USER_GET_CONFIG:
        peer->asked = message->payload.config.size;
        message->header.size = VHOST_USER_CONFIG_HEADER + peer->asked;
        memset(message->payload.config.bytes, 'c', VHOST_USER_CONFIG_MAX);
        return true;
    case VHOST_USER_SET_FEATURES:
        peer->acknowledged = message->payload.u64;
        break;
    }
    message->payload.u64 = 0;
    return message->header.flags & VHOST_USER_FLAG_NEED_REPLY;
}

static void *peer_main(void *arg)
{
    struct peer *peer = arg;
    struct pollfd ready = {.fd = peer->listener, .events = POLLIN};
    struct vhost_user_message message;
    int socket;

    (void)poll(&ready, 1, 5000);
    socket = accept(peer->listener, NULL, NULL);
    while (vhost_user_receive(socket, &message, NULL) > 0) {
        vhost_user_close_fds(&message);
        message.fd_count = 0;
        if (!answer(peer, &message))
            continue;
        message.header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
        (void)vhost_user_send(socket, &message, NULL);
    }
    close(socket);
    return NULL;
}

static void listen_as(uint64_t type_features, uint64_t protocol_features)
{
    struct peer *peer = &f.peer;

    snprintf(peer->path, sizeof(peer->path), "/tmp/vireo-foreign-%d", getpid());
    peer->features = type_features | BIT(VIRTIO_F_VERSION_1) | BIT(VHOST_USER_F_PROTOCOL_FEATURES);
    peer->protocol_features = protocol_features;
    peer->listener = unix_socket_listen(peer->path, NULL);
    assert_true(peer->listener >= 0);
    assert_int_equal(thread_start(&peer->thread, "peer", 65536, peer_main, peer), 0);
}

/* --- ours ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    f = (struct fixture){.peer.listener = -1};
    guest_memory_init(&f.memory);
    assert_int_equal(guest_memory_add(&f.memory, 0, 2 * MIB, GUEST_MEMORY_SHARED, &f.err), 0);
    f.site = (struct device_site){
        .platform = dry_run_platform(),
        .memory = &f.memory,
        .iothreads = &f.iothreads,
        .cpus = 2,
    };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    machine_device_destroy(f.device);
    if (f.peer.listener >= 0) {
        pthread_join(f.peer.thread, NULL);
        close(f.peer.listener);
        unlink(f.peer.path);
    }
    iothreads_free(&f.iothreads);
    guest_memory_destroy(&f.memory);
    return 0;
}

/* As --device TYPE,OPTIONS, with the peer's socket. */
static int create(const char *type, const char *options)
{
    struct device_config config = {.type = (char *)type};
    char text[256];
    int ret;

    snprintf(text, sizeof(text), "transport=mmio,socket=%s%s%s", f.peer.path, *options ? "," : "",
             options);
    ret = option_list_parse(&config.options, "test", text, NULL, &f.err);
    if (!ret)
        ret = machine_device_create(&config, "device0", &f.site, &f.device, &f.err);
    option_list_free(&config.options);
    return ret;
}

static void plug(const char *type, const char *options)
{
    if (create(type, options))
        fail_msg("%s,%s: %s", type, options, f.err.text);
}

static void assert_refused(const char *type, const char *options, int code, const char *message)
{
    assert_int_equal(create(type, options), -code);
    assert_string_equal(f.err.text, message);
}

static bool offers(unsigned bit)
{
    return features_has(&f.device->virtio.offered, bit);
}

static void read_config(void *bytes, uint32_t len)
{
    virtio_device_config_read(&f.device->virtio, 0, bytes, len);
}

/* --- fs --------------------------------------------------------------------------------------- */

/* FS-01, FS-02, FS-03 */
static void fs_with_tag(void **state)
{
    uint8_t config[44], wanted[44] = "shared";

    (void)state;
    listen_as(0, PROTOCOL);
    plug("fs", "tag=shared,queues=3");
    assert_int_equal(f.device->virtio.id, VIRTIO_ID_FS);
    assert_int_equal(f.device->virtio.queue_count, 4);
    wanted[36] = 3; /* num_request_queues */
    read_config(config, sizeof(config));
    assert_memory_equal(config, wanted, sizeof(wanted));
    memset(config, 'x', sizeof(config));
    virtio_device_config_write(&f.device->virtio, 0, config, 8);
    read_config(config, sizeof(config));
    assert_memory_equal(config, wanted, sizeof(wanted));
}

static void fs_by_its_daemon(void **state)
{
    uint8_t config[44];

    (void)state;
    listen_as(0, PROTOCOL | CONFIG);
    plug("fs", "");
    read_config(config, sizeof(config));
    assert_int_equal(f.peer.asked, 40);
    assert_int_equal(config[39], 'c');
    assert_int_equal(config[40], 0);
}

static void fs_without_any(void **state)
{
    (void)state;
    listen_as(0, PROTOCOL);
    assert_refused("fs", "", ENOTSUP,
                   "test: it does not serve the device's configuration (CONFIG)");
}

static void fs_with_two(void **state)
{
    (void)state;
    listen_as(0, PROTOCOL | CONFIG);
    assert_refused("fs", "tag=mine", EINVAL, "test: tag: is for the process that serves it to say");
}

static void fs_bad_options(void **state)
{
    (void)state;
    assert_refused("fs", "tag=", EINVAL, "test: tag: must have 1 to 36 bytes");
    assert_refused("fs", "tag=1234567890123456789012345678901234567", EINVAL,
                   "test: tag: must have 1 to 36 bytes");
    assert_refused("fs", "backend=builtin", EINVAL,
                   "test: Vireo has no model of fs: another process has to serve it");
}

/* --- net -------------------------------------------------------------------------------------- */

/* What DPDK offers: bits of a control queue that the front end would have to serve. */
#define NET_FEATURES (BIT(NET_F_MRG_RXBUF) | BIT(NET_F_CTRL_VQ) | BIT(NET_F_MQ) | BIT(NET_F_MTU))

/* NET-09: an address and a link for a card that has none. */
static void net_stand_in(void **state)
{
    static const uint8_t mac[] = {0x52, 0x54, 0, 1, 2, 3};
    uint8_t config[24];

    (void)state;
    listen_as(NET_FEATURES, PROTOCOL);
    plug("net", "backend=vhost-user,mac=52:54:00:01:02:03");
    assert_true(offers(NET_F_MAC) && offers(NET_F_STATUS) && offers(NET_F_MRG_RXBUF));
    assert_false(offers(NET_F_CTRL_VQ) || offers(NET_F_MQ) || offers(NET_F_MTU));
    read_config(config, sizeof(config));
    assert_memory_equal(config, mac, sizeof(mac));
    assert_int_equal(load_le16(config + NET_CONFIG_STATUS), NET_S_LINK_UP);
}

/* The peer hears nothing of bits that are ours. */
static void net_features_for_peer(void **state)
{
    (void)state;
    listen_as(NET_FEATURES, PROTOCOL);
    plug("net", "backend=vhost-user");
    assert_int_equal(f.device->virtio.backend->ops->set_features(f.device->virtio.backend,
                                                                 &f.device->virtio.offered),
                     0);
    assert_false(f.peer.acknowledged & (BIT(NET_F_MAC) | BIT(NET_F_STATUS)));
    assert_true(f.peer.acknowledged & BIT(NET_F_MRG_RXBUF));
}

static void net_served(void **state)
{
    uint8_t config[24];

    (void)state;
    listen_as(NET_FEATURES, PROTOCOL | CONFIG);
    plug("net", "backend=vhost-user,queues=2");
    assert_true(offers(NET_F_CTRL_VQ) && offers(NET_F_MQ));
    assert_false(offers(NET_F_MAC));
    read_config(config, sizeof(config));
    assert_int_equal(config[0], 'c');
}

static void net_too_many_pairs(void **state)
{
    (void)state;
    listen_as(NET_FEATURES, PROTOCOL);
    assert_refused("net", "backend=vhost-user,queues=2", ENOTSUP,
                   "test: without the device's configuration (CONFIG) it can serve 3 virtqueues, "
                   "not 5");
}

/* --- console ---------------------------------------------------------------------------------- */

/* CON-01: the queues of a console and of two more ports, with those for control. */
static void console_with_ports(void **state)
{
    (void)state;
    listen_as(BIT(CONSOLE_F_MULTIPORT), PROTOCOL | CONFIG);
    plug("console", "backend=vhost-user,ports=2");
    assert_int_equal(f.device->virtio.queue_count, 8);
    assert_true(offers(CONSOLE_F_MULTIPORT));
}

/* Its ports would have no queues. */
static void console_without_ports(void **state)
{
    (void)state;
    listen_as(BIT(CONSOLE_F_MULTIPORT), PROTOCOL | CONFIG);
    plug("console", "backend=vhost-user");
    assert_int_equal(f.device->virtio.queue_count, 2);
    assert_false(offers(CONSOLE_F_MULTIPORT));
}

/* --- virtio-user ------------------------------------------------------------------------------ */

static void any_type_by_name(void **state)
{
    uint8_t config[16];

    (void)state;
    listen_as(0, PROTOCOL | CONFIG);
    plug("virtio-user", "type=vsock,queues=3");
    assert_int_equal(f.device->virtio.id, VIRTIO_ID_VSOCK);
    assert_int_equal(f.device->virtio.queue_count, 3);
    read_config(config, sizeof(config));
    assert_int_equal(f.peer.asked, 8);
    assert_int_equal(config[7], 'c');
    assert_int_equal(config[8], 0);
}

static void any_type_by_number(void **state)
{
    uint8_t config[256];

    (void)state;
    listen_as(0xff, PROTOCOL | CONFIG);
    plug("virtio-user", "type=0x3f,config-size=256,features=0x0f");
    assert_int_equal(f.device->virtio.id, 0x3f);
    assert_int_equal(f.device->virtio.queue_count, 1);
    read_config(config, sizeof(config));
    assert_int_equal(config[255], 'c');
    assert_int_equal(f.device->virtio.offered.word[0], 0x0f);
    assert_true(offers(VIRTIO_F_VERSION_1));
}

/* A type without configuration needs nobody who serves one. */
static void any_type_without_config(void **state)
{
    (void)state;
    listen_as(0, PROTOCOL);
    plug("virtio-user", "type=rng,event_idx=off");
    assert_int_equal(f.device->virtio.id, VIRTIO_ID_RNG);
}

static void any_type_bad_options(void **state)
{
    (void)state;
    assert_refused("virtio-user", "", EINVAL, "test: key 'type' is missing");
    assert_refused(
        "virtio-user", "type=vsok", EINVAL,
        "test: type: 'vsok' is no type's name (blk, vsock, ...) and no number from 1 on");
    assert_refused("virtio-user", "type=0", EINVAL,
                   "test: type: '0' is no type's name (blk, vsock, ...) and no number from 1 on");
    assert_refused("virtio-user", "type=26,config-size=257", EINVAL,
                   "test: config-size: 257 is out of range (0 to 256)");
    assert_refused("virtio-user", "type=vsock,legacy=on", EINVAL,
                   "test: legacy: virtio-user devices have no legacy interface");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fs_with_tag),           TEST(fs_by_its_daemon),
        TEST(fs_without_any),        TEST(fs_with_two),
        TEST(fs_bad_options),        TEST(net_stand_in),
        TEST(net_features_for_peer), TEST(net_served),
        TEST(net_too_many_pairs),    TEST(console_with_ports),
        TEST(console_without_ports), TEST(any_type_by_name),
        TEST(any_type_by_number),    TEST(any_type_without_config),
        TEST(any_type_bad_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
