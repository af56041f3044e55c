/*
 * Making a flat image from an unpacked vmlinux: the part of guest/flat_image.h that a warm boot
 * never runs.
 */
#include "guest/flat_image.h"

#include "base/bytes.h"
#include "base/log.h"
#include "guest/elf_image.h"
#include "guest/image_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PADDING_BYTE   0xcc /* int3, what Linux's linker script fills text with */
#define BUSY_PAGES_MAX 64u  /* pages the guest will touch in a chunk that is still worth mapping */
#define GAP_PAGES_MIN  32u  /* a shorter run of zeroes is cheaper read than skipped */

struct flat_builder {
    struct flat_header header;
    uint8_t *image; /* as in memory */
    uint64_t span;  /* page multiple */
    uint32_t *offsets;
    struct relocs relocs;
    uint8_t *page_relocated; /* one byte a page */
};

static int write_at(int fd, uint64_t offset, const void *buf, size_t len, struct error *err)
{
    const uint8_t *from = buf;

    while (len) {
        ssize_t n = pwrite(fd, from, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_errno(err, n < 0 ? errno : ENOSPC, "cannot write the unpacked image");
        from += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int check_kernel(const struct elf_image *elf, const struct bzimage *bz, struct error *err)
{
    if (elf->start != bz->pref_address || elf->segments[0].file_size == 0)
        return error_set(err, EINVAL,
                         "the kernel inside is linked for 0x%" PRIx64 ", the image for 0x%" PRIx64,
                         elf->start, bz->pref_address);
    return 0;
}

static int lay_out(struct flat_builder *b, const struct elf_image *elf, const uint8_t *unpacked,
                   struct error *err)
{
    void *p;

    b->span = align_up(elf->data_end - elf->start, FLAT_PAGE);
    p = mmap(NULL, b->span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->page_relocated = calloc(b->span / FLAT_PAGE, 1);
    if (p == MAP_FAILED || !b->page_relocated) {
        if (p != MAP_FAILED)
            munmap(p, b->span);
        return error_set(err, ENOMEM, "not enough memory to unpack the kernel");
    }
    b->image = p;
    for (size_t i = 0; i < elf->count; i++) {
        const struct elf_segment *s = &elf->segments[i];

        memcpy(b->image + (s->physical - elf->start), unpacked + s->offset, s->file_size);
    }
    return 0;
}

/* A kernel whose table we do not understand still runs where it was linked for. */
static int read_relocs(struct flat_builder *b, const struct elf_image *elf, const uint8_t *table,
                       size_t size, struct error *err)
{
    struct error why = ERROR_INIT;

    b->offsets = calloc(size / 4 + 2, 4);
    if (!b->offsets)
        return error_set(err, ENOMEM, "not enough memory to unpack the kernel");
    if (!size || relocs_parse(table, size, elf->segments[0].virtual, elf->data_end - elf->start,
                              b->offsets, &b->relocs, &why) < 0) {
        log_info("kernel", "no virtual KASLR for this kernel: %s",
                 size ? why.text : "it has no relocation table");
        b->relocs = (struct relocs){0};
        return 0;
    }
    b->header.relocatable = true;
    for (size_t kind = 0; kind < RELOC_KINDS; kind++) {
        b->header.reloc_count[kind] = b->relocs.count[kind];
        for (size_t i = 0; i < b->relocs.count[kind]; i++)
            b->page_relocated[b->relocs.offsets[kind][i] / FLAT_PAGE] = 1;
    }
    return 0;
}

static bool page_is_filled(const struct flat_builder *b, uint32_t page, uint8_t with)
{
    const uint8_t *p = b->image + (uint64_t)page * FLAT_PAGE;

    return p[0] == with && memcmp(p, p + 1, FLAT_PAGE - 1) == 0;
}

/*
 * A whole chunk that is next to nothing but padding between functions. Zeroes are no padding: gaps
 * between sections are given to the guest's page allocator and then used. Nothing else tells what a
 * guest leaves alone: of constant data without relocations (type information, unwind tables) a
 * stock kernel reads nearly all while booting.
 */
static bool chunk_is_padding(const struct flat_builder *b, uint32_t start)
{
    uint32_t busy = 0;

    if (start + FLAT_CHUNK > b->span / FLAT_PAGE)
        return false;
    for (uint32_t page = start; page < start + FLAT_CHUNK && busy <= BUSY_PAGES_MAX; page++)
        busy += b->page_relocated[page] || !page_is_filled(b, page, PADDING_BYTE);
    return busy <= BUSY_PAGES_MAX;
}

/* Let the last run grow over a non-zero page, or start a new one where the gap is wide. */
static void add_page(struct flat_header *h, uint32_t page)
{
    struct flat_run *last = h->run_count ? &h->runs[h->run_count - 1] : NULL;

    if (last && (h->run_count == FLAT_RUNS_MAX ||
                 (!last->mapped && page - (last->page + last->count) < GAP_PAGES_MIN))) {
        last->count = page - last->page + 1;
        return;
    }
    h->runs[h->run_count++] = (struct flat_run){.page = page, .count = 1};
}

static void find_runs(struct flat_builder *b)
{
    struct flat_header *h = &b->header;
    uint32_t page = 0;

    while (page < b->span / FLAT_PAGE) {
        if (page % FLAT_CHUNK == 0 && h->run_count < FLAT_RUNS_MAX && chunk_is_padding(b, page)) {
            h->runs[h->run_count++] =
                (struct flat_run){.page = page, .count = FLAT_CHUNK, .mapped = true};
            page += FLAT_CHUNK;
            continue;
        }
        if (!page_is_filled(b, page, 0))
            add_page(h, page);
        page++;
    }
}

static void fill_header(struct flat_builder *b, const struct elf_image *elf,
                        const struct bzimage *bz, const char *format)
{
    struct flat_header *h = &b->header;
    const struct flat_run *last = h->run_count ? &h->runs[h->run_count - 1] : NULL;
    size_t words = 0;

    for (size_t kind = 0; kind < RELOC_KINDS; kind++)
        words += b->relocs.count[kind];
    h->magic = FLAT_MAGIC;
    h->version = FLAT_VERSION;
    h->size = sizeof(*h);
    h->image_offset = align_up(FLAT_PAGE + words * 4, FLAT_PAGE);
    h->image_size = last ? ((uint64_t)last->page + last->count) * FLAT_PAGE : 0;
    h->file_size = h->image_offset + h->image_size;
    h->memory_size = align_up(MAX(bz->init_size, elf->end - elf->start), FLAT_PAGE);
    h->entry = elf->entry - elf->start;
    h->link_base = elf->start;
    /* Linux maps itself with 2 MiB pages, so both bases need that much whatever the image says. */
    h->alignment = MAX(bz->alignment, 2 * MIB);
    h->setup_size = (uint32_t)bz->header_size;
    memcpy(h->setup_header, bz->header, bz->header_size);
    memcpy(h->release, bz->release, sizeof(h->release));
    snprintf(h->format, sizeof(h->format), "%s", format);
    h->reloc_checksum = flat_checksum(b->offsets, align_up(words * 4, 8));
    h->checksum = flat_header_checksum(h);
}

static int write_file(const struct flat_builder *b, int fd, struct error *err)
{
    const struct flat_header *h = &b->header;
    uint64_t words = (uint64_t)h->reloc_count[0] + h->reloc_count[1] + h->reloc_count[2];
    int ret;

    if (h->entry >= h->image_size)
        return error_set(err, EINVAL, "the kernel inside is empty at its entry");
    if (ftruncate(fd, (off_t)h->file_size) < 0)
        return error_errno(err, errno, "cannot write the unpacked image");
    ret = write_at(fd, FLAT_PAGE, b->offsets, align_up(words * 4, 8), err);
    for (size_t i = 0; ret == 0 && i < h->run_count; i++) {
        uint64_t offset = (uint64_t)h->runs[i].page * FLAT_PAGE;

        ret = write_at(fd, h->image_offset + offset, b->image + offset,
                       (uint64_t)h->runs[i].count * FLAT_PAGE, err);
    }
    return ret < 0 ? ret : write_at(fd, 0, h, sizeof(*h), err);
}

int flat_image_write(int fd, const struct bzimage *bz, const char *format, const uint8_t *unpacked,
                     size_t size, struct error *err)
{
    struct image_source source = {.data = unpacked, .fd = -1, .size = size};
    struct flat_builder builder = {.header = {0}};
    struct elf_image elf;
    int ret = elf_image_parse(&source, &elf, err);

    if (ret == 0)
        ret = check_kernel(&elf, bz, err);
    if (ret == 0)
        ret = lay_out(&builder, &elf, unpacked, err);
    if (ret == 0)
        ret = read_relocs(&builder, &elf, unpacked + elf.file_end, size - elf.file_end, err);
    if (ret == 0) {
        find_runs(&builder);
        fill_header(&builder, &elf, bz, format);
        ret = write_file(&builder, fd, err);
    }
    if (builder.image)
        munmap(builder.image, builder.span);
    free(builder.page_relocated);
    free(builder.offsets);
    return ret;
}
