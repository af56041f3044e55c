/*
 * virtio-net: frames from the guest to the host side.
 */
#include "base/bytes.h"
#include "devices/net/protocol.h"
#include "tests/unit/net_fixture.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_net.h>

#define TX 1 /* transmitq1 */

static int setup(void **state)
{
    (void)state;
    card_clear();
    card.host.offloads = (1 << 7) - 1;
    assert_int_equal(net_card_create(&card, 2, NULL), 0);
    return 0;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + i / 256 + 1);
}

static void fill(uint64_t address, size_t length)
{
    uint8_t *bytes = net_card_at(&card, address, length);

    for (size_t i = 0; i < length; i++)
        bytes[i] = pattern(i);
}

/* A frame of patterned bytes behind a header, in pieces of at most `piece` bytes. Returns its
 * address. */
static uint64_t add(unsigned queue, const void *header, size_t header_size, size_t length,
                    size_t piece)
{
    static struct ring_element e[1100];
    uint64_t at = net_card_alloc(&card, header_size + length);
    size_t total = header_size + length;
    unsigned n = 0;

    memcpy(net_card_at(&card, at, total), header, header_size);
    fill(at + header_size, length);
    for (size_t done = 0; done < total; done += e[n++].length)
        e[n] = (struct ring_element){at + done, (uint32_t)MIN(piece, total - done), false};
    assert_true(ring_add(&card.rings[queue], e, n, RING_DIRECT) >= 0);
    return at;
}

static unsigned collect(unsigned queue)
{
    struct ring_used used;
    unsigned n = 0;

    for (; ring_collect(&card.rings[queue], &used); n++)
        assert_int_equal(used.length, 0);
    return n;
}

static void assert_sent(unsigned pair, size_t length, const uint8_t *header)
{
    struct fake_net_frame *frame = fake_net_take_sent(&card.host, pair);

    assert_non_null(frame);
    assert_int_equal(frame->length, NET_HEADER_SIZE + length);
    if (header)
        assert_memory_equal(frame->bytes, header, NET_HEADER_SIZE);
    for (size_t i = 0; i < length; i++)
        if (frame->bytes[NET_HEADER_SIZE + i] != pattern(i))
            fail_msg("byte %zu of the frame is wrong", i);
    free(frame);
}

/* Send one frame: whether the host side got it. It is completed in any case. */
static bool sent_with(const struct virtio_net_hdr_mrg_rxbuf *header, size_t length)
{
    unsigned before = card.host.sent[0].count;

    add(TX, header, sizeof(*header), length, SIZE_MAX);
    net_card_kick(&card, TX);
    assert_int_equal(collect(TX), 1);
    assert_false(card.needs_reset);
    return card.host.sent[0].count == before + 1;
}

/* Add so many small frames: whether the device is to be notified of them. */
static bool kick_wanted(unsigned frames)
{
    static const uint8_t zero[12];

    for (unsigned i = 0; i < frames; i++)
        add(TX, zero, 12, 20, SIZE_MAX);
    ring_publish(&card.rings[TX]);
    return ring_wants_kick(&card.rings[TX]);
}

/* Notify the device, and no more: also when this takes long, its timer has it look at the queue
 * only in a later turn of the loop. */
static void kick_once(void)
{
    eventfd_write(card.kicks[TX], 1);
    net_card_turn(&card);
}

/* Wait for the timer, which is set for 200 us, and let the device look at the queue once. */
static void wait_for_look(void)
{
    usleep(300);
    net_card_turn(&card);
    net_card_turn(&card);
}

/* --- sound frames ----------------------------------------------------------------------------- */

/* NET-14, NET-15, RING-08 */
static void test_plain(void **state)
{
    static const uint8_t zero[20];

    (void)state;
    start();
    for (size_t piece = 1; piece < 80; piece++) {
        add(TX, zero, 12, 60, piece);
        net_card_kick(&card, TX);
        assert_int_equal(collect(TX), 1);
        assert_sent(0, 60, zero);
    }
    add(TX, zero, 12, 1514, SIZE_MAX);
    add(TX, zero, 12, 14, SIZE_MAX);
    net_card_kick(&card, TX);
    assert_int_equal(collect(TX), 2);
    assert_sent(0, 1514, zero);
    assert_sent(0, 14, zero);
}

/* NET-15 */
static void test_header_with_hash(void **state)
{
    static const uint8_t header[20] = {[12] = 1, 2, 3, 4, 5, 6, 7, 8}, zero[12];

    (void)state;
    want(NET_F_CTRL_VQ);
    want(NET_F_HASH_REPORT);
    start();
    add(TX, header, 20, 100, 11);
    net_card_kick(&card, TX);
    assert_sent(0, 100, zero);
}

/* NET-16 */
static void test_header_of_legacy(void **state)
{
    static const uint8_t zero[12];

    (void)state;
    net_card_start_legacy(&card, NULL, 0);
    add(TX, zero, 10, 100, SIZE_MAX);
    net_card_kick(&card, TX);
    assert_sent(0, 100, zero);
    net_card_stop(&card);
    want(NET_F_MRG_RXBUF);
    net_card_start_legacy(&card, bits, bit_count);
    add(TX, zero, 12, 100, 12);
    net_card_kick(&card, TX);
    assert_sent(0, 100, zero);
}

/* NET-17, NET-18, NET-19 */
static void test_header_is_passed_on(void **state)
{
    struct virtio_net_hdr_mrg_rxbuf h = {
        .hdr = {VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
                htole16(54), htole16(1448), htole16(34), htole16(16)}};

    (void)state;
    want(NET_F_CSUM);
    want(NET_F_HOST_TSO4);
    want(NET_F_HOST_ECN);
    start();
    assert_true(sent_with(&h, 60000));
    assert_sent(0, 60000, (const uint8_t *)&h);

    h.hdr.hdr_len = htole16(0xffff); /* a hint, kept within the frame */
    assert_true(sent_with(&h, 2000));
    h.hdr.hdr_len = htole16(2000);
    assert_sent(0, 2000, (const uint8_t *)&h);

    h.hdr.flags = 0xf0; /* unknown flags are ignored, and without NEEDS_CSUM, what goes with it */
    h.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
    assert_true(sent_with(&h, 1000));
    h = (struct virtio_net_hdr_mrg_rxbuf){0};
    assert_sent(0, 1000, (const uint8_t *)&h);
}

/* NET-12 */
static void test_mtu(void **state)
{
    struct virtio_net_hdr_mrg_rxbuf h = {0};

    (void)state;
    net_card_destroy(&card);
    card = (struct net_card){0};
    card.host.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4;
    card.options.mtu = 1500;
    assert_int_equal(net_card_create(&card, 1, NULL), 0);
    want(NET_F_MTU);
    want(NET_F_CSUM);
    want(NET_F_HOST_TSO4);
    start();
    assert_true(sent_with(&h, 1514));
    assert_false(sent_with(&h, 1515)); /* DRV-NET-10 */
    h.hdr = (struct virtio_net_hdr){VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    VIRTIO_NET_HDR_GSO_TCPV4,
                                    0,
                                    htole16(1448),
                                    htole16(34),
                                    htole16(16)};
    assert_true(sent_with(&h, 9000)); /* segments will be short enough */
}

/* NET-12, DRV-NET-10: a VLAN tag comes on top. */
static void test_mtu_with_tag(void **state)
{
    static const uint8_t zero[12];
    uint64_t at;

    (void)state;
    net_card_destroy(&card);
    card = (struct net_card){0};
    card.options.mtu = 1500;
    assert_int_equal(net_card_create(&card, 1, NULL), 0);
    want(NET_F_MTU);
    start();
    at = add(TX, zero, 12, 1518, SIZE_MAX);
    memcpy(net_card_at(&card, at + 24, 2), "\x81\x00", 2);
    at = add(TX, zero, 12, 1519, SIZE_MAX);
    memcpy(net_card_at(&card, at + 24, 2), "\x81\x00", 2);
    net_card_kick(&card, TX);
    assert_int_equal(collect(TX), 2);
    assert_int_equal(card.host.sent[0].count, 1);
}

/* More pieces than a system call takes (RING-08). */
static void test_many_pieces(void **state)
{
    static const uint8_t zero[12];

    (void)state;
    card.queue_size = 2048;
    start();
    add(TX, zero, 12, 1011, 1);
    add(TX, zero, 12, 1012, 1);
    net_card_kick(&card, TX);
    assert_sent(0, 1011, zero);
    assert_sent(0, 1012, zero);
    assert_true(card.host.most_iovecs <= 1024);
}

/* --- frames that break a rule ----------------------------------------------------------------- */

struct bad {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
    bool sent;
};

static void try_headers(const struct bad *rows, size_t count, size_t length)
{
    for (size_t i = 0; i < count; i++) {
        struct virtio_net_hdr_mrg_rxbuf h = {
            .hdr = {rows[i].flags, rows[i].gso_type, htole16(rows[i].hdr_len),
                    htole16(rows[i].gso_size), htole16(rows[i].csum_start),
                    htole16(rows[i].csum_offset)}};

        if (sent_with(&h, length) != rows[i].sent)
            fail_msg("row %zu: %s", i, rows[i].sent ? "dropped" : "sent");
    }
}

/* DRV-NET-03, DRV-NET-04, DRV-NET-06, DRV-NET-09, NET-18, NET-20 */
static void test_nothing_negotiated(void **state)
{
    static const struct bad rows[] = {
        {1, 0, 0, 0, 0, 0, false},        {1, 0, 0, 0, 14, 2, false},
        {0, 1, 54, 100, 0, 0, false},     {1, 1, 54, 100, 34, 16, false},
        {0, 3, 0, 100, 0, 0, false},      {0, 5, 0, 100, 0, 0, false},
        {0, 2, 0, 100, 0, 0, false},      {0, 0x7f, 0, 100, 0, 0, false},
        {0, 0x20, 0, 100, 0, 0, false},   {0, 0x60, 0, 100, 0, 0, false},
        {0, 0x41, 0, 100, 0, 0, false},   {2, 0, 0, 0, 0, 0, true},
        {4, 0, 0, 0, 0, 0, true},         {8, 0, 0, 0, 0, 0, true},
        {0, 0, 0, 0, 60000, 60000, true}, /* NET-18: unused */
    };

    (void)state;
    start();
    try_headers(rows, ARRAY_SIZE(rows), 200);
}

/* DRV-NET-04, DRV-NET-05, DRV-NET-07, DRV-NET-26, NET-22 */
static void test_bad_offloads(void **state)
{
    static const struct bad rows[] = {
        {1, 1, 54, 100, 34, 16, true},     {1, 4, 74, 100, 54, 16, true},
        {1, 3, 42, 100, 34, 6, true},      {1, 5, 42, 100, 34, 6, true},
        {0, 1, 54, 100, 34, 16, false},    {1, 1, 54, 0, 34, 16, false},
        {1, 0x81, 54, 100, 34, 16, false}, /* no HOST_ECN */
        {1, 2, 54, 100, 34, 16, false},    {1, 0, 0, 0, 182, 16, true},
        {1, 0, 0, 0, 183, 16, false},      {1, 0, 0, 0, 0xffff, 0xffff, false},
        {1, 0, 0, 0, 0, 199, false},       {1, 0x80, 0, 0, 34, 16, true},
    };

    (void)state;
    want(NET_F_CSUM);
    want(NET_F_HOST_TSO4);
    want(NET_F_HOST_TSO6);
    want(NET_F_HOST_UFO);
    want(NET_F_HOST_USO);
    start();
    try_headers(rows, ARRAY_SIZE(rows), 200);
}

/* DRV-NET-08, NET-19 */
static void test_exact_header_length(void **state)
{
    static const struct bad rows[] = {
        {1, 1, 54, 100, 34, 16, true}, {1, 1, 53, 100, 34, 16, false},
        {1, 1, 0, 100, 34, 16, false}, {1, 1, 201, 100, 34, 16, false},
        {1, 5, 42, 100, 34, 6, true},  {1, 5, 41, 100, 34, 6, false},
        {1, 0, 999, 0, 34, 16, true}, /* no segments */
    };

    (void)state;
    want(NET_F_CSUM);
    want(NET_F_HOST_TSO4);
    want(NET_F_HOST_USO);
    want(NET_F_GUEST_HDRLEN);
    start();
    try_headers(rows, ARRAY_SIZE(rows), 200);
}

/* DRV-NET-01, DRV-NET-02, DRV-NET-29, NET-22 */
static void test_bad_chains(void **state)
{
    struct virtio_net_hdr_mrg_rxbuf h = {0};
    struct ring_element e[2];
    uint64_t at;

    (void)state;
    start();
    for (size_t length = 1; length < 12; length++)
        add(TX, &h, length, 0, SIZE_MAX);
    for (size_t length = 0; length < 14; length++)
        add(TX, &h, 12, length, SIZE_MAX);
    add(TX, &h, 12, NET_FRAME_MAX + 1, SIZE_MAX);
    at = net_card_alloc(&card, 200);
    e[0] = (struct ring_element){at, 0, false}; /* empty */
    ring_add(&card.rings[TX], e, 1, RING_DIRECT);
    e[0] = (struct ring_element){at, 100, false};
    e[1] = (struct ring_element){at + 100, 100, true};
    ring_add(&card.rings[TX], e, 2, RING_DIRECT);
    net_card_kick(&card, TX);
    assert_int_equal(collect(TX), 11 + 14 + 3);
    assert_int_equal(card.host.sends, 0);
    assert_false(card.needs_reset);

    h.num_buffers = htole16(1); /* bent only */
    assert_true(sent_with(&h, 100));
    h.num_buffers = 0;
    assert_true(sent_with(&h, NET_FRAME_MAX));
}

/* --- flow ------------------------------------------------------------------------------------- */

/* A host side that is full keeps frames in their order, and asks for no notifications meanwhile. */
static void test_back_pressure(void **state)
{
    static const uint8_t zero[12];

    (void)state;
    start();
    card.host.busy = true;
    for (size_t i = 0; i < 5; i++)
        add(TX, zero, 12, 100 + i, SIZE_MAX);
    net_card_kick(&card, TX);
    assert_int_equal(collect(TX), 0);
    assert_int_equal(card.host.sends, 1);
    assert_false(ring_wants_kick(&card.rings[TX]));
    add(TX, zero, 12, 105, SIZE_MAX);
    net_card_kick(&card, TX);
    assert_int_equal(card.host.sends, 1); /* not tried again before it is time */
    fake_net_writable(&card.host);
    net_card_serve(&card);
    assert_int_equal(collect(TX), 6);
    for (size_t i = 0; i < 6; i++)
        assert_sent(0, 100 + i, zero);
    wait_for_look();
    assert_true(kick_wanted(1));
}

/* STAT-07: what waits for the host side is given back when the queue stops, and sent when it is
 * taken up there again. */
static void test_stop_while_blocked(void **state)
{
    static const uint8_t zero[12];
    struct virtqueue_position at;

    (void)state;
    start();
    add(TX, zero, 12, 100, SIZE_MAX);
    net_card_kick(&card, TX);
    card.host.busy = true;
    add(TX, zero, 12, 101, SIZE_MAX);
    net_card_kick(&card, TX);
    at = net_card_stop_queue(&card, TX);
    assert_int_equal(at.avail, 1);
    assert_int_equal(at.used, 1);
    fake_net_writable(&card.host); /* nobody is there */
    net_card_serve(&card);
    assert_int_equal(card.host.sent[0].count, 1);
    net_card_start_queue(&card, TX, at);
    net_card_kick(&card, TX);
    assert_sent(0, 100, zero);
    assert_sent(0, 101, zero);
}

/* NET-09: without a link, frames are dropped. */
static void test_link_down(void **state)
{
    struct virtio_net_hdr_mrg_rxbuf h = {0};

    (void)state;
    start();
    card.backend->ops->command(card.backend, "link", "down", NULL);
    assert_false(sent_with(&h, 100));
    card.backend->ops->command(card.backend, "link", "up", NULL);
    assert_true(sent_with(&h, 100));
}

/* NET-36, DRV-NET-15 */
static void test_queue_not_in_use(void **state)
{
    static const uint8_t zero[12];

    (void)state;
    want(NET_F_CTRL_VQ);
    want(NET_F_MQ);
    start();
    add(3, zero, 12, 100, SIZE_MAX);
    net_card_kick(&card, 3);
    assert_int_equal(collect(3), 1);
    assert_int_equal(card.host.sends, 0);
    assert_int_equal(net_card_command(&card, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
                                      "\x02\x00", 2, NULL, NULL),
                     VIRTIO_NET_OK);
    add(3, zero, 12, 100, SIZE_MAX);
    net_card_kick(&card, 3);
    assert_int_equal(collect(3), 1);
    assert_sent(1, 100, zero);
}

/* A guest that fills its ring does not hold the loop: other work gets its turn. */
static void test_turns_are_bounded(void **state)
{
    static const uint8_t zero[12];

    (void)state;
    card.queue_size = 2048;
    start();
    for (int i = 0; i < 2000; i++)
        add(TX, zero, 12, 20, SIZE_MAX);
    ring_publish(&card.rings[TX]);
    eventfd_t one = 1;
    assert_int_equal(write(card.kicks[TX], &one, sizeof(one)), sizeof(one));
    net_card_turn(&card);
    assert_in_range(card.host.sends, 1, 512);
    net_card_serve(&card);
    assert_int_equal(card.host.sends, 2000);
}

/* --- looks at the queue by a timer ------------------------------------------------------------ */

/* EVT-05, EVT-06: a guest that sends without pause kicks once, until it does pause. */
static void test_stream(void **state)
{
    (void)state;
    start();
    assert_true(kick_wanted(1));
    kick_once();
    for (unsigned i = 1; i <= 20; i++) {
        assert_false(kick_wanted(i == 20 ? 100 : 3)); /* and looks do not become rare */
        wait_for_look();
        assert_int_equal(collect(TX), i == 1 ? 4 : i == 20 ? 100 : 3);
    }
    wait_for_look(); /* for nothing */
    assert_true(kick_wanted(1));
    kick_once();
    assert_int_equal(card.host.sends, 159);
}

/* Frames of a guest that waits for an answer to each rarely have to wait for the timer... */
static void test_looks_become_rare(void **state)
{
    unsigned looks = 0;

    (void)state;
    start();
    for (unsigned i = 1; i <= 200; i++) {
        if (kick_wanted(1)) {
            kick_once();
        } else {
            looks++;
            wait_for_look();
        }
        assert_int_equal(card.host.sends, i);
        assert_int_equal(collect(TX), 1);
    }
    assert_in_range(looks, 1, 10);
    /* ...and when it sends a stream, that is found out. */
    for (looks = 0; kick_wanted(4); looks++)
        kick_once();
    assert_in_range(looks, 1, 64);
}

/* STAT-07: the queue stops while the timer runs, which is over by that, also for a next start. */
static void test_stop_before_look(void **state)
{
    struct virtqueue_position at;
    eventfd_t kicks;

    (void)state;
    start();
    assert_true(kick_wanted(1));
    kick_once();
    assert_false(kick_wanted(1));
    at = net_card_stop_queue(&card, TX);
    assert_int_equal(at.avail, 1);
    eventfd_read(card.kicks[TX], &kicks); /* of before */
    net_card_start_queue(&card, TX, at);
    wait_for_look();
    assert_int_equal(card.host.sends, 1);
    kick_once();
    assert_int_equal(card.host.sends, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_plain),
        TEST(test_header_with_hash),
        TEST(test_header_of_legacy),
        TEST(test_header_is_passed_on),
        TEST(test_mtu),
        TEST(test_mtu_with_tag),
        TEST(test_many_pieces),
        TEST(test_nothing_negotiated),
        TEST(test_bad_offloads),
        TEST(test_exact_header_length),
        TEST(test_bad_chains),
        TEST(test_back_pressure),
        TEST(test_stop_while_blocked),
        TEST(test_link_down),
        TEST(test_queue_not_in_use),
        TEST(test_turns_are_bounded),
        TEST(test_stream),
        TEST(test_looks_become_rare),
        TEST(test_stop_before_look),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
