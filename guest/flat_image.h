/*
 * A flat image: an unpacked kernel laid out as it will lie in memory, in a file made for loading it
 * fast.
 *
 * The file has a header page, the relocation lists, and the image itself, page-aligned. It is
 * written once, from an unpacked vmlinux, to the image cache or to a memfd, and trusted afterwards
 * as far as it is ours, has the length its header says and the header's and lists' checksums fit.
 *
 * The image consists of runs of pages; what is between is zero. Most runs are read into guest RAM,
 * where huge pages then serve them. A whole chunk (2 MiB, what a huge page covers, of the image and
 * so of guest memory) that the guest will hardly touch is a run of its own: it is mapped from the
 * file over guest RAM, which costs nothing until pages are touched, and a private copy only where
 * written. Mapping anything smaller would cost the rest of its chunk the huge page.
 */
#ifndef GUEST_FLAT_IMAGE_H
#define GUEST_FLAT_IMAGE_H

#include "base/error.h"
#include "guest/bzimage.h"
#include "guest/memory.h"
#include "guest/relocs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLAT_PAGE     4096u
#define FLAT_CHUNK    512u /* pages */
#define FLAT_RUNS_MAX 160

struct flat_run {
    uint32_t page, count; /* in pages, from the image's start */
    uint32_t mapped;      /* a chunk better mapped than read */
};

/* In the byte order and layout of the host that wrote it; another host's magic or size does not
 * fit. */
struct flat_header {
    uint64_t magic;
    uint32_t version, size; /* sizeof(struct flat_header) */
    uint64_t checksum;      /* of this structure, with this field as 0 */
    uint64_t reloc_checksum;
    uint64_t file_size;
    uint64_t image_offset, image_size; /* in the file */
    uint64_t memory_size;              /* needed from the load address on, with bss and brk */
    uint64_t entry;                    /* offset of the 64-bit entry */
    uint64_t link_base;                /* physical address it is linked for */
    uint64_t alignment;                /* of physical and virtual base */
    uint32_t reloc_count[RELOC_KINDS]; /* lists start at FLAT_PAGE */
    uint32_t run_count;
    uint32_t relocatable; /* it has relocation lists */
    uint32_t setup_size;
    uint8_t setup_header[SETUP_HEADER_MAX];
    char release[96];
    char format[16]; /* what it was packed with */
    struct flat_run runs[FLAT_RUNS_MAX];
};

_Static_assert(sizeof(struct flat_header) <= FLAT_PAGE, "the header is one page");

struct flat_image {
    int fd;                           /* owned */
    const struct flat_header *header; /* mapped, with the lists behind it */
    size_t mapped;
    struct relocs relocs;
};

/*
 * Lay out an unpacked payload. `fd` is a new, empty file open for writing. -EINVAL with a reason
 * when the payload is not a kernel we can start; one without a relocation table is written as not
 * relocatable.
 */
int flat_image_write(int fd, const struct bzimage *bz, const char *format, const uint8_t *unpacked,
                     size_t size, struct error *err);

/*
 * Open and check. Takes `fd` over, also on failure. -EINVAL: damaged, or another version's. The
 * lists are checked only when with_relocs is set; without, the image cannot be displaced.
 */
int flat_image_open(struct flat_image *image, int fd, bool with_relocs, struct error *err);
void flat_image_close(struct flat_image *image);

/*
 * Put the image at guest address `base`, whose memory holds zeroes, displaced by `displacement`
 * bytes of virtual address (0 unless opened with_relocs). Where the memory cannot map files
 * everything is read.
 */
int flat_image_load(const struct flat_image *image, struct guest_memory *mem, uint64_t base,
                    uint64_t displacement, struct error *err);

/* The checksums of the format. `size` is a multiple of 8. */
uint64_t flat_checksum(const void *data, size_t size);
uint64_t flat_header_checksum(const struct flat_header *header);

#define FLAT_MAGIC   UINT64_C(0x3067616d494f5256) /* "VROImag0" */
#define FLAT_VERSION 2u

#endif
