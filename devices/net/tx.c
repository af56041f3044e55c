/*
 * Transmission (5.1.9.2): frames go from guest memory to the host side as they are, with a header
 * of ours that was checked.
 *
 * A guest that sends without pause is mostly served faster than it sends, and would kick for each
 * frame: an exit of its processor, a wake-up of ours, often on the same processor. So when a queue
 * is empty, kicks stay off and a timer has us look at it again. That goes on while each look finds
 * a stream of frames. Looks that find less, as when the guest waits for an answer to each frame,
 * make the next ones rare, since such a frame has been waiting for the timer.
 */
#include "devices/net/state.h"

#include <errno.h>

/* The header, then the guest's iovecs without theirs. The number of iovecs. */
static unsigned gather(const struct virtqueue_buffer *buffer, size_t skip, struct iovec *iov)
{
    unsigned count = 1;

    for (unsigned i = 0; i < buffer->readable_count; i++) {
        const struct iovec *part = &buffer->readable[i];

        if (skip >= part->iov_len) {
            skip -= part->iov_len;
            continue;
        }
        iov[count++] = (struct iovec){(uint8_t *)part->iov_base + skip, part->iov_len - skip};
        skip = 0;
    }
    return count;
}

static int send(struct net_tx *tx, const struct virtqueue_buffer *buffer, uint8_t *header)
{
    struct net *net = tx->queue.net;
    size_t skip = net->header_size;
    struct iovec *iov = net->tx_iov;
    unsigned count;

    iov[0] = (struct iovec){header, NET_HEADER_SIZE};
    if (buffer->readable_count < NET_IOV_MAX) {
        count = gather(buffer, skip, iov);
    } else { /* more pieces than a system call takes */
        iov[1] = (struct iovec){
            net->linear, virtqueue_read(buffer, skip, net->linear, buffer->readable_bytes - skip)};
        count = 2;
    }
    return net->host->ops->send(net->host, net_host_pair(net, tx->pair), iov, count);
}

/* 0 when the buffer is done with, -EAGAIN when its frame must wait. */
static int transmit(struct net_tx *tx, const struct virtqueue_buffer *buffer)
{
    struct net *net = tx->queue.net;
    struct net_stats *stats = &tx->queue.stats;
    uint8_t header[NET_HEADER_SIZE];
    int ret;

    if (!net_header_from_guest(net, buffer, header)) {
        stats->drops++;
        stats->drop_malformed++;
        return 0;
    }
    if (tx->pair >= net->pairs) { /* NET-36 */
        NET_COMPLAIN(net, "DRV-NET-15", "a frame in a queue that is not in use: dropped");
        stats->drops++;
        return 0;
    }
    if (!net_link_is_up(net)) {
        stats->drops++;
        return 0;
    }
    ret = send(tx, buffer, header);
    if (ret == 0)
        net_stats_count(stats, header, buffer->readable_bytes - net->header_size);
    return ret;
}

/* Transmit what is there; how many frames and bytes that was. As net_tx_run. */
static int drain(struct net_tx *tx, unsigned *frames, uint64_t *bytes)
{
    struct virtqueue *ring = tx->queue.ring;
    struct virtqueue_buffer *buffer;
    int ret;

    *frames = 0;
    *bytes = 0;
    while ((ret = virtqueue_pop(ring, &buffer)) > 0) {
        if (transmit(tx, buffer) == -EAGAIN) {
            virtqueue_unpop(ring, buffer);
            tx->blocked = true;
            ret = VIRTIO_QUEUE_QUIET;
            break;
        }
        *frames += 1;
        *bytes += buffer->readable_bytes;
        virtqueue_push(ring, buffer, 0);
        net_queue_pushed(&tx->queue, buffer->readable_bytes);
    }
    net_queue_publish(&tx->queue);
    return ret;
}

static struct loop *tx_loop(const struct net_tx *tx)
{
    return virtio_builtin_loop(tx->queue.net->builtin);
}

/* A look is over. */
static void judge_look(struct net_tx *tx, bool stream)
{
    loop_timer_cancel(tx_loop(tx), &tx->look);
    tx->looking = false;
    tx->looks_failed = stream ? 0 : MIN(2 * tx->looks_failed + 1, NET_LOOKS_SKIPPED);
    tx->looks_to_skip = tx->looks_failed;
}

/* The queue is empty, after so many frames and bytes: whether the timer has us look at it again. */
static bool start_look(struct net_tx *tx, unsigned frames, uint64_t bytes)
{
    bool burst = frames > tx->queue.ring->size / 4u || bytes > NET_BURST_BYTES;

    if (frames == 0)
        return false;
    if (tx->looks_to_skip > 0) {
        tx->looks_to_skip--;
        return false;
    }
    tx->looking = true;
    loop_timer_set(tx_loop(tx), &tx->look, burst ? NET_LOOK_NS / 4 : NET_LOOK_NS);
    return true;
}

static void look(struct loop_timer *timer)
{
    struct net_tx *tx = container_of(timer, struct net_tx, look);

    virtio_builtin_kick(tx->queue.net->builtin, tx->queue.ring);
}

int net_tx_run(struct net_tx *tx)
{
    unsigned frames;
    uint64_t bytes;
    int ret;

    if (tx->blocked)
        return VIRTIO_QUEUE_QUIET;
    ret = drain(tx, &frames, &bytes);
    if (tx->looking)
        judge_look(tx, frames >= NET_STREAM_FRAMES || bytes >= NET_STREAM_BYTES);
    if (ret == 0 && !virtqueue_budget_spent(tx->queue.ring) && start_look(tx, frames, bytes))
        ret = VIRTIO_QUEUE_QUIET;
    return ret;
}

void net_tx_drain(struct net_tx *tx)
{
    if (tx->looking)
        judge_look(tx, false);
    tx->blocked = false;
    net_queue_stop(&tx->queue);
}

void net_tx_init(struct net_tx *tx, struct net *net, unsigned pair)
{
    net_queue_init(&tx->queue, net, (uint16_t)(2 * pair + 1));
    tx->pair = pair;
    tx->look.expired = look;
}
