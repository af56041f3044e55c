#include "devices/blk/request.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/lifetime.h"
#include "devices/blk/ranges.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* BLK-31: the used length is the data written and the status; just 1 for all but good reads. */
static void answer(struct blk_queue *queue, struct virtqueue_buffer *buffer, uint8_t *status_byte,
                   enum blk_status status, uint32_t written)
{
    *status_byte = (uint8_t)status;
    virtqueue_push(queue->ring, buffer, written + 1);
    queue->unpublished = true;
}

static struct blk_request *request_take(struct blk *blk)
{
    struct blk_io *io = blk->spare;

    if (!io)
        return malloc(sizeof(struct blk_request));
    blk->spare = io->next;
    return container_of(io, struct blk_request, io);
}

struct blk_request *blk_request_get(struct blk *blk, struct blk_queue *queue,
                                    const struct blk_parts *parts)
{
    struct blk_request *request = request_take(blk);

    if (!request)
        return NULL;
    request->blk = blk;
    request->queue = queue;
    request->buffer = parts->buffer;
    request->status = parts->status;
    request->written = 0;
    queue->in_flight++;
    return request;
}

void blk_request_finish(struct blk_request *request, enum blk_status status)
{
    struct blk *blk = request->blk;

    answer(request->queue, request->buffer, request->status, status,
           status == BLK_S_OK ? request->written : 0);
    request->queue->in_flight--;
    request->io.next = blk->spare;
    blk->spare = &request->io;
}

void blk_requests_free(struct blk *blk)
{
    while (blk->spare)
        free(request_take(blk));
}

void blk_request_log_error(const struct blk_request *request)
{
    const struct blk_io *io = &request->io;

    log_limited(LOG_WARN, "blk", "%s: %s at byte %" PRIu64 " failed: %s", request->blk->path,
                blk_io_names[io->type], io->offset, strerror(-io->error));
}

void blk_request_log_refused(const struct blk *blk, const struct blk_parts *p, const char *rule)
{
    log_limited(LOG_WARN, "blk",
                "%s: request refused, %s (type %" PRIu32 ", sector %" PRIu64 ", %" PRIu32 " bytes)",
                virtio_builtin_name(blk->builtin), rule, p->type, p->sector,
                p->out.bytes + p->in.bytes);
}

static void transfer_done(struct blk_io *io)
{
    struct blk_request *request = container_of(io, struct blk_request, io);

    if (io->error)
        blk_request_log_error(request);
    blk_request_finish(request, io->error ? BLK_S_IOERR : BLK_S_OK);
}

static bool segment_too_large(const struct blk *blk, const struct blk_span *data)
{
    for (unsigned i = 0; i < data->count; i++)
        if (data->iov[i].iov_len > blk->size_max)
            return true;
    return false;
}

/* BLK-25 and the driver's duties in 5.2.6.1 for IN and OUT: the rule it breaks, or NULL. */
static const char *transfer_breaks(const struct blk *blk, const struct blk_parts *p,
                                   const struct blk_span *data, const struct blk_span *other)
{
    uint64_t capacity = atomic_load_explicit(&blk->sectors, memory_order_relaxed);
    uint64_t sectors = data->bytes / BLK_SECTOR_SIZE;

    if (data->bytes % BLK_SECTOR_SIZE)
        return "DRV-BLK-02: data are not a multiple of 512 bytes";
    if (p->sector > capacity || sectors > capacity - p->sector)
        return "DRV-BLK-01: access beyond the capacity";
    if (other->bytes > 0)
        return "DRV-BLK-08: data in the wrong direction";
    if (blk->seg_limited && data->count > blk->seg_max)
        return "DRV-BLK-10: more than seg_max segments";
    if (blk->size_limited && segment_too_large(blk, data))
        return "DRV-BLK-10: a segment of more than size_max bytes";
    return NULL;
}

/* In these functions *later is set when the answer comes with the end of host I/O. */
static enum blk_status start_transfer(struct blk *blk, struct blk_queue *queue,
                                      const struct blk_parts *p, bool *later)
{
    bool write = p->type == BLK_T_OUT;
    const struct blk_span *data = write ? &p->out : &p->in;
    const char *broken = transfer_breaks(blk, p, data, write ? &p->in : &p->out);
    struct blk_request *request;

    if (!broken && write && blk->readonly)
        broken = "DRV-BLK-09: write to a read-only disk"; /* BLK-16 */
    if (broken) {
        blk_request_log_refused(blk, p, broken);
        return BLK_S_IOERR;
    }
    if (data->bytes == 0)
        return BLK_S_OK;
    request = blk_request_get(blk, queue, p);
    if (!request)
        return BLK_S_IOERR;
    request->written = write ? 0 : data->bytes;
    request->io = (struct blk_io){
        .type = write ? BLK_IO_WRITE : BLK_IO_READ,
        .stable = write && !blk->unsafe && !atomic_load(&blk->writeback), /* BLK-23 */
        .iov = data->iov,
        .iov_count = data->count,
        .bytes = data->bytes,
        .offset = p->sector * BLK_SECTOR_SIZE,
        .done = transfer_done,
    };
    *later = true;
    blk->engine->ops->submit(blk->engine, &request->io);
    return BLK_S_OK;
}

/* BLK-22. A driver that may switch to writeback (CONFIG_WCE) must be able to flush, too. */
static enum blk_status start_flush(struct blk *blk, struct blk_queue *queue,
                                   const struct blk_parts *p, bool *later)
{
    struct blk_request *request;

    if (!blk_has(blk, BLK_F_FLUSH) && !blk_has(blk, BLK_F_CONFIG_WCE)) {
        blk_request_log_refused(blk, p, "DRV-BLK-09: flush was not negotiated");
        return BLK_S_UNSUPP;
    }
    if (p->sector != 0)
        log_limited(LOG_WARN, "blk", "%s: DRV-BLK-06: flush with sector %" PRIu64 " (ignored)",
                    virtio_builtin_name(blk->builtin), p->sector);
    if (blk->unsafe)
        return BLK_S_OK;
    request = blk_request_get(blk, queue, p);
    if (!request)
        return BLK_S_IOERR;
    request->io = (struct blk_io){.type = BLK_IO_SYNC, .done = transfer_done};
    *later = true;
    blk->engine->ops->submit(blk->engine, &request->io);
    return BLK_S_OK;
}

/* DRV-BLK-07: for types that are about the whole disk, sector has no meaning. */
static void check_no_sector(const struct blk *blk, const struct blk_parts *p)
{
    if (p->sector != 0)
        log_limited(LOG_WARN, "blk",
                    "%s: DRV-BLK-07: type %" PRIu32 " with sector %" PRIu64 " (ignored)",
                    virtio_builtin_name(blk->builtin), p->type, p->sector);
}

/* Both answers have one size, and the driver must leave room for exactly that. */
static enum blk_status give(const struct blk *blk, const struct blk_parts *p, const void *data,
                            uint32_t size, uint32_t *written)
{
    check_no_sector(blk, p);
    if (p->in.bytes != size || p->out.bytes != 0) {
        blk_request_log_refused(blk, p,
                                p->type == BLK_T_GET_ID
                                    ? "DRV-BLK-03: GET_ID has 20 bytes of data"
                                    : "DRV-BLK-08: GET_LIFETIME has 6 bytes of data");
        return BLK_S_IOERR;
    }
    *written = (uint32_t)virtqueue_write(p->buffer, 0, data, size);
    return BLK_S_OK;
}

static enum blk_status get_lifetime(const struct blk *blk, const struct blk_parts *p,
                                    uint32_t *written)
{
    uint8_t lifetime[BLK_LIFETIME_SIZE];

    if (!blk_has(blk, BLK_F_LIFETIME)) {
        blk_request_log_refused(blk, p, "DRV-BLK-09: LIFETIME was not negotiated");
        return BLK_S_UNSUPP;
    }
    if (blk_lifetime_read(blk->backing.image.sysfs, lifetime) < 0)
        return BLK_S_IOERR;
    return give(blk, p, lifetime, sizeof(lifetime), written);
}

static enum blk_status start(struct blk *blk, struct blk_queue *queue, const struct blk_parts *p,
                             uint32_t *written, bool *later)
{
    switch (p->type) {
    case BLK_T_IN:
    case BLK_T_OUT:
        return start_transfer(blk, queue, p, later);
    case BLK_T_FLUSH_OUT:
        if (features_has(&blk->negotiated, VIRTIO_F_VERSION_1))
            break;
        return start_flush(blk, queue, p, later);
    case BLK_T_FLUSH:
        return start_flush(blk, queue, p, later);
    case BLK_T_GET_ID:
        return give(blk, p, blk->id, BLK_ID_SIZE, written);
    case BLK_T_GET_LIFETIME:
        return get_lifetime(blk, p, written);
    case BLK_T_DISCARD:
    case BLK_T_WRITE_ZEROES:
    case BLK_T_SECURE_ERASE:
        check_no_sector(blk, p);
        return blk_ranges_start(blk, queue, p, later);
    }
    /* BLK-09 */
    log_limited(LOG_DEBUG, "blk", "%s: request of unknown type %" PRIu32,
                virtio_builtin_name(blk->builtin), p->type);
    return BLK_S_UNSUPP;
}

static void check_framing(const struct blk *blk, const struct virtqueue_buffer *buffer)
{
    if (!blk_parts_framed(buffer))
        log_limited(LOG_INFO, "blk",
                    "%s: DRV-BLK-13: header or status share a descriptor without ANY_LAYOUT",
                    virtio_builtin_name(blk->builtin));
}

int blk_request_start(struct blk *blk, struct blk_queue *queue, struct virtqueue_buffer *buffer)
{
    struct blk_parts p;
    enum blk_status status;
    uint32_t written = 0;
    bool later = false;

    if (blk->framed)
        check_framing(blk, buffer);
    if (!blk_parts_split(&p, buffer)) {
        queue->ring->broken = (struct virtqueue_rule){
            "DRV-BLK-08", "a request without room for its header or its status"};
        return -EPROTO;
    }
    status = start(blk, queue, &p, &written, &later);
    if (!later)
        answer(queue, buffer, p.status, status, written);
    return 0;
}
