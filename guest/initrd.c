#include "guest/initrd.h"

#include "base/bytes.h"
#include "guest/image_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE (4 * KIB)
#define PADDED \
    4 /* alignment of each archive: Documentation/driver-api/early-userspace/buffer-format.rst */

static int measure_file(struct initrd_file *file, struct error *err)
{
    struct stat st;

    file->fd = file_open(file->path, &st, err);
    if (file->fd < 0)
        return file->fd;
    if ((uint64_t)st.st_size >= 4 * GIB)
        return error_set(err, EFBIG, "larger than 4 GiB");
    file->size = (uint64_t)st.st_size;
    return 0;
}

int initrd_open(struct initrd *initrd, const char *const *paths, size_t count, struct error *err)
{
    *initrd = (struct initrd){0};
    if (!count)
        return 0;
    initrd->files = calloc(count, sizeof(*initrd->files));
    if (!initrd->files)
        return error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        struct initrd_file *file = &initrd->files[initrd->count++];
        int ret;

        file->path = paths[i];
        ret = measure_file(file, err);
        if (ret < 0) {
            error_prefix(err, "'%s'", file->path);
            initrd_close(initrd);
            return ret;
        }
        initrd->size += align_up(file->size, PADDED);
    }
    return 0;
}

/* The highest page-aligned start of `size` bytes of RAM in [lowest, limit), or 0. */
static uint64_t find_room(const struct guest_memory *mem, uint64_t size, uint64_t lowest,
                          uint64_t limit)
{
    uint64_t best = 0;

    for (size_t i = 0; i < mem->count; i++) {
        const struct guest_region *r = &mem->regions[i];
        uint64_t from = MAX(r->start, lowest), to = MIN(r->start + r->size, limit), start;

        if (to < from || to - from < size)
            continue;
        start = align_down(to - size, PAGE);
        if (start >= from)
            best = MAX(best, start);
    }
    return best;
}

int initrd_load(const struct initrd *initrd, struct guest_memory *mem, uint64_t lowest,
                uint64_t limit, uint64_t *out_start, struct error *err)
{
    uint64_t start = initrd->size ? find_room(mem, initrd->size, lowest, limit) : 0, at;

    *out_start = start;
    if (!initrd->size)
        return 0;
    if (!start)
        return error_set(err, ENOMEM,
                         "the initrd needs %" PRIu64 " MiB of RAM between 0x%" PRIx64
                         " and 0x%" PRIx64 ": give the machine more memory",
                         align_up(initrd->size, MIB) / MIB, lowest, limit);
    at = start;
    for (size_t i = 0; i < initrd->count; i++) {
        const struct initrd_file *file = &initrd->files[i];
        uint64_t padded = align_up(file->size, PADDED);
        uint8_t *host = guest_memory_map(mem, GPA(at), padded);
        int ret = file_read_at(file->fd, 0, host, file->size, err);

        if (ret < 0) {
            error_prefix(err, "'%s'", file->path);
            return ret;
        }
        memset(host + file->size, 0, padded - file->size);
        at += padded;
    }
    return 0;
}

void initrd_close(struct initrd *initrd)
{
    for (size_t i = 0; i < initrd->count; i++) {
        if (initrd->files[i].fd >= 0)
            close(initrd->files[i].fd);
    }
    free(initrd->files);
    *initrd = (struct initrd){0};
}
