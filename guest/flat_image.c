#include "guest/flat_image.h"

#include "base/bytes.h"
#include "guest/image_source.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Four independent sums, each a polynomial with an odd multiplier: every changed word changes its
 * sum. Two instructions for 8 bytes; this is against damage, not against forgery. */
uint64_t flat_checksum(const void *data, size_t size)
{
    static const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t sum[4] = {1, 2, 3, 4};
    const uint8_t *p = data;

    for (; size >= 32; size -= 32, p += 32) {
        sum[0] = (sum[0] + load_le64(p)) * factor;
        sum[1] = (sum[1] + load_le64(p + 8)) * factor;
        sum[2] = (sum[2] + load_le64(p + 16)) * factor;
        sum[3] = (sum[3] + load_le64(p + 24)) * factor;
    }
    for (; size >= 8; size -= 8, p += 8)
        sum[0] = (sum[0] + load_le64(p)) * factor;
    for (size_t i = 1; i < 4; i++)
        sum[0] = (sum[0] + sum[i]) * factor;
    return sum[0] ^ sum[0] >> 32;
}

uint64_t flat_header_checksum(const struct flat_header *header)
{
    struct flat_header copy = *header;

    _Static_assert(sizeof(copy) % 8 == 0, "sums are over 64-bit words");
    copy.checksum = 0;
    return flat_checksum(&copy, sizeof(copy));
}

static size_t relocs_size(const struct flat_header *h)
{
    uint64_t words = 0;

    for (size_t i = 0; i < RELOC_KINDS; i++)
        words += h->reloc_count[i];
    return align_up(words * 4, 8);
}

/* Also what a right checksum vouches for is checked where it bounds memory accesses. */
static bool layout_valid(const struct flat_header *h)
{
    uint64_t lists = FLAT_PAGE + relocs_size(h);

    if (h->image_offset % FLAT_PAGE || h->image_size % FLAT_PAGE || !h->image_size)
        return false;
    if (h->image_offset < lists || h->image_size > h->memory_size || h->memory_size > 4 * GIB)
        return false;
    if (h->image_offset > h->file_size || h->file_size - h->image_offset != h->image_size)
        return false;
    if (h->entry >= h->image_size || !is_power_of_two(h->alignment) || h->link_base > 4 * GIB)
        return false;
    if (h->run_count > FLAT_RUNS_MAX || h->setup_size > SETUP_HEADER_MAX)
        return false;
    for (size_t i = 0; i < h->run_count; i++) {
        if (((uint64_t)h->runs[i].page + h->runs[i].count) * FLAT_PAGE > h->image_size)
            return false;
    }
    return !h->release[sizeof(h->release) - 1] && !h->format[sizeof(h->format) - 1];
}

static int map_header(struct flat_image *image, struct error *err)
{
    struct stat st;
    void *p;

    if (fstat(image->fd, &st) < 0)
        return error_errno(err, errno, "cannot look at the unpacked image");
    if (st.st_size < (off_t)FLAT_PAGE || st.st_size > (off_t)(4 * GIB))
        return error_set(err, EINVAL, "the unpacked image is truncated");
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, image->fd, 0);
    if (p == MAP_FAILED)
        return error_errno(err, errno, "cannot map the unpacked image");
    image->header = p;
    image->mapped = (size_t)st.st_size;
    return 0;
}

static int check_header(struct flat_image *image, bool with_relocs, struct error *err)
{
    const struct flat_header *h = image->header;
    const uint8_t *lists = (const uint8_t *)h + FLAT_PAGE;

    if (h->magic != FLAT_MAGIC || h->version != FLAT_VERSION || h->size != sizeof(*h))
        return error_set(err, EINVAL, "the unpacked image was written by another version");
    if (h->file_size != image->mapped || h->checksum != flat_header_checksum(h) || !layout_valid(h))
        return error_set(err, EINVAL, "the unpacked image is damaged or truncated");
    if (!with_relocs || !h->relocatable)
        return 0;
    if (h->reloc_checksum != flat_checksum(lists, relocs_size(h)))
        return error_set(err, EINVAL, "the unpacked image's relocations are damaged");
    for (size_t i = 0; i < RELOC_KINDS; i++) {
        image->relocs.offsets[i] = (const uint32_t *)(const void *)lists;
        image->relocs.count[i] = h->reloc_count[i];
        lists += h->reloc_count[i] * sizeof(uint32_t);
    }
    return 0;
}

int flat_image_open(struct flat_image *image, int fd, bool with_relocs, struct error *err)
{
    int ret;

    *image = (struct flat_image){.fd = fd};
    ret = map_header(image, err);
    if (ret == 0)
        ret = check_header(image, with_relocs, err);
    if (ret < 0)
        flat_image_close(image);
    return ret;
}

void flat_image_close(struct flat_image *image)
{
    if (image->header)
        munmap((void *)(uintptr_t)image->header, image->mapped);
    if (image->fd >= 0)
        close(image->fd);
    *image = (struct flat_image){.fd = -1};
}

/*
 * A run is mapped or read, as whoever wrote it decided. In instructions of a Linux 6.1 host, for a
 * page: reading costs 2.1k (half of it clearing, as hosts with init_on_alloc do twice; one fault
 * for 2 MiB), whether the guest ever uses it or not. Mapping costs nothing, but then 5k when the
 * guest first reads the page, and 4k more for a private copy when it is relocated or written.
 */
static int load_run(const struct flat_image *image, struct guest_memory *mem, uint64_t base,
                    const struct flat_run *run, struct error *err)
{
    uint64_t offset = (uint64_t)run->page * FLAT_PAGE, len = (uint64_t)run->count * FLAT_PAGE;
    uint64_t in_file = image->header->image_offset + offset;
    int ret;

    if (run->mapped) {
        ret = guest_memory_map_file(mem, GPA(base + offset), len, image->fd, in_file, err);
        if (ret != -EOPNOTSUPP)
            return ret;
    }
    /* Not copied from the mapped file: as dear, and a file that shrinks now is an error and no
     * SIGBUS. */
    return file_read_at(image->fd, in_file, guest_memory_map(mem, GPA(base + offset), len), len,
                        err);
}

int flat_image_load(const struct flat_image *image, struct guest_memory *mem, uint64_t base,
                    uint64_t displacement, struct error *err)
{
    const struct flat_header *h = image->header;
    uint8_t *host = guest_memory_map(mem, GPA(base), h->image_size);

    if (!host)
        return error_set(err, EFAULT, "the kernel does not fit into RAM at 0x%" PRIx64, base);
    for (size_t i = 0; i < h->run_count; i++) {
        int ret = load_run(image, mem, base, &h->runs[i], err);

        if (ret < 0) {
            error_prefix(err, "cannot load the unpacked image");
            return ret;
        }
    }
    if (displacement && relocs_apply(&image->relocs, host, h->image_size, displacement) < 0)
        return error_set(err, EINVAL, "the unpacked image's relocations are damaged");
    /* Needed again only for the next boot of the machine, which finds them in the page cache. */
    (void)madvise((void *)(uintptr_t)h, image->mapped, MADV_DONTNEED);
    return 0;
}
