#include "virtio/virtqueue_log.h"

#include "base/bytes.h"
#include "virtio/virtqueue_ring.h"

/* --- what is marked --------------------------------------------------------------------------- */

static void mark(struct virtqueue *queue, const void *host, uint64_t len)
{
    dirty_log_mark_host(queue->log, queue->memory, host, len);
}

/* The first `written` bytes of a buffer's writable part. */
static void mark_data(struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                      uint32_t written)
{
    for (unsigned i = 0; i < buffer->writable_count && written > 0; i++) {
        const struct iovec *iov = &buffer->writable[i];
        uint32_t len = (uint32_t)MIN(iov->iov_len, (size_t)written);

        mark(queue, iov->iov_base, len);
        written -= len;
    }
}

/* Entries of the ring from one position to another. */
static void mark_entries(struct virtqueue *queue, const struct virtqueue_written *w, uint16_t from,
                         uint16_t to)
{
    uint32_t first = from & w->mask, end = to & w->mask;

    if (end <= first) {
        mark(queue, w->entries + first * w->entry_size, (queue->size - first) * w->entry_size);
        first = 0;
    }
    mark(queue, w->entries + first * w->entry_size, (end - first) * w->entry_size);
}

/* What a ring that has just started may have written. */
static void mark_words(struct virtqueue *queue)
{
    struct virtqueue_written w = queue->logged->written(queue);

    mark(queue, queue->used, sizeof(uint16_t));
    mark(queue, w.wish, sizeof(uint16_t));
}

/* --- a format that marks ---------------------------------------------------------------------- */

static void logged_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    mark_data(queue, buffer, written);
    queue->logged_push(queue, buffer, written);
}

static void logged_publish(struct virtqueue *queue)
{
    const struct virtqueue_format *format = queue->logged;
    struct virtqueue_written w = format->written(queue);
    uint16_t before = format->position(queue).used, after;

    format->publish(queue);
    after = format->position(queue).used;
    if (before == after)
        return;
    mark_entries(queue, &w, before, after);
    if (w.index)
        mark(queue, w.index, sizeof(uint16_t));
}

static bool logged_enable_kicks(struct virtqueue *queue)
{
    bool more = queue->logged->enable_kicks(queue);

    mark(queue, queue->logged->written(queue).wish, sizeof(uint16_t));
    return more;
}

static void logged_disable_kicks(struct virtqueue *queue)
{
    queue->logged->disable_kicks(queue);
    mark(queue, queue->logged->written(queue).wish, sizeof(uint16_t));
}

/* The rest is the wrapped format's: it does not write, or what it writes is published. */

static struct virtqueue_position logged_position(const struct virtqueue *queue)
{
    return queue->logged->position(queue);
}

static int logged_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    return queue->logged->pop(queue, out);
}

static void logged_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    queue->logged->unpop(queue, buffer);
}

static void logged_push_series(struct virtqueue *queue, struct virtqueue_buffer *last,
                               uint32_t slots)
{
    queue->logged->push_series(queue, last, slots);
}

static void logged_release(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    queue->logged->release(queue, buffer);
}

static const struct virtqueue_format logged_format = {
    .position = logged_position,
    .pop = logged_pop,
    .unpop = logged_unpop,
    .push = logged_push,
    .push_series = logged_push_series,
    .release = logged_release,
    .publish = logged_publish,
    .enable_kicks = logged_enable_kicks,
    .disable_kicks = logged_disable_kicks,
};

void virtqueue_set_log(struct virtqueue *queue, struct dirty_log *log)
{
    if (!queue->format)
        return;
    if (log && !queue->log) {
        queue->logged = queue->format;
        queue->logged_push = queue->push;
        queue->format = &logged_format;
        queue->push = logged_push;
    } else if (!log && queue->log) {
        queue->format = queue->logged;
        queue->push = queue->logged_push;
    }
    queue->log = log;
    if (log)
        mark_words(queue);
}
