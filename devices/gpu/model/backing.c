/* Lists of guest memory behind resources. */
#include "devices/gpu/model/resource.h"

#include "base/bytes.h"

#include <errno.h>

/* Where a copy has got to: reading goes on from there, since rows come in the order of offsets. */
struct position {
    uint32_t index; /* of an extent, which begins at... */
    uint64_t start; /* ...this byte of the backing */
};

static int read_on(const struct guest_memory *memory, const struct gpu_backing *backing,
                   struct position *at, uint64_t offset, uint8_t *out, uint64_t length)
{
    while (length && at->index < backing->count) {
        const struct gpu_extent *extent = &backing->extents[at->index];
        uint64_t skip = offset - at->start, take;
        const void *from;

        if (skip >= extent->length) {
            at->start += extent->length;
            at->index++;
            continue;
        }
        take = MIN(length, extent->length - skip);
        from = guest_memory_map(memory, GPA(extent->address.value + skip), take);
        if (!from)
            return -EFAULT;
        memcpy(out, from, take);
        out += take;
        offset += take;
        length -= take;
    }
    return length ? -EFAULT : 0;
}

bool gpu_rows_fit(const struct gpu_rows *rows, uint64_t size)
{
    uint64_t bytes = (uint64_t)rows->stride * (rows->count - 1) + rows->bytes;

    return rows->offset <= size && bytes <= size - rows->offset;
}

int gpu_backing_read(const struct guest_memory *memory, const struct gpu_backing *backing,
                     const struct gpu_rows *rows)
{
    struct position at = {0, 0};
    int ret = 0;

    if (rows->bytes == rows->stride && rows->bytes == rows->out_stride) /* no gaps */
        return read_on(memory, backing, &at, rows->offset, rows->out,
                       (uint64_t)rows->bytes * rows->count);
    for (uint32_t i = 0; i < rows->count && !ret; i++)
        ret = read_on(memory, backing, &at, rows->offset + (uint64_t)i * rows->stride,
                      rows->out + i * rows->out_stride, rows->bytes);
    return ret;
}

uint8_t *gpu_backing_map(const struct guest_memory *memory, const struct gpu_backing *backing,
                         uint64_t offset, uint64_t length)
{
    uint8_t *first = NULL, *next = NULL;
    uint64_t start = 0;

    for (uint32_t i = 0; i < backing->count && length; i++) {
        const struct gpu_extent *extent = &backing->extents[i];
        uint64_t skip = offset - start, take;
        uint8_t *here;

        start += extent->length;
        if (skip >= extent->length)
            continue;
        take = MIN(length, extent->length - skip);
        here = guest_memory_map(memory, GPA(extent->address.value + skip), take);
        if (!here || (first && here != next))
            return NULL;
        first = first ? first : here;
        next = here + take;
        offset += take;
        length -= take;
    }
    return length ? NULL : first;
}
