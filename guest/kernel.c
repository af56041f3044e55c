#include "guest/kernel.h"

#include "base/bytes.h"
#include "base/log.h"
#include "guest/bzimage.h"
#include "guest/elf_image.h"
#include "guest/file_kind.h"
#include "guest/flat_image.h"
#include "guest/image_cache.h"
#include "guest/image_source.h"
#include "guest/kernel_unpack.h"
#include "guest/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define START_BYTES     2048 /* enough to recognise every kind of file */
#define BZIMAGE_MAX     GIB
#define CMDLINE_DEFAULT 2047 /* Linux COMMAND_LINE_SIZE, for an ELF file, which does not say */
#define INITRD_DEFAULT  0x7fffffffu

_Static_assert(KERNEL_SETUP_HEADER_MAX == SETUP_HEADER_MAX, "one size");

enum kernel_kind {
    KERNEL_FLAT,    /* unpacked */
    KERNEL_BZIMAGE, /* unpacks itself */
    KERNEL_ELF,
};

struct kernel {
    struct kernel_options options;
    enum kernel_kind kind;
    int fd; /* the file itself, or -1 once the flat image has taken its place */
    struct flat_image flat;
    struct bzimage bz;
    struct elf_image elf;
    uint8_t setup_header[SETUP_HEADER_MAX];
    size_t setup_size;
    char description[320];
};

static int use_flat(struct kernel *k, int fd, const char *how, struct error *err)
{
    const struct flat_header *h;
    int ret = flat_image_open(&k->flat, fd, k->options.kaslr, err);

    if (ret < 0)
        return ret;
    h = k->flat.header;
    k->kind = KERNEL_FLAT;
    k->setup_size = h->setup_size;
    memcpy(k->setup_header, h->setup_header, h->setup_size);
    snprintf(k->description, sizeof(k->description), "bzImage %s, %s payload unpacked%s, KASLR %s",
             h->release, h->format, how,
             !k->options.kaslr ? "off"
             : h->relocatable  ? "on"
                               : "of physical addresses only");
    return 0;
}

/* The warm path: the file is known by its identity, so not a byte of it is read. */
static int try_cache(struct kernel *k, const struct stat *st)
{
    struct image_cache cache;
    struct error why = ERROR_INIT;
    int fd;

    if (!k->options.unpack || !k->options.cache_dir ||
        image_cache_open(&cache, k->options.cache_dir, &why) < 0)
        return -ENOENT;
    fd = image_cache_find(&cache, st);
    image_cache_close(&cache);
    if (fd < 0)
        return fd;
    if (use_flat(k, fd, " (cached)", &why) < 0) {
        log_info("kernel", "an entry of the image cache is not used: %s", why.text);
        return -EINVAL;
    }
    return 0;
}

static int open_bzimage(struct kernel *k, const struct stat *st, struct error *err)
{
    struct image_source source = {.fd = k->fd, .size = (uint64_t)st->st_size};
    struct error why = ERROR_INIT;
    int ret, fd;

    if (source.size > BZIMAGE_MAX)
        return error_set(err, ENOEXEC, "the file is larger than any kernel");
    ret = bzimage_parse(&source, &k->bz, err);
    if (ret < 0)
        return ret;
    if (k->options.unpack) {
        fd = kernel_unpack(k->fd, st, &k->bz, k->options.cache_dir, &why);
        if (fd >= 0 && use_flat(k, fd, "", &why) == 0)
            return 0;
        log_info("kernel", "the kernel has to unpack itself: %s", why.text);
    }
    k->kind = KERNEL_BZIMAGE;
    k->setup_size = k->bz.header_size;
    memcpy(k->setup_header, k->bz.header, k->setup_size);
    snprintf(k->description, sizeof(k->description), "bzImage %s, unpacks itself (%.180s)",
             k->bz.release, k->options.unpack ? why.text : "as asked for");
    return 0;
}

/* What a bzImage of the same kernel would say of itself; boot protocol 2.15. */
static void synthesize_header(struct kernel *k)
{
    uint8_t *h = k->setup_header;

    store_le16(setup_field(h, SETUP_BOOT_FLAG), 0xaa55);
    *setup_field(h, SETUP_JUMP) = 0xeb;
    *setup_field(h, SETUP_JUMP + 1) = SETUP_INIT_SIZE + 8 - SETUP_JUMP - 2;
    store_le32(setup_field(h, SETUP_MAGIC), SETUP_MAGIC_HDRS);
    store_le16(setup_field(h, SETUP_VERSION), 0x020f);
    *setup_field(h, SETUP_LOADFLAGS) = SETUP_LOADED_HIGH;
    store_le32(setup_field(h, SETUP_INITRD_ADDR_MAX), INITRD_DEFAULT);
    store_le32(setup_field(h, SETUP_KERNEL_ALIGNMENT), 2 * MIB);
    store_le16(setup_field(h, SETUP_XLOADFLAGS), SETUP_XLF_KERNEL_64 | SETUP_XLF_ABOVE_4G);
    store_le32(setup_field(h, SETUP_CMDLINE_SIZE), CMDLINE_DEFAULT);
    store_le64(setup_field(h, SETUP_PREF_ADDRESS), k->elf.start);
    store_le32(setup_field(h, SETUP_INIT_SIZE), (uint32_t)(k->elf.end - k->elf.start));
    k->setup_size = SETUP_INIT_SIZE + 8 - SETUP_HEADER_START;
}

static int open_elf(struct kernel *k, const struct stat *st, struct error *err)
{
    struct image_source source = {.fd = k->fd, .size = (uint64_t)st->st_size};
    int ret = elf_image_parse(&source, &k->elf, err);

    if (ret < 0)
        return ret;
    k->kind = KERNEL_ELF;
    synthesize_header(k);
    snprintf(k->description, sizeof(k->description), "ELF kernel, %s entry, KASLR %s",
             k->elf.has_pvh ? "PVH" : "64-bit",
             k->options.kaslr ? "impossible (no relocation table)" : "off");
    return 0;
}

static int identify(struct kernel *k, const struct stat *st, struct error *err)
{
    uint8_t start[START_BYTES];
    size_t size = MIN((uint64_t)st->st_size, sizeof(start));
    const char *kind;
    int ret = file_read_at(k->fd, 0, start, size, err);

    if (ret < 0)
        return ret;
    if (bzimage_detect(start, size))
        return open_bzimage(k, st, err);
    if (elf_image_detect(start, size))
        return open_elf(k, st, err);
    kind = file_kind(start, size);
    return error_set(err, ENOEXEC, "not a kernel for x86-64%s%s", kind ? ": it looks like " : "",
                     kind ? kind : "");
}

int kernel_open(const struct kernel_options *options, struct kernel **out, struct error *err)
{
    struct kernel *k = calloc(1, sizeof(*k));
    struct stat st = {0};
    int ret;

    if (!k)
        return error_set(err, ENOMEM, "out of memory");
    k->options = *options;
    k->flat.fd = -1;
    k->fd = ret = file_open(options->path, &st, err);
    if (ret >= 0)
        ret = try_cache(k, &st) == 0 ? 0 : identify(k, &st, err);
    if (ret < 0) {
        error_prefix(err, "kernel '%s'", options->path);
        kernel_close(k);
        return ret;
    }
    if (k->kind == KERNEL_FLAT) {
        close(k->fd);
        k->fd = -1;
    }
    log_info("kernel", "%s", k->description);
    *out = k;
    return 0;
}

static void set_kaslr_flag(struct kernel *k, bool on)
{
    uint8_t *flags = setup_field(k->setup_header, SETUP_LOADFLAGS);

    *flags = (uint8_t)(on ? *flags | SETUP_KASLR_FLAG : *flags & ~SETUP_KASLR_FLAG);
}

/* The flag, which the decompressor would set, makes Linux randomize its other memory areas as well.
 */
static int load_flat(struct kernel *k, struct guest_memory *mem, struct placement_request *request,
                     struct kernel_placement *out, struct error *err)
{
    const struct flat_header *h = k->flat.header;
    int ret;

    request->size = h->memory_size;
    request->alignment = h->alignment;
    request->preferred = h->link_base;
    request->movable = true;
    request->random = k->options.kaslr;
    ret = placement_physical(request, mem, &out->start, err);
    if (ret < 0)
        return ret;
    if (k->options.kaslr && h->relocatable)
        out->virtual_offset = placement_displacement(h->link_base, h->memory_size, h->alignment);
    set_kaslr_flag(k, k->options.kaslr && h->relocatable);
    out->entry = out->start + h->entry;
    return flat_image_load(&k->flat, mem, out->start, out->virtual_offset, err);
}

static int load_bzimage(struct kernel *k, struct guest_memory *mem,
                        struct placement_request *request, struct kernel_placement *out,
                        struct error *err)
{
    int ret;

    request->size = k->bz.init_size;
    request->alignment = k->bz.alignment;
    request->preferred = k->bz.pref_address;
    request->movable = k->bz.relocatable;
    ret = placement_physical(request, mem, &out->start, err);
    if (ret < 0)
        return ret;
    set_kaslr_flag(k, false);
    out->entry = out->start + SETUP_ENTRY_64;
    out->randomized_by_guest = true;
    return file_read_at(k->fd, k->bz.kernel_offset,
                        guest_memory_map(mem, GPA(out->start), k->bz.kernel_size),
                        k->bz.kernel_size, err);
}

static int load_elf(struct kernel *k, struct guest_memory *mem, struct placement_request *request,
                    struct kernel_placement *out, struct error *err)
{
    int ret;

    request->size = k->elf.end - k->elf.start;
    request->alignment = 4 * KIB;
    request->preferred = k->elf.start;
    ret = placement_physical(request, mem, &out->start, err);
    for (size_t i = 0; ret == 0 && i < k->elf.count; i++) {
        const struct elf_segment *s = &k->elf.segments[i];

        ret =
            file_read_at(k->fd, s->offset, guest_memory_map(mem, GPA(s->physical), s->memory_size),
                         s->file_size, err);
    }
    out->protocol = k->elf.has_pvh ? KERNEL_PVH : KERNEL_LINUX64;
    out->entry = k->elf.has_pvh ? k->elf.pvh_entry : k->elf.entry;
    return ret;
}

int kernel_load(struct kernel *kernel, struct guest_memory *mem, uint64_t lowest, uint64_t limit,
                struct kernel_placement *out, struct error *err)
{
    static int (*const load[])(struct kernel *, struct guest_memory *, struct placement_request *,
                               struct kernel_placement *, struct error *) = {
        [KERNEL_FLAT] = load_flat, [KERNEL_BZIMAGE] = load_bzimage, [KERNEL_ELF] = load_elf};
    struct placement_request request = {.lowest = MAX(lowest, MIB), .limit = MIN(limit, 4 * GIB)};
    int ret;

    *out = (struct kernel_placement){.protocol = KERNEL_LINUX64};
    ret = load[kernel->kind](kernel, mem, &request, out, err);
    if (ret < 0) {
        error_prefix(err, "kernel '%s'", kernel->options.path);
        return ret;
    }
    out->end = out->start + align_up(request.size, 4 * KIB);
    log_debug("kernel",
              "at 0x%" PRIx64 "..0x%" PRIx64 ", entry 0x%" PRIx64 ", displacement 0x%" PRIx64,
              out->start, out->end, out->entry, out->virtual_offset);
    return 0;
}

size_t kernel_setup_header(const struct kernel *kernel, uint8_t out[KERNEL_SETUP_HEADER_MAX])
{
    memcpy(out, kernel->setup_header, kernel->setup_size);
    return kernel->setup_size;
}

size_t kernel_cmdline_max(const struct kernel *kernel)
{
    return load_le32(kernel->setup_header + (SETUP_CMDLINE_SIZE - SETUP_HEADER_START));
}

uint64_t kernel_initrd_max(const struct kernel *kernel)
{
    return load_le32(kernel->setup_header + (SETUP_INITRD_ADDR_MAX - SETUP_HEADER_START));
}

const char *kernel_describe(const struct kernel *kernel)
{
    return kernel->description;
}

void kernel_close(struct kernel *kernel)
{
    if (!kernel)
        return;
    flat_image_close(&kernel->flat);
    if (kernel->fd >= 0)
        close(kernel->fd);
    free(kernel);
}
