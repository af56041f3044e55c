/*
 * Asynchronous host I/O for one file: the interface of an engine, and the choice between two.
 *
 *     submit, submit, ...     queue operations up; nothing happens yet
 *     flush                   start them all, with one system call where the engine can
 *     [loop]                  the engine watches a descriptor of its own on the loop
 *     done(op)                called for each operation when it is over, whatever the order
 *     batch_done              called after a series of done(), to publish them together
 *
 * Completions are run within flush, within wait and from the loop, never within submit. Short
 * transfers are continued by the engine, so an operation either succeeds whole or fails.
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

enum blk_io_type { BLK_IO_READ, BLK_IO_WRITE, BLK_IO_SYNC };

/*
 * One operation, embedded in its owner's structure, which must not touch it from submit to done.
 * The iovec array (at most IOV_MAX entries) is used up on the way: its entries are changed when a
 * transfer is continued.
 */
struct blk_io {
    enum blk_io_type type;
    bool stable;       /* WRITE: done only once the data are on stable storage */
    struct iovec *iov; /* READ and WRITE */
    unsigned iov_count;
    size_t bytes;    /* in all of iov; not 0 */
    uint64_t offset; /* in the file */

    void (*done)(struct blk_io *io); /* `error` is set */
    int error;                       /* 0 or a negative errno */
    struct blk_io *next;             /* the engine's; the owner's when not submitted */
    uint8_t retries;                 /* the engine's, initially 0 */
};

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

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS };
extern const char *const blk_aio_names[]; /* by enum blk_aio, NULL-terminated */

/* Make an engine for `fd`, which stays the caller's. AUTO: io_uring where the host allows it. The
 * caller sets batch_done and opaque. */
int blk_engine_create(enum blk_aio choice, struct loop *loop, int fd, struct blk_engine **out,
                      struct error *err);

/* The engines. */
int blk_uring_create(struct loop *loop, int fd, struct blk_engine **out, struct error *err);
int blk_threads_create(struct loop *loop, int fd, struct blk_engine **out, struct error *err);

/* For engines. */
void blk_io_list_init(struct blk_io_list *list);
void blk_io_list_add(struct blk_io_list *list, struct blk_io *io);
struct blk_io *blk_io_list_take(struct blk_io_list *list); /* the first, or NULL */

/*
 * Account for the outcome of one system call: bytes transferred, 0 (end of file, or a sync that
 * worked) or a negative errno. True when the operation is over and `error` set; false when it must
 * be issued again for what remains.
 */
bool blk_io_advance(struct blk_io *io, int64_t result);

#endif
