/*
 * Guest memory: no pointer outside a region, ever.
 */
#include "guest/memory.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static struct guest_memory mem;
static struct error err;

static int setup(void **state)
{
    (void)state;
    guest_memory_init(&mem);
    err = (struct error)ERROR_INIT;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    guest_memory_destroy(&mem);
    assert_int_equal(mem.count, 0);
    return 0;
}

static void regions_are_sorted_and_checked(void **state)
{
    (void)state;
    assert_int_equal(guest_memory_add(&mem, 4 * GIB, 2 * MIB, 0, &err), 0);
    assert_int_equal(guest_memory_add(&mem, 0, MIB, 0, &err), 0);
    assert_int_equal(guest_memory_add(&mem, MIB, MIB, 0, &err), 0);
    assert_int_equal(mem.count, 3);
    assert_int_equal(mem.regions[1].start, MIB);
    assert_int_equal(mem.regions[2].start, 4 * GIB);
    assert_int_equal(guest_memory_add(&mem, MIB + 4096, 4096, 0, &err), -EEXIST);
    assert_int_equal(guest_memory_add(&mem, 4 * GIB - 4096, 8192, 0, &err), -EEXIST);
    assert_int_equal(guest_memory_add(&mem, GIB, 0, 0, &err), -EINVAL);
    assert_int_equal(guest_memory_add(&mem, GIB + 1, 4096, 0, &err), -EINVAL);
    assert_int_equal(guest_memory_add(&mem, GIB, 100, 0, &err), -EINVAL);
    assert_int_equal(guest_memory_add(&mem, UINT64_MAX - 4095, 8192, 0, &err), -EINVAL);
    assert_int_equal(guest_memory_add(&mem, GIB, UINT64_MAX - 4095, 0, &err), -EINVAL);
    assert_int_equal(mem.count, 3);
    assert_int_equal(guest_memory_size(&mem), 4 * MIB);
}

static void region_count_is_bounded(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < GUEST_MEMORY_REGIONS; i++)
        assert_int_equal(guest_memory_add(&mem, i * MIB, 4096, 0, &err), 0);
    assert_int_equal(guest_memory_add(&mem, GIB, 4096, 0, &err), -ENOMEM);
}

static void map_checks_the_whole_range(void **state)
{
    (void)state;
    guest_memory_add(&mem, MIB, MIB, 0, &err);
    guest_memory_add(&mem, 2 * MIB, MIB, 0, &err);
    assert_ptr_equal(guest_memory_map(&mem, GPA(MIB), MIB), mem.regions[0].host);
    assert_ptr_equal(guest_memory_map(&mem, GPA(2 * MIB - 1), 1), mem.regions[0].host + MIB - 1);
    assert_null(guest_memory_map(&mem, GPA(2 * MIB - 1), 2)); /* across two regions */
    assert_null(guest_memory_map(&mem, GPA(MIB), 0));
    assert_null(guest_memory_map(&mem, GPA(MIB - 1), 2));
    assert_null(guest_memory_map(&mem, GPA(3 * MIB), 1));
    assert_null(guest_memory_map(&mem, GPA(3 * MIB - 1), 2));
    assert_null(guest_memory_map(&mem, GPA(MIB), UINT64_MAX));
    assert_null(guest_memory_map(&mem, GPA(2 * MIB), UINT64_MAX - 2 * MIB + 1));
    assert_null(guest_memory_map(&mem, GPA(UINT64_MAX), 1));
    assert_null(guest_memory_map(&mem, GPA(UINT64_MAX), UINT64_MAX));
}

static void copies_are_whole_or_not_at_all(void **state)
{
    uint8_t buf[4] = {1, 2, 3, 4};

    (void)state;
    guest_memory_add(&mem, 0, 4096, 0, &err);
    assert_int_equal(guest_memory_write(&mem, GPA(4092), buf, 4), 0);
    assert_int_equal(guest_memory_write(&mem, GPA(4093), buf, 4), -EFAULT);
    assert_int_equal(guest_memory_write(&mem, GPA(9999), buf, 0), 0);
    memset(buf, 0, sizeof(buf));
    assert_int_equal(guest_memory_read(&mem, GPA(4093), buf, 4), -EFAULT);
    assert_int_equal(buf[0], 0);
    assert_int_equal(guest_memory_read(&mem, GPA(4092), buf, 4), 0);
    assert_int_equal(load_le32(buf), 0x04030201);
    assert_int_equal(guest_memory_read(&mem, GPA(9999), buf, 0), 0);
}

static void host_agrees_with_guest_modulo_2m(void **state)
{
    (void)state;
    guest_memory_add(&mem, 0x100000, 5 * MIB, 0, &err);
    guest_memory_add(&mem, 0x40003000, 8 * MIB, GUEST_MEMORY_SHARED, &err);
    for (size_t i = 0; i < mem.count; i++)
        assert_int_equal(((uintptr_t)mem.regions[i].host - mem.regions[i].start) % (2 * MIB), 0);
}

static void shared_memory_is_seen_through_its_memfd(void **state)
{
    const struct guest_region *r = &mem.regions[0];
    uint8_t *other;

    (void)state;
    assert_int_equal(guest_memory_add(&mem, 0, MIB, GUEST_MEMORY_SHARED, &err), 0);
    assert_true(r->fd >= 0);
    assert_true(fcntl(r->fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(ftruncate(r->fd, 0), -1);
    other = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, (off_t)r->offset);
    assert_ptr_not_equal(other, MAP_FAILED);
    guest_memory_write(&mem, GPA(77), "x", 1);
    assert_int_equal(other[77], 'x');
    assert_int_equal(guest_memory_clear(&mem, &err), 0);
    assert_int_equal(other[77], 0);
    assert_int_equal(*(uint8_t *)guest_memory_map(&mem, GPA(77), 1), 0);
    munmap(other, r->size);
}

static void external_memory_stays_with_its_owner(void **state)
{
    uint8_t *memory = calloc(1, 8192);

    (void)state;
    assert_int_equal(guest_memory_add_external(&mem, MIB, 8192, memory, &err), 0);
    assert_int_equal(guest_memory_add_external(&mem, MIB + 4096, 8192, memory, &err), -EEXIST);
    assert_ptr_equal(guest_memory_map(&mem, GPA(MIB + 5), 3), memory + 5);
    guest_memory_write(&mem, GPA(MIB), "x", 1);
    assert_int_equal(guest_memory_clear(&mem, &err), 0);
    assert_int_equal(memory[0], 0);
    guest_memory_destroy(&mem);
    memory[0] = 1; /* still there */
    free(memory);
}

static int file_with(uint64_t size, int byte)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    char *data = malloc(size);

    memset(data, byte, size);
    assert_int_equal(write(fd, data, size), size);
    free(data);
    return fd;
}

static void files_are_mapped_privately_and_cleared(void **state)
{
    int fd = file_with(3 * 4096, 'f');
    uint8_t *p, byte;

    (void)state;
    guest_memory_add(&mem, 0, 4 * MIB, 0, &err);
    p = guest_memory_map(&mem, GPA(0), 4 * MIB);
    p[4095] = 1;
    assert_int_equal(guest_memory_map_file(&mem, GPA(4096), 8192, fd, 4096, &err), 0);
    assert_int_equal(p[4095], 1);
    assert_int_equal(p[4096], 'f');
    assert_int_equal(p[3 * 4096 - 1], 'f');
    assert_int_equal(p[3 * 4096], 0);
    p[4096] = 'g';
    assert_int_equal(pread(fd, &byte, 1, 4096), 1);
    assert_int_equal(byte, 'f');
    assert_int_equal(guest_memory_clear(&mem, &err), 0);
    assert_int_equal(p[4095] | p[4096] | p[8192], 0);
    p[4096] = 'h'; /* no longer the file's page */
    close(fd);
}

static void files_are_not_mapped_where_they_cannot_be(void **state)
{
    int fd = file_with(8192, 'f');
    uint8_t *memory = aligned_alloc(4096, 8192);

    (void)state;
    guest_memory_add(&mem, 0, MIB, GUEST_MEMORY_SHARED, &err);
    guest_memory_add(&mem, MIB, MIB, 0, &err);
    guest_memory_add_external(&mem, GIB, 8192, memory, &err);
    assert_int_equal(guest_memory_map_file(&mem, GPA(0), 4096, fd, 0, &err), -EOPNOTSUPP);
    assert_int_equal(guest_memory_map_file(&mem, GPA(GIB), 4096, fd, 0, &err), -EOPNOTSUPP);
    assert_int_equal(guest_memory_map_file(&mem, GPA(MIB + 1), 4096, fd, 0, &err), -EOPNOTSUPP);
    assert_int_equal(guest_memory_map_file(&mem, GPA(MIB), 4096, fd, 1, &err), -EOPNOTSUPP);
    assert_int_equal(guest_memory_map_file(&mem, GPA(2 * MIB - 4096), 8192, fd, 0, &err), -EFAULT);
    close(fd);
    guest_memory_destroy(&mem);
    free(memory);
}

static void huge_pages_need_their_alignment(void **state)
{
    int ret;

    (void)state;
    ret = guest_memory_add(&mem, 0, 3 * MIB, GUEST_MEMORY_HUGEPAGES, &err);
    assert_int_equal(ret, -EINVAL);
    /* Most hosts have none: then it is refused with a reason, else it works. */
    ret = guest_memory_add(&mem, 0, 2 * MIB, GUEST_MEMORY_HUGEPAGES, &err);
    if (ret < 0)
        assert_non_null(strstr(err.text, "huge-page"));
    else
        assert_int_equal(guest_memory_write(&mem, GPA(0), "x", 1), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(regions_are_sorted_and_checked),
        TEST(region_count_is_bounded),
        TEST(map_checks_the_whole_range),
        TEST(copies_are_whole_or_not_at_all),
        TEST(host_agrees_with_guest_modulo_2m),
        TEST(shared_memory_is_seen_through_its_memfd),
        TEST(external_memory_stays_with_its_owner),
        TEST(files_are_mapped_privately_and_cleared),
        TEST(files_are_not_mapped_where_they_cannot_be),
        TEST(huge_pages_need_their_alignment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
