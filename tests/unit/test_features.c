/* Feature bits and their dependencies, and what the block device makes of them. */
#include "base/bytes.h"
#include "devices/blk/blk.h"
#include "virtio/features.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { A = 3, B = 70, C = 71 };

static const struct virtio_feature_name table[] = {
    {"a", A, -1, "stands alone"},
    {"b", B, A, "needs a"},
    {"c", C, A | FEATURE_OFFER_ONLY, "is offered with a"},
};

static void test_bits_beyond_the_first_word(void **state)
{
    struct virtio_features f = {0};

    (void)state;
    features_set(&f, B, true);
    assert_true(features_has(&f, B));
    assert_int_equal(f.word[2], 1 << (B - 64));
    features_set(&f, B, false);
    assert_false(features_has(&f, B));
}

/* FEAT-06 and DRV-INIT-06 */
static void test_need_binds_both(void **state)
{
    struct virtio_features f = {0};

    (void)state;
    features_set(&f, B, true);
    assert_ptr_equal(features_unmet(&f, table, ARRAY_SIZE(table), false), &table[1]);
    assert_ptr_equal(features_unmet(&f, table, ARRAY_SIZE(table), true), &table[1]);
    features_set(&f, A, true);
    assert_null(features_unmet(&f, table, ARRAY_SIZE(table), false));
}

/* BLK-13, BLK-14 */
static void test_offer_only_leaves_the_driver_free(void **state)
{
    struct virtio_features f = {0};

    (void)state;
    features_set(&f, C, true);
    assert_ptr_equal(features_unmet(&f, table, ARRAY_SIZE(table), false), &table[2]);
    assert_null(features_unmet(&f, table, ARRAY_SIZE(table), true));
}

/* seg_max of a disk whose queues have `size` entries */
static uint32_t seg_max_of(uint16_t size)
{
    char path[] = "/tmp/vireo-test-XXXXXX";
    struct blk_options options = {.path = path};
    struct guest_memory memory;
    struct virtio_backend *backend;
    struct loop *loop;
    uint8_t config[16];
    int fd = mkstemp(path);

    guest_memory_init(&memory);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(loop_create(&loop, NULL), 0);
    assert_int_equal(
        virtio_builtin_create(&blk_model, &options, &memory, loop, 1, size, &backend, NULL), 0);
    backend->ops->config_read(backend, 0, config, sizeof(config));
    backend->ops->destroy(backend);
    loop_destroy(loop);
    unlink(path);
    close(fd);
    return load_le32(config + 12);
}

/* A request without an indirect table must fit the queue: header, data, status. */
static void test_seg_max_fits_the_queue(void **state)
{
    (void)state;
    assert_int_equal(seg_max_of(256), 126);
    assert_int_equal(seg_max_of(16), 14);
    assert_int_equal(seg_max_of(4), 2);
    assert_int_equal(seg_max_of(1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_beyond_the_first_word),
        cmocka_unit_test(test_need_binds_both),
        cmocka_unit_test(test_offer_only_leaves_the_driver_free),
        cmocka_unit_test(test_seg_max_fits_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
