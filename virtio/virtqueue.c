#include "virtio/virtqueue.h"

#include "base/bytes.h"
#include "virtio/virtqueue_chain.h"
#include "virtio/virtqueue_order.h"
#include "virtio/virtqueue_ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_FIRST_CAPACITY 8 /* most requests of most devices fit */

__attribute__((cold)) void virtqueue_set_broken(struct virtqueue *queue, const char *rule,
                                                const char *what)
{
    queue->broken = (struct virtqueue_rule){rule, what};
}

__attribute__((cold)) void virtqueue_bend(struct virtqueue *queue, const char *rule,
                                          const char *what)
{
    queue->bent = (struct virtqueue_rule){rule, what};
}

__attribute__((cold)) int virtqueue_buffer_grow(struct virtqueue *queue,
                                                struct virtqueue_buffer *buffer)
{
    unsigned capacity = buffer->capacity ? buffer->capacity * 2 : CHAIN_FIRST_CAPACITY;
    struct iovec *iov;

    if (capacity > VIRTQUEUE_CHAIN_MAX)
        return virtqueue_break(queue, "DRV-RING-12",
                               "a chain has more descriptors than the device takes");
    iov = realloc(buffer->readable, capacity * sizeof(*iov));
    if (!iov)
        return -ENOMEM;
    buffer->readable = iov;
    buffer->capacity = (uint16_t)capacity;
    return 0;
}

void *virtqueue_map_slow(struct virtqueue *queue, uint64_t address, uint32_t length)
{
    const struct guest_memory *memory = queue->memory;
    void *host = guest_memory_map(memory, GPA(address), length);

    for (size_t i = 0; host && i < memory->count; i++)
        if (address - memory->regions[i].start < memory->regions[i].size)
            queue->region = memory->regions[i];
    return host;
}

static bool areas_overlap(const struct virtqueue_area *a, const struct virtqueue_area *b)
{
    return a->address.value < b->address.value + b->bytes &&
           b->address.value < a->address.value + a->bytes;
}

int virtqueue_map_areas(const struct guest_memory *memory, const struct virtqueue_area areas[3],
                        struct error *err)
{
    for (int i = 0; i < 3; i++) {
        const struct virtqueue_area *area = &areas[i];

        if (area->address.value & (area->alignment - 1))
            return error_set(err, EINVAL, "%s: the %s area at 0x%" PRIx64 " is not aligned to %u",
                             area->alignment_rule, area->name, area->address.value,
                             (unsigned)area->alignment);
        *area->host = guest_memory_map(memory, area->address, area->bytes);
        if (!*area->host)
            return error_set(err, EINVAL,
                             "DRV-QCFG-06: the %s area at 0x%" PRIx64 " is not in guest memory",
                             area->name, area->address.value);
    }
    for (int i = 0; i < 3; i++)
        if (areas_overlap(&areas[i], &areas[(i + 1) % 3]))
            return error_set(err, EINVAL, "DRV-QCFG-17: the %s and the %s area overlap",
                             areas[i].name, areas[(i + 1) % 3].name);
    return 0;
}

/* --- start and stop --------------------------------------------------------------------------- */

struct virtqueue_position virtqueue_position_first(const struct virtio_features *negotiated)
{
    uint16_t first = features_has(negotiated, VIRTIO_F_RING_PACKED) ? 0x8000 : 0; /* PACK-03 */

    return (struct virtqueue_position){first, first};
}

static void queue_free(struct virtqueue *queue)
{
    for (unsigned i = 0; queue->buffers && i < queue->size; i++)
        free(queue->buffers[i].readable);
    free(queue->buffers);
    free(queue->order);
    free(queue->ids);
}

static int create_buffers(struct virtqueue *queue)
{
    queue->buffers = calloc(queue->size, sizeof(*queue->buffers));
    if (queue->in_order)
        queue->order = calloc(queue->size, sizeof(struct virtqueue_buffer *));
    if (!queue->buffers || (queue->in_order && !queue->order))
        return -ENOMEM;
    for (unsigned i = queue->packed ? queue->size : 0; i-- > 0;) {
        queue->buffers[i].next_free = queue->free;
        queue->free = &queue->buffers[i];
    }
    return 0;
}

int virtqueue_start(struct virtqueue *queue, const struct guest_memory *memory,
                    const struct virtqueue_setup *setup, const struct virtio_features *negotiated,
                    struct virtqueue_position position, struct error *err)
{
    struct virtqueue fresh = {
        .memory = memory,
        .index = setup->index,
        .size = setup->size,
        .indirect = features_has(negotiated, VIRTIO_F_INDIRECT_DESC),
        .event_idx = features_has(negotiated, VIRTIO_F_EVENT_IDX),
        .packed = features_has(negotiated, VIRTIO_F_RING_PACKED),
        .in_order = features_has(negotiated, VIRTIO_F_IN_ORDER),
        .budget = UINT64_MAX,
        .notify = queue->notify,
        .notify_opaque = queue->notify_opaque,
    };
    int ret;

    if (setup->size == 0 || setup->size > VIRTQUEUE_SIZE_MAX)
        return error_set(err, EINVAL, "%s: a queue cannot have size %u",
                         fresh.packed && !setup->size ? "DRV-QCFG-02" : "DRV-QCFG-03", setup->size);
    ret = fresh.packed ? virtqueue_packed_start(&fresh, setup, position, err)
                       : virtqueue_split_start(&fresh, setup, position, err);
    if (!ret && create_buffers(&fresh) < 0)
        ret = error_set(err, ENOMEM, "no memory for a queue of size %u", setup->size);
    if (ret) {
        queue_free(&fresh);
        return ret;
    }
    *queue = fresh;
    return 0;
}

struct virtqueue_position virtqueue_stop(struct virtqueue *queue)
{
    struct virtqueue_position position =
        queue->packed ? virtqueue_packed_position(queue) : virtqueue_split_position(queue);
    struct virtqueue stopped = {.notify = queue->notify, .notify_opaque = queue->notify_opaque};

    queue_free(queue);
    *queue = stopped;
    return position;
}

/* --- pop, push, publish ----------------------------------------------------------------------- */

/* What stays with the buffers after long chains: at most 1 MiB a queue, or its size times the first
 * capacity. */
#define KEPT_IOVECS (64 * 1024u)

__attribute__((cold, noinline)) static void buffer_shrink(struct virtqueue_buffer *buffer)
{
    free(buffer->readable);
    buffer->readable = NULL;
    buffer->capacity = 0;
}

static inline void push_now(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                            uint32_t written, uint32_t slots)
{
    if (queue->packed)
        virtqueue_packed_push(queue, buffer, written, slots);
    else
        virtqueue_split_push(queue, buffer, written, slots);
    if (unlikely(buffer->capacity > CHAIN_FIRST_CAPACITY) &&
        (uint32_t)buffer->capacity * queue->size > KEPT_IOVECS)
        buffer_shrink(buffer);
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    int ret = queue->packed ? virtqueue_packed_pop(queue, out) : virtqueue_split_pop(queue, out);

    if (unlikely(queue->in_order) && ret > 0)
        virtqueue_order_add(queue, *out);
    return ret;
}

void virtqueue_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    if (queue->in_order)
        queue->order_count--;
    if (queue->packed)
        virtqueue_packed_unpop(queue, buffer);
    else
        virtqueue_split_unpop(queue, buffer);
}

void virtqueue_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    written = MIN(written, buffer->writable_bytes); /* RING-10 */
    if (unlikely(queue->in_order))
        virtqueue_order_push(buffer, written);
    else
        push_now(queue, buffer, written, buffer->slots);
}

void virtqueue_publish(struct virtqueue *queue)
{
    struct virtqueue_buffer *last;
    uint32_t slots;

    while (queue->in_order && (last = virtqueue_order_next(queue, &slots)))
        push_now(queue, last, last->written, slots);
    if (queue->packed)
        virtqueue_packed_publish(queue);
    else
        virtqueue_split_publish(queue);
}

bool virtqueue_enable_kicks(struct virtqueue *queue)
{
    return queue->packed ? virtqueue_packed_enable_kicks(queue)
                         : virtqueue_split_enable_kicks(queue);
}

void virtqueue_disable_kicks(struct virtqueue *queue)
{
    if (queue->packed)
        virtqueue_packed_disable_kicks(queue);
    else
        virtqueue_split_disable_kicks(queue);
}

/* --- copies ----------------------------------------------------------------------------------- */

/* Call `memcpy` piece by piece over the bytes [offset, offset + len) of an iovec array; `inward`
 * from `data` into it. */
static size_t iovec_copy(const struct iovec *iov, unsigned count, size_t offset, uint8_t *data,
                         size_t len, bool inward)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < len; i++) {
        size_t n;
        uint8_t *guest;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        n = MIN(iov[i].iov_len - offset, len - done);
        guest = (uint8_t *)iov[i].iov_base + offset;
        memcpy(inward ? guest : data + done, inward ? data + done : guest, n);
        done += n;
        offset = 0;
    }
    return done;
}

size_t virtqueue_read(const struct virtqueue_buffer *buffer, size_t offset, void *data, size_t len)
{
    return iovec_copy(buffer->readable, buffer->readable_count, offset, data, len, false);
}

size_t virtqueue_write(const struct virtqueue_buffer *buffer, size_t offset, const void *data,
                       size_t len)
{
    /* Only read from: the direction says so. */
    return iovec_copy(buffer->writable, buffer->writable_count, offset, (uint8_t *)data, len, true);
}
