#include "devices/blk/request.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define HEADER_SIZE 16

/* One part of a buffer, or what is left of it. */
struct span {
    struct iovec *iov;
    unsigned count;
    size_t bytes;
};

/* A buffer taken apart. Built by trimming the buffer's own iovecs: they are ours until push. */
struct parts {
    struct virtqueue_buffer *buffer;
    uint32_t type;
    uint64_t sector;
    struct span out, in; /* data to and from the device */
    uint8_t *status;     /* in guest memory */
};

/* A request whose host I/O is under way. */
struct blk_request {
    struct blk_io io;
    struct blk *blk;
    struct blk_queue *queue;
    struct virtqueue_buffer *buffer;
    uint8_t *status;
    uint32_t written; /* used length if all goes well, without the status byte */
};

static void span_drop_front(struct span *s, size_t bytes)
{
    s->bytes -= bytes;
    while (s->count > 0 && bytes >= s->iov->iov_len) {
        bytes -= s->iov->iov_len;
        s->iov++;
        s->count--;
    }
    if (bytes > 0) {
        s->iov->iov_base = (uint8_t *)s->iov->iov_base + bytes;
        s->iov->iov_len -= bytes;
    }
}

/* Split the last byte off a span that is not empty. */
static uint8_t *span_take_last(struct span *s)
{
    struct iovec *last = &s->iov[s->count - 1];

    while (last->iov_len == 0) {
        last--;
        s->count--;
    }
    s->bytes--;
    if (--last->iov_len == 0)
        s->count--;
    return (uint8_t *)last->iov_base + last->iov_len;
}

/* False when there is no room for header or status. */
static bool parts_split(struct parts *p, struct virtqueue_buffer *buffer)
{
    uint8_t header[HEADER_SIZE];

    if (buffer->writable_bytes == 0 || buffer->readable_bytes < HEADER_SIZE)
        return false;
    virtqueue_read(buffer, 0, header, sizeof(header));
    *p = (struct parts){
        .buffer = buffer,
        .type = load_le32(header), /* header + 4 is reserved: ignored (DRV-BLK-16) */
        .sector = load_le64(header + 8),
        .out = {buffer->readable, buffer->readable_count, buffer->readable_bytes},
        .in = {buffer->writable, buffer->writable_count, buffer->writable_bytes},
    };
    span_drop_front(&p->out, HEADER_SIZE);
    p->status = span_take_last(&p->in);
    return true;
}

/* BLK-31: the used length is the data written and the status; just 1 for all but good reads. */
static void answer(struct blk_queue *queue, struct virtqueue_buffer *buffer, uint8_t *status_byte,
                   enum blk_status status, uint32_t written)
{
    *status_byte = (uint8_t)status;
    virtqueue_push(queue->ring, buffer, written + 1);
    queue->unpublished = true;
}

static struct blk_request *request_get(struct blk *blk)
{
    struct blk_io *io = blk->spare;

    if (!io)
        return malloc(sizeof(struct blk_request));
    blk->spare = io->next;
    return container_of(io, struct blk_request, io);
}

static void request_put(struct blk *blk, struct blk_request *request)
{
    request->io.next = blk->spare;
    blk->spare = &request->io;
}

void blk_requests_free(struct blk *blk)
{
    while (blk->spare)
        free(request_get(blk));
}

static void log_host_error(const struct blk *blk, const struct blk_io *io)
{
    static const char *const names[] = {"read", "write", "flush"};

    log_limited(LOG_WARN, "blk", "%s: %s at byte %" PRIu64 " failed: %s", blk->path,
                names[io->type], io->offset, strerror(-io->error));
}

static void request_done(struct blk_io *io)
{
    struct blk_request *request = container_of(io, struct blk_request, io);
    struct blk *blk = request->blk;

    if (io->error)
        log_host_error(blk, io);
    answer(request->queue, request->buffer, request->status, io->error ? BLK_S_IOERR : BLK_S_OK,
           io->error ? 0 : request->written);
    request->queue->in_flight--;
    request_put(blk, request);
}

/* Submit host I/O for a checked request. Its status comes later. */
static enum blk_status request_submit(struct blk *blk, struct blk_queue *queue,
                                      const struct parts *p, enum blk_io_type type,
                                      const struct span *data)
{
    struct blk_request *request = request_get(blk);

    if (!request)
        return BLK_S_IOERR;
    *request = (struct blk_request){
        .io = {.type = type, .done = request_done},
        .blk = blk,
        .queue = queue,
        .buffer = p->buffer,
        .status = p->status,
    };
    if (data) {
        request->io.iov = data->iov;
        request->io.iov_count = data->count;
        request->io.bytes = data->bytes;
        request->io.offset = p->sector * BLK_SECTOR_SIZE;
        request->io.stable = !atomic_load(&blk->writeback); /* BLK-23 */
        request->written = type == BLK_IO_READ ? (uint32_t)data->bytes : 0;
    }
    queue->in_flight++;
    blk->engine->ops->submit(blk->engine, &request->io);
    return BLK_S_OK;
}

/* BLK-25 and the driver's duties in 5.2.6.1 for IN and OUT. */
static bool transfer_allowed(const struct blk *blk, const struct parts *p, const struct span *data,
                             const struct span *other)
{
    uint64_t sectors = data->bytes / BLK_SECTOR_SIZE;
    const char *broken = NULL;

    if (data->bytes % BLK_SECTOR_SIZE)
        broken = "DRV-BLK-02: data are not a multiple of 512 bytes";
    else if (p->sector > blk->image.sectors || sectors > blk->image.sectors - p->sector)
        broken = "DRV-BLK-01: access beyond the capacity";
    else if (other->bytes > 0)
        broken = "DRV-BLK-08: data in the wrong direction";
    else if (data->count > blk->seg_max && features_has(&blk->negotiated, BLK_F_SEG_MAX))
        broken = "DRV-BLK-10: more than seg_max segments";
    if (broken)
        log_limited(LOG_WARN, "blk",
                    "%s: request refused, %s (type %" PRIu32 ", sector %" PRIu64 ", %zu bytes)",
                    blk->path, broken, p->type, p->sector, data->bytes);
    return !broken;
}

/* In these functions *later is set when the answer comes with the end of host I/O. */
static enum blk_status start_transfer(struct blk *blk, struct blk_queue *queue,
                                      const struct parts *p, bool *later)
{
    bool write = p->type == BLK_T_OUT;
    const struct span *data = write ? &p->out : &p->in;
    enum blk_status status;

    if (!transfer_allowed(blk, p, data, write ? &p->in : &p->out))
        return BLK_S_IOERR;
    if (write && blk->image.readonly) {
        log_limited(LOG_WARN, "blk", "%s: DRV-BLK-09: write to a read-only disk", blk->path);
        return BLK_S_IOERR; /* BLK-16 */
    }
    if (data->bytes == 0)
        return BLK_S_OK;
    status = request_submit(blk, queue, p, write ? BLK_IO_WRITE : BLK_IO_READ, data);
    *later = status == BLK_S_OK;
    return status;
}

/* BLK-22. A driver that may switch to writeback (CONFIG_WCE) must be able to flush, too. */
static enum blk_status start_flush(struct blk *blk, struct blk_queue *queue, const struct parts *p,
                                   bool *later)
{
    enum blk_status status;

    if (!features_has(&blk->negotiated, BLK_F_FLUSH) &&
        !features_has(&blk->negotiated, BLK_F_CONFIG_WCE)) {
        log_limited(LOG_WARN, "blk", "%s: DRV-BLK-09: flush was not negotiated", blk->path);
        return BLK_S_UNSUPP;
    }
    if (p->sector != 0)
        log_limited(LOG_WARN, "blk", "%s: DRV-BLK-06: flush with sector %" PRIu64 " (ignored)",
                    blk->path, p->sector);
    status = request_submit(blk, queue, p, BLK_IO_SYNC, NULL);
    *later = status == BLK_S_OK;
    return status;
}

static enum blk_status get_id(struct blk *blk, const struct parts *p, uint32_t *written)
{
    if (p->in.bytes != BLK_ID_SIZE) {
        log_limited(LOG_WARN, "blk", "%s: DRV-BLK-03: GET_ID with %zu bytes of data instead of 20",
                    blk->path, p->in.bytes);
        return BLK_S_IOERR;
    }
    *written = (uint32_t)virtqueue_write(p->buffer, 0, blk->id, BLK_ID_SIZE);
    return BLK_S_OK;
}

int blk_request_start(struct blk *blk, struct blk_queue *queue, struct virtqueue_buffer *buffer)
{
    struct parts p;
    enum blk_status status;
    uint32_t written = 0;
    bool later = false;

    if (!parts_split(&p, buffer)) {
        queue->ring->broken = (struct virtqueue_rule){
            "DRV-BLK-08", "a request without room for its header or its status"};
        return -EPROTO;
    }
    switch (p.type) {
    case BLK_T_IN:
    case BLK_T_OUT:
        status = start_transfer(blk, queue, &p, &later);
        break;
    case BLK_T_FLUSH:
        status = start_flush(blk, queue, &p, &later);
        break;
    case BLK_T_GET_ID:
        status = get_id(blk, &p, &written);
        break;
    default: /* BLK-09 */
        log_limited(LOG_DEBUG, "blk", "%s: request of unknown type %" PRIu32, blk->path, p.type);
        status = BLK_S_UNSUPP;
        break;
    }
    if (!later)
        answer(queue, buffer, p.status, status, written);
    return 0;
}
