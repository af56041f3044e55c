/*
 * boot_params and hvm_start_info, field by field at their documented offsets.
 */
#include "firmware/boot_params.h"

#include "base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEADER_SIZE 0x7b /* 0x1f1 to 0x26c, as of protocol 2.15 */
#define WHERE       GPA(0x3000)

struct fixture {
    struct guest_memory mem;
    uint8_t *ram;
    uint8_t header[0x400];
    struct boot_info info;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    f->ram = aligned_alloc(4096, 0x8000);
    memset(f->ram, 0xee, 0x8000);
    guest_memory_init(&f->mem);
    memset(f->header, 0x11, sizeof(f->header));
    memcpy(f->header + 0x202 - 0x1f1, "HdrS", 4);
    f->info = (struct boot_info){
        .map = {{0, 0x9fc00, E820_RAM}, {0xe0000, 0x20000, E820_ACPI}, {0x100000000, GIB, 2}},
        .map_count = 3,
        .cmdline = 0x120000,
        .cmdline_size = 20,
        .initrd = 0x7654321000,
        .initrd_size = 0x123456789,
        .rsdp = 0xe0010,
    };
    return guest_memory_add_external(&f->mem, 0, 0x8000, f->ram, NULL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    guest_memory_destroy(&f->mem);
    free(f->ram);
    free(f);
    return 0;
}

static void test_boot_params(void **state)
{
    struct fixture *f = *state;
    const uint8_t *page = f->ram + 0x3000;

    assert_int_equal(boot_params_write(&f->info, f->header, HEADER_SIZE, &f->mem, WHERE, NULL), 0);
    assert_int_equal(load_le64(page + 0x70), 0xe0010);
    assert_int_equal(load_le32(page + 0x228), 0x120000);
    assert_int_equal(load_le32(page + 0xc8), 0);
    assert_int_equal(load_le32(page + 0x218), 0x54321000);
    assert_int_equal(load_le32(page + 0xc0), 0x76);
    assert_int_equal(load_le32(page + 0x21c), 0x23456789);
    assert_int_equal(load_le32(page + 0xc4), 1);
    assert_int_equal(page[0x210], 0xff);
    assert_int_equal(page[0x1ef], 0); /* sentinel: the page was zeroed by a loader that knows it */
    assert_memory_equal(page + 0x202, "HdrS", 4);
    assert_int_equal(page[0x1f1], 0x11); /* the image's own header, to its end */
    assert_int_equal(page[0x26b], 0x11);
    assert_int_equal(page[0x26c], 0);
    assert_int_equal(f->ram[0x2fff], 0xee); /* one page, no more */
    assert_int_equal(f->ram[0x4000], 0xee);
}

static void test_e820(void **state)
{
    struct fixture *f = *state;
    const uint8_t *page = f->ram + 0x3000;

    assert_int_equal(boot_params_write(&f->info, f->header, HEADER_SIZE, &f->mem, WHERE, NULL), 0);
    assert_int_equal(page[0x1e8], 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(load_le64(page + 0x2d0 + 20 * i), f->info.map[i].start);
        assert_int_equal(load_le64(page + 0x2d8 + 20 * i), f->info.map[i].size);
        assert_int_equal(load_le32(page + 0x2e0 + 20 * i), f->info.map[i].type);
    }
    assert_int_equal(page[0x2d0 + 60 + 16], 0);
}

static void test_full_map(void **state)
{
    struct fixture *f = *state;
    const uint8_t *page = f->ram + 0x3000;

    f->info.map_count = MEMORY_MAP_MAX;
    f->info.map[MEMORY_MAP_MAX - 1] = (struct memory_map_entry){0x123, 0x456, E820_RESERVED};
    assert_int_equal(boot_params_write(&f->info, f->header, HEADER_SIZE, &f->mem, WHERE, NULL), 0);
    assert_int_equal(page[0x1e8], MEMORY_MAP_MAX);
    assert_int_equal(load_le64(page + 0x2d0 + 20 * (MEMORY_MAP_MAX - 1)), 0x123);

    assert_int_equal(pvh_start_info_write(&f->info, &f->mem, WHERE, NULL), 0);
    const uint8_t *map = f->ram + load_le64(page + 40);
    assert_int_equal(load_le64(map + 24 * (MEMORY_MAP_MAX - 1)), 0x123);
    assert_int_equal(f->ram[0x4000], 0xee);
}

static void test_no_initrd(void **state)
{
    struct fixture *f = *state;
    const uint8_t *page = f->ram + 0x3000;

    f->info.initrd_size = 0;
    assert_int_equal(boot_params_write(&f->info, f->header, HEADER_SIZE, &f->mem, WHERE, NULL), 0);
    assert_int_equal(load_le32(page + 0x218), 0);
    assert_int_equal(load_le32(page + 0x21c), 0);
    assert_int_equal(load_le64(page + 0xc0), 0);

    assert_int_equal(pvh_start_info_write(&f->info, &f->mem, WHERE, NULL), 0);
    assert_int_equal(load_le32(page + 12), 0);
    assert_int_equal(load_le64(page + 16), 0);
}

static void test_pvh(void **state)
{
    struct fixture *f = *state;
    const uint8_t *page = f->ram + 0x3000;

    assert_int_equal(pvh_start_info_write(&f->info, &f->mem, WHERE, NULL), 0);
    assert_int_equal(load_le32(page), 0x336ec578);
    assert_int_equal(load_le32(page + 4), 1);
    assert_int_equal(load_le32(page + 8), 0);
    assert_int_equal(load_le32(page + 12), 1);
    assert_int_equal(load_le64(page + 24), 0x120000);
    assert_int_equal(load_le64(page + 32), 0xe0010);
    assert_int_equal(load_le32(page + 48), 3);
    assert_int_equal(load_le32(page + 52), 0);

    uint64_t modules = load_le64(page + 16), map = load_le64(page + 40);
    assert_in_range(modules, 0x3000 + 56, 0x4000 - 32);
    assert_in_range(map, modules + 32, 0x4000 - 3 * 24);
    assert_int_equal(load_le64(f->ram + modules), f->info.initrd);
    assert_int_equal(load_le64(f->ram + modules + 8), f->info.initrd_size);
    assert_int_equal(load_le64(f->ram + modules + 16), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(load_le64(f->ram + map + 24 * i), f->info.map[i].start);
        assert_int_equal(load_le64(f->ram + map + 24 * i + 8), f->info.map[i].size);
        assert_int_equal(load_le32(f->ram + map + 24 * i + 16), f->info.map[i].type);
        assert_int_equal(load_le32(f->ram + map + 24 * i + 20), 0);
    }
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    /* not all of the page is RAM */
    assert_int_equal(
        boot_params_write(&f->info, f->header, HEADER_SIZE, &f->mem, GPA(0x7001), &err), -EFAULT);
    assert_int_equal(err.code, EFAULT);
    assert_int_equal(pvh_start_info_write(&f->info, &f->mem, GPA(0x7001), &err), -EFAULT);
    assert_int_equal(f->ram[0x7fff], 0xee);

    /* headers that stop before the fields a loader fills, or reach into what follows */
    assert_int_equal(boot_params_write(&f->info, f->header, 0x3a, &f->mem, WHERE, &err), -EINVAL);
    assert_int_equal(boot_params_write(&f->info, f->header, 0x3b, &f->mem, WHERE, &err), 0);
    assert_int_equal(boot_params_write(&f->info, f->header, 0x9f, &f->mem, WHERE, &err), 0);
    assert_int_equal(boot_params_write(&f->info, f->header, 0xa0, &f->mem, WHERE, &err), -EINVAL);

    f->header[0x202 - 0x1f1] = 'h';
    assert_int_equal(boot_params_write(&f->info, f->header, HEADER_SIZE, &f->mem, WHERE, &err),
                     -EINVAL);
    f->info.map_count = MEMORY_MAP_MAX + 1;
    assert_int_equal(pvh_start_info_write(&f->info, &f->mem, WHERE, &err), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_boot_params), TEST(test_e820), TEST(test_full_map),
        TEST(test_no_initrd),   TEST(test_pvh),  TEST(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
