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

/* What the host prefers, in bytes; 0: not known. */
struct advice {
    uint32_t physical, alignment_offset, min_io, opt_io;
};

/* A block device says what it is made of. */
static void measure_device(struct blk_image *image, struct advice *advice)
{
    int logical = 0, alignment = 0;
    int fd = image->file.fd;

    if (ioctl(fd, BLKSSZGET, &logical) == 0 && block_valid((uint64_t)logical))
        image->block_size = (uint32_t)logical;
    if (ioctl(fd, BLKALIGNOFF, &alignment) == 0 && alignment > 0)
        advice->alignment_offset = (uint32_t)alignment;
    if (ioctl(fd, BLKPBSZGET, &advice->physical) < 0)
        advice->physical = 0;
    if (ioctl(fd, BLKIOMIN, &advice->min_io) < 0)
        advice->min_io = 0;
    if (ioctl(fd, BLKIOOPT, &advice->opt_io) < 0)
        advice->opt_io = 0;
}

/* A file system turns a write of less than its block into reading, changing and writing one. */
static void measure_file(const struct blk_image *image, struct advice *advice)
{
    struct stat st;

    if (fstat(image->file.fd, &st) == 0 && block_valid((uint64_t)st.st_blksize))
        advice->physical = advice->min_io = (uint32_t)st.st_blksize;
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
        return error_set(err, EINVAL, "direct: '%s' is where there is no direct I/O", path);
    image->block_alignment = block;
    image->block_size = MAX(image->block_size, block);
    return 0;
}

/* The user's sizes in place of the host's. */
static int apply_sizes(struct blk_image *image, const struct blk_image_options *options,
                       struct advice *advice, struct error *err)
{
    uint64_t logical = options->logical_block_size, physical = options->physical_block_size;

    if (logical && !block_valid(logical))
        return error_set(err, EINVAL, "logical-block-size: must be a power of two, 512 to 64K");
    if (logical && logical < image->block_size)
        return error_set(err, EINVAL, "logical-block-size: '%s' has blocks of %" PRIu32 " bytes%s",
                         options->path, image->block_size, options->direct ? " (direct=on)" : "");
    if (logical)
        image->block_size = (uint32_t)logical;
    if (physical && (!block_valid(physical) || physical < image->block_size))
        return error_set(err, EINVAL,
                         "physical-block-size: must be a power of two from the logical block's "
                         "size to 64K");
    if (physical)
        advice->physical = advice->min_io = (uint32_t)physical;
    return 0;
}

/* In logical blocks, as the configuration has it. */
static void take_advice(struct blk_image *image, const struct advice *advice)
{
    uint32_t block = image->block_size;

    if (advice->physical > block && is_power_of_two(advice->physical))
        image->physical_block_exp = log2_of(advice->physical / block);
    image->alignment_offset = (uint8_t)MIN(advice->alignment_offset / block, UINT8_MAX);
    image->min_io_blocks = (uint16_t)MIN(advice->min_io / block, UINT16_MAX);
    image->opt_io_blocks = advice->opt_io / block;
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
    struct advice advice = {0};
    int r = 0;

    image->block_size = BLK_SECTOR_SIZE;
    image->memory_alignment = image->block_alignment = 1;
    if (image->device)
        measure_device(image, &advice);
    else
        measure_file(image, &advice);
    if (options->direct)
        r = measure_direct(image, options->path, err);
    if (r == 0)
        r = apply_sizes(image, options, &advice, err);
    if (r < 0)
        return r;
    take_advice(image, &advice);
    return measure_size(image, options->path, err);
}
