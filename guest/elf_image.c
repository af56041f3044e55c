#include "guest/elf_image.h"

#include "base/bytes.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PROGRAM_HEADERS_MAX 64
#define NOTES_MAX           (64 * KIB)
#define NOTE_PVH_ENTRY      18 /* XEN_ELFNOTE_PHYS32_ENTRY, Xen public/elfnote.h */

bool elf_image_detect(const uint8_t *start, size_t size)
{
    return size >= SELFMAG && memcmp(start, ELFMAG, SELFMAG) == 0;
}

static int check_header(const Elf64_Ehdr *ehdr, struct error *err)
{
    if (!elf_image_detect(ehdr->e_ident, sizeof(ehdr->e_ident)))
        return error_set(err, ENOEXEC, "the kernel is not an ELF file");
    if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
        le16toh(ehdr->e_machine) != EM_X86_64)
        return error_set(err, ENOEXEC, "the kernel is an ELF file for another machine than x86-64");
    if (le16toh(ehdr->e_type) != ET_EXEC && le16toh(ehdr->e_type) != ET_DYN)
        return error_set(err, ENOEXEC, "the ELF file is not an executable (type %u)",
                         le16toh(ehdr->e_type));
    if (le16toh(ehdr->e_phentsize) != sizeof(Elf64_Phdr) || !ehdr->e_phnum ||
        le16toh(ehdr->e_phnum) > PROGRAM_HEADERS_MAX)
        return error_set(err, EINVAL, "the ELF file is damaged: %u program headers of %u bytes",
                         le16toh(ehdr->e_phnum), le16toh(ehdr->e_phentsize));
    return 0;
}

/* Keep the list sorted by physical address. */
static int add_segment(struct elf_image *elf, const struct elf_segment *segment, struct error *err)
{
    size_t i = elf->count;

    if (elf->count == ELF_SEGMENTS_MAX)
        return error_set(err, EINVAL, "the ELF file has more than %d segments", ELF_SEGMENTS_MAX);
    for (; i > 0 && elf->segments[i - 1].physical > segment->physical; i--)
        elf->segments[i] = elf->segments[i - 1];
    elf->segments[i] = *segment;
    elf->count++;
    return 0;
}

static int parse_segment(const struct image_source *source, const Elf64_Phdr *phdr,
                         struct elf_image *elf, struct error *err)
{
    struct elf_segment s = {
        .offset = le64toh(phdr->p_offset),
        .file_size = le64toh(phdr->p_filesz),
        .physical = le64toh(phdr->p_paddr),
        .virtual = le64toh(phdr->p_vaddr),
        .memory_size = le64toh(phdr->p_memsz),
    };

    if (!s.memory_size)
        return 0;
    if (s.file_size > s.memory_size || s.memory_size > ELF_SPAN_MAX ||
        s.physical > UINT64_MAX - s.memory_size || s.virtual > UINT64_MAX - s.memory_size)
        return error_set(err, EINVAL,
                         "the ELF file is damaged: a segment of 0x%" PRIx64 " bytes, 0x%" PRIx64
                         " in memory, at 0x%" PRIx64,
                         s.file_size, s.memory_size, s.physical);
    if (s.offset > source->size || s.file_size > source->size - s.offset)
        return error_set(err, EINVAL,
                         "the ELF file is truncated: a segment at 0x%" PRIx64 " needs 0x%" PRIx64
                         " bytes of it",
                         s.offset, s.file_size);
    return add_segment(elf, &s, err);
}

/* `size` bytes of notes, each a header, a name and a descriptor, both padded to 4 bytes. */
static void find_pvh_note(const uint8_t *notes, size_t size, struct elf_image *elf)
{
    size_t at = 0;

    while (size - at >= sizeof(Elf64_Nhdr)) {
        uint32_t name_size = load_le32(notes + at), desc_size = load_le32(notes + at + 4);
        uint32_t type = load_le32(notes + at + 8);
        size_t name = at + sizeof(Elf64_Nhdr), desc, end;

        if (name_size > NOTES_MAX || desc_size > NOTES_MAX)
            return;
        desc = name + align_up(name_size, 4);
        end = desc + align_up(desc_size, 4);
        if (end > size)
            return;
        if (type == NOTE_PVH_ENTRY && name_size == 4 && memcmp(notes + name, "Xen", 4) == 0 &&
            (desc_size == 4 || desc_size == 8)) {
            elf->has_pvh = true;
            elf->pvh_entry = load_le(notes + desc, desc_size);
            return;
        }
        at = end;
    }
}

static int parse_notes(const struct image_source *source, const Elf64_Phdr *phdr,
                       struct elf_image *elf, struct error *err)
{
    static const uint64_t piece = 4 * KIB; /* Linux's notes are a few hundred bytes */
    uint8_t notes[4 * KIB];
    uint64_t size = le64toh(phdr->p_filesz);
    int ret;

    if (elf->has_pvh)
        return 0;
    size = MIN(size, piece);
    ret = image_source_read(source, le64toh(phdr->p_offset), notes, size, err);
    if (ret < 0)
        return ret;
    find_pvh_note(notes, size, elf);
    return 0;
}

static bool in_image(const struct elf_image *elf, uint64_t physical)
{
    for (size_t i = 0; i < elf->count; i++) {
        const struct elf_segment *s = &elf->segments[i];

        if (physical - s->physical < s->file_size)
            return true;
    }
    return false;
}

/* Linux's e_entry is a physical address; what other linker scripts make is a virtual one. */
static int resolve_entry(struct elf_image *elf, uint64_t entry, struct error *err)
{
    elf->entry = entry;
    if (in_image(elf, entry))
        return 0;
    for (size_t i = 0; i < elf->count; i++) {
        const struct elf_segment *s = &elf->segments[i];

        if (entry - s->virtual < s->file_size) {
            elf->entry = entry - s->virtual + s->physical;
            return 0;
        }
    }
    return error_set(err, EINVAL,
                     "the ELF file is damaged: its entry 0x%" PRIx64 " is in no segment", entry);
}

static int check_layout(struct elf_image *elf, struct error *err)
{
    if (!elf->count)
        return error_set(err, EINVAL, "the ELF file has nothing to load");
    elf->start = elf->segments[0].physical;
    for (size_t i = 0; i < elf->count; i++) {
        const struct elf_segment *s = &elf->segments[i];

        if (i && s->physical < elf->end)
            return error_set(err, EINVAL, "the ELF file is damaged: segments overlap at 0x%" PRIx64,
                             s->physical);
        elf->end = s->physical + s->memory_size;
        if (s->file_size) {
            elf->data_end = s->physical + s->file_size;
            elf->file_end = MAX(elf->file_end, s->offset + s->file_size);
        }
    }
    if (elf->end - elf->start > ELF_SPAN_MAX)
        return error_set(err, EINVAL, "the ELF file spreads over more than 1 GiB");
    if (elf->has_pvh && !in_image(elf, elf->pvh_entry))
        return error_set(err, EINVAL,
                         "the ELF file is damaged: its PVH entry 0x%" PRIx64 " is in no segment",
                         elf->pvh_entry);
    return 0;
}

int elf_image_parse(const struct image_source *source, struct elf_image *out, struct error *err)
{
    Elf64_Ehdr ehdr;
    Elf64_Phdr phdrs[PROGRAM_HEADERS_MAX];
    uint64_t tables;
    int ret = image_source_read(source, 0, &ehdr, sizeof(ehdr), err);

    *out = (struct elf_image){0};
    if (ret == 0)
        ret = check_header(&ehdr, err);
    if (ret < 0)
        return ret;
    ret = image_source_read(source, le64toh(ehdr.e_phoff), phdrs,
                            le16toh(ehdr.e_phnum) * sizeof(phdrs[0]), err);
    for (size_t i = 0; ret == 0 && i < le16toh(ehdr.e_phnum); i++) {
        if (le32toh(phdrs[i].p_type) == PT_LOAD)
            ret = parse_segment(source, &phdrs[i], out, err);
        else if (le32toh(phdrs[i].p_type) == PT_NOTE)
            ret = parse_notes(source, &phdrs[i], out, err);
    }
    if (ret < 0)
        return ret;
    /* Section headers are not used, but where they end is where an appended relocation table
     * starts. */
    tables = (uint64_t)le16toh(ehdr.e_shnum) * le16toh(ehdr.e_shentsize);
    if (tables && le64toh(ehdr.e_shoff) <= source->size &&
        tables <= source->size - le64toh(ehdr.e_shoff))
        out->file_end = le64toh(ehdr.e_shoff) + tables;
    ret = check_layout(out, err);
    return ret < 0 ? ret : resolve_entry(out, le64toh(ehdr.e_entry), err);
}
