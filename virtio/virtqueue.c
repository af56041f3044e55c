#include "virtio/virtqueue.h"

#include "base/bytes.h"
#include "virtio/virtqueue_chain.h"
#include "virtio/virtqueue_inflight.h"
#include "virtio/virtqueue_order.h"
#include "virtio/virtqueue_ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

__attribute__((cold)) int virtqueue_break(struct virtqueue *queue, const char *rule,
                                          const char *what)
{
    queue->broken = (struct virtqueue_rule){rule, what};
    virtqueue_end_run(queue);
    queue->budget = 0;
    return -EPROTO;
}

__attribute__((cold)) void virtqueue_bend(struct virtqueue *queue, const char *rule,
                                          const char *what)
{
    queue->bent = (struct virtqueue_rule){rule, what};
}

/* --- the iovecs of buffers -------------------------------------------------------------------- */

static struct iovec *short_array(const struct virtqueue *queue,
                                 const struct virtqueue_buffer *buffer)
{
    return queue->iovecs + (size_t)(buffer - queue->buffers) * VIRTQUEUE_SHORT_CHAIN;
}

static void use_short_array(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    if (buffer->capacity > VIRTQUEUE_SHORT_CHAIN)
        free(buffer->readable);
    buffer->readable = short_array(queue, buffer);
    buffer->capacity = VIRTQUEUE_SHORT_CHAIN;
}

__attribute__((cold)) void virtqueue_buffer_trim(struct virtqueue *queue,
                                                 struct virtqueue_buffer *buffer)
{
    if ((uint32_t)buffer->capacity * queue->size > VIRTQUEUE_KEPT_IOVECS)
        use_short_array(queue, buffer);
}

__attribute__((cold)) int virtqueue_buffer_grow(struct virtqueue *queue,
                                                struct virtqueue_buffer *buffer)
{
    unsigned capacity = buffer->capacity * 2u;
    struct iovec *iov;

    if (capacity > VIRTQUEUE_CHAIN_MAX)
        return virtqueue_break(queue, "DRV-RING-12",
                               "a chain has more descriptors than the device takes");
    iov = malloc(capacity * sizeof(*iov));
    if (!iov)
        return -ENOMEM;
    memcpy(iov, buffer->readable, buffer->capacity * sizeof(*iov));
    use_short_array(queue, buffer); /* frees a longer one */
    buffer->readable = iov;
    buffer->capacity = (uint16_t)capacity;
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

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
        if (queue->buffers[i].capacity > VIRTQUEUE_SHORT_CHAIN)
            free(queue->buffers[i].readable);
    free(queue->buffers);
    free(queue->iovecs);
    free(queue->order);
    free(queue->id_in_flight);
    virtqueue_log_free(queue);
}

static int create_buffers(struct virtqueue *queue)
{
    uint32_t count = virtqueue_buffer_count(queue);

    queue->buffers = calloc(count, sizeof(*queue->buffers));
    queue->iovecs = calloc(queue->size, VIRTQUEUE_SHORT_CHAIN * sizeof(*queue->iovecs));
    if (queue->in_order)
        queue->order = calloc(queue->size, sizeof(struct virtqueue_buffer *));
    if (!queue->buffers || !queue->iovecs || (queue->in_order && !queue->order))
        return -ENOMEM;
    for (unsigned i = queue->size; i-- > 0;) {
        struct virtqueue_buffer *buffer = &queue->buffers[i];

        use_short_array(queue, buffer);
        buffer->id = (uint16_t)i; /* split; packed, each pop sets both */
        buffer->slots = 1;
        buffer->limit = VIRTQUEUE_FREE;
        buffer->next_free = queue->free;
        queue->free = buffer;
    }
    for (uint32_t i = queue->size; i < count; i++) {
        struct virtqueue_buffer *buffer = &queue->buffers[i];

        buffer->readable = buffer->writable = &buffer->single;
        buffer->id = (uint16_t)(i - queue->size);
        buffer->slots = 1;
        buffer->limit = VIRTQUEUE_FREE;
    }
    queue->singles = queue->buffers + queue->size;
    return 0;
}

/* In order, each buffer goes through the list of them first; the record is kept below it. */
static void choose_calls(struct virtqueue *queue)
{
    queue->pop = queue->inflight ? virtqueue_inflight_pop : queue->format->pop;
    queue->push = queue->inflight ? virtqueue_inflight_push : queue->format->push;
    if (queue->in_order) {
        queue->pop = virtqueue_order_pop;
        queue->push = virtqueue_order_push;
    }
}

/* A queue as the driver set it up: checked, and mapped. */
static int map_queue(struct virtqueue *queue, const struct guest_memory *memory,
                     const struct virtqueue_setup *setup, const struct virtio_features *negotiated,
                     struct error *err)
{
    *queue = (struct virtqueue){
        .memory = memory,
        .index = setup->index,
        .size = setup->size,
        .indirect = features_has(negotiated, VIRTIO_F_INDIRECT_DESC),
        .event_idx = features_has(negotiated, VIRTIO_F_EVENT_IDX),
        .packed = features_has(negotiated, VIRTIO_F_RING_PACKED),
        .in_order = features_has(negotiated, VIRTIO_F_IN_ORDER),
        .budget = UINT64_MAX,
    };
    if (setup->size == 0 || setup->size > VIRTQUEUE_SIZE_MAX)
        return error_set(err, EINVAL, "%s: a queue cannot have size %u",
                         queue->packed && !setup->size ? "DRV-QCFG-02" : "DRV-QCFG-03",
                         setup->size);
    queue->format = queue->packed ? &virtqueue_packed : &virtqueue_split;
    return queue->format->map(queue, setup, err);
}

int virtqueue_find_areas(const struct guest_memory *memory, const struct virtqueue_setup *setup,
                         const struct virtio_features *negotiated, struct virtqueue_areas *out,
                         struct error *err)
{
    struct virtqueue queue;
    int ret = map_queue(&queue, memory, setup, negotiated, err);

    *out = (struct virtqueue_areas){queue.desc, queue.avail, queue.used};
    return ret;
}

int virtqueue_start(struct virtqueue *queue, const struct guest_memory *memory,
                    const struct virtqueue_setup *setup, const struct virtio_features *negotiated,
                    struct virtqueue_position position, struct error *err)
{
    struct virtqueue fresh;
    int ret = map_queue(&fresh, memory, setup, negotiated, err);

    if (ret)
        return ret;
    fresh.notify = queue->notify;
    fresh.notify_opaque = queue->notify_opaque;
    fresh.record = queue->record;
    fresh.log = queue->log;
    if (fresh.log)
        fresh.format = &virtqueue_logged;
    ret = fresh.record.region ? virtqueue_inflight_begin(&fresh, setup, &position, err) : 0;
    choose_calls(&fresh);
    if (!ret)
        ret = fresh.format->start(&fresh, position, err);
    if (!ret && create_buffers(&fresh) < 0)
        ret = error_set(err, ENOMEM, "no memory for a queue of size %u", setup->size);
    if (ret) {
        virtqueue_inflight_end(&fresh);
        queue_free(&fresh);
        return ret;
    }
    virtqueue_enable_kicks(&fresh);
    *queue = fresh;
    return 0;
}

struct virtqueue_position virtqueue_stop(struct virtqueue *queue)
{
    struct virtqueue_position position = {0};
    struct virtqueue stopped = {
        .index = queue->index, /* by which a device knows it, should it not start again */
        .log = queue->log,
        .notify = queue->notify,
        .notify_opaque = queue->notify_opaque,
        .record = queue->record,
    };

    if (queue->format)
        position = queue->format->position(queue);
    virtqueue_inflight_end(queue);
    queue_free(queue);
    *queue = stopped;
    return position;
}

void virtqueue_stop_logging(struct virtqueue *queue)
{
    queue->log = NULL;
    if (!queue->logged)
        return;
    queue->format = queue->logged;
    queue->logged = NULL;
    choose_calls(queue);
}

/* --- pop, push, publish ----------------------------------------------------------------------- */

int virtqueue_pop_unready(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    int ret = 1;

    queue->ready = 0; /* not what virtqueue_pop made of it */
    if (queue->budget == 0)
        return queue->broken.id ? -EPROTO : 0;
    if (queue->inflight && virtqueue_inflight_again(queue))
        virtqueue_begin_run(queue, 1);
    else
        ret = queue->format->look(queue);
    if (ret <= 0)
        return ret;
    queue->ready--;
    return queue->pop(queue, out);
}

void virtqueue_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer)
{
    if (queue->in_order)
        virtqueue_order_unpop(queue);
    if (queue->inflight)
        virtqueue_inflight_unpop(queue, buffer);
    queue->format->unpop(queue, buffer);
    if (!queue->broken.id && queue->budget < UINT64_MAX) /* set anew since the pop */
        queue->budget++;
}

void virtqueue_publish(struct virtqueue *queue)
{
    if (queue->in_order)
        virtqueue_order_publish(queue);
    if (unlikely(queue->inflight))
        virtqueue_inflight_publish(queue);
    else if (queue->format)
        queue->format->publish(queue);
}

bool virtqueue_enable_kicks(struct virtqueue *queue)
{
    if (!queue->format || queue->broken.id)
        return false;
    queue->kicks_enabled = true;
    return queue->format->enable_kicks(queue);
}

void virtqueue_disable_kicks(struct virtqueue *queue)
{
    if (queue->kicks_enabled)
        queue->format->disable_kicks(queue);
    queue->kicks_enabled = false;
}

void virtqueue_set_budget(struct virtqueue *queue, uint64_t buffers)
{
    if (!queue->format || queue->broken.id)
        return;
    virtqueue_end_run(queue);
    queue->budget = buffers;
}

bool virtqueue_budget_spent(const struct virtqueue *queue)
{
    return queue->format && !queue->broken.id && queue->budget == 0 && queue->ready == 0;
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
