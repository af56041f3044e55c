#include "guest/bzimage.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTOR              512
#define SETUP_SECTS_DEFAULT 4 /* what 0 means, boot.rst */
#define HEADER_AREA         1024

#define PROTOCOL_XLOADFLAGS 0x20c

bool bzimage_detect(const uint8_t *start, size_t size)
{
    return size >= SETUP_MAGIC + 4 && load_le16(start + SETUP_BOOT_FLAG) == 0xaa55 &&
           load_le32(start + SETUP_MAGIC) == SETUP_MAGIC_HDRS;
}

/* The header ends where the jump at its start leads to (boot.rst), the part we know perhaps before.
 */
static size_t header_length(const uint8_t *area)
{
    size_t end = SETUP_JUMP + 2 + area[SETUP_JUMP + 1];

    return MIN(end - SETUP_HEADER_START, SETUP_HEADER_MAX);
}

static void read_release(const struct image_source *source, uint64_t setup_size, uint16_t pointer,
                         char out[96])
{
    uint64_t offset = (uint64_t)pointer + 0x200;
    size_t length = 0;

    snprintf(out, 96, "(unknown release)");
    if (!pointer || offset + 96 > setup_size)
        return;
    if (image_source_read(source, offset, out, 95, NULL) < 0)
        return;
    out[95] = '\0';
    while (out[length] > ' ' && out[length] < 0x7f)
        length++;
    out[length] = '\0';
}

static int parse_payload(struct bzimage *bz, struct error *err)
{
    uint64_t offset = load_le32(setup_field(bz->header, SETUP_PAYLOAD_OFFSET));
    uint64_t size = load_le32(setup_field(bz->header, SETUP_PAYLOAD_LENGTH));

    if (!size)
        return 0;
    if (offset > bz->kernel_size || size > bz->kernel_size - offset)
        return error_set(err, EINVAL,
                         "the image is truncated or damaged: its payload of 0x%" PRIx64
                         " bytes at 0x%" PRIx64 " does not lie in its 0x%" PRIx64 " bytes",
                         size, offset, bz->kernel_size);
    bz->payload_offset = bz->kernel_offset + offset;
    bz->payload_size = size;
    return 0;
}

static int parse_placement(struct bzimage *bz, struct error *err)
{
    bz->relocatable = *setup_field(bz->header, SETUP_RELOCATABLE_KERNEL);
    bz->alignment = load_le32(setup_field(bz->header, SETUP_KERNEL_ALIGNMENT));
    bz->pref_address = load_le64(setup_field(bz->header, SETUP_PREF_ADDRESS));
    bz->init_size = load_le32(setup_field(bz->header, SETUP_INIT_SIZE));
    if (!is_power_of_two(bz->alignment) || bz->alignment > GIB)
        return error_set(err, EINVAL, "the image is damaged: kernel_alignment is 0x%" PRIx64,
                         bz->alignment);
    if (bz->pref_address & (4 * KIB - 1) || bz->pref_address < MIB || bz->pref_address >= 4 * GIB)
        return error_set(err, EINVAL, "the image is damaged: pref_address is 0x%" PRIx64,
                         bz->pref_address);
    if (bz->init_size < bz->kernel_size)
        return error_set(err, EINVAL,
                         "the image is damaged: init_size 0x%" PRIx64
                         " is less than the kernel's 0x%" PRIx64 " bytes",
                         bz->init_size, bz->kernel_size);
    return 0;
}

int bzimage_parse(const struct image_source *source, struct bzimage *out, struct error *err)
{
    uint8_t area[HEADER_AREA];
    uint64_t setup_size;
    uint16_t version;
    int ret = image_source_read(source, 0, area, sizeof(area), err);

    *out = (struct bzimage){0};
    if (ret < 0)
        return ret;
    version = load_le16(area + SETUP_VERSION);
    out->header_size = header_length(area);
    if (version < PROTOCOL_XLOADFLAGS ||
        out->header_size < SETUP_INIT_SIZE + 4 - SETUP_HEADER_START ||
        !(load_le16(area + SETUP_XLOADFLAGS) & SETUP_XLF_KERNEL_64))
        return error_set(err, ENOEXEC,
                         "the kernel has no 64-bit entry (boot protocol %u.%02u): it is a 32-bit "
                         "kernel, or older than Linux 3.8",
                         version >> 8, version & 0xffu);
    if (!(area[SETUP_LOADFLAGS] & SETUP_LOADED_HIGH))
        return error_set(err, ENOEXEC, "the kernel is a zImage, made to be loaded below 1 MiB");
    memcpy(out->header, area + SETUP_HEADER_START, out->header_size);

    setup_size = ((area[SETUP_SECTS] ? area[SETUP_SECTS] : SETUP_SECTS_DEFAULT) + 1u) * SECTOR;
    if (setup_size + SETUP_ENTRY_64 >= source->size)
        return error_set(err, EINVAL, "the image is truncated: nothing follows its setup code");
    out->kernel_offset = setup_size;
    out->kernel_size = source->size - setup_size;
    /* In paragraphs, rounded up. Signatures may follow it, so more is not wrong. */
    if (out->kernel_size + 15 < load_le32(area + SETUP_SYSSIZE) * UINT64_C(16))
        return error_set(err, EINVAL,
                         "the image is truncated: 0x%" PRIx64
                         " bytes follow its setup code, not 0x%" PRIx64,
                         out->kernel_size, load_le32(area + SETUP_SYSSIZE) * UINT64_C(16));
    read_release(source, setup_size, load_le16(area + SETUP_KERNEL_VERSION), out->release);
    ret = parse_payload(out, err);
    return ret < 0 ? ret : parse_placement(out, err);
}

static const struct {
    const char *name;
    size_t length;
    uint8_t magic[6];
} formats[PAYLOAD_FORMATS] = {
    [PAYLOAD_UNKNOWN] = {"unknown", 0, {0}},
    [PAYLOAD_GZIP] = {"gzip", 2, {0x1f, 0x8b}},
    [PAYLOAD_XZ] = {"xz", 6, {0xfd, '7', 'z', 'X', 'Z', 0}},
    [PAYLOAD_LZMA] = {"lzma", 3, {0x5d, 0, 0}},
    [PAYLOAD_LZ4] = {"lz4", 4, {0x02, 0x21, 0x4c, 0x18}},
    [PAYLOAD_ZSTD] = {"zstd", 4, {0x28, 0xb5, 0x2f, 0xfd}},
    [PAYLOAD_BZIP2] = {"bzip2", 3, {'B', 'Z', 'h'}},
    [PAYLOAD_LZO] = {"lzo", 4, {0x89, 'L', 'Z', 'O'}},
};

enum payload_format payload_detect(const uint8_t *start, size_t size)
{
    for (size_t i = PAYLOAD_UNKNOWN + 1; i < PAYLOAD_FORMATS; i++) {
        if (size >= formats[i].length && memcmp(start, formats[i].magic, formats[i].length) == 0)
            return (enum payload_format)i;
    }
    return PAYLOAD_UNKNOWN;
}

const char *payload_format_name(enum payload_format format)
{
    return formats[format].name;
}
