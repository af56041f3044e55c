/*
 * Kernels: synthetic images of every kind, whole, truncated and damaged; relocation; the image
 * cache.
 */
#include "guest/kernel.h"

#include "base/bytes.h"
#include "base/module.h"
#include "guest/bzimage.h"
#include "guest/elf_image.h"
#include "guest/flat_image.h"
#include "guest/image_cache.h"

#include <bzlib.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#define PHYSICAL UINT64_C(0x1000000)
#define VIRTUAL  UINT64_C(0xffffffff81000000)
#define RAM      (128 * MIB)

struct buffer {
    uint8_t *data;
    size_t size;
};

static char directory[] = "/tmp/vireo-test-XXXXXX";
static char image_path[64], cache_path[64];
static struct guest_memory mem;
static struct error err;

/* ------------------------------------------------------------------ a small vmlinux */

/* Like Linux's: text, data, per-CPU data at virtual address 0, init code with bss at its end. */
#define TEXT_SIZE  0x9000u
#define DATA_AT    0x10000u
#define DATA_SIZE  0x3000u
#define CPU_AT     0x13000u
#define CPU_SIZE   0x1000u
#define INIT_AT    0x14000u
#define INIT_SIZE  0x3000u
#define BSS_SIZE   0x80000u
#define IMAGE_SIZE (INIT_AT + INIT_SIZE)
#define MEMORY     (IMAGE_SIZE + BSS_SIZE)
#define ENTRY      0x40u
#define PVH_ENTRY  0x80u
#define NOTE_AT    0x200u
#define FILE_TEXT  0x1000u
#define FILE_END   (FILE_TEXT + IMAGE_SIZE)

static const uint32_t places_64[] = {0x100, 0x1003, 0x10008, 0x16ff8};
static const uint32_t places_inverse[] = {0x500, 0x8ffc};
static const uint32_t places_32[] = {0x104, 0x5001, 0x14004};

enum table { TABLE_NONE, TABLE_TWO_LISTS, TABLE_THREE_LISTS };

static uint8_t pattern(size_t offset)
{
    /* Gaps between segments stay zero. */
    if ((offset >= TEXT_SIZE && offset < DATA_AT) || offset >= IMAGE_SIZE)
        return 0;
    return (uint8_t)(offset * 7 + (offset >> 8) * 13 + 1);
}

static void segment(uint8_t *elf, size_t index, uint64_t physical, uint64_t virtual, uint64_t size,
                    uint64_t memory_size)
{
    Elf64_Phdr phdr = {.p_type = PT_LOAD,
                       .p_offset = FILE_TEXT + physical,
                       .p_paddr = PHYSICAL + physical,
                       .p_vaddr = virtual,
                       .p_filesz = size,
                       .p_memsz = memory_size};

    memcpy(elf + sizeof(Elf64_Ehdr) + index * sizeof(phdr), &phdr, sizeof(phdr));
}

static void pvh_note(uint8_t *elf)
{
    static const uint8_t note[] = {4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0};
    static const uint8_t other[] = {4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0, 1, 2, 3};
    uint8_t *p = elf + FILE_TEXT + NOTE_AT;
    Elf64_Phdr phdr = {.p_type = PT_NOTE, .p_offset = FILE_TEXT + NOTE_AT, .p_filesz = 40};

    memset(p, 0, 40);
    memcpy(p, other, sizeof(other));
    memcpy(p + 20, note, sizeof(note));
    store_le32(p + 36, (uint32_t)(PHYSICAL + PVH_ENTRY));
    memcpy(elf + sizeof(Elf64_Ehdr) + 4 * sizeof(phdr), &phdr, sizeof(phdr));
}

static uint8_t *list(uint8_t *p, const uint32_t *places, size_t count)
{
    store_le32(p, 0);
    for (size_t i = 0; i < count; i++)
        store_le32(p += 4, (uint32_t)(VIRTUAL + places[i]));
    return p + 4;
}

static struct buffer make_vmlinux(enum table table, bool pvh)
{
    Elf64_Ehdr ehdr = {.e_type = ET_EXEC,
                       .e_machine = EM_X86_64,
                       .e_entry = PHYSICAL + ENTRY,
                       .e_phoff = sizeof(Elf64_Ehdr),
                       .e_phentsize = sizeof(Elf64_Phdr),
                       .e_phnum = pvh ? 5 : 4,
                       .e_shoff = FILE_END,
                       .e_shentsize = sizeof(Elf64_Shdr),
                       .e_shnum = 1};
    uint8_t *elf = calloc(1, FILE_END + 4096), *end;

    memcpy(ehdr.e_ident, ELFMAG "\2\1\1", 7);
    memcpy(elf, &ehdr, sizeof(ehdr));
    for (size_t i = 0; i < IMAGE_SIZE; i++)
        elf[FILE_TEXT + i] = pattern(i);
    segment(elf, 0, INIT_AT, VIRTUAL + INIT_AT, INIT_SIZE, INIT_SIZE + BSS_SIZE);
    segment(elf, 1, 0, VIRTUAL, TEXT_SIZE, TEXT_SIZE);
    segment(elf, 2, DATA_AT, VIRTUAL + DATA_AT, DATA_SIZE, DATA_SIZE);
    segment(elf, 3, CPU_AT, 0, CPU_SIZE, CPU_SIZE);
    if (pvh)
        pvh_note(elf);
    end = elf + FILE_END + sizeof(Elf64_Shdr);
    if (table != TABLE_NONE)
        end = list(end, places_64, ARRAY_SIZE(places_64));
    if (table == TABLE_THREE_LISTS)
        end = list(end, places_inverse, ARRAY_SIZE(places_inverse));
    if (table != TABLE_NONE)
        end = list(end, places_32, ARRAY_SIZE(places_32));
    return (struct buffer){elf, (size_t)(end - elf)};
}

/* ------------------------------------------------------------------ packed, in a bzImage */

static size_t pack_gzip(struct buffer in, uint8_t *out, size_t room)
{
    z_stream z = {
        .next_in = in.data, .avail_in = (uInt)in.size, .next_out = out, .avail_out = (uInt)room};

    deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static size_t pack_xz(struct buffer in, uint8_t *out, size_t room)
{
    lzma_options_lzma options;
    lzma_filter filters[] = {
        {LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    size_t at = 0;

    lzma_lzma_preset(&options, 0);
    assert_int_equal(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, in.data, in.size,
                                               out, &at, room),
                     LZMA_OK);
    return at;
}

static size_t pack_lzma(struct buffer in, uint8_t *out, size_t room)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_options_lzma options;

    lzma_lzma_preset(&options, 6);
    assert_int_equal(lzma_alone_encoder(&stream, &options), LZMA_OK);
    stream.next_in = in.data;
    stream.avail_in = in.size;
    stream.next_out = out;
    stream.avail_out = room;
    assert_int_equal(lzma_code(&stream, LZMA_FINISH), LZMA_STREAM_END);
    lzma_end(&stream);
    return room - stream.avail_out;
}

static size_t pack_lz4(struct buffer in, uint8_t *out, size_t room)
{
    size_t at = 4;

    store_le32(out, 0x184c2102);
    for (size_t from = 0; from < in.size; from += 8 * MIB) {
        int n = LZ4_compress_default((const char *)in.data + from, (char *)out + at + 4,
                                     (int)MIN(in.size - from, 8 * MIB), (int)(room - at - 4));

        assert_true(n > 0);
        store_le32(out + at, (uint32_t)n);
        at += 4 + (size_t)n;
    }
    return at;
}

static size_t pack_zstd(struct buffer in, uint8_t *out, size_t room)
{
    return ZSTD_compress(out, room, in.data, in.size, 3);
}

static size_t pack_bzip2(struct buffer in, uint8_t *out, size_t room)
{
    unsigned size = (unsigned)room;

    assert_int_equal(
        BZ2_bzBuffToBuffCompress((char *)out, &size, (char *)in.data, (unsigned)in.size, 9, 0, 0),
        BZ_OK);
    return size;
}

static size_t pack_unknown(struct buffer in, uint8_t *out, size_t room)
{
    (void)in;
    memset(out, 0xee, MIN(room, 64));
    return 64;
}

typedef size_t pack_function(struct buffer in, uint8_t *out, size_t room);

#define SETUP_SIZE 1024u
#define PAYLOAD_AT 0x300u

static void put_header(uint8_t *image, size_t payload_size)
{
    image[SETUP_SECTS] = 1;
    store_le16(image + SETUP_BOOT_FLAG, 0xaa55);
    image[SETUP_JUMP + 1] = 0x6a;
    store_le32(image + SETUP_MAGIC, SETUP_MAGIC_HDRS);
    store_le16(image + SETUP_VERSION, 0x20f);
    store_le16(image + SETUP_KERNEL_VERSION, 0x280 - 0x200);
    strcpy((char *)image + 0x280, "6.1.0-test (someone@somewhere) #1");
    image[SETUP_LOADFLAGS] = SETUP_LOADED_HIGH;
    store_le32(image + SETUP_INITRD_ADDR_MAX, 0x7fffffff);
    store_le32(image + SETUP_KERNEL_ALIGNMENT, 2 * MIB);
    image[SETUP_RELOCATABLE_KERNEL] = 1;
    store_le16(image + SETUP_XLOADFLAGS, SETUP_XLF_KERNEL_64);
    store_le32(image + SETUP_CMDLINE_SIZE, 2047);
    store_le32(image + SETUP_PAYLOAD_OFFSET, PAYLOAD_AT);
    store_le32(image + SETUP_PAYLOAD_LENGTH, (uint32_t)payload_size);
    store_le64(image + SETUP_PREF_ADDRESS, PHYSICAL);
    store_le32(image + SETUP_INIT_SIZE, 3 * MIB);
}

static struct buffer make_bzimage(struct buffer vmlinux, pack_function *pack)
{
    size_t room = vmlinux.size + 65536, payload;
    struct buffer image = {calloc(1, SETUP_SIZE + PAYLOAD_AT + room), 0};
    uint8_t *at = image.data + SETUP_SIZE + PAYLOAD_AT;

    payload = pack(vmlinux, at, room - 4);
    if (pack != pack_gzip) {
        store_le32(at + payload, (uint32_t)vmlinux.size);
        payload += 4;
    }
    memset(image.data + SETUP_SIZE, 0xc3, PAYLOAD_AT);
    put_header(image.data, payload);
    image.size = SETUP_SIZE + PAYLOAD_AT + payload;
    return image;
}

static void put_file(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

/* A file that has just changed is not yet remembered by the cache. */
static void settle(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

static void put_bzimage(enum table table, pack_function *pack)
{
    struct buffer vmlinux = make_vmlinux(table, false), image = make_bzimage(vmlinux, pack);

    put_file(image_path, image.data, image.size);
    free(vmlinux.data);
    free(image.data);
}

/* ------------------------------------------------------------------ opening and checking */

static struct kernel *open_kernel(bool kaslr, const char *cache)
{
    struct kernel_options options = {
        .path = image_path, .kaslr = kaslr, .unpack = true, .cache_dir = cache};
    struct kernel *kernel;

    assert_int_equal(kernel_open(&options, &kernel, &err), 0);
    return kernel;
}

static bool describes(const struct kernel *kernel, const char *text)
{
    return strstr(kernel_describe(kernel), text) != NULL;
}

static struct kernel_placement load(struct kernel *kernel)
{
    struct kernel_placement placement;

    assert_int_equal(guest_memory_clear(&mem, &err), 0);
    assert_int_equal(kernel_load(kernel, &mem, MIB, UINT64_MAX, &placement, &err), 0);
    return placement;
}

/* What should be at the start of the kernel after a displacement, computed the slow way. */
static void expected_image(uint8_t out[MEMORY], enum table table, uint64_t displacement)
{
    for (size_t i = 0; i < MEMORY; i++)
        out[i] = pattern(i);
    for (size_t i = 0; table != TABLE_NONE && i < ARRAY_SIZE(places_64); i++)
        store_le64(out + places_64[i], load_le64(out + places_64[i]) + displacement);
    for (size_t i = 0; table == TABLE_THREE_LISTS && i < ARRAY_SIZE(places_inverse); i++)
        store_le32(out + places_inverse[i],
                   load_le32(out + places_inverse[i]) - (uint32_t)displacement);
    for (size_t i = 0; table != TABLE_NONE && i < ARRAY_SIZE(places_32); i++)
        store_le32(out + places_32[i], load_le32(out + places_32[i]) + (uint32_t)displacement);
}

static void assert_loaded(const struct kernel_placement *p, enum table table)
{
    static uint8_t expected[MEMORY];

    expected_image(expected, table, p->virtual_offset);
    assert_memory_equal(guest_memory_map(&mem, GPA(p->start), MEMORY), expected, MEMORY);
    assert_int_equal(p->protocol, KERNEL_LINUX64);
    assert_int_equal(p->entry, p->start + ENTRY);
    assert_int_equal(p->end - p->start, 3 * MIB);
    assert_int_equal(p->start % (2 * MIB), 0);
    assert_int_equal(p->virtual_offset % (2 * MIB), 0);
    assert_true(p->start >= PHYSICAL && p->end <= RAM);
    assert_true(p->virtual_offset + PHYSICAL + 3 * MIB <= GIB);
    assert_false(p->randomized_by_guest);
}

static unsigned setup_flags(const struct kernel *kernel)
{
    uint8_t header[KERNEL_SETUP_HEADER_MAX];

    assert_int_equal(kernel_setup_header(kernel, header), 0x26c - SETUP_HEADER_START);
    return *setup_field(header, SETUP_LOADFLAGS);
}

/* ------------------------------------------------------------------ tests: unpacking */

static void every_format_is_unpacked(void **state)
{
    static const struct {
        const char *name;
        pack_function *pack;
    } formats[] = {{"gzip", pack_gzip}, {"xz", pack_xz},     {"lzma", pack_lzma},
                   {"lz4", pack_lz4},   {"zstd", pack_zstd}, {"bzip2", pack_bzip2}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct kernel_placement placement;
        struct kernel *kernel;
        char text[64];

        put_bzimage(TABLE_THREE_LISTS, formats[i].pack);
        kernel = open_kernel(false, NULL);
        snprintf(text, sizeof(text), "bzImage 6.1.0-test, %s payload unpacked, KASLR off",
                 formats[i].name);
        assert_string_equal(kernel_describe(kernel), text);
        placement = load(kernel);
        assert_int_equal(placement.start, PHYSICAL);
        assert_int_equal(placement.virtual_offset, 0);
        assert_loaded(&placement, TABLE_THREE_LISTS);
        assert_int_equal(setup_flags(kernel), SETUP_LOADED_HIGH);
        assert_int_equal(kernel_cmdline_max(kernel), 2047);
        assert_int_equal(kernel_initrd_max(kernel), 0x7fffffff);
        kernel_close(kernel);
    }
}

static void lz4_of_many_blocks(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_NONE, false), big, image;
    struct kernel *kernel;

    (void)state;
    /* Words that are no table follow the ELF file, 20 MiB of them: three blocks. */
    big = (struct buffer){calloc(1, 20 * MIB), 20 * MIB};
    memcpy(big.data, vmlinux.data, vmlinux.size);
    image = make_bzimage(big, pack_lz4);
    put_file(image_path, image.data, image.size);
    kernel = open_kernel(true, NULL);
    assert_true(describes(kernel, "KASLR of physical addresses only"));
    kernel_close(kernel);
    free(vmlinux.data);
    free(big.data);
    free(image.data);
}

static void kaslr_moves_both_addresses(void **state)
{
    static const enum table tables[] = {TABLE_TWO_LISTS, TABLE_THREE_LISTS};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        uint64_t starts = 0, offsets = 0, first_start = 0, first_offset = 0;
        struct kernel *kernel;

        put_bzimage(tables[i], pack_zstd);
        kernel = open_kernel(true, NULL);
        assert_true(describes(kernel, "KASLR on"));
        for (int n = 0; n < 30; n++) {
            struct kernel_placement p = load(kernel);

            assert_loaded(&p, tables[i]);
            assert_int_equal(setup_flags(kernel), SETUP_LOADED_HIGH | SETUP_KASLR_FLAG);
            if (!n)
                first_start = p.start;
            if (!n)
                first_offset = p.virtual_offset;
            starts += p.start != first_start;
            offsets += p.virtual_offset != first_offset;
        }
        assert_true(starts > 5 && offsets > 5);
        kernel_close(kernel);
    }
}

static void without_table_only_physical(void **state)
{
    struct kernel *kernel;

    (void)state;
    put_bzimage(TABLE_NONE, pack_zstd);
    kernel = open_kernel(true, NULL);
    assert_true(describes(kernel, "KASLR of physical addresses only"));
    for (int n = 0; n < 10; n++) {
        struct kernel_placement p = load(kernel);

        assert_int_equal(p.virtual_offset, 0);
        assert_loaded(&p, TABLE_NONE);
        assert_int_equal(setup_flags(kernel), SETUP_LOADED_HIGH);
    }
    kernel_close(kernel);
}

static void a_table_that_points_outside_is_not_used(void **state)
{
    static const uint32_t bad[] = {0x80ffffff, 0x81017000, 0x81016ffd, 0x7fffffff, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, false), image;
        struct kernel_placement p;
        struct kernel *kernel;

        store_le32(vmlinux.data + vmlinux.size - 4, bad[i]);
        image = make_bzimage(vmlinux, pack_zstd);
        put_file(image_path, image.data, image.size);
        kernel = open_kernel(true, NULL);
        assert_true(describes(kernel, "KASLR of physical addresses only"));
        p = load(kernel);
        assert_loaded(&p, TABLE_NONE);
        kernel_close(kernel);
        free(vmlinux.data);
        free(image.data);
    }
}

/* Lay the small kernel out as a flat image all of whose runs are mapped, or none. */
static void make_flat_image(struct flat_image *flat, bool mapped)
{
    const struct bzimage bz = {
        .pref_address = PHYSICAL, .alignment = 2 * MIB, .init_size = 3 * MIB, .relocatable = true};
    struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, false);
    int fd = memfd_create("test", MFD_CLOEXEC);
    struct flat_header header;

    assert_int_equal(flat_image_write(fd, &bz, "test", vmlinux.data, vmlinux.size, &err), 0);
    assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
    assert_true(header.run_count > 0);
    for (size_t i = 0; i < header.run_count; i++)
        header.runs[i].mapped = mapped;
    header.checksum = flat_header_checksum(&header);
    assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
    assert_int_equal(flat_image_open(flat, fd, true, &err), 0);
    free(vmlinux.data);
}

static void check_flat_loading(bool mapped)
{
    static uint8_t expected[MEMORY];
    struct flat_image flat;

    make_flat_image(&flat, mapped);
    for (uint64_t n = 0; n < 3; n++) {
        uint64_t base = PHYSICAL + n * 2 * MIB, displacement = 2 * n * 2 * MIB;

        assert_int_equal(guest_memory_clear(&mem, &err), 0);
        assert_int_equal(flat_image_load(&flat, &mem, base, displacement, &err), 0);
        expected_image(expected, TABLE_THREE_LISTS, displacement);
        assert_memory_equal(guest_memory_map(&mem, GPA(base), MEMORY), expected, MEMORY);
    }
    flat_image_close(&flat);
}

static void mapped_and_read_runs_agree(void **state)
{
    (void)state;
    check_flat_loading(false);
    check_flat_loading(true);
}

static void shared_memory_is_loaded_by_reading(void **state)
{
    (void)state;
    guest_memory_destroy(&mem);
    guest_memory_add(&mem, 0, RAM, GUEST_MEMORY_SHARED, &err);
    check_flat_loading(true);
    guest_memory_destroy(&mem);
    guest_memory_add(&mem, 0, RAM, 0, &err);
}

/* ------------------------------------------------------------------ tests: placement */

static void limits_are_kept(void **state)
{
    struct kernel_placement p;
    struct kernel *kernel;

    (void)state;
    put_bzimage(TABLE_TWO_LISTS, pack_gzip);
    kernel = open_kernel(true, NULL);
    for (int n = 0; n < 20; n++) {
        guest_memory_clear(&mem, &err);
        assert_int_equal(kernel_load(kernel, &mem, 30 * MIB, 37 * MIB, &p, &err), 0);
        assert_true(p.start >= 30 * MIB && p.end <= 37 * MIB);
    }
    assert_int_equal(kernel_load(kernel, &mem, 30 * MIB, 32 * MIB, &p, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "needs 3 MiB of RAM"));
    assert_int_equal(kernel_load(kernel, &mem, MIB, 18 * MIB, &p, &err), -ENOMEM);
    assert_int_equal(kernel_load(kernel, &mem, RAM, UINT64_MAX, &p, &err), -ENOMEM);
    assert_int_equal(kernel_load(kernel, &mem, UINT64_MAX, UINT64_MAX, &p, &err), -ENOMEM);
    kernel_close(kernel);
    kernel = open_kernel(false, NULL);
    guest_memory_clear(&mem, &err);
    assert_int_equal(kernel_load(kernel, &mem, 30 * MIB + 1, UINT64_MAX, &p, &err), 0);
    assert_int_equal(p.start, 32 * MIB);
    kernel_close(kernel);
}

/* ------------------------------------------------------------------ tests: its own decompressor */

static void assert_unpacks_itself(const struct kernel_options *options, const char *reason)
{
    struct kernel_placement p;
    struct kernel *kernel;
    struct buffer file = {malloc(MIB), 0};
    int fd = open(image_path, O_RDONLY);

    file.size = (size_t)read(fd, file.data, MIB);
    close(fd);
    assert_int_equal(kernel_open(options, &kernel, &err), 0);
    assert_true(describes(kernel, "unpacks itself"));
    assert_true(describes(kernel, reason));
    p = load(kernel);
    assert_int_equal(p.start, PHYSICAL);
    assert_int_equal(p.entry, PHYSICAL + 0x200);
    assert_int_equal(p.virtual_offset, 0);
    assert_true(p.randomized_by_guest);
    assert_memory_equal(guest_memory_map(&mem, GPA(p.start), MIB), file.data + SETUP_SIZE,
                        file.size - SETUP_SIZE);
    kernel_close(kernel);
    free(file.data);
}

static void own_decompressor_is_the_fallback(void **state)
{
    struct kernel_options options = {.path = image_path, .kaslr = true, .unpack = true};

    (void)state;
    put_bzimage(TABLE_NONE, pack_unknown);
    assert_unpacks_itself(&options, "unknown format");
    put_bzimage(TABLE_NONE, pack_gzip);
    options.unpack = false;
    assert_unpacks_itself(&options, "as asked for");
}

static void damaged_payloads_fall_back(void **state)
{
    static pack_function *const packs[] = {pack_gzip, pack_xz,   pack_lzma,
                                           pack_lz4,  pack_zstd, pack_bzip2};
    struct kernel_options options = {.path = image_path, .unpack = true, .cache_dir = cache_path};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(packs); i++) {
        struct buffer vmlinux = make_vmlinux(TABLE_TWO_LISTS, false);
        struct buffer image = make_bzimage(vmlinux, packs[i]);
        uint8_t *size = image.data + image.size - 4;

        memset(image.data + SETUP_SIZE + PAYLOAD_AT + 40, 0x55, 200);
        put_file(image_path, image.data, image.size);
        assert_unpacks_itself(&options, "damaged");
        store_le32(size, 0xffffffff);
        put_file(image_path, image.data, image.size);
        assert_unpacks_itself(&options, "damaged");
        store_le32(size, 0);
        put_file(image_path, image.data, image.size);
        assert_unpacks_itself(&options, "damaged");
        free(vmlinux.data);
        free(image.data);
    }
}

static void wrong_sizes_fall_back(void **state)
{
    static pack_function *const packs[] = {pack_gzip, pack_xz,   pack_lzma,
                                           pack_lz4,  pack_zstd, pack_bzip2};
    struct kernel_options options = {.path = image_path, .unpack = true};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(packs); i++) {
        struct buffer vmlinux = make_vmlinux(TABLE_TWO_LISTS, false);
        struct buffer image = make_bzimage(vmlinux, packs[i]);

        for (int difference = -1; difference <= 1; difference += 2) {
            store_le32(image.data + image.size - 4,
                       (uint32_t)(vmlinux.size + (size_t)difference * 4096));
            put_file(image_path, image.data, image.size);
            assert_unpacks_itself(&options, "("); /* whatever the reason */
        }
        free(vmlinux.data);
        free(image.data);
    }
}

static void a_payload_that_is_no_kernel_falls_back(void **state)
{
    struct kernel_options options = {.path = image_path, .unpack = true};
    struct buffer vmlinux = make_vmlinux(TABLE_NONE, false), image;

    (void)state;
    vmlinux.data[0] = 'x';
    image = make_bzimage(vmlinux, pack_gzip);
    put_file(image_path, image.data, image.size);
    assert_unpacks_itself(&options, "ELF");
    free(vmlinux.data);
    free(image.data);
}

/* ------------------------------------------------------------------ tests: bad files */

static void assert_refused(const uint8_t *data, size_t size, int code, const char *text)
{
    struct kernel_options options = {.path = image_path, .unpack = true};
    struct kernel *kernel;

    put_file(image_path, data, size);
    assert_int_equal(kernel_open(&options, &kernel, &err), -code);
    assert_non_null(strstr(err.text, image_path));
    assert_non_null(strstr(err.text, text));
}

static void other_files_are_named(void **state)
{
    struct kernel_options options = {.path = "/nonexistent/kernel"};
    struct kernel *kernel;
    uint8_t data[4096] = {0};

    (void)state;
    assert_int_equal(kernel_open(&options, &kernel, &err), -ENOENT);
    options.path = directory;
    assert_int_equal(kernel_open(&options, &kernel, &err), -EINVAL);
    assert_refused(data, 0, EINVAL, "empty");
    assert_refused(data, sizeof(data), ENOEXEC, "not a kernel");
    assert_refused((const uint8_t *)"070701", 6, ENOEXEC, "cpio archive");
    assert_refused((const uint8_t *)"#!/bin/sh", 9, ENOEXEC, "script");
    memcpy(data + 56, "ARM\x64", 4);
    assert_refused(data, sizeof(data), ENOEXEC, "arm64 kernel");
}

static void bad_headers_are_refused(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_NONE, false);
    struct buffer image = make_bzimage(vmlinux, pack_gzip);
    static const struct {
        unsigned offset, size;
        uint64_t value;
        int code;
        const char *text;
    } bad[] = {
        {SETUP_VERSION, 2, 0x20b, ENOEXEC, "no 64-bit entry"},
        {SETUP_XLOADFLAGS, 2, 0, ENOEXEC, "no 64-bit entry"},
        {SETUP_JUMP + 1, 1, 0x10, ENOEXEC, "no 64-bit entry"},
        {SETUP_LOADFLAGS, 1, 0, ENOEXEC, "zImage"},
        {SETUP_SECTS, 1, 255, EINVAL, "truncated"},
        {SETUP_PAYLOAD_OFFSET, 4, 0xfffffff0, EINVAL, "payload"},
        {SETUP_PAYLOAD_LENGTH, 4, 0xfffffff0, EINVAL, "payload"},
        {SETUP_KERNEL_ALIGNMENT, 4, 0, EINVAL, "kernel_alignment"},
        {SETUP_KERNEL_ALIGNMENT, 4, 0x300000, EINVAL, "kernel_alignment"},
        {SETUP_PREF_ADDRESS, 8, 0, EINVAL, "pref_address"},
        {SETUP_PREF_ADDRESS, 8, UINT64_MAX, EINVAL, "pref_address"},
        {SETUP_INIT_SIZE, 4, 100, EINVAL, "init_size"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint8_t *copy = malloc(image.size);

        memcpy(copy, image.data, image.size);
        store_le(copy + bad[i].offset, bad[i].size, bad[i].value);
        assert_refused(copy, MIN(image.size, 100 * KIB), bad[i].code, bad[i].text);
        free(copy);
    }
    free(vmlinux.data);
    free(image.data);
}

/* Whatever is left of an image: refused, or loaded within bounds. */
static void try_file(const uint8_t *data, size_t size, bool kaslr)
{
    struct kernel_options options = {.path = image_path, .kaslr = kaslr, .unpack = true};
    struct kernel_placement p;
    struct kernel *kernel;

    put_file(image_path, data, size);
    err = (struct error)ERROR_INIT;
    if (kernel_open(&options, &kernel, &err) < 0) {
        assert_true(err.text[0] != '\0');
        return;
    }
    if (kernel_load(kernel, &mem, MIB, UINT64_MAX, &p, &err) == 0) {
        assert_true(p.entry >= p.start && p.entry < p.end);
        assert_non_null(guest_memory_map(&mem, GPA(p.start), p.end - p.start));
    }
    kernel_close(kernel);
}

static void truncated_bzimages(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, false);
    struct buffer image = make_bzimage(vmlinux, pack_xz);

    (void)state;
    for (size_t size = 1; size < image.size; size += size < 2100 ? 1 : 17)
        try_file(image.data, size, true);
    free(vmlinux.data);
    free(image.data);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Damage a few bytes, mostly in the first 1 KiB, where the headers are. */
static void damage(struct buffer b, uint32_t *seed)
{
    static const uint8_t nasty[] = {0, 1, 0x7f, 0x80, 0xff};
    uint32_t count = next_random(seed) % 4 + 1;

    while (count--) {
        size_t room = next_random(seed) % 4 ? MIN(b.size, 1024) : b.size;

        b.data[next_random(seed) % room] = next_random(seed) % 2
                                               ? nasty[next_random(seed) % sizeof(nasty)]
                                               : (uint8_t)next_random(seed);
    }
}

static void damaged_bzimages(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, false);
    struct buffer image = make_bzimage(vmlinux, pack_lz4), copy = {malloc(image.size), image.size};
    uint32_t seed = 1;

    (void)state;
    for (int n = 0; n < 1000; n++) {
        memcpy(copy.data, image.data, image.size);
        damage(copy, &seed);
        try_file(copy.data, copy.size, true);
    }
    free(vmlinux.data);
    free(image.data);
    free(copy.data);
}

/* The unpacked kernel is as hostile as its container. */
static void damaged_vmlinux_in_a_bzimage(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, true), copy;
    struct bzimage bz = {.pref_address = PHYSICAL, .alignment = 2 * MIB, .init_size = 3 * MIB};
    struct kernel_placement p = {.start = PHYSICAL};
    uint32_t seed = 2, written = 0;

    (void)state;
    copy = (struct buffer){malloc(vmlinux.size), vmlinux.size};
    for (int n = 0; n < 1500; n++) {
        int fd = memfd_create("test", MFD_CLOEXEC);
        struct flat_image flat;

        memcpy(copy.data, vmlinux.data, vmlinux.size);
        damage(copy, &seed);
        if (n % 4 == 0)
            store_le32(copy.data + vmlinux.size - 4 * (1 + next_random(&seed) % 9),
                       next_random(&seed) << 8);
        copy.size = n % 8 ? vmlinux.size : next_random(&seed) % vmlinux.size;
        if (flat_image_write(fd, &bz, "test", copy.data, copy.size, &err) < 0) {
            assert_true(err.text[0] != '\0');
            close(fd);
            continue;
        }
        written++;
        assert_int_equal(flat_image_open(&flat, fd, true, &err), 0);
        if (flat.header->memory_size < 64 * MIB)
            assert_int_equal(flat_image_load(&flat, &mem, p.start, 42 * 2 * MIB, &err), 0);
        flat_image_close(&flat);
    }
    assert_true(written > 100);
    free(vmlinux.data);
    free(copy.data);
}

/* ------------------------------------------------------------------ tests: ELF files */

static void elf_with_pvh_note(void **state)
{
    struct kernel_options options = {.path = image_path};
    struct buffer vmlinux = make_vmlinux(TABLE_NONE, true);
    struct kernel_placement p;
    struct kernel *kernel;
    const uint8_t *host;

    (void)state;
    put_file(image_path, vmlinux.data, vmlinux.size);
    assert_int_equal(kernel_open(&options, &kernel, &err), 0);
    assert_string_equal(kernel_describe(kernel), "ELF kernel, PVH entry, KASLR off");
    p = load(kernel);
    assert_int_equal(p.protocol, KERNEL_PVH);
    assert_int_equal(p.entry, PHYSICAL + PVH_ENTRY);
    assert_int_equal(p.start, PHYSICAL);
    assert_int_equal(p.end, PHYSICAL + MEMORY);
    host = guest_memory_map(&mem, GPA(p.start), MEMORY);
    assert_memory_equal(host, vmlinux.data + FILE_TEXT, TEXT_SIZE);
    assert_memory_equal(host + DATA_AT, vmlinux.data + FILE_TEXT + DATA_AT, IMAGE_SIZE - DATA_AT);
    kernel_close(kernel);
    free(vmlinux.data);
}

static void elf_without_note(void **state)
{
    struct kernel_options options = {.path = image_path, .kaslr = true};
    struct buffer vmlinux = make_vmlinux(TABLE_NONE, false);
    uint8_t header[KERNEL_SETUP_HEADER_MAX];
    struct kernel_placement p;
    struct kernel *kernel;

    (void)state;
    /* A virtual entry is translated. */
    store_le64(vmlinux.data + offsetof(Elf64_Ehdr, e_entry), VIRTUAL + ENTRY);
    put_file(image_path, vmlinux.data, vmlinux.size);
    assert_int_equal(kernel_open(&options, &kernel, &err), 0);
    assert_true(describes(kernel, "ELF kernel, 64-bit entry, KASLR impossible"));
    p = load(kernel);
    assert_int_equal(p.protocol, KERNEL_LINUX64);
    assert_int_equal(p.entry, PHYSICAL + ENTRY);
    assert_int_equal(kernel_setup_header(kernel, header), 0x268 - SETUP_HEADER_START);
    assert_int_equal(load_le32(setup_field(header, SETUP_MAGIC)), SETUP_MAGIC_HDRS);
    assert_int_equal(*setup_field(header, SETUP_JUMP + 1), 0x268 - 0x202);
    assert_int_equal(kernel_load(kernel, &mem, 20 * MIB, UINT64_MAX, &p, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "exactly"));
    kernel_close(kernel);
    free(vmlinux.data);
}

static void bad_elf_files(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_NONE, true), copy;
    uint32_t seed = 3;

    (void)state;
    copy = (struct buffer){malloc(vmlinux.size), vmlinux.size};
    for (size_t size = 1; size < vmlinux.size; size += size < 700 ? 1 : 1021)
        try_file(vmlinux.data, size, false);
    for (int n = 0; n < 1000; n++) {
        memcpy(copy.data, vmlinux.data, vmlinux.size);
        damage(copy, &seed);
        try_file(copy.data, copy.size, false);
    }
    memcpy(copy.data, vmlinux.data, vmlinux.size);
    store_le16(copy.data + offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
    assert_refused(copy.data, copy.size, ENOEXEC, "another machine");
    store_le16(copy.data + offsetof(Elf64_Ehdr, e_machine), EM_X86_64);
    segment(copy.data, 2, DATA_AT - 0x8000, VIRTUAL, DATA_SIZE, DATA_SIZE);
    assert_refused(copy.data, copy.size, EINVAL, "overlap");
    free(vmlinux.data);
    free(copy.data);
}

/* ------------------------------------------------------------------ tests: the cache */

static void remove_cache(void)
{
    char path[PATH_MAX];
    DIR *dir = opendir(cache_path);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s", cache_path, entry->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(cache_path);
    *strrchr(strcpy(path, cache_path), '/') = '\0';
    rmdir(path);
}

static size_t cache_count(const char *suffix, char last[PATH_MAX])
{
    DIR *dir = opendir(cache_path);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        size_t length = strlen(entry->d_name), tail = strlen(suffix);

        if (length < tail || strcmp(entry->d_name + length - tail, suffix) != 0)
            continue;
        count++;
        if (last)
            snprintf(last, PATH_MAX, "%s/%s", cache_path, entry->d_name);
    }
    closedir(dir);
    return count;
}

/* Open with the cache; is it described as `text`, and loaded rightly? */
static void assert_opens(const char *text)
{
    struct kernel *kernel = open_kernel(true, cache_path);
    struct kernel_placement p = load(kernel);

    if (!describes(kernel, text))
        fail_msg("'%s', expected '%s'", kernel_describe(kernel), text);
    assert_loaded(&p, TABLE_THREE_LISTS);
    assert_int_equal(setup_flags(kernel), SETUP_LOADED_HIGH | SETUP_KASLR_FLAG);
    kernel_close(kernel);
}

#define COLD "bzImage 6.1.0-test, lz4 payload unpacked, KASLR on"
#define WARM "bzImage 6.1.0-test, lz4 payload unpacked (cached), KASLR on"

static int warm_cache(void **state)
{
    (void)state;
    remove_cache();
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    settle();
    assert_opens(COLD);
    assert_opens(WARM);
    assert_int_equal(cache_count(".new", NULL), 0);
    return 0;
}

static void cache_is_private(void **state)
{
    char path[PATH_MAX];
    struct stat st;

    (void)state;
    assert_int_equal(cache_count(".image", path), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(cache_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void warm_boot_reads_no_image_byte(void **state)
{
    struct timespec times[2];
    struct stat st;

    (void)state;
    /* Proof: a kernel is found though the file may no longer be read at all: its bytes differ,
     * while its identity is what the link says. The link is therefore renamed to the identity of
     * another file. */
    char link[PATH_MAX], name[PATH_MAX];

    assert_int_equal(cache_count(".link", link), 1);
    put_file(image_path, (const uint8_t *)"nonsense", 8);
    assert_int_equal(stat(image_path, &st), 0);
    times[0] = st.st_mtim;
    times[1] = st.st_ctim;
    snprintf(name, sizeof(name), "%s/%jx-%jx-8-%jx.%lx-%jx.%lx.link", cache_path,
             (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (uintmax_t)times[0].tv_sec,
             times[0].tv_nsec, (uintmax_t)times[1].tv_sec, times[1].tv_nsec);
    assert_int_equal(rename(link, name), 0);
    assert_opens(WARM);
}

static void another_name_for_the_same_content(void **state)
{
    char path[PATH_MAX];
    struct stat before, after;

    (void)state;
    cache_count(".image", path);
    assert_int_equal(stat(path, &before), 0);
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    settle();
    assert_opens(COLD);
    assert_opens(WARM);
    assert_int_equal(cache_count(".image", path), 1);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void a_file_just_changed_is_not_remembered(void **state)
{
    (void)state;
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    assert_opens(COLD);
    assert_opens(COLD);
    assert_int_equal(cache_count(".link", NULL), 1); /* the one from before */
}

static void damaged_entries_are_replaced(void **state)
{
    char path[PATH_MAX];
    struct stat st;

    (void)state;
    cache_count(".image", path);
    assert_int_equal(stat(path, &st), 0);
    /* Every part of the header, and of the relocation lists behind it. */
    for (off_t offset = 0; offset < 4096 + 36; offset += offset < 4000 ? 61 : 1) {
        int fd;
        uint8_t byte = 0;

        if (offset >= (off_t)sizeof(struct flat_header) && offset < 4096)
            continue;
        fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
        assert_opens(COLD);
        assert_opens(WARM);
    }
    assert_int_equal(cache_count(".image", NULL), 1);
}

static void truncated_entries_are_replaced(void **state)
{
    char path[PATH_MAX];
    struct stat st;

    (void)state;
    cache_count(".image", path);
    assert_int_equal(stat(path, &st), 0);
    for (off_t size = 0; size < st.st_size; size += 4001) {
        assert_int_equal(truncate(path, size), 0);
        assert_opens(COLD);
        assert_opens(WARM);
    }
    assert_int_equal(truncate(path, st.st_size + 4096), 0);
    assert_opens(COLD);
    assert_opens(WARM);
}

static void untrusted_entries_are_not_used(void **state)
{
    char path[PATH_MAX];

    (void)state;
    cache_count(".image", path);
    assert_int_equal(chmod(path, 0666), 0);
    assert_opens(COLD); /* made anew */
    assert_opens(WARM);
    assert_int_equal(chmod(cache_path, 0777), 0);
    assert_opens(COLD);
    assert_int_equal(chmod(cache_path, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, 12345), 0);
        assert_opens(COLD);
        assert_opens(WARM);
        assert_int_equal(chown(cache_path, 12345, 12345), 0);
        assert_opens(COLD);
        assert_int_equal(chown(cache_path, 0, 0), 0);
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_opens(COLD);
    assert_opens(WARM);
}

static void caches_that_cannot_be_used(void **state)
{
    char saved[sizeof(cache_path)], file[96];

    (void)state;
    strcpy(saved, cache_path);
    snprintf(file, sizeof(file), "%s/under-a-file", image_path);
    snprintf(cache_path, sizeof(cache_path), "%.63s", file);
    assert_opens(COLD);
    strcpy(cache_path, "/proc/vireo");
    assert_opens(COLD);
    strcpy(cache_path, saved);
}

/* As another user, who may look but not write. Root could write everywhere. */
static void a_read_only_cache(void **state)
{
    pid_t child;
    int status;

    (void)state;
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    settle();
    assert_int_equal(chmod(cache_path, 0500), 0);
    child = fork();
    if (child == 0) {
        /* The cache has to be theirs to be trusted. */
        if (geteuid() == 0 &&
            (chown(cache_path, 12345, 12345) < 0 || chown(image_path, 12345, 12345) < 0 ||
             chmod(directory, 0711) < 0 || seteuid(12345) < 0))
            _exit(1);
        assert_opens(COLD);
        assert_opens(COLD);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(cache_count(".image", NULL), 1);
    if (geteuid() == 0)
        assert_int_equal(chown(cache_path, 0, 0), 0);
    assert_int_equal(chmod(cache_path, 0700), 0);
}

static void the_cache_is_bounded(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, false);
    struct buffer image = make_bzimage(vmlinux, pack_lz4);
    char path[PATH_MAX];

    (void)state;
    settle(); /* between the times of the first and those below */
    for (uint8_t n = 0; n < 3 * IMAGE_CACHE_IMAGES; n++) {
        image.data[0] = n; /* different content, same kernel */
        put_file(image_path, image.data, image.size);
        settle();
        assert_opens(COLD);
        assert_opens(WARM);
    }
    assert_int_equal(cache_count(".image", path), IMAGE_CACHE_IMAGES);
    assert_int_equal(cache_count(".link", NULL), IMAGE_CACHE_IMAGES);
    assert_int_equal(cache_count(".new", NULL), 0);
    assert_opens(WARM); /* the newest is there */
    free(vmlinux.data);
    free(image.data);
}

static void leftovers_are_removed(void **state)
{
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char stale[96], fresh[96];

    (void)state;
    snprintf(stale, sizeof(stale), "%s/0123.new", cache_path);
    snprintf(fresh, sizeof(fresh), "%s/4567.new", cache_path);
    put_file(stale, (const uint8_t *)"x", 1);
    put_file(fresh, (const uint8_t *)"x", 1);
    assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
    put_bzimage(TABLE_THREE_LISTS, pack_gzip);
    kernel_close(open_kernel(true, cache_path));
    assert_int_equal(access(stale, F_OK), -1);
    assert_int_equal(access(fresh, F_OK), 0);
}

/* ------------------------------------------------------------------ */

static int setup(void **state)
{
    static char modules[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", modules, sizeof(modules) - 8);

    (void)state;
    assert_true(length > 0);
    modules[length] = '\0';
    strcpy(strrchr(modules, '/'), "/.."); /* the modules are one directory above the tests */
    module_search_first(modules);
    assert_non_null(mkdtemp(directory));
    snprintf(image_path, sizeof(image_path), "%s/vmlinuz", directory);
    snprintf(cache_path, sizeof(cache_path), "%s/a/cache", directory);
    guest_memory_init(&mem);
    return guest_memory_add(&mem, 0, RAM, 0, &err);
}

static int teardown(void **state)
{
    (void)state;
    remove_cache();
    guest_memory_destroy(&mem);
    unlink(image_path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_unpacked),
        cmocka_unit_test(lz4_of_many_blocks),
        cmocka_unit_test(kaslr_moves_both_addresses),
        cmocka_unit_test(without_table_only_physical),
        cmocka_unit_test(a_table_that_points_outside_is_not_used),
        cmocka_unit_test(mapped_and_read_runs_agree),
        cmocka_unit_test(shared_memory_is_loaded_by_reading),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(own_decompressor_is_the_fallback),
        cmocka_unit_test(damaged_payloads_fall_back),
        cmocka_unit_test(wrong_sizes_fall_back),
        cmocka_unit_test(a_payload_that_is_no_kernel_falls_back),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(truncated_bzimages),
        cmocka_unit_test(damaged_bzimages),
        cmocka_unit_test(damaged_vmlinux_in_a_bzimage),
        cmocka_unit_test(elf_with_pvh_note),
        cmocka_unit_test(elf_without_note),
        cmocka_unit_test(bad_elf_files),
        cmocka_unit_test_setup(cache_is_private, warm_cache),
        cmocka_unit_test_setup(warm_boot_reads_no_image_byte, warm_cache),
        cmocka_unit_test_setup(another_name_for_the_same_content, warm_cache),
        cmocka_unit_test_setup(a_file_just_changed_is_not_remembered, warm_cache),
        cmocka_unit_test_setup(damaged_entries_are_replaced, warm_cache),
        cmocka_unit_test_setup(truncated_entries_are_replaced, warm_cache),
        cmocka_unit_test_setup(untrusted_entries_are_not_used, warm_cache),
        cmocka_unit_test_setup(caches_that_cannot_be_used, warm_cache),
        cmocka_unit_test_setup(a_read_only_cache, warm_cache),
        cmocka_unit_test_setup(the_cache_is_bounded, warm_cache),
        cmocka_unit_test_setup(leftovers_are_removed, warm_cache),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
