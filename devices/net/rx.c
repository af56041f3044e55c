/*
 * Reception (5.1.9.3, 5.1.9.4): frames are read from the host side right into the guest's buffers.
 *
 *     iov:  | header | buffer 0 behind its header | buffer 1 | ... | spill |
 *
 * Small frames are the rule in some traffic and large ones in other, and iovecs cost time: so one
 * buffer is offered while frames are small and all that a frame can need when they are large. A
 * frame that is larger than expected runs over into `spill`, and is copied into more buffers. When
 * there are none it is held back until there are.
 */
#include "devices/net/state.h"

#include <errno.h>
#include <stdlib.h>

/* So many small frames in a row, and no large ones are expected any more. */
#define LARGE_FRAMES 16

/* How long the frames of all queues wait for one that has no buffers. Long, since its guest's
 * processor may just not be run, and short enough for connections to outlive it. */
#define PATIENCE_NS (1000 * UINT64_C(1000000))

/* --- the window of buffers -------------------------------------------------------------------- */

static struct virtqueue_buffer *window_at(const struct net_rx *rx, unsigned i)
{
    unsigned slot = rx->window_first + i;

    return rx->window[slot < rx->window_size ? slot : slot - rx->window_size];
}

static void window_add(struct net_rx *rx, struct virtqueue_buffer *buffer)
{
    unsigned slot = rx->window_first + rx->window_count;

    if (buffer->readable_bytes > 0)
        NET_COMPLAIN(rx->queue.net, "DRV-NET-29", "a receive buffer has readable parts (unused)");
    if (buffer->writable_bytes == 0)
        NET_COMPLAIN(rx->queue.net, "DRV-NET-29", "a receive buffer without room (unused)");
    else if (buffer->writable_bytes < rx->queue.net->header_size)
        NET_COMPLAIN(rx->queue.net, "DRV-NET-11", "a receive buffer too short for a header");
    rx->window[slot < rx->window_size ? slot : slot - rx->window_size] = buffer;
    rx->window_count++;
    rx->window_bytes += buffer->writable_bytes;
}

static void window_drop_first(struct net_rx *rx)
{
    rx->window_bytes -= window_at(rx, 0)->writable_bytes;
    rx->window_first = rx->window_first + 1 < rx->window_size ? rx->window_first + 1 : 0;
    rx->window_count--;
}

/* Buffers without room go back, but not before those in front of them: what is in the window can
 * only be taken back as a whole (net_rx_drain). */
static void window_return_empty(struct net_rx *rx)
{
    while (rx->window_count > 0 && window_at(rx, 0)->writable_bytes == 0) {
        struct virtqueue_buffer *buffer = window_at(rx, 0);

        window_drop_first(rx);
        virtqueue_push(rx->queue.ring, buffer, 0);
    }
}

/* Have at least one buffer and `bytes` bytes in the window. 1, 0 when the ring does not hold as
 * many, or a negative errno. */
static int window_fill(struct net_rx *rx, uint64_t bytes)
{
    for (;;) {
        struct virtqueue_buffer *buffer;
        int ret;

        window_return_empty(rx);
        if (rx->window_count > 0 && rx->window_bytes >= bytes)
            return 1;
        if (rx->window_count == rx->window_size)
            return 0;
        ret = virtqueue_pop(rx->queue.ring, &buffer);
        if (ret <= 0)
            return ret;
        window_add(rx, buffer);
    }
}

/* Copy into the window, as if its buffers were one, from byte `offset` on. */
static void window_write(struct net_rx *rx, size_t offset, const uint8_t *data, size_t len)
{
    for (unsigned i = 0; i < rx->window_count && len > 0; i++) {
        const struct virtqueue_buffer *buffer = window_at(rx, i);
        size_t done;

        if (offset >= buffer->writable_bytes) {
            offset -= buffer->writable_bytes;
            continue;
        }
        done = virtqueue_write(buffer, offset, data, len);
        data += done;
        len -= done;
        offset = 0;
    }
}

/* --- reading a frame -------------------------------------------------------------------------- */

/* Frames come in on the first queue's host side and the device picks the queue they go to. */
static bool spreads(const struct net *net)
{
    return net->hashing.spreads;
}

static bool merges(const struct net *net)
{
    return net_has(net, NET_F_MRG_RXBUF);
}

/* Add the writable parts of a buffer behind its first `skip` bytes; how many of those are left for
 * the next one. */
static size_t offer_buffer(struct net_rx *rx, const struct virtqueue_buffer *buffer, size_t skip)
{
    for (unsigned i = 0; i < buffer->writable_count && rx->iov_count < NET_IOV_MAX - 1; i++) {
        const struct iovec *part = &buffer->writable[i];

        if (skip >= part->iov_len) {
            skip -= part->iov_len;
            continue;
        }
        rx->iov[rx->iov_count++] =
            (struct iovec){(uint8_t *)part->iov_base + skip, part->iov_len - skip};
        rx->direct += part->iov_len - skip;
        skip = 0;
    }
    return skip;
}

/* Lay out where the next frame goes. */
static void offer(struct net_rx *rx)
{
    const struct net *net = rx->queue.net;
    unsigned buffers = spreads(net) ? 0 : rx->expect_large && merges(net) ? rx->window_count : 1;
    size_t skip = net->header_size;

    rx->iov[0] = (struct iovec){rx->header, NET_HEADER_SIZE};
    rx->iov_count = 1;
    rx->direct = 0;
    for (unsigned i = 0; i < MIN(buffers, rx->window_count); i++)
        skip = offer_buffer(rx, window_at(rx, i), skip);
    rx->iov[rx->iov_count++] = (struct iovec){rx->spill, NET_FRAME_MAX};
}

/* Copy the first bytes of the frame just read, which may lie in guest memory. */
static size_t peek(const struct net_rx *rx, size_t length, uint8_t *data, size_t len)
{
    size_t done = 0;

    len = MIN(len, length);
    for (unsigned i = 1; i < rx->iov_count && done < len; i++) {
        size_t n = MIN(len - done, rx->iov[i].iov_len);

        memcpy(data + done, rx->iov[i].iov_base, n);
        done += n;
    }
    return done;
}

/* --- delivering it ---------------------------------------------------------------------------- */

/* Use up the buffers of a frame of `bytes` bytes with its header; how many there were (NET-24). */
static uint16_t push_frame(struct net_rx *rx, size_t bytes)
{
    uint16_t count = 0;

    do {
        struct virtqueue_buffer *buffer = window_at(rx, 0);
        uint32_t written = (uint32_t)MIN(bytes, buffer->writable_bytes);

        window_drop_first(rx);
        virtqueue_push(rx->queue.ring, buffer, written);
        bytes -= written;
        count++;
    } while (bytes > 0);
    return count;
}

static uint16_t buffers_needed(const struct net_rx *rx, size_t bytes)
{
    uint16_t count = 0;

    do {
        size_t room = window_at(rx, count++)->writable_bytes;

        bytes -= MIN(bytes, room);
    } while (bytes > 0);
    return count;
}

/* The frame's place is there: complete it. */
static void deliver(struct net_rx *to, const struct net_rx *from, size_t length, uint32_t hash,
                    uint16_t report)
{
    const struct net *net = to->queue.net;
    size_t bytes = net->header_size + length;
    uint8_t header[NET_HDR_SIZE_HASH] = {0};

    if (length > from->direct)
        window_write(to, net->header_size + from->direct, from->spill, length - from->direct);
    memcpy(header, from->header, NET_HDR_NUM_BUFFERS);
    store_le16(header + NET_HDR_NUM_BUFFERS, buffers_needed(to, bytes)); /* NET-23 */
    store_le32(header + NET_HDR_HASH_VALUE, hash);
    store_le16(header + NET_HDR_HASH_REPORT, report);
    window_write(to, 0, header, net->header_size);
    net_stats_count(&to->queue.stats, header, length);
    if (push_frame(to, bytes) > 1 || length > from->direct)
        to->expect_large = LARGE_FRAMES;
    else if (to->expect_large > 0)
        to->expect_large--;
    net_queue_pushed(&to->queue, bytes);
}

/* Whether the queue has room for a frame: 1, 0 when it may have it later, -EMSGSIZE when it never
 * can, or another negative errno. */
static int make_room(struct net_rx *rx, size_t length)
{
    const struct net *net = rx->queue.net;
    size_t bytes = net->header_size + length;
    int ret = window_fill(rx, merges(net) ? bytes : 1);

    if (ret > 0 && !merges(net) && window_at(rx, 0)->writable_bytes < bytes)
        return -EMSGSIZE; /* NET-30 */
    if (ret == 0 && rx->window_count >= rx->queue.ring->size)
        return -EMSGSIZE;
    return ret;
}

static void drop(struct net_rx *rx, bool overrun)
{
    rx->queue.stats.drops++;
    if (overrun)
        rx->queue.stats.drop_overruns++;
}

/* The queue a frame goes to by receive-side scaling (NETC-10); NULL: it is not running. */
static struct net_rx *steer(struct net_rx *rx, uint32_t hash, uint16_t report)
{
    struct net *net = rx->queue.net;
    const struct net_steering *config = &net->hashing.config;
    unsigned pair;

    if (!spreads(net))
        return rx;
    pair = report == NET_HASH_REPORT_NONE ? config->unclassified
                                          : config->table[hash & config->table_mask];
    return net->rx[pair].queue.ring ? &net->rx[pair] : NULL;
}

/* Filters, hash, room. 1 when the frame is done with, 0 when it must wait for buffers, or a
 * negative errno. */
static int take_frame(struct net_rx *rx, size_t length)
{
    struct net *net = rx->queue.net;
    uint8_t start[NET_HASH_PEEK];
    uint16_t report = NET_HASH_REPORT_NONE;
    uint32_t hash = 0;
    struct net_rx *to;
    size_t seen = peek(rx, length, start, net->hashing.needed ? sizeof(start) : NET_FILTER_PEEK);
    int ret;

    if (!net_header_from_host(net, rx->header, length) ||
        (rx->header[NET_HDR_GSO_TYPE] == NET_GSO_NONE &&
         net_exceeds_mtu(net, start + 12, length)) ||
        (net->filter.active && !net_filter_wants(net, start, seen))) {
        drop(rx, false);
        return 1;
    }
    if (net->hashing.needed)
        hash = net_hash(&net->hashing, start, seen, &report);
    to = steer(rx, hash, report);
    ret = to ? make_room(to, length) : -EMSGSIZE;
    if (ret == -EMSGSIZE || (ret == 0 && to->stalled)) {
        drop(to ? to : rx, true);
        return 1;
    }
    if (ret == 0)
        rx->waits_for = to;
    if (ret > 0) {
        to->stalled = false;
        deliver(to, rx, length, hash, report);
    }
    return ret;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void watch(struct net_rx *rx, bool on)
{
    const struct net *net = rx->queue.net;

    if (rx->watching != on)
        net->host->ops->watch(net->host, rx->pair, on);
    rx->watching = on;
}

/* One frame: 1 when there was one, 0 when there are no buffers, -EAGAIN when there are no frames,
 * or another negative errno. */
static int receive(struct net_rx *rx)
{
    const struct net *net = rx->queue.net;
    size_t length = rx->held;
    int ret;

    if (!length) {
        ssize_t n;

        ret = spreads(net)
                  ? 1
                  : window_fill(
                        rx, rx->expect_large && merges(net) ? net->header_size + NET_FRAME_MAX : 1);
        if (ret < 0 || (ret == 0 && rx->window_count == 0))
            return ret;
        offer(rx);
        n = net->host->ops->receive(net->host, rx->pair, rx->iov, rx->iov_count);
        if (n < 0)
            return -EAGAIN;
        if (n <= NET_HEADER_SIZE)
            return 1;
        length = (size_t)n - NET_HEADER_SIZE;
    }
    if (!net_link_is_up(net)) {
        drop(rx, false);
        ret = 1;
    } else {
        ret = take_frame(rx, length);
    }
    rx->held = ret == 0 ? length : 0;
    return ret;
}

/* Publish what was delivered, in whichever queues that was. */
static void publish(struct net_rx *rx)
{
    struct net *net = rx->queue.net;
    bool all = spreads(net);

    for (unsigned i = all ? 0 : rx->pair; i < (all ? net->pair_count : rx->pair + 1); i++)
        if (net->rx[i].queue.unpublished > 0)
            net_queue_publish(&net->rx[i].queue);
}

static struct loop *rx_loop(const struct net_rx *rx)
{
    return virtio_builtin_loop(rx->queue.net->builtin);
}

/* There is no buffer for the next frame: the next one brings a kick. */
static void wait_for_buffers(struct net_rx *rx)
{
    struct net_rx *to = rx->waits_for ? rx->waits_for : rx;

    watch(rx, false);
    if (virtqueue_enable_kicks(to->queue.ring))
        loop_post(rx_loop(rx), &rx->more);
    else if (spreads(rx->queue.net) && !rx->patience.deadline_ns)
        loop_timer_set(rx_loop(rx), &rx->patience, PATIENCE_NS);
}

static void stop_waiting(struct net_rx *rx)
{
    rx->waits_for = NULL;
    if (rx->patience.deadline_ns)
        loop_timer_cancel(rx_loop(rx), &rx->patience);
}

/* Take frames from the host side as long as there are frames, buffers and time. Returns
 * VIRTIO_QUEUE_QUIET, or a negative errno: the ring is broken. */
static int run(struct net_rx *rx)
{
    int ret = 1;

    if (rx->pair >= net_host_pairs(rx->queue.net)) { /* NETC-08 */
        watch(rx, false);
        return VIRTIO_QUEUE_QUIET;
    }
    for (unsigned i = 0; i < NET_TURN_FRAMES && ret > 0; i++)
        ret = receive(rx);
    publish(rx);
    if (ret != 0)
        stop_waiting(rx);
    if (ret == -EAGAIN)
        watch(rx, true);
    else if (ret > 0)
        loop_post(rx_loop(rx), &rx->more);
    else if (ret == 0)
        wait_for_buffers(rx);
    else
        watch(rx, false);
    return ret < 0 && ret != -EAGAIN ? ret : VIRTIO_QUEUE_QUIET;
}

void net_rx_readable(struct net_rx *rx)
{
    if (rx->queue.ring && run(rx) < 0)
        virtio_builtin_broken(rx->queue.net->builtin, rx->queue.ring);
}

static void more(struct loop_task *task)
{
    net_rx_readable(container_of(task, struct net_rx, more));
}

/* Go on with those that wait for this queue. */
static void wake_waiting(struct net_rx *rx)
{
    struct net *net = rx->queue.net;

    for (unsigned i = 0; spreads(net) && i < net->pair_count; i++)
        if (net->rx[i].waits_for == rx && i != rx->pair)
            loop_post(rx_loop(rx), &net->rx[i].more);
}

int net_rx_kicked(struct net_rx *rx)
{
    rx->stalled = false;
    wake_waiting(rx);
    return run(rx);
}

static void patience_ended(struct loop_timer *timer)
{
    struct net_rx *rx = container_of(timer, struct net_rx, patience);

    if (rx->waits_for)
        rx->waits_for->stalled = true;
    net_rx_readable(rx);
}

void net_rx_changed(struct net_rx *rx)
{
    rx->held = 0; /* where it lies was chosen by the old rules */
    stop_waiting(rx);
    if (rx->queue.ring)
        loop_post(rx_loop(rx), &rx->more);
}

void net_rx_drain(struct net_rx *rx)
{
    if (!rx->queue.ring)
        return;
    watch(rx, false);
    wake_waiting(rx);
    stop_waiting(rx);
    loop_task_cancel(rx_loop(rx), &rx->more);
    while (rx->window_count > 0) /* the one popped last comes first */
        virtqueue_unpop(rx->queue.ring, window_at(rx, --rx->window_count));
    rx->window_bytes = 0;
    rx->held = 0;
    rx->expect_large = 0;
    rx->stalled = false;
    net_queue_stop(&rx->queue);
}

/* --- creation --------------------------------------------------------------------------------- */

int net_rx_init(struct net_rx *rx, struct net *net, unsigned pair)
{
    net_queue_init(&rx->queue, net, (uint16_t)(2 * pair));
    rx->pair = pair;
    rx->more.run = more;
    rx->patience.expired = patience_ended;
    rx->window_size = virtio_builtin_queue_size(net->builtin);
    rx->window = calloc(rx->window_size, sizeof(*rx->window));
    rx->spill = malloc(NET_FRAME_MAX);
    rx->iov = calloc(NET_IOV_MAX, sizeof(*rx->iov));
    return rx->window && rx->spill && rx->iov ? 0 : -ENOMEM;
}

void net_rx_destroy(struct net_rx *rx)
{
    free(rx->window);
    free(rx->spill);
    free(rx->iov);
}
