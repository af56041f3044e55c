/*
 * Host I/O by io_uring: operations go to the kernel in batches, results come back through a ring
 * in shared memory, and the loop watches the ring's own file descriptor.
 *
 *   submit -> waiting --(while the rings have room)--> submission ring -- flush: one system call
 *   completion ring -> done()
 *
 * What the page cache can answer is complete when flush returns from the kernel, and is reaped
 * there and then, without a turn of the loop.
 *
 * The file is not registered with the ring: the kernel lets go of a registered one only some time
 * after the end of the process, whose successor would find the image locked.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/io.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

/* Two pages of memory in all. The completion ring is made twice as large as the submission ring; no
 * more operations than it holds are in the rings and the kernel together, so it cannot overflow. */
#define RING_ENTRIES 64
#define RING_LIMIT   (2 * RING_ENTRIES)

/* When to try again after the host had no memory to take any operation. */
#define RETRY_NS 1000000

struct uring {
    struct blk_engine engine;
    struct loop *loop;
    struct loop_fd event;    /* the ring's descriptor, readable while completions wait */
    struct loop_timer retry; /* set when no completion would bring us back */
    const struct blk_file *file;
    struct blk_engine *helper; /* for what no ring does (ioctls); made when first wanted */
    struct io_uring ring;
    struct blk_io_list waiting;
    unsigned in_ring; /* given to the submission ring and not completed */
};

static void helper_batch_done(void *opaque);

/* The engine for operations that are ioctls, or NULL when there is no memory for one. */
static struct blk_engine *uring_helper(struct uring *u)
{
    if (!u->helper && blk_threads_create(u->loop, u->file, &u->helper, NULL) == 0) {
        u->helper->batch_done = helper_batch_done;
        u->helper->opaque = u;
    }
    return u->helper;
}

static void uring_submit_range(struct uring *u, struct blk_io *io)
{
    const struct blk_method *method = blk_file_method(u->file, io);

    if (method->kind == BLK_METHOD_FALLOCATE) {
        blk_io_list_add(&u->waiting, io);
        return;
    }
    if (method->kind == BLK_METHOD_IOCTL && uring_helper(u)) {
        u->helper->ops->submit(u->helper, io);
        return;
    }
    io->error = method->kind == BLK_METHOD_NONE ? -EOPNOTSUPP : -ENOMEM;
    io->done(io);
}

static void uring_submit(struct blk_engine *engine, struct blk_io *io)
{
    struct uring *u = container_of(engine, struct uring, engine);

    if (io->type > BLK_IO_SYNC)
        uring_submit_range(u, io);
    else
        blk_io_list_add(&u->waiting, io);
}

/* One buffer needs no array of them, which the kernel would have to copy first. */
static void uring_prepare_transfer(const struct uring *u, struct io_uring_sqe *sqe,
                                   const struct blk_io *io)
{
    bool write = io->type == BLK_IO_WRITE, single = io->iov_count == 1;
    const void *address = single ? io->iov->iov_base : io->iov;
    unsigned length = single ? (unsigned)io->iov->iov_len : io->iov_count;
    uint8_t operation = single ? (write ? IORING_OP_WRITE : IORING_OP_READ)
                               : (write ? IORING_OP_WRITEV : IORING_OP_READV);

    io_uring_prep_rw(operation, sqe, u->file->fd, address, length, io->offset);
    if (io->stable)
        sqe->rw_flags = RWF_DSYNC;
}

static void uring_prepare(const struct uring *u, struct io_uring_sqe *sqe, struct blk_io *io)
{
    if (io->type <= BLK_IO_WRITE)
        uring_prepare_transfer(u, sqe, io);
    else if (io->type == BLK_IO_SYNC)
        io_uring_prep_fsync(sqe, u->file->fd, IORING_FSYNC_DATASYNC);
    else
        io_uring_prep_fallocate(sqe, u->file->fd, (int)blk_file_method(u->file, io)->code,
                                (off_t)io->offset, (off_t)io->bytes);
    io_uring_sqe_set_data(sqe, io);
}

/* Move what fits from `waiting` into the submission ring. */
static void uring_fill(struct uring *u)
{
    while (u->waiting.first && u->in_ring < RING_LIMIT) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

        if (!sqe)
            return;
        uring_prepare(u, sqe, blk_io_list_take(&u->waiting));
        u->in_ring++;
    }
}

/*
 * Hand the submission ring to the kernel, blocking until `wait` completions are there. Returns how
 * many operations it took: a host short of memory may take a part, or none (-EAGAIN, -EBUSY), and
 * the rest stays in the ring for the next time.
 */
static unsigned uring_enter(struct uring *u, unsigned wait)
{
    if (io_uring_sq_ready(&u->ring) == 0 && wait == 0)
        return 0;

    int r = io_uring_submit_and_wait(&u->ring, wait);
    if (r >= 0)
        return (unsigned)r;
    if (r != -EINTR && r != -EAGAIN && r != -EBUSY)
        log_limited(LOG_ERROR, "blk", "io_uring does not take requests: %s", strerror(-r));
    if (wait > 0 && r != -EINTR)
        nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
    return 0;
}

/* Call done for what is over, and put what is not back in line. Returns how many completions there
 * were. */
static unsigned uring_reap(struct uring *u, bool *any_done)
{
    const struct io_uring_cqe *cqe;
    unsigned head, seen = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        struct blk_io *io = io_uring_cqe_get_data(cqe);

        seen++;
        u->in_ring--;
        if (!blk_io_advance(io, cqe->res)) {
            blk_io_list_add(&u->waiting, io);
            continue;
        }
        io->done(io);
        *any_done = true;
    }
    if (seen > 0)
        io_uring_cq_advance(&u->ring, seen);
    return seen;
}

/* Submit and reap for as long as there is something to submit and the kernel takes it. */
static void uring_service(struct uring *u, unsigned wait)
{
    bool any_done = false;
    unsigned progress, left;

    do {
        uring_fill(u);
        progress = uring_enter(u, wait);
        progress += uring_reap(u, &any_done);
        left = io_uring_sq_ready(&u->ring);
        wait = 0;
    } while (progress > 0 && (left > 0 || (u->waiting.first && u->in_ring < RING_LIMIT)));

    if (left > 0 && left == u->in_ring)
        loop_timer_set(u->loop, &u->retry, RETRY_NS);
    if (u->helper)
        u->helper->ops->flush(u->helper);
    if (any_done)
        u->engine.batch_done(u->engine.opaque);
}

static void uring_flush(struct blk_engine *engine)
{
    struct uring *u = container_of(engine, struct uring, engine);

    if (u->waiting.first)
        uring_service(u, 0);
    else if (u->helper)
        u->helper->ops->flush(u->helper);
}

/* What the helper finished may have submitted to the ring. */
static void helper_batch_done(void *opaque)
{
    struct uring *u = opaque;

    uring_flush(&u->engine);
    u->engine.batch_done(u->engine.opaque);
}

static void uring_wait(struct blk_engine *engine)
{
    struct uring *u = container_of(engine, struct uring, engine);

    if (u->in_ring > 0 || u->waiting.first)
        uring_service(u, 1);
    else if (u->helper)
        u->helper->ops->wait(u->helper);
}

static void uring_ready(struct loop_fd *self, uint32_t events)
{
    (void)events;
    uring_service(container_of(self, struct uring, event), 0);
}

static void uring_retry(struct loop_timer *self)
{
    uring_service(container_of(self, struct uring, retry), 0);
}

static void uring_destroy(struct blk_engine *engine)
{
    struct uring *u = container_of(engine, struct uring, engine);

    if (u->helper)
        u->helper->ops->destroy(u->helper);
    loop_timer_cancel(u->loop, &u->retry);
    loop_fd_remove(u->loop, &u->event);
    io_uring_queue_exit(&u->ring);
    free(u);
}

static const struct blk_engine_ops uring_ops = {
    .name = "io_uring",
    .submit = uring_submit,
    .flush = uring_flush,
    .wait = uring_wait,
    .destroy = uring_destroy,
};

/*
 * Let the ring do what disks need and nothing else, for good: what it does is seen by no filter of
 * system calls that the process is held to.
 */
static int ring_restrict(struct io_uring *ring)
{
    static const uint8_t operations[] = {IORING_OP_READ,   IORING_OP_WRITE, IORING_OP_READV,
                                         IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
    struct io_uring_restriction allowed[ARRAY_SIZE(operations)] = {0};
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
        allowed[i].sqe_op = operations[i];
    }
    r = io_uring_register_restrictions(ring, allowed, ARRAY_SIZE(allowed));
    if (r == 0)
        r = io_uring_enable_rings(ring);
    if (r < 0)
        io_uring_queue_exit(ring);
    return r;
}

static int ring_create(struct io_uring *ring, struct error *err)
{
    /* Completions need not interrupt the loop's thread at work: it looks for them when it is back
     * in the kernel. Linux 5.19; older ones do without. */
    int r = io_uring_queue_init(RING_ENTRIES, ring,
                                IORING_SETUP_COOP_TASKRUN | IORING_SETUP_R_DISABLED);

    if (r == -EINVAL)
        r = io_uring_queue_init(RING_ENTRIES, ring, IORING_SETUP_R_DISABLED);
    if (r == 0)
        r = ring_restrict(ring);
    else if (r == -EINVAL) /* before Linux 5.10 */
        r = io_uring_queue_init(RING_ENTRIES, ring, 0);
    if (r == -EPERM || r == -ENOSYS)
        return error_errno(err, -r, "the host does not allow io_uring");
    if (r < 0)
        return error_errno(err, -r, "cannot set up io_uring");
    return 0;
}

int blk_uring_create(struct loop *loop, const struct blk_file *file, struct blk_engine **out,
                     struct error *err)
{
    struct uring *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return error_errno(err, ENOMEM, "cannot set up io_uring");
    r = ring_create(&u->ring, err);
    if (r < 0)
        goto fail;

    u->engine.ops = &uring_ops;
    u->loop = loop;
    u->file = file;
    u->retry.expired = uring_retry;
    blk_io_list_init(&u->waiting);
    u->event = (struct loop_fd){.fd = u->ring.ring_fd, .events = EPOLLIN, .ready = uring_ready};
    r = loop_fd_add(loop, &u->event, err);
    if (r < 0) {
        io_uring_queue_exit(&u->ring);
        goto fail;
    }
    *out = &u->engine;
    return 0;
fail:
    free(u);
    return r;
}
