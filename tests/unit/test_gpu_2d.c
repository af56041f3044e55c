/*
 * virtio-gpu: resources in our memory, backing, transfers, scan-out and flushes.
 */
#include "tests/unit/gpu_fixture.h"

#include <libdrm/drm_fourcc.h>

static const struct virtio_gpu_rect whole = {0, 0, 64, 32};

/* A resource of 64 by 32 pixels with a pattern in its backing. */
static uint64_t make_resource(uint32_t id)
{
    assert_int_equal(gpu_card_create_2d(&card, id, BGRX, 64, 32), OK);
    return give_backing(id, 64 * 32 * 4);
}

/* GPU-08, GPU-14: from guest memory to the screen. */
static void picture_reaches_the_viewer(void **state)
{
    const uint32_t *pixels = gpu_card_at(&card, make_resource(7), 64 * 32 * 4);
    struct gpu_card_view *view = &card.views[0];

    (void)state;
    assert_int_equal(gpu_card_set_scanout(&card, 0, 7, whole), OK);
    assert_true(view->shown);
    assert_int_equal(view->picture.width, 64);
    assert_int_equal(view->picture.height, 32);
    assert_int_equal(view->picture.fourcc, DRM_FORMAT_XRGB8888);
    assert_int_equal(shown_pixel(0, 1, 1), 0);
    assert_int_equal(gpu_card_transfer(&card, 7, whole, 0), OK);
    assert_int_equal(view->damages, 0);
    assert_int_equal(gpu_card_flush(&card, 7, whole), OK);
    assert_int_equal(view->damages, 1);
    for (uint32_t y = 0; y < 32; y++)
        for (uint32_t x = 0; x < 64; x++)
            assert_int_equal(shown_pixel(0, x, y), pixels[y * 64 + x]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GPU_TEST(picture_reaches_the_viewer),
    };

    build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
