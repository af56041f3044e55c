/*
 * For the tests of the GPU model: a card of a few outputs whose driver took all features, and its
 * answers. Every test runs with both ring formats: list it with GPU_TEST in gpu_tests.
 */
#ifndef TESTS_UNIT_GPU_FIXTURE_H
#define TESTS_UNIT_GPU_FIXTURE_H

#include "base/bytes.h"
#include "tests/driver/gpu_card.h"
#include "tests/unit/build_directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    OK = VIRTIO_GPU_RESP_OK_NODATA,
    UNSPEC = VIRTIO_GPU_RESP_ERR_UNSPEC,
    OUT_OF_MEMORY = VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
    BAD_SCANOUT = VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID,
    BAD_RESOURCE = VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
    BAD_PARAMETER = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
    BGRX = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
};

static struct gpu_card card;
static char outputs[] = "640x480+320x200@75+1920x1080";
static const unsigned char all_bits[] = {GPU_F_EDID, GPU_F_RESOURCE_UUID, GPU_F_RESOURCE_BLOB,
                                         GPU_F_BLOB_ALIGNMENT};

static inline int gpu_set_up(void **state)
{
    card = (struct gpu_card){.options.outputs = outputs, .packed = *state};
    assert_int_equal(gpu_card_create(&card, NULL), 0);
    gpu_card_start(&card, all_bits, sizeof(all_bits));
    return 0;
}

static inline int gpu_tear_down(void **state)
{
    (void)state;
    assert_false(card.needs_reset);
    gpu_card_destroy(&card);
    return 0;
}

static bool packed_format = true;

#define GPU_TEST(name)                                                     \
    {#name, name, gpu_set_up, gpu_tear_down, NULL},                        \
    {                                                                      \
#name " (packed)", name, gpu_set_up, gpu_tear_down, &packed_format \
    }

/* Guest memory filled with a pattern, all of it as the backing of a resource; its address. */
static inline uint64_t give_backing(uint32_t id, size_t bytes)
{
    uint64_t address = gpu_card_alloc(&card, bytes);
    const struct virtio_gpu_mem_entry entry = {address, (uint32_t)bytes, 0};
    uint32_t *pixels = gpu_card_at(&card, address, bytes);

    for (size_t i = 0; i < bytes / 4; i++)
        pixels[i] = (uint32_t)(i * 2654435761u);
    assert_int_equal(gpu_card_attach(&card, id, &entry, 1), OK);
    return address;
}

/* A pixel of what an output shows. */
static inline uint32_t shown_pixel(unsigned output, uint32_t x, uint32_t y)
{
    const struct gpu_card_view *view = &card.views[output];

    assert_true(view->shown);
    assert_true(x < view->picture.width && y < view->picture.height);
    return load_le32(view->picture.pixels + (size_t)y * view->picture.stride + 4 * (size_t)x);
}

#endif
