/*
 * Transmission (5.1.9.2): frames go from guest memory to the host side as they are, with a header
 * of ours that was checked.
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
    return net->host->ops->send(net->host, tx->pair, iov, count);
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

int net_tx_run(struct net_tx *tx)
{
    struct virtqueue *ring = tx->queue.ring;
    struct virtqueue_buffer *buffer;
    int ret;

    if (tx->blocked)
        return VIRTIO_QUEUE_QUIET;
    while ((ret = virtqueue_pop(ring, &buffer)) > 0) {
        if (transmit(tx, buffer) == -EAGAIN) {
            virtqueue_unpop(ring, buffer);
            tx->blocked = true;
            ret = VIRTIO_QUEUE_QUIET;
            break;
        }
        virtqueue_push(ring, buffer, 0);
        net_queue_pushed(&tx->queue, buffer->readable_bytes);
    }
    net_queue_publish(&tx->queue);
    return ret;
}
