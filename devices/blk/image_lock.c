#include "base/log.h"
#include "devices/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/*
 * QEMU holds a read lock on byte HAS + n for each thing n it does with an image, and on byte
 * DENIES + n for each thing n others must not do meanwhile, and looks for those of others.
 */
enum qemu_lock { QEMU_HAS = 100, QEMU_DENIES = 200 };
enum qemu_permission { QEMU_READ = 0, QEMU_WRITE = 1, QEMU_RESIZE = 3 };

static int lock_set(int fd, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

/* Somebody else has a lock of any kind on the byte. */
static bool lock_held(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* We read, and nobody may write or resize; somebody who does, or who denies us reading, has it. */
static int lock_reader(int fd)
{
    static const off_t ours[] = {QEMU_HAS + QEMU_READ, QEMU_DENIES + QEMU_WRITE,
                                 QEMU_DENIES + QEMU_RESIZE};
    static const off_t theirs[] = {QEMU_DENIES + QEMU_READ, QEMU_HAS + QEMU_WRITE,
                                   QEMU_HAS + QEMU_RESIZE};
    int r = 0;

    for (int i = 0; i < 3 && r == 0; i++)
        r = lock_set(fd, F_RDLCK, ours[i], 1);
    for (int i = 0; i < 3 && r == 0; i++)
        if (lock_held(fd, theirs[i]))
            r = -EAGAIN;
    return r;
}

int blk_image_lock(const struct blk_image *image, const char *path, struct error *err)
{
    /* A writer locks every byte, so that nobody gets any lock beside it. */
    int r = image->readonly ? lock_reader(image->file.fd) : lock_set(image->file.fd, F_WRLCK, 0, 0);

    if (r == 0)
        return 0;
    if (r == -EAGAIN || r == -EACCES)
        return error_set(err, EBUSY,
                         "'%s' is in use: another disk or another program has locked it%s", path,
                         image->readonly ? " for writing" : "");
    /* Some network file systems have no locks. */
    log_warn("blk", "cannot lock '%s': %s", path, strerror(-r));
    return 0;
}
