#include "devices/net/net.h"

#include "devices/net/state.h"
#include "devices/net/vhost.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* --- queues ----------------------------------------------------------------------------------- */

/* NET-01: the control queue follows the pairs that the negotiated features let the driver see. */
struct net_queue *net_queue_at(struct net *net, unsigned index)
{
    if (index == net->control.index)
        return net_has(net, NET_F_CTRL_VQ) ? &net->control : NULL;
    if (index >= 2 * net->pair_count || index > net->control.index)
        return NULL;
    return index % 2 ? &net->tx[index / 2].queue : &net->rx[index / 2].queue;
}

/* A queue that the negotiated features do not have: what is in it cannot be meant. */
static int refuse_queue(const struct net *net, struct virtqueue *ring)
{
    struct virtqueue_buffer *buffer;
    int ret = virtqueue_pop(ring, &buffer);

    if (ret <= 0)
        return ret;
    ring->broken =
        (struct virtqueue_rule){ring->index == net->control.index ? "DRV-NET-24" : "DRV-NET-15",
                                "a buffer in a queue that was not negotiated"};
    return -EPROTO;
}

static int net_queue_ready(void *model, struct virtqueue *ring)
{
    struct net *net = model;
    struct net_queue *queue = net_queue_at(net, ring->index);

    if (!queue)
        return refuse_queue(net, ring);
    queue->ring = ring;
    queue->stats.notifications++;
    if (queue == &net->control)
        return net_control_run(net, ring);
    if (ring->index % 2)
        return net_tx_run(&net->tx[ring->index / 2]);
    return net_rx_kicked(&net->rx[ring->index / 2]);
}

static void net_interrupt_wanted(void *model, struct virtqueue *ring)
{
    struct net_queue *queue = net_queue_at(model, ring->index);

    if (queue)
        net_queue_notify(queue);
}

static void net_queue_drain(void *model, struct virtqueue *ring)
{
    struct net *net = model;
    struct net_queue *queue = net_queue_at(net, ring->index);

    if (!queue)
        return;
    if (queue == &net->control) {
        net_queue_stop(queue);
    } else if (ring->index % 2) {
        net_tx_drain(&net->tx[ring->index / 2]);
        queue->coalescing = net->tx_coalescing; /* NETC-14 */
    } else {
        net_rx_drain(&net->rx[ring->index / 2]);
        queue->coalescing = net->rx_coalescing;
    }
}

/* The pairs' queues, not one that was not negotiated. */
static bool net_queue_lent(void *model, uint16_t index)
{
    struct net_queue *queue = net_queue_at(model, index);

    return queue && queue != &((struct net *)model)->control;
}

/* The kernel serves those in use. */
static void vhost_update(struct net *net, unsigned pairs)
{
    if (net->vhost)
        net_vhost_set_pairs(net->vhost, net_link_is_up(net) ? pairs : 0);
}

/* The host side may have room for a frame again. */
static void unblock(struct net_tx *tx)
{
    tx->blocked = false;
    if (tx->queue.ring)
        virtio_builtin_kick(tx->queue.net->builtin, tx->queue.ring);
}

void net_set_pairs(struct net *net, unsigned pairs)
{
    vhost_update(net, MIN(net->pairs, pairs)); /* none whose queue is being detached */
    net->pairs = pairs;
    if (net->host->ops->set_pairs)
        net->host->ops->set_pairs(net->host, net_host_pairs(net));
    vhost_update(net, pairs);
    for (unsigned i = 0; i < net->pair_count; i++) {
        net_rx_changed(&net->rx[i]);
        if (net->tx[i].blocked) /* perhaps by another of the host's queues */
            unblock(&net->tx[i]);
    }
}

static void on_readable(void *opaque, unsigned pair)
{
    struct net *net = opaque;

    net_rx_readable(&net->rx[pair]);
}

static void on_writable(void *opaque, unsigned pair)
{
    struct net *net = opaque;

    for (unsigned i = 0; i < net->pair_count; i++)
        if (net_host_pair(net, i) == pair)
            unblock(&net->tx[i]);
}

void net_filter_changed(struct net *net)
{
    if (net->vhost)
        net_vhost_set_filter(net->vhost, &net->filter, atomic_load(&net->mac));
}

/* --- reset ----------------------------------------------------------------------------------- */

/* Also the state after creation, of everything a driver can change. */
static void net_reset(void *model)
{
    struct net *net = model;

    net->negotiated = (struct virtio_features){0};
    net->guest_offloads = 0;
    net_apply_guest_offloads(net);
    net_filter_reset(&net->filter);
    if (net->host->ops->set_steering)
        net->host->ops->set_steering(net->host, NULL);
    net->hashing = (struct net_hashing){0};
    net->rx_coalescing = net->tx_coalescing = (struct net_coalescing){0}; /* NETC-14 */
    for (unsigned i = 0; i < net->pair_count; i++)
        net->rx[i].queue.coalescing = net->tx[i].queue.coalescing = (struct net_coalescing){0};
    net_set_pairs(net, 1);
    atomic_store(&net->mac, net->initial_mac);
    net_filter_changed(net);
    atomic_store(&net->legacy, false);
    atomic_fetch_and(&net->status, ~(unsigned)NET_S_ANNOUNCE);
}

/* --- configuration ---------------------------------------------------------------------------- */

static void net_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    struct net *net = model;
    uint8_t config[NET_CONFIG_SIZE];
    uint64_t mac = atomic_load(&net->mac);

    memcpy(config, net->config, sizeof(config));
    memcpy(config + NET_CONFIG_MAC, &mac, NET_MAC_SIZE);
    store_le16(config + NET_CONFIG_STATUS, (uint16_t)atomic_load(&net->status));
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

static void filter_changed_on_loop(void *arg)
{
    net_filter_changed(arg);
}

/* NETC-24: only legacy drivers may write, and only the address; byte by byte, too. */
static void net_config_write(void *model, uint32_t offset, const void *data, uint32_t len)
{
    struct net *net = model;
    uint64_t mac = atomic_load(&net->mac);

    if (!atomic_load(&net->legacy) || offset >= NET_MAC_SIZE)
        return;
    memcpy((uint8_t *)&mac + offset, data, MIN(len, NET_MAC_SIZE - offset));
    atomic_store(&net->mac, mac);
    if (net->vhost)
        loop_call(virtio_builtin_loop(net->builtin), filter_changed_on_loop, net);
}

static void config_fill(struct net *net, const struct net_options *options)
{
    static const uint8_t duplexes[] = {NET_DUPLEX_UNKNOWN, NET_DUPLEX_HALF, NET_DUPLEX_FULL};
    uint8_t *c = net->config;

    store_le16(c + NET_CONFIG_MAX_VIRTQUEUE_PAIRS, (uint16_t)net->pair_count);
    store_le16(c + NET_CONFIG_MTU, net->mtu);
    store_le32(c + NET_CONFIG_SPEED, options->speed ? (uint32_t)options->speed : NET_SPEED_UNKNOWN);
    c[NET_CONFIG_DUPLEX] = duplexes[options->duplex];
    c[NET_CONFIG_RSS_MAX_KEY_SIZE] = NET_RSS_KEY_MAX;
    store_le16(c + NET_CONFIG_RSS_MAX_INDIRECTION_TABLE_LENGTH, NET_RSS_TABLE_MAX);
    store_le32(c + NET_CONFIG_SUPPORTED_HASH_TYPES, NET_HASH_ALL);
}

/* --- what a user can ask ---------------------------------------------------------------------- */

static void status_set(struct net *net, unsigned status)
{
    if (atomic_exchange(&net->status, status) == status)
        return;
    vhost_update(net, net->pairs);
    virtio_builtin_config_changed(net->builtin);
}

/* Who was away may be reached by another way now: the guest is asked to announce itself. */
static int run_link(void *model, const char *argument, struct error *err)
{
    struct net *net = model;
    unsigned status = atomic_load(&net->status);

    if (strcmp(argument, "down") == 0) {
        status_set(net, status & ~(unsigned)(NET_S_LINK_UP | NET_S_ANNOUNCE));
    } else if (strcmp(argument, "up") == 0) {
        if (!(status & NET_S_LINK_UP) && net_has(net, NET_F_GUEST_ANNOUNCE))
            status |= NET_S_ANNOUNCE;
        status_set(net, status | NET_S_LINK_UP);
    } else {
        return error_set(err, EINVAL, "link is up or down, not '%s'", argument);
    }
    return 0;
}

static int run_announce(void *model, const char *argument, struct error *err)
{
    struct net *net = model;

    (void)argument;
    if (!net_has(net, NET_F_GUEST_ANNOUNCE))
        return error_set(err, EOPNOTSUPP, "the guest's driver does not announce");
    status_set(net, atomic_load(&net->status) | NET_S_ANNOUNCE);
    return 0;
}

static const struct virtio_command net_commands[] = {
    {"link", "up|down", "plug the cable in, or pull it", run_link},
    {"announce", NULL, "have the guest tell its network where it is", run_announce},
};

/* --- creation --------------------------------------------------------------------------------- */

/* "off": 0, and the guest finds an address itself. */
static int parse_mac(const char *text, uint64_t *out, struct error *err)
{
    unsigned b[NET_MAC_SIZE];
    uint8_t mac[8] = {0};
    int end = 0;

    if (strcmp(text, "off") == 0)
        return 0;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) !=
            NET_MAC_SIZE ||
        strlen(text) != (size_t)end || end != 17)
        return error_set(err, EINVAL, "mac: '%s' is no address like 52:54:00:12:34:56", text);
    for (int i = 0; i < NET_MAC_SIZE; i++)
        mac[i] = (uint8_t)b[i];
    memcpy(out, mac, sizeof(*out));
    if (mac[0] & 1 || *out == 0)
        return error_set(err, EINVAL, "mac: '%s' is not the address of one card", text);
    return 0;
}

/* One nobody else has: locally administered, and random. */
static int random_mac(uint64_t *out, struct error *err)
{
    uint8_t mac[8] = {0};

    if (getrandom(mac, NET_MAC_SIZE, 0) != NET_MAC_SIZE)
        return error_errno(err, errno, "cannot get a random MAC address");
    mac[0] = (uint8_t)((mac[0] & ~1) | 2);
    memcpy(out, mac, sizeof(*out));
    return 0;
}

int net_choose_mac(const char *text, uint64_t *out, struct error *err)
{
    *out = 0;
    return text ? parse_mac(text, out, err) : random_mac(out, err);
}

static void net_destroy(void *model)
{
    struct net *net = model;

    for (unsigned i = 0; net->rx && i < net->pair_count; i++)
        net_rx_destroy(&net->rx[i]);
    if (net->vhost)
        net_vhost_destroy(net->vhost);
    net->host->ops->destroy(net->host);
    free(net->rx);
    free(net->tx);
    free(net->tx_iov);
    free(net->linear);
    free(net);
}

static int make_queues(struct net *net)
{
    int ret = 0;

    net->rx = calloc(net->pair_count, sizeof(*net->rx));
    net->tx = calloc(net->pair_count, sizeof(*net->tx));
    net->tx_iov = calloc(NET_IOV_MAX, sizeof(*net->tx_iov));
    net->linear = malloc(NET_FRAME_MAX);
    if (!net->rx || !net->tx || !net->tx_iov || !net->linear)
        return -ENOMEM;
    for (unsigned i = 0; i < net->pair_count && !ret; i++) {
        ret = net_rx_init(&net->rx[i], net, i);
        net_tx_init(&net->tx[i], net, i);
    }
    net_queue_init(&net->control, net, (uint16_t)(2 * net->pair_count));
    return ret;
}

int net_create_on(struct virtio_builtin *b, const struct net_options *options,
                  struct net_host *host, struct net_vhost *vhost, void **out, struct error *err)
{
    struct net *net = calloc(1, sizeof(*net));
    int ret;

    if (!net) {
        if (vhost)
            net_vhost_destroy(vhost);
        host->ops->destroy(host);
        return error_set(err, ENOMEM, "no memory for a network device");
    }
    net->builtin = b;
    net->host = host;
    net->vhost = vhost;
    net->pair_count = virtio_builtin_queue_count(b) / 2;
    net->mtu = (uint16_t)options->mtu;
    host->events = (struct net_host_events){on_readable, on_writable, net};
    ret = net_choose_mac(options->mac, &net->initial_mac, err);
    if (!ret && make_queues(net) < 0)
        ret = error_set(err, ENOMEM, "no memory for a network device");
    if (ret) {
        net_destroy(net);
        return ret;
    }
    config_fill(net, options);
    atomic_store(&net->status, NET_S_LINK_UP);
    net_reset(net);
    *out = net;
    return 0;
}

static int net_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    const struct net_options *o = options;
    struct net_host *host;
    int ret;

    if (o->busy_poll)
        return error_set(err, EINVAL, "busy-poll: goes with backend=vhost");
    ret = net_host_create(&o->host, virtio_builtin_queue_count(b) / 2, virtio_builtin_loop(b),
                          &host, err);
    return ret ? ret : net_create_on(b, o, host, NULL, out, err);
}

/* Frames go past us. */
static int check_vhost(const struct net_options *o, struct error *err)
{
    if (o->host.kind != NET_HOST_TAP)
        return error_set(err, EINVAL, "backend=vhost goes with a TAP interface (host=tap)");
    if (o->host.dump)
        return error_set(err, EINVAL, "dump: Vireo does not see the frames of backend=vhost");
    return 0;
}

static int net_create_vhost(struct virtio_builtin *b, const void *options, void **out,
                            struct error *err)
{
    const struct net_options *o = options;
    struct net_host *host;
    struct net_vhost *vhost;
    int ret = check_vhost(o, err);

    if (!ret)
        ret = net_host_create(&o->host, virtio_builtin_queue_count(b) / 2, virtio_builtin_loop(b),
                              &host, err);
    if (ret)
        return ret;
    if (o->mtu)
        ret = net_vhost_check_mtu(host, (unsigned)o->mtu, err);
    if (!ret)
        ret = net_vhost_create(b, host, (uint32_t)o->busy_poll, &vhost, err);
    if (ret) {
        host->ops->destroy(host);
        return ret;
    }
    return net_create_on(b, o, host, vhost, out, err);
}

static int net_start(void *model, struct error *err)
{
    struct net *net = model;

    return net->host->ops->start ? net->host->ops->start(net->host, err) : 0;
}

uint16_t net_queue_count(uint16_t pairs)
{
    return (uint16_t)(2 * pairs + 1);
}

static uint16_t net_virtqueue_count(const void *options, uint16_t queues)
{
    (void)options;
    return net_queue_count(queues);
}

const struct virtio_model net_model = {
    .name = "net",
    .id = VIRTIO_ID_NET,
    .help = "a network card",
    .options = net_option_specs,
    .option_count = NET_OPTION_COUNT,
    .options_size = sizeof(struct net_options),
    .features = net_feature_names,
    .feature_count = NET_FEATURE_NAME_COUNT,
    .config_size = NET_CONFIG_SIZE,
    .foreign = &net_foreign,
    .queues_default = 1,
    .queues_max = NET_PAIRS_MAX,
    .queue_size_default = 256,
    .virtqueue_count = net_virtqueue_count,
    .commands = net_commands,
    .command_count = ARRAY_SIZE(net_commands),
    .create = net_create,
    .create_vhost = net_create_vhost,
    .destroy = net_destroy,
    .start = net_start,
    .get_features = net_get_features,
    .set_features = net_set_features,
    .config_read = net_config_read,
    .config_write = net_config_write,
    .queue_ready = net_queue_ready,
    .queue_notify = net_interrupt_wanted,
    .queue_drain = net_queue_drain,
    .queue_lent = net_queue_lent,
    .reset = net_reset,
};
