/*
 * The formats of pixels that a display knows, by the kernel's codes (drm_fourcc.h of libdrm).
 *
 * A name tells the channels of a little-endian 32-bit number from the highest byte to the lowest:
 * XRGB8888 is B, G, R, X in memory. Alpha of a picture means nothing: nothing is below it.
 */
#ifndef DEVICES_DISPLAY_FOURCC_H
#define DEVICES_DISPLAY_FOURCC_H

#include <stdint.h>

#ifndef DRM_FORMAT_XRGB8888
#define DISPLAY_FOURCC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define DRM_FORMAT_XRGB8888 DISPLAY_FOURCC('X', 'R', '2', '4')
#define DRM_FORMAT_ARGB8888 DISPLAY_FOURCC('A', 'R', '2', '4')
#define DRM_FORMAT_XBGR8888 DISPLAY_FOURCC('X', 'B', '2', '4')
#define DRM_FORMAT_ABGR8888 DISPLAY_FOURCC('A', 'B', '2', '4')
#define DRM_FORMAT_RGBX8888 DISPLAY_FOURCC('R', 'X', '2', '4')
#define DRM_FORMAT_RGBA8888 DISPLAY_FOURCC('R', 'A', '2', '4')
#define DRM_FORMAT_BGRX8888 DISPLAY_FOURCC('B', 'X', '2', '4')
#define DRM_FORMAT_BGRA8888 DISPLAY_FOURCC('B', 'A', '2', '4')
#endif

#endif
