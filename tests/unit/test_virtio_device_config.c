/*
 * Configuration space: reads, writes, changes and their generations.
 * Rows of tests/CONFORMANCE.md are in the names.
 */
#include "tests/unit/device_fixture.h"

/* CFG-02 */
static void cfg_01_06_reads(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(config32(f, 0), 0x55667788); /* before any status */
    assert_int_equal(config32(f, 4), 0x11223344);
    assert_int_equal(config32(f, 12), 0);
    assert_int_equal(config32(f, 252), 0);
    assert_int_equal(config32(f, 254), 0); /* behind the copy */
    assert_int_equal(config32(f, 0x10000), 0);
    assert_int_equal(config32(f, UINT32_MAX), 0);
}

/* A change between two reads of one field is never shown with the same generation around it. */
static void cfg_03_generation_moves_with_what_is_shown(void **state)
{
    struct fixture *f = *state;
    uint32_t before = virtio_device_config_generation(&f->dev);

    assert_int_equal(config32(f, 0), 0x55667788);
    store_le64(f->config, 0x0102030405060708); /* not announced yet: the old value is complete */
    assert_int_equal(config32(f, 4), 0x11223344);
    assert_int_equal(virtio_device_config_generation(&f->dev), before);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(config32(f, 4), 0x01020304);
    assert_int_equal(virtio_device_config_generation(&f->dev), before + 1);
    assert_int_equal(virtio_device_config_generation(&f->dev), before + 1);
}

/* 8 bits are enough for a transport: many changes nobody saw are one. */
static void pcic_09_unseen_changes_count_once(void **state)
{
    struct fixture *f = *state;
    uint32_t before = virtio_device_config_generation(&f->dev);

    for (int i = 0; i < 256; i++) {
        f->config[0]++;
        f->backend.events.config_changed(f->backend.events.opaque);
    }
    f->config[0]++;
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(virtio_device_config_generation(&f->dev), before + 1);
}

static void cfg_04_changes_are_told(void **state)
{
    struct fixture *f = *state;

    go_live(f);
    f->backend.events.config_changed(f->backend.events.opaque);
    assert_int_equal(f->config_interrupts, 1);
}

static void cfg_07_writes(void **state)
{
    struct fixture *f = *state;
    uint32_t generation;

    go_live(f);
    generation = virtio_device_config_generation(&f->dev);
    virtio_device_config_write(&f->dev, 8, "\x2a", 1);
    assert_int_equal(config32(f, 8), 0x2a);
    generation = virtio_device_config_generation(&f->dev);
    virtio_device_config_write(&f->dev, 0, "\x2a", 1); /* read-only */
    assert_int_equal(config32(f, 0), 0x55667788);
    assert_int_equal(virtio_device_config_generation(&f->dev), generation);
    set(f, 0);
    assert_int_equal(config32(f, 8), 0); /* reset put it back */
}

static void cfg_03_unchanged_configuration_is_read_once(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 16; i += 4)
        config32(f, i);
    virtio_device_config_generation(&f->dev);
    assert_int_equal(f->config_reads, 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(cfg_01_06_reads),
        T(cfg_03_generation_moves_with_what_is_shown),
        T(pcic_09_unseen_changes_count_once),
        T(cfg_04_changes_are_told),
        T(cfg_07_writes),
        T(cfg_03_unchanged_configuration_is_read_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
