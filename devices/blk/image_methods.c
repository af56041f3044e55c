#include "base/bytes.h"
#include "devices/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO  (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

static struct blk_method by_fallocate(int mode)
{
    return (struct blk_method){BLK_METHOD_FALLOCATE, (unsigned long)mode};
}

/* A hole behind the end of a file changes nothing but, here and there, the time of its last change:
 * that is put back where it is ours. */
static bool file_can_punch(int fd, uint64_t bytes)
{
    struct stat before;
    bool can;

    if (fstat(fd, &before) < 0)
        return false;
    can = fallocate(fd, PUNCH, (off_t)align_up(bytes, 4096), 4096) == 0;
    futimens(fd, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, before.st_mtim});
    return can;
}

void blk_file_find_methods(struct blk_file *file, uint64_t bytes)
{
    /* Whether there is a way to zero and keep the storage is found out by the first who needs it:
     * whatever does not work is done by writing. */
    file->zero = by_fallocate(ZERO);
    if (file_can_punch(file->fd, bytes))
        file->discard = file->zero_unmap = by_fallocate(PUNCH);
}

/* The host refuses the ioctl before it looks at a range, which is impossible, or because of it. */
static struct blk_method by_ioctl(int fd, unsigned long code)
{
    uint64_t impossible[2] = {1, 1};

    if (ioctl(fd, code, impossible) < 0 && errno == EINVAL)
        return (struct blk_method){BLK_METHOD_IOCTL, code};
    return (struct blk_method){BLK_METHOD_NONE, 0};
}

static void device_find_methods(struct blk_image *image)
{
    struct blk_file *file = &image->file;

    file->discard = by_ioctl(file->fd, BLKDISCARD);
    file->erase = by_ioctl(file->fd, BLKSECDISCARD);
    file->zero = by_fallocate(ZERO);
    if (blk_image_sysfs_number(image, "queue/write_zeroes_max_bytes") > 0)
        file->zero_unmap = by_fallocate(PUNCH);
}

void blk_image_find_methods(struct blk_image *image)
{
    uint64_t granularity = (uint64_t)image->block_size << image->physical_block_exp;

    if (image->device)
        granularity = blk_image_sysfs_number(image, "queue/discard_granularity");
    granularity = MAX(granularity, image->block_size) / BLK_SECTOR_SIZE;
    image->discard_sectors = (uint32_t)MIN(granularity, UINT32_MAX);
    if (image->readonly)
        return;
    if (image->device)
        device_find_methods(image);
    else
        blk_file_find_methods(&image->file, image->sectors * BLK_SECTOR_SIZE);
}
