/*
 * The record of a split ring's buffers in flight. The used ring's idx says which of a batch the
 * driver knows of; how many buffers were taken follows from it and from how many are in flight.
 */
#include "base/bytes.h"
#include "virtio/virtqueue_record.h"

#include <errno.h>

#define USED_IDX 2 /* offset in the used ring (2.7.8) */

static void init(struct virtqueue_inflight *record, struct virtqueue_position position)
{
    struct inflight_split *region = record->region.split;

    for (uint32_t i = 0; i < record->entry_count; i++)
        record_store(&region->entries[i].inflight, 0);
    record_store(&region->entry_count, record->entry_count);
    record_store(&region->last_batch_head, 0);
    record_store(&region->used_idx, position.used);
    record_store(&region->version, INFLIGHT_VERSION);
}

/* The last batch was shown to the driver, and perhaps not all of it taken off the record. */
static int finish_batch(struct virtqueue_inflight *record, uint16_t used_idx, struct error *err)
{
    struct inflight_split *region = record->region.split;
    uint16_t left = used_idx - __atomic_load_n(&region->used_idx, __ATOMIC_RELAXED);
    uint16_t head = __atomic_load_n(&region->last_batch_head, __ATOMIC_RELAXED);

    if (left > record->entry_count)
        return error_set(err, EINVAL, "used.idx is %u beyond the record of buffers in flight",
                         left);
    for (; left > 0; left--) {
        if (head >= record->entry_count)
            return error_set(err, EINVAL, "the record's last batch has buffer %u, of %u", head,
                             record->entry_count);
        record_store(&region->entries[head].inflight, 0);
        head = __atomic_load_n(&region->entries[head].next, __ATOMIC_RELAXED);
    }
    record_store(&region->used_idx, used_idx);
    return 0;
}

static int recover(struct virtqueue_inflight *record, const struct guest_memory *memory,
                   const struct virtqueue_setup *setup, struct virtqueue_position *position,
                   struct error *err)
{
    const struct inflight_split *region = record->region.split;
    uint8_t idx[2];
    int ret = guest_memory_read(memory, GPA(setup->device.value + USED_IDX), idx, sizeof(idx));

    if (ret)
        return error_set(err, EINVAL, "DRV-QCFG-06: the device area is not in guest memory");
    ret = finish_batch(record, load_le16(idx), err);
    if (ret)
        return ret;
    for (uint32_t i = 0; i < record->entry_count; i++) {
        if (!__atomic_load_n(&region->entries[i].inflight, __ATOMIC_RELAXED))
            continue;
        if (i >= setup->size)
            return error_set(err, EINVAL, "the record has buffer %u, of %u", i, setup->size);
        record->again[record->again_count++] = (struct record_again){
            .entry = (uint16_t)i,
            .counter = __atomic_load_n(&region->entries[i].counter, __ATOMIC_RELAXED),
        };
    }
    *position = (struct virtqueue_position){load_le16(idx), load_le16(idx)};
    return 0;
}

static void enter(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    struct virtqueue_inflight *record = queue->inflight;
    struct inflight_split_entry *entry = &record->region.split->entries[buffer->id];

    buffer->entry = buffer->id;
    record_store(&entry->counter, record->counter);
    record->counter++;
    record_store(&entry->inflight, 1);
}

static void undo(struct virtqueue *queue, const struct virtqueue_buffer *buffer)
{
    record_store(&queue->inflight->region.split->entries[buffer->entry].inflight, 0);
}

static void before_publish(struct virtqueue *queue)
{
    struct virtqueue_inflight *record = queue->inflight;
    struct inflight_split *region = record->region.split;

    /* The first of a batch ends the list: what it leads to does not matter. */
    for (uint32_t i = 0; i < record->batch_count; i++) {
        uint16_t previous = i ? record->batch[i - 1] : 0;

        record_store(&region->entries[record->batch[i]].next, previous);
        record_store(&region->last_batch_head, record->batch[i]);
    }
}

static void after_publish(struct virtqueue *queue)
{
    struct virtqueue_inflight *record = queue->inflight;

    for (uint32_t i = 0; i < record->batch_count; i++)
        record_store(&record->region.split->entries[record->batch[i]].inflight, 0);
    record_store(&record->region.split->used_idx, queue->published_used);
}

const struct record_layout record_split = {
    .init = init,
    .recover = recover,
    .enter = enter,
    .undo = undo,
    .before_publish = before_publish,
    .after_publish = after_publish,
};
