#include "devices/blk/blk.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/config.h"
#include "devices/blk/lifetime.h"
#include "devices/blk/request.h"
#include "devices/blk/resize.h"
#include "devices/blk/state.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>

static const char *const cache_names[] = {"writeback", "writethrough", "unsafe", NULL};

#define FIELD(name) .offset = offsetof(struct blk_options, name)

static const struct option_spec blk_option_specs[] = {
    {.key = "path",
     .type = OPTION_STRING,
     FIELD(path),
     .help = "raw image file or block device",
     .metavar = "PATH",
     .required = true},
    {.key = "readonly",
     .type = OPTION_BOOL,
     FIELD(readonly),
     .initial = "off",
     .help = "refuse writes; several machines may then share the image"},
    {.key = "snapshot",
     .type = OPTION_BOOL,
     FIELD(snapshot),
     .initial = "off",
     .help = "write to a temporary file (in $TMPDIR or /var/tmp) instead"},
    {.key = "serial",
     .type = OPTION_STRING,
     FIELD(serial),
     .help = "serial number the guest sees, up to 20 bytes",
     .metavar = "TEXT"},
    {.key = "cache",
     .type = OPTION_CHOICE,
     FIELD(cache),
     .initial = "writeback",
     .choices = cache_names,
     .help = "stable after a flush, each write, or whenever"},
    {.key = "direct",
     .type = OPTION_BOOL,
     FIELD(direct),
     .initial = "off",
     .help = "O_DIRECT: go around the host's page cache"},
    {.key = "aio",
     .type = OPTION_CHOICE,
     FIELD(aio),
     .initial = "auto",
     .choices = blk_aio_names,
     .help = "host I/O (auto: inline for files in memory, else io_uring)"},
    {.key = "logical-block-size",
     .type = OPTION_SIZE,
     FIELD(logical_block_size),
     .help = "of the disk the guest sees, 512 to 64K (default: the host's)"},
    {.key = "physical-block-size",
     .type = OPTION_SIZE,
     FIELD(physical_block_size),
     .help = "as advice for the guest, up to 64K (default: the host's)"},
    {.key = "seg-max",
     .type = OPTION_UINT,
     FIELD(seg_max),
     .max = VIRTQUEUE_CHAIN_MAX - 2,
     .help = "segments in a request (default: 126, or what the queue size allows)"},
    {.key = "size-max",
     .type = OPTION_SIZE,
     FIELD(size_max),
     .min = BLK_SECTOR_SIZE,
     .max = UINT32_MAX,
     .help = "bytes in a segment (default: no limit)"},
    {.key = "cyls",
     .type = OPTION_UINT,
     FIELD(cyls),
     .max = UINT16_MAX,
     .help = "cylinders of the disk's geometry (default: what the size makes)"},
    {.key = "heads",
     .type = OPTION_UINT,
     FIELD(heads),
     .max = UINT8_MAX,
     .help = "heads of its geometry (default: 16)"},
    {.key = "secs",
     .type = OPTION_UINT,
     FIELD(secs),
     .max = UINT8_MAX,
     .help = "sectors in a track of its geometry (default: 63)"},
};

static const struct virtio_feature_name blk_feature_names[] = {
    {"size_max", BLK_F_SIZE_MAX, -1, "limit on the bytes of a segment (with size-max=)"},
    {"seg_max", BLK_F_SEG_MAX, -1, "limit on the segments of a request"},
    {"geometry", BLK_F_GEOMETRY, -1, "cylinders, heads and sectors, as of old"},
    {"ro", BLK_F_RO, -1, "the disk is read-only (with readonly=on)"},
    {"blk_size", BLK_F_BLK_SIZE, -1, "logical block size"},
    {"flush", BLK_F_FLUSH, -1, "flush command and writeback caching"},
    {"topology", BLK_F_TOPOLOGY, -1, "physical block size and preferred request sizes"},
    /* BLK-13: not offered without FLUSH; BLK-14: but a driver may take it alone. */
    {"config_wce", BLK_F_CONFIG_WCE, BLK_F_FLUSH | FEATURE_OFFER_ONLY,
     "cache mode the driver can change"},
    {"mq", BLK_F_MQ, -1, "several queues (with queues=2 or more)"},
    {"discard", BLK_F_DISCARD, -1, "ranges given back to the host (where it can take them)"},
    {"write_zeroes", BLK_F_WRITE_ZEROES, -1, "ranges zeroed without sending zeroes"},
    {"lifetime", BLK_F_LIFETIME, -1, "wear of the medium (where the host knows it: eMMC)"},
    {"secure_erase", BLK_F_SECURE_ERASE, -1,
     "ranges erased for good (block devices that can do it)"},
};

static const struct virtio_command blk_commands[] = {
    {"resize", "SIZE|auto", "make the disk so large, or as large as its image is now", blk_resize},
};

static void blk_publish(struct blk_queue *queue)
{
    if (!queue->unpublished)
        return;
    queue->unpublished = false;
    virtqueue_publish(queue->ring);
}

/* The engine has run completions, perhaps of several queues. */
static void blk_batch_done(void *opaque)
{
    struct blk *blk = opaque;

    for (uint16_t i = 0; i < blk->queue_count; i++)
        blk_publish(&blk->queues[i]);
}

static int blk_queue_ready(void *model, struct virtqueue *ring)
{
    struct blk *blk = model;
    struct blk_queue *queue = &blk->queues[ring->index];
    struct virtqueue_buffer *buffer;
    int r;

    queue->ring = ring;
    blk->drain_until_ns = 0;
    while ((r = virtqueue_pop(ring, &buffer)) > 0) {
        r = blk_request_start(blk, queue, buffer);
        if (r < 0)
            break;
    }
    /* Also when the queue is broken: what came before is sound. */
    blk->engine->ops->flush(blk->engine);
    blk_publish(queue);
    return r;
}

static void blk_queue_drain(void *model, struct virtqueue *ring)
{
    struct blk *blk = model;

    blk_drain(blk, &blk->queues[ring->index]);
}

static void blk_get_features(void *model, struct virtio_features *out)
{
    const struct blk *blk = model;
    const struct blk_file *file = blk->backing.written;

    features_set(out, BLK_F_SIZE_MAX, blk->size_max > 0);
    features_set(out, BLK_F_SEG_MAX, true);
    features_set(out, BLK_F_GEOMETRY, true);
    features_set(out, BLK_F_RO, blk->readonly);
    features_set(out, BLK_F_BLK_SIZE, true);
    features_set(out, BLK_F_FLUSH, true);
    features_set(out, BLK_F_TOPOLOGY, true);
    features_set(out, BLK_F_CONFIG_WCE, true);
    features_set(out, BLK_F_MQ, blk->queue_count > 1);
    features_set(out, BLK_F_DISCARD, !blk->readonly && file->discard.kind != BLK_METHOD_NONE);
    features_set(out, BLK_F_WRITE_ZEROES, !blk->readonly);
    features_set(out, BLK_F_LIFETIME, blk->lifetime); /* BLK-24, BLK-34 */
    features_set(out, BLK_F_SECURE_ERASE, !blk->readonly && file->erase.kind != BLK_METHOD_NONE);
}

/* A driver that cannot flush starts with a cache that needs no flushing (BLK-14, BLK-23). What a
 * legacy one with CONFIG_WCE has chosen before stays (BLK-29). */
static void blk_set_features(void *model, const struct virtio_features *negotiated)
{
    struct blk *blk = model;
    bool legacy = !features_has(negotiated, VIRTIO_F_VERSION_1);

    blk->negotiated = *negotiated;
    blk->accepted = true;
    blk->framed = legacy && !features_has(negotiated, VIRTIO_F_ANY_LAYOUT);
    blk->seg_limited = blk_has(blk, BLK_F_SEG_MAX);
    blk->size_limited = blk_has(blk, BLK_F_SIZE_MAX);
    if (!legacy || !blk_has(blk, BLK_F_CONFIG_WCE))
        atomic_store(&blk->writeback, blk->cache_at_first && blk_has(blk, BLK_F_FLUSH));
}

static void blk_reset(void *model)
{
    struct blk *blk = model;

    blk->negotiated = (struct virtio_features){0};
    blk->accepted = blk->framed = blk->seg_limited = blk->size_limited = false;
    atomic_store(&blk->writeback, blk->cache_at_first);
    blk_requests_free(blk);
}

static int blk_set_id(struct blk *blk, const char *serial, struct error *err)
{
    size_t len = serial ? strlen(serial) : 0;

    if (len > BLK_ID_SIZE)
        return error_set(err, EINVAL, "serial: '%s' has %zu bytes, %d is the most", serial, len,
                         BLK_ID_SIZE);
    if (len > 0)
        memcpy(blk->id, serial, len);
    return 0;
}

/* With header and status, a request must fit into a queue's descriptors. */
static int blk_set_limits(struct blk *blk, const struct blk_options *options, uint16_t queue_size,
                          struct error *err)
{
    uint16_t room = (uint16_t)(queue_size > 3 ? MIN(queue_size - 2, VIRTQUEUE_CHAIN_MAX - 2) : 1);

    if (options->seg_max > room)
        return error_set(err, EINVAL, "seg-max: a queue of %u has room for %u", queue_size, room);
    blk->seg_max = (uint16_t)(options->seg_max ? options->seg_max : MIN(room, BLK_SEG_MAX));
    blk->size_max = (uint32_t)options->size_max;
    blk->geometry = (struct blk_geometry){
        .cylinders = (uint16_t)options->cyls,
        .heads = (uint8_t)(options->heads ? options->heads : 16),
        .sectors = (uint8_t)(options->secs ? options->secs : 63),
    };
    return 0;
}

static int blk_open(struct blk *blk, const struct blk_options *options, struct error *err)
{
    const struct blk_backing_options backing = {
        .image = {.path = options->path,
                  .readonly = options->readonly,
                  .direct = options->direct,
                  .logical_block_size = options->logical_block_size,
                  .physical_block_size = options->physical_block_size},
        .aio = (enum blk_aio)options->aio,
        .snapshot = options->snapshot,
    };
    uint8_t lifetime[BLK_LIFETIME_SIZE];
    int r = blk_backing_open(&blk->backing, &backing, virtio_builtin_loop(blk->builtin), err);

    if (r < 0)
        return r;
    blk->engine = blk->backing.engine;
    blk->engine->batch_done = blk_batch_done;
    blk->engine->opaque = blk;
    blk->lifetime =
        blk->backing.image.sysfs && blk_lifetime_read(blk->backing.image.sysfs, lifetime) == 0;
    atomic_store(&blk->sectors, blk->backing.image.sectors);
    log_debug("blk", "%s: %s by %s", virtio_builtin_name(blk->builtin), blk->path,
              blk->backing.aio);
    return 0;
}

static void blk_destroy(void *model)
{
    struct blk *blk = model;

    if (blk->engine)
        blk_backing_close(&blk->backing);
    blk_requests_free(blk);
    free(blk->queues);
    free(blk);
}

static int blk_init(struct blk *blk, const struct blk_options *options, struct error *err)
{
    int r;

    blk->path = options->path;
    blk->readonly = options->readonly;
    blk->unsafe = options->cache == BLK_CACHE_UNSAFE || options->snapshot;
    blk->cache_at_first = options->cache != BLK_CACHE_WRITETHROUGH;
    atomic_init(&blk->writeback, blk->cache_at_first);
    blk->queue_count = virtio_builtin_queue_count(blk->builtin);
    blk->queues = calloc(blk->queue_count, sizeof(*blk->queues));
    if (!blk->queues)
        return error_errno(err, ENOMEM, "cannot create the disk");
    r = blk_set_id(blk, options->serial, err);
    if (r == 0)
        r = blk_set_limits(blk, options, virtio_builtin_queue_size(blk->builtin), err);
    if (r == 0)
        r = blk_open(blk, options, err);
    if (r == 0)
        blk_config_fill(blk);
    return r;
}

static int blk_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    struct blk *blk = calloc(1, sizeof(*blk));
    int r;

    if (!blk)
        return error_errno(err, ENOMEM, "cannot create the disk");
    blk->builtin = b;
    r = blk_init(blk, options, err);
    if (r < 0) {
        blk_destroy(blk);
        return r;
    }
    *out = blk;
    return 0;
}

/* Of what a driver can set, only the cache mode is not in the rings. */
static void blk_save(void *model, uint8_t *out)
{
    struct blk *blk = model;

    *out = atomic_load(&blk->writeback);
}

static int blk_load(void *model, const uint8_t *in, struct error *err)
{
    struct blk *blk = model;

    if (*in > 1)
        return error_set(err, EINVAL, "a disk with cache mode %u", *in);
    if (blk_has(blk, BLK_F_CONFIG_WCE)) /* else features decide (5.2.5) */
        atomic_store(&blk->writeback, *in);
    return 0;
}

static const struct virtio_model_state blk_state = {.size = 1, .save = blk_save, .load = blk_load};

const struct virtio_model blk_model = {
    .name = "blk",
    .id = VIRTIO_ID_BLOCK,
    .help = "disk backed by a raw image file or block device",
    .options = blk_option_specs,
    .option_count = ARRAY_SIZE(blk_option_specs),
    .options_size = sizeof(struct blk_options),
    .features = blk_feature_names,
    .feature_count = ARRAY_SIZE(blk_feature_names),
    .config_size =
        60, /* without what is about secure erase and zones: some programs know no more */
    .queues_default = 0,
    .queues_max = 64,
    .queue_size_default = 256,
    .commands = blk_commands,
    .command_count = ARRAY_SIZE(blk_commands),
    .create = blk_create,
    .destroy = blk_destroy,
    .get_features = blk_get_features,
    .set_features = blk_set_features,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .queue_ready = blk_queue_ready,
    .queue_drain = blk_queue_drain,
    .reset = blk_reset,
    .state = &blk_state,
};
