/*
 * Power hardware: soft off, reset, panic, and the power button.
 */
#include "base/bytes.h"
#include "devices/power.h"
#include "firmware/acpi.h"
#include "tests/driver/fake_platform.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define PORT    0x600
#define PVPANIC 0x505
#define GSI     5

_Static_assert(POWER_SLEEP_TYPE_S5 == ACPI_SLP_TYP_S5, "tables and hardware agree");

struct fixture {
    struct fake_platform fake;
    struct power *power;
    int events[3];
};

static void event(void *opaque, enum power_event which)
{
    struct fixture *f = opaque;
    f->events[which]++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    fake_platform_init(&f->fake);
    return power_create(&f->fake.platform, PORT, PVPANIC, GSI, event, f, &f->power, NULL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    power_destroy(f->power);
    fake_platform_destroy(&f->fake);
    free(f);
    return 0;
}

static void out(struct fixture *f, uint64_t port, uint8_t value)
{
    fake_write(&f->fake, ADDRESS_PIO, port, 1, value);
}

static void assert_events(struct fixture *f, int off, int reset, int panic)
{
    assert_int_equal(f->events[POWER_OFF], off);
    assert_int_equal(f->events[POWER_RESET], reset);
    assert_int_equal(f->events[POWER_PANIC], panic);
}

/* As acpi_hw_extended_sleep() does it. */
static void test_power_off(void **state)
{
    struct fixture *f = *state;

    out(f, POWER_SLEEP_STATUS(PORT), ACPI_SLEEP_WAK_STS);
    out(f, POWER_SLEEP_CONTROL(PORT), ACPI_SLP_TYP_S5 << 2);
    assert_events(f, 0, 0, 0);
    out(f, POWER_SLEEP_CONTROL(PORT), ACPI_SLEEP_POWER_OFF);
    assert_events(f, 1, 0, 0);
    out(f, POWER_SLEEP_CONTROL(PORT), ACPI_SLEEP_ENABLE | 1 << 2); /* S1 was not offered */
    assert_events(f, 1, 0, 0);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, POWER_SLEEP_STATUS(PORT), 1), 0);
    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, PORT, 1), 0);
}

static void test_reset(void **state)
{
    struct fixture *f = *state;

    out(f, POWER_RESET_CONTROL(PORT), POWER_RESET_VALUE + 1);
    assert_events(f, 0, 0, 0);
    out(f, POWER_RESET_CONTROL(PORT), POWER_RESET_VALUE);
    assert_events(f, 0, 1, 0);
}

static void test_panic(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_read(&f->fake, ADDRESS_PIO, PVPANIC, 1), 3);
    out(f, PVPANIC, 2); /* the crash kernel goes on */
    assert_events(f, 0, 0, 0);
    out(f, PVPANIC, 1);
    assert_events(f, 0, 0, 1);
}

static void test_button(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_take_edges(&f->fake, GSI), 0);
    power_button_press(f->power);
    assert_int_equal(fake_take_edges(&f->fake, GSI), 1);
}

static void test_create_fails(void **state)
{
    struct fixture *f = *state;
    struct power *second;
    struct error err = ERROR_INIT;

    /* Every failure leaves nothing behind, which fake_platform_destroy checks. */
    assert_int_equal(power_create(&f->fake.platform, PORT + 1, 0, GSI, event, f, &second, &err),
                     -EEXIST);
    assert_int_equal(power_create(&f->fake.platform, 0x700, PVPANIC, GSI, event, f, &second, &err),
                     -EEXIST);
    f->fake.fail_irqfd_add = EBUSY;
    assert_int_equal(power_create(&f->fake.platform, 0x700, 0, GSI, event, f, &second, &err),
                     -EBUSY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_power_off), TEST(test_reset),        TEST(test_panic),
        TEST(test_button),    TEST(test_create_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
