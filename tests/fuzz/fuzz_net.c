/*
 * virtio-net with frames and control commands of random content and framing, between a fake host
 * side and a driver that keeps the rules of rings (fuzz_virtqueue breaks those).
 *
 * Checked besides what sanitizers see: what the host side is given is a frame it can take, used
 * lengths are in bounds, every transmitted frame and every command is answered or the device says
 * it is broken, and nothing is in flight after a stop.
 *
 * Input: three bytes of features, then operations: a byte of kind and shape, and what it needs.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/net/protocol.h"
#include "tests/driver/net_card.h"
#include "tests/fuzz/input.h"

#include <stdlib.h>
#include <sys/eventfd.h>

#define PAIRS      2
#define QUEUE_SIZE 64
#define PIECES_MAX 6

static struct net_card card;
static uint32_t writable[NET_CARD_QUEUES][QUEUE_SIZE]; /* bytes, by head */
static unsigned added[NET_CARD_QUEUES], answered[NET_CARD_QUEUES];

/* A buffer of random pieces: readable ones first, with bytes of the input in front; `room` bytes
 * that are writable. */
static void add(struct input *in, unsigned queue, size_t readable, size_t room)
{
    struct ring_element e[2 * PIECES_MAX];
    uint8_t shape = take(in);
    unsigned count = 0;
    int head;

    if (readable > 0) {
        uint64_t at = net_card_alloc(&card, readable);
        size_t cut = readable > 1 ? shape % readable : 0;

        for (size_t i = 0; i < readable && i < in->left + 8; i++)
            *net_card_at(&card, at + i, 1) = take(in);
        if (cut)
            e[count++] = (struct ring_element){at, (uint32_t)cut, false};
        e[count++] = (struct ring_element){at + cut, (uint32_t)(readable - cut), false};
    }
    if (room > 0) {
        uint64_t at = net_card_alloc(&card, room);
        size_t cut = room > 1 ? shape % room : 0;

        if (cut)
            e[count++] = (struct ring_element){at, (uint32_t)cut, true};
        e[count++] = (struct ring_element){at + cut, (uint32_t)(room - cut), true};
    }
    if (count == 0)
        return;
    head = ring_add(&card.rings[queue], e, count, shape & 0x80 ? RING_TABLE : RING_DIRECT);
    if (head < 0)
        return;
    writable[queue][head] = (uint32_t)room;
    added[queue]++;
    ring_publish(&card.rings[queue]);
    eventfd_write(card.kicks[queue], 1);
}

static void check_sent(unsigned pair)
{
    struct fake_net_frame *frame;

    while ((frame = fake_net_take_sent(&card.host, pair))) {
        size_t length = frame->length - NET_HEADER_SIZE;
        const uint8_t *h = frame->bytes;

        REQUIRE(frame->length >= NET_HEADER_SIZE + NET_ETHERNET_HEADER);
        REQUIRE(length <= NET_FRAME_MAX);
        REQUIRE(!(h[NET_HDR_FLAGS] & ~NET_HDR_F_NEEDS_CSUM));
        REQUIRE(load_le16(h + NET_HDR_HDR_LEN) <= length);
        if (h[NET_HDR_FLAGS])
            REQUIRE(load_le16(h + NET_HDR_CSUM_START) + load_le16(h + NET_HDR_CSUM_OFFSET) + 2u <=
                    length);
        free(frame);
    }
}

static void collect(void)
{
    struct ring_used used;

    for (unsigned q = 0; q < 2 * PAIRS + 1; q++)
        while (ring_collect(&card.rings[q], &used)) {
            REQUIRE(used.id < QUEUE_SIZE);
            REQUIRE(used.length <= writable[q][used.id]);
            answered[q]++;
        }
    for (unsigned pair = 0; pair < PAIRS; pair++)
        check_sent(pair);
}

static void host_frame(struct input *in, uint8_t shape)
{
    static uint8_t bytes[NET_FRAME_MAX];
    uint8_t header[NET_HEADER_SIZE] = {0};
    size_t length = shape & 0x40 ? take(in) * 257u : take(in);

    for (size_t i = 0; shape & 0x20 && i < NET_HEADER_SIZE; i++)
        header[i] = take(in);
    for (size_t i = 0; i < length && i < 300; i++)
        bytes[i] = take(in);
    fake_net_add(&card.host, shape / 8 % PAIRS, header, bytes, length);
}

static void operate(struct input *in)
{
    uint8_t kind = take(in);
    unsigned pair = kind / 8 % PAIRS;
    struct virtqueue_position at;

    switch (kind % 8) {
    case 0:
    case 1:
        add(in, 2 * pair + 1, take(in) * (kind & 0x40 ? 300u : 1u), kind & 0x80 ? take(in) : 0);
        break;
    case 2:
    case 3:
        add(in, card.control, take(in), take(in) + 1u);
        break;
    case 4:
        add(in, 2 * pair, kind & 0x80 ? take(in) : 0, take(in) * (kind & 0x40 ? 20u : 1u));
        break;
    case 5:
        host_frame(in, kind);
        break;
    case 6:
        card.host.busy = !card.host.busy;
        if (!card.host.busy)
            fake_net_writable(&card.host);
        break;
    default:
        if (card.needs_reset)
            break;
        at = net_card_stop_queue(&card, 2 * pair);
        net_card_start_queue(&card, 2 * pair, at);
        eventfd_write(card.kicks[2 * pair], 1);
        break;
    }
    net_card_turn(&card);
    collect();
}

static void start(struct input *in)
{
    static const unsigned char all[] = {
        NET_F_CTRL_VQ,       NET_F_CSUM,         NET_F_HOST_TSO4,     NET_F_HOST_USO,
        NET_F_GUEST_CSUM,    NET_F_GUEST_TSO4,   NET_F_MRG_RXBUF,     NET_F_MQ,
        NET_F_RSS,           NET_F_HASH_REPORT,  NET_F_CTRL_RX,       NET_F_CTRL_RX_EXTRA,
        NET_F_CTRL_VLAN,     NET_F_NOTF_COAL,    NET_F_VQ_NOTF_COAL,  NET_F_DEVICE_STATS,
        NET_F_MTU,           NET_F_GUEST_HDRLEN, NET_F_CTRL_MAC_ADDR, NET_F_CTRL_GUEST_OFFLOADS,
        NET_F_GUEST_ANNOUNCE};
    uint32_t wanted = take(in) | (uint32_t)take(in) << 8 | (uint32_t)take(in) << 16;
    unsigned char bits[sizeof(all)];
    unsigned count = 0;

    for (unsigned i = 0; i < sizeof(all); i++)
        if (wanted >> i & 1)
            bits[count++] = all[i];
    card.queue_size = QUEUE_SIZE;
    memset(added, 0, sizeof(added));
    memset(answered, 0, sizeof(answered));
    if (wanted >> 23 & 1)
        net_card_start_legacy(&card, bits, count);
    else
        net_card_start(&card, bits, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!card.backend) {
        log_configure("error");
        card.host.offloads = ~0u;
        card.options.mtu = 1500;
        REQUIRE(net_card_create(&card, PAIRS, NULL) == 0);
    }
    start(&in);
    for (unsigned i = 0; i < 60 && in.left > 0; i++)
        operate(&in);
    if (card.host.busy)
        fake_net_writable(&card.host);
    for (int i = 0; i < 4; i++)
        net_card_turn(&card);
    collect();
    for (unsigned q = 1; q < 2 * PAIRS; q += 2)
        REQUIRE(answered[q] == added[q] || card.needs_reset || q > card.control);
    REQUIRE(answered[card.control] == added[card.control] || card.needs_reset);
    net_card_stop(&card);
    for (unsigned pair = 0; pair < PAIRS; pair++) {
        struct iovec nowhere = {net_card_at(&card, card.next, MIB), MIB};

        while (card.host.host.ops->receive(&card.host.host, pair, &nowhere, 1) >= 0)
            ;
    }
    return 0;
}
