/*
 * Device statistics (5.1.9.5.11): counters of each queue, for `ethtool -S`.
 *
 * RX_SPEED and TX_SPEED are not offered: no rate is limited here.
 */
#include "devices/net/state.h"

#define REPLY_HEADER 8
#define REPLY_MAX    56
#define REQUEST_SIZE 16 /* le16 vq_index, le16 reserved[3], le64 types_bitmap */

enum queue_kind { KIND_RX, KIND_TX, KIND_CONTROL };

/* A statistics type: for which queues, which of these features have to be negotiated (one of them
 * does; 0: none has to), and its counters (NETC-17). */
struct stats_type {
    uint8_t bit; /* enum net_stats_type */
    enum queue_kind kind;
    uint64_t features;
    unsigned counters;
};

static const struct stats_type types[] = {
    {NET_STATS_RX_BASIC, KIND_RX, 0, 6},
    {NET_STATS_RX_CSUM, KIND_RX, BIT(NET_F_GUEST_CSUM), 4},
    {NET_STATS_RX_GSO, KIND_RX, BIT(NET_F_GUEST_TSO4) | BIT(NET_F_GUEST_TSO6), 4},
    {NET_STATS_TX_BASIC, KIND_TX, 0, 6},
    {NET_STATS_TX_CSUM, KIND_TX, BIT(NET_F_CSUM), 2},
    {NET_STATS_TX_GSO, KIND_TX, BIT(NET_F_HOST_TSO4) | BIT(NET_F_HOST_TSO6) | BIT(NET_F_HOST_USO),
     6},
    {NET_STATS_CVQ, KIND_CONTROL, 0, 2},
};

static enum queue_kind kind_of(const struct net *net, const struct net_queue *queue)
{
    if (queue == &net->control)
        return KIND_CONTROL;
    return queue->index % 2 ? KIND_TX : KIND_RX;
}

/* The counters of a type in the order of the specification. */
static void collect(const struct net *net, const struct net_queue *queue, uint8_t type,
                    uint64_t out[6])
{
    const struct net_stats *s = &queue->stats;

    switch (type) {
    case NET_STATS_RX_BASIC:
        memcpy(out,
               (uint64_t[]){s->notifications, s->packets, s->bytes, s->interrupts, s->drops,
                            s->drop_overruns},
               48);
        break;
    case NET_STATS_TX_BASIC:
        memcpy(out,
               (uint64_t[]){s->notifications, s->packets, s->bytes, s->interrupts, s->drops,
                            s->drop_malformed},
               48);
        break;
    case NET_STATS_RX_CSUM: /* valid, needed, none, bad: bad ones the host dropped */
        out[0] = s->data_valid;
        out[1] = s->needs_csum;
        out[2] = s->packets - s->data_valid - s->needs_csum;
        break;
    case NET_STATS_TX_CSUM: /* none, needed */
        out[0] = s->packets - s->needs_csum;
        out[1] = s->needs_csum;
        break;
    case NET_STATS_RX_GSO: /* none was coalesced by us */
        out[0] = s->gso_packets;
        out[1] = s->gso_bytes;
        break;
    case NET_STATS_TX_GSO: /* all leave as they are: segments are the host's matter */
        out[0] = out[4] = s->gso_packets;
        out[1] = out[5] = s->gso_bytes;
        break;
    default: /* the current command is among them, as one that succeeds */
        out[0] = net->commands;
        out[1] = net->commands_ok + 1;
        break;
    }
}

static bool negotiated(const struct net *net, uint64_t features)
{
    uint64_t bits = net->negotiated.word[0] | (uint64_t)net->negotiated.word[1] << 32;

    return features == 0 || bits & features;
}

bool net_stats_query(struct net *net, struct net_command *command)
{
    uint8_t reply[8];
    uint64_t supported = 0;

    (void)net;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        supported |= BIT(types[i].bit);
    store_le64(reply, supported);
    net_command_reply(command, reply, sizeof(reply));
    return true;
}

struct stats_request {
    struct net_queue *queue;
    uint64_t bitmap;
};

/* DRV-NET-21: one wrong request fails the whole command. */
static bool read_request(struct net *net, const struct net_command *command, size_t offset,
                         struct stats_request *out)
{
    uint8_t raw[REQUEST_SIZE];
    uint64_t unknown;

    net_command_read(command, offset, raw, sizeof(raw));
    out->queue = net_queue_at(net, load_le16(raw));
    out->bitmap = unknown = load_le64(raw + 8);
    if (!out->queue)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].kind == kind_of(net, out->queue) && negotiated(net, types[i].features))
            unknown &= ~BIT(types[i].bit);
    return unknown == 0;
}

static void reply_one(const struct net *net, const struct net_queue *queue,
                      const struct stats_type *type, struct net_command *command)
{
    uint64_t counters[6] = {0};
    uint8_t reply[REPLY_MAX] = {0};

    collect(net, queue, type->bit, counters);
    reply[0] = type->bit;
    store_le16(reply + 2, queue->index);
    store_le16(reply + 6, (uint16_t)(REPLY_HEADER + 8 * type->counters));
    for (unsigned i = 0; i < type->counters; i++)
        store_le64(reply + REPLY_HEADER + 8 * i, counters[i]);
    net_command_reply(command, reply, REPLY_HEADER + 8 * type->counters);
}

/* More requests than there can be different ones are refused: it bounds the work. */
bool net_stats_get(struct net *net, struct net_command *command)
{
    uint32_t count = command->bytes / REQUEST_SIZE;
    struct stats_request request;

    if (command->bytes % REQUEST_SIZE || count > (2 * net->pair_count + 1) * ARRAY_SIZE(types))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_request(net, command, i * REQUEST_SIZE, &request))
            return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_request(net, command, i * REQUEST_SIZE, &request))
            return false; /* changed meanwhile */
        for (size_t t = 0; t < ARRAY_SIZE(types); t++)
            if (request.bitmap & BIT(types[t].bit))
                reply_one(net, request.queue, &types[t], command);
    }
    return true;
}
