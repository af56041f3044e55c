/*
 * What an x86 kernel is handed at its first instruction: the memory map, where the command line,
 * the initrd and the RSDP are; as Linux's boot_params (the "zero page") or as PVH's hvm_start_info.
 *
 * Linux: Documentation/arch/x86/boot.rst, zero-page.rst. PVH: Xen's
 * public/arch-x86/hvm/start_info.h.
 */
#ifndef FIRMWARE_BOOT_PARAMS_H
#define FIRMWARE_BOOT_PARAMS_H

#include "base/error.h"
#include "guest/memory.h"

#include <stddef.h>
#include <stdint.h>

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct memory_map_entry {
    uint64_t start, size;
    enum e820_type type;
};

#define MEMORY_MAP_MAX 32

struct boot_info {
    struct memory_map_entry map[MEMORY_MAP_MAX];
    size_t map_count;
    uint64_t cmdline; /* guest address of the NUL-terminated command line */
    uint64_t cmdline_size;
    uint64_t initrd, initrd_size; /* size 0: none */
    uint64_t rsdp;
};

/*
 * Write boot_params (4096 bytes) at `where`. `setup_header` is the image's own header from offset
 * 0x1f1; fields the loader must fill are filled here. -EFAULT when `where` is not RAM.
 */
int boot_params_write(const struct boot_info *info, const uint8_t *setup_header, size_t header_size,
                      struct guest_memory *mem, gpa_t where, struct error *err);

/* Write hvm_start_info, its module list and memory map at `where` (one page). */
int pvh_start_info_write(const struct boot_info *info, struct guest_memory *mem, gpa_t where,
                         struct error *err);

#endif
