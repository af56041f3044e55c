#include "devices/blk/resize.h"

#include "base/log.h"

#include <inttypes.h>
#include <string.h>

void blk_drain(struct blk *blk, struct blk_queue *queue)
{
    while (queue->in_flight > 0)
        blk->engine->ops->wait(blk->engine);
}

int blk_resize(void *model, const char *argument, struct error *err)
{
    struct blk *blk = model;
    bool automatic = strcmp(argument, "auto") == 0;
    uint64_t bytes = 0, before = atomic_load(&blk->sectors);
    int r = automatic ? 0 : option_parse_size("resize", argument, &bytes, err);

    if (r < 0)
        return r;
    for (uint16_t i = 0; i < blk->queue_count; i++)
        blk_drain(blk, &blk->queues[i]);
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
