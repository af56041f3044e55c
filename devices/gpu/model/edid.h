/*
 * EDID: how a monitor describes itself (VESA E-EDID 1.4; DisplayID 1.3 for modes that do not fit
 * into it).
 */
#ifndef DEVICES_GPU_MODEL_EDID_H
#define DEVICES_GPU_MODEL_EDID_H

#include <stddef.h>
#include <stdint.h>

#define EDID_BLOCK 128
#define EDID_MAX   (2 * EDID_BLOCK)

struct edid_monitor {
    uint32_t width, height;       /* of the preferred mode: pixels, 1 to 16384 */
    uint32_t refresh;             /* Hz, 10 to 1000 */
    uint32_t width_mm, height_mm; /* 0: as if of 96 dpi */
    uint32_t serial;
};

/* Write it to `out`, which has room for EDID_MAX bytes: the bytes it has, a multiple of EDID_BLOCK.
 */
size_t edid_make(const struct edid_monitor *monitor, uint8_t *out);

#endif
