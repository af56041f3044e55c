#include "virtio/virtqueue_inflight.h"

#include "virtio/virtqueue_record.h"

#include <errno.h>
#include <stdlib.h>

static void record_free(struct virtqueue_inflight *record)
{
    free(record->batch);
    free(record->again);
    free(record->next);
    free(record->last);
    free(record->saved);
    free(record);
}

static int allocate(struct virtqueue_inflight *record, bool packed)
{
    size_t count = record->entry_count;

    record->batch = calloc(count, sizeof(*record->batch));
    record->again = calloc(count, sizeof(*record->again));
    if (packed) {
        record->next = calloc(count, sizeof(*record->next));
        record->last = calloc(count, sizeof(*record->last));
        record->saved = calloc(count, sizeof(*record->saved));
    }
    return record->batch && record->again &&
                   (!packed || (record->next && record->last && record->saved))
               ? 0
               : -ENOMEM;
}

static int by_counter(const void *a, const void *b)
{
    const struct record_again *x = a, *y = b;

    return x->counter < y->counter ? -1 : x->counter > y->counter;
}

/* The first words of both layouts are the same. */
static int take_up(struct virtqueue_inflight *record, const struct virtqueue *queue,
                   const struct virtqueue_setup *setup, struct virtqueue_position *position,
                   struct error *err)
{
    uint16_t version = __atomic_load_n(&record->region.split->version, __ATOMIC_ACQUIRE);
    uint16_t count = __atomic_load_n(&record->region.split->entry_count, __ATOMIC_RELAXED);
    int ret;

    if (version == 0) {
        record->layout->init(record, *position);
        return 0;
    }
    if (version != INFLIGHT_VERSION)
        return error_set(err, EINVAL, "a record of buffers in flight of version %u", version);
    if (count < setup->size || count > record->entry_count)
        return error_set(err, EINVAL, "a record of %u buffers in flight, for a queue of %u", count,
                         setup->size);
    record->entry_count = count;
    ret = record->layout->recover(record, queue->memory, setup, position, err);
    if (ret)
        return ret;
    qsort(record->again, record->again_count, sizeof(record->again[0]), by_counter);
    if (record->again_count)
        record->counter = record->again[record->again_count - 1].counter + 1;
    return 0;
}

int virtqueue_inflight_begin(struct virtqueue *queue, const struct virtqueue_setup *setup,
                             struct virtqueue_position *position, struct error *err)
{
    struct virtqueue_inflight *record = calloc(1, sizeof(*record));
    int ret = record ? 0 : -ENOMEM;

    if (!ret) {
        record->layout = queue->packed ? &record_packed : &record_split;
        record->region.split = queue->record.region;
        record->entry_count = queue->record.entry_count;
        if (record->entry_count < setup->size)
            ret = error_set(err, EINVAL, "a record of %u buffers in flight, for a queue of %u",
                            record->entry_count, setup->size);
        else
            ret = allocate(record, queue->packed);
    }
    if (ret == -ENOMEM)
        ret = error_set(err, ENOMEM, "no memory for a record of %u buffers in flight", setup->size);
    if (!ret)
        ret = take_up(record, queue, setup, position, err);
    if (ret && record)
        record_free(record);
    else
        queue->inflight = record;
    return ret;
}

void virtqueue_inflight_end(struct virtqueue *queue)
{
    if (queue->inflight)
        record_free(queue->inflight);
    queue->inflight = NULL;
}

static int pop_again(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    struct virtqueue_inflight *record = queue->inflight;
    const struct record_again *again = &record->again[record->again_next];
    const struct inflight_packed_entry *saved = record->saved ? &record->saved[again->first] : NULL;
    int ret = queue->format->pop_again(queue, again->entry, saved, again->count, out);

    if (ret <= 0)
        return ret;
    record->again_next++;
    (*out)->again = true;
    (*out)->entry = again->entry;
    return ret;
}

bool virtqueue_inflight_again(const struct virtqueue *queue)
{
    return queue->inflight->again_next < queue->inflight->again_count;
}

int virtqueue_inflight_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    struct virtqueue_inflight *record = queue->inflight;
    int ret;

    if (virtqueue_inflight_again(queue))
        return pop_again(queue, out);
    ret = queue->format->pop(queue, out);
    if (ret <= 0)
        return ret;
    (*out)->again = false;
    record->layout->enter(queue, *out);
    return ret;
}

/* One that was in flight before stays in the record, and is handed out again. */
void virtqueue_inflight_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    struct virtqueue_inflight *record = queue->inflight;

    if (buffer->again) {
        record->again_next--;
        return;
    }
    record->layout->undo(queue, buffer);
}

void virtqueue_inflight_used(struct virtqueue *queue, const struct virtqueue_buffer *buffer)
{
    struct virtqueue_inflight *record = queue->inflight;

    record->batch[record->batch_count++] = buffer->entry;
}

void virtqueue_inflight_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                             uint32_t written)
{
    virtqueue_inflight_used(queue, buffer);
    queue->format->push(queue, buffer, written);
}

void virtqueue_inflight_publish(struct virtqueue *queue)
{
    struct virtqueue_inflight *record = queue->inflight;

    if (record->batch_count)
        record->layout->before_publish(queue);
    queue->format->publish(queue);
    if (record->batch_count)
        record->layout->after_publish(queue);
    record->batch_count = 0;
}
