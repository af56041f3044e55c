/*
 * The control queue (5.1.9.5).
 *
 *     readable: | class | command | data ... |      writable: | ack | result ... |
 *
 * What is wrong with a command is said in its ack and in the log, and changes nothing; a buffer
 * without room for the ack breaks the queue. Data are copied before they are looked at.
 */
#include "devices/net/state.h"

#include <errno.h>

void net_command_read(const struct net_command *command, size_t offset, void *data, size_t len)
{
    virtqueue_read(command->buffer, 2 + offset, data, len);
}

void net_command_reply(struct net_command *command, const void *data, size_t len)
{
    command->result += (uint32_t)virtqueue_write(command->buffer, 1 + command->result, data, len);
}

/* --- class 0: receive modes ------------------------------------------------------------------- */

static bool set_mode(struct net *net, struct net_command *command, uint8_t which)
{
    uint8_t on;

    net_command_read(command, 0, &on, 1);
    if (on > 1)
        return false;
    net->filter.modes[which] = on; /* NETC-02 */
    return true;
}

#define SET_MODE(name, mode)                                       \
    static bool name(struct net *net, struct net_command *command) \
    {                                                              \
        return set_mode(net, command, mode);                       \
    }
SET_MODE(set_promisc, NET_CTRL_RX_PROMISC)
SET_MODE(set_allmulti, NET_CTRL_RX_ALLMULTI)
SET_MODE(set_alluni, NET_CTRL_RX_ALLUNI)
SET_MODE(set_nomulti, NET_CTRL_RX_NOMULTI)
SET_MODE(set_nouni, NET_CTRL_RX_NOUNI)
SET_MODE(set_nobcast, NET_CTRL_RX_NOBCAST)

/* --- class 1: MAC addresses ------------------------------------------------------------------- */

/* One of the two tables at `*offset`, which moves behind it. More addresses than we remember: the
 * overflow is noted, and all are let through. */
static bool read_table(const struct net_command *command, size_t *offset,
                       uint8_t (*table)[NET_MAC_SIZE], unsigned *count, bool *overflow)
{
    uint8_t raw[4];
    uint32_t entries;

    if (command->bytes - *offset < sizeof(raw))
        return false;
    net_command_read(command, *offset, raw, sizeof(raw));
    *offset += sizeof(raw);
    entries = load_le32(raw);
    if (entries > (command->bytes - *offset) / NET_MAC_SIZE)
        return false;
    *overflow = entries > NET_FILTER_MACS;
    *count = *overflow ? 0 : entries;
    net_command_read(command, *offset, table, (size_t)*count * NET_MAC_SIZE);
    *offset += (size_t)entries * NET_MAC_SIZE;
    return true;
}

static bool set_mac_table(struct net *net, struct net_command *command)
{
    struct net_filter f = net->filter;
    size_t offset = 0;

    if (!read_table(command, &offset, f.unicast, &f.unicast_count, &f.unicast_overflow) ||
        !read_table(command, &offset, f.multicast, &f.multicast_count, &f.multicast_overflow) ||
        offset != command->bytes) {
        NET_COMPLAIN(net, "DRV-NET-13", "a table of MAC addresses of another length than it says");
        return false;
    }
    net->filter = f;
    return true;
}

static bool set_mac(struct net *net, struct net_command *command)
{
    uint64_t mac = 0;

    net_command_read(command, 0, &mac, NET_MAC_SIZE);
    atomic_store(&net->mac, mac);
    net->filter.mac_known = true;
    virtio_builtin_config_changed(net->builtin); /* NETC-04 */
    return true;
}

/* --- class 2: VLANs --------------------------------------------------------------------------- */

static bool set_vlan(struct net *net, const struct net_command *command, bool on)
{
    uint8_t raw[2];
    unsigned vlan;

    net_command_read(command, 0, raw, sizeof(raw));
    vlan = load_le16(raw);
    if (vlan >= NET_VLANS)
        return false;
    if (on)
        net->filter.vlans[vlan / 64] |= BIT(vlan % 64);
    else
        net->filter.vlans[vlan / 64] &= ~BIT(vlan % 64);
    return true;
}

static bool add_vlan(struct net *net, struct net_command *command)
{
    return set_vlan(net, command, true);
}

static bool delete_vlan(struct net *net, struct net_command *command)
{
    return set_vlan(net, command, false);
}

/* --- class 3: announcements ------------------------------------------------------------------- */

static bool acknowledge_announce(struct net *net, struct net_command *command)
{
    (void)command;
    if (!(atomic_fetch_and(&net->status, ~(unsigned)NET_S_ANNOUNCE) & NET_S_ANNOUNCE)) {
        NET_COMPLAIN(net, "DRV-NET-22", "ANNOUNCE_ACK, but nothing was to be announced");
        return false;
    }
    virtio_builtin_config_changed(net->builtin); /* NETC-06 */
    return true;
}

/* --- class 4: several queues ------------------------------------------------------------------ */

/* Switch steering over to what is in hashing.config; the number of pairs follows. */
static void apply_steering(struct net *net, bool rss, unsigned pairs)
{
    struct net_hashing *h = &net->hashing;
    const struct net_host_ops *ops = net->host->ops;
    bool by_host = false;

    if (ops->set_steering && net->pair_count > 1)
        by_host = ops->set_steering(net->host, rss ? &h->config : NULL);
    h->spreads = rss && !by_host && net->pair_count > 1;
    h->needed = h->config.hash_types && (h->spreads || net_has(net, NET_F_HASH_REPORT));
    net_hash_set_key(h);
    net_set_pairs(net, pairs);
}

static bool queue_runs(struct net *net, unsigned index)
{
    return virtio_builtin_queue_runs(net->builtin, (uint16_t)index);
}

static bool set_pairs(struct net *net, struct net_command *command)
{
    uint8_t raw[2];
    unsigned pairs;
    bool running = true;

    net_command_read(command, 0, raw, sizeof(raw));
    pairs = load_le16(raw);
    for (unsigned i = 0; i < 2 * pairs && pairs <= net->pair_count && running; i++)
        running = queue_runs(net, i);
    if (pairs == 0 || pairs > net->pair_count || !running) {
        NET_COMPLAIN(net, "DRV-NET-14", "VQ_PAIRS_SET of queues that are not there or not enabled");
        return false;
    }
    apply_steering(net, false, pairs); /* the last command wins (NETC-07) */
    return true;
}

/* The end that both configurations of hashes have: le8 length, key. */
static bool read_key(const struct net_command *command, size_t offset, struct net_steering *out)
{
    if (command->bytes <= offset)
        return false;
    net_command_read(command, offset, &out->key_length, 1);
    if (out->key_length > NET_RSS_KEY_MAX || command->bytes - offset - 1 != out->key_length)
        return false;
    net_command_read(command, offset + 1, out->key, out->key_length);
    return true;
}

/* The virtqueue pair an entry names; -1 for one that does not exist or is not enabled. */
static int read_rss_queue(struct net *net, const uint8_t *raw)
{
    unsigned pair = load_le16(raw);

    return pair < net->pair_count && queue_runs(net, 2 * pair) ? (int)pair : -1;
}

/* What the table says is checked; *pairs: how many pairs it needs. */
static bool read_rss_table(struct net *net, const struct net_command *command,
                           struct net_steering *out, unsigned *pairs)
{
    uint8_t raw[2 * NET_RSS_TABLE_MAX + 4];
    unsigned count = out->table_mask + 1u;
    int queue = read_rss_queue(
        net, (uint8_t[]){(uint8_t)out->unclassified, (uint8_t)(out->unclassified >> 8)});

    *pairs = (unsigned)queue + 1;
    net_command_read(command, 8, raw, 2 * count + 2);
    for (unsigned i = 0; i < count && queue >= 0; i++) {
        queue = read_rss_queue(net, raw + 2 * i);
        out->table[i] = (uint16_t)queue;
        *pairs = MAX(*pairs, (unsigned)queue + 1);
    }
    if (queue < 0 || load_le16(raw + 2 * count) == 0 ||
        load_le16(raw + 2 * count) > net->pair_count)
        return false;
    *pairs = MAX(*pairs, load_le16(raw + 2 * count));
    return true;
}

/* NETC-09: le32 hash_types, le16 indirection_table_mask, le16 unclassified_queue,
 * le16 indirection_table[mask + 1], le16 max_tx_vq, u8 hash_key_length, key */
static bool read_rss(struct net *net, const struct net_command *command, struct net_steering *out,
                     unsigned *pairs)
{
    uint8_t raw[8];
    size_t key;

    if (command->bytes < sizeof(raw))
        return false;
    net_command_read(command, 0, raw, sizeof(raw));
    out->hash_types = load_le32(raw);
    out->table_mask = load_le16(raw + 4);
    out->unclassified = load_le16(raw + 6);
    if (out->hash_types & ~(uint32_t)NET_HASH_ALL || out->table_mask >= NET_RSS_TABLE_MAX ||
        !is_power_of_two(out->table_mask + UINT64_C(1)))
        return false;
    key = sizeof(raw) + 2 * (out->table_mask + (size_t)1) + 2;
    return read_key(command, key, out) && read_rss_table(net, command, out, pairs);
}

static bool set_rss(struct net *net, struct net_command *command)
{
    struct net_steering config = {0};
    unsigned pairs;

    if (!read_rss(net, command, &config, &pairs)) {
        NET_COMPLAIN(net, "DRV-NET-16", "RSS_CONFIG with a bad table, key, hash type or queue");
        return false;
    }
    net->hashing.config = config;
    /* max_tx_vq tells how many transmit queues are used, but Linux up to 6.12 tells how many it
     * used when it started: what VQ_PAIRS_SET has added since stays in use. */
    apply_steering(net, true, MAX(pairs, net->pairs));
    return true;
}

/* NETC-11: le32 hash_types, le16 reserved[4], u8 hash_key_length, key */
static bool set_hash(struct net *net, struct net_command *command)
{
    struct net_steering config = {0};
    uint8_t raw[12];

    if (command->bytes < sizeof(raw))
        return false;
    net_command_read(command, 0, raw, sizeof(raw));
    config.hash_types = load_le32(raw);
    if (load_le64(raw + 4) != 0) {
        NET_COMPLAIN(net, "DRV-NET-28", "HASH_CONFIG with reserved fields that are not 0");
        return false;
    }
    if (config.hash_types & ~(uint32_t)NET_HASH_ALL || !read_key(command, sizeof(raw), &config)) {
        NET_COMPLAIN(net, "DRV-NET-16", "HASH_CONFIG with a bad key or hash type");
        return false;
    }
    net->hashing.config = config;
    apply_steering(net, false, net->pairs);
    return true;
}

/* --- class 5: offloads of the guest ----------------------------------------------------------- */

static bool set_guest_offloads(struct net *net, struct net_command *command)
{
    uint8_t raw[8];
    uint64_t wanted;

    net_command_read(command, 0, raw, sizeof(raw));
    wanted = load_le64(raw);
    if (wanted & ~net_guest_offloads(&net->negotiated)) {
        NET_COMPLAIN(net, "DRV-NET-17", "GUEST_OFFLOADS_SET of what was not negotiated");
        return false;
    }
    net->guest_offloads = wanted;
    net_apply_guest_offloads(net);
    return true;
}

/* --- class 6: notification coalescing --------------------------------------------------------- */

static struct net_coalescing read_coalescing(const struct net_command *command, size_t offset)
{
    uint8_t raw[8];

    net_command_read(command, offset, raw, sizeof(raw));
    return (struct net_coalescing){load_le32(raw), load_le32(raw + 4)};
}

static bool set_tx_coalescing(struct net *net, struct net_command *command)
{
    net->tx_coalescing = read_coalescing(command, 0);
    for (unsigned i = 0; i < net->pair_count; i++)
        net_queue_set_coalescing(&net->tx[i].queue, &net->tx_coalescing);
    return true;
}

static bool set_rx_coalescing(struct net *net, struct net_command *command)
{
    net->rx_coalescing = read_coalescing(command, 0);
    for (unsigned i = 0; i < net->pair_count; i++)
        net_queue_set_coalescing(&net->rx[i].queue, &net->rx_coalescing);
    return true;
}

/* The enabled receive or transmit queue that a command names, or NULL. `reserved` is ignored. */
static struct net_queue *read_data_queue(struct net *net, const struct net_command *command)
{
    uint8_t raw[2];
    unsigned index;

    net_command_read(command, 0, raw, sizeof(raw));
    index = load_le16(raw);
    if (index < 2 * net->pair_count && net_queue_at(net, index) != &net->control &&
        queue_runs(net, index))
        return net_queue_at(net, index);
    NET_COMPLAIN(net, "DRV-NET-18",
                 "coalescing of a queue that is not enabled, or carries no data");
    return NULL;
}

static bool set_queue_coalescing(struct net *net, struct net_command *command)
{
    struct net_queue *queue = read_data_queue(net, command);
    struct net_coalescing coalescing = read_coalescing(command, 4);

    if (queue)
        net_queue_set_coalescing(queue, &coalescing);
    return queue;
}

static bool get_queue_coalescing(struct net *net, struct net_command *command)
{
    struct net_queue *queue = read_data_queue(net, command);
    uint8_t reply[8];

    if (!queue)
        return false;
    store_le32(reply, queue->coalescing.max_packets);
    store_le32(reply + 4, queue->coalescing.max_usecs);
    net_command_reply(command, reply, sizeof(reply));
    return true;
}

/* --- all commands ----------------------------------------------------------------------------- */

#define ANY_LENGTH UINT32_MAX

static const struct control_command {
    uint8_t class, command;
    uint64_t features; /* one of them must have been negotiated */
    uint32_t bytes;    /* of data */
    bool (*run)(struct net *net, struct net_command *command);
    const char *rule; /* broken by a command that was not negotiated */
} commands[] = {
    {NET_CTRL_RX, NET_CTRL_RX_PROMISC, BIT(NET_F_CTRL_RX), 1, set_promisc, "DRV-NET-12"},
    {NET_CTRL_RX, NET_CTRL_RX_ALLMULTI, BIT(NET_F_CTRL_RX), 1, set_allmulti, "DRV-NET-12"},
    {NET_CTRL_RX, NET_CTRL_RX_ALLUNI, BIT(NET_F_CTRL_RX_EXTRA), 1, set_alluni, "DRV-NET-12"},
    {NET_CTRL_RX, NET_CTRL_RX_NOMULTI, BIT(NET_F_CTRL_RX_EXTRA), 1, set_nomulti, "DRV-NET-12"},
    {NET_CTRL_RX, NET_CTRL_RX_NOUNI, BIT(NET_F_CTRL_RX_EXTRA), 1, set_nouni, "DRV-NET-12"},
    {NET_CTRL_RX, NET_CTRL_RX_NOBCAST, BIT(NET_F_CTRL_RX_EXTRA), 1, set_nobcast, "DRV-NET-12"},
    {NET_CTRL_MAC, NET_CTRL_MAC_TABLE_SET, BIT(NET_F_CTRL_RX), ANY_LENGTH, set_mac_table,
     "DRV-NET-12"},
    {NET_CTRL_MAC, NET_CTRL_MAC_ADDR_SET, BIT(NET_F_CTRL_MAC_ADDR) | BIT(NET_F_CTRL_RX),
     NET_MAC_SIZE, set_mac, "DRV-NET-12"},
    {NET_CTRL_VLAN, NET_CTRL_VLAN_ADD, BIT(NET_F_CTRL_VLAN), 2, add_vlan, "NETC-05"},
    {NET_CTRL_VLAN, NET_CTRL_VLAN_DEL, BIT(NET_F_CTRL_VLAN), 2, delete_vlan, "NETC-05"},
    {NET_CTRL_ANNOUNCE, NET_CTRL_ANNOUNCE_ACK, BIT(NET_F_GUEST_ANNOUNCE), 0, acknowledge_announce,
     "DRV-NET-22"},
    {NET_CTRL_MQ, NET_CTRL_MQ_VQ_PAIRS_SET, BIT(NET_F_MQ), 2, set_pairs, "DRV-NET-14"},
    {NET_CTRL_MQ, NET_CTRL_MQ_RSS_CONFIG, BIT(NET_F_RSS), ANY_LENGTH, set_rss, "DRV-NET-16"},
    {NET_CTRL_MQ, NET_CTRL_MQ_HASH_CONFIG, BIT(NET_F_HASH_REPORT), ANY_LENGTH, set_hash,
     "DRV-NET-16"},
    {NET_CTRL_GUEST_OFFLOADS, NET_CTRL_GUEST_OFFLOADS_SET, BIT(NET_F_CTRL_GUEST_OFFLOADS), 8,
     set_guest_offloads, "DRV-NET-17"},
    {NET_CTRL_NOTF_COAL, NET_CTRL_NOTF_COAL_TX_SET, BIT(NET_F_NOTF_COAL), 8, set_tx_coalescing,
     "DRV-NET-18"},
    {NET_CTRL_NOTF_COAL, NET_CTRL_NOTF_COAL_RX_SET, BIT(NET_F_NOTF_COAL), 8, set_rx_coalescing,
     "DRV-NET-18"},
    {NET_CTRL_NOTF_COAL, NET_CTRL_NOTF_COAL_VQ_SET, BIT(NET_F_VQ_NOTF_COAL), 12,
     set_queue_coalescing, "DRV-NET-18"},
    {NET_CTRL_NOTF_COAL, NET_CTRL_NOTF_COAL_VQ_GET, BIT(NET_F_VQ_NOTF_COAL), 4,
     get_queue_coalescing, "DRV-NET-18"},
    {NET_CTRL_STATS, NET_CTRL_STATS_QUERY, BIT(NET_F_DEVICE_STATS), 0, net_stats_query,
     "DRV-NET-21"},
    {NET_CTRL_STATS, NET_CTRL_STATS_GET, BIT(NET_F_DEVICE_STATS), ANY_LENGTH, net_stats_get,
     "DRV-NET-21"},
};

static const struct control_command *find_command(uint8_t class, uint8_t number)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (commands[i].class == class && commands[i].command == number)
            return &commands[i];
    return NULL;
}

/* NETC-01 */
static bool run_command(struct net *net, struct net_command *command)
{
    uint64_t negotiated = net->negotiated.word[0] | (uint64_t)net->negotiated.word[1] << 32;
    const struct control_command *row;
    uint8_t header[2];

    if (command->buffer->readable_bytes < sizeof(header)) {
        NET_COMPLAIN(net, "DRV-NET-24", "a command without class or command");
        return false;
    }
    virtqueue_read(command->buffer, 0, header, sizeof(header));
    row = find_command(header[0], header[1]);
    if (!row) {
        log_limited(LOG_DEBUG, "net", "%s: unknown command %u of class %u",
                    virtio_builtin_name(net->builtin), header[1], header[0]);
        return false;
    }
    if (!(negotiated & row->features)) {
        NET_COMPLAIN(net, row->rule, "a command that was not negotiated");
        return false;
    }
    if (row->bytes != ANY_LENGTH && row->bytes != command->bytes) {
        NET_COMPLAIN(net, row->rule, "a command of the wrong length");
        return false;
    }
    if (!row->run(net, command))
        return false;
    if (row->class == NET_CTRL_RX || row->class == NET_CTRL_MAC)
        net_filter_changed(net);
    return true;
}

static void answer(struct net *net, struct virtqueue *ring, struct virtqueue_buffer *buffer)
{
    struct net_command command = {
        .buffer = buffer,
        .bytes = buffer->readable_bytes < 2 ? 0 : buffer->readable_bytes - 2,
    };
    bool ok;
    uint8_t ack;

    net->commands++;
    ok = run_command(net, &command);
    net->commands_ok += ok;
    ack = ok ? NET_OK : NET_ERR;
    virtqueue_write(buffer, 0, &ack, 1);
    virtqueue_push(ring, buffer, 1 + (ok ? command.result : 0));
}

int net_control_run(struct net *net, struct virtqueue *ring)
{
    struct virtqueue_buffer *buffer;
    int ret;

    while ((ret = virtqueue_pop(ring, &buffer)) > 0) {
        if (buffer->writable_bytes == 0) {
            ring->broken =
                (struct virtqueue_rule){"DRV-NET-24", "a command without room for its ack"};
            return -EPROTO;
        }
        answer(net, ring, buffer);
    }
    net_queue_publish(&net->control);
    return ret;
}
