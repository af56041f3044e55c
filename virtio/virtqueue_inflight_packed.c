/*
 * The record of a packed ring's buffers in flight. The device overwrites descriptors with used
 * ones, so the record has copies, in entries that are linked and taken from a list of free ones.
 * The ring has no index: where the device stands is in the record, twice: as it was when the last
 * batch had left the record (`old_`), and as it is when the batch being published is used. The
 * first slot of that batch tells which holds.
 */
#include "base/bytes.h"
#include "virtio/virtqueue_record.h"

#include <errno.h>
#include <stdlib.h>

/* 2.8.13 */
#define DESCRIPTOR_SIZE 16
#define FLAGS           14 /* offset in a descriptor */
#define FLAG_AVAIL      (1 << 7)
#define FLAG_USED       (1 << 15)
#define WRAP            (1 << 15) /* of a position */

/* All of it in one instruction. */
static void store_used(struct inflight_packed *region, struct inflight_packed_used used)
{
    uint64_t word;

    memcpy(&word, &used, sizeof(word));
    __atomic_store_n((uint64_t *)(void *)&region->used, word, __ATOMIC_RELEASE);
}

static struct inflight_packed_used load_used(const struct inflight_packed *region)
{
    uint64_t word =
        __atomic_load_n((const uint64_t *)(const void *)&region->used, __ATOMIC_ACQUIRE);
    struct inflight_packed_used used;

    memcpy(&used, &word, sizeof(used));
    return used;
}

static struct inflight_packed_used settled(uint16_t slot, bool wrap)
{
    return (struct inflight_packed_used){slot, slot, wrap, wrap, {0}};
}

static void init(struct virtqueue_inflight *record, struct virtqueue_position position)
{
    struct inflight_packed *region = record->region.packed;

    for (uint32_t i = 0; i < record->entry_count; i++) {
        record->next[i] = (uint16_t)(i + 1);
        record_store(&region->entries[i].next, record->next[i]);
        record_store(&region->entries[i].inflight, 0);
    }
    record->free_head = 0;
    record_store(&region->entry_count, record->entry_count);
    record_store(&region->free_head, 0);
    record_store(&region->old_free_head, 0);
    record->used = settled(position.used & (WRAP - 1), position.used & WRAP);
    store_used(region, record->used);
    record_store(&region->version, INFLIGHT_VERSION);
}

/* --- taking a region over --------------------------------------------------------------------- */

/* Whether the device has used the slot at which it stood: then it is not available any more, or
 * again with the other wrap counter. */
static int slot_was_used(const struct guest_memory *memory, const struct virtqueue_setup *setup,
                         uint16_t slot, bool wrap, bool *used, struct error *err)
{
    const unsigned available = wrap ? FLAG_AVAIL : FLAG_USED;
    uint64_t at = setup->desc.value + (uint64_t)slot * DESCRIPTOR_SIZE + FLAGS;
    uint8_t flags[2];

    if (guest_memory_read(memory, GPA(at), flags, sizeof(flags)))
        return error_set(err, EINVAL, "DRV-QCFG-06: the ring is not in guest memory");
    *used = (load_le16(flags) & (FLAG_AVAIL | FLAG_USED)) != available;
    return 0;
}

/* Go on, or back, to what the ring shows. */
static int settle(struct virtqueue_inflight *record, const struct guest_memory *memory,
                  const struct virtqueue_setup *setup, struct virtqueue_position *position,
                  struct error *err)
{
    struct inflight_packed *region = record->region.packed;
    struct inflight_packed_used now = load_used(region);
    uint16_t free_head = __atomic_load_n(&region->old_free_head, __ATOMIC_RELAXED);
    uint16_t slot = now.old_idx;
    bool wrap = now.old_wrap, used = false;
    int ret = 0;

    if (now.idx >= setup->size || now.old_idx >= setup->size || now.wrap > 1 || now.old_wrap > 1)
        return error_set(err, EINVAL, "the record stands at slot %u of %u", now.idx, setup->size);
    if (now.idx != now.old_idx || now.wrap != now.old_wrap)
        ret = slot_was_used(memory, setup, slot, wrap, &used, err);
    if (ret)
        return ret;
    if (used) {
        free_head = __atomic_load_n(&region->free_head, __ATOMIC_RELAXED);
        slot = now.idx;
        wrap = now.wrap;
    }
    record->free_head = free_head;
    record_store(&region->old_free_head, free_head);
    record->used = settled(slot, wrap);
    store_used(region, record->used);
    record_store(&region->free_head, free_head);
    position->avail = position->used = (uint16_t)(slot | (wrap ? WRAP : 0));
    return 0;
}

/* What is on the free list is not in flight, whatever it says. `seen` is marked. */
static void walk_free_list(struct virtqueue_inflight *record, bool *seen)
{
    struct inflight_packed *region = record->region.packed;

    for (uint16_t i = record->free_head; i < record->entry_count && !seen[i]; i = record->next[i]) {
        seen[i] = true;
        record_store(&region->entries[i].inflight, 0);
        record->next[i] = __atomic_load_n(&region->entries[i].next, __ATOMIC_RELAXED);
    }
}

/* Copy the descriptors of a buffer that is in flight, each of which may be in one buffer only. */
static int copy_buffer(struct virtqueue_inflight *record, uint16_t head, bool *seen,
                       uint32_t *saved, struct error *err)
{
    const struct inflight_packed *region = record->region.packed;
    uint16_t count = __atomic_load_n(&region->entries[head].num, __ATOMIC_RELAXED), i = head;
    struct record_again *again = &record->again[record->again_count++];

    *again = (struct record_again){.entry = head, .count = count, .first = *saved};
    again->counter = __atomic_load_n(&region->entries[head].counter, __ATOMIC_RELAXED);
    if (count == 0)
        return error_set(err, EINVAL, "the record has a buffer of no descriptors");
    for (uint16_t left = count; left > 0; left--) {
        if (i >= record->entry_count || seen[i])
            return error_set(err, EINVAL, "the record has a descriptor twice, or beyond its end");
        seen[i] = true;
        memcpy(&record->saved[(*saved)++], &region->entries[i], sizeof(region->entries[i]));
        record->last[head] = i;
        i = record->next[i] = __atomic_load_n(&region->entries[i].next, __ATOMIC_RELAXED);
    }
    return 0;
}

static int recover(struct virtqueue_inflight *record, const struct guest_memory *memory,
                   const struct virtqueue_setup *setup, struct virtqueue_position *position,
                   struct error *err)
{
    const struct inflight_packed *region = record->region.packed;
    bool *seen = calloc(record->entry_count, sizeof(*seen));
    uint32_t saved = 0;
    int ret;

    if (!seen)
        return -ENOMEM;
    ret = settle(record, memory, setup, position, err);
    if (!ret)
        walk_free_list(record, seen);
    for (uint32_t i = 0; i < record->entry_count && !ret; i++)
        if (!seen[i] && __atomic_load_n(&region->entries[i].inflight, __ATOMIC_RELAXED))
            ret = copy_buffer(record, (uint16_t)i, seen, &saved, err);
    for (uint32_t i = 0; i < record->entry_count && !ret; i++)
        if (!seen[i])
            ret = error_set(err, EINVAL, "the record lost descriptor %u", i);
    if (!ret && saved > setup->size)
        ret = error_set(err, EINVAL, "the record has %u descriptors in flight, of %u", saved,
                        setup->size);
    free(seen);
    return ret;
}

/* --- while the queue runs --------------------------------------------------------------------- */

/* Copy a descriptor of the ring into an entry. */
static void copy_descriptor(struct inflight_packed_entry *entry, const uint8_t *descriptor)
{
    record_store(&entry->address, load_le64(descriptor));
    record_store(&entry->length, load_le32(descriptor + 8));
    record_store(&entry->id, load_le16(descriptor + 12));
    record_store(&entry->flags, load_le16(descriptor + FLAGS));
}

/* Where the descriptors begin of the buffer popped last. */
static uint16_t first_slot(const struct virtqueue *queue, const struct virtqueue_buffer *buffer)
{
    uint16_t next = virtqueue_packed_avail(queue).slot;

    return next >= buffer->slots ? next - buffer->slots : next + queue->size - buffer->slots;
}

static void enter(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    struct virtqueue_inflight *record = queue->inflight;
    struct inflight_packed *region = record->region.packed;
    uint16_t head = record->free_head, slot = first_slot(queue, buffer);
    struct inflight_packed_entry *first = &region->entries[head];

    buffer->entry = head;
    record_store(&first->num, 0);
    record_store(&first->counter, record->counter);
    record->counter++;
    record_store(&first->inflight, 1);
    for (uint16_t i = 0; i < buffer->slots; i++) {
        uint16_t entry = record->free_head;

        record->last[head] = entry;
        record_store(&first->last, entry);
        record_store(&first->num, (uint16_t)(i + 1));
        copy_descriptor(&region->entries[entry], queue->desc + (size_t)slot * DESCRIPTOR_SIZE);
        record->free_head = record->next[entry];
        record_store(&region->free_head, record->free_head);
        slot = slot + 1 == queue->size ? 0 : slot + 1;
    }
    record_store(&region->old_free_head, record->free_head);
}

/* Put a buffer's entries before the free ones. */
static void free_entries(struct virtqueue_inflight *record, uint16_t head)
{
    uint16_t last = record->last[head];

    record->next[last] = record->free_head;
    record_store(&record->region.packed->entries[last].next, record->free_head);
    record->free_head = head;
    record_store(&record->region.packed->free_head, head);
}

static void undo(struct virtqueue *queue, const struct virtqueue_buffer *buffer)
{
    struct virtqueue_inflight *record = queue->inflight;
    struct inflight_packed *region = record->region.packed;

    free_entries(record, buffer->entry);
    record_store(&region->old_free_head, record->free_head);
    record_store(&region->entries[buffer->entry].inflight, 0);
}

static struct inflight_packed_used position_of(const struct virtqueue *queue)
{
    struct virtqueue_place place = virtqueue_packed_used(queue);

    return settled(place.slot, place.wrap);
}

static void before_publish(struct virtqueue *queue)
{
    struct virtqueue_inflight *record = queue->inflight;
    struct inflight_packed *region = record->region.packed;
    struct inflight_packed_used used = position_of(queue);

    used.old_idx = record->used.idx;
    used.old_wrap = record->used.wrap;
    for (uint32_t i = 0; i < record->batch_count; i++)
        free_entries(record, record->batch[i]);
    store_used(region, used);
}

static void after_publish(struct virtqueue *queue)
{
    struct virtqueue_inflight *record = queue->inflight;
    struct inflight_packed *region = record->region.packed;

    for (uint32_t i = 0; i < record->batch_count; i++)
        record_store(&region->entries[record->batch[i]].inflight, 0);
    record_store(&region->old_free_head, record->free_head);
    record->used = position_of(queue);
    store_used(region, record->used);
}

const struct record_layout record_packed = {
    .init = init,
    .recover = recover,
    .enter = enter,
    .undo = undo,
    .before_publish = before_publish,
    .after_publish = after_publish,
};
