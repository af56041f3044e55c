/*
 * virtio-gpu: what outputs show, of images and of blobs, and the pointer.
 */
#include "tests/unit/gpu_fixture.h"

#include <libdrm/drm_fourcc.h>

static const struct virtio_gpu_rect whole = {0, 0, 64, 32};

static void make_image(uint32_t id)
{
    assert_int_equal(gpu_card_create_2d(&card, id, BGRX, 64, 32), OK);
    give_backing(id, 64 * 32 * 4);
    assert_int_equal(gpu_card_transfer(&card, id, whole, 0), OK);
}

static uint32_t pattern(uint32_t x, uint32_t y)
{
    return (y * 64 + x) * 2654435761u;
}

/* GPU-14: rectangles of one resource on several outputs, overlapping; a flush damages each of them
 * where it shows what was flushed. */
static void shared_resource(void **state)
{
    (void)state;
    make_image(7);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 7, (struct virtio_gpu_rect){0, 0, 40, 32}), OK);
    assert_int_equal(gpu_card_set_scanout(&card, 1, 7, (struct virtio_gpu_rect){20, 8, 44, 24}),
                     OK);
    assert_int_equal(shown_pixel(0, 39, 31), pattern(39, 31));
    assert_int_equal(shown_pixel(1, 0, 0), pattern(20, 8));
    assert_int_equal(shown_pixel(1, 43, 23), pattern(63, 31));
    assert_int_equal(gpu_card_flush(&card, 7, (struct virtio_gpu_rect){30, 4, 20, 8}), OK);
    assert_int_equal(card.views[0].damage.x, 30);
    assert_int_equal(card.views[0].damage.width, 10);
    assert_int_equal(card.views[0].damage.height, 8);
    assert_int_equal(card.views[1].damage.x, 10);
    assert_int_equal(card.views[1].damage.y, 0);
    assert_int_equal(card.views[1].damage.width, 20);
    assert_int_equal(card.views[1].damage.height, 4);
    assert_int_equal(gpu_card_flush(&card, 7, (struct virtio_gpu_rect){0, 0, 20, 32}), OK);
    assert_int_equal(card.views[0].damages, 2);
    assert_int_equal(card.views[1].damages, 1); /* it does not show these */
}

/* GPU-14, DRV-GPU-05 */
static void bad_scanouts(void **state)
{
    (void)state;
    make_image(7);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 7, whole), OK);
    assert_int_equal(gpu_card_set_scanout(&card, 3, 7, whole), BAD_SCANOUT);
    assert_int_equal(gpu_card_set_scanout(&card, UINT32_MAX, 0, whole), BAD_SCANOUT);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 8, whole), BAD_RESOURCE);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 7, (struct virtio_gpu_rect){1, 0, 64, 32}),
                     BAD_PARAMETER);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 7, (struct virtio_gpu_rect){0, 0, 0, 0}),
                     BAD_PARAMETER);
    assert_int_equal(
        gpu_card_set_scanout(&card, 0, 7, (struct virtio_gpu_rect){UINT32_MAX, 0, 2, 2}),
        BAD_PARAMETER);
    assert_true(card.views[0].shown);
    assert_int_equal(card.views[0].shows, 1); /* nothing has changed */
}

/* GPU-14, GPU-23: resource 0 switches an output off, and so does the end of what it shows. */
static void switched_off(void **state)
{
    (void)state;
    make_image(7);
    make_image(8);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(gpu_card_set_scanout(&card, i, i < 2 ? 7 : 8, whole), OK);
    assert_int_equal(gpu_card_set_scanout(&card, 1, 0, (struct virtio_gpu_rect){0, 0, 0, 0}), OK);
    assert_false(card.views[1].shown);
    assert_true(card.views[0].shown);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 7), OK);
    assert_false(card.views[0].shown);
    assert_true(card.views[2].shown);
    gpu_card_stop(&card);
    assert_false(card.views[2].shown);
}

/* --- blobs ------------------------------------------------------------------------------------ */

static uint32_t create_blob(uint32_t id, uint32_t memory, uint32_t flags, uint64_t size,
                            const struct virtio_gpu_mem_entry *entries, uint32_t count)
{
    struct {
        struct virtio_gpu_resource_create_blob blob;
        struct virtio_gpu_mem_entry entries[8];
    } request = {.blob = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
                          .resource_id = id,
                          .blob_mem = memory,
                          .blob_flags = flags,
                          .nr_entries = count,
                          .size = size}};

    memcpy(request.entries, entries, MIN(count, 8u) * sizeof(*entries));
    return gpu_card_command(&card, &request,
                            sizeof(request.blob) + MIN(count, 8u) * sizeof(*entries));
}

static struct virtio_gpu_set_scanout_blob scanout_blob(uint32_t scanout, uint32_t id)
{
    return (struct virtio_gpu_set_scanout_blob){
        .hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
        .r = whole,
        .scanout_id = scanout,
        .resource_id = id,
        .width = 64,
        .height = 32,
        .format = BGRX,
        .strides = {64 * 4},
    };
}

static uint32_t show_blob(const struct virtio_gpu_set_scanout_blob *request)
{
    return gpu_card_command(&card, request, sizeof(*request));
}

/* GPU-24: guest memory in one piece is shown as it is, without a copy. */
static void blob_shown_directly(void **state)
{
    uint64_t address = gpu_card_alloc(&card, 16384);
    const struct virtio_gpu_mem_entry entries[] = {{address, 4096, 0}, {address + 4096, 12288, 0}};
    struct virtio_gpu_set_scanout_blob request = scanout_blob(0, 9);
    uint32_t *pixels = gpu_card_at(&card, address, 16384);

    (void)state;
    assert_int_equal(create_blob(9, 1, 0, 16384, entries, 2), OK);
    request.offsets[0] = 512;
    request.strides[0] = 320;
    request.r = (struct virtio_gpu_rect){4, 2, 60, 30};
    assert_int_equal(show_blob(&request), OK);
    assert_int_equal(card.views[0].picture.width, 60);
    assert_int_equal(card.views[0].picture.fourcc, DRM_FORMAT_XRGB8888);
    assert_ptr_equal(card.views[0].picture.pixels, (uint8_t *)pixels + 512 + 2 * 320 + 4 * 4);
    pixels[(512 + (2 + 5) * 320 + (4 + 3) * 4) / 4] = 0x123456;
    assert_int_equal(shown_pixel(0, 3, 5), 0x123456);
    assert_int_equal(gpu_card_flush(&card, 9, (struct virtio_gpu_rect){7, 7, 1, 1}), OK);
    assert_int_equal(card.views[0].damage.x, 3);
    assert_int_equal(card.views[0].damage.y, 5);
    assert_int_equal(gpu_card_transfer(&card, 9, whole, 0), OK); /* as Linux does */
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 9), UNSPEC);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 9), OK);
    assert_false(card.views[0].shown);
}

/* A front end maps the guest's memory elsewhere: nothing of the old place is shown any more. */
static void memory_that_moves(void **state)
{
    struct guest_region *region = &card.memory.regions[0];
    uint64_t address = gpu_card_alloc(&card, 8192);
    const struct virtio_gpu_mem_entry entry = {address, 8192, 0};
    struct virtio_gpu_set_scanout_blob request = scanout_blob(0, 9);
    uint8_t *host = region->host, *moved = calloc(1, region->size);

    (void)state;
    assert_int_equal(create_blob(9, 1, 0, 8192, &entry, 1), OK);
    assert_int_equal(show_blob(&request), OK);
    assert_ptr_equal(card.views[0].picture.pixels, host + address);
    card.backend->ops->memory_changes(card.backend, false);
    assert_false(card.views[0].shown);
    region->host = moved;
    card.backend->ops->memory_changes(card.backend, true);
    assert_true(card.views[0].shown);
    assert_ptr_equal(card.views[0].picture.pixels, moved + address);
    card.backend->ops->memory_changes(card.backend, false);
    card.memory.count = 0; /* it is gone */
    card.backend->ops->memory_changes(card.backend, true);
    assert_int_equal(shown_pixel(0, 0, 0), 0); /* of a shadow */
    card.memory.count = 1;
    region->host = host;
    free(moved);
}

/* Two pages in the other order: byte n of the blob is here. */
static uint32_t *blob_pixel(uint64_t address, uint32_t n)
{
    return gpu_card_at(&card, address + (n < 4096 ? 8192 + n : n - 4096), 4);
}

/* GPU-24: guest memory in pieces has a shadow, which a flush brings up to date where it says so:
 * all of it the first time. */
static void blob_with_shadow(void **state)
{
    uint64_t address = gpu_card_alloc(&card, 3 * 4096);
    const struct virtio_gpu_mem_entry entries[] = {{address + 8192, 4096, 0}, {address, 4096, 0}};
    struct virtio_gpu_set_scanout_blob request = scanout_blob(0, 9);

    (void)state;
    for (uint32_t n = 0; n < 8192; n += 4)
        *blob_pixel(address, n) = n;
    assert_int_equal(create_blob(9, 1, 0, 8192, entries, 2), OK);
    assert_int_equal(show_blob(&request), OK);
    assert_int_equal(shown_pixel(0, 63, 31), 0);
    assert_int_equal(gpu_card_flush(&card, 9, (struct virtio_gpu_rect){0, 0, 1, 1}), OK);
    assert_int_equal(card.views[0].damage.width, 64);
    assert_int_equal(card.views[0].damage.height, 32);
    for (uint32_t n = 0; n < 8192; n += 4) {
        assert_int_equal(shown_pixel(0, n / 4 % 64, n / 256), n);
        *blob_pixel(address, n) = ~n;
    }
    assert_int_equal(gpu_card_flush(&card, 9, (struct virtio_gpu_rect){10, 15, 20, 2}), OK);
    assert_int_equal(card.views[0].damage.height, 2);
    for (uint32_t n = 0; n < 8192; n += 4) {
        uint32_t x = n / 4 % 64, y = n / 256;
        bool inside = x >= 10 && x < 30 && y >= 15 && y < 17;

        assert_int_equal(shown_pixel(0, x, y), inside ? ~n : n);
    }
}

/* What nobody sees is not copied; who comes later is shown it. */
static void nobody_looks(void **state)
{
    uint64_t address = gpu_card_alloc(&card, 3 * 4096);
    const struct virtio_gpu_mem_entry entries[] = {{address + 8192, 4096, 0}, {address, 4096, 0}};
    struct virtio_gpu_set_scanout_blob request = scanout_blob(0, 9);
    const uint8_t *shadow;

    (void)state;
    memset(gpu_card_at(&card, address, 3 * 4096), 0x55, 3 * 4096);
    assert_int_equal(create_blob(9, 1, 0, 8192, entries, 2), OK);
    assert_int_equal(show_blob(&request), OK);
    shadow = card.views[0].picture.pixels;
    display_detach_viewer(card.display, &card.viewer);
    assert_int_equal(gpu_card_flush(&card, 9, whole), OK);
    assert_int_equal(shadow[100], 0);
    card.views[0] = (struct gpu_card_view){.shown = false};
    display_attach_viewer(card.display, &card.viewer);
    assert_int_equal(shown_pixel(0, 63, 31), 0x55555555);
    assert_int_equal(card.views[0].damages, 1);
}

/* One buffer after the other: what was shown stays until the first flush of the next. */
static void shadow_follows_flips(void **state)
{
    uint64_t address = gpu_card_alloc(&card, 5 * 4096);
    struct virtio_gpu_set_scanout_blob request = scanout_blob(0, 1);

    (void)state;
    for (uint32_t id = 1; id <= 2; id++) {
        const struct virtio_gpu_mem_entry entries[] = {{address + id * 8192, 4096, 0},
                                                       {address + id * 8192 - 4096, 4096, 0}};

        memset(gpu_card_at(&card, address + id * 8192 - 4096, 8192), (int)id, 8192);
        assert_int_equal(create_blob(id, 1, 0, 8192, entries, 2), OK);
    }
    assert_int_equal(show_blob(&request), OK);
    assert_int_equal(gpu_card_flush(&card, 1, whole), OK);
    assert_int_equal(shown_pixel(0, 5, 5), 0x01010101);
    request.resource_id = 2;
    assert_int_equal(show_blob(&request), OK);
    assert_int_equal(shown_pixel(0, 5, 5), 0x01010101);
    assert_int_equal(gpu_card_flush(&card, 1, whole), OK); /* not shown any more */
    assert_int_equal(shown_pixel(0, 5, 5), 0x01010101);
    assert_int_equal(gpu_card_flush(&card, 2, (struct virtio_gpu_rect){0, 0, 1, 1}), OK);
    assert_int_equal(shown_pixel(0, 5, 5), 0x02020202);
    assert_int_equal(card.views[0].shows, 1);
}

/* GPU-16, GPU-25, DRV-GPU-02, DRV-GPU-04 */
static void bad_blobs(void **state)
{
    uint64_t address = gpu_card_alloc(&card, 8192);
    const struct virtio_gpu_mem_entry entries[8] = {{address, 8192, 0}}, *entry = entries;

    (void)state;
    assert_int_equal(create_blob(9, 0, 0, 8192, entry, 1), BAD_PARAMETER);
    for (uint32_t memory = 2; memory < 5; memory++) /* there is no renderer */
        assert_int_equal(create_blob(9, memory, 0, 8192, entry, 1), BAD_PARAMETER);
    assert_int_equal(create_blob(9, 1, 8, 8192, entry, 1), BAD_PARAMETER);
    assert_int_equal(create_blob(9, 1, 0, 0, entry, 1), BAD_PARAMETER);
    assert_int_equal(create_blob(9, 1, 0, 4100, entry, 1), BAD_PARAMETER);
    assert_int_equal(create_blob(9, 1, 0, 12288, entry, 1), BAD_PARAMETER);
    assert_int_equal(create_blob(9, 1, 0, 8192, entry, 0), BAD_PARAMETER);
    assert_int_equal(create_blob(9, 1, 0, 8192, entry, 9), BAD_PARAMETER);
    assert_int_equal(create_blob(0, 1, 0, 8192, entry, 1), BAD_RESOURCE);
    assert_int_equal(create_blob(9, 1, 7, 8192, entry, 1), OK);
    assert_int_equal(create_blob(9, 1, 0, 8192, entry, 1), BAD_RESOURCE);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 9, whole), BAD_RESOURCE);
}

/* GPU-20, GPU-24, DRV-GPU-05 */
static void bad_blob_scanouts(void **state)
{
    uint64_t address = gpu_card_alloc(&card, 8192);
    const struct virtio_gpu_mem_entry entry = {address, 8192, 0};
    struct virtio_gpu_set_scanout_blob good = scanout_blob(0, 9), bad[8];

    (void)state;
    assert_int_equal(create_blob(9, 1, 0, 8192, &entry, 1), OK);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        bad[i] = good;
    bad[0].format = 5;
    bad[1].strides[0] = 64 * 4 - 1;
    bad[2].offsets[0] = 4;
    bad[3].height = 33;
    bad[4].width = UINT32_MAX;
    bad[5].r.x = 1;
    bad[6].strides[0] = UINT32_MAX;
    bad[7].offsets[0] = UINT32_MAX;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(show_blob(&bad[i]), BAD_PARAMETER);
    good.scanout_id = 3;
    assert_int_equal(show_blob(&good), BAD_SCANOUT);
    good.scanout_id = 0;
    make_image(7);
    good.resource_id = 7;
    assert_int_equal(show_blob(&good), BAD_RESOURCE);
    assert_int_equal(card.views[0].shows, 0);
    good.resource_id = 9;
    assert_int_equal(show_blob(&good), OK);
    good.resource_id = 0;
    assert_int_equal(show_blob(&good), OK);
    assert_false(card.views[0].shown);
}

/* --- the pointer ------------------------------------------------------------------------------ */

static uint32_t cursor(uint32_t type, uint32_t id, uint32_t x, uint32_t y)
{
    const struct virtio_gpu_update_cursor request = {
        .hdr.type = type,
        .pos = {1, x, y, 0},
        .resource_id = id,
        .hot_x = 3,
        .hot_y = 4,
    };
    struct virtio_gpu_ctrl_hdr answer;

    return gpu_card_ask(&card, 1, &request, sizeof(request), &answer, sizeof(answer), NULL);
}

/* GPU-19: the image is copied at UPDATE_CURSOR; MOVE_CURSOR looks at the place only. */
static void pointer(void **state)
{
    const struct virtio_gpu_rect all = {0, 0, 64, 64};
    struct gpu_card_view *view = &card.views[1];
    uint32_t *pixels;

    (void)state;
    assert_int_equal(gpu_card_create_2d(&card, 5, VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, 64, 64), OK);
    pixels = gpu_card_at(&card, give_backing(5, 16384), 16384);
    assert_int_equal(gpu_card_transfer(&card, 5, all, 0), OK);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, 5, 100, 50), OK);
    assert_true(view->has_cursor);
    assert_memory_equal(view->cursor, pixels, 16384);
    assert_int_equal(view->hot_x, 3);
    assert_int_equal(view->hot_y, 4);
    assert_int_equal(view->cursor_x, 100);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_MOVE_CURSOR, 99, (uint32_t)-5, 60), OK);
    assert_int_equal(view->cursor_x, -5);
    assert_int_equal(view->cursor_y, 60);
    assert_int_equal(view->cursors, 1);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 5), OK);
    assert_true(view->has_cursor);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 0, 0), OK);
    assert_false(view->has_cursor);
}

/* GPU-13, GPU-19: a pixel that is 80 of 255 opaque, of red 1, green 2 and blue 3, in each format.
 */
static void pointer_formats(void **state)
{
    static const struct {
        uint32_t format;
        uint8_t bytes[4];
        uint32_t expected;
    } all[] = {
        {1, {3, 2, 1, 80}, 0x50010203},   {2, {3, 2, 1, 80}, 0xff010203},
        {3, {80, 1, 2, 3}, 0x50010203},   {4, {80, 1, 2, 3}, 0xff010203},
        {67, {1, 2, 3, 80}, 0x50010203},  {68, {80, 3, 2, 1}, 0xff010203},
        {121, {80, 3, 2, 1}, 0x50010203}, {134, {1, 2, 3, 80}, 0xff010203},
    };

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(all); i++) {
        uint8_t *pixels;

        assert_int_equal(gpu_card_create_2d(&card, i + 1, all[i].format, 64, 64), OK);
        pixels = gpu_card_at(&card, give_backing(i + 1, 16384), 16384);
        memcpy(pixels, all[i].bytes, 4);
        assert_int_equal(gpu_card_transfer(&card, i + 1, (struct virtio_gpu_rect){0, 0, 64, 64}, 0),
                         OK);
        assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, i + 1, 0, 0), OK);
        assert_int_equal(card.views[1].cursor[0], all[i].expected);
    }
}

/* DRV-GPU-06: of another size, or not there. A blob of the size will do. */
static void bad_pointers(void **state)
{
    const struct virtio_gpu_mem_entry entry = {gpu_card_alloc(&card, 16384), 16384, 0};
    const struct virtio_gpu_update_cursor nowhere = {.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR,
                                                     .pos.scanout_id = 3};
    struct virtio_gpu_ctrl_hdr answer;

    (void)state;
    make_image(7);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, 7, 0, 0), BAD_PARAMETER);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, 8, 0, 0), BAD_RESOURCE);
    assert_int_equal(create_blob(1, 1, 0, 12288, &entry, 1), OK);
    assert_int_equal(create_blob(2, 1, 0, 16384, &entry, 1), OK);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, 1, 0, 0), BAD_PARAMETER);
    assert_int_equal(
        gpu_card_ask(&card, 1, &nowhere, sizeof(nowhere), &answer, sizeof(answer), NULL),
        BAD_SCANOUT);
    assert_int_equal(card.views[1].cursors, 0);
    memset(gpu_card_at(&card, entry.addr, 16384), 0x77, 16384);
    assert_int_equal(cursor(VIRTIO_GPU_CMD_UPDATE_CURSOR, 2, 0, 0), OK);
    assert_int_equal(card.views[1].cursor[4095], 0x77777777);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GPU_TEST(shared_resource),  GPU_TEST(bad_scanouts),
        GPU_TEST(switched_off),     GPU_TEST(blob_shown_directly),
        GPU_TEST(nobody_looks),     GPU_TEST(memory_that_moves),
        GPU_TEST(blob_with_shadow), GPU_TEST(shadow_follows_flips),
        GPU_TEST(bad_blobs),        GPU_TEST(bad_blob_scanouts),
        GPU_TEST(pointer),          GPU_TEST(pointer_formats),
        GPU_TEST(bad_pointers),
    };

    build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
