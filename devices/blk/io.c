#include "devices/blk/io.h"

#include "base/log.h"

#include <errno.h>
#include <stddef.h>

#define RETRIES_MAX 8

const char *const blk_aio_names[] = {"auto", "io_uring", "threads", NULL};

int blk_engine_create(enum blk_aio choice, struct loop *loop, int fd, struct blk_engine **out,
                      struct error *err)
{
    struct error why = ERROR_INIT;

    if (choice == BLK_AIO_THREADS)
        return blk_threads_create(loop, fd, out, err);
    if (choice == BLK_AIO_URING)
        return blk_uring_create(loop, fd, out, err);
    if (blk_uring_create(loop, fd, out, &why) == 0)
        return 0;
    log_info("blk", "using threads for disk I/O: %s", why.text);
    return blk_threads_create(loop, fd, out, err);
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
    if (io->type == BLK_IO_SYNC)
        return io_over(io, 0);
    if (result == 0) /* the file has become shorter */
        return io_over(io, -EIO);
    if ((uint64_t)result >= io->bytes)
        return io_over(io, 0);
    io_skip(io, (size_t)result);
    return false;
}
