#include "devices/blk/ranges.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define SEGMENT_SIZE 16 /* sector le64, num_sectors le32, flags le32 */
#define FLAG_UNMAP   1

/* Zeroes to write, aligned for direct I/O, and how many times over they go into one write. Never
 * changed; not const only so that they take no room in the program's file. */
#define ZEROES_SIZE  (64 * 1024)
#define ZEROES_COUNT 16

static uint8_t zeroes[ZEROES_SIZE] __attribute__((aligned(4096)));

struct range {
    uint64_t offset, bytes;
    bool unmap;
};

struct blk_ranges {
    enum blk_io_type type;
    bool stable;  /* sync at the end: the cache is off */
    bool writing; /* what is left of the current range is zeroed by writing */
    unsigned count, next;
    struct range range[BLK_RANGES_MAX];
    struct iovec iov[ZEROES_COUNT];
};

/* --- checking -------------------------------------------------------------------------------- */

static bool negotiated(const struct blk *blk, uint32_t type)
{
    return blk_has(blk, type == BLK_T_DISCARD        ? BLK_F_DISCARD
                        : type == BLK_T_WRITE_ZEROES ? BLK_F_WRITE_ZEROES
                                                     : BLK_F_SECURE_ERASE);
}

static enum blk_status refuse(const struct blk *blk, const struct blk_parts *p,
                              enum blk_status status, const char *rule)
{
    blk_request_log_refused(blk, p, rule);
    return status;
}

static enum blk_status check_request(const struct blk *blk, const struct blk_parts *p)
{
    if (blk->readonly) /* BLK-16 */
        return refuse(blk, p, BLK_S_IOERR, "DRV-BLK-09: a change to a read-only disk");
    if (!negotiated(blk, p->type))
        return refuse(blk, p, BLK_S_UNSUPP, "DRV-BLK-09: its feature was not negotiated");
    if (p->in.bytes > 0)
        return refuse(blk, p, BLK_S_IOERR, "DRV-BLK-08: data in the wrong direction");
    if (p->out.bytes == 0 || p->out.bytes % SEGMENT_SIZE)
        return refuse(blk, p, BLK_S_IOERR, "DRV-BLK-04: data are not a multiple of 16 bytes");
    if (p->out.bytes / SEGMENT_SIZE > BLK_RANGES_MAX)
        return refuse(blk, p, BLK_S_IOERR, "DRV-BLK-04: too many segments");
    return BLK_S_OK;
}

static enum blk_status check_segment(const struct blk *blk, const struct blk_parts *p,
                                     uint64_t sector, uint32_t sectors, uint32_t flags)
{
    uint64_t capacity = atomic_load_explicit(&blk->sectors, memory_order_relaxed);

    if (flags & ~FLAG_UNMAP) /* BLK-17 */
        return refuse(blk, p, BLK_S_UNSUPP, "DRV-BLK-17: unknown flags in a segment");
    if ((flags & FLAG_UNMAP) && p->type != BLK_T_WRITE_ZEROES) /* BLK-18 */
        return refuse(blk, p, BLK_S_UNSUPP, "DRV-BLK-05: unmap in a segment to discard or erase");
    if (sector > capacity || sectors > capacity - sector)
        return refuse(blk, p, BLK_S_IOERR, "DRV-BLK-17: a segment beyond the capacity");
    if (sectors > BLK_RANGE_SECTORS_MAX)
        return refuse(blk, p, BLK_S_IOERR, "DRV-BLK-10: a segment of too many sectors");
    return BLK_S_OK;
}

/* Copy the segments out of guest memory, once. */
static enum blk_status take_segments(const struct blk *blk, const struct blk_parts *p,
                                     struct blk_ranges *ranges)
{
    uint8_t bytes[BLK_RANGES_MAX * SEGMENT_SIZE];
    size_t length = 0;

    for (unsigned i = 0; i < p->out.count; i++) {
        memcpy(bytes + length, p->out.iov[i].iov_base, p->out.iov[i].iov_len);
        length += p->out.iov[i].iov_len;
    }
    for (const uint8_t *s = bytes; s < bytes + length; s += SEGMENT_SIZE) {
        uint64_t sector = load_le64(s);
        uint32_t sectors = load_le32(s + 8), flags = load_le32(s + 12);
        enum blk_status status = check_segment(blk, p, sector, sectors, flags);

        if (status != BLK_S_OK)
            return status;
        if (sectors > 0)
            ranges->range[ranges->count++] = (struct range){
                sector * BLK_SECTOR_SIZE, (uint64_t)sectors * BLK_SECTOR_SIZE, flags & FLAG_UNMAP};
    }
    return BLK_S_OK;
}

/* --- doing ----------------------------------------------------------------------------------- */

/* What is no whole block the host takes by reading and writing only: a discard of it has nothing to
 * do, and its zeroes are written. */
static bool is_whole_blocks(const struct blk *blk, const struct range *r)
{
    return ((r->offset | r->bytes) & (blk->backing.image.block_size - 1)) == 0;
}

static void trim_to_blocks(const struct blk *blk, struct range *r)
{
    uint32_t block = blk->backing.image.block_size;
    uint64_t begin = align_up(r->offset, block), end = align_down(r->offset + r->bytes, block);

    *r = (struct range){begin, end > begin ? end - begin : 0, r->unmap};
}

static void range_done(struct blk_io *io);

static void submit(struct blk_request *request, struct blk_io io)
{
    struct blk_engine *engine = request->blk->engine;

    io.done = range_done;
    request->io = io;
    engine->ops->submit(engine, &request->io);
}

static void submit_zeroes(struct blk_request *request, struct range *r)
{
    struct blk_ranges *ranges = request->ranges;
    uint64_t offset = r->offset, bytes = MIN(r->bytes, (uint64_t)ZEROES_SIZE * ZEROES_COUNT);
    unsigned n = 0;

    for (uint64_t left = bytes, size; left > 0; left -= size) {
        size = MIN(left, (uint64_t)ZEROES_SIZE);
        ranges->iov[n++] = (struct iovec){zeroes, (size_t)size};
    }
    r->offset += bytes;
    r->bytes -= bytes;
    submit(request, (struct blk_io){.type = BLK_IO_WRITE,
                                    .iov = ranges->iov,
                                    .iov_count = n,
                                    .bytes = bytes,
                                    .offset = offset});
}

static void submit_range(struct blk_request *request, struct range *r)
{
    uint64_t bytes = r->bytes;

    r->bytes = 0;
    submit(request, (struct blk_io){.type = request->ranges->type,
                                    .unmap = r->unmap,
                                    .bytes = bytes,
                                    .offset = r->offset});
}

static void finish(struct blk_request *request, enum blk_status status)
{
    free(request->ranges);
    blk_request_finish(request, status);
}

/* The queue stops and has waited enough. */
static void give_up(struct blk_request *request)
{
    log_limited(LOG_WARN, "blk", "%s: a queue stops: the rest of a %s request is not done",
                request->blk->path, blk_io_names[request->ranges->type]);
    finish(request, BLK_S_IOERR);
}

/* Do what comes next; at the end, answer. */
static void proceed(struct blk_request *request)
{
    struct blk_ranges *ranges = request->ranges;

    if (request->queue->impatient) {
        give_up(request);
        return;
    }
    for (; ranges->next < ranges->count; ranges->next++, ranges->writing = false) {
        struct range *r = &ranges->range[ranges->next];

        if (ranges->type == BLK_IO_DISCARD)
            trim_to_blocks(request->blk, r);
        else if (ranges->type == BLK_IO_ZERO && !is_whole_blocks(request->blk, r))
            ranges->writing = true;
        if (r->bytes == 0)
            continue;
        if (ranges->writing)
            submit_zeroes(request, r);
        else
            submit_range(request, r);
        return;
    }
    if (!ranges->stable) {
        finish(request, BLK_S_OK);
        return;
    }
    ranges->stable = false;
    submit(request, (struct blk_io){.type = BLK_IO_SYNC});
}

/* The host cannot zero a range this way: it may without unmap, and it can always write. */
static bool try_another_way(struct blk_request *request)
{
    struct blk_ranges *ranges = request->ranges;
    struct range *r = &ranges->range[ranges->next];

    if (request->io.error != -EOPNOTSUPP || request->io.type != BLK_IO_ZERO)
        return false;
    r->bytes = request->io.bytes;
    if (r->unmap)
        r->unmap = false;
    else
        ranges->writing = true;
    return true;
}

static void range_done(struct blk_io *io)
{
    struct blk_request *request = container_of(io, struct blk_request, io);

    if (!io->error || try_another_way(request)) {
        proceed(request);
        return;
    }
    blk_request_log_error(request);
    finish(request, io->error == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR);
}

enum blk_status blk_ranges_start(struct blk *blk, struct blk_queue *queue,
                                 const struct blk_parts *p, bool *later)
{
    enum blk_status status = check_request(blk, p);
    struct blk_request *request;
    struct blk_ranges *ranges;

    if (status != BLK_S_OK)
        return status;
    ranges = calloc(1, sizeof(*ranges));
    if (!ranges)
        return BLK_S_IOERR;
    status = take_segments(blk, p, ranges);
    request = status == BLK_S_OK ? blk_request_get(blk, queue, p) : NULL;
    if (!request) {
        free(ranges);
        return status == BLK_S_OK ? BLK_S_IOERR : status;
    }
    ranges->type = p->type == BLK_T_DISCARD        ? BLK_IO_DISCARD
                   : p->type == BLK_T_WRITE_ZEROES ? BLK_IO_ZERO
                                                   : BLK_IO_ERASE;
    ranges->stable = !blk->unsafe && !atomic_load(&blk->writeback); /* BLK-23 */
    request->ranges = ranges;
    *later = true;
    proceed(request);
    return BLK_S_OK;
}
