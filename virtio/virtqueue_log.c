/*
 * A format of rings that marks what is written to guest memory in a log of dirty pages. It wraps
 * the format a ring has without a log, whose hot path so knows nothing of logs.
 */
#include "base/bytes.h"
#include "guest/dirty_log.h"
#include "virtio/virtqueue_ring.h"

#include <stdlib.h>
#include <string.h>

/* The writable part of a buffer as it was popped: the device may change its iovecs. */
struct virtqueue_logged_buffer {
    struct iovec *iov;
    uint16_t count, capacity;
};

static struct virtqueue_logged_buffer *remembered(struct virtqueue *queue,
                                                  const struct virtqueue_buffer *buffer)
{
    return &queue->logged_buffers[buffer - queue->buffers];
}

static int remember(struct virtqueue *queue, const struct virtqueue_buffer *buffer)
{
    struct virtqueue_logged_buffer *copy = remembered(queue, buffer);
    size_t bytes = buffer->writable_count * sizeof(*copy->iov);

    if (buffer->writable_count > copy->capacity) {
        struct iovec *iov = realloc(copy->iov, bytes);

        if (!iov)
            return -ENOMEM;
        copy->iov = iov;
        copy->capacity = buffer->writable_count;
    }
    copy->count = buffer->writable_count;
    if (bytes)
        memcpy(copy->iov, buffer->writable, bytes);
    return 0;
}

/* The buffer is the driver's again. Long chains do not add up. */
static void forget(struct virtqueue *queue, const struct virtqueue_buffer *buffer)
{
    struct virtqueue_logged_buffer *copy = remembered(queue, buffer);

    if ((uint32_t)copy->capacity * queue->size <= VIRTQUEUE_KEPT_IOVECS)
        return;
    free(copy->iov);
    *copy = (struct virtqueue_logged_buffer){0};
}

/* --- what is marked --------------------------------------------------------------------------- */

static void mark(struct virtqueue *queue, const void *host, uint64_t len)
{
    dirty_log_mark_host(queue->log, queue->memory, host, len);
}

/* The first `written` bytes of the writable part of a buffer that is given back. */
static void mark_data(struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                      uint32_t written)
{
    const struct virtqueue_logged_buffer *copy = remembered(queue, buffer);

    for (unsigned i = 0; i < copy->count && written > 0; i++) {
        uint32_t len = (uint32_t)MIN(copy->iov[i].iov_len, (size_t)written);

        mark(queue, copy->iov[i].iov_base, len);
        written -= len;
    }
    forget(queue, buffer);
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

static void mark_wish(struct virtqueue *queue)
{
    mark(queue, queue->logged->written(queue).wish, sizeof(uint16_t));
}

/* --- the format ------------------------------------------------------------------------------- */

static int logged_start(struct virtqueue *queue, struct virtqueue_position position,
                        struct error *err)
{
    int ret;

    queue->logged = queue->packed ? &virtqueue_packed : &virtqueue_split;
    queue->logged_buffers = calloc(virtqueue_buffer_count(queue), sizeof(*queue->logged_buffers));
    if (!queue->logged_buffers)
        return error_set(err, ENOMEM, "no memory for a queue of size %u", queue->size);
    ret = queue->logged->start(queue, position, err);
    if (!ret)
        mark(queue, queue->used, sizeof(uint16_t)); /* some formats clear their first words */
    return ret;
}

void virtqueue_log_free(struct virtqueue *queue)
{
    for (uint32_t i = 0; queue->logged_buffers && i < virtqueue_buffer_count(queue); i++)
        free(queue->logged_buffers[i].iov);
    free(queue->logged_buffers);
}

static struct virtqueue_position logged_position(const struct virtqueue *queue)
{
    return queue->logged->position(queue);
}

static int logged_look(struct virtqueue *queue)
{
    return queue->logged->look(queue);
}

static int logged_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    int ret = queue->logged->pop(queue, out);

    if (ret == 1 && remember(queue, *out)) {
        queue->logged->unpop(queue, *out);
        return -ENOMEM;
    }
    return ret;
}

/* As `pop`; what cannot be remembered stays in flight. */
static int logged_pop_again(struct virtqueue *queue, uint16_t head,
                            const struct inflight_packed_entry *list, uint16_t count,
                            struct virtqueue_buffer **out)
{
    int ret = queue->logged->pop_again(queue, head, list, count, out);

    if (ret == 1 && remember(queue, *out)) {
        queue->logged->unpop(queue, *out);
        return -ENOMEM;
    }
    return ret;
}

static void logged_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    forget(queue, buffer);
    queue->logged->unpop(queue, buffer);
}

static void logged_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    mark_data(queue, buffer, written);
    queue->logged->push(queue, buffer, written);
}

static void logged_push_series(struct virtqueue *queue, struct virtqueue_buffer *last,
                               uint32_t slots)
{
    mark_data(queue, last, last->written);
    queue->logged->push_series(queue, last, slots);
}

static void logged_release(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    mark_data(queue, buffer, buffer->written);
    queue->logged->release(queue, buffer);
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

    mark_wish(queue);
    return more;
}

static void logged_disable_kicks(struct virtqueue *queue)
{
    queue->logged->disable_kicks(queue);
    mark_wish(queue);
}

const struct virtqueue_format virtqueue_logged = {
    .start = logged_start,
    .position = logged_position,
    .look = logged_look,
    .pop = logged_pop,
    .pop_again = logged_pop_again,
    .unpop = logged_unpop,
    .push = logged_push,
    .push_series = logged_push_series,
    .release = logged_release,
    .publish = logged_publish,
    .enable_kicks = logged_enable_kicks,
    .disable_kicks = logged_disable_kicks,
};
