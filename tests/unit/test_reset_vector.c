/*
 * The reset vector's code, byte for byte.
 */
#include "firmware/reset_vector.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAGE UINT64_C(0xff000)

static void test_code(void **state)
{
    static const uint8_t expected[RESET_VECTOR_SIZE] = {0xba, 0x02, 0x06, 0xb0, 0x5a,
                                                        0xee, 0xf4, 0xeb, 0xfd};
    struct guest_memory mem;
    uint8_t *page = aligned_alloc(4096, 4096);
    (void)state;

    assert_non_null(page);
    guest_memory_init(&mem);
    assert_int_equal(guest_memory_add_external(&mem, PAGE, 4096, page, NULL), 0);
    assert_int_equal(reset_vector_write(&mem, 0x602, 0x5a, NULL), 0);
    assert_memory_equal(page + (RESET_VECTOR - PAGE), expected, sizeof(expected));
    guest_memory_destroy(&mem);
    free(page);
}

static void test_no_ram(void **state)
{
    struct guest_memory mem;
    struct error err = ERROR_INIT;
    (void)state;

    guest_memory_init(&mem);
    assert_int_equal(reset_vector_write(&mem, 0x602, 0x5a, &err), -EFAULT);
    assert_int_equal(err.code, EFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code),
        cmocka_unit_test(test_no_ram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
