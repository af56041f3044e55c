/*
 * Loading a Linux kernel into guest memory.
 *
 * Two steps, so that every complaint about the files comes before anything is started, and so that
 * a reboot in place loads the same kernel again without reading a file twice:
 *
 *   kernel_open   reads and checks the image and decides how it will be started;
 *   kernel_load   chooses addresses and puts the image into (zeroed) guest memory; once per boot.
 *
 * How an image is started, best first:
 *   - bzImage whose payload we can unpack: the ELF kernel inside is started directly at its 64-bit
 *     entry, relocated to a random base when `kaslr` is set. The unpacked image is kept in a cache
 *     directory, so that the next boot maps it instead of unpacking.
 *   - any other bzImage with a 64-bit entry (XLF_KERNEL_64): its own decompressor runs.
 *   - ELF with a PVH note (XEN_ELFNOTE_PHYS32_ENTRY): 32-bit entry, hvm_start_info.
 *   - ELF without: its 64-bit entry, Linux boot protocol (Documentation/arch/x86/boot.rst).
 */
#ifndef GUEST_KERNEL_H
#define GUEST_KERNEL_H

#include "base/error.h"
#include "guest/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kernel_protocol {
    KERNEL_LINUX64, /* long mode, identity map, RSI = boot_params */
    KERNEL_PVH,     /* 32-bit protected mode without paging, EBX = hvm_start_info */
};

#define KERNEL_SETUP_HEADER_MAX 144 /* struct setup_header: 0x1f1 up to at most 0x281 */

struct kernel_options {
    const char *path;      /* all strings are borrowed for as long as the kernel is open */
    bool kaslr;            /* choose random physical and virtual bases where the image allows */
    bool unpack;           /* false: always let the image's own decompressor run */
    const char *cache_dir; /* where unpacked images are kept; NULL: no cache */
};

/* Where a kernel ended up; filled by kernel_load. */
struct kernel_placement {
    enum kernel_protocol protocol;
    uint64_t entry;          /* guest physical address of the first instruction */
    uint64_t start, end;     /* guest physical range the kernel occupies, with bss and brk */
    uint64_t virtual_offset; /* KASLR displacement applied to virtual addresses, 0 if none */
    /* Its own decompressor runs and may move it again; "nokaslr" on the command line forbids that.
     */
    bool randomized_by_guest;
};

struct kernel; /* an opened image */

/*
 * Open, check and if need be unpack the image. On success the caller owns *out. Errors: -ENOENT
 * etc. from the host, -ENOEXEC "not a kernel" (says what the file looks like instead), -EINVAL
 * empty, truncated or inconsistent images. A payload in an unknown or damaged format is not an
 * error while the image's own decompressor can be used: the reason is logged and `kernel_describe`
 * says so.
 */
int kernel_open(const struct kernel_options *options, struct kernel **out, struct error *err);

/*
 * Place the kernel into guest RAM in [lowest, limit): lowest is at least 1 MiB, limit at most where
 * an initrd already lies; nothing is placed above 4 GiB. Errors: -ENOMEM when RAM is too small,
 * saying how much the kernel needs. The memory is assumed to hold zeroes: for a reboot,
 * guest_memory_clear first.
 */
int kernel_load(struct kernel *kernel, struct guest_memory *mem, uint64_t lowest, uint64_t limit,
                struct kernel_placement *out, struct error *err);

/* The bzImage's setup_header (from offset 0x1f1) for boot_params, and its length; for an ELF image
 * a synthesised one of the current protocol. */
size_t kernel_setup_header(const struct kernel *kernel, uint8_t out[KERNEL_SETUP_HEADER_MAX]);

/* The longest command line the kernel takes, without the terminating NUL. */
size_t kernel_cmdline_max(const struct kernel *kernel);

/* The highest guest physical address an initrd may end at (initrd_addr_max), inclusive. */
uint64_t kernel_initrd_max(const struct kernel *kernel);

/* One line for --dry-run and the log: "bzImage 6.1.0-..., lz4 payload unpacked (cached), KASLR on".
 */
const char *kernel_describe(const struct kernel *kernel);

void kernel_close(struct kernel *kernel);

#endif
