/*
 * Asynchronous host I/O for one file: the interface of an engine, and the engines.
 *
 *     submit, submit, ...     queue operations up
 *     flush                   start them all, with one system call where the engine can
 *     [loop]                  the engine watches a descriptor of its own on the loop
 *     done(op)                called for each operation when it is over, whatever the order
 *     batch_done              called after a series of done(), to publish them together
 *
 * Completions are run within flush, within wait and from the loop; within submit only that of an
 * operation which fails at once. done() may submit; what it submits is started without a flush.
 * Short transfers are continued by the engine, so an operation either succeeds whole or fails.
 *
 * An engine may stand on another one, whose operations it changes on the way: see bounce.h and
 * snapshot.h.
 *
 * Thread: create and destroy, on the loop's thread or while it does not run; the rest, on the loop.
 */
#ifndef DEVICES_BLK_IO_H
#define DEVICES_BLK_IO_H

#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum blk_io_type {
    BLK_IO_READ,
    BLK_IO_WRITE,
    BLK_IO_SYNC,
    BLK_IO_DISCARD, /* a range whose content is no longer of interest */
    BLK_IO_ZERO,    /* a range that reads as zeroes from then on */
    BLK_IO_ERASE,   /* a range nobody shall be able to read again, whatever the medium kept of it */
};
extern const char *const blk_io_names[]; /* by enum blk_io_type, for logs */

/*
 * One operation, embedded in its owner's structure, which must not touch it from submit to done.
 * The iovec array (at most IOV_MAX entries) is used up on the way: its entries are changed when a
 * transfer is continued. So are iov, bytes and offset.
 */
struct blk_io {
    enum blk_io_type type;
    bool stable;       /* WRITE: done only once the data are on stable storage */
    bool unmap;        /* ZERO: storage may be given back to the host */
    uint8_t retries;   /* the engine's, initially 0 */
    struct iovec *iov; /* READ and WRITE */
    unsigned iov_count;
    int error;       /* 0 or a negative errno; -EOPNOTSUPP: the host has no such operation */
    uint64_t bytes;  /* in all of iov, or of the range; not 0 but for SYNC */
    uint64_t offset; /* in the file */

    void (*done)(struct blk_io *io); /* `error` is set */
    struct blk_io *next;             /* the engine's; the owner's when not submitted */
};

/* How the host does to a range of a file what is neither read nor write. */
struct blk_method {
    enum { BLK_METHOD_NONE, BLK_METHOD_FALLOCATE, BLK_METHOD_IOCTL } kind;
    unsigned long code; /* a mode of fallocate, or an ioctl that takes {offset, length} */
};

/* What an engine works on. Constant while it does. */
struct blk_file {
    int fd;
    struct blk_method discard, zero, zero_unmap, erase;
};

/* The method for an operation that is neither read, write nor sync. */
const struct blk_method *blk_file_method(const struct blk_file *file, const struct blk_io *io);

/* Operations in the order they came. */
struct blk_io_list {
    struct blk_io *first, **end;
};

struct blk_engine;

struct blk_engine_ops {
    const char *name;
    void (*submit)(struct blk_engine *engine, struct blk_io *io);
    void (*flush)(struct blk_engine *engine);

    /* Flush, then block until there is progress; who waits for an operation calls it until that one
     * is done. Returns at once when nothing is in flight. */
    void (*wait)(struct blk_engine *engine);

    void (*destroy)(struct blk_engine *engine); /* nothing may be in flight */
};

struct blk_engine {
    const struct blk_engine_ops *ops;
    void (*batch_done)(void *opaque);
    void *opaque;
};

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS, BLK_AIO_INLINE };
extern const char *const blk_aio_names[]; /* by enum blk_aio, NULL-terminated */

/* Make an engine for `file`, which stays the caller's. AUTO: inline where the file is in memory,
 * else io_uring where the host allows it. The caller sets batch_done and opaque. */
int blk_engine_create(enum blk_aio choice, struct loop *loop, const struct blk_file *file,
                      struct blk_engine **out, struct error *err);

/* The engines. */
int blk_uring_create(struct loop *loop, const struct blk_file *file, struct blk_engine **out,
                     struct error *err);
int blk_threads_create(struct loop *loop, const struct blk_file *file, struct blk_engine **out,
                       struct error *err);
int blk_inline_create(struct loop *loop, const struct blk_file *file, struct blk_engine **out,
                      struct error *err);

/* For engines. */
void blk_io_list_init(struct blk_io_list *list);
void blk_io_list_add(struct blk_io_list *list, struct blk_io *io);
struct blk_io *blk_io_list_take(struct blk_io_list *list); /* the first, or NULL */

/* Carry an operation out with blocking system calls; `error` is set. Any thread. */
void blk_io_perform(const struct blk_file *file, struct blk_io *io);

/*
 * Account for the outcome of one system call: bytes transferred, 0 (end of file, or another type of
 * operation that worked) or a negative errno. True when the operation is over and `error` set;
 * false when it must be issued again for what remains.
 */
bool blk_io_advance(struct blk_io *io, int64_t result);

#endif
