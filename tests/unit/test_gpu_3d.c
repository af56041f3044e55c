/*
 * virtio-gpu with 3D: what the model makes of commands for the renderer, here one that renders
 * nothing; and fences, which are done when the renderer says so.
 */
#include "tests/driver/gpu_modules.h"
#include "tests/unit/gpu_fixture.h"

#include <libdrm/drm_fourcc.h>

#define HOSTMEM (UINT64_C(1) << 20)

static const unsigned char bits_3d[] = {GPU_F_VIRGL,         GPU_F_EDID,
                                        GPU_F_RESOURCE_UUID, GPU_F_RESOURCE_BLOB,
                                        GPU_F_CONTEXT_INIT,  GPU_F_BLOB_ALIGNMENT};
static const struct virtio_gpu_rect whole = {0, 0, 64, 32};
static uint8_t host_pages[8192] __attribute__((aligned(4096)));

static int set_up_3d(void **state)
{
    fake_renderer = (struct fake_renderer){.width = 64, .height = 32, .memory = host_pages};
    card = (struct gpu_card){
        .options = {.outputs = outputs, .virgl = true, .hostmem = HOSTMEM},
        .packed = *state,
    };
    assert_int_equal(gpu_card_create(&card, NULL), 0);
    gpu_card_start(&card, bits_3d, sizeof(bits_3d));
    return 0;
}

/* Nothing is left behind. */
static int tear_down_3d(void **state)
{
    gpu_tear_down(state);
    assert_int_equal(fake_renderer.resources, 0);
    assert_int_equal(fake_renderer.mapped, 0);
    assert_int_equal(card.mappings, 0);
    assert_false(fake_renderer.exists);
    return 0;
}

#define TEST_3D(name)                                                    \
    {#name, name, set_up_3d, tear_down_3d, NULL},                        \
    {                                                                    \
#name " (packed)", name, set_up_3d, tear_down_3d, &packed_format \
    }

static uint32_t context(uint32_t type, uint32_t id, uint32_t init)
{
    const struct virtio_gpu_ctx_create request = {
        .hdr = {.type = type, .ctx_id = id},
        .nlen = 4,
        .context_init = init,
        .debug_name = "namexxxx",
    };

    return gpu_card_command(&card, &request, sizeof(request));
}

static uint32_t create_3d(uint32_t id)
{
    const struct virtio_gpu_resource_create_3d request = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_3D,
        .resource_id = id,
        .target = 1,
        .format = BGRX,
        .bind = 3,
        .width = 64,
        .height = 32,
        .depth = 5,
        .array_size = 6,
        .last_level = 7,
        .nr_samples = 8,
        .flags = 9,
    };

    return gpu_card_command(&card, &request, sizeof(request));
}

/* GPU-02, GPU-03, GPU-17 */
static void features_and_capsets(void **state)
{
    struct virtio_gpu_get_capset_info info = {.hdr.type = VIRTIO_GPU_CMD_GET_CAPSET_INFO};
    struct virtio_gpu_get_capset get = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET, .capset_id = 4, .capset_version = 1};
    struct virtio_gpu_resp_capset_info answer;
    uint8_t bytes[24 + FAKE_RENDERER_CAPSET];
    struct virtio_features features;
    uint32_t got;

    (void)state;
    card.backend->ops->features(card.backend, &features);
    assert_int_equal(features.word[0], 0x3f);
    assert_int_equal(card.backend->shared_count, 1);
    assert_int_equal(card.backend->shared[0].id, 1);
    assert_int_equal(card.backend->shared[0].length, HOSTMEM);
    assert_int_equal(gpu_card_config(&card, 12, 4), 1);
    assert_int_equal(gpu_card_ask(&card, 0, &info, sizeof(info), &answer, sizeof(answer), &got),
                     VIRTIO_GPU_RESP_OK_CAPSET_INFO);
    assert_int_equal(answer.capset_id, 4);
    assert_int_equal(answer.capset_max_version, 1);
    assert_int_equal(answer.capset_max_size, FAKE_RENDERER_CAPSET);
    assert_int_equal(gpu_card_ask(&card, 0, &get, sizeof(get), bytes, sizeof(bytes), &got),
                     VIRTIO_GPU_RESP_OK_CAPSET);
    assert_int_equal(got, sizeof(bytes));
    for (unsigned i = 0; i < FAKE_RENDERER_CAPSET; i++)
        assert_int_equal(bytes[24 + i], i);
    assert_int_equal(gpu_card_ask(&card, 0, &get, sizeof(get), bytes, sizeof(bytes) - 1, &got),
                     UNSPEC);
}

/* GPU-15, DRV-GPU-04 */
static void capsets_that_are_not_there(void **state)
{
    const struct virtio_gpu_get_capset_info info = {.hdr.type = VIRTIO_GPU_CMD_GET_CAPSET_INFO,
                                                    .capset_index = 1};
    struct virtio_gpu_get_capset get = {.hdr.type = VIRTIO_GPU_CMD_GET_CAPSET, .capset_id = 5};
    uint8_t bytes[200];

    (void)state;
    assert_int_equal(gpu_card_ask(&card, 0, &info, sizeof(info), bytes, sizeof(bytes), NULL),
                     BAD_PARAMETER);
    assert_int_equal(gpu_card_ask(&card, 0, &get, sizeof(get), bytes, sizeof(bytes), NULL),
                     BAD_PARAMETER);
    get.capset_id = 4;
    get.capset_version = 2;
    assert_int_equal(gpu_card_ask(&card, 0, &get, sizeof(get), bytes, sizeof(bytes), NULL),
                     BAD_PARAMETER);
}

/* GPU-09, GPU-18 */
static void contexts(void **state)
{
    struct virtio_gpu_ctx_create create = {.hdr = {.type = VIRTIO_GPU_CMD_CTX_CREATE, .ctx_id = 2},
                                           .nlen = 65};

    (void)state;
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0x104), OK);
    assert_int_equal(fake_renderer.capset, 4);
    assert_string_equal(fake_renderer.name, "name");
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0),
                     VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 0, 0),
                     VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
    assert_int_equal(gpu_card_command(&card, &create, sizeof(create)), BAD_PARAMETER);
    memset(create.debug_name, 'x', 64);
    create.nlen = 64;
    assert_int_equal(gpu_card_command(&card, &create, sizeof(create)), OK);
    assert_int_equal(strlen(fake_renderer.name), 64);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_DESTROY, 1, 0), OK);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_DESTROY, 1, 0),
                     VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
    gpu_card_stop(&card); /* without CONTEXT_INIT, what is there has no meaning */
    gpu_card_start(&card, bits_3d, 4);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 4), OK);
    assert_int_equal(fake_renderer.capset, 0);
}

/* GPU-09: resources of contexts, and transfers. */
static void textures(void **state)
{
    const struct virtio_gpu_mem_entry entries[] = {{gpu_card_alloc(&card, 8192), 5000, 0},
                                                   {gpu_card_alloc(&card, 8192), 3192, 0}};
    struct virtio_gpu_transfer_host_3d transfer = {
        .hdr = {.type = VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D, .ctx_id = 1},
        .box = {1, 2, 3, 4, 5, 6},
        .offset = 7,
        .resource_id = 3,
        .level = 8,
        .stride = 9,
        .layer_stride = 10,
    };
    struct virtio_gpu_ctx_resource attach = {
        .hdr = {.type = VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, .ctx_id = 1}, .resource_id = 3};

    (void)state;
    assert_int_equal(create_3d(3), OK);
    assert_int_equal(fake_renderer.texture.array_size, 6);
    assert_int_equal(fake_renderer.texture.flags, 9);
    assert_int_equal(create_3d(3), BAD_RESOURCE);
    assert_int_equal(gpu_card_attach(&card, 3, entries, 2), OK);
    assert_int_equal(fake_renderer.backing_bytes, 8192);
    assert_int_equal(gpu_card_command(&card, &attach, sizeof(attach)),
                     VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OK);
    assert_int_equal(gpu_card_command(&card, &attach, sizeof(attach)), OK);
    assert_int_equal(fake_renderer.attached, 3);
    assert_int_equal(gpu_card_command(&card, &transfer, sizeof(transfer)), OK);
    assert_false(fake_renderer.to_host);
    assert_int_equal(fake_renderer.transfer.box.depth, 6);
    assert_int_equal(fake_renderer.transfer.layer_stride, 10);
    transfer.hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D;
    assert_int_equal(gpu_card_command(&card, &transfer, sizeof(transfer)), OK);
    assert_true(fake_renderer.to_host);
    transfer.resource_id = 4;
    assert_int_equal(gpu_card_command(&card, &transfer, sizeof(transfer)), BAD_RESOURCE);
    attach.hdr.type = VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE;
    assert_int_equal(gpu_card_command(&card, &attach, sizeof(attach)), OK);
    assert_int_equal(fake_renderer.attached, 0);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 3), OK);
    assert_int_equal(fake_renderer.backed, 0);
}

/* GPU-20: what the renderer does not take leaves nothing behind. */
static void renderer_refuses(void **state)
{
    const struct virtio_gpu_mem_entry entry = {gpu_card_alloc(&card, 8192), 8192, 0};

    (void)state;
    fake_renderer.result = -EINVAL;
    assert_int_equal(create_3d(3), BAD_PARAMETER);
    fake_renderer.result = -ENOMEM;
    assert_int_equal(create_3d(3), OUT_OF_MEMORY);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OUT_OF_MEMORY);
    fake_renderer.result = 0;
    assert_int_equal(create_3d(3), OK);
    fake_renderer.result = -EINVAL;
    assert_int_equal(gpu_card_attach(&card, 3, &entry, 1), BAD_PARAMETER);
    fake_renderer.result = 0;
    assert_int_equal(gpu_card_transfer(&card, 3, whole, 0), UNSPEC); /* it has no backing */
    assert_int_equal(gpu_card_attach(&card, 3, &entry, 1), OK);
}

/* GPU-11: the commands are a copy, of as many bytes as they say. */
static void submitted_commands(void **state)
{
    struct {
        struct virtio_gpu_cmd_submit submit;
        uint32_t words[4];
    } request = {{.hdr = {.type = VIRTIO_GPU_CMD_SUBMIT_3D, .ctx_id = 1}, .size = 12},
                 {1, 2, 3, 4}};

    (void)state;
    assert_int_equal(gpu_card_command(&card, &request, sizeof(request)),
                     VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OK);
    assert_int_equal(gpu_card_command(&card, &request, sizeof(request)), OK);
    assert_int_equal(fake_renderer.command_bytes, 12);
    assert_memory_equal(fake_renderer.commands, request.words, 12);
    request.submit.size = 17;
    assert_int_equal(gpu_card_command(&card, &request, sizeof(request)), BAD_PARAMETER);
    request.submit.size = UINT32_MAX;
    assert_int_equal(gpu_card_command(&card, &request, sizeof(request)), BAD_PARAMETER);
    request.submit.size = 0;
    assert_int_equal(gpu_card_command(&card, &request, sizeof(request)), OK);
}

/* A resource of 2D commands is the renderer's as well, so that contexts can use it. */
static void pictures_of_2d_commands(void **state)
{
    (void)state;
    assert_int_equal(gpu_card_create_2d(&card, 5, BGRX, 64, 32), OK);
    assert_int_equal(fake_renderer.texture.target, 2);
    assert_int_equal(fake_renderer.texture.flags, VIRTIO_GPU_RESOURCE_FLAG_Y_0_TOP);
    give_backing(5, 64 * 32 * 4);
    assert_int_equal(gpu_card_transfer(&card, 5, (struct virtio_gpu_rect){1, 2, 3, 4}, 99), OK);
    assert_int_equal(fake_renderer.transfer.offset, 99);
    assert_int_equal(fake_renderer.transfer.box.x, 1);
    assert_int_equal(fake_renderer.transfer.box.height, 4);
    assert_int_equal(fake_renderer.transfer.box.depth, 1);
    assert_int_equal(gpu_card_set_scanout(&card, 0, 5, (struct virtio_gpu_rect){8, 4, 40, 20}), OK);
    assert_int_equal(card.views[0].picture.kind, DISPLAY_PIXELS); /* what the viewer knows */
    assert_int_equal(card.views[0].picture.fourcc, DRM_FORMAT_XRGB8888);
    assert_int_equal(gpu_card_flush(&card, 5, whole), OK);
    assert_int_equal(shown_pixel(0, 1, 2), (4 + 2) << 16 | (8 + 1));
    fake_renderer.width = 47; /* the renderer's word counts */
    assert_int_equal(gpu_card_set_scanout(&card, 0, 5, (struct virtio_gpu_rect){8, 4, 40, 20}),
                     BAD_PARAMETER);
    assert_true(card.views[0].shown);
}

/* --- fences ----------------------------------------------------------------------------------- */

static void post_fenced(unsigned slot, int ring, uint32_t id)
{
    const struct virtio_gpu_cmd_submit request = {
        .hdr = {.type = VIRTIO_GPU_CMD_SUBMIT_3D,
                .flags = VIRTIO_GPU_FLAG_FENCE |
                         (ring < 0 ? 0u : (unsigned)VIRTIO_GPU_FLAG_INFO_RING_IDX),
                .fence_id = 1000 - slot, /* the driver's numbers need not grow */
                .ctx_id = id,
                .ring_idx = (uint8_t)ring},
    };

    gpu_card_post(&card, slot, &request, sizeof(request));
}

static void assert_answered(unsigned slots)
{
    unsigned answered = 0;

    for (unsigned i = 0; i < 8; i++)
        answered |= gpu_card_answer(&card, i) == OK ? 1u << i : 0;
    assert_int_equal(answered, slots);
}

/* GPU-06, GPU-07: an answer waits for its fence; one that is done takes those before it on its
 * timeline along, and no others. */
static void fences_in_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(card.posted); i++)
        card.posted[i] = 99;
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OK);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 2, 0), OK);
    post_fenced(0, -1, 1);
    post_fenced(1, 0, 1);
    post_fenced(2, 5, 1);
    post_fenced(3, 5, 2);
    post_fenced(4, -1, 2);
    post_fenced(5, 5, 1);
    assert_int_equal(fake_renderer.fence_count, 6);
    assert_answered(0);
    fake_renderer_done(5);
    assert_answered(1 << 2 | 1 << 5);
    fake_renderer_done(2); /* known already */
    fake_renderer_done(4); /* of the timeline that all contexts share */
    assert_answered(1 << 0 | 1 << 2 | 1 << 4 | 1 << 5);
    fake_renderer_done(3);
    fake_renderer_done(1);
    assert_answered(0x3f);
    assert_int_equal(card.interrupts[0] > 0, true);
}

/* A queue that stops gives back what waits; a fence that is done later is nobody's. */
static void fences_of_a_stopped_queue(void **state)
{
    (void)state;
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OK);
    post_fenced(0, -1, 1);
    post_fenced(1, 3, 1);
    assert_int_equal(fake_renderer.fence_count, 2);
    gpu_card_stop(&card);
    fake_renderer.fences[0] = (struct fake_fence){0, -1, 2};
    fake_renderer_done(0);
    assert_int_equal(fake_renderer.resets, 1);
    gpu_card_start(&card, bits_3d, sizeof(bits_3d));
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OK);
    post_fenced(0, -1, 1);
    fake_renderer_done(fake_renderer.fence_count - 1);
    assert_int_equal(gpu_card_answer(&card, 0), OK);
}

/* Errors wait for nothing; nor does what cannot be fenced. GPU-07: timelines are 0 to 63. */
static void fences_of_refused_commands(void **state)
{
    const struct virtio_gpu_cmd_submit bad = {
        .hdr = {.type = VIRTIO_GPU_CMD_SUBMIT_3D,
                .flags = VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX,
                .fence_id = 7,
                .ctx_id = 1,
                .ring_idx = 64},
    };
    struct virtio_gpu_ctrl_hdr answer;

    (void)state;
    post_fenced(0, -1, 1);
    assert_int_equal(gpu_card_answer(&card, 0), VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), OK);
    assert_int_equal(gpu_card_ask(&card, 0, &bad, sizeof(bad), &answer, sizeof(answer), NULL),
                     BAD_PARAMETER);
    assert_int_equal(answer.fence_id, 7);
    assert_int_equal(answer.ring_idx, 64);
    assert_int_equal(fake_renderer.fence_count, 0);
    fake_renderer.fence_count = FAKE_RENDERER_FENCES; /* it takes no more */
    post_fenced(0, -1, 1);
    assert_int_equal(gpu_card_answer(&card, 0), OK);
}

/* --- blobs in host memory --------------------------------------------------------------------- */

static uint32_t create_host_blob(uint32_t id, uint32_t memory, uint32_t flags, uint64_t size)
{
    const struct virtio_gpu_resource_create_blob request = {
        .hdr = {.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, .ctx_id = 3},
        .resource_id = id,
        .blob_mem = memory,
        .blob_flags = flags,
        .blob_id = 77,
        .size = size,
    };

    return gpu_card_command(&card, &request, sizeof(request));
}

static uint32_t map_blob(uint32_t id, uint64_t offset, uint32_t *info)
{
    const struct virtio_gpu_resource_map_blob request = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = id, .offset = offset};
    struct virtio_gpu_resp_map_info answer = {.map_info = 99};
    uint32_t type =
        gpu_card_ask(&card, 0, &request, sizeof(request), &answer, sizeof(answer), NULL);

    *info = answer.map_info;
    return type;
}

/* GPU-16, GPU-17, GPU-25 */
static void mapped_blob(void **state)
{
    uint32_t info;

    (void)state;
    assert_int_equal(create_host_blob(9, 2, VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE, 8192), OK);
    assert_int_equal(fake_renderer.blob.blob_id, 77);
    assert_int_equal(fake_renderer.blob.context, 3);
    assert_int_equal(fake_renderer.blob.memory, 2);
    assert_int_equal(fake_renderer.blob.size, 8192);
    assert_int_equal(map_blob(9, 0x10000, &info), VIRTIO_GPU_RESP_OK_MAP_INFO);
    assert_int_equal(info, VIRTIO_GPU_MAP_CACHE_WC);
    assert_int_equal(card.mappings, 1);
    assert_int_equal(card.mapping.id, 1);
    assert_int_equal(card.mapping.offset, 0x10000);
    assert_int_equal(card.mapping.length, 8192);
    assert_ptr_equal(card.mapping.memory, host_pages);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, 9), OK);
    assert_int_equal(card.mappings, 0);
    assert_int_equal(fake_renderer.mapped, 0);
    assert_int_equal(map_blob(9, 0, &info), VIRTIO_GPU_RESP_OK_MAP_INFO);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 9), OK);
    assert_int_equal(card.mappings, 0);
    assert_int_equal(create_host_blob(9, 2, VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE, 4096), OK);
    assert_int_equal(map_blob(9, 0, &info), VIRTIO_GPU_RESP_OK_MAP_INFO);
    /* and its end with the device's reset: see tear_down_3d */
}

/* GPU-20, GPU-25, DRV-GPU-02, DRV-GPU-03 */
static void bad_mappings(void **state)
{
    uint32_t info;

    (void)state;
    assert_int_equal(create_host_blob(8, 2, 0, 8192), OK);
    assert_int_equal(map_blob(8, 0, &info), BAD_PARAMETER); /* it was not to be mappable */
    assert_int_equal(map_blob(7, 0, &info), BAD_RESOURCE);
    assert_int_equal(create_host_blob(9, 2, VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE, 8192), OK);
    assert_int_equal(map_blob(9, 1, &info), BAD_PARAMETER);
    assert_int_equal(map_blob(9, HOSTMEM, &info), BAD_PARAMETER);
    assert_int_equal(map_blob(9, HOSTMEM - 4096, &info), BAD_PARAMETER);
    assert_int_equal(map_blob(9, UINT64_MAX - 4095, &info), BAD_PARAMETER);
    card.refuse_mappings = true;
    assert_int_equal(map_blob(9, 0, &info), BAD_PARAMETER);
    assert_int_equal(fake_renderer.mapped, 0);
    card.refuse_mappings = false;
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, 9),
                     BAD_PARAMETER);
    assert_int_equal(map_blob(9, HOSTMEM - 8192, &info), VIRTIO_GPU_RESP_OK_MAP_INFO);
    assert_int_equal(map_blob(9, 0, &info), BAD_PARAMETER);
    assert_int_equal(create_host_blob(10, 2, VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE, 12288), OK);
    assert_int_equal(map_blob(10, 0, &info), BAD_PARAMETER); /* the renderer has less */
    assert_int_equal(fake_renderer.mapped, 1);
    assert_int_equal(create_host_blob(11, 2, 0, 8191), BAD_PARAMETER);
    assert_int_equal(create_host_blob(11, 3, 0, 8192), BAD_PARAMETER); /* it has no guest memory */
}

/* A front end maps the guest's memory elsewhere: the renderer is told. */
static void memory_that_moves(void **state)
{
    const struct virtio_gpu_mem_entry entry = {gpu_card_alloc(&card, 8192), 8192, 0};
    struct {
        struct virtio_gpu_resource_create_blob blob;
        struct virtio_gpu_mem_entry entry;
    } blob = {{.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
               .resource_id = 4,
               .blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
               .nr_entries = 1,
               .size = 8192},
              entry};

    (void)state;
    assert_int_equal(create_3d(3), OK);
    assert_int_equal(gpu_card_attach(&card, 3, &entry, 1), OK);
    assert_int_equal(gpu_card_command(&card, &blob, sizeof(blob)), OK);
    for (unsigned i = 0; i < 2; i++) {
        card.backend->ops->memory_changes(card.backend, false);
        assert_int_equal(fake_renderer.backed, 0);
        assert_int_equal(fake_renderer.resources, 1);
        card.memory.count = i; /* gone, and back */
        card.backend->ops->memory_changes(card.backend, true);
        assert_int_equal(fake_renderer.backed, i);
        assert_int_equal(fake_renderer.resources, 1 + i);
    }
    assert_int_equal(fake_renderer.backing_bytes, 8192);
}

/* --- the renderer itself ---------------------------------------------------------------------- */

/* Viewers that have GL go before the renderer does: then 3D is over, and nothing breaks. */
static void display_ends(void **state)
{
    uint32_t info;

    (void)state;
    assert_int_equal(create_3d(3), OK);
    assert_int_equal(create_host_blob(9, 2, VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE, 8192), OK);
    assert_int_equal(map_blob(9, 0, &info), VIRTIO_GPU_RESP_OK_MAP_INFO);
    display_end(card.display);
    assert_false(fake_renderer.exists);
    assert_int_equal(create_3d(4), UNSPEC);
    assert_int_equal(context(VIRTIO_GPU_CMD_CTX_CREATE, 1, 0), UNSPEC);
    assert_int_equal(create_host_blob(9, 2, 0, 8192), UNSPEC);
    assert_int_equal(gpu_card_create_2d(&card, 3, BGRX, 4, 4), OK);
}

static void renderer_that_cannot_start(void **state)
{
    struct gpu_card refused = {.options = {.outputs = outputs, .virgl = true, .hostmem = 12288}};
    struct error err = ERROR_INIT;

    (void)state;
    fake_renderer = (struct fake_renderer){.result = -ENODEV};
    assert_int_equal(gpu_card_create(&refused, &err), -EINVAL);
    assert_non_null(strstr(err.text, "hostmem: a power of two"));
    refused = (struct gpu_card){.options = {.outputs = outputs, .virgl = true}};
    assert_int_equal(gpu_card_create(&refused, &err), -ENODEV);
    assert_string_equal(err.text, "the fake renderer cannot");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_3D(features_and_capsets),
        TEST_3D(capsets_that_are_not_there),
        TEST_3D(contexts),
        TEST_3D(textures),
        TEST_3D(renderer_refuses),
        TEST_3D(submitted_commands),
        TEST_3D(pictures_of_2d_commands),
        TEST_3D(fences_in_order),
        TEST_3D(fences_of_a_stopped_queue),
        TEST_3D(fences_of_refused_commands),
        TEST_3D(mapped_blob),
        TEST_3D(bad_mappings),
        TEST_3D(memory_that_moves),
        TEST_3D(display_ends),
        cmocka_unit_test(renderer_that_cannot_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
