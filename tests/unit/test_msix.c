/*
 * MSI-X: PCI Local Bus 3.0, 6.8.2; virtio rows PCII-05, PCII-10.
 */
#include "transport/msix.h"

#include "base/bytes.h"
#include "tests/driver/fake_platform.h"

#include <linux/pci_regs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define VECTORS 70 /* two words of pending bits */

struct fixture {
    struct fake_platform fake;
    struct pci_function function;
    struct msix msix;
};

static int set_up(void **state)
{
    static const struct pci_function_ops ops = {.name = "test"};
    static const struct pci_identity identity = {.vendor = 0x1af4, .device = 0x1041};
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    fake_platform_init(&f->fake);
    pci_function_init(&f->function, &identity, &ops);
    f->function.slot = 5;
    assert_int_equal(
        msix_init(&f->msix, &f->fake.platform, &f->function, VECTORS, 2, 0x4000, 0x6000, &err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    msix_destroy(&f->msix);
    fake_platform_destroy(&f->fake);
    free(f);
    return 0;
}

static void write_control(struct fixture *f, uint16_t bits)
{
    unsigned at = f->msix.capability + PCI_MSIX_FLAGS;
    uint8_t data[2];

    store_le16(data, bits);
    pci_function_config_write(&f->function, at, data, 2);
    msix_config_written(&f->msix);
}

static void write_table(struct fixture *f, uint64_t offset, uint32_t value)
{
    uint8_t data[4];

    store_le32(data, value);
    msix_table_write(&f->msix, offset, data, 4);
}

static uint32_t read_table(struct fixture *f, uint64_t offset)
{
    uint8_t data[4];

    msix_table_read(&f->msix, offset, data, 4);
    return load_le32(data);
}

static void fill_vector(struct fixture *f, uint16_t vector, bool masked)
{
    uint64_t entry = (uint64_t)vector * MSIX_ENTRY_SIZE;

    write_table(f, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee00000);
    write_table(f, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 1);
    write_table(f, entry + PCI_MSIX_ENTRY_DATA, 0x100u + vector);
    write_table(f, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

static uint64_t read_pending(struct fixture *f, uint64_t offset)
{
    uint8_t data[8];

    msix_pba_read(&f->msix, offset, data, 8);
    return load_le64(data);
}

static void expect_message(struct fixture *f, uint32_t data)
{
    struct msi_message message;

    assert_true(fake_take_msi(&f->fake, &message));
    assert_int_equal(message.address, 0x1fee00000);
    assert_int_equal(message.data, data);
    assert_int_equal(message.device_id, 5 << 3);
}

static void expect_silence(struct fixture *f)
{
    struct msi_message message;

    assert_false(fake_take_msi(&f->fake, &message));
}

/* PCII-05: the capability says how many vectors there are, and where the tables are. */
static void test_capability(void **state)
{
    struct fixture *f = *state;
    const uint8_t *cap = &f->function.config[f->msix.capability];

    assert_int_equal(cap[0], PCI_CAP_ID_MSIX);
    assert_int_equal(load_le16(cap + PCI_MSIX_FLAGS), VECTORS - 1);
    assert_int_equal(load_le32(cap + PCI_MSIX_TABLE), 0x4000 | 2);
    assert_int_equal(load_le32(cap + PCI_MSIX_PBA), 0x6000 | 2);
    write_control(f, 0xffff);
    assert_int_equal(load_le16(cap + PCI_MSIX_FLAGS), 0xc000 | (VECTORS - 1));
    assert_int_equal(msix_table_size(VECTORS), 4096);
    assert_int_equal(msix_table_size(257), 8192);
    assert_int_equal(msix_pba_size(2048), 4096);
}

/* 6.8.2.9: masked and zero at first; reserved bits of the control stay 0. */
static void test_table(void **state)
{
    struct fixture *f = *state;
    uint8_t data[8];

    for (uint16_t i = 0; i < VECTORS; i++) {
        assert_int_equal(read_table(f, (uint64_t)i * 16 + 8), 0);
        assert_int_equal(read_table(f, (uint64_t)i * 16 + 12), 1);
    }
    write_table(f, 16 + 12, 0xfffffffe);
    assert_int_equal(read_table(f, 16 + 12), 0);
    store_le64(data, UINT64_C(0x1122334455667788));
    msix_table_write(&f->msix, 32, data, 8);
    assert_int_equal(read_table(f, 32), 0x55667788);
    assert_int_equal(read_table(f, 36), 0x11223344);
    msix_table_read(&f->msix, 32, data, 8);
    assert_int_equal(load_le64(data), UINT64_C(0x1122334455667788));
}

/* 6.8.2: only aligned accesses of 4 and 8 bytes; nothing beyond the table. */
static void test_odd_accesses(void **state)
{
    struct fixture *f = *state;
    uint8_t data[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    msix_table_write(&f->msix, 0, data, 1);
    msix_table_write(&f->msix, 0, data, 2);
    msix_table_write(&f->msix, 2, data, 4);
    msix_table_write(&f->msix, 4, data, 8);
    msix_table_write(&f->msix, (uint64_t)VECTORS * 16, data, 4);
    msix_table_write(&f->msix, (uint64_t)VECTORS * 16 - 4, data, 8);
    assert_int_equal(read_table(f, 0), 0);
    assert_int_equal(read_table(f, 4), 0);
    assert_int_equal(read_table(f, (uint64_t)VECTORS * 16 - 4), 1);
    assert_int_equal(read_table(f, (uint64_t)VECTORS * 16), 0);
    msix_pba_read(&f->msix, 16, data, 8);
    assert_int_equal(load_le64(data), 0);
}

static void test_notify(void **state)
{
    struct fixture *f = *state;

    fill_vector(f, 3, false);
    msix_notify(&f->msix, 3);
    expect_silence(f); /* MSI-X is off */
    write_control(f, PCI_MSIX_FLAGS_ENABLE);
    expect_silence(f);
    msix_notify(&f->msix, 3);
    expect_message(f, 0x103);
    msix_notify(&f->msix, VECTORS);
    msix_notify(&f->msix, 0xffff);
    expect_silence(f);
    assert_int_equal(read_pending(f, 0), 0);
}

/* PCII-10: masked vectors set pending and fire, once, on unmask. */
static void test_vector_mask(void **state)
{
    struct fixture *f = *state;

    write_control(f, PCI_MSIX_FLAGS_ENABLE);
    fill_vector(f, 65, true);
    msix_notify(&f->msix, 65);
    msix_notify(&f->msix, 65);
    expect_silence(f);
    assert_int_equal(read_pending(f, 0), 0);
    assert_int_equal(read_pending(f, 8), 2);
    write_table(f, 65 * 16 + PCI_MSIX_ENTRY_DATA, 0x777); /* still masked */
    expect_silence(f);
    write_table(f, 65 * 16 + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    expect_message(f, 0x777);
    expect_silence(f);
    assert_int_equal(read_pending(f, 8), 0);
}

static void test_function_mask(void **state)
{
    struct fixture *f = *state;

    fill_vector(f, 0, false);
    fill_vector(f, 1, true);
    fill_vector(f, 69, false);
    write_control(f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    msix_notify(&f->msix, 0);
    msix_notify(&f->msix, 1);
    msix_notify(&f->msix, 69);
    expect_silence(f);
    assert_int_equal(read_pending(f, 0), 3);
    assert_int_equal(read_pending(f, 8), 1 << 5);
    write_control(f, PCI_MSIX_FLAGS_ENABLE);
    expect_message(f, 0x100);
    expect_message(f, 0x100 + 69);
    expect_silence(f); /* vector 1 has its own mask */
    assert_int_equal(read_pending(f, 0), 2);
}

/* The pending bits are read in dwords, too. */
static void test_pending_halves(void **state)
{
    struct fixture *f = *state;
    uint8_t data[4];

    write_control(f, PCI_MSIX_FLAGS_ENABLE);
    msix_notify(&f->msix, 33);
    msix_pba_read(&f->msix, 0, data, 4);
    assert_int_equal(load_le32(data), 0);
    msix_pba_read(&f->msix, 4, data, 4);
    assert_int_equal(load_le32(data), 2);
    msix_clear_pending(&f->msix);
    msix_pba_read(&f->msix, 4, data, 4);
    assert_int_equal(load_le32(data), 0);
}

static void test_reset(void **state)
{
    struct fixture *f = *state;

    fill_vector(f, 0, false);
    write_control(f, PCI_MSIX_FLAGS_ENABLE);
    msix_notify(&f->msix, 1);
    msix_reset(&f->msix);
    assert_false(msix_enabled(&f->msix));
    assert_int_equal(read_table(f, 0), 0);
    assert_int_equal(read_table(f, PCI_MSIX_ENTRY_VECTOR_CTRL), 1);
    assert_int_equal(read_pending(f, 0), 0);
    msix_notify(&f->msix, 0);
    expect_silence(f);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_capability),     TEST(test_table),       TEST(test_odd_accesses),
        TEST(test_notify),         TEST(test_vector_mask), TEST(test_function_mask),
        TEST(test_pending_halves), TEST(test_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
