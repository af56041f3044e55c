/*
 * virtio-gpu: resources in our memory, their backing, and transfers.
 */
#include "tests/unit/gpu_fixture.h"

#include <libdrm/drm_fourcc.h>
#include <stdio.h>

static const struct virtio_gpu_rect whole = {0, 0, 64, 32};

/* A resource of 64 by 32 pixels with a pattern in its backing, shown by output 0. */
static const uint32_t *show_resource(uint32_t id)
{
    uint64_t address;

    assert_int_equal(gpu_card_create_2d(&card, id, BGRX, 64, 32), OK);
    address = give_backing(id, 64 * 32 * 4);
    assert_int_equal(gpu_card_set_scanout(&card, 0, id, whole), OK);
    return gpu_card_at(&card, address, 64 * 32 * 4);
}

static void assert_shown(const uint32_t *pixels)
{
    for (uint32_t y = 0; y < 32; y++)
        for (uint32_t x = 0; x < 64; x++)
            assert_int_equal(shown_pixel(0, x, y), pixels[y * 64 + x]);
}

/* GPU-08, GPU-14, GPU-15: from guest memory to the screen, and not before it is flushed. */
static void picture_reaches_the_viewer(void **state)
{
    const uint32_t *pixels = show_resource(7);
    struct gpu_card_view *view = &card.views[0];

    (void)state;
    assert_int_equal(view->picture.kind, DISPLAY_PIXELS);
    assert_int_equal(view->picture.width, 64);
    assert_int_equal(view->picture.height, 32);
    assert_int_equal(shown_pixel(0, 1, 1), 0);
    assert_int_equal(gpu_card_transfer(&card, 7, whole, 0), OK);
    assert_int_equal(view->damages, 0);
    assert_int_equal(gpu_card_flush(&card, 7, whole), OK);
    assert_int_equal(view->damages, 1);
    assert_shown(pixels);
}

/* GPU-13: all formats, and only these; alpha is not the screen's affair. */
static void formats(void **state)
{
    static const struct {
        uint32_t format, fourcc;
    } all[] = {
        {1, DRM_FORMAT_XRGB8888},   {2, DRM_FORMAT_XRGB8888},   {3, DRM_FORMAT_BGRX8888},
        {4, DRM_FORMAT_BGRX8888},   {67, DRM_FORMAT_XBGR8888},  {68, DRM_FORMAT_RGBX8888},
        {121, DRM_FORMAT_RGBX8888}, {134, DRM_FORMAT_XBGR8888},
    };

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(all); i++) {
        assert_int_equal(gpu_card_create_2d(&card, i + 1, all[i].format, 64, 32), OK);
        assert_int_equal(gpu_card_set_scanout(&card, 0, i + 1, whole), OK);
        assert_int_equal(card.views[0].picture.fourcc, all[i].fourcc);
    }
    for (uint32_t format = 0; format < 200; format++) {
        bool known = false;

        for (uint32_t i = 0; i < ARRAY_SIZE(all); i++)
            known = known || all[i].format == format;
        assert_int_equal(gpu_card_create_2d(&card, 100 + format, format, 1, 1),
                         known ? OK : BAD_PARAMETER);
    }
}

/* One copy for each byte that is damaged, and --timing says so. */
static void copies_are_counted(void **state)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    (void)state;
    show_resource(7);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(gpu_card_transfer(&card, 7, (struct virtio_gpu_rect){i, i, 10, 20}, 0),
                         OK);
        assert_int_equal(gpu_card_flush(&card, 7, (struct virtio_gpu_rect){i, i, 10, 20}), OK);
    }
    display_print_timing(card.display, out);
    fclose(out);
    assert_string_equal(text, "display: gpu0: 4000 bytes damaged, 4000 copied for it\n");
    free(text);
}

/* A part of the rows, from another place of the backing: only that changes. */
static void part_of_a_picture(void **state)
{
    const uint32_t *pixels = show_resource(7);

    (void)state;
    assert_int_equal(
        gpu_card_transfer(&card, 7, (struct virtio_gpu_rect){10, 5, 20, 8}, (3 * 64 + 2) * 4), OK);
    assert_int_equal(gpu_card_flush(&card, 7, (struct virtio_gpu_rect){10, 5, 20, 8}), OK);
    assert_int_equal(card.views[0].damage.x, 10);
    assert_int_equal(card.views[0].damage.y, 5);
    assert_int_equal(card.views[0].damage.width, 20);
    assert_int_equal(card.views[0].damage.height, 8);
    for (uint32_t y = 0; y < 32; y++)
        for (uint32_t x = 0; x < 64; x++) {
            bool inside = x >= 10 && x < 30 && y >= 5 && y < 13;

            assert_int_equal(shown_pixel(0, x, y),
                             inside ? pixels[(y - 5 + 3) * 64 + x - 10 + 2] : 0);
        }
}

/* GPU-15: backing in pieces of any size, in any order. */
static void scattered_backing(void **state)
{
    static const uint32_t lengths[] = {1, 4095, 3, 2000, 2093};
    uint64_t base = gpu_card_alloc(&card, 0x10000);
    struct virtio_gpu_mem_entry entries[ARRAY_SIZE(lengths)];
    uint8_t expected[64 * 32 * 4];
    size_t done = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint64_t at = base + (ARRAY_SIZE(lengths) - i) * 0x2000 + 7 * i;

        entries[i] = (struct virtio_gpu_mem_entry){at, lengths[i], 0};
        for (size_t n = 0; n < lengths[i]; n++)
            expected[done + n] = (uint8_t)((done + n) * 31 / 7);
        memcpy(gpu_card_at(&card, at, lengths[i]), expected + done, lengths[i]);
        done += lengths[i];
    }
    assert_int_equal(done, sizeof(expected));
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 64, 32), OK);
    assert_int_equal(gpu_card_attach(&card, 1, entries, ARRAY_SIZE(entries)), OK);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 1, whole), OK);
    for (uint32_t x = 0; x < 64; x += 16) /* in stripes: rows with gaps */
        assert_int_equal(gpu_card_transfer(&card, 1, (struct virtio_gpu_rect){x, 0, 16, 32}, x * 4),
                         OK);
    assert_memory_equal(card.views[0].picture.pixels, expected, sizeof(expected));
}

/* GPU-20, DRV-GPU-05: what is not within the resource or its backing changes nothing. */
static void bad_transfers(void **state)
{
    static const struct virtio_gpu_rect outside[] = {
        {0, 0, 65, 32},        {1, 0, 64, 32},        {0, 0, 64, 33},        {0, 1, 64, 32},
        {64, 0, 1, 1},         {0, 32, 1, 1},         {0, 0, 0, 32},         {0, 0, 64, 0},
        {1, 1, UINT32_MAX, 1}, {1, 1, 1, UINT32_MAX}, {UINT32_MAX, 0, 2, 1}, {0, UINT32_MAX, 1, 2},
    };
    const struct virtio_gpu_rect row = {0, 0, 64, 1};

    (void)state;
    show_resource(7);
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        assert_int_equal(gpu_card_transfer(&card, 7, outside[i], 0), BAD_PARAMETER);
        assert_int_equal(gpu_card_flush(&card, 7, outside[i]), BAD_PARAMETER);
    }
    assert_int_equal(gpu_card_transfer(&card, 7, row, 31 * 64 * 4 + 1), BAD_PARAMETER);
    assert_int_equal(gpu_card_transfer(&card, 7, row, 32 * 64 * 4), BAD_PARAMETER);
    assert_int_equal(gpu_card_transfer(&card, 7, row, UINT64_MAX), BAD_PARAMETER);
    assert_int_equal(gpu_card_transfer(&card, 7, whole, 4), BAD_PARAMETER);
    assert_int_equal(gpu_card_transfer(&card, 8, whole, 0), BAD_RESOURCE);
    assert_int_equal(gpu_card_flush(&card, 8, whole), BAD_RESOURCE);
    assert_int_equal(card.views[0].damages, 0);
    for (uint32_t y = 0; y < 32; y++)
        for (uint32_t x = 0; x < 64; x++)
            assert_int_equal(shown_pixel(0, x, y), 0);
    assert_int_equal(gpu_card_transfer(&card, 7, row, 31 * 64 * 4), OK);
}

/* GPU-23: detached, transfers fail, and what was transferred stays. */
static void detached_backing(void **state)
{
    const uint32_t *pixels = show_resource(7);

    (void)state;
    assert_int_equal(gpu_card_transfer(&card, 7, whole, 0), OK);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 7), OK);
    assert_int_equal(gpu_card_transfer(&card, 7, whole, 0), UNSPEC);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 7), UNSPEC);
    assert_shown(pixels);
    give_backing(7, 64 * 32 * 4);
    assert_int_equal(gpu_card_transfer(&card, 7, whole, 0), OK);
}

/* GPU-20, DRV-GPU-05: backing that is not guest memory, or not there. */
static void bad_backing(void **state)
{
    const struct virtio_gpu_mem_entry good = {0x100000, 4096, 0};
    const struct virtio_gpu_mem_entry bad[] = {
        {GPU_CARD_MEMORY, 4096, 0}, {GPU_CARD_MEMORY - 4095, 4096, 0}, {0, 0, 0},
        {UINT64_MAX, 2, 0},         {UINT64_C(1) << 63, 4096, 0},
    };
    struct virtio_gpu_resource_attach_backing none = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = 7};

    (void)state;
    assert_int_equal(gpu_card_create_2d(&card, 7, BGRX, 64, 32), OK);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct virtio_gpu_mem_entry entries[] = {good, bad[i]};

        assert_int_equal(gpu_card_attach(&card, 7, entries, 2), BAD_PARAMETER);
    }
    assert_int_equal(gpu_card_command(&card, &none, sizeof(none)), BAD_PARAMETER);
    none.nr_entries = 1;
    assert_int_equal(gpu_card_command(&card, &none, sizeof(none)), BAD_PARAMETER);
    none.nr_entries = 1u << 19;
    assert_int_equal(gpu_card_command(&card, &none, sizeof(none)), BAD_PARAMETER);
    none.nr_entries++; /* more than any may have, be they there or not */
    assert_int_equal(gpu_card_command(&card, &none, sizeof(none)), OUT_OF_MEMORY);
    none.nr_entries = UINT32_MAX;
    assert_int_equal(gpu_card_command(&card, &none, sizeof(none)), OUT_OF_MEMORY);
    assert_int_equal(gpu_card_attach(&card, 8, &good, 1), BAD_RESOURCE);
    assert_int_equal(gpu_card_transfer(&card, 7, (struct virtio_gpu_rect){0, 0, 1, 1}, 0), UNSPEC);
    assert_int_equal(gpu_card_attach(&card, 7, &good, 1), OK);
    assert_int_equal(gpu_card_attach(&card, 7, &good, 1), UNSPEC);
}

/* GPU-20: ids that are taken, or 0, and pictures of no size. */
static void bad_resources(void **state)
{
    (void)state;
    assert_int_equal(gpu_card_create_2d(&card, 0, BGRX, 64, 32), BAD_RESOURCE);
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 0, 32), BAD_PARAMETER);
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 64, 0), BAD_PARAMETER);
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 64, 32), OK);
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 64, 32), BAD_RESOURCE);
    assert_int_equal(gpu_card_create_2d(&card, 4097, BGRX, 64, 32), OK); /* of the same hash */
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 1), OK);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 1), BAD_RESOURCE);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 4097), OK);
}

/* GPU-10: a guest that wants more than it may have is told so, and gets what it gives back. */
static void memory_is_limited(void **state)
{
    const uint32_t sizes[] = {UINT32_MAX, UINT32_MAX / 4, 1u << 20, 65536};
    uint32_t made = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++)
            assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, sizes[i], sizes[n]), OUT_OF_MEMORY);
    while (gpu_card_create_2d(&card, made + 1, BGRX, 1024, 1024) == OK)
        made++;
    assert_int_equal(made, 63); /* 256 MiB, but for the resources themselves */
    assert_int_equal(gpu_card_create_2d(&card, made + 1, BGRX, 1024, 1024), OUT_OF_MEMORY);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 5), OK);
    assert_int_equal(gpu_card_create_2d(&card, 5, BGRX, 1024, 1024), OK);
    gpu_card_stop(&card);
    gpu_card_start(&card, all_bits, sizeof(all_bits));
    for (uint32_t i = 0; i < made; i++)
        assert_int_equal(gpu_card_create_2d(&card, i + 1, BGRX, 1024, 1024), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GPU_TEST(picture_reaches_the_viewer),
        GPU_TEST(formats),
        GPU_TEST(copies_are_counted),
        GPU_TEST(part_of_a_picture),
        GPU_TEST(scattered_backing),
        GPU_TEST(bad_transfers),
        GPU_TEST(detached_backing),
        GPU_TEST(bad_backing),
        GPU_TEST(bad_resources),
        GPU_TEST(memory_is_limited),
    };

    build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
