#include "devices/rng.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define GETRANDOM    "getrandom"
#define REQUEST_MAX  (16 * KIB) /* for one buffer; less than it holds is allowed (5.4.6.2) */
#define TURN_BUFFERS 64
#define SECOND_NS    UINT64_C(1000000000)
#define PAUSE_NS     (SECOND_NS / 100) /* until the source, or the allowance, is looked at again */

struct rng {
    struct virtio_builtin *builtin;
    struct virtqueue *queue;
    int fd; /* -1: getrandom */
    bool fifo;
    uint64_t rate, burst; /* of the options */
    uint64_t allowance;   /* bytes that could be given out at `filled_ns` */
    uint64_t filled_ns;
    struct loop_timer pause;
};

static const struct option_spec rng_option_specs[] = {
    {.key = "source",
     .type = OPTION_STRING,
     .offset = offsetof(struct rng_options, source),
     .initial = GETRANDOM,
     .metavar = "getrandom|PATH",
     .help = "the host's generator, or a device, FIFO or file"},
    {.key = "rate",
     .type = OPTION_SIZE,
     .offset = offsetof(struct rng_options, rate),
     .max = GIB,
     .help = "bytes a second the guest gets at most (default: no limit)"},
    {.key = "burst",
     .type = OPTION_SIZE,
     .offset = offsetof(struct rng_options, burst),
     .max = GIB,
     .help = "bytes it gets at once after a rest (default: those of a second); needs rate"},
};

/* Bytes that may be given out now: they come with time, and some are saved for a burst. */
static uint64_t rng_allowance(struct rng *rng)
{
    uint64_t now = loop_now_ns(), elapsed = now - rng->filled_ns;
    uint64_t earned = (uint64_t)((unsigned __int128)elapsed * rng->rate / SECOND_NS);

    if (earned) { /* else a slow rate would never add up */
        rng->allowance =
            earned < rng->burst - rng->allowance ? rng->allowance + earned : rng->burst;
        rng->filled_ns = now;
    }
    return rng->allowance;
}

/* How many bytes a buffer may get now. Not in crumbs: a guest that reads on would ask for each. */
static uint64_t rng_most(struct rng *rng, const struct virtqueue_buffer *buffer)
{
    uint64_t wanted = MIN(buffer->writable_bytes, REQUEST_MAX);
    uint64_t least = MIN(MAX(rng->rate / (SECOND_NS / PAUSE_NS), UINT64_C(1)), rng->burst);
    uint64_t allowance;

    if (!rng->rate)
        return wanted;
    allowance = rng_allowance(rng);
    return allowance < MIN(wanted, least) ? 0 : MIN(wanted, allowance);
}

/* Random bytes for the buffer, at most `most`: how many, 0 at the end of the source, or -errno;
 * -EAGAIN when there are none yet. */
static ssize_t rng_fill(struct rng *rng, const struct virtqueue_buffer *buffer, size_t most)
{
    size_t done = 0;

    for (unsigned i = 0; i < buffer->writable_count && done < most; i++) {
        const struct iovec *iov = &buffer->writable[i];
        size_t len = MIN(iov->iov_len, most - done);
        ssize_t got = rng->fd < 0 ? getrandom(iov->iov_base, len, GRND_NONBLOCK)
                                  : read(rng->fd, iov->iov_base, len);

        if (got > 0)
            done += (size_t)got;
        else if (!done)
            return got < 0 ? -errno : rng->fifo ? -EAGAIN : 0; /* a FIFO's next writer may come */
        if (got < (ssize_t)len)
            break;
    }
    return done || !buffer->writable_bytes ? (ssize_t)done : -EAGAIN;
}

/* RNG-02: a buffer is used with one byte or more, or it has to wait. */
static bool rng_answer(struct rng *rng, struct virtqueue_buffer *buffer)
{
    const char *name = virtio_builtin_name(rng->builtin);
    ssize_t got = rng_fill(rng, buffer, rng_most(rng, buffer));

    if (buffer->readable_count)
        log_limited(LOG_INFO, "rng", "%s: DRV-RNG-01: a buffer has a readable part", name);
    if (got > 0 || !buffer->writable_bytes) {
        rng->allowance -= rng->rate ? (uint64_t)got : 0;
        virtqueue_push(rng->queue, buffer, (uint32_t)got);
        return true;
    }
    virtqueue_unpop(rng->queue, buffer);
    if (got == -EAGAIN || got == -EINTR)
        loop_timer_set(virtio_builtin_loop(rng->builtin), &rng->pause, PAUSE_NS);
    else
        log_limited(LOG_WARN, "rng", "%s: its source gives no more: %s", name,
                    got ? strerror((int)-got) : "it came to its end");
    return false;
}

static int rng_queue_ready(void *model, struct virtqueue *queue)
{
    struct rng *rng = model;
    struct virtqueue_buffer *buffer;

    rng->queue = queue;
    for (int i = 0; i < TURN_BUFFERS; i++) {
        int r = virtqueue_pop(queue, &buffer);

        if (r <= 0)
            return r;
        if (!rng_answer(rng, buffer))
            return 0;
    }
    loop_timer_set(virtio_builtin_loop(rng->builtin), &rng->pause, 1); /* others' turn */
    return 0;
}

static void rng_pause_ends(struct loop_timer *timer)
{
    struct rng *rng = container_of(timer, struct rng, pause);
    int r = rng_queue_ready(rng, rng->queue);

    virtqueue_publish(rng->queue);
    if (r < 0)
        virtio_builtin_broken(rng->builtin, rng->queue);
}

static void rng_queue_drain(void *model, struct virtqueue *queue)
{
    struct rng *rng = model;

    (void)queue; /* nothing is in flight */
    loop_timer_cancel(virtio_builtin_loop(rng->builtin), &rng->pause);
}

/* RNG-01: the type has no bits. */
static void rng_get_features(void *model, struct virtio_features *out)
{
    (void)model, (void)out;
}

static int rng_open(struct rng *rng, const char *source, struct error *err)
{
    struct stat status;

    if (strcmp(source, GETRANDOM) == 0)
        return 0;
    rng->fd = open(source, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (rng->fd < 0 || fstat(rng->fd, &status) < 0)
        return error_errno(err, errno, "source: cannot open %s", source);
    if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode))
        return error_set(err, EINVAL, "source: %s is no file, character device or FIFO", source);
    rng->fifo = S_ISFIFO(status.st_mode);
    return 0;
}

static void rng_destroy(void *model)
{
    struct rng *rng = model;

    if (rng->fd >= 0)
        close(rng->fd);
    free(rng);
}

static int rng_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    const struct rng_options *o = options;
    struct rng *rng;
    int r;

    if (o->burst && !o->rate)
        return error_set(err, EINVAL, "burst: needs rate");
    rng = calloc(1, sizeof(*rng));
    if (!rng)
        return error_errno(err, ENOMEM, "cannot create the device");
    *rng = (struct rng){.builtin = b, .fd = -1, .rate = o->rate, .filled_ns = loop_now_ns()};
    rng->allowance = rng->burst = o->burst ? o->burst : o->rate;
    rng->pause.expired = rng_pause_ends;
    r = rng_open(rng, o->source, err);
    if (r < 0) {
        rng_destroy(rng);
        return r;
    }
    *out = rng;
    return 0;
}

static const struct virtio_model_state rng_state; /* none: what it hands out is forgotten */

const struct virtio_model rng_model = {
    .name = "rng",
    .id = VIRTIO_ID_ENTROPY,
    .help = "random numbers, from the host's generator or a file",
    .options = rng_option_specs,
    .option_count = ARRAY_SIZE(rng_option_specs),
    .options_size = sizeof(struct rng_options),
    .queues_default = 1,
    .queues_max = 1,
    .queue_size_default = 64,
    .create = rng_create,
    .destroy = rng_destroy,
    .get_features = rng_get_features,
    .queue_ready = rng_queue_ready,
    .queue_drain = rng_queue_drain,
    .state = &rng_state,
};
