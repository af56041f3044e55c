/* Applying relocations from lists that a cache file holds: nothing outside the image is touched. */
#include "guest/relocs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define IMAGE 4096

static uint8_t image[IMAGE + 64];

static int apply(int kind, uint32_t offset)
{
    struct relocs relocs = {0};

    relocs.offsets[kind] = &offset;
    relocs.count[kind] = 1;
    memset(image, 0, sizeof(image));
    return relocs_apply(&relocs, image, IMAGE, 0x200000);
}

static void assert_outside_is_untouched(void)
{
    for (size_t i = IMAGE; i < sizeof(image); i++)
        assert_int_equal(image[i], 0);
}

static void last_places_inside(void **state)
{
    (void)state;
    assert_int_equal(apply(RELOC_64, IMAGE - 8), 0);
    assert_int_equal(image[IMAGE - 6], 0x20);
    assert_int_equal(apply(RELOC_32, IMAGE - 4), 0);
    assert_int_equal(image[IMAGE - 2], 0x20);
    assert_int_equal(apply(RELOC_32_INVERSE, 0), 0);
    assert_int_equal(image[2], 0xe0);
    assert_outside_is_untouched();
}

static void places_outside(void **state)
{
    static const uint32_t beyond[] = {IMAGE - 3, IMAGE, IMAGE + 8, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        assert_int_equal(apply(RELOC_64, beyond[i]), -EINVAL);
        assert_int_equal(apply(RELOC_32, beyond[i]), -EINVAL);
        assert_int_equal(apply(RELOC_32_INVERSE, beyond[i]), -EINVAL);
        assert_outside_is_untouched();
    }
    assert_int_equal(apply(RELOC_64, IMAGE - 7), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_places_inside),
        cmocka_unit_test(places_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
