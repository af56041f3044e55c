#include "base/bytes.h"
#include "devices/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t log2_of(uint64_t power)
{
    return (uint8_t)__builtin_ctzll(power);
}

/* A size of a block that makes sense. */
static bool block_valid(uint64_t size)
{
    return size >= BLK_SECTOR_SIZE && size <= BLK_BLOCK_SIZE_MAX && is_power_of_two(size);
}

int blk_image_bytes(const struct blk_image *image, uint64_t *bytes, struct error *err)
{
    struct stat st;

    if (image->device) {
        if (ioctl(image->file.fd, BLKGETSIZE64, bytes) < 0)
            return error_errno(err, errno, "cannot get the size of the block device");
        return 0;
    }
    if (fstat(image->file.fd, &st) < 0)
        return error_errno(err, errno, "cannot get the size of the image");
    *bytes = (uint64_t)st.st_size;
    return 0;
}

uint64_t blk_image_sysfs_number(const struct blk_image *image, const char *name)
{
    static const char *const places[] = {"", "/.."}; /* of a disk; of a partition's disk */
    char path[256];
    uint64_t value = 0;
    int found = 0;

    for (size_t i = 0; i < ARRAY_SIZE(places) && image->sysfs && found != 1; i++) {
        FILE *f;

        snprintf(path, sizeof(path), "%s%s/%s", image->sysfs, places[i], name);
        f = fopen(path, "re");
        if (!f)
            continue;
        found = fscanf(f, "%" SCNu64, &value);
        fclose(f);
    }
    return found == 1 ? value : 0;
}

/* A block device says what it is made of. What it does not answer is taken as not known. */
static void measure_device(struct blk_image *image, uint32_t *physical)
{
    int logical = 0, alignment = 0;
    unsigned value = 0;

    if (ioctl(image->file.fd, BLKSSZGET, &logical) == 0 && block_valid((uint64_t)logical))
        image->block_size = (uint32_t)logical;
    if (ioctl(image->file.fd, BLKPBSZGET, &value) == 0 && is_power_of_two(value))
        *physical = value;
    if (ioctl(image->file.fd, BLKALIGNOFF, &alignment) == 0 && alignment > 0)
        image->alignment_offset = (uint8_t)MIN((uint32_t)alignment / image->block_size, UINT8_MAX);
    if (ioctl(image->file.fd, BLKIOMIN, &value) == 0)
        image->min_io_blocks = (uint16_t)MIN(value / image->block_size, UINT16_MAX);
    if (ioctl(image->file.fd, BLKIOOPT, &value) == 0)
        image->opt_io_blocks = value / image->block_size;
}

/* A file system turns a write of less than its block into reading, changing and writing one. */
static void measure_file(const struct blk_image *image, uint32_t *physical)
{
    struct stat st;

    if (fstat(image->file.fd, &st) == 0 && block_valid((uint64_t)st.st_blksize))
        *physical = (uint32_t)st.st_blksize;
}

/* The smallest block the host lets us read where nothing says so; 0: none. */
static uint32_t try_alignments(const struct blk_image *image)
{
    void *page = aligned_alloc(4096, 4096);
    uint32_t size = BLK_SECTOR_SIZE;

    if (!page)
        return 4096;
    while (size <= 4096 && pread(image->file.fd, page, size, 0) < 0 && errno == EINVAL)
        size *= 2;
    free(page);
    return size <= 4096 ? size : 0;
}

static int measure_direct(struct blk_image *image, const char *path, struct error *err)
{
    struct statx stx = {0};
    uint32_t block = 0;

#ifdef STATX_DIOALIGN /* Linux 6.1 */
    if (statx(image->file.fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN)) {
        block = stx.stx_dio_offset_align;
        image->memory_alignment = MAX(stx.stx_dio_mem_align, 1u);
    } else
#endif
    {
        block = image->device ? image->block_size : try_alignments(image);
        image->memory_alignment = 4096; /* enough for all */
    }
    if (block == 0 || block > BLK_BLOCK_SIZE_MAX || !is_power_of_two(block))
        return error_set(err, EINVAL, "direct=on: '%s' is where there is no direct I/O", path);
    image->block_alignment = block;
    image->block_size = MAX(image->block_size, block);
    return 0;
}

/* The user's sizes in place of the host's, which advice in blocks has to follow. */
static int apply_sizes(struct blk_image *image, const struct blk_image_options *options,
                       uint32_t physical, struct error *err)
{
    uint64_t logical =
        options->logical_block_size ? options->logical_block_size : (uint64_t)image->block_size;
    uint32_t ratio;

    if (!block_valid(logical))
        return error_set(err, EINVAL, "logical-block-size: must be a power of two, 512 to 64K");
    if (logical < image->block_size)
        return error_set(err, EINVAL, "logical-block-size: '%s' has blocks of %" PRIu32 " bytes%s",
                         options->path, image->block_size, options->direct ? " (direct=on)" : "");
    ratio = (uint32_t)logical / image->block_size;
    image->block_size = (uint32_t)logical;
    image->alignment_offset = (uint8_t)(image->alignment_offset / ratio);
    image->min_io_blocks = (uint16_t)(image->min_io_blocks / ratio);
    image->opt_io_blocks /= ratio;
    if (options->physical_block_size) {
        if (!block_valid(options->physical_block_size) || options->physical_block_size < logical)
            return error_set(err, EINVAL,
                             "physical-block-size: must be a power of two from the logical block's "
                             "size to 64K");
        physical = (uint32_t)options->physical_block_size;
    }
    if (physical > logical)
        image->physical_block_exp = log2_of(physical / logical);
    image->min_io_blocks = (uint16_t)MAX((uint32_t)image->min_io_blocks,
                                         MIN(1u << image->physical_block_exp, 0x8000u));
    return 0;
}

static int measure_size(struct blk_image *image, const char *path, struct error *err)
{
    uint64_t bytes;
    int r = blk_image_bytes(image, &bytes, err);

    if (r < 0) {
        error_prefix(err, "'%s'", path);
        return r;
    }
    if (bytes == 0)
        return error_set(err, EINVAL, "'%s' is empty", path);
    if (bytes % image->block_size)
        return error_set(err, EINVAL,
                         "'%s' is %" PRIu64 " bytes long, which is not a multiple of %" PRIu32
                         " (truncate -s %%%" PRIu32 " pads it)",
                         path, bytes, image->block_size, image->block_size);
    image->sectors = bytes / BLK_SECTOR_SIZE;
    return 0;
}

int blk_image_measure(struct blk_image *image, const struct blk_image_options *options,
                      struct error *err)
{
    uint32_t physical = BLK_SECTOR_SIZE;
    int r = 0;

    image->block_size = BLK_SECTOR_SIZE;
    image->memory_alignment = image->block_alignment = 1;
    if (image->device)
        measure_device(image, &physical);
    else
        measure_file(image, &physical);
    if (options->direct)
        r = measure_direct(image, options->path, err);
    if (r == 0)
        r = apply_sizes(image, options, physical, err);
    return r < 0 ? r : measure_size(image, options->path, err);
}
