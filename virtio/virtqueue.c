#include "virtio/virtqueue.h"

#include "base/bytes.h"
#include "virtio/virtqueue_chain.h"
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
        .next_avail = position.avail,
        .avail_seen = position.avail,
        .next_used = position.used,
        .published_used = position.used,
        .budget = UINT64_MAX,
        .notify = queue->notify,
        .notify_opaque = queue->notify_opaque,
    };
    int ret;

    if (setup->size == 0 || setup->size > VIRTQUEUE_SIZE_MAX)
        return error_set(err, EINVAL, "DRV-QCFG-03: a queue cannot have size %u", setup->size);
    if ((uint16_t)(position.avail - position.used) > setup->size)
        return error_set(err, EINVAL, "a queue of size %u cannot stand at %u available, %u used",
                         setup->size, position.avail, position.used);
    ret = virtqueue_split_start(&fresh, setup, err);
    if (ret)
        return ret;
    fresh.buffers = calloc(setup->size, sizeof(*fresh.buffers));
    if (!fresh.buffers)
        return error_set(err, ENOMEM, "no memory for a queue of size %u", setup->size);
    *queue = fresh;
    return 0;
}

struct virtqueue_position virtqueue_stop(struct virtqueue *queue)
{
    struct virtqueue_position position = {queue->next_avail, queue->published_used};
    struct virtqueue stopped = {.notify = queue->notify, .notify_opaque = queue->notify_opaque};

    for (unsigned i = 0; i < queue->size; i++)
        free(queue->buffers[i].readable);
    free(queue->buffers);
    *queue = stopped;
    return position;
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    return virtqueue_split_pop(queue, out);
}

void virtqueue_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    virtqueue_split_unpop(queue, buffer);
}

/* What stays with the heads after long chains: at most 1 MiB a queue, or its size times the first
 * capacity. */
#define KEPT_IOVECS (64 * 1024u)

__attribute__((cold)) static void buffer_release(struct virtqueue_buffer *buffer)
{
    free(buffer->readable);
    buffer->readable = NULL;
    buffer->capacity = 0;
}

void virtqueue_push(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written)
{
    virtqueue_split_push(queue, buffer, written);
    if ((uint32_t)buffer->capacity * queue->size > KEPT_IOVECS &&
        buffer->capacity > CHAIN_FIRST_CAPACITY)
        buffer_release(buffer);
}

void virtqueue_publish(struct virtqueue *queue)
{
    virtqueue_split_publish(queue);
}

bool virtqueue_enable_kicks(struct virtqueue *queue)
{
    return virtqueue_split_enable_kicks(queue);
}

void virtqueue_disable_kicks(struct virtqueue *queue)
{
    virtqueue_split_disable_kicks(queue);
}

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
