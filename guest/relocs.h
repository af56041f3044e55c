/*
 * The relocation table that Linux's build appends to vmlinux before packing it
 * (arch/x86/tools/relocs.c), so that a loader can move the kernel's virtual addresses (KASLR).
 *
 * In the image: 32-bit words, the low halves of virtual addresses of places to correct. A zero
 * starts each list: places of 64-bit addresses, then (before Linux 6.15) places of 32-bit offsets
 * from per-CPU data to be corrected the other way, then places of 32-bit addresses. Here: offsets
 * from the image's start, checked once when the table is read, so that applying it is nothing but
 * additions.
 */
#ifndef GUEST_RELOCS_H
#define GUEST_RELOCS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum reloc_kind { RELOC_64, RELOC_32_INVERSE, RELOC_32, RELOC_KINDS };

struct relocs {
    const uint32_t *offsets[RELOC_KINDS]; /* borrowed */
    uint32_t count[RELOC_KINDS];
};

/*
 * Read the table of `size` bytes. `virtual_base` is the linked virtual address of the image's first
 * byte, image_size its length: no offset will reach beyond. `offsets` has room for size / 4 numbers
 * and is filled list after list. -EINVAL when this is not such a table or points outside.
 */
int relocs_parse(const uint8_t *table, size_t size, uint64_t virtual_base, uint64_t image_size,
                 uint32_t *offsets, struct relocs *out, struct error *err);

/*
 * Move the image of `size` bytes at `image` by `displacement` bytes of virtual address. The lists
 * may come from a file that others can write to meanwhile, so each place is checked where it is
 * used: -EINVAL at the first one outside, with the image half moved.
 */
int relocs_apply(const struct relocs *relocs, uint8_t *image, uint64_t size, uint64_t displacement);

#endif
