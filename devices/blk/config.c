#include "devices/blk/config.h"

#include "base/bytes.h"

/* 5.2.4 Device configuration layout. Fields of zoned devices, from 72 on, are 0. */
enum blk_config_offset {
    CONFIG_CAPACITY = 0,
    CONFIG_SIZE_MAX = 8,
    CONFIG_SEG_MAX = 12,
    CONFIG_CYLINDERS = 16,
    CONFIG_HEADS = 18,
    CONFIG_SECTORS = 19,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_BLOCK_EXP = 24,
    CONFIG_ALIGNMENT_OFFSET = 25,
    CONFIG_MIN_IO_SIZE = 26,
    CONFIG_OPT_IO_SIZE = 28,
    CONFIG_WRITEBACK = 32,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_MAX_DISCARD_SECTORS = 36,
    CONFIG_MAX_DISCARD_SEG = 40,
    CONFIG_DISCARD_SECTOR_ALIGNMENT = 44,
    CONFIG_MAX_WRITE_ZEROES_SECTORS = 48,
    CONFIG_MAX_WRITE_ZEROES_SEG = 52,
    CONFIG_WRITE_ZEROES_MAY_UNMAP = 56,
    CONFIG_MAX_SECURE_ERASE_SECTORS = 60,
    CONFIG_MAX_SECURE_ERASE_SEG = 64,
    CONFIG_SECURE_ERASE_SECTOR_ALIGNMENT = 68,
};

/* The most cylinders that software of the time could address. */
#define CYLINDERS_MAX 16383

static void fill_ranges(struct blk *blk)
{
    const struct blk_file *file = blk->backing.written;
    uint32_t alignment = blk->backing.image.discard_sectors;
    uint8_t *c = blk->config;

    if (blk->readonly)
        return;
    store_le32(c + CONFIG_MAX_WRITE_ZEROES_SECTORS, BLK_RANGE_SECTORS_MAX);
    store_le32(c + CONFIG_MAX_WRITE_ZEROES_SEG, BLK_RANGES_MAX);
    c[CONFIG_WRITE_ZEROES_MAY_UNMAP] = file->zero_unmap.kind != BLK_METHOD_NONE; /* BLK-20 */
    if (file->discard.kind != BLK_METHOD_NONE) {
        store_le32(c + CONFIG_MAX_DISCARD_SECTORS, BLK_RANGE_SECTORS_MAX);
        store_le32(c + CONFIG_MAX_DISCARD_SEG, BLK_RANGES_MAX);
        store_le32(c + CONFIG_DISCARD_SECTOR_ALIGNMENT, alignment);
    }
    if (file->erase.kind != BLK_METHOD_NONE) {
        store_le32(c + CONFIG_MAX_SECURE_ERASE_SECTORS, BLK_RANGE_SECTORS_MAX);
        store_le32(c + CONFIG_MAX_SECURE_ERASE_SEG, BLK_RANGES_MAX);
        store_le32(c + CONFIG_SECURE_ERASE_SECTOR_ALIGNMENT, alignment);
    }
}

void blk_config_fill(struct blk *blk)
{
    const struct blk_image *image = &blk->backing.image;
    uint8_t *c = blk->config;

    store_le32(c + CONFIG_SIZE_MAX, blk->size_max);
    store_le32(c + CONFIG_SEG_MAX, blk->seg_max);
    c[CONFIG_HEADS] = blk->geometry.heads;
    c[CONFIG_SECTORS] = blk->geometry.sectors;
    store_le32(c + CONFIG_BLK_SIZE, image->block_size);
    c[CONFIG_PHYSICAL_BLOCK_EXP] = image->physical_block_exp;
    c[CONFIG_ALIGNMENT_OFFSET] = image->alignment_offset;
    store_le16(c + CONFIG_MIN_IO_SIZE, image->min_io_blocks);
    store_le32(c + CONFIG_OPT_IO_SIZE, image->opt_io_blocks);
    store_le16(c + CONFIG_NUM_QUEUES, blk->queue_count);
    fill_ranges(blk);
}

static uint16_t cylinders(const struct blk *blk, uint64_t sectors)
{
    uint64_t count = sectors / (blk->geometry.heads * (uint64_t)blk->geometry.sectors);

    if (blk->geometry.cylinders)
        return blk->geometry.cylinders;
    return (uint16_t)MAX(MIN(count, (uint64_t)CYLINDERS_MAX), (uint64_t)1);
}

void blk_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    const struct blk *blk = model;
    uint64_t sectors = atomic_load(&blk->sectors);
    uint8_t config[BLK_CONFIG_SIZE];

    memcpy(config, blk->config, sizeof(config));
    store_le64(config + CONFIG_CAPACITY, sectors);
    store_le16(config + CONFIG_CYLINDERS, cylinders(blk, sectors));
    config[CONFIG_WRITEBACK] = atomic_load(&blk->writeback);
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

/* Of all fields only `writeback` can be written, and only with CONFIG_WCE (5.2.5); by a legacy
 * driver also before it has said what it takes (5.2.5.3). A modern one that does so has no effect:
 * FEATURES_OK decides anew. */
void blk_config_write(void *model, uint32_t offset, const void *data, uint32_t len)
{
    struct blk *blk = model;

    if ((blk->accepted && !blk_has(blk, BLK_F_CONFIG_WCE)) || offset > CONFIG_WRITEBACK ||
        len <= CONFIG_WRITEBACK - offset)
        return;
    atomic_store(&blk->writeback, ((const uint8_t *)data)[CONFIG_WRITEBACK - offset] != 0);
}
