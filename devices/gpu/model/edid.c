#include "devices/gpu/model/edid.h"

#include "base/bytes.h"

#include <stdbool.h>

#define NAME         "Vireo"
#define MANUFACTURER ('V' - '@') << 10 | ('R' - '@') << 5 | ('O' - '@')
#define PRODUCT      1
#define YEAR         2024

/* E-EDID 1.4, table 3.1 */
enum edid_offset {
    EDID_MANUFACTURER = 8, /* big-endian */
    EDID_PRODUCT = 10,
    EDID_SERIAL = 12,
    EDID_WEEK = 16,
    EDID_YEAR = 17,
    EDID_VERSION = 18,
    EDID_VIDEO_INPUT = 20,
    EDID_WIDTH_CM = 21,
    EDID_HEIGHT_CM = 22,
    EDID_GAMMA = 23,
    EDID_FEATURES = 24,
    EDID_CHROMATICITY = 25,
    EDID_ESTABLISHED = 35,
    EDID_STANDARD = 38,
    EDID_DESCRIPTORS = 54,
    EDID_EXTENSIONS = 126,
    EDID_CHECKSUM = 127,
};

#define DESCRIPTOR  18 /* bytes */
#define DESCRIPTORS 4
#define STANDARDS   8
#define TAG_NAME    0xfc
#define TAG_UNUSED  0x10
#define MM_MAX      2550  /* in the base block: 255 cm */
#define PIXELS_MAX  4095  /* in a detailed timing */
#define CLOCK_MAX   65535 /* 10 kHz; there, too */
#define CLOCK_MIN   1000  /* what decoders believe */
#define PULSE_MAX   4095

/* A mode with blanking that is reduced, as flat panels have it. */
struct timing {
    uint32_t width, h_front, h_sync, h_blank;
    uint32_t height, v_front, v_sync, v_blank;
    uint64_t clock; /* 10 kHz */
};

#define V_BLANK_US 460

static uint64_t clock_of(const struct timing *t, uint32_t refresh)
{
    uint64_t frame = (uint64_t)(t->width + t->h_blank) * (t->height + t->v_blank);

    return (frame * refresh + 5000) / 10000;
}

static struct timing make_timing(uint32_t width, uint32_t height, uint32_t refresh)
{
    struct timing t = {
        .width = width,
        .h_front = 48,
        .h_sync = 32,
        .h_blank = 160,
        .height = height,
        .v_front = 3,
        .v_sync = 6,
    };
    /* Lines in V_BLANK_US, of those of a frame: blank / (blank + height) = V_BLANK_US * refresh. */
    uint64_t blanked = MIN((uint64_t)V_BLANK_US * refresh, UINT64_C(500000)); /* of a million */

    t.v_blank = (uint32_t)(height * blanked / (1000000 - blanked)) + 1;
    t.v_blank = MIN(MAX(t.v_blank, t.v_front + t.v_sync + 6), (uint32_t)PULSE_MAX);
    if (clock_of(&t, refresh) < CLOCK_MIN) { /* small screens have large borders */
        t.h_blank = MAX(1024 - width, t.h_blank);
        t.v_blank = MAX(10000000 / refresh / 1024 + 1, t.v_blank);
    }
    t.clock = clock_of(&t, refresh);
    return t;
}

static bool fits_descriptor(const struct timing *t)
{
    return t->width <= PIXELS_MAX && t->height <= PIXELS_MAX && t->clock <= CLOCK_MAX;
}

/* --- the base block --------------------------------------------------------------------------- */

/* 3.10.2 Detailed timing */
static void put_timing(uint8_t *d, const struct timing *t, uint32_t width_mm, uint32_t height_mm)
{
    store_le16(d, (uint16_t)t->clock);
    d[2] = (uint8_t)t->width;
    d[3] = (uint8_t)t->h_blank;
    d[4] = (uint8_t)((t->width >> 8) << 4 | t->h_blank >> 8);
    d[5] = (uint8_t)t->height;
    d[6] = (uint8_t)t->v_blank;
    d[7] = (uint8_t)((t->height >> 8) << 4 | t->v_blank >> 8);
    d[8] = (uint8_t)t->h_front;
    d[9] = (uint8_t)t->h_sync;
    d[10] = (uint8_t)(t->v_front << 4 | t->v_sync); /* all of them small */
    d[12] = (uint8_t)width_mm;
    d[13] = (uint8_t)height_mm;
    d[14] = (uint8_t)((width_mm >> 8) << 4 | height_mm >> 8);
    d[17] = 0x1a; /* digital, separate sync: horizontal positive, vertical negative */
}

static void put_name(uint8_t *d)
{
    static const char text[13] = NAME "\n       ";

    memset(d, 0, DESCRIPTOR);
    d[3] = TAG_NAME;
    memcpy(d + 5, text, sizeof(text));
}

/* 3.9: modes of widths that are multiples of 8 and of four ratios, at 60 Hz. */
static void put_standards(uint8_t *d)
{
    enum { R16_10, R4_3, R5_4, R16_9 };
    static const struct {
        uint16_t width;
        uint8_t ratio;
    } modes[STANDARDS] = {{1920, R16_9},  {1680, R16_10}, {1600, R4_3},   {1600, R16_9},
                          {1440, R16_10}, {1280, R5_4},   {1280, R16_10}, {1280, R16_9}};

    for (unsigned i = 0; i < STANDARDS; i++) {
        d[2 * i] = (uint8_t)(modes[i].width / 8 - 31);
        d[2 * i + 1] = (uint8_t)(modes[i].ratio << 6);
    }
}

static void put_descriptors(uint8_t *d, const struct timing *preferred, uint32_t width_mm,
                            uint32_t height_mm)
{
    put_timing(d, preferred, width_mm, height_mm);
    put_name(d + DESCRIPTOR);
    for (unsigned i = 2; i < DESCRIPTORS; i++) {
        memset(d + i * DESCRIPTOR, 0, DESCRIPTOR);
        d[i * DESCRIPTOR + 3] = TAG_UNUSED;
    }
}

/* All bytes together are 0 modulo 256. */
static uint8_t checksum(const uint8_t *bytes, size_t count)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

static void put_base(uint8_t *e, const struct edid_monitor *monitor, const struct timing *timing,
                     bool extended)
{
    static const uint8_t header[] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};
    static const uint8_t srgb[] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
    struct timing fallback = make_timing(1920, 1080, 60);

    memset(e, 0, EDID_BLOCK);
    memcpy(e, header, sizeof(header));
    store_be16(e + EDID_MANUFACTURER, MANUFACTURER);
    store_le16(e + EDID_PRODUCT, PRODUCT);
    store_le32(e + EDID_SERIAL, monitor->serial);
    e[EDID_YEAR] = YEAR - 1990;
    e[EDID_VERSION] = 1;
    e[EDID_VERSION + 1] = 4;
    e[EDID_VIDEO_INPUT] = 0xa0; /* digital, 8 bits for each colour */
    e[EDID_WIDTH_CM] = (uint8_t)(monitor->width_mm / 10);
    e[EDID_HEIGHT_CM] = (uint8_t)(monitor->height_mm / 10);
    e[EDID_GAMMA] = 120;     /* 2.2 */
    e[EDID_FEATURES] = 0x06; /* sRGB; the first timing is the panel's own */
    memcpy(e + EDID_CHROMATICITY, srgb, sizeof(srgb));
    e[EDID_ESTABLISHED] = 0x21;     /* 640x480, 800x600 at 60 Hz */
    e[EDID_ESTABLISHED + 1] = 0x08; /* 1024x768 at 60 Hz */
    put_standards(e + EDID_STANDARD);
    put_descriptors(e + EDID_DESCRIPTORS, extended ? &fallback : timing, monitor->width_mm,
                    monitor->height_mm);
    e[EDID_EXTENSIONS] = extended;
    e[EDID_CHECKSUM] = checksum(e, EDID_CHECKSUM);
}

/* --- DisplayID, in an extension block --------------------------------------------------------- */

#define DISPLAYID_TAG      0x70
#define DISPLAYID_VERSION  0x13
#define DISPLAYID_HEADER   5 /* bytes of the block, before the first data block */
#define DISPLAYID_CHECKSUM 126

static void put_less_one(uint8_t *p, uint32_t value, uint16_t flag)
{
    store_le16(p, (uint16_t)((value - 1) | flag));
}

/* A data block of so many bytes; returns where they are. */
static uint8_t *put_block(uint8_t **at, uint8_t tag, uint8_t bytes)
{
    uint8_t *d = *at;

    d[0] = tag;
    d[2] = bytes;
    *at = d + 3 + bytes;
    return d + 3;
}

/* Product identification: who made it, as in the base block. */
static void put_product(uint8_t *d, uint32_t serial)
{
    static const char vendor[] = {'V', 'R', 'O'};

    memcpy(d, vendor, sizeof(vendor));
    store_le16(d + 3, PRODUCT);
    store_le32(d + 5, serial);
    d[10] = YEAR - 2000;
}

/* Display parameters. */
static void put_parameters(uint8_t *d, const struct edid_monitor *m)
{
    store_le16(d, (uint16_t)(m->width_mm * 10));
    store_le16(d + 2, (uint16_t)(m->height_mm * 10));
    store_le16(d + 4, (uint16_t)m->width);
    store_le16(d + 6, (uint16_t)m->height);
    d[9] = 120; /* gamma 2.2 */
    d[10] = (uint8_t)MIN((uint64_t)MAX(m->width, m->height) * 100 / MIN(m->width, m->height) - 100,
                         UINT64_C(255));
    d[11] = 0x77; /* 8 bits for each colour */
}

/* Display interface. */
static void put_interface(uint8_t *d)
{
    d[0] = 0xb1;   /* one link, of a kind of its own */
    d[2] = 1 << 1; /* RGB of 8 bits */
}

/* A detailed timing of type I. */
static void put_large_timing(uint8_t *d, const struct timing *t)
{
    store_le16(d, (uint16_t)(t->clock - 1));
    d[2] = (uint8_t)((t->clock - 1) >> 16);
    d[3] = 0x88; /* preferred; the ratio is not said */
    put_less_one(d + 4, t->width, 0);
    put_less_one(d + 6, t->h_blank, 0);
    put_less_one(d + 8, t->h_front, 0x8000); /* sync is positive */
    put_less_one(d + 10, t->h_sync, 0);
    put_less_one(d + 12, t->height, 0);
    put_less_one(d + 14, t->v_blank, 0);
    put_less_one(d + 16, t->v_front, 0);
    put_less_one(d + 18, t->v_sync, 0);
}

static void put_displayid(uint8_t *e, const struct edid_monitor *monitor,
                          const struct timing *timing)
{
    uint8_t *at = e + DISPLAYID_HEADER;

    memset(e, 0, EDID_BLOCK);
    e[0] = DISPLAYID_TAG;
    e[1] = DISPLAYID_VERSION;
    e[2] = DISPLAYID_CHECKSUM - DISPLAYID_HEADER;
    e[3] = 3; /* a monitor */
    put_product(put_block(&at, 0x00, 12), monitor->serial);
    put_parameters(put_block(&at, 0x01, 12), monitor);
    put_large_timing(put_block(&at, 0x03, 20), timing);
    put_interface(put_block(&at, 0x0f, 10));
    e[DISPLAYID_CHECKSUM] = checksum(e + 1, DISPLAYID_CHECKSUM - 1);
    e[EDID_CHECKSUM] = checksum(e, EDID_CHECKSUM);
}

/* With the size of the panel as an EDID can say it. */
static struct edid_monitor with_size(struct edid_monitor m)
{
    if (!m.width_mm || !m.height_mm) { /* 96 dpi */
        m.width_mm = (m.width * 254 + 480) / 960;
        m.height_mm = (m.height * 254 + 480) / 960;
    }
    m.width_mm = MIN(MAX(m.width_mm, 10u), (uint32_t)MM_MAX);
    m.height_mm = MIN(MAX(m.height_mm, 10u), (uint32_t)MM_MAX);
    return m;
}

size_t edid_make(const struct edid_monitor *monitor, uint8_t *out)
{
    struct edid_monitor m = with_size(*monitor);
    struct timing timing = make_timing(m.width, m.height, m.refresh);
    bool extended = !fits_descriptor(&timing);

    timing.clock = MIN(timing.clock, UINT64_C(1) << 24); /* what DisplayID can say */
    put_base(out, &m, &timing, extended);
    if (!extended)
        return EDID_BLOCK;
    put_displayid(out + EDID_BLOCK, &m, &timing);
    return 2 * EDID_BLOCK;
}
