/*
 * The bzImage container: real-mode setup code with the setup header, then the protected-mode
 * kernel, which is a decompressor with the real kernel as payload. Linux
 * Documentation/arch/x86/boot.rst.
 */
#ifndef GUEST_BZIMAGE_H
#define GUEST_BZIMAGE_H

#include "base/error.h"
#include "guest/image_source.h"
#include "guest/unpack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETUP_HEADER_START 0x1f1 /* file offset of struct setup_header */
#define SETUP_HEADER_MAX   144

/* Offsets of setup_header fields in the file and in boot_params; boot.rst, "The Real-Mode Kernel
 * Header". */
enum {
    SETUP_SECTS = 0x1f1,              /* 1 */
    SETUP_SYSSIZE = 0x1f4,            /* 4; 2.04; in 16 bytes */
    SETUP_BOOT_FLAG = 0x1fe,          /* 2 */
    SETUP_JUMP = 0x200,               /* 2; the second byte says where the header ends */
    SETUP_MAGIC = 0x202,              /* 4 */
    SETUP_VERSION = 0x206,            /* 2 */
    SETUP_KERNEL_VERSION = 0x20e,     /* 2; offset of a string, less 0x200 */
    SETUP_LOADFLAGS = 0x211,          /* 1 */
    SETUP_INITRD_ADDR_MAX = 0x22c,    /* 4; 2.03 */
    SETUP_KERNEL_ALIGNMENT = 0x230,   /* 4; 2.05 */
    SETUP_RELOCATABLE_KERNEL = 0x234, /* 1; 2.05 */
    SETUP_MIN_ALIGNMENT = 0x235,      /* 1; 2.10 */
    SETUP_XLOADFLAGS = 0x236,         /* 2; 2.12 */
    SETUP_CMDLINE_SIZE = 0x238,       /* 4; 2.06 */
    SETUP_PAYLOAD_OFFSET = 0x248,     /* 4; 2.08 */
    SETUP_PAYLOAD_LENGTH = 0x24c,     /* 4; 2.08 */
    SETUP_PREF_ADDRESS = 0x258,       /* 8; 2.10 */
    SETUP_INIT_SIZE = 0x260,          /* 4; 2.10 */
};

#define SETUP_MAGIC_HDRS    0x53726448u /* "HdrS" */
#define SETUP_LOADED_HIGH   0x01u       /* loadflags */
#define SETUP_KASLR_FLAG    0x02u
#define SETUP_XLF_KERNEL_64 0x01u /* xloadflags */
#define SETUP_XLF_ABOVE_4G  0x02u
#define SETUP_ENTRY_64      0x200u /* from the start of the protected-mode kernel */

struct bzimage {
    uint8_t header[SETUP_HEADER_MAX]; /* as in the file */
    size_t header_size;
    char release[96];                      /* "6.1.0-...", printable */
    uint64_t kernel_offset, kernel_size;   /* the protected-mode kernel, in the file */
    uint64_t payload_offset, payload_size; /* in the file; size 0: none */
    bool relocatable;
    uint64_t alignment;    /* of the load address when relocatable; a power of two */
    uint64_t pref_address; /* LOAD_PHYSICAL_ADDR */
    uint64_t init_size;    /* memory it needs from its load address on */
};

/* Does a file that starts with these `size` bytes look like a bzImage? */
bool bzimage_detect(const uint8_t *start, size_t size);

/* Parse and check. -EINVAL for truncated or inconsistent images, -ENOEXEC for one without a 64-bit
 * entry. */
int bzimage_parse(const struct image_source *source, struct bzimage *out, struct error *err);

/* Setup header fields by their file offset. */
static inline uint8_t *setup_field(uint8_t *header, unsigned offset)
{
    return header + (offset - SETUP_HEADER_START);
}

/* The format of a payload by its first bytes. */
enum payload_format payload_detect(const uint8_t *start, size_t size);
const char *payload_format_name(enum payload_format format);

#endif
