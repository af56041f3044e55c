#include "devices/blk/image.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int image_open_file(struct blk_image *image, const char *path, struct error *err)
{
    /* O_NONBLOCK only so that a path naming a FIFO is refused below instead of blocking here. */
    image->fd = open(path, (image->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (image->fd >= 0)
        return 0;

    int code = errno;
    bool write_refused = code == EACCES || code == EPERM || code == EROFS;
    if (write_refused && !image->readonly && access(path, R_OK) == 0)
        return error_errno(err, code, "cannot open '%s' for writing (readonly=on would do)", path);
    return error_errno(err, code, "cannot open '%s'", path);
}

static int image_lock(const struct blk_image *image, const char *path, struct error *err)
{
    struct flock lock = {.l_type = image->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(image->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(err, EBUSY,
                         "'%s' is in use: another disk or another program has locked it%s", path,
                         image->readonly ? " for writing" : "");
    /* Some network file systems have no locks. */
    log_warn("blk", "cannot lock '%s': %s", path, strerror(errno));
    return 0;
}

static uint8_t log2_of(uint64_t power)
{
    return (uint8_t)__builtin_ctzll(power);
}

/* A block device says what it is made of. What it does not answer keeps the initial value. */
static int image_measure_device(struct blk_image *image, uint64_t *bytes, struct error *err)
{
    int logical = 0, alignment = 0;
    unsigned physical = 0, io_min = 0, io_opt = 0;

    if (ioctl(image->fd, BLKGETSIZE64, bytes) < 0)
        return error_errno(err, errno, "cannot get the size of the block device");
    if (ioctl(image->fd, BLKSSZGET, &logical) < 0 || logical < BLK_SECTOR_SIZE ||
        !is_power_of_two((uint64_t)logical))
        return 0;
    image->block_size = (uint32_t)logical;
    if (ioctl(image->fd, BLKPBSZGET, &physical) == 0 && physical >= image->block_size &&
        is_power_of_two(physical))
        image->physical_block_exp = log2_of(physical / image->block_size);
    if (ioctl(image->fd, BLKALIGNOFF, &alignment) == 0 && alignment > 0)
        image->alignment_offset = (uint8_t)MIN(alignment / logical, UINT8_MAX);
    if (ioctl(image->fd, BLKIOMIN, &io_min) == 0)
        image->min_io_blocks = (uint16_t)MIN(io_min / image->block_size, UINT16_MAX);
    if (ioctl(image->fd, BLKIOOPT, &io_opt) == 0)
        image->opt_io_blocks = io_opt / image->block_size;
    return 0;
}

/* A file system turns a write of less than its block into reading, changing and writing one. */
static void image_measure_file(struct blk_image *image, const struct stat *st)
{
    uint64_t block = (uint64_t)st->st_blksize;

    if (block < BLK_SECTOR_SIZE || block > 64 * KIB || !is_power_of_two(block))
        return;
    image->physical_block_exp = log2_of(block / BLK_SECTOR_SIZE);
    image->min_io_blocks = (uint16_t)(block / BLK_SECTOR_SIZE);
}

static int image_measure(struct blk_image *image, const char *path, struct error *err)
{
    struct stat st;
    uint64_t bytes;

    if (fstat(image->fd, &st) < 0)
        return error_errno(err, errno, "cannot examine '%s'", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(err, EINVAL, "'%s' is neither a file nor a block device", path);

    bytes = (uint64_t)st.st_size;
    image->block_size = BLK_SECTOR_SIZE;
    if (S_ISREG(st.st_mode))
        image_measure_file(image, &st);
    else if (image_measure_device(image, &bytes, err) < 0) {
        error_prefix(err, "'%s'", path);
        return -EINVAL;
    }

    if (bytes == 0)
        return error_set(err, EINVAL, "'%s' is empty", path);
    if (bytes % BLK_SECTOR_SIZE)
        return error_set(err, EINVAL,
                         "'%s' is %" PRIu64 " bytes long, which is not a multiple of 512 "
                         "(truncate -s %%512 pads it)",
                         path, bytes);
    image->sectors = bytes / BLK_SECTOR_SIZE;
    return 0;
}

int blk_image_open(struct blk_image *image, const char *path, bool readonly, struct error *err)
{
    *image = (struct blk_image){.fd = -1, .readonly = readonly};

    int r = image_open_file(image, path, err);
    if (r == 0)
        r = image_measure(image, path, err);
    if (r == 0)
        r = image_lock(image, path, err);
    /* Without O_NONBLOCK: io_uring would take it as "fail rather than wait for the disk". */
    if (r == 0 && fcntl(image->fd, F_SETFL, 0) < 0)
        r = error_errno(err, errno, "cannot set the mode of '%s'", path);
    if (r < 0)
        blk_image_close(image);
    return r;
}

void blk_image_close(struct blk_image *image)
{
    if (image->fd >= 0)
        close(image->fd);
    image->fd = -1;
}
