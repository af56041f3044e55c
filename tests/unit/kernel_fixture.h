/*
 * For the tests of kernel images: a small vmlinux, packed in a bzImage by any method, and what it
 * has to look like in guest memory.
 */
#ifndef TESTS_UNIT_KERNEL_FIXTURE_H
#define TESTS_UNIT_KERNEL_FIXTURE_H

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

static inline uint8_t pattern(size_t offset)
{
    /* Gaps between segments stay zero. */
    if ((offset >= TEXT_SIZE && offset < DATA_AT) || offset >= IMAGE_SIZE)
        return 0;
    return (uint8_t)(offset * 7 + (offset >> 8) * 13 + 1);
}

static inline void segment(uint8_t *elf, size_t index, uint64_t physical, uint64_t virtual,
                           uint64_t size, uint64_t memory_size)
{
    Elf64_Phdr phdr = {.p_type = PT_LOAD,
                       .p_offset = FILE_TEXT + physical,
                       .p_paddr = PHYSICAL + physical,
                       .p_vaddr = virtual,
                       .p_filesz = size,
                       .p_memsz = memory_size};

    memcpy(elf + sizeof(Elf64_Ehdr) + index * sizeof(phdr), &phdr, sizeof(phdr));
}

static inline void pvh_note(uint8_t *elf)
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

static inline uint8_t *list(uint8_t *p, const uint32_t *places, size_t count)
{
    store_le32(p, 0);
    for (size_t i = 0; i < count; i++)
        store_le32(p += 4, (uint32_t)(VIRTUAL + places[i]));
    return p + 4;
}

static inline struct buffer make_vmlinux(enum table table, bool pvh)
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

static inline size_t pack_gzip(struct buffer in, uint8_t *out, size_t room)
{
    z_stream z = {
        .next_in = in.data, .avail_in = (uInt)in.size, .next_out = out, .avail_out = (uInt)room};

    deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static inline size_t pack_xz(struct buffer in, uint8_t *out, size_t room)
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

static inline size_t pack_lzma(struct buffer in, uint8_t *out, size_t room)
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

static inline size_t pack_lz4(struct buffer in, uint8_t *out, size_t room)
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

static inline size_t pack_zstd(struct buffer in, uint8_t *out, size_t room)
{
    return ZSTD_compress(out, room, in.data, in.size, 3);
}

static inline size_t pack_bzip2(struct buffer in, uint8_t *out, size_t room)
{
    unsigned size = (unsigned)room;

    assert_int_equal(
        BZ2_bzBuffToBuffCompress((char *)out, &size, (char *)in.data, (unsigned)in.size, 9, 0, 0),
        BZ_OK);
    return size;
}

static inline size_t pack_unknown(struct buffer in, uint8_t *out, size_t room)
{
    (void)in;
    memset(out, 0xee, MIN(room, 64));
    return 64;
}

typedef size_t pack_function(struct buffer in, uint8_t *out, size_t room);

#define SETUP_SIZE 1024u
#define PAYLOAD_AT 0x300u

static inline void put_header(uint8_t *image, size_t payload_size)
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

static inline struct buffer make_bzimage(struct buffer vmlinux, pack_function *pack)
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

static inline void put_file(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

/* A file that has just changed is not yet remembered by the cache. */
static inline void settle(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

static inline void put_bzimage(enum table table, pack_function *pack)
{
    struct buffer vmlinux = make_vmlinux(table, false), image = make_bzimage(vmlinux, pack);

    put_file(image_path, image.data, image.size);
    free(vmlinux.data);
    free(image.data);
}

/* ------------------------------------------------------------------ opening and checking */

static inline struct kernel *open_kernel(bool kaslr, const char *cache)
{
    struct kernel_options options = {
        .path = image_path, .kaslr = kaslr, .unpack = true, .cache_dir = cache};
    struct kernel *kernel;

    assert_int_equal(kernel_open(&options, &kernel, &err), 0);
    return kernel;
}

static inline bool describes(const struct kernel *kernel, const char *text)
{
    return strstr(kernel_describe(kernel), text) != NULL;
}

static inline struct kernel_placement load(struct kernel *kernel)
{
    struct kernel_placement placement;

    assert_int_equal(guest_memory_clear(&mem, &err), 0);
    assert_int_equal(kernel_load(kernel, &mem, MIB, UINT64_MAX, &placement, &err), 0);
    return placement;
}

/* What should be at the start of the kernel after a displacement, computed the slow way. */
static inline void expected_image(uint8_t out[MEMORY], enum table table, uint64_t displacement)
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

static inline void assert_loaded(const struct kernel_placement *p, enum table table)
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

static inline unsigned setup_flags(const struct kernel *kernel)
{
    uint8_t header[KERNEL_SETUP_HEADER_MAX];

    assert_int_equal(kernel_setup_header(kernel, header), 0x26c - SETUP_HEADER_START);
    return *setup_field(header, SETUP_LOADFLAGS);
}

static inline void assert_refused(const uint8_t *data, size_t size, int code, const char *text)
{
    struct kernel_options options = {.path = image_path, .unpack = true};
    struct kernel *kernel;

    put_file(image_path, data, size);
    assert_int_equal(kernel_open(&options, &kernel, &err), -code);
    assert_non_null(strstr(err.text, image_path));
    assert_non_null(strstr(err.text, text));
}

static inline void remove_cache(void)
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

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    (void)state;
    remove_cache();
    guest_memory_destroy(&mem);
    unlink(image_path);
    return rmdir(directory);
}

#endif
