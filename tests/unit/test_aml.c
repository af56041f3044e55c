/*
 * The AML encoder against bytes worked out by hand from ACPI 6.4, chapters 6.4 and 20.
 */
#include "firmware/aml.h"

#include "base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Check what was written, and start anew. */
static void expect_bytes(struct aml *aml, const void *bytes, size_t size)
{
    assert_int_equal(aml_finish(aml), 0);
    assert_int_equal(aml->size, size);
    assert_memory_equal(aml->data, bytes, size);
    aml_free(aml);
}

#define EXPECT(aml, ...) \
    expect_bytes(aml, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void expect_error(struct aml *aml, int error)
{
    assert_int_equal(aml_finish(aml), error);
    aml_free(aml);
}

static void test_integers(void **state)
{
    struct aml aml = {0};
    (void)state;

    aml_integer(&aml, 0);
    EXPECT(&aml, 0x00);
    aml_integer(&aml, 1);
    EXPECT(&aml, 0x01);
    aml_integer(&aml, 2);
    EXPECT(&aml, 0x0a, 0x02);
    aml_integer(&aml, 0xff);
    EXPECT(&aml, 0x0a, 0xff);
    aml_integer(&aml, 0x100);
    EXPECT(&aml, 0x0b, 0x00, 0x01);
    aml_integer(&aml, 0xffff);
    EXPECT(&aml, 0x0b, 0xff, 0xff);
    aml_integer(&aml, 0x10000);
    EXPECT(&aml, 0x0c, 0x00, 0x00, 0x01, 0x00);
    aml_integer(&aml, 0xffffffff);
    EXPECT(&aml, 0x0c, 0xff, 0xff, 0xff, 0xff);
    aml_integer(&aml, 0x100000000);
    EXPECT(&aml, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00);
    aml_integer(&aml, UINT64_MAX - 1);
    EXPECT(&aml, 0x0e, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    aml_integer(&aml, UINT64_MAX);
    EXPECT(&aml, 0xff);
}

static void test_paths(void **state)
{
    struct aml aml = {0};
    (void)state;

    aml_path(&aml, "PCI0");
    EXPECT(&aml, 'P', 'C', 'I', '0');
    aml_path(&aml, "GED");
    EXPECT(&aml, 'G', 'E', 'D', '_');
    aml_path(&aml, "\\_SB");
    EXPECT(&aml, '\\', '_', 'S', 'B', '_');
    aml_path(&aml, "\\");
    EXPECT(&aml, '\\', 0x00);
    aml_path(&aml, "^^A");
    EXPECT(&aml, '^', '^', 'A', '_', '_', '_');
    aml_path(&aml, "\\_SB.PCI0");
    EXPECT(&aml, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0');
    aml_path(&aml, "_SB.PCI0.S01");
    EXPECT(&aml, 0x2f, 3, '_', 'S', 'B', '_', 'P', 'C', 'I', '0', 'S', '0', '1', '_');
}

static void test_bad_paths(void **state)
{
    static const char *const bad[] = {
        "",   "ABCDE", "0ABC",  "abcd", "A B",  ".A",
        "A.", "A..B",  "\\\\A", "A^B",  "\\^A", "A.B.C.D.E.F.G.H.I.J.K.L.M.N.O.P.Q",
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct aml aml = {0};
        aml_path(&aml, bad[i]);
        expect_error(&aml, -EINVAL);
    }
}

/* A scope with `content` bytes behind its 4-byte name; checks PkgLength against the given bytes. */
static void check_length(size_t content, const uint8_t *length, size_t length_size)
{
    struct aml aml = {0};
    uint8_t *zeros = calloc(1, content);
    assert_non_null(zeros);

    AML_SCOPE(&aml, "_SB")
    {
        aml_bytes(&aml, zeros, content - 4);
    }
    assert_int_equal(aml_finish(&aml), 0);
    assert_int_equal(aml.size, 1 + length_size + content);
    assert_int_equal(aml.data[0], 0x10);
    assert_memory_equal(aml.data + 1, length, length_size);
    assert_memory_equal(aml.data + 1 + length_size, "_SB_", 4);
    free(zeros);
    aml_free(&aml);
}

#define CHECK_LENGTH(content, ...) \
    check_length(content, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_package_lengths(void **state)
{
    (void)state;
    CHECK_LENGTH(4, 5);
    CHECK_LENGTH(62, 63);                                /* the most one byte holds */
    CHECK_LENGTH(63, 0x41, 0x04);                        /* 65 */
    CHECK_LENGTH(4093, 0x4f, 0xff);                      /* 4095 */
    CHECK_LENGTH(4094, 0x81, 0x00, 0x01);                /* 4097 */
    CHECK_LENGTH(1048572, 0x8f, 0xff, 0xff);             /* 2^20 - 1 */
    CHECK_LENGTH(1048573, 0xc1, 0x00, 0x00, 0x01);       /* 2^20 + 1 */
    CHECK_LENGTH(0xfffffff - 4, 0xcf, 0xff, 0xff, 0xff); /* 2^28 - 1 */
}

static void test_too_long(void **state)
{
    struct aml aml = {0};
    uint8_t *zeros = calloc(1, 0xfffffff);
    assert_non_null(zeros);
    (void)state;

    AML_SCOPE(&aml, "_SB")
    {
        aml_bytes(&aml, zeros, 0xfffffff - 7);
    }
    expect_error(&aml, -E2BIG);
    free(zeros);
}

static void test_data(void **state)
{
    struct aml aml = {0};
    (void)state;

    aml_eisa_id(&aml, "PNP0A08");
    EXPECT(&aml, 0x0c, 0x41, 0xd0, 0x0a, 0x08);
    aml_eisa_id(&aml, "PNP0C0C");
    EXPECT(&aml, 0x0c, 0x41, 0xd0, 0x0c, 0x0c);
    aml_name_string(&aml, "_HID", "LNRO0005");
    EXPECT(&aml, 0x08, '_', 'H', 'I', 'D', 0x0d, 'L', 'N', 'R', 'O', '0', '0', '0', '5', 0);
    aml_name_integer(&aml, "_UID", 7);
    EXPECT(&aml, 0x08, '_', 'U', 'I', 'D', 0x0a, 7);
    AML_PACKAGE(&aml, 2)
    {
        aml_integer(&aml, 5);
        aml_integer(&aml, 0);
    }
    EXPECT(&aml, 0x12, 5, 2, 0x0a, 5, 0);
    AML_BUFFER_BYTES(&aml)
    {
        aml_bytes(&aml, "ab", 2);
    }
    EXPECT(&aml, 0x11, 5, 0x0a, 2, 'a', 'b');
    aml_uuid(&aml, "33DB4D5B-1FF7-401c-9657-7441C03DD766");
    EXPECT(&aml, 0x11, 19, 0x0a, 16, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57,
           0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66);
}

/* Where both lengths in front of a buffer's bytes grow: 63 is counted with the BufferSize. */
static void test_buffer_lengths(void **state)
{
    const uint8_t bytes[256] = {0};
    struct aml aml = {0};
    (void)state;

    AML_BUFFER_BYTES(&aml)
    {
        aml_bytes(&aml, bytes, 60);
    }
    assert_memory_equal(aml.data, "\x11\x3f\x0a\x3c", 4);
    assert_int_equal(aml.size, 64);
    aml_free(&aml);

    AML_BUFFER_BYTES(&aml)
    {
        aml_bytes(&aml, bytes, 61);
    }
    assert_memory_equal(aml.data, "\x11\x41\x04\x0a\x3d", 5);
    assert_int_equal(aml.size, 66);
    aml_free(&aml);

    AML_BUFFER_BYTES(&aml)
    {
        aml_bytes(&aml, bytes, 256);
    }
    assert_memory_equal(aml.data, "\x11\x45\x10\x0b\x00\x01", 6);
    assert_int_equal(aml.size, 262);
    aml_free(&aml);
}

static void test_methods(void **state)
{
    struct aml aml = {0};
    (void)state;

    AML_METHOD(&aml, "_EVT", 1)
    {
        AML_IF(&aml, (aml_equal(&aml), aml_arg(&aml, 0), aml_integer(&aml, 9)))
        {
            aml_notify(&aml);
            aml_path(&aml, "PWRB");
            aml_integer(&aml, 0x80);
        }
        AML_ELSE(&aml)
        {
            aml_return(&aml);
            aml_integer(&aml, 1);
        }
    }
    EXPECT(&aml, 0x14, 23, '_', 'E', 'V', 'T', 1, /* Method (_EVT, 1) */
           0xa0, 12, 0x93, 0x68, 0x0a, 9,         /* If (LEqual (Arg0, 9)) */
           0x86, 'P', 'W', 'R', 'B', 0x0a, 0x80,  /* Notify (PWRB, 0x80) */
           0xa1, 3, 0xa4, 1);                     /* Else Return (1) */

    aml_store(&aml); /* Store (4, Index (Arg3, 0)) */
    aml_integer(&aml, 4);
    aml_index(&aml);
    aml_arg(&aml, 3);
    aml_integer(&aml, 0);
    aml_null(&aml);
    EXPECT(&aml, 0x70, 0x0a, 4, 0x88, 0x6b, 0, 0);
}

static void test_devices(void **state)
{
    struct aml aml = {0};
    (void)state;

    AML_SCOPE(&aml, "_SB")
    {
        AML_DEVICE(&aml, "PWRB")
        {
            aml_name_eisa_id(&aml, "_HID", "PNP0C0C");
        }
    }
    EXPECT(&aml, 0x10, 22, '_', 'S', 'B', '_', 0x5b, 0x82, 15, 'P', 'W', 'R', 'B', 0x08, '_', 'H',
           'I', 'D', 0x0c, 0x41, 0xd0, 0x0c, 0x0c);
}

static void test_consumed_resources(void **state)
{
    struct aml aml = {0};
    (void)state;

    AML_RESOURCE_TEMPLATE(&aml)
    {
    }
    EXPECT(&aml, 0x11, 5, 0x0a, 2, 0x79, 0x00);

    AML_RESOURCE_TEMPLATE(&aml)
    {
        aml_memory32_fixed(&aml, 0xd0001000, 0x200);
        aml_interrupt(&aml, AML_EDGE, AML_ACTIVE_HIGH, AML_EXCLUSIVE, 0x115);
    }
    EXPECT(&aml, 0x11, 26, 0x0a, 23,                                      /* Buffer */
           0x86, 9, 0, 1, 0x00, 0x10, 0x00, 0xd0, 0x00, 0x02, 0x00, 0x00, /* memory */
           0x89, 6, 0, 0x03, 1, 0x15, 0x01, 0, 0,                         /* interrupt */
           0x79, 0x00);

    aml_interrupt(&aml, AML_LEVEL, AML_ACTIVE_LOW, AML_SHARED, 5);
    EXPECT(&aml, 0x89, 6, 0, 0x0d, 1, 5, 0, 0, 0);
    aml_io(&aml, 0x3f8, 8);
    EXPECT(&aml, 0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8);
    aml_qword_memory(&aml, 0x123400000000, 0x1000);
    EXPECT(&aml, 0x8a, 0x2b, 0, 0, 0x0d, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, /* granularity */
           0, 0, 0, 0, 0x34, 0x12, 0, 0,                               /* lowest */
           0xff, 0x0f, 0, 0, 0x34, 0x12, 0, 0,                         /* highest */
           0, 0, 0, 0, 0, 0, 0, 0,                                     /* translation */
           0, 0x10, 0, 0, 0, 0, 0, 0);                                 /* length */
}

static void test_window_resources(void **state)
{
    struct aml aml = {0};
    (void)state;

    aml_bus_window(&aml, 0, 255);
    EXPECT(&aml, 0x88, 13, 0, 2, 0x0c, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 1);
    aml_io_window(&aml, 0x1000, 0xf000);
    EXPECT(&aml, 0x87, 0x17, 0, 1, 0x0c, 3, 0, 0, 0, 0, 0, 0x10, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0,
           0, 0xf0, 0, 0);
    aml_memory32_window(&aml, 0xc0000000, 0x40000000);
    EXPECT(&aml, 0x87, 0x17, 0, 0, 0x0c, 1, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff, 0xff, 0xff, 0, 0,
           0, 0, 0, 0, 0, 0x40);
    aml_memory64_window(&aml, 0x100000000, 0x100000000);
    EXPECT(&aml, 0x8a, 0x2b, 0, 0, 0x0c, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, /* granularity */
           0, 0, 0, 0, 1, 0, 0, 0,                                     /* lowest */
           0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0,                         /* highest */
           0, 0, 0, 0, 0, 0, 0, 0,                                     /* translation */
           0, 0, 0, 0, 1, 0, 0, 0);                                    /* length */
}

static void test_bad_values(void **state)
{
    static const char *const bad_ids[] = {"",        "PNP0A0",  "PNP0A080",
                                          "pNP0A08", "PN00A08", "PNP0G08"};
    struct aml aml = {0};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad_ids); i++) {
        aml_eisa_id(&aml, bad_ids[i]);
        expect_error(&aml, -EINVAL);
    }
    aml_uuid(&aml, "33DB4D5B-1FF7-401C-9657-7441C03DD76");
    expect_error(&aml, -EINVAL);
    aml_uuid(&aml, "33DB4D5B-1FF7-401C-9657-7441C03DD76x");
    expect_error(&aml, -EINVAL);
    aml_string(&aml, "\xc3\xa9");
    expect_error(&aml, -EINVAL);
    aml_arg(&aml, 7);
    expect_error(&aml, -EINVAL);
    aml_package_open(&aml, 256);
    expect_error(&aml, -EINVAL);
    aml_method_open(&aml, "M", 8);
    expect_error(&aml, -EINVAL);
}

static void test_bad_nesting(void **state)
{
    struct aml aml = {0};
    (void)state;

    aml_device_open(&aml, "A");
    expect_error(&aml, -EINVAL);
    aml_close(&aml);
    expect_error(&aml, -EINVAL);
    for (unsigned i = 0; i < AML_DEPTH_MAX + 1; i++)
        aml_scope_open(&aml, "A");
    expect_error(&aml, -EINVAL);
}

static void test_errors_stick(void **state)
{
    struct aml aml = {0};
    (void)state;

    aml_integer(&aml, 5);
    size_t size = aml.size;
    AML_DEVICE(&aml, "bad")
    {
        aml_integer(&aml, 5);
        AML_DEVICE(&aml, "GOOD")
        {
            aml_string(&aml, "more");
        }
    }
    assert_in_range(aml.size, size, size + 2); /* no more than the operator of the bad device */
    expect_error(&aml, -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),         cmocka_unit_test(test_paths),
        cmocka_unit_test(test_bad_paths),        cmocka_unit_test(test_package_lengths),
        cmocka_unit_test(test_too_long),         cmocka_unit_test(test_data),
        cmocka_unit_test(test_buffer_lengths),   cmocka_unit_test(test_methods),
        cmocka_unit_test(test_devices),          cmocka_unit_test(test_consumed_resources),
        cmocka_unit_test(test_window_resources), cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_bad_nesting),      cmocka_unit_test(test_errors_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
