#include "devices/blk/io.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RETRIES_MAX 8

const char *const blk_aio_names[] = {"auto", "io_uring", "threads", "inline", NULL};

const char *const blk_io_names[] = {"read", "write", "flush", "discard", "write zeroes", "erase"};

/* Nothing there waits for a device, so that handing an operation on costs more than doing it. */
static bool file_in_memory(const struct blk_file *file)
{
    struct statfs fs;

    return fstatfs(file->fd, &fs) == 0 &&
           (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

int blk_engine_create(enum blk_aio choice, struct loop *loop, const struct blk_file *file,
                      struct blk_engine **out, struct error *err)
{
    struct error why = ERROR_INIT;

    if (choice == BLK_AIO_THREADS)
        return blk_threads_create(loop, file, out, err);
    if (choice == BLK_AIO_URING)
        return blk_uring_create(loop, file, out, err);
    if (choice == BLK_AIO_INLINE || file_in_memory(file))
        return blk_inline_create(loop, file, out, err);
    if (blk_uring_create(loop, file, out, &why) == 0)
        return 0;
    log_info("blk", "using threads for disk I/O: %s", why.text);
    return blk_threads_create(loop, file, out, err);
}

const struct blk_method *blk_file_method(const struct blk_file *file, const struct blk_io *io)
{
    switch (io->type) {
    case BLK_IO_DISCARD:
        return &file->discard;
    case BLK_IO_ERASE:
        return &file->erase;
    default:
        return io->unmap ? &file->zero_unmap : &file->zero;
    }
}

void blk_io_list_init(struct blk_io_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void blk_io_list_add(struct blk_io_list *list, struct blk_io *io)
{
    io->next = NULL;
    *list->end = io;
    list->end = &io->next;
}

struct blk_io *blk_io_list_take(struct blk_io_list *list)
{
    struct blk_io *io = list->first;

    if (!io)
        return NULL;
    list->first = io->next;
    if (!list->first)
        list->end = &list->first;
    return io;
}

static int64_t range_call(const struct blk_file *file, const struct blk_io *io)
{
    const struct blk_method *method = blk_file_method(file, io);
    uint64_t range[2] = {io->offset, io->bytes};
    int r;

    if (method->kind == BLK_METHOD_NONE)
        return -EOPNOTSUPP;
    if (method->kind == BLK_METHOD_IOCTL)
        r = ioctl(file->fd, method->code, range);
    else
        r = fallocate(file->fd, (int)method->code, (off_t)io->offset, (off_t)io->bytes);
    return r < 0 ? -errno : 0;
}

static int64_t io_call(const struct blk_file *file, const struct blk_io *io)
{
    ssize_t r;

    switch (io->type) {
    case BLK_IO_READ:
        r = preadv2(file->fd, io->iov, (int)io->iov_count, (off_t)io->offset, 0);
        break;
    case BLK_IO_WRITE:
        r = pwritev2(file->fd, io->iov, (int)io->iov_count, (off_t)io->offset,
                     io->stable ? RWF_DSYNC : 0);
        break;
    case BLK_IO_SYNC:
        r = fdatasync(file->fd);
        break;
    default:
        return range_call(file, io);
    }
    return r < 0 ? -errno : r;
}

void blk_io_perform(const struct blk_file *file, struct blk_io *io)
{
    while (!blk_io_advance(io, io_call(file, io)))
        ;
}

/* Drop the first `bytes` bytes, of which there are more than that. */
static void io_skip(struct blk_io *io, size_t bytes)
{
    io->bytes -= bytes;
    io->offset += bytes;
    while (bytes >= io->iov->iov_len) {
        bytes -= io->iov->iov_len;
        io->iov++;
        io->iov_count--;
    }
    io->iov->iov_base = (char *)io->iov->iov_base + bytes;
    io->iov->iov_len -= bytes;
}

static bool io_over(struct blk_io *io, int error)
{
    io->error = error;
    return true;
}

bool blk_io_advance(struct blk_io *io, int64_t result)
{
    /* -EAGAIN should not come for files and disks; some SCSI hosts are said to return it. */
    if (result == -EINTR || (result == -EAGAIN && io->retries++ < RETRIES_MAX))
        return false;
    if (result < 0)
        return io_over(io, (int)result);
    if (io->type != BLK_IO_READ && io->type != BLK_IO_WRITE)
        return io_over(io, 0);
    if (result == 0) /* the file has become shorter */
        return io_over(io, -EIO);
    if ((uint64_t)result >= io->bytes)
        return io_over(io, 0);
    io_skip(io, (size_t)result);
    return false;
}
