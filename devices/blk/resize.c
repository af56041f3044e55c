#include "devices/blk/resize.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DRAIN_NS UINT64_C(2000000000)

/* Wait until nothing is in flight in the queue, but no longer than this. */
static bool settle(struct blk *blk, struct blk_queue *queue, uint64_t until_ns)
{
    while (queue->in_flight > 0 && loop_now_ns() < until_ns)
        blk->engine->ops->wait(blk->engine);
    return queue->in_flight == 0;
}

void blk_drain(struct blk *blk, struct blk_queue *queue)
{
    if (!blk->drain_until_ns)
        blk->drain_until_ns = loop_now_ns() + DRAIN_NS;
    queue->impatient = !settle(blk, queue, blk->drain_until_ns);
    settle(blk, queue, UINT64_MAX);
    queue->impatient = false;
}

int blk_resize(void *model, const char *argument, struct error *err)
{
    struct blk *blk = model;
    bool automatic = strcmp(argument, "auto") == 0;
    uint64_t bytes = 0, before = atomic_load(&blk->sectors), until_ns = loop_now_ns() + DRAIN_NS;
    int r = automatic ? 0 : option_parse_size("resize", argument, &bytes, err);

    if (r < 0)
        return r;
    for (uint16_t i = 0; i < blk->queue_count; i++)
        if (!settle(blk, &blk->queues[i], until_ns))
            return error_set(err, EBUSY, "resize: the guest keeps the disk busy; try again later");
    r = automatic ? blk_backing_remeasure(&blk->backing, err)
                  : blk_backing_resize(&blk->backing, bytes, err);
    if (r < 0)
        return r;
    atomic_store(&blk->sectors, blk->backing.image.sectors);
    if (blk->backing.image.sectors == before)
        return 0;
    log_info("blk", "%s: has %" PRIu64 " bytes now", virtio_builtin_name(blk->builtin),
             blk->backing.image.sectors * BLK_SECTOR_SIZE);
    virtio_builtin_config_changed(blk->builtin);
    return 0;
}
