/*
 * Fields in little and big endian, alignment, and the few macros every file wants.
 *
 * The accessors work on unaligned memory and compile to single moves on little-endian machines. Use
 * them for everything that has a layout on the wire, on disk or in guest memory.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (UINT64_C(1) << (n))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

/* The structure that holds `member` at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
    return value && !(value & (value - 1));
}

#define BYTES_ACCESSORS(order, bits)                                  \
    static inline uint##bits##_t load_##order##bits(const void *p)    \
    {                                                                 \
        uint##bits##_t v;                                             \
        memcpy(&v, p, sizeof(v));                                     \
        return order##bits##toh(v);                                   \
    }                                                                 \
    static inline void store_##order##bits(void *p, uint##bits##_t v) \
    {                                                                 \
        v = hto##order##bits(v);                                      \
        memcpy(p, &v, sizeof(v));                                     \
    }

BYTES_ACCESSORS(le, 16)
BYTES_ACCESSORS(le, 32)
BYTES_ACCESSORS(le, 64)
BYTES_ACCESSORS(be, 16) /* of network packets */
BYTES_ACCESSORS(be, 32)

/* Little-endian load/store of 1, 2, 4 or 8 bytes; other sizes read as 0 and write nothing. */
static inline uint64_t load_le(const void *p, unsigned size)
{
    switch (size) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        return load_le16(p);
    case 4:
        return load_le32(p);
    case 8:
        return load_le64(p);
    default:
        return 0;
    }
}

static inline void store_le(void *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        *(uint8_t *)p = (uint8_t)v;
        break;
    case 2:
        store_le16(p, (uint16_t)v);
        break;
    case 4:
        store_le32(p, (uint32_t)v);
        break;
    case 8:
        store_le64(p, v);
        break;
    }
}

#endif
