/*
 * Kernel images that are damaged, cut off, or none.
 */
#include "tests/unit/kernel_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_files_are_named),        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(truncated_bzimages),           cmocka_unit_test(damaged_bzimages),
        cmocka_unit_test(damaged_vmlinux_in_a_bzimage), cmocka_unit_test(bad_elf_files),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
