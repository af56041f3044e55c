/*
 * A kernel as an ELF file for x86-64: what is loaded where, and where it is entered.
 */
#ifndef GUEST_ELF_IMAGE_H
#define GUEST_ELF_IMAGE_H

#include "base/error.h"
#include "guest/image_source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_SEGMENTS_MAX 16
#define ELF_SPAN_MAX     (UINT64_C(1) << 30) /* physical, from the first segment to the last */

struct elf_segment {
    uint64_t offset;    /* in the file */
    uint64_t file_size; /* bytes there */
    uint64_t physical, virtual;
    uint64_t memory_size; /* >= file_size; the rest is zero */
};

struct elf_image {
    size_t count;
    struct elf_segment segments[ELF_SEGMENTS_MAX]; /* by physical address, not overlapping */
    uint64_t start, end;                           /* physical range of all segments */
    uint64_t data_end;                             /* physical end of what comes from the file */
    uint64_t entry;                                /* physical */
    bool has_pvh;                                  /* a PVH note was found */
    uint64_t pvh_entry;                            /* physical */
    uint64_t file_end; /* where segments and header tables end in the file */
};

bool elf_image_detect(const uint8_t *start, size_t size);

/* Parse and check; -ENOEXEC for ELF of another kind or machine, -EINVAL for a damaged one. */
int elf_image_parse(const struct image_source *source, struct elf_image *out, struct error *err);

#endif
