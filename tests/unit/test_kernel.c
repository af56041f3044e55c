/*
 * Kernels: synthetic images of every kind; relocation; what their own decompressor is left to.
 */
#include "tests/unit/kernel_fixture.h"

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
        cmocka_unit_test(elf_with_pvh_note),
        cmocka_unit_test(elf_without_note),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
