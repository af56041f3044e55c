/*
 * One virtio-net device: what its files share. See net.h for which does what.
 *
 * All of it belongs to the device's loop, except where said otherwise.
 */
#ifndef DEVICES_NET_STATE_H
#define DEVICES_NET_STATE_H

#include "base/bytes.h"
#include "base/log.h"
#include "devices/net/host.h"
#include "devices/net/options.h"
#include "devices/net/protocol.h"
#include "virtio/builtin.h"
#include "virtio/foreign.h"

#include <stdatomic.h>

#define NET_PAIRS_MAX 256

/* Frames a queue handles before others of its loop get their turn. */
#define NET_TURN_FRAMES 128

/* After so many frames, or so many bytes, used buffers are published although there is more to do:
 * the guest may work on them meanwhile, or wait for them (TCP keeps little in a transmit queue). */
#define NET_PUBLISH_FRAMES 16
#define NET_PUBLISH_BYTES  (32 * 1024)

/* While a guest sends a stream, its transmit queue is looked at so often and not kicked for; four
 * times as often when so much came in between that its ring, or a connection's window, may fill up.
 * A look finds a stream when there are so many frames, or bytes: more than one frame. Of looks that
 * find none, one in so many more is made. */
#define NET_LOOK_NS       UINT64_C(200000)
#define NET_BURST_BYTES   (256 * 1024)
#define NET_STREAM_FRAMES 3
#define NET_STREAM_BYTES  (96 * 1024)
#define NET_LOOKS_SKIPPED 63

/* The most iovecs of one call of the host side, its header's included (IOV_MAX of Linux). */
#define NET_IOV_MAX 1024

/* What the filters remember; beyond, they let more through (5.1.9.5.2: best effort). */
#define NET_FILTER_MACS 64
#define NET_VLANS       4096

struct net;
struct net_vhost;

/* 5.1.9.5.10: when the driver is interrupted. Either 0: after every packet. */
struct net_coalescing {
    uint32_t max_packets, max_usecs;
};

/* Counters of one queue since creation; they wrap (NETC-16). Bytes are without virtio's header. */
struct net_stats {
    uint64_t notifications, interrupts; /* kicks seen; interrupts raised */
    uint64_t packets, bytes;            /* handed over */
    uint64_t drops;                     /* of all kinds, and of these: */
    uint64_t drop_overruns;             /* rx: no room in the queue */
    uint64_t drop_malformed;            /* tx: a bad header or chain */
    uint64_t needs_csum, data_valid;    /* of `packets`: flags in their headers */
    uint64_t gso_packets, gso_bytes;
};

/* What receive, transmit and control queues have in common. */
struct net_queue {
    struct net *net;
    uint16_t index;         /* virtqueue */
    struct virtqueue *ring; /* NULL while it does not run, or before its first kick */
    struct net_stats stats;

    /* coalesce.c */
    struct net_coalescing coalescing;
    uint32_t packets; /* published since the driver was last interrupted */
    uint32_t unpublished, unpublished_bytes;
    bool pending; /* it wants an interrupt */
    struct loop_timer timer;
};

/*
 * A receive queue. Buffers are popped into a window, in order, and the host side reads frames right
 * into the first ones; only what is left of a frame that is longer than expected goes to `spill`,
 * and is copied from there.
 */
struct net_rx {
    struct net_queue queue;
    unsigned pair;

    struct virtqueue_buffer **window; /* circular */
    unsigned window_size, window_first, window_count;
    uint64_t window_bytes;
    unsigned expect_large; /* frames for which all of the window is offered; 0: one buffer */

    uint8_t header[NET_HEADER_SIZE]; /* of the frame just read */
    uint8_t *spill;                  /* NET_FRAME_MAX bytes */
    struct iovec *iov;               /* NET_IOV_MAX: where the frame was read to */
    unsigned iov_count;
    size_t direct; /* bytes of payload that go to the window; the rest, to `spill` */
    size_t held;   /* length of a frame that waits for buffers; 0: none */

    /* While the device spreads frames: a frame that is held back waits for this queue, and for so
     * long; a queue that was waited for in vain loses its frames until it gets buffers. */
    struct net_rx *waits_for;
    struct loop_timer patience;
    bool stalled;

    bool watching;         /* the host side tells us of frames */
    struct loop_task more; /* this turn is over and there may be more frames */
};

struct net_tx {
    struct net_queue queue;
    unsigned pair;
    bool blocked; /* the host side takes no frame now */

    /* Looks at the queue by a timer instead of a kick: see tx.c. */
    struct loop_timer look;
    bool looking;                         /* the timer runs, kicks are off */
    unsigned looks_failed, looks_to_skip; /* those that found no stream make us skip so many */
};

/* 5.1.9.5.1 to 5.1.9.5.3: which frames the guest wants. */
struct net_filter {
    bool active;    /* any of the below can refuse a frame */
    bool by_mac;    /* CTRL_RX was negotiated */
    bool by_vlan;   /* CTRL_VLAN was negotiated */
    bool mac_known; /* the card's address means something */
    bool modes[6];  /* by enum net_control_rx */
    bool unicast_overflow, multicast_overflow;
    unsigned unicast_count, multicast_count;
    uint8_t unicast[NET_FILTER_MACS][NET_MAC_SIZE], multicast[NET_FILTER_MACS][NET_MAC_SIZE];
    uint64_t vlans[NET_VLANS / 64];
};

/* 5.1.9.4.3 and 5.1.9.5.7: hashes of frames that come in, and what they decide. */
struct net_hashing {
    struct net_steering config;
    uint32_t toeplitz[72][16]; /* what each value of each nibble of the input adds to a hash */
    bool spreads;              /* we pick the queue by it, since the host side does not */
    bool needed;               /* a hash is to be made of each frame */
};

struct net {
    struct virtio_builtin *builtin;
    struct net_host *host;
    struct net_vhost *vhost; /* moves the frames in our place (vhost.h); or NULL */
    unsigned pair_count;     /* made with */
    unsigned pairs;          /* in use: what the driver set, 1 after reset */
    unsigned header_size;    /* in guest memory */
    uint16_t mtu;            /* 0: none */
    size_t frame_max;        /* untagged and without segmentation offload, if MTU is negotiated */
    uint8_t config[NET_CONFIG_SIZE]; /* constant; mac and status are put in when it is read */
    uint64_t initial_mac;            /* as `mac`; 0: not told */

    /* Also read, and by legacy drivers written, on vCPU threads. */
    atomic_uint_least64_t mac; /* its bytes in memory order, first byte lowest */
    atomic_uint status;        /* enum net_status */
    atomic_bool legacy;        /* a driver without VERSION_1 is there */

    struct virtio_features negotiated;
    uint64_t guest_offloads; /* enabled ones, as bits of enum net_feature */

    struct net_filter filter;
    struct net_hashing hashing;
    struct net_coalescing rx_coalescing, tx_coalescing; /* of queues that start */

    struct net_rx *rx; /* pair_count each */
    struct net_tx *tx;
    struct net_queue control; /* its index is by what was negotiated (NET-01) */
    uint64_t commands, commands_ok;
    struct iovec *tx_iov; /* NET_IOV_MAX: a frame on its way to the host side... */
    uint8_t *linear;      /* ...and NET_FRAME_MAX bytes for one in too many pieces */
};

/* Name a driver's mistake (tests/RULES.md) in the log. */
#define NET_COMPLAIN(net, rule, what) \
    log_limited(LOG_WARN, "net", "%s: %s: %s", virtio_builtin_name((net)->builtin), rule, what)

static inline bool net_has(const struct net *net, enum net_feature feature)
{
    return features_has(&net->negotiated, feature);
}

/* A frame of `length` bytes was handed over. */
static inline void net_stats_count(struct net_stats *stats, const uint8_t header[NET_HEADER_SIZE],
                                   size_t length)
{
    stats->packets++;
    stats->bytes += length;
    if (header[NET_HDR_FLAGS] & NET_HDR_F_NEEDS_CSUM)
        stats->needs_csum++;
    else if (header[NET_HDR_FLAGS] & NET_HDR_F_DATA_VALID)
        stats->data_valid++;
    if (header[NET_HDR_GSO_TYPE] != NET_GSO_NONE) {
        stats->gso_packets++;
        stats->gso_bytes += length;
    }
}

/*
 * How many of the host side's queues are used, and which of them by a pair. One alone while frames
 * are spread here: the host gives a flow to the queue it was last sent on, and frames of one that
 * changed in between would come out of two queues in any order.
 */
static inline unsigned net_host_pairs(const struct net *net)
{
    return net->hashing.spreads ? 1 : net->pairs;
}

static inline unsigned net_host_pair(const struct net *net, unsigned pair)
{
    return net->hashing.spreads ? 0 : pair;
}

static inline bool net_link_is_up(const struct net *net)
{
    return atomic_load_explicit(&net->status, memory_order_relaxed) & NET_S_LINK_UP;
}

/* --- net.c ------------------------------------------------------------------------------------ */

/* Make a device on a host side, which it owns from then on, also when this fails; and `vhost`,
 * which may be NULL. What create of the model does once the host side is there; of its own for
 * tests. */
int net_create_on(struct virtio_builtin *b, const struct net_options *options,
                  struct net_host *host, struct net_vhost *vhost, void **out, struct error *err);

/* The queue behind a virtqueue index; NULL for one that has no meaning now. */
struct net_queue *net_queue_at(struct net *net, unsigned index);

/* Use so many queue pairs from now on. */
void net_set_pairs(struct net *net, unsigned pairs);

/* The filter, or the card's address, was changed. */
void net_filter_changed(struct net *net);

/* --- features.c ------------------------------------------------------------------------------- */

#define NET_FEATURE_NAME_COUNT 30
extern const struct virtio_feature_name net_feature_names[NET_FEATURE_NAME_COUNT];

/* Of the model. */
void net_get_features(void *model, struct virtio_features *out);
void net_set_features(void *model, const struct virtio_features *negotiated);

/* The negotiated bits that GUEST_OFFLOADS_SET can switch (NETC-13), in the same positions. */
uint64_t net_guest_offloads(const struct virtio_features *negotiated);

/* Tell the host side which offloads the guest takes now. */
void net_apply_guest_offloads(struct net *net);

/* --- rx.c ------------------------------------------------------------------------------------- */

int net_rx_init(struct net_rx *rx, struct net *net, unsigned pair);
void net_rx_destroy(struct net_rx *rx);

/* The driver has notified us of buffers; as queue_ready. */
int net_rx_kicked(struct net_rx *rx);

/* The host side has frames. */
void net_rx_readable(struct net_rx *rx);

/* What decides where frames go was changed; a frame that is held back is lost. */
void net_rx_changed(struct net_rx *rx);

/* Give all buffers back; nothing is received any more. */
void net_rx_drain(struct net_rx *rx);

/* --- tx.c ------------------------------------------------------------------------------------- */

void net_tx_init(struct net_tx *tx, struct net *net, unsigned pair);

/* The driver has notified us of frames; as queue_ready. */
int net_tx_run(struct net_tx *tx);

/* The queue stops, at once. */
void net_tx_drain(struct net_tx *tx);

/* --- header.c -------------------------------------------------------------------------------- */

/*
 * Read and check the header of a frame to transmit, and write it to `out` as the host side takes
 * it. False: the frame is to be dropped; the log says why.
 */
bool net_header_from_guest(struct net *net, const struct virtqueue_buffer *buffer,
                           uint8_t out[NET_HEADER_SIZE]);

/*
 * Check the header of a frame of `length` bytes from the host side against what the guest takes,
 * and clear what it must not see. False: drop it.
 */
bool net_header_from_host(const struct net *net, uint8_t header[NET_HEADER_SIZE], size_t length);

/* --- filter.c --------------------------------------------------------------------------------- */

/* What net_filter_wants looks at: addresses, and a VLAN tag or type. */
#define NET_FILTER_PEEK 16

/* The frame is longer than the MTU allows (NET-12); `ethertype` are its bytes 12 and 13. */
bool net_exceeds_mtu(const struct net *net, const uint8_t ethertype[2], size_t length);

void net_filter_reset(struct net_filter *filter);
void net_filter_set_features(struct net *net);
bool net_filter_wants(const struct net *net, const uint8_t *frame, size_t length);

/* --- steering.c ------------------------------------------------------------------------------- */

/* What net_hash looks at: enough for long chains of extension headers. */
#define NET_HASH_PEEK 256

/* Make the table for the configuration's key. */
void net_hash_set_key(struct net_hashing *hashing);

/* The hash of a frame by the configured types; its hash report in *report, NET_HASH_REPORT_NONE
 * and 0 when none of the types fits. */
uint32_t net_hash(const struct net_hashing *hashing, const uint8_t *frame, size_t length,
                  uint16_t *report);

/* --- coalesce.c ------------------------------------------------------------------------------ */

/* A packet of so many bytes was pushed: publish it soon. */
void net_queue_pushed(struct net_queue *queue, size_t bytes);

/* Publish what was pushed, and interrupt the driver if it is time. */
void net_queue_publish(struct net_queue *queue);

/* The driver wants an interrupt for what was published. */
void net_queue_notify(struct net_queue *queue);

/* Other parameters, from now on. */
void net_queue_set_coalescing(struct net_queue *queue, const struct net_coalescing *coalescing);

/* The queue stops: an interrupt that is due is raised, none comes later. */
void net_queue_stop(struct net_queue *queue);

void net_queue_init(struct net_queue *queue, struct net *net, uint16_t index);

/* --- control.c, stats.c ---------------------------------------------------------------------- */

/* The driver has a command for us; `ring` is the control queue. As queue_ready. */
int net_control_run(struct net *net, struct virtqueue *ring);

/* A command on its way: what the driver sent behind class and command, and where an answer goes. */
struct net_command {
    const struct virtqueue_buffer *buffer;
    uint32_t bytes;  /* of data */
    uint32_t result; /* bytes written behind the ack so far */
};

/* Copy `len` bytes of the data at `offset`; the caller has checked that they are there. */
void net_command_read(const struct net_command *command, size_t offset, void *data, size_t len);

/* Append to the answer what there is room for. */
void net_command_reply(struct net_command *command, const void *data, size_t len);

bool net_stats_query(struct net *net, struct net_command *command);
bool net_stats_get(struct net *net, struct net_command *command);

/* --- net.c, foreign.c ------------------------------------------------------------------------- */

/* The card's MAC address, in the low bytes of *out: of the user's mac=, 0 for "off"; NULL: a random
 * one. -EINVAL and others name the key. */
int net_choose_mac(const char *text, uint64_t *out, struct error *err);

/* 5.1.2: two for each pair, and one for control. */
uint16_t net_queue_count(uint16_t pairs);

extern const struct virtio_foreign_type net_foreign;

#endif
