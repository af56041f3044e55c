/* What a machine that runs gives back of its shared libraries, and what it must keep. */
#include "vmm/library_pages.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The dynamic linker's code: hardly anything needs it once a program that is bound at start runs.
 */
struct code {
    uintptr_t start, end;
    unsigned resident; /* KiB of it that are mapped */
};

static struct code linker_code(void)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    struct code code = {0};
    bool found = false;
    char line[512];

    assert_non_null(smaps);
    while (fgets(line, sizeof(line), smaps)) {
        if (strstr(line, "/ld-linux") && strstr(line, " r-xp "))
            found = sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &code.start, &code.end) == 2;
        if (found && sscanf(line, "Rss: %u kB", &code.resident) == 1)
            break;
    }
    fclose(smaps);
    assert_true(found);
    return code;
}

/* Touches every page. */
static unsigned sum(const struct code *code)
{
    unsigned result = 0;

    for (uintptr_t p = code->start; p < code->end; p += 4096)
        result = 31 * result + *(volatile const uint8_t *)p;
    return result;
}

static void code_goes_and_comes_back(void **state)
{
    struct code code = linker_code();
    unsigned expected = sum(&code), all = linker_code().resident;

    (void)state;
    assert_int_equal(all, (code.end - code.start) / 1024);
    library_pages_release();
    assert_true(linker_code().resident < all);
    assert_int_equal(sum(&code), expected);
}

/* The generator's state is in the C library's own data. */
static void data_stays(void **state)
{
    long expected;

    (void)state;
    srandom(7);
    (void)random();
    expected = random();
    srandom(7);
    (void)random();
    library_pages_release();
    assert_int_equal(random(), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_goes_and_comes_back),
        cmocka_unit_test(data_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
