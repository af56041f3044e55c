/*
 * boot_params and hvm_start_info.
 *
 * Offsets of boot_params are those of Linux's Documentation/arch/x86/zero-page.rst, of the setup
 * header Documentation/arch/x86/boot.rst; those of PVH are from Xen's
 * public/arch-x86/hvm/start_info.h.
 */
#include "firmware/boot_params.h"

#include "base/bytes.h"

#include <errno.h>

enum { BOOT_PAGE_SIZE = 4096 };

enum {
    BOOT_ACPI_RSDP_ADDR = 0x070,
    BOOT_EXT_RAMDISK_IMAGE = 0x0c0, /* upper halves of the 32-bit fields in the setup header */
    BOOT_EXT_RAMDISK_SIZE = 0x0c4,
    BOOT_EXT_CMD_LINE_PTR = 0x0c8,
    BOOT_E820_ENTRIES = 0x1e8,
    BOOT_E820_TABLE = 0x2d0,
    BOOT_E820_ENTRY_SIZE = 20,
};

/* The setup header lies in the page where it lies in the image. */
enum {
    SETUP_HEADER = 0x1f1,
    SETUP_MAGIC = 0x202,
    SETUP_TYPE_OF_LOADER = 0x210,
    SETUP_RAMDISK_IMAGE = 0x218,
    SETUP_RAMDISK_SIZE = 0x21c,
    SETUP_CMD_LINE_PTR = 0x228,
    SETUP_HEADER_MIN_END = 0x22c, /* the last field we fill ends here */
    SETUP_HEADER_MAX_END = 0x290, /* other fields of boot_params begin here */
};

enum { LOADER_UNDEFINED = 0xff }; /* "no assigned id", boot.rst, type_of_loader */

static int boot_info_check(const struct boot_info *info, struct error *err)
{
    if (info->map_count > MEMORY_MAP_MAX)
        return error_set(err, EINVAL, "memory map has %zu entries, at most %d are possible",
                         info->map_count, MEMORY_MAP_MAX);
    return 0;
}

static int setup_header_copy(uint8_t *page, const uint8_t *header, size_t size, struct error *err)
{
    if (size < SETUP_HEADER_MIN_END - SETUP_HEADER || size > SETUP_HEADER_MAX_END - SETUP_HEADER)
        return error_set(err, EINVAL, "kernel setup header has an impossible length of %zu bytes",
                         size);
    memcpy(page + SETUP_HEADER, header, size);
    if (memcmp(page + SETUP_MAGIC, "HdrS", 4))
        return error_set(err, EINVAL, "kernel setup header lacks its signature");
    return 0;
}

static void boot_params_fill(uint8_t *page, const struct boot_info *info)
{
    store_le64(page + BOOT_ACPI_RSDP_ADDR, info->rsdp);
    page[SETUP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    store_le32(page + SETUP_CMD_LINE_PTR, (uint32_t)info->cmdline);
    store_le32(page + BOOT_EXT_CMD_LINE_PTR, (uint32_t)(info->cmdline >> 32));

    uint64_t initrd = info->initrd_size ? info->initrd : 0;
    store_le32(page + SETUP_RAMDISK_IMAGE, (uint32_t)initrd);
    store_le32(page + BOOT_EXT_RAMDISK_IMAGE, (uint32_t)(initrd >> 32));
    store_le32(page + SETUP_RAMDISK_SIZE, (uint32_t)info->initrd_size);
    store_le32(page + BOOT_EXT_RAMDISK_SIZE, (uint32_t)(info->initrd_size >> 32));

    page[BOOT_E820_ENTRIES] = (uint8_t)info->map_count;
    for (size_t i = 0; i < info->map_count; i++) {
        uint8_t *entry = page + BOOT_E820_TABLE + i * BOOT_E820_ENTRY_SIZE;
        store_le64(entry, info->map[i].start);
        store_le64(entry + 8, info->map[i].size);
        store_le32(entry + 16, (uint32_t)info->map[i].type);
    }
}

static int boot_page_write(struct guest_memory *mem, gpa_t where, const uint8_t *page,
                           const char *what, struct error *err)
{
    int ret = guest_memory_write(mem, where, page, BOOT_PAGE_SIZE);
    if (ret)
        return error_errno(err, -ret, "writing %s to guest address %#llx", what,
                           (unsigned long long)where.value);
    return 0;
}

int boot_params_write(const struct boot_info *info, const uint8_t *setup_header, size_t header_size,
                      struct guest_memory *mem, gpa_t where, struct error *err)
{
    uint8_t page[BOOT_PAGE_SIZE] = {0};

    int ret = boot_info_check(info, err);
    if (!ret)
        ret = setup_header_copy(page, setup_header, header_size, err);
    if (ret)
        return ret;
    boot_params_fill(page, info);
    return boot_page_write(mem, where, page, "boot_params", err);
}

/* struct hvm_start_info, version 1. */
enum {
    PVH_MAGIC = 0,
    PVH_VERSION = 4,
    PVH_NR_MODULES = 12,
    PVH_MODLIST_PADDR = 16,
    PVH_CMDLINE_PADDR = 24,
    PVH_RSDP_PADDR = 32,
    PVH_MEMMAP_PADDR = 40,
    PVH_MEMMAP_ENTRIES = 48,
    PVH_SIZE = 56,
};

/* struct hvm_modlist_entry, hvm_memmap_table_entry; where this file puts them in the page. */
enum {
    PVH_MODULE = 64,
    PVH_MODULE_SIZE = 32,
    PVH_MEMMAP = PVH_MODULE + PVH_MODULE_SIZE,
    PVH_MEMMAP_ENTRY_SIZE = 24,
};

#define PVH_START_MAGIC 0x336ec578 /* "xEn3" with the high bit of the E set */

_Static_assert((int)PVH_MEMMAP + MEMORY_MAP_MAX * (int)PVH_MEMMAP_ENTRY_SIZE <= BOOT_PAGE_SIZE,
               "start info fits a page");
_Static_assert((int)BOOT_E820_TABLE + MEMORY_MAP_MAX * (int)BOOT_E820_ENTRY_SIZE <= 0xcd0,
               "memory map fits boot_params");

/* The types of memory map entries are those of E820. */
static void pvh_fill(uint8_t *page, const struct boot_info *info, gpa_t where)
{
    store_le32(page + PVH_MAGIC, PVH_START_MAGIC);
    store_le32(page + PVH_VERSION, 1);
    store_le64(page + PVH_CMDLINE_PADDR, info->cmdline);
    store_le64(page + PVH_RSDP_PADDR, info->rsdp);
    if (info->initrd_size) {
        store_le32(page + PVH_NR_MODULES, 1);
        store_le64(page + PVH_MODLIST_PADDR, where.value + PVH_MODULE);
        store_le64(page + PVH_MODULE, info->initrd);
        store_le64(page + PVH_MODULE + 8, info->initrd_size);
    }
    store_le64(page + PVH_MEMMAP_PADDR, where.value + PVH_MEMMAP);
    store_le32(page + PVH_MEMMAP_ENTRIES, (uint32_t)info->map_count);
    for (size_t i = 0; i < info->map_count; i++) {
        uint8_t *entry = page + PVH_MEMMAP + i * PVH_MEMMAP_ENTRY_SIZE;
        store_le64(entry, info->map[i].start);
        store_le64(entry + 8, info->map[i].size);
        store_le32(entry + 16, (uint32_t)info->map[i].type);
    }
}

int pvh_start_info_write(const struct boot_info *info, struct guest_memory *mem, gpa_t where,
                         struct error *err)
{
    uint8_t page[BOOT_PAGE_SIZE] = {0};

    int ret = boot_info_check(info, err);
    if (ret)
        return ret;
    pvh_fill(page, info, where);
    return boot_page_write(mem, where, page, "hvm_start_info", err);
}
