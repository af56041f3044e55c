#include "devices/blk/image.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int open_failed(const struct blk_image_options *options, int code, struct error *err)
{
    bool write_refused = code == EACCES || code == EPERM || code == EROFS;

    if (write_refused && !options->readonly && access(options->path, R_OK) == 0)
        return error_errno(err, code, "cannot open '%s' for writing (readonly=on would do)",
                           options->path);
    if (code == EINVAL && options->direct)
        return error_set(err, EINVAL, "direct: '%s' is where there is no direct I/O",
                         options->path);
    return error_errno(err, code, "cannot open '%s'", options->path);
}

static int image_open_file(struct blk_image *image, const struct blk_image_options *options,
                           struct error *err)
{
    /* O_NONBLOCK only so that a path naming a FIFO is refused below instead of blocking here. */
    int flags = (options->readonly ? O_RDONLY : O_RDWR) | (options->direct ? O_DIRECT : 0);

    image->file.fd = open(options->path, flags | O_CLOEXEC | O_NONBLOCK);
    return image->file.fd < 0 ? open_failed(options, errno, err) : 0;
}

static int image_examine(struct blk_image *image, const char *path, struct error *err)
{
    struct stat st;

    if (fstat(image->file.fd, &st) < 0)
        return error_errno(err, errno, "cannot examine '%s'", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(err, EINVAL, "'%s' is neither a file nor a block device", path);
    image->device = S_ISBLK(st.st_mode);
    if (image->device &&
        asprintf(&image->sysfs, "/sys/dev/block/%u:%u", major(st.st_rdev), minor(st.st_rdev)) < 0) {
        image->sysfs = NULL;
        return error_errno(err, ENOMEM, "cannot examine '%s'", path);
    }
    return 0;
}

int blk_image_open(struct blk_image *image, const struct blk_image_options *options,
                   struct error *err)
{
    *image = (struct blk_image){.file.fd = -1, .readonly = options->readonly};

    int r = image_open_file(image, options, err);
    if (r == 0)
        r = image_examine(image, options->path, err);
    if (r == 0)
        r = blk_image_measure(image, options, err);
    if (r == 0)
        r = blk_image_lock(image, options->path, err);
    /* Without O_NONBLOCK: io_uring would take it as "fail rather than wait for the disk". */
    if (r == 0 && fcntl(image->file.fd, F_SETFL, options->direct ? O_DIRECT : 0) < 0)
        r = error_errno(err, errno, "cannot set the mode of '%s'", options->path);
    if (r == 0)
        blk_image_find_methods(image);
    else
        blk_image_close(image);
    return r;
}

void blk_image_close(struct blk_image *image)
{
    if (image->file.fd >= 0)
        close(image->file.fd);
    free(image->sysfs);
    image->sysfs = NULL;
    image->file.fd = -1;
}

int blk_image_check_size(const struct blk_image *image, uint64_t bytes, struct error *err)
{
    if (bytes == 0)
        return error_set(err, EINVAL, "a disk cannot be empty");
    if (bytes % image->block_size)
        return error_set(err, EINVAL, "%" PRIu64 " bytes are not a multiple of %" PRIu32, bytes,
                         image->block_size);
    return 0;
}

int blk_image_resize(struct blk_image *image, uint64_t bytes, struct error *err)
{
    if (image->device)
        return error_set(err, EINVAL, "a block device has a size of its own ('auto' looks at it)");
    if (image->readonly)
        return error_set(err, EROFS, "the image is read-only");
    if (ftruncate(image->file.fd, (off_t)bytes) < 0)
        return error_errno(err, errno, "cannot change the size of the image");
    image->sectors = bytes / BLK_SECTOR_SIZE;
    return 0;
}

int blk_image_remeasure(struct blk_image *image, struct error *err)
{
    uint64_t bytes;
    int r = blk_image_bytes(image, &bytes, err);

    if (r == 0)
        r = blk_image_check_size(image, bytes, err);
    if (r == 0)
        image->sectors = bytes / BLK_SECTOR_SIZE;
    return r;
}
