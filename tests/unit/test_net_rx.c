/*
 * virtio-net: frames from the host side to the guest.
 */
#include "base/bytes.h"
#include "devices/net/protocol.h"
#include "tests/unit/net_fixture.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_net.h>

#define RX        0 /* receiveq1 */
#define UNTOUCHED 0xee

static uint8_t payload[NET_FRAME_MAX + 100];

/* Buffers added, in order, as the driver remembers them. */
static struct {
    int head;
    uint64_t at;
    uint32_t size;
} added[2048];
static unsigned added_count, taken_count;

static void fill_payload(void)
{
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 256 + 1);
}

static int setup(void **state)
{
    (void)state;
    card_clear();
    added_count = taken_count = 0;
    card.options.mtu = 1500;
    card.options.mac = (char *)"02:00:00:00:00:01";
    assert_int_equal(net_card_create(&card, 2, NULL), 0);
    card.queue_size = 2048;
    fill_payload();
    return 0;
}

/* A receive buffer of `size` bytes in pieces of at most `piece`. */
static void add(size_t size, size_t piece)
{
    static struct ring_element e[1100];
    uint64_t at = net_card_alloc(&card, size);
    unsigned n = 0;

    memset(net_card_at(&card, at, size), UNTOUCHED, size);
    for (size_t done = 0; done < size; done += e[n++].length)
        e[n] = (struct ring_element){at + done, (uint32_t)MIN(piece, size - done), true};
    added[added_count].head = ring_add(&card.rings[RX], e, n, RING_DIRECT);
    assert_true(added[added_count].head >= 0);
    added[added_count].at = at;
    added[added_count++].size = (uint32_t)size;
}

static void offer(unsigned count, size_t size, size_t piece)
{
    for (unsigned i = 0; i < count; i++)
        add(size, piece);
    net_card_kick(&card, RX);
}

/* One used buffer, in the order they were added; its length. */
static uint32_t take(void)
{
    struct ring_used used;

    if (!ring_collect(&card.rings[RX], &used))
        return 0;
    assert_true(taken_count < added_count);
    assert_int_equal(used.id, added[taken_count].head);
    assert_true(used.length <= added[taken_count].size);
    taken_count++;
    return used.length;
}

/* Collect one frame with its header, over as many buffers as it says; 0: there is none. Returns the
 * number of buffers, and in *length the bytes with the header. */
static unsigned collect(uint8_t *out, size_t *length, size_t header_size)
{
    unsigned buffers = 0, wanted = 1;

    *length = 0;
    while (buffers < wanted) {
        uint32_t used = take();

        if (used == 0 && buffers == 0)
            return 0;
        assert_int_not_equal(used, 0);
        memcpy(out + *length, net_card_at(&card, added[taken_count - 1].at, used), used);
        *length += used;
        buffers++;
        if (*length < 12)
            wanted = buffers + 1;
        else if (header_size >= 12)
            wanted = load_le16(out + 10);
        if (buffers < wanted) /* NET-24: all but the last are full */
            assert_int_equal(used, added[taken_count - 1].size);
    }
    return buffers;
}

static uint8_t got[NET_FRAME_MAX + 200];

/* The next frame has this length and the usual bytes; how many buffers it took. */
static unsigned expect(size_t length, size_t header_size)
{
    size_t total;
    unsigned buffers = collect(got, &total, header_size);

    assert_int_not_equal(buffers, 0);
    assert_int_equal(total, header_size + length);
    if (memcmp(got + header_size, payload, length) != 0)
        fail_msg("the bytes of a frame of %zu are wrong", length);
    return buffers;
}

static void expect_none(void)
{
    struct ring_used used;

    assert_false(ring_collect(&card.rings[RX], &used));
}

static void host_sends(const void *header, size_t length)
{
    fake_net_add(&card.host, 0, header, payload, length);
    net_card_serve(&card);
}

/* --- framing ---------------------------------------------------------------------------------- */

/* NET-14, NET-15, NET-23, RING-08, RING-10 */
static void test_one_buffer(void **state)
{
    (void)state;
    start();
    for (size_t piece = 1; piece < 40; piece++) {
        offer(1, 1526, piece + 2);
        host_sends(NULL, 60 + piece);
        assert_int_equal(expect(60 + piece, 12), 1);
        assert_int_equal(load_le16(got + 10), 1);
        assert_int_equal(*net_card_at(&card, added[added_count - 1].at + 72 + piece, 1), UNTOUCHED);
    }
    offer(1, 1526, SIZE_MAX);
    host_sends(NULL, 1514);
    assert_int_equal(expect(1514, 12), 1);
}

/* NET-16 */
static void test_legacy_header(void **state)
{
    (void)state;
    net_card_start_legacy(&card, NULL, 0);
    offer(2, 1526, 10); /* the header in a descriptor of its own (DRV-NET-23) */
    host_sends(NULL, 100);
    assert_int_equal(expect(100, 10), 1);
    host_sends(NULL, 1514);
    assert_int_equal(expect(1514, 10), 1);
}

/* NET-15 */
static void test_header_with_hash(void **state)
{
    (void)state;
    want(NET_F_CTRL_VQ);
    want(NET_F_HASH_REPORT);
    start();
    offer(1, 1600, 7);
    host_sends(NULL, 100);
    assert_int_equal(expect(100, 20), 1);
    assert_int_equal(load_le16(got + 10), 1);
    assert_int_equal(load_le64(got + 12), 0); /* NETC-11: no types yet */
}

/* NET-30: a frame that is too long for its buffer is not cut. */
static void test_too_long(void **state)
{
    (void)state;
    start();
    offer(2, 112, SIZE_MAX);
    host_sends(NULL, 101);
    host_sends(NULL, 1514);
    host_sends(NULL, 100);
    assert_int_equal(expect(100, 12), 1);
    host_sends(NULL, 99);
    assert_int_equal(expect(99, 12), 1);
}

/* NET-23, NET-24: sizes around the edges of buffers, in any layout. */
static void test_merged(void **state)
{
    static const size_t sizes[] = {100, 112, 128, 1500, 4096};
    static const size_t lengths[] = {14, 87, 88, 89, 100, 115, 116, 117, 216, 1000, 1514};

    (void)state;
    want(NET_F_MRG_RXBUF);
    start();
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
        for (size_t l = 0; l < ARRAY_SIZE(lengths); l++) {
            size_t need = 12 + lengths[l];

            for (size_t piece = 1; piece < 8; piece += 3) {
                offer((unsigned)((need + sizes[s] - 1) / sizes[s]), sizes[s], 50 * piece);
                host_sends(NULL, lengths[l]);
                assert_int_equal(expect(lengths[l], 12), (need + sizes[s] - 1) / sizes[s]);
            }
        }
}

/* NET-24, NET-34: large frames, expected or not. */
static void test_merged_large(void **state)
{
    static const uint8_t gso[NET_HEADER_SIZE] = {1, 1, 54, 0, 100, 5, 34, 0, 16, 0};

    (void)state;
    want(NET_F_MRG_RXBUF);
    want(NET_F_GUEST_CSUM);
    want(NET_F_GUEST_TSO4);
    start();
    for (int i = 0; i < 6; i++) { /* the first comes unexpected */
        offer(43, 1536, SIZE_MAX);
        host_sends(gso, 65550);
        assert_int_equal(expect(65550, 12), 43);
        assert_memory_equal(got, gso, 10);
    }
    offer(60, 1536, SIZE_MAX);
    for (int i = 0; i < 60; i++) { /* small ones again */
        host_sends(NULL, 64);
        assert_int_equal(expect(64, 12), 1);
    }
}

/* DRV-NET-11: against the rule, and harmless. */
static void test_merged_tiny(void **state)
{
    (void)state;
    want(NET_F_MRG_RXBUF);
    start();
    offer(200, 1, SIZE_MAX);
    host_sends(NULL, 60);
    assert_int_equal(expect(60, 12), 72);
    host_sends(NULL, 61);
    assert_int_equal(expect(61, 12), 73);
    host_sends(NULL, 61); /* 55 buffers are left: it waits for more */
    expect_none();
    offer(18, 1, SIZE_MAX);
    assert_int_equal(expect(61, 12), 73);
}

/* A frame that no ring could hold does not block those behind it. */
static void test_merged_never_fits(void **state)
{
    (void)state;
    want(NET_F_MRG_RXBUF);
    card.queue_size = 4;
    start();
    offer(4, 100, SIZE_MAX);
    host_sends(NULL, 389);
    host_sends(NULL, 388);
    assert_int_equal(expect(388, 12), 4);
}

/* --- flow ------------------------------------------------------------------------------------- */

/* No buffers: frames stay with the host side, which is not asked again and again. */
static void test_no_buffers(void **state)
{
    (void)state;
    start();
    offer(1, 1526, SIZE_MAX);
    assert_true(card.host.watching[0]);
    host_sends(NULL, 100);
    host_sends(NULL, 101);
    host_sends(NULL, 102);
    expect(100, 12);
    expect_none();
    assert_false(card.host.watching[0]);
    assert_int_equal(card.host.receives, 1);
    assert_int_equal(card.host.incoming[0].count, 2);
    offer(2, 1526, SIZE_MAX);
    expect(101, 12);
    expect(102, 12);
    expect_none();
}

static void kicks(void)
{
    start();
    offer(2, 1526, SIZE_MAX);
    ring_wants_kick(&card.rings[RX]);
    add(1526, SIZE_MAX);
    ring_publish(&card.rings[RX]);
    assert_false(ring_wants_kick(&card.rings[RX]));
    for (size_t i = 0; i < 4; i++)
        host_sends(NULL, 100 + i);
    for (size_t i = 0; i < 3; i++)
        expect(100 + i, 12);
    add(1526, SIZE_MAX);
    ring_publish(&card.rings[RX]);
    assert_true(ring_wants_kick(&card.rings[RX]));
    net_card_kick(&card, RX);
    expect(103, 12);
}

/* EVT-05: while there are buffers, new ones need not be announced; when there are none, they must.
 */
static void test_kicks(void **state)
{
    (void)state;
    kicks();
}

/* EVT-04 */
static void test_kicks_with_event_idx(void **state)
{
    (void)state;
    want(VIRTIO_F_EVENT_IDX);
    kicks();
}

/* Frames come in batches: one interrupt for many. And no more at once than the loop can bear. */
static void test_turns_are_bounded(void **state)
{
    eventfd_t one = 1;

    (void)state;
    start();
    for (int i = 0; i < 1500; i++)
        add(200, SIZE_MAX);
    for (int i = 0; i < 1500; i++)
        fake_net_add(&card.host, 0, NULL, payload, 60);
    ring_publish(&card.rings[RX]);
    assert_int_equal(write(card.kicks[RX], &one, sizeof(one)), sizeof(one));
    net_card_turn(&card);
    assert_in_range(card.host.receives, 1, 600);
    net_card_serve(&card);
    assert_int_equal(card.host.receives, 1500);
    for (int i = 0; i < 1500; i++)
        expect(60, 12);
    assert_in_range(card.interrupts[RX], 1, 100);
}

/* STAT-07: buffers that the device holds go back when the queue stops; it starts again there. */
static void test_stop_with_buffers(void **state)
{
    struct virtqueue_position at;

    (void)state;
    want(NET_F_MRG_RXBUF);
    start();
    offer(5, 100, SIZE_MAX);
    host_sends(NULL, 300); /* four buffers */
    host_sends(NULL, 301); /* waits for more */
    assert_int_equal(expect(300, 12), 4);
    at = net_card_stop_queue(&card, RX);
    assert_int_equal(at.avail, 4);
    assert_int_equal(at.used, 4);
    assert_false(card.host.watching[0]);
    net_card_start_queue(&card, RX, at);
    net_card_kick(&card, RX);
    host_sends(NULL, 50); /* the frame that waited is gone */
    assert_int_equal(expect(50, 12), 1);
}

/* DRV-NET-29, STAT-14: one without room among them is not used before those in front of it, or the
 * queue would go on with the wrong ones. */
static void test_stop_with_an_empty_buffer(void **state)
{
    const struct ring_element empty = {net_card_alloc(&card, 16), 16, false};
    struct virtqueue_position at;

    (void)state;
    want(NET_F_MRG_RXBUF);
    start();
    add(100, SIZE_MAX);
    assert_true(ring_add(&card.rings[RX], &empty, 1, RING_DIRECT) >= 0);
    offer(1, 100, SIZE_MAX);
    host_sends(NULL, 300); /* waits for more */
    at = net_card_stop_queue(&card, RX);
    assert_int_equal(at.avail, 0);
    assert_int_equal(at.used, 0);
    net_card_start_queue(&card, RX, at);
    net_card_kick(&card, RX);
    host_sends(NULL, 50);
    assert_int_equal(expect(50, 12), 1);
}

/* A reset in the middle of everything leaves nothing behind. */
static void test_reset_in_flight(void **state)
{
    (void)state;
    want(NET_F_MRG_RXBUF);
    for (int i = 0; i < 3; i++) {
        start();
        added_count = taken_count = 0;
        offer(3, 100, SIZE_MAX);
        host_sends(NULL, 400); /* held back */
        host_sends(NULL, 60);
        net_card_stop(&card);
        assert_false(card.host.watching[0]);
        net_card_serve(&card);
        while (card.host.incoming[0].first) {
            struct iovec nowhere = {payload, sizeof(payload)};

            card.host.host.ops->receive(&card.host.host, 0, &nowhere, 1);
        }
        fill_payload();
    }
}

/* DRV-NET-29: readable parts are not written to; a buffer of nothing else is no buffer. */
static void test_readable_parts(void **state)
{
    uint64_t at;
    struct ring_element e[2];

    (void)state;
    start();
    at = net_card_alloc(&card, 300);
    memset(net_card_at(&card, at, 300), UNTOUCHED, 300);
    e[0] = (struct ring_element){at, 100, false};
    e[1] = (struct ring_element){at + 100, 200, true};
    added[0].head = ring_add(&card.rings[RX], e, 2, RING_DIRECT);
    added[0].at = at + 100;
    added[0].size = 200;
    added_count = 1;
    net_card_kick(&card, RX);
    host_sends(NULL, 60);
    expect(60, 12);
    for (int i = 0; i < 100; i++)
        assert_int_equal(*net_card_at(&card, at + i, 1), UNTOUCHED);
    assert_false(card.needs_reset);
}

/* DRV-NET-29, DRV-RING-13: what no frame fits into is given back. */
static void test_no_room(void **state)
{
    uint64_t at;
    struct ring_element e;

    (void)state;
    start();
    at = net_card_alloc(&card, 100);
    e = (struct ring_element){at, 100, false};
    ring_add(&card.rings[RX], &e, 1, RING_DIRECT);
    e = (struct ring_element){at, 0, true};
    ring_add(&card.rings[RX], &e, 1, RING_DIRECT);
    net_card_kick(&card, RX);
    for (int i = 0; i < 2; i++) {
        struct ring_used used;

        assert_true(ring_collect(&card.rings[RX], &used));
        assert_int_equal(used.length, 0);
    }
    offer(1, 200, SIZE_MAX);
    host_sends(NULL, 60);
    expect(60, 12);
}

/* A broken ring is found also when the host side has the word. */
static void test_broken_ring(void **state)
{
    (void)state;
    start();
    offer(1, 1526, SIZE_MAX);
    ring_offer(&card.rings[RX], 3000); /* DRV-RING-03 */
    ring_publish(&card.rings[RX]);
    host_sends(NULL, 60);
    expect(60, 12);
    host_sends(NULL, 60);
    assert_true(card.needs_reset);
    assert_false(card.host.watching[0]); /* or it would call for ever */
    host_sends(NULL, 60);
    expect_none();
}

/* --- what the guest takes --------------------------------------------------------------------- */

struct offered {
    uint8_t flags, gso_type;
    uint16_t gso_size, csum_start, csum_offset;
    bool taken;
    uint8_t flags_seen;
};

static void try_headers(const struct offered *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t header[NET_HEADER_SIZE] = {rows[i].flags, rows[i].gso_type, 54};
        size_t total;

        store_le16(header + 4, rows[i].gso_size);
        store_le16(header + 6, rows[i].csum_start);
        store_le16(header + 8, rows[i].csum_offset);
        host_sends(header, 200);
        if ((collect(got, &total, 12) > 0) != rows[i].taken)
            fail_msg("row %zu: %s", i, rows[i].taken ? "dropped" : "delivered");
        if (rows[i].taken) {
            assert_int_equal(got[0], rows[i].flags_seen);
            assert_int_equal(got[1], rows[i].gso_type);
            offer(1, 1526, SIZE_MAX);
        }
    }
}

/* NET-25, NET-26, NET-27, NET-28, NET-29, NET-31 */
static void test_offloads_not_taken(void **state)
{
    static const struct offered rows[] = {
        {0, 0, 0, 0, 0, true, 0},     {2, 0, 0, 0, 0, true, 0},       {4, 0, 0, 0, 0, true, 0},
        {1, 0, 0, 34, 16, false, 0},  {1, 1, 1448, 34, 16, false, 0}, {0, 1, 1448, 0, 0, false, 0},
        {0, 0x20, 0, 0, 0, false, 0}, {0, 0x80, 0, 0, 0, false, 0},
    };

    (void)state;
    start();
    assert_int_equal(card.host.guest_offloads, 0);
    offer(1, 1526, SIZE_MAX);
    try_headers(rows, ARRAY_SIZE(rows));
}

/* NET-17, NET-25, NET-26, NET-27 */
static void test_offloads_taken(void **state)
{
    static const struct offered rows[] = {
        {0, 0, 0, 0, 0, true, 0},       {2, 0, 0, 0, 0, true, 2},
        {4, 0, 0, 0, 0, true, 0}, /* NET-28: RSC_INFO never */
        {1, 0, 0, 34, 16, true, 1},     {1, 0, 0, 190, 16, false, 0},
        {1, 1, 1448, 34, 16, true, 1},  {1, 0x81, 1448, 34, 16, true, 1},
        {0, 1, 1448, 34, 16, false, 0}, {1, 1, 0, 34, 16, false, 0},
        {1, 4, 1448, 34, 16, false, 0}, {1, 3, 1448, 34, 6, false, 0},
        {1, 5, 1448, 34, 6, true, 1},   {1, 0x21, 1448, 34, 6, false, 0},
    };

    (void)state;
    want(NET_F_GUEST_CSUM);
    want(NET_F_GUEST_TSO4);
    want(NET_F_GUEST_ECN);
    want(NET_F_GUEST_USO4);
    start();
    assert_int_equal(card.host.guest_offloads,
                     NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_ECN | NET_OFFLOAD_USO4);
    offer(1, 1526, SIZE_MAX);
    try_headers(rows, ARRAY_SIZE(rows));
}

/* NET-12 */
static void test_mtu(void **state)
{
    static const uint8_t gso[NET_HEADER_SIZE] = {1, 1, 54, 0, 100, 5, 34, 0, 16, 0};

    (void)state;
    want(NET_F_MTU);
    want(NET_F_GUEST_CSUM);
    want(NET_F_GUEST_TSO4);
    start();
    offer(4, 4000, SIZE_MAX);
    host_sends(NULL, 1515);
    expect_none();
    host_sends(NULL, 1514);
    expect(1514, 12);
    host_sends(gso, 3000);
    expect(3000, 12);
    memcpy(payload + 12, "\x81\x00", 2); /* a tag comes on top */
    host_sends(NULL, 1519);
    expect_none();
    host_sends(NULL, 1518);
    expect(1518, 12);
}

/* Too short for a frame, or for anything. */
static void test_runts(void **state)
{
    (void)state;
    start();
    offer(1, 1526, SIZE_MAX);
    host_sends(NULL, 0);
    host_sends(NULL, 13);
    expect_none();
    host_sends(NULL, 14);
    expect(14, 12);
}

/* NET-09: without a link nothing comes, and nothing of the time without it comes later. */
static void test_link_down(void **state)
{
    (void)state;
    start();
    offer(2, 1526, SIZE_MAX);
    card.backend->ops->command(card.backend, "link", "down", NULL);
    host_sends(NULL, 100);
    host_sends(NULL, 101);
    expect_none();
    card.backend->ops->command(card.backend, "link", "up", NULL);
    host_sends(NULL, 102);
    expect(102, 12);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_one_buffer),
        TEST(test_legacy_header),
        TEST(test_header_with_hash),
        TEST(test_too_long),
        TEST(test_merged),
        TEST(test_merged_large),
        TEST(test_merged_tiny),
        TEST(test_merged_never_fits),
        TEST(test_no_buffers),
        TEST(test_kicks),
        TEST(test_kicks_with_event_idx),
        TEST(test_turns_are_bounded),
        TEST(test_stop_with_buffers),
        TEST(test_stop_with_an_empty_buffer),
        TEST(test_reset_in_flight),
        TEST(test_readable_parts),
        TEST(test_no_room),
        TEST(test_broken_ring),
        TEST(test_offloads_not_taken),
        TEST(test_offloads_taken),
        TEST(test_mtu),
        TEST(test_runts),
        TEST(test_link_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
