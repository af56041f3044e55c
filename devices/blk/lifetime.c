#include "devices/blk/lifetime.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define PRE_EOL_MAX 3
#define USED_MAX    11

/* Up to two numbers from a file of the device, or of the disk that it is a partition of; how many
 * there were. */
static int read_numbers(const char *sysfs, const char *name, uint32_t *a, uint32_t *b)
{
    static const char *const places[] = {"", "/.."};
    int found = 0;

    for (size_t i = 0; i < ARRAY_SIZE(places) && found <= 0; i++) {
        char path[256];
        FILE *f;

        snprintf(path, sizeof(path), "%s%s/device/%s", sysfs, places[i], name);
        f = fopen(path, "re");
        if (!f)
            continue;
        found = fscanf(f, "%" SCNx32 " %" SCNx32, a, b);
        fclose(f);
    }
    return found;
}

int blk_lifetime_read(const char *sysfs, uint8_t out[BLK_LIFETIME_SIZE])
{
    uint32_t pre_eol = 0, used_a = 0, used_b = 0, none;

    if (read_numbers(sysfs, "pre_eol_info", &pre_eol, &none) < 1 ||
        read_numbers(sysfs, "life_time", &used_a, &used_b) < 2)
        return -ENODATA;
    if (pre_eol > PRE_EOL_MAX || used_a > USED_MAX || used_b > USED_MAX ||
        (pre_eol | used_a | used_b) == 0)
        return -ENODATA;
    store_le16(out, (uint16_t)pre_eol);
    store_le16(out + 2, (uint16_t)used_a);
    store_le16(out + 4, (uint16_t)used_b);
    return 0;
}
