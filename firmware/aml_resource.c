/*
 * Resource descriptors (ACPI 6.4, section 6.4): the content of _CRS.
 *
 * Small descriptors carry their length in the tag byte; large ones have bit 7 of the tag set and a
 * 16-bit length behind it. All values are little-endian. The address-space descriptors come in
 * three widths of one layout (6.4.3.5), so one function writes them all.
 */
#include "base/bytes.h"
#include "firmware/aml.h"

/* Tags. */
enum {
    RESOURCE_IO = 0x47,                 /* 6.4.2.5: small, 7 bytes */
    RESOURCE_MEMORY32_FIXED = 0x86,     /* 6.4.3.4 */
    RESOURCE_DWORD_SPACE = 0x87,        /* 6.4.3.5.2 */
    RESOURCE_WORD_SPACE = 0x88,         /* 6.4.3.5.3 */
    RESOURCE_EXTENDED_INTERRUPT = 0x89, /* 6.4.3.6 */
    RESOURCE_QWORD_SPACE = 0x8a,        /* 6.4.3.5.1 */
};

/* 6.4.3.5: fields of address-space descriptors. */
enum { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2 };
enum { SPACE_CONSUMER = 1 << 0, SPACE_MIN_FIXED = 1 << 2, SPACE_MAX_FIXED = 1 << 3 };
enum { SPACE_MEMORY_WRITABLE = 1 << 0 }; /* cacheability, bits 2-1: 0, uncached */
enum { SPACE_IO_ENTIRE_RANGE = 3 };      /* ISA and non-ISA addresses */

void aml_io(struct aml *aml, uint16_t port, uint8_t length)
{
    uint8_t d[8] = {RESOURCE_IO, 1 /* decodes 16 bits */};
    store_le16(d + 2, port); /* lowest base */
    store_le16(d + 4, port); /* highest base */
    d[6] = 1;                /* alignment */
    d[7] = length;
    aml_bytes(aml, d, sizeof(d));
}

void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t size)
{
    uint8_t d[12] = {RESOURCE_MEMORY32_FIXED, sizeof(d) - 3};
    d[3] = 1; /* read and write */
    store_le32(d + 4, base);
    store_le32(d + 8, size);
    aml_bytes(aml, d, sizeof(d));
}

void aml_interrupt(struct aml *aml, enum aml_trigger trigger, enum aml_polarity polarity,
                   enum aml_sharing sharing, uint32_t gsi)
{
    uint8_t d[9] = {RESOURCE_EXTENDED_INTERRUPT, sizeof(d) - 3};
    d[3] = (uint8_t)(SPACE_CONSUMER | (trigger == AML_EDGE) << 1 |
                     (polarity == AML_ACTIVE_LOW) << 2 | (sharing == AML_SHARED) << 3);
    d[4] = 1; /* one interrupt */
    store_le32(d + 5, gsi);
    aml_bytes(aml, d, sizeof(d));
}

/* 6.4.3.5: one fixed range that is not translated. `width` is the size of its five address fields.
 */
static void aml_space(struct aml *aml, unsigned width, uint8_t type, uint8_t general_flags,
                      uint8_t type_flags, uint64_t base, uint64_t size)
{
    static const uint8_t tag[] = {
        [2] = RESOURCE_WORD_SPACE, [4] = RESOURCE_DWORD_SPACE, [8] = RESOURCE_QWORD_SPACE};
    const uint64_t fields[] = {0 /* granularity */, base, base + size - 1, 0 /* translation */,
                               size};
    uint8_t d[6 + 5 * 8] = {tag[width]};

    store_le16(d + 1, (uint16_t)(3 + 5 * width));
    d[3] = type;
    d[4] = general_flags | SPACE_MIN_FIXED | SPACE_MAX_FIXED;
    d[5] = type_flags;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        store_le(d + 6 + i * width, width, fields[i]);
    aml_bytes(aml, d, 6 + 5 * width);
}

void aml_qword_memory(struct aml *aml, uint64_t base, uint64_t size)
{
    aml_space(aml, 8, SPACE_MEMORY, SPACE_CONSUMER, SPACE_MEMORY_WRITABLE, base, size);
}

void aml_bus_window(struct aml *aml, uint16_t first, uint16_t last)
{
    aml_space(aml, 2, SPACE_BUS, 0, 0, first, (uint64_t)last - first + 1);
}

void aml_io_window(struct aml *aml, uint32_t base, uint32_t size)
{
    aml_space(aml, 4, SPACE_IO, 0, SPACE_IO_ENTIRE_RANGE, base, size);
}

void aml_memory32_window(struct aml *aml, uint32_t base, uint32_t size)
{
    aml_space(aml, 4, SPACE_MEMORY, 0, SPACE_MEMORY_WRITABLE, base, size);
}

void aml_memory64_window(struct aml *aml, uint64_t base, uint64_t size)
{
    aml_space(aml, 8, SPACE_MEMORY, 0, SPACE_MEMORY_WRITABLE, base, size);
}
