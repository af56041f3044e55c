#include "guest/relocs.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>

static const size_t reloc_width[RELOC_KINDS] = {
    [RELOC_64] = 8, [RELOC_32_INVERSE] = 4, [RELOC_32] = 4};

/* Two zeroes: the table has no inverse list. */
static int list_order(const uint8_t *table, size_t words, enum reloc_kind order[RELOC_KINDS])
{
    size_t zeroes = 0;

    for (size_t i = 0; i < words; i++)
        zeroes += load_le32(table + 4 * i) == 0;
    order[0] = RELOC_64;
    order[1] = zeroes == 2 ? RELOC_32 : RELOC_32_INVERSE;
    order[2] = RELOC_32;
    return zeroes == 2 || zeroes == 3 ? 0 : -EINVAL;
}

int relocs_parse(const uint8_t *table, size_t size, uint64_t virtual_base, uint64_t image_size,
                 uint32_t *offsets, struct relocs *out, struct error *err)
{
    enum reloc_kind order[RELOC_KINDS];
    size_t words = size / 4, list = 0;

    *out = (struct relocs){0};
    if (!words || size % 4 || load_le32(table) != 0 || list_order(table, words, order) < 0)
        return error_set(err, EINVAL, "what follows the kernel is not a relocation table");
    out->offsets[order[0]] = offsets;
    for (size_t i = 1; i < words; i++) {
        uint32_t place = load_le32(table + 4 * i);
        /* The full address is the word with its sign extended. */
        uint64_t offset = (uint64_t)(int64_t)(int32_t)place - virtual_base;

        if (!place) {
            out->offsets[order[++list]] = offsets;
            continue;
        }
        if (offset >= image_size || image_size - offset < reloc_width[order[list]])
            return error_set(err, EINVAL, "relocation at 0x%" PRIx32 " lies outside the kernel",
                             place);
        *offsets++ = (uint32_t)offset;
        out->count[order[list]]++;
    }
    return 0;
}

/* A warm boot spends most of its own instructions in these loops: four or five for a place, as
 * unrolled here. Each place is read once. */
static bool add_64(const uint32_t *offsets, size_t count, uint8_t *image, uint64_t last,
                   uint64_t delta)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < count; i++) {
        uint32_t offset = __atomic_load_n(&offsets[i], __ATOMIC_RELAXED);
        if (offset > last)
            return false;
        store_le64(image + offset, load_le64(image + offset) + delta);
    }
    return true;
}

static bool add_32(const uint32_t *offsets, size_t count, uint8_t *image, uint64_t last,
                   uint32_t delta)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < count; i++) {
        uint32_t offset = __atomic_load_n(&offsets[i], __ATOMIC_RELAXED);
        if (offset > last)
            return false;
        store_le32(image + offset, load_le32(image + offset) + delta);
    }
    return true;
}

int relocs_apply(const struct relocs *relocs, uint8_t *image, uint64_t size, uint64_t displacement)
{
    uint32_t low = (uint32_t)displacement;

    if (size < 8)
        return -EINVAL;
    if (!add_64(relocs->offsets[RELOC_64], relocs->count[RELOC_64], image, size - 8,
                displacement) ||
        !add_32(relocs->offsets[RELOC_32_INVERSE], relocs->count[RELOC_32_INVERSE], image, size - 4,
                0 - low) ||
        !add_32(relocs->offsets[RELOC_32], relocs->count[RELOC_32], image, size - 4, low))
        return -EINVAL;
    return 0;
}
