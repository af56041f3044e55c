#include "devices/blk/blk.h"

#include "base/bytes.h"
#include "devices/blk/request.h"
#include "devices/blk/state.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>

static const struct option_spec blk_option_specs[] = {
    {.key = "path",
     .type = OPTION_STRING,
     .offset = offsetof(struct blk_options, path),
     .help = "raw image file or block device",
     .metavar = "PATH",
     .required = true},
    {.key = "readonly",
     .type = OPTION_BOOL,
     .offset = offsetof(struct blk_options, readonly),
     .initial = "off",
     .help = "refuse writes; several machines may then share the image"},
    {.key = "serial",
     .type = OPTION_STRING,
     .offset = offsetof(struct blk_options, serial),
     .help = "serial number the guest sees, up to 20 bytes",
     .metavar = "TEXT"},
    {.key = "aio",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct blk_options, aio),
     .initial = "auto",
     .choices = blk_aio_names,
     .help = "host I/O engine (auto: io_uring where the host allows it)"},
};

/* CONFIG_WCE names no prerequisite: a driver may take it without FLUSH (BLK-14). */
static const struct virtio_feature_name blk_feature_names[] = {
    {"seg_max", BLK_F_SEG_MAX, -1, "limit on the segments of a request"},
    {"ro", BLK_F_RO, -1, "the disk is read-only (with readonly=on)"},
    {"blk_size", BLK_F_BLK_SIZE, -1, "logical block size"},
    {"flush", BLK_F_FLUSH, -1, "flush command and writeback caching"},
    {"topology", BLK_F_TOPOLOGY, -1, "physical block size and preferred request sizes"},
    /* BLK-13: not offered without FLUSH; BLK-14: but a driver may take it alone. */
    {"config_wce", BLK_F_CONFIG_WCE, BLK_F_FLUSH | FEATURE_OFFER_ONLY,
     "cache mode the driver can change"},
    {"mq", BLK_F_MQ, -1, "several queues (with queues=2 or more)"},
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
    struct blk_queue *queue = &blk->queues[ring->index];

    while (queue->in_flight > 0)
        blk->engine->ops->wait(blk->engine);
}

static void blk_get_features(void *model, struct virtio_features *out)
{
    const struct blk *blk = model;

    features_set(out, BLK_F_SEG_MAX, true);
    features_set(out, BLK_F_RO, blk->image.readonly);
    features_set(out, BLK_F_BLK_SIZE, true);
    features_set(out, BLK_F_FLUSH, true);
    features_set(out, BLK_F_TOPOLOGY, true);
    features_set(out, BLK_F_CONFIG_WCE, true);
    features_set(out, BLK_F_MQ, blk->queue_count > 1);
}

/* A driver that cannot flush starts with a cache that needs no flushing (BLK-14, BLK-23). */
static void blk_set_features(void *model, const struct virtio_features *negotiated)
{
    struct blk *blk = model;

    blk->negotiated = *negotiated;
    atomic_store(&blk->writeback, features_has(negotiated, BLK_F_FLUSH));
}

static void blk_reset(void *model)
{
    struct blk *blk = model;

    blk->negotiated = (struct virtio_features){0};
    atomic_store(&blk->writeback, true);
    blk_requests_free(blk);
}

/* 5.2.4 Device configuration layout */
enum blk_config_offset {
    BLK_CONFIG_CAPACITY = 0,
    BLK_CONFIG_SEG_MAX = 12,
    BLK_CONFIG_BLK_SIZE = 20,
    BLK_CONFIG_PHYSICAL_BLOCK_EXP = 24,
    BLK_CONFIG_ALIGNMENT_OFFSET = 25,
    BLK_CONFIG_MIN_IO_SIZE = 26,
    BLK_CONFIG_OPT_IO_SIZE = 28,
    BLK_CONFIG_WRITEBACK = 32,
    BLK_CONFIG_NUM_QUEUES = 34,
};

static void blk_config_fill(struct blk *blk)
{
    uint8_t *c = blk->config;

    store_le64(c + BLK_CONFIG_CAPACITY, blk->image.sectors);
    store_le32(c + BLK_CONFIG_SEG_MAX, blk->seg_max);
    store_le32(c + BLK_CONFIG_BLK_SIZE, blk->image.block_size);
    c[BLK_CONFIG_PHYSICAL_BLOCK_EXP] = blk->image.physical_block_exp;
    c[BLK_CONFIG_ALIGNMENT_OFFSET] = blk->image.alignment_offset;
    store_le16(c + BLK_CONFIG_MIN_IO_SIZE, blk->image.min_io_blocks);
    store_le32(c + BLK_CONFIG_OPT_IO_SIZE, blk->image.opt_io_blocks);
    store_le16(c + BLK_CONFIG_NUM_QUEUES, blk->queue_count);
}

static void blk_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    const struct blk *blk = model;
    uint8_t config[BLK_CONFIG_SIZE];

    memcpy(config, blk->config, sizeof(config));
    config[BLK_CONFIG_WRITEBACK] = atomic_load(&blk->writeback);
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

/* Of all fields only `writeback` can be written, and only with CONFIG_WCE (5.2.5). */
static void blk_config_write(void *model, uint32_t offset, const void *data, uint32_t len)
{
    struct blk *blk = model;

    if (!features_has(&blk->negotiated, BLK_F_CONFIG_WCE) || offset > BLK_CONFIG_WRITEBACK ||
        len <= BLK_CONFIG_WRITEBACK - offset)
        return;
    atomic_store(&blk->writeback, ((const uint8_t *)data)[BLK_CONFIG_WRITEBACK - offset] != 0);
}

static int blk_set_id(struct blk *blk, const char *serial, struct error *err)
{
    size_t len = serial ? strlen(serial) : 0;

    if (len > BLK_ID_SIZE)
        return error_set(err, EINVAL, "serial=%s has %zu bytes, %d is the most", serial, len,
                         BLK_ID_SIZE);
    if (len > 0)
        memcpy(blk->id, serial, len);
    return 0;
}

static int blk_open(struct blk *blk, const struct blk_options *options, struct loop *loop,
                    struct error *err)
{
    int r = blk_set_id(blk, options->serial, err);

    if (r == 0)
        r = blk_image_open(&blk->image, options->path, options->readonly, err);
    if (r == 0)
        r = blk_engine_create((enum blk_aio)options->aio, loop, blk->image.fd, &blk->engine, err);
    if (r < 0)
        return r;
    blk->engine->batch_done = blk_batch_done;
    blk->engine->opaque = blk;
    blk_config_fill(blk);
    return 0;
}

static void blk_destroy(void *model)
{
    struct blk *blk = model;

    if (blk->engine)
        blk->engine->ops->destroy(blk->engine);
    blk_image_close(&blk->image);
    blk_requests_free(blk);
    free(blk->queues);
    free(blk);
}

static int blk_create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    const struct blk_options *blk_options = options;
    struct blk *blk = calloc(1, sizeof(*blk));
    uint16_t size = virtio_builtin_queue_size(b);
    int r;

    if (!blk)
        return error_errno(err, ENOMEM, "cannot create the disk");
    blk->path = blk_options->path;
    blk->image.fd = -1;
    atomic_init(&blk->writeback, true);
    blk->queue_count = virtio_builtin_queue_count(b);
    blk->seg_max = (uint16_t)(size > 3 ? MIN(size - 2, BLK_SEG_MAX) : 1);
    blk->queues = calloc(blk->queue_count, sizeof(*blk->queues));
    r = blk->queues ? blk_open(blk, blk_options, virtio_builtin_loop(b), err)
                    : error_errno(err, ENOMEM, "cannot create the disk");
    if (r < 0) {
        blk_destroy(blk);
        return r;
    }
    *out = blk;
    return 0;
}

const struct virtio_model blk_model = {
    .name = "blk",
    .id = VIRTIO_ID_BLOCK,
    .help = "disk backed by a raw image file or block device",
    .options = blk_option_specs,
    .option_count = ARRAY_SIZE(blk_option_specs),
    .options_size = sizeof(struct blk_options),
    .features = blk_feature_names,
    .feature_count = ARRAY_SIZE(blk_feature_names),
    .queues_default = 1,
    .queues_max = 64,
    .queue_size_default = 256,
    .create = blk_create,
    .destroy = blk_destroy,
    .get_features = blk_get_features,
    .set_features = blk_set_features,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .queue_ready = blk_queue_ready,
    .queue_drain = blk_queue_drain,
    .reset = blk_reset,
};
