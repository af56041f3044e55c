#include "tests/driver/fake_net_host.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

static struct fake_net_host *fake_of(struct net_host *host)
{
    return container_of(host, struct fake_net_host, host);
}

static void queue_init(struct fake_net_queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
    queue->count = 0;
}

static void queue_add(struct fake_net_queue *queue, struct fake_net_frame *frame)
{
    frame->next = NULL;
    *queue->end = frame;
    queue->end = &frame->next;
    queue->count++;
}

static struct fake_net_frame *queue_take(struct fake_net_queue *queue)
{
    struct fake_net_frame *frame = queue->first;

    if (!frame)
        return NULL;
    queue->first = frame->next;
    if (!queue->first)
        queue->end = &queue->first;
    queue->count--;
    return frame;
}

static struct fake_net_frame *frame_new(size_t length)
{
    struct fake_net_frame *frame = calloc(1, sizeof(*frame) + length);

    if (!frame)
        abort();
    frame->length = length;
    return frame;
}

static int fake_start(struct net_host *host, struct error *err)
{
    (void)err;
    fake_of(host)->started = true;
    return 0;
}

static unsigned fake_offloads(struct net_host *host)
{
    return fake_of(host)->offloads;
}

static void fake_set_offloads(struct net_host *host, unsigned offloads)
{
    fake_of(host)->guest_offloads = offloads;
}

static void fake_set_pairs(struct net_host *host, unsigned pairs)
{
    fake_of(host)->pairs = pairs;
}

static bool fake_set_steering(struct net_host *host, const struct net_steering *steering)
{
    struct fake_net_host *fake = fake_of(host);

    fake->steers = fake->can_steer && steering;
    if (fake->steers)
        fake->steering = *steering;
    return fake->steers;
}

static int fake_send(struct net_host *host, unsigned pair, const struct iovec *iov, unsigned count)
{
    struct fake_net_host *fake = fake_of(host);
    struct fake_net_frame *frame;
    size_t length = 0;

    fake->sends++;
    if (fake->busy)
        return -EAGAIN;
    if (pair >= fake->pairs || count > 1024) /* what no host side has to take */
        abort();
    fake->most_iovecs = MAX(fake->most_iovecs, count);
    for (unsigned i = 0; i < count; i++)
        length += iov[i].iov_len;
    frame = frame_new(length);
    length = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(frame->bytes + length, iov[i].iov_base, iov[i].iov_len);
        length += iov[i].iov_len;
    }
    queue_add(&fake->sent[pair], frame);
    return 0;
}

static size_t room(const struct iovec *iov, unsigned count)
{
    size_t length = 0;

    for (unsigned i = 0; i < count; i++)
        length += iov[i].iov_len;
    return length;
}

static ssize_t fake_receive(struct net_host *host, unsigned pair, const struct iovec *iov,
                            unsigned count)
{
    struct fake_net_host *fake = fake_of(host);
    struct fake_net_frame *frame;
    size_t length = 0;

    if (count > 1024)
        abort();
    do {
        frame = queue_take(&fake->incoming[pair]);
        if (!frame)
            return -EAGAIN;
        fake->receives++;
        length = frame->length;
        if (length > room(iov, count)) {
            free(frame);
            frame = NULL;
        }
    } while (!frame);
    for (size_t at = 0; at < length; iov++) {
        size_t n = MIN(iov->iov_len, length - at);

        memcpy(iov->iov_base, frame->bytes + at, n);
        at += n;
    }
    free(frame);
    return (ssize_t)length;
}

static void fake_watch(struct net_host *host, unsigned pair, bool on)
{
    fake_of(host)->watching[pair] = on;
}

static void fake_destroy(struct net_host *host)
{
    struct fake_net_host *fake = fake_of(host);

    for (unsigned i = 0; i < FAKE_NET_PAIRS; i++) {
        while (fake->incoming[i].first)
            free(queue_take(&fake->incoming[i]));
        while (fake->sent[i].first)
            free(queue_take(&fake->sent[i]));
    }
}

static const struct net_host_ops fake_ops = {
    .name = "fake",
    .start = fake_start,
    .offloads = fake_offloads,
    .set_offloads = fake_set_offloads,
    .set_pairs = fake_set_pairs,
    .set_steering = fake_set_steering,
    .send = fake_send,
    .receive = fake_receive,
    .watch = fake_watch,
    .destroy = fake_destroy,
};

void fake_net_init(struct fake_net_host *fake)
{
    *fake = (struct fake_net_host){.host.ops = &fake_ops, .pairs = 1};
    for (unsigned i = 0; i < FAKE_NET_PAIRS; i++) {
        queue_init(&fake->incoming[i]);
        queue_init(&fake->sent[i]);
    }
}

void fake_net_add(struct fake_net_host *fake, unsigned pair, const uint8_t *header,
                  const void *payload, size_t length)
{
    struct fake_net_frame *frame = frame_new(NET_HEADER_SIZE + length);

    if (header)
        memcpy(frame->bytes, header, NET_HEADER_SIZE);
    memcpy(frame->bytes + NET_HEADER_SIZE, payload, length);
    queue_add(&fake->incoming[pair], frame);
}

void fake_net_poll(struct fake_net_host *fake)
{
    for (unsigned i = 0; i < FAKE_NET_PAIRS; i++)
        if (fake->watching[i] && fake->incoming[i].first)
            fake->host.events.readable(fake->host.events.opaque, i);
}

void fake_net_writable(struct fake_net_host *fake)
{
    fake->busy = false;
    for (unsigned i = 0; i < fake->pairs; i++)
        fake->host.events.writable(fake->host.events.opaque, i);
}

struct fake_net_frame *fake_net_take_sent(struct fake_net_host *fake, unsigned pair)
{
    return queue_take(&fake->sent[pair]);
}
